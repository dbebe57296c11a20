//! Services that take events by HTTP: what `loki`, `splunk_hec`, `opentelemetry` and `slack` have in common.
//!
//! A chunk goes in pieces of bounded size. What a service has taken of it is remembered until the chunk is through, so that an
//! attempt goes on where the one before ended; an event that is refused is looked for by halves, and refused alone.

mod http;
mod pieces;
#[cfg(test)]
pub(super) mod testing;

pub use http::{Pause, Web, fields, patience, unanswered};
pub use pieces::{Fate, Pieces, Row, Sender};
