//! What a YAML value without quotes means. The rules are those of YAML 1.1 as Ruby's Psych reads it: `on` is true, `0644`
//! is octal, `3.40` is 3.4, `1:30` counts in sixties.

use crate::config::convert::ruby_float_text;
use crate::config::section::{Value, ValueKind};

pub(super) fn plain(text: &str) -> Value {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "" | "~" | "null" => return Value::nil(),
        "yes" | "true" | "on" => return Value::new("true", ValueKind::Bool),
        "no" | "false" | "off" => return Value::new("false", ValueKind::Bool),
        ".inf" | "+.inf" => return Value::new("Infinity", ValueKind::Float),
        "-.inf" => return Value::new("-Infinity", ValueKind::Float),
        ".nan" => return Value::new("NaN", ValueKind::Float),
        _ => {}
    }
    if let Some(number) = integer(text).or_else(|| sixties(text)) {
        return Value::new(number.to_string(), ValueKind::Integer);
    }
    if let Some(number) = float(text) {
        return Value::new(ruby_float_text(number), ValueKind::Float);
    }
    Value::bare(symbol(text))
}

/// `:foo` is a Ruby symbol, and its text has no colon.
fn symbol(text: &str) -> &str {
    let Some(name) = text.strip_prefix(':').filter(|name| !name.is_empty()) else {
        return text;
    };
    name.strip_prefix(['"', '\'']).and_then(|name| name.strip_suffix(['"', '\''])).unwrap_or(name)
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = sign(text);
    let plain = digits.replace([',', '_'], "");
    let value = if let Some(hex) = plain.strip_prefix("0x") {
        parse_digits(hex, 16)?
    } else if let Some(binary) = plain.strip_prefix("0b") {
        parse_digits(binary, 2)?
    } else if plain.len() > 1 && digits.starts_with('0') {
        parse_digits(&plain[1..], 8)?
    } else {
        let well_spaced = digits.split([',', '_']).all(|part| !part.is_empty());
        parse_digits(&plain, 10).filter(|_| well_spaced)?
    };
    Some(if negative { -value } else { value })
}

fn parse_digits(digits: &str, radix: u32) -> Option<i128> {
    let only_digits = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    i128::from_str_radix(digits, radix).ok().filter(|_| only_digits)
}

/// `190:20:30`: hours, minutes and seconds as one number.
fn sixties(text: &str) -> Option<i128> {
    let (negative, digits) = sign(text);
    let parts: Vec<&str> = digits.split(':').collect();
    if !(2..=3).contains(&parts.len()) || !parts[0].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut value = 0_i128;
    for (i, part) in parts.iter().enumerate() {
        let number = parse_digits(&part.replace('_', ""), 10)?;
        if i > 0 && (part.len() > 2 || number > 59) {
            return None;
        }
        value = value.checked_mul(60)?.checked_add(number)?;
    }
    Some(if negative { -value } else { value })
}

/// A float needs a dot, and a sign in its exponent.
fn float(text: &str) -> Option<f64> {
    let (_, rest) = sign(text);
    let (whole, after) = rest.split_once('.')?;
    let (fraction, power) = match after.split_once(['e', 'E']) {
        Some((fraction, power)) => (fraction, Some(power)),
        None => (after, None),
    };
    let whole_ok = whole.is_empty()
        || (whole.starts_with(|c: char| c.is_ascii_digit())
            && whole.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '_'));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let power_ok = power.is_none_or(|power| power.starts_with(['+', '-']) && power.len() > 1 && digits(&power[1..]));
    if !whole_ok || !digits(fraction) || !power_ok || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    text.replace([',', '_'], "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_typed_as_psych_types_them() {
        use ValueKind::{Bare, Bool, Float, Integer};
        for (text, expected, kind) in [
            ("On", "true", Bool),
            ("no", "false", Bool),
            ("TRUE", "true", Bool),
            ("0644", "420", Integer),
            ("0x1f", "31", Integer),
            ("0b11", "3", Integer),
            ("1_000", "1000", Integer),
            ("1,000", "1000", Integer),
            ("-5", "-5", Integer),
            ("0", "0", Integer),
            ("1:30", "90", Integer),
            ("3.40", "3.4", Float),
            ("1.0e+3", "1000.0", Float),
            (".5", "0.5", Float),
            ("1.", "1.0", Float),
            ("-.inf", "-Infinity", Float),
            ("1e3", "1e3", Bare),
            ("1.0e3", "1.0e3", Bare),
            ("0o17", "0o17", Bare),
            ("08", "08", Bare),
            ("1__0", "1__0", Bare),
            ("1.2.3", "1.2.3", Bare),
            (".", ".", Bare),
            ("127.0.0.1", "127.0.0.1", Bare),
            ("24224:24224", "24224:24224", Bare),
            ("2026-01-01", "2026-01-01", Bare),
            ("10s", "10s", Bare),
            ("64k", "64k", Bare),
            (":foo", "foo", Bare),
            ("yes please", "yes please", Bare),
            ("**", "**", Bare),
        ] {
            assert_eq!(plain(text), Value::new(expected, kind), "{text}");
        }
        for text in ["", "~", "null", "Null"] {
            assert_eq!(plain(text), Value::nil(), "{text}");
        }
    }
}
