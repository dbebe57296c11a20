//! `single_value`: one field's value, plain.

use serde::Deserialize;

use super::newline::Newline;
use super::text::write_plain;
use crate::config::Diagnostic;
use crate::event::{Arena, Entry, EventTime, Record, RecordPath, Tag};
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
    /// The same; none where it would be read as an accessor, which it is not.
    path: Option<RecordPath>,
    end: &'static [u8],
}

impl Configure for SingleValue {
    type Config = SingleValueParams;

    fn new(config: SingleValueParams, _: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let end: &[u8] = if config.add_newline { config.newline.bytes() } else { b"" };
        let path = RecordPath::parse(&config.message_key).ok().filter(|path| !path.is_nested());
        Ok(SingleValue { key: config.message_key, path, end })
    }
}

impl Formatter for SingleValue {
    fn format(&self, _: &Tag, _: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        if let Some(value) = record.get(self.key.as_bytes()) {
            write_plain(&value, out);
        }
        out.extend_from_slice(self.end);
    }

    fn format_entry(&self, tag: &Tag, entry: &Entry<'_>, arena: &Arena, out: &mut Vec<u8>) {
        match self.path.as_ref().map(|path| path.find(entry.record)) {
            Some(Ok(value)) => {
                if let Some(value) = value {
                    write_plain(&value, out);
                }
                out.extend_from_slice(self.end);
            }
            // A name that is no text is one only when the record is taken apart. A broken record has no text.
            Some(Err(_)) | None => {
                if let Ok(record) = Record::decode(entry.record, arena) {
                    self.format(tag, entry.time, &record, out);
                }
            }
        }
    }
}
