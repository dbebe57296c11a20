//! `single_value`: one field's value, plain.

use serde::Deserialize;

use super::newline::Newline;
use super::text::write_plain;
use crate::config::Diagnostic;
use crate::event::{EventTime, Record, Tag};
use crate::plugin::{BuildContext, Configure, Formatter};

/// Parameters of `single_value`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct SingleValueParams {
    /// The field.
    message_key: String,
    /// Whether a line ends with `newline`.
    add_newline: bool,
    /// `lf` or `crlf`.
    newline: Newline,
}

impl Default for SingleValueParams {
    fn default() -> Self {
        SingleValueParams { message_key: "message".into(), add_newline: true, newline: Newline::Lf }
    }
}

/// The formatter.
pub struct SingleValue {
    key: String,
    end: &'static [u8],
}

impl Configure for SingleValue {
    type Config = SingleValueParams;

    fn new(config: SingleValueParams, _: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let end: &[u8] = if config.add_newline { config.newline.bytes() } else { b"" };
        Ok(SingleValue { key: config.message_key, end })
    }
}

impl Formatter for SingleValue {
    fn format(&self, _: &Tag, _: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        if let Some(value) = record.get(self.key.as_bytes()) {
            write_plain(&value, out);
        }
        out.extend_from_slice(self.end);
    }
}
