//! Time as text: zones, reading by format (`strptime`), reading without one (`Time.parse`), writing (`strftime`).
//!
//! The rules are Ruby's as Fluentd uses them; the code is plain arithmetic on civil dates. Only zone rules come from a
//! library, jiff, which brings its own copy of the tz database for machines without one.

mod any;
mod civil;
mod formatter;
mod parser;
mod strftime;
mod strptime;
mod usual;
mod zone;

pub use civil::Civil;
pub use formatter::{TimeFormatConfig, TimeFormatter};
pub use parser::{TimeError, TimeParseConfig, TimeParser, by_format, guess};
pub use zone::Zone;
