//! `hash`: the record as Ruby's `inspect` prints a hash; here in its JSON form, which does not change with Ruby's version.

use serde::Deserialize;

use super::newline::Newline;
use crate::config::Diagnostic;
use crate::event::{EventTime, Record, Tag, json};
use crate::plugin::{BuildContext, Configure, Formatter};

/// Parameters of `hash`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct HashParams {
    /// Whether a line ends with `newline`.
    add_newline: bool,
    /// `lf` or `crlf`.
    newline: Newline,
}

impl Default for HashParams {
    fn default() -> Self {
        HashParams { add_newline: true, newline: Newline::Lf }
    }
}

/// The formatter.
pub struct Hash(&'static [u8]);

impl Configure for Hash {
    type Config = HashParams;

    fn new(config: HashParams, _: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        Ok(Hash(if config.add_newline { config.newline.bytes() } else { b"" }))
    }
}

impl Formatter for Hash {
    fn format(&self, _: &Tag, _: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        json::write_record(record, out);
        out.extend_from_slice(self.0);
    }
}
