//! `out_file`: time, tag and JSON record between tabs.

use serde::Deserialize;

use super::newline::Newline;
use super::text::write_json_lines;
use crate::config::Diagnostic;
use crate::event::timefmt::TimeFormatter;
use crate::event::{Arena, EventTime, Record, Tag, json};
use crate::plugin::{BuildContext, Configure, Formatter, TimeParams};

/// Parameters of `out_file`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct OutFileParams {
    /// Whether the time is printed.
    output_time: bool,
    /// Whether the tag is printed.
    output_tag: bool,
    /// Between the parts.
    delimiter: Option<String>,
    /// `lf` or `crlf`.
    newline: Newline,
}

impl Default for OutFileParams {
    fn default() -> Self {
        OutFileParams { output_time: true, output_tag: true, delimiter: None, newline: Newline::Lf }
    }
}

/// The formatter.
pub struct OutFile {
    time: Option<TimeFormatter>,
    tag: bool,
    delimiter: String,
    end: &'static [u8],
}

impl Configure for OutFile {
    type Config = OutFileParams;
    const READ_ELSEWHERE: &'static [&'static str] = &["time_type", "time_format", "localtime", "utc", "timezone"];

    fn new(config: OutFileParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let times: TimeParams = cx.shared()?;
        let format = times.formatter().map_err(|e| cx.fault("time_format", e))?;
        let delimiter = match config.delimiter.as_deref() {
            Some("SPACE") => " ",
            Some("COMMA") => ",",
            None | Some("TAB" | "\t" | "\\t") => "\t",
            Some(other) => {
                cx.warn("delimiter", format!("{other:?} is none of TAB, SPACE, COMMA; tabs are printed"));
                "\t"
            }
        };
        Ok(OutFile {
            time: config.output_time.then_some(format),
            tag: config.output_tag,
            delimiter: delimiter.to_owned(),
            end: config.newline.bytes(),
        })
    }
}

impl OutFile {
    fn head(&self, tag: &Tag, time: EventTime, out: &mut Vec<u8>) {
        if let Some(format) = &self.time {
            format.format(time, out);
            out.extend_from_slice(self.delimiter.as_bytes());
        }
        if self.tag {
            out.extend_from_slice(tag.as_bytes());
            out.extend_from_slice(self.delimiter.as_bytes());
        }
    }
}

impl Formatter for OutFile {
    fn format(&self, tag: &Tag, time: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        self.head(tag, time, out);
        json::write_record(record, out);
        out.extend_from_slice(self.end);
    }

    fn format_entries(&self, tag: &Tag, entries: &[u8], _: &Arena, out: &mut Vec<u8>) {
        write_json_lines(entries, |time, out| self.head(tag, time, out), self.end, out);
    }
}
