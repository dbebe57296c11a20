//! Records as the bodies of answers.

use crate::event::json::{write_record, write_value};
use crate::event::{Record, Value};

/// `{"plugins":[...]}`
pub(super) fn json_list(rows: &[Record<'_>]) -> Vec<u8> {
    let mut out = b"{\"plugins\":[".to_vec();
    for (n, row) in rows.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_record(row, &mut out);
    }
    out.extend_from_slice(b"]}");
    out
}

/// A line per record; lists with commas, no maps.
pub(super) fn ltsv(rows: &[Record<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        let start = out.len();
        for (name, value) in row.iter().filter(|(_, value)| !matches!(value, Value::Map(_))) {
            if out.len() > start {
                out.push(b'\t');
            }
            out.extend_from_slice(name);
            out.push(b':');
            plain(*value, &mut out);
        }
        out.push(b'\n');
    }
    out
}

/// As Ruby's `to_s`.
fn plain(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Nil => {}
        Value::Str(text) => out.extend_from_slice(text),
        Value::Array(_) => {
            for (n, item) in value.items().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                plain(item, out);
            }
        }
        other => write_value(other, out),
    }
}

/// JSON text over several lines, two spaces a level.
pub(super) fn indented(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    let mut bytes = json.iter().peekable();
    while let Some(byte) = bytes.next() {
        if in_text {
            out.push(*byte);
            in_text = *byte != b'"' || escaped;
            escaped = *byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(*byte);
                if bytes.peek().is_some_and(|next| !matches!(next, b'}' | b']')) {
                    depth += 1;
                    new_line(depth, &mut out);
                }
            }
            b'}' | b']' => {
                if !out.ends_with(b"{") && !out.ends_with(b"[") {
                    depth = depth.saturating_sub(1);
                    new_line(depth, &mut out);
                }
                out.push(*byte);
            }
            b',' => {
                out.push(b',');
                new_line(depth, &mut out);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                in_text = *byte == b'"';
                out.push(*byte);
            }
        }
    }
    out
}

fn new_line(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b"  ", depth).flatten());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indents_leave_texts_alone() {
        let text = indented(br#"{"a":[1,{"b":"x,{\":"}],"c":[],"d":{}}"#);
        let expected =
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,{\\\":\"\n    }\n  ],\n  \"c\": [],\n  \"d\": {}\n}";
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }

    #[test]
    fn ltsv_has_no_maps() {
        let mut row = Record::new();
        row.push(b"a", Value::str("x"));
        row.push(b"m", Value::Map(&[0x80]));
        row.push(b"l", Value::Array(&[0x92, 1, 2]));
        row.push(b"n", Value::Nil);
        assert_eq!(ltsv(&[row]), b"a:x\tl:1,2\tn:\n");
    }
}
