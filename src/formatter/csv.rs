//! `csv`: chosen fields between commas, quoted (RFC 4180).

use serde::Deserialize;

use super::newline::Newline;
use super::text::write_plain;
use crate::config::Diagnostic;
use crate::event::RecordPath;
use crate::event::{EventTime, Record, Tag, Value};
use crate::plugin::{BuildContext, Configure, Formatter};

/// Parameters of `csv`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct CsvParams {
    /// The fields, in order; record accessors too.
    fields: Option<Vec<String>>,
    /// Between values.
    delimiter: String,
    /// Quotes around every value.
    force_quotes: bool,
    /// Whether a line ends with `newline`.
    add_newline: bool,
    /// `lf` or `crlf`.
    newline: Newline,
}

impl Default for CsvParams {
    fn default() -> Self {
        CsvParams { fields: None, delimiter: ",".into(), force_quotes: true, add_newline: true, newline: Newline::Lf }
    }
}

/// The formatter.
pub struct Csv {
    fields: Vec<RecordPath>,
    delimiter: Vec<u8>,
    force_quotes: bool,
    end: &'static [u8],
}

impl Configure for Csv {
    type Config = CsvParams;

    fn new(config: CsvParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let names: Vec<String> = config.fields.unwrap_or_default().into_iter().filter(|f| !f.is_empty()).collect();
        if names.is_empty() {
            return Err(cx.fault("fields", "'fields' parameter is required and must name at least one field"));
        }
        let paths: Result<Vec<_>, _> = names.iter().map(|n| RecordPath::parse(n)).collect();
        let delimiter = match config.delimiter.as_str() {
            "\\t" | "TAB" => "\t",
            other => other,
        };
        Ok(Csv {
            fields: paths.map_err(|e| cx.fault("fields", e.to_string()))?,
            delimiter: delimiter.as_bytes().to_vec(),
            force_quotes: config.force_quotes,
            end: if config.add_newline { config.newline.bytes() } else { b"" },
        })
    }
}

impl Formatter for Csv {
    fn format(&self, _: &Tag, _: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        for (at, field) in self.fields.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(&self.delimiter);
            }
            value.clear();
            let found = field.get(record).unwrap_or(Value::Nil);
            write_plain(&found, &mut value);
            self.quoted(&value, found == Value::Nil, out);
        }
        out.extend_from_slice(self.end);
    }
}

impl Csv {
    fn quoted(&self, value: &[u8], nil: bool, out: &mut Vec<u8>) {
        let needs = |b: &u8| matches!(b, b'"' | b'\r' | b'\n') || self.delimiter.contains(b);
        // Ruby's CSV also quotes the empty text, to tell it from nil.
        if !self.force_quotes && (nil || !value.is_empty()) && !value.iter().any(needs) {
            return out.extend_from_slice(value);
        }
        out.push(b'"');
        for byte in value {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_forced_quotes_nil_is_nothing_and_the_empty_text_is_quoted() {
        let paths = ["a", "b", "c"].map(|name| RecordPath::parse(name).unwrap_or_else(|e| panic!("{e}")));
        let csv = Csv { fields: paths.into(), delimiter: b",".to_vec(), force_quotes: false, end: b"\n" };
        let mut record = Record::new();
        record.set(b"a", Value::Nil);
        record.set(b"b", Value::str(""));
        let mut out = Vec::new();
        csv.format(&Tag::from("t"), EventTime::default(), &record, &mut out);
        assert_eq!(out, b",\"\",\n");
    }
}
