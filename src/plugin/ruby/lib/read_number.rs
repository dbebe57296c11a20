//! Numbers read from text: `to_i`, `to_f`, `Integer()`, `Float()`.

use super::number::too_big;
use crate::plugin::ruby::error::{Checked, Fault};

/// Longest text that is read as a number; 128 bits have 128 digits at most.
const MAX_DIGITS: usize = 1024;

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// Splits off a sign.
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Splits off a prefix that names the base, where it agrees with the base asked for (0 is any).
fn prefix(text: &[u8], base: u32) -> (u32, &[u8]) {
    let named = match text {
        [b'0', b'x' | b'X', ..] => 16,
        [b'0', b'b' | b'B', ..] => 2,
        [b'0', b'o' | b'O', ..] => 8,
        [b'0', b'd' | b'D', ..] => 10,
        _ => 0,
    };
    let digit_follows = text.get(2).is_some_and(|b| char::from(*b).is_digit(named.max(2)));
    if named != 0 && digit_follows && (base == named || base == 0) {
        return (named, &text[2..]);
    }
    match text {
        [b'0', b'0'..=b'9' | b'_', ..] if base == 0 => (8, text),
        _ => (if base == 0 { 10 } else { base }, text),
    }
}

/// The digits at the start, single underscores between them left out, and how many bytes that was.
fn digits(text: &[u8], base: u32) -> (Vec<u8>, usize) {
    let digit = |b: &u8| char::from(*b).is_digit(base);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(b) = text.get(at) {
        if digit(b) {
            found.push(*b);
        } else if !(*b == b'_' && at > 0 && text[at - 1] != b'_' && text.get(at + 1).is_some_and(digit)) {
            break;
        }
        at += 1;
    }
    (found, at)
}

fn value(digits: &[u8], base: u32, negative: bool) -> Checked<i128> {
    let text = std::str::from_utf8(digits).unwrap_or("");
    let significant = text.trim_start_matches('0');
    if significant.len() > MAX_DIGITS {
        return Err(too_big());
    }
    if significant.is_empty() {
        return Ok(0);
    }
    let signed = if negative { format!("-{significant}") } else { significant.to_owned() };
    i128::from_str_radix(&signed, base).map_err(|_| too_big())
}

pub(crate) fn check_base(base: i128) -> Checked<u32> {
    match u32::try_from(base) {
        Ok(base @ (0 | 2..=36)) => Ok(base),
        _ => Err(Fault::argument(format!("invalid radix {base}"))),
    }
}

/// `to_i(base)`: what can be read at the start, else 0.
pub(crate) fn to_i(text: &[u8], base: u32) -> Checked<i128> {
    let (negative, rest) = sign(trim(text));
    let (base, rest) = prefix(rest, base);
    value(&digits(rest, base).0, base, negative)
}

/// `Integer(text, base)`: the whole text, or nothing.
pub(crate) fn integer(text: &[u8], base: u32) -> Checked<Option<i128>> {
    let (negative, rest) = sign(trim(text));
    let (base, rest) = prefix(rest, base);
    let (digits, len) = digits(rest, base);
    if digits.is_empty() || len != rest.len() { Ok(None) } else { value(&digits, base, negative).map(Some) }
}

/// The longest decimal at the start, underscores left out, and how many bytes it takes.
fn decimal(text: &[u8]) -> (String, usize) {
    let (negative, rest) = sign(text);
    let mut at = text.len() - rest.len();
    let mut out = String::from(if negative { "-" } else { "" });
    let take = |at: &mut usize, out: &mut String| {
        let (found, len) = digits(&text[*at..], 10);
        out.extend(found.into_iter().map(char::from));
        *at += len;
        len > 0
    };
    let point_first = text.get(at) == Some(&b'.') && text.get(at + 1).is_some_and(u8::is_ascii_digit);
    if !point_first && !take(&mut at, &mut out) {
        return (String::new(), 0);
    }
    if text.get(at) == Some(&b'.') && text.get(at + 1).is_some_and(u8::is_ascii_digit) {
        out.push('.');
        at += 1;
        take(&mut at, &mut out);
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let (minus, digits) = sign(&text[at + 1..]);
        if digits.first().is_some_and(u8::is_ascii_digit) {
            out.push_str(if minus { "e-" } else { "e" });
            at = text.len() - digits.len();
            take(&mut at, &mut out);
        }
    }
    (out, at)
}

/// `to_f`: what can be read at the start, else 0.0.
pub(crate) fn to_f(text: &[u8]) -> f64 {
    decimal(trim(text)).0.parse().unwrap_or(0.0)
}

/// `Float(text)`: the whole text, or nothing.
pub(crate) fn float(text: &[u8]) -> Option<f64> {
    let text = trim(text);
    if let Some(hex) = text.strip_prefix(b"0x") {
        return integer(hex, 16).ok().flatten().map(|n| n as f64);
    }
    let (decimal, len) = decimal(text);
    if len == 0 || len != text.len() { None } else { decimal.parse().ok() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_start_of_a_text_is_read_and_its_rest_is_left() {
        for (text, n) in
            [("42abc", 42), ("  -7 ", -7), ("1_000", 1000), ("1__0", 1), ("_1", 0), ("0x1f", 0), ("", 0), ("010", 10)]
        {
            assert_eq!(to_i(text.as_bytes(), 10).unwrap(), n, "{text}");
        }
        assert_eq!(to_i(b"0x1f", 16).unwrap(), 31);
        assert_eq!(to_i(b"z", 36).unwrap(), 35);
        assert_eq!(to_i(b"010", 0).unwrap(), 8);
        for (text, f) in [("1.5e3x", 1500.0), ("1.", 1.0), (".5", 0.5), ("1e", 1.0), ("-2_0.5", -20.5), ("x", 0.0)] {
            assert_eq!(to_f(text.as_bytes()), f, "{text}");
        }
    }

    #[test]
    fn a_strict_reading_takes_the_whole_text_or_nothing() {
        assert_eq!(integer(b" 0x1F ", 0).unwrap(), Some(31));
        assert_eq!(integer(b"0b101", 0).unwrap(), Some(5));
        assert_eq!(integer(b"12abc", 0).unwrap(), None);
        assert_eq!(integer(b"", 0).unwrap(), None);
        assert_eq!(integer(b"1_", 0).unwrap(), None);
        assert_eq!(float(b"1.5"), Some(1.5));
        assert_eq!(float(b"1.5x"), None);
        assert_eq!(float(b"1."), None);
    }

    #[test]
    fn digits_without_end_are_refused() {
        assert!(to_i(&[b'9'; 100_000], 10).is_err());
        assert_eq!(to_i(&[b'0'; 100_000], 10).unwrap(), 0);
    }
}
