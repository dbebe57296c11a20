//! `json`: one object per line.

use serde::Deserialize;

use super::newline::Newline;
use super::text::write_json_lines;
use crate::config::Diagnostic;
use crate::event::{Arena, Entry, EventTime, Record, Tag, json};
use crate::plugin::{BuildContext, Configure, Formatter};

/// Parameters of `json`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct JsonParams {
    /// Fluentd chooses a library here; there is one writer.
    json_parser: Option<String>,
    /// Whether a line ends with `newline`.
    add_newline: bool,
    /// `lf` or `crlf`.
    newline: Newline,
}

impl Default for JsonParams {
    fn default() -> Self {
        JsonParams { json_parser: None, add_newline: true, newline: Newline::Lf }
    }
}

/// The formatter.
pub struct Json {
    end: &'static [u8],
}

impl Configure for Json {
    type Config = JsonParams;

    fn new(config: JsonParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if config.json_parser.is_some() {
            cx.without_effect("json_parser", "there is one writer of JSON; take it out");
        }
        Ok(Json { end: if config.add_newline { config.newline.bytes() } else { b"" } })
    }
}

impl Formatter for Json {
    fn format(&self, _: &Tag, _: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        json::write_record(record, out);
        out.extend_from_slice(self.end);
    }

    fn format_entry(&self, _: &Tag, entry: &Entry<'_>, _: &Arena, out: &mut Vec<u8>) {
        // Entries were checked when they were taken in.
        let _ = json::write_map(entry.record, out);
        out.extend_from_slice(self.end);
    }

    fn format_entries(&self, _: &Tag, entries: &[u8], _: &Arena, out: &mut Vec<u8>) {
        write_json_lines(entries, |_, _| {}, self.end, out);
    }
}
