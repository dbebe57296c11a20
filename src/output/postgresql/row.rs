//! Values as COPY's text format has them (PostgreSQL documentation, COPY, "Text Format").

use std::io::Write as _;

use super::columns::Kind;
use crate::event::timefmt::Civil;
use crate::event::{EventTime, Value, hex, json};

/// What stands for NULL.
pub const NULL: &[u8] = b"\\N";
/// Extension type of EventTime.
const EVENT_TIME: i8 = 0;

/// Appends a value of a column of this kind.
pub fn write(value: Value<'_>, kind: Kind, out: &mut Vec<u8>) {
    match (kind, value) {
        (_, Value::Nil) => out.extend_from_slice(NULL),
        (Kind::Json, value) => {
            let mut text = Vec::new();
            json::write_value(value, &mut text);
            escape(&text, out);
        }
        (Kind::Bytes, Value::Bin(bytes) | Value::Str(bytes)) => {
            out.extend_from_slice(b"\\\\x");
            out.extend_from_slice(hex(bytes).as_bytes());
        }
        (Kind::Time, Value::Int(secs)) => time(EventTime::from_secs(secs), out),
        (Kind::Time, Value::Float(secs)) => time(EventTime::from_f64(secs), out),
        (Kind::Integer, Value::Float(v)) if v.fract() == 0.0 && v.abs() < 9e15 => {
            out.extend_from_slice(itoa::Buffer::new().format(v as i64).as_bytes());
        }
        (Kind::Array, Value::Array(_)) => array(value, out),
        (_, Value::Str(text) | Value::Bin(text)) => escape(text, out),
        (_, Value::Ext(EVENT_TIME, data)) if data.len() == 8 => {
            let part = |at: usize| data[at..].first_chunk().map_or(0, |b| u32::from_be_bytes(*b));
            time(EventTime::new(i64::from(part(0)), part(4)), out);
        }
        (_, Value::Float(v)) if !v.is_finite() => {
            let word: &[u8] = if v.is_nan() {
                b"NaN"
            } else if v > 0.0 {
                b"Infinity"
            } else {
                b"-Infinity"
            };
            out.extend_from_slice(word);
        }
        (_, value) => {
            let start = out.len();
            json::write_value(value, out);
            if matches!(value, Value::Array(_) | Value::Map(_) | Value::Ext(..)) {
                let text = out.split_off(start);
                escape(&text, out);
            }
        }
    }
}

/// Appends a time in UTC, to the microsecond.
pub fn time(time: EventTime, out: &mut Vec<u8>) {
    let c = Civil::from_secs(time.secs());
    let micros = time.subsec_nanos() / 1000;
    // Writing into memory does not fail.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{micros:06}+00",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    );
}

/// Appends text: backslashes, tabs and line ends are escaped.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\\' | b'\t' | b'\n' | b'\r')) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(match rest[at] {
            b'\t' => b't',
            b'\n' => b'n',
            b'\r' => b'r',
            other => other,
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// An array's literal: elements in double quotes.
fn array(value: Value<'_>, out: &mut Vec<u8>) {
    let mut text = vec![b'{'];
    for (at, item) in value.items().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        let mut element = Vec::new();
        match item {
            Value::Nil => {
                text.extend_from_slice(b"NULL");
                continue;
            }
            Value::Str(bytes) | Value::Bin(bytes) => element.extend_from_slice(bytes),
            other => json::write_value(other, &mut element),
        }
        text.push(b'"');
        for byte in element {
            if matches!(byte, b'"' | b'\\') {
                text.push(b'\\');
            }
            text.push(byte);
        }
        text.push(b'"');
    }
    text.push(b'}');
    escape(&text, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: Value<'_>, kind: Kind) -> String {
        let mut out = Vec::new();
        write(value, kind, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn values_are_written_as_their_column_wants_them() {
        assert_eq!(text(Value::Nil, Kind::Json), "\\N");
        assert_eq!(text(Value::str("\\N"), Kind::Other), "\\\\N");
        assert_eq!(text(Value::str("a\tb\nc\r"), Kind::Other), "a\\tb\\nc\\r");
        assert_eq!(text(Value::str("a\"\n"), Kind::Json), "\"a\\\\\"\\\\n\"");
        assert_eq!(text(Value::Int(1_700_000_000), Kind::Time), "2023-11-14 22:13:20.000000+00");
        assert_eq!(text(Value::Float(3.0), Kind::Integer), "3");
        assert_eq!(text(Value::Float(3.5), Kind::Integer), "3.5");
        assert_eq!(text(Value::Float(f64::NEG_INFINITY), Kind::Other), "-Infinity");
        assert_eq!(text(Value::Bin(&[0, 255]), Kind::Bytes), "\\\\x00ff");
        assert_eq!(text(Value::Array(&[0x92, 0xa1, b'"', 0x02]), Kind::Array), "{\"\\\\\"\",\"2\"}");
        assert_eq!(text(Value::Array(&[0x91, 0x02]), Kind::Other), "[2]");
    }
}
