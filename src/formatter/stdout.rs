//! `stdout`: local time, tag and the record by another formatter: `2024-01-01 00:00:00.000000000 +0000 tag: {...}`.

use std::sync::Arc;

use serde::Deserialize;

use crate::config::Diagnostic;
use crate::event::timefmt::TimeFormatter;
use crate::event::{Arena, Entry, EventTime, Record, Tag};
use crate::plugin::{BuildContext, Configure, Formatter};

/// Parameters of `stdout`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct StdoutParams {
    /// The formatter of the record.
    output_type: String,
}

impl Default for StdoutParams {
    fn default() -> Self {
        StdoutParams { output_type: "json".into() }
    }
}

/// The formatter.
pub struct Stdout {
    time: TimeFormatter,
    record: Arc<dyn Formatter>,
}

impl Configure for Stdout {
    type Config = StdoutParams;

    fn new(config: StdoutParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if config.output_type == "stdout" {
            return Err(cx.fault("output_type", "output_type must be another formatter than stdout"));
        }
        let record = cx.formatter_of_type(&config.output_type)?;
        Ok(Stdout { time: TimeFormatter::stdout(), record })
    }
}

impl Stdout {
    fn head(&self, tag: &Tag, time: EventTime, out: &mut Vec<u8>) {
        self.time.format(time, out);
        out.push(b' ');
        out.extend_from_slice(tag.as_bytes());
        out.extend_from_slice(b": ");
    }
}

impl Formatter for Stdout {
    fn format(&self, tag: &Tag, time: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        self.head(tag, time, out);
        self.record.format(tag, time, record, out);
        end_line(out);
    }

    fn format_entry(&self, tag: &Tag, entry: &Entry<'_>, arena: &Arena, out: &mut Vec<u8>) {
        self.head(tag, entry.time, out);
        self.record.format_entry(tag, entry, arena, out);
        end_line(out);
    }
}

/// Formatters without a line end of their own (msgpack) get one.
fn end_line(out: &mut Vec<u8>) {
    if out.last() != Some(&b'\n') {
        out.push(b'\n');
    }
}
