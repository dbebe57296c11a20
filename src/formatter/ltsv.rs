//! `ltsv`: `label:value` pairs between tabs (ltsv.org).

use serde::Deserialize;

use super::newline::Newline;
use super::text::write_plain;
use crate::config::Diagnostic;
use crate::event::{EventTime, Record, Tag};
use crate::plugin::{BuildContext, Configure, Formatter};

/// Parameters of `ltsv`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct LtsvParams {
    /// Between pairs.
    delimiter: String,
    /// Between label and value.
    label_delimiter: String,
    /// What stands in a value for `delimiter`.
    replacement: String,
    /// Whether a line ends with `newline`.
    add_newline: bool,
    /// `lf` or `crlf`.
    newline: Newline,
}

impl Default for LtsvParams {
    fn default() -> Self {
        LtsvParams {
            delimiter: "\t".into(),
            label_delimiter: ":".into(),
            replacement: " ".into(),
            add_newline: true,
            newline: Newline::Lf,
        }
    }
}

/// The formatter.
pub struct Ltsv(LtsvParams);

impl Configure for Ltsv {
    type Config = LtsvParams;

    fn new(mut config: LtsvParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        config.delimiter = config.delimiter.replace("\\t", "\t");
        if config.delimiter.is_empty() {
            return Err(cx.fault("delimiter", "delimiter must not be empty"));
        }
        Ok(Ltsv(config))
    }
}

impl Formatter for Ltsv {
    fn format(&self, _: &Tag, _: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        for (at, (name, field)) in record.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(self.0.delimiter.as_bytes());
            }
            out.extend_from_slice(name);
            out.extend_from_slice(self.0.label_delimiter.as_bytes());
            value.clear();
            write_plain(field, &mut value);
            replace(&value, self.0.delimiter.as_bytes(), self.0.replacement.as_bytes(), out);
        }
        if self.0.add_newline {
            out.extend_from_slice(self.0.newline.bytes());
        }
    }
}

/// Appends `text` with every `from` replaced by `to`.
fn replace(text: &[u8], from: &[u8], to: &[u8], out: &mut Vec<u8>) {
    let mut rest = 0;
    for at in memchr::memmem::find_iter(text, from) {
        out.extend_from_slice(&text[rest..at]);
        out.extend_from_slice(to);
        rest = at + from.len();
    }
    out.extend_from_slice(&text[rest..]);
}
