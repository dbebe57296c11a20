//! `types`: conversions of fields, by Ruby's rules.

use crate::event::timefmt::{TimeParser, Zone};
use crate::event::{Arena, EventTime, Value, json, msgpack};
use crate::plugin::TimeParams;

/// A conversion.
pub enum Converter {
    /// Text.
    Text,
    /// Ruby's `to_i`: leading digits, else 0.
    Integer,
    /// Ruby's `to_f`.
    Float,
    /// `true`, `yes` and `1` are true, anything else is false.
    Bool,
    /// A moment; stored as EventTime.
    Time(Box<TimeParser>),
    /// Pieces between delimiters.
    Array(String),
}

impl Converter {
    /// Reads `type[:option]`.
    ///
    /// Errors: an unknown type, by field.
    pub fn parse(field: &str, text: &str, base: &TimeParams) -> Result<Converter, String> {
        let (kind, option) = match text.split_once(':') {
            Some((kind, option)) => (kind, Some(option)),
            None => (text, None),
        };
        match kind {
            "string" => Ok(Converter::Text),
            "integer" => Ok(Converter::Integer),
            "float" => Ok(Converter::Float),
            "bool" => Ok(Converter::Bool),
            "time" => time_parser(option, base).map(|p| Converter::Time(Box::new(p))),
            "array" => Ok(Converter::Array(option.unwrap_or(",").to_owned())),
            other => Err(format!(
                "unknown value conversion for key:'{field}', type:'{other}'; there are string, integer, float, bool, time, array"
            )),
        }
    }

    /// The converted value.
    pub fn convert<'a>(&self, value: Value<'a>, arena: &'a Arena) -> Value<'a> {
        match self {
            Converter::Text => Value::Str(text(value, arena)),
            Converter::Integer => integer(value),
            Converter::Float => Value::Float(float(value)),
            Converter::Bool => Value::Bool(is_true(text(value, arena))),
            Converter::Time(parser) => match parser.parse_value(value, EventTime::now) {
                Ok(time) => ext_time(time, arena),
                Err(_) => Value::Nil,
            },
            Converter::Array(delimiter) => split(text(value, arena), delimiter.as_bytes(), arena),
        }
    }
}

/// `time:[zone:]format`, where the format may be `unixtime` or `float`.
fn time_parser(option: Option<&str>, base: &TimeParams) -> Result<TimeParser, String> {
    let Some(option) = option else { return base.only("string", None, None).parser() };
    let (zone, format) = match option.split_once(':') {
        Some((zone, format)) if Zone::parse(zone).is_ok() => (Some(zone), format),
        _ => (None, option),
    };
    match format {
        "string" | "float" | "unixtime" | "mixed" => base.only(format, None, zone).parser(),
        _ => base.only("string", Some(format), zone).parser(),
    }
}

fn text<'a>(value: Value<'a>, arena: &'a Arena) -> &'a [u8] {
    match value {
        Value::Str(text) | Value::Bin(text) => text,
        other => {
            let mut out = Vec::new();
            json::write_value(other, &mut out);
            arena.bytes(&out)
        }
    }
}

fn integer(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Int(_) | Value::UInt(_) => value,
        Value::Float(f) => Value::Int(f as i64),
        Value::Str(text) | Value::Bin(text) => to_i(text),
        Value::Bool(_) | Value::Nil | Value::Array(_) | Value::Map(_) | Value::Ext(..) => Value::Int(0),
    }
}

/// Ruby's `String#to_i`: white space, a sign, digits with single underscores; what follows does not count.
pub fn to_i(text: &[u8]) -> Value<'static> {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mut sum: u64 = 0;
    let mut previous_is_digit = false;
    for byte in digits {
        match byte {
            b'0'..=b'9' => sum = sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
            b'_' if previous_is_digit => {}
            _ => break,
        }
        previous_is_digit = byte.is_ascii_digit();
    }
    match negative {
        true => Value::Int(i64::try_from(sum).map_or(i64::MIN, |n| -n)),
        false => Value::from(sum),
    }
}

fn float(value: Value<'_>) -> f64 {
    match value {
        Value::Int(n) => n as f64,
        Value::UInt(n) => n as f64,
        Value::Float(f) => f,
        Value::Str(text) | Value::Bin(text) => to_f(text),
        _ => 0.0,
    }
}

/// Ruby's `String#to_f`: the longest number at the start; what follows does not count.
pub fn to_f(text: &[u8]) -> f64 {
    let text = text.trim_ascii_start();
    let number = &text[..number_length(text)];
    let plain: String = number.iter().filter(|b| **b != b'_').map(|b| char::from(*b)).collect();
    plain.parse().unwrap_or(0.0)
}

fn number_length(text: &[u8]) -> usize {
    let digits = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit() || **b == b'_').count();
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let mut end = sign + digits(sign);
    if end == sign && text.get(end) != Some(&b'.') {
        return 0;
    }
    if text.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits(end.saturating_add(1 + sign).min(text.len()));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    end
}

fn is_true(text: &[u8]) -> bool {
    [b"true" as &[u8], b"yes", b"1"].iter().any(|t| text.eq_ignore_ascii_case(t))
}

fn ext_time(time: EventTime, arena: &Arena) -> Value<'_> {
    let mut out = Vec::new();
    msgpack::put_time(&mut out, time);
    Value::decode(arena.bytes(&out)).unwrap_or(Value::Nil)
}

/// Ruby's `split`: empty pieces at the end are left out.
fn split<'a>(text: &[u8], delimiter: &[u8], arena: &'a Arena) -> Value<'a> {
    let mut pieces = Vec::new();
    let mut from = 0;
    if !delimiter.is_empty() {
        for at in memchr::memmem::find_iter(text, delimiter) {
            pieces.push(&text[from..at]);
            from = at + delimiter.len();
        }
    }
    pieces.push(&text[from..]);
    while pieces.last().is_some_and(|p| p.is_empty()) {
        pieces.pop();
    }
    let mut out = Vec::with_capacity(text.len() + pieces.len() + 5);
    msgpack::put_array_len(&mut out, pieces.len());
    pieces.iter().for_each(|p| msgpack::put_str(&mut out, p));
    Value::Array(arena.bytes(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_ruby_reads_them() {
        for (text, n) in
            [("12abc", 12), ("0x1f", 0), ("", 0), ("-5", -5), (" +7 ", 7), ("1_000", 1000), ("1__0", 1), ("x", 0)]
        {
            assert_eq!(to_i(text.as_bytes()), Value::Int(n), "{text}");
        }
        assert_eq!(to_i(b"12345678901234567890"), Value::UInt(12_345_678_901_234_567_890));
    }

    #[test]
    fn floats_are_read_as_ruby_reads_them() {
        for (text, f) in [
            ("1.5x", 1.5),
            (".5", 0.5),
            ("-.5x", -0.5),
            (".", 0.0),
            ("1e3", 1000.0),
            ("1e", 1.0),
            ("-2.25e-1z", -0.225),
            ("", 0.0),
            ("1.", 1.0),
        ] {
            assert_eq!(to_f(text.as_bytes()), f, "{text}");
        }
    }

    #[test]
    fn arrays_leave_out_empty_pieces_at_the_end() {
        let arena = Arena::new();
        let pieces = |text: &str| split(text.as_bytes(), b",", &arena).items().count();
        assert_eq!((pieces("a,b"), pieces("a,,"), pieces(","), pieces(",a")), (2, 1, 0, 2));
    }
}
