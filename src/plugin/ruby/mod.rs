//! Ruby expressions without Ruby: the `${...}` of record_transformer.
//!
//! Fluentd evaluates what stands there. Here a documented part of the language is parsed once, when the configuration is
//! read ([`Template::parse`]), and interpreted for each event ([`Template::expand`]). What is not supported is refused
//! then, with its place and what to write instead.
//!
//! - Variables: `record`, `tag`, `tag_parts`, `tag_prefix`, `tag_suffix`, `time`, `hostname`, and those that are assigned.
//! - Literals: numbers, strings, symbols, `nil`, `true`, `false`, arrays, hashes, ranges, regular expressions, `%w[...]`.
//! - Operators, indexes, `&.`, `? :`, `if`, `unless`, `case`, `begin ... rescue`, blocks, `&:name`, `$1`.
//! - Methods and functions: the tables in `lib/`, a line each.
//!
//! Invariants: an expression ends, within [`limits::MAX_STEPS`] and [`limits::MAX_SCRATCH_BYTES`] whatever the record holds;
//! it reads nothing but the event, the clock, the environment and the random source, and changes nothing but copies of the
//! event's values; no input makes it panic or overflow the stack.
//!
//! Deviations from Ruby: integers have 128 bits; strings are never changed in place (`<<` on a variable assigns to it);
//! `x.each_slice(2)` and its like without a block give arrays and not enumerators; `inspect` has the form of Ruby 3.4.

mod ast;
mod bridge;
mod clock;
mod context;
mod error;
mod index;
mod lib;
pub mod limits;
mod methods;
mod ops;
mod parse;
mod plain;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod value;
mod vm;

pub use bridge::{CompiledRegex, Functions, Moment, ParsedTime, RegexFlags, RegexResult, Spans, TimeWriter};
pub use context::{Context, Scratch, TagInfo};
pub use error::{EvalError, RubyError};
pub use template::{Options, Template};
