//! JSON text to MessagePack and back, without a tree in between.
//!
//! Reading: [`parse_object`] gives a [`Record`](super::Record) whose plain strings point into the text; what is nested is
//! encoded straight into the arena. [`append_value`] writes MessagePack only. [`Elements`] walks a top-level array,
//! [`Splitter`] cuts a stream of values apart as it arrives.
//! Writing: [`write_record`], [`write_map`] and, for many in a row, [`Writer`] print what Ruby's generators print in Fluentd, but always valid JSON.
//!
//! Invariants: the grammar is RFC 8259 with what Oj's `compat` mode adds where it loses nothing (see `parse.rs`); nothing
//! nests deeper than [`MAX_DEPTH`](super::msgpack::MAX_DEPTH); time and memory grow with the length of the text, never
//! with what it claims.

mod elements;
mod error;
mod escape;
mod float;
mod names;
mod number;
mod parse;
mod reader;
mod scan;
pub(in crate::event) mod shape;
mod simd;
mod splitter;
mod strings;
mod write;

#[cfg(test)]
mod tests;

pub use elements::Elements;
pub use error::{JsonError, Kind, Reason};
pub use parse::{append_object, append_value, parse_object, parse_value};
pub use splitter::Splitter;
pub use write::{Writer, string_of, text_of, write_map, write_record, write_value};
