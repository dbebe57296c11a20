//! `tsv`: chosen fields between tabs.

use serde::Deserialize;

use super::newline::Newline;
use super::text::write_plain;
use crate::config::Diagnostic;
use crate::event::{EventTime, Record, Tag};
use crate::plugin::{BuildContext, Configure, Formatter};

/// Parameters of `tsv`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct TsvParams {
    /// The fields, in order.
    keys: Option<Vec<String>>,
    /// Between values.
    delimiter: String,
    /// Whether a line ends with `newline`.
    add_newline: bool,
    /// `lf` or `crlf`.
    newline: Newline,
}

impl Default for TsvParams {
    fn default() -> Self {
        TsvParams { keys: None, delimiter: "\t".into(), add_newline: true, newline: Newline::Lf }
    }
}

/// The formatter.
pub struct Tsv {
    keys: Vec<String>,
    delimiter: String,
    end: &'static [u8],
}

impl Configure for Tsv {
    type Config = TsvParams;

    fn new(config: TsvParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let keys = config.keys.ok_or_else(|| cx.fault("keys", "'keys' parameter is required"))?;
        let end: &[u8] = if config.add_newline { config.newline.bytes() } else { b"" };
        Ok(Tsv { keys, delimiter: config.delimiter.replace("\\t", "\t"), end })
    }
}

impl Formatter for Tsv {
    fn format(&self, _: &Tag, _: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        for (at, key) in self.keys.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(self.delimiter.as_bytes());
            }
            if let Some(value) = record.get(key.as_bytes()) {
                write_plain(&value, out);
            }
        }
        out.extend_from_slice(self.end);
    }
}
