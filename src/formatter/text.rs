//! What several formats print: values as plain text, as Ruby's `to_s` prints them, and runs of entries as JSON lines.

use crate::event::{EventTime, Value, entry_head, json};

/// Appends a run of entries straight from their bytes: what `head` writes, the record as JSON, `end`. A broken entry is
/// left out whole, with all behind it: where that begins can't be told.
#[inline(always)]
pub fn write_json_lines(entries: &[u8], head: impl Fn(EventTime, &mut Vec<u8>), end: &[u8], out: &mut Vec<u8>) {
    let (mut pos, mut writer) = (0, json::Writer::new());
    while let Ok((time, record)) = entry_head(entries, pos) {
        let start = out.len();
        head(time, out);
        pos = record;
        if writer.write_map_at(entries, &mut pos, out).is_err() {
            return out.truncate(start);
        }
        out.extend_from_slice(end);
    }
}

/// Appends a value as plain text: text without quotes, nothing for nil.
pub fn write_plain(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Nil => {}
        Value::Str(text) | Value::Bin(text) => out.extend_from_slice(text),
        other => json::write_value(*other, out),
    }
}
