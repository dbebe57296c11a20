//! What flows: batches of MessagePack entries, records read borrowed, JSON text on both sides.
//!
//! Invariants: no I/O and no tokio here; bytes of a client are checked before they are believed; nothing recurses deeper
//! than [`msgpack::MAX_DEPTH`]; a [`Batch`] made by a [`BatchBuilder`] always walks to its end.

mod added;
mod batch;
mod hex;
pub mod json;
mod known;
mod maps;
pub mod msgpack;
mod owned;
pub mod pack;
mod path;
mod record;
mod room;
mod tag;
mod time;
pub mod timefmt;
mod value;

pub use added::Added;
pub use batch::{Batch, BatchBuilder, Entries, Entry, entry_head};
pub use hex::hex;
pub use maps::Maps;
pub use msgpack::Malformed;
pub use owned::Owned;
pub use pack::Packing;
pub use path::{PathError, RecordPath};
pub use record::{Arena, Field, Record};
pub use tag::{MAX_TAG_BYTES, Tag};
pub use time::{EventTime, NANOS};
pub use value::{Items, Pairs, Value};
