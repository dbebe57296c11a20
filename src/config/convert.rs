//! Fluentd's conversions from text to numbers, sizes, times and booleans, as its `config/types.rb` does them.
//!
//! By default they are Ruby's lenient ones (`12abc` is 12, `abc` is 0). With `strict_config_value` a value must be a
//! number as a whole.

/// A fault of a value, or a hint about one.
pub(super) type Converted<T> = Result<T, String>;

/// A permission of files or directories, in octal.
pub fn permission(text: &str) -> Converted<u32> {
    u32::from_str_radix(text.trim_start_matches("0o"), 8)
        .map_err(|_| format!("{text:?} is no permission; write it in octal, as 0644"))
}

/// As Ruby's `String#to_i`: the number at the start, else 0. Too large numbers saturate.
pub(super) fn ruby_integer(text: &str) -> i64 {
    let text = text.trim_start_matches(is_space);
    let (negative, digits) = sign(text);
    let value = leading_digits(digits).bytes().filter(|b| *b != b'_').try_fold(0_i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        value.checked_mul(10)?.checked_sub(digit)
    });
    match value {
        Some(value) if negative => value,
        Some(value) => value.checked_neg().unwrap_or(i64::MAX),
        None if negative => i64::MIN,
        None => i64::MAX,
    }
}

/// As Ruby's `String#to_f`: the number at the start, else 0.
pub(super) fn ruby_float(text: &str) -> f64 {
    let text = text.trim_start_matches(is_space);
    let (negative, rest) = sign(text);
    let whole = leading_digits(rest);
    let mut number = whole.to_owned();
    let mut after = &rest[whole.len()..];
    if let Some(fraction) = after.strip_prefix('.').map(leading_digits).filter(|digits| !digits.is_empty()) {
        number = format!("{number}.{fraction}");
        after = &after[1 + fraction.len()..];
    }
    if let Some(power) = after.strip_prefix(['e', 'E']) {
        let (minus, digits) = sign(power);
        let digits = leading_digits(digits);
        if !digits.is_empty() && !number.is_empty() {
            number = format!("{number}e{}{digits}", if minus { "-" } else { "" });
        }
    }
    let value: f64 = number.replace('_', "").parse().unwrap_or(0.0);
    if negative { -value } else { value }
}

/// As Ruby's `Float#to_s`: at least one decimal, and exponents from 1e16 on and below 1e-4.
pub(super) fn ruby_float_text(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        let power: i32 = power.parse().unwrap_or(0);
        format!("{digits}{point}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
    } else {
        format!("{value:?}")
    }
}

/// An integer parameter.
pub(super) fn integer(text: &str, strict: bool) -> Converted<i64> {
    if !strict {
        return Ok(ruby_integer(text));
    }
    strict_integer(text).ok_or_else(|| format!("invalid value for Integer(): {text:?}"))
}

/// A float parameter.
pub(super) fn float(text: &str, strict: bool) -> Converted<f64> {
    if !strict {
        return Ok(ruby_float(text));
    }
    strict_float(text).ok_or_else(|| format!("invalid value for Float(): {text:?}"))
}

/// As Ruby's `Integer()`: white space around, a sign, `0x` `0b` `0o` prefixes, single underscores between digits.
fn strict_integer(text: &str) -> Option<i64> {
    let (negative, rest) = sign(text.trim_matches(is_space));
    let lower = rest.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'd', ..] => (10, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let digits = digits.strip_prefix('_').filter(|_| radix == 8).unwrap_or(digits);
    if !well_spaced(digits) || !digits.starts_with(|c: char| c.is_digit(radix)) {
        return None;
    }
    let signed = format!("{}{}", if negative { "-" } else { "" }, digits.replace('_', ""));
    i64::from_str_radix(&signed, radix).ok()
}

/// As Ruby's `Float()`; a hexadecimal integer is a float too.
fn strict_float(text: &str) -> Option<f64> {
    let trimmed = text.trim_matches(is_space);
    let (_, rest) = sign(trimmed);
    let decimal = rest.starts_with(|c: char| c.is_ascii_digit() || c == '.') && !rest.ends_with('.');
    let only = rest.bytes().all(|b| b.is_ascii_digit() || b"._eE+-".contains(&b));
    if rest.starts_with("0x") || rest.starts_with("0X") {
        #[expect(clippy::cast_precision_loss, reason = "Ruby rounds in the same way")]
        return strict_integer(trimmed).map(|value| value as f64);
    }
    if !decimal || !only || !well_spaced(rest) {
        return None;
    }
    trimmed.replace('_', "").parse().ok()
}

/// Whether underscores stand only between digits.
fn well_spaced(digits: &str) -> bool {
    !digits.is_empty() && digits.split('_').all(|part| !part.is_empty())
}

const KIB: i64 = 1 << 10;

/// The units of sizes in the order in which Fluentd looks for them.
const SIZE_UNITS: &[(char, i64)] =
    &[('k', KIB), ('m', KIB * KIB), ('g', KIB * KIB * KIB), ('t', KIB * KIB * KIB * KIB)];
/// The units of times, in seconds, in the order in which Fluentd looks for them.
const TIME_UNITS: &[(char, i64)] = &[('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];

/// What stands for a unit of time. Fluentd looks at the first letter alone: 100ms are 100 minutes there.
const TIME_WORDS: &[&str] = &[
    "s", "sec", "secs", "second", "seconds", "m", "min", "mins", "minute", "minutes", "h", "hour", "hours", "d", "day",
    "days",
];

/// What a text with a unit comes to, and whether something in it was passed over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct WithUnit<T> {
    pub value: T,
    /// Fluentd looks for digits before a unit anywhere in the text: `1.5m` is 5m, `1h30m` is 30m.
    pub odd: bool,
}

/// A size in bytes: `64k`, `8M`, `1g`, `2t` (1024 each), or an integer.
pub(super) fn size(text: &str, strict: bool) -> Converted<WithUnit<i64>> {
    match find_unit(text, SIZE_UNITS, true, &[]) {
        Some(found) => Ok(found),
        None => Ok(WithUnit { value: integer(text, strict)?, odd: false }),
    }
}

/// A time in seconds: `10s`, `5m`, `1h`, `7d`, or a float.
pub(super) fn time(text: &str, strict: bool) -> Converted<WithUnit<f64>> {
    match find_unit(text, TIME_UNITS, false, TIME_WORDS) {
        #[expect(clippy::cast_precision_loss, reason = "no such time is meant")]
        Some(found) => Ok(WithUnit { value: found.value as f64, odd: found.odd }),
        None => {
            let number = text.trim_matches(is_space);
            let odd = !number.is_empty() && strict_float(number).is_none();
            Ok(WithUnit { value: float(text, strict)?, odd })
        }
    }
}

/// The first unit of `units` that stands right after a digit, with the digits before it. `words`: what may stand there; anything
/// where there are none.
fn find_unit(text: &str, units: &[(char, i64)], any_case: bool, words: &[&str]) -> Option<WithUnit<i64>> {
    units.iter().find_map(|(unit, factor)| {
        let is_unit = |c: char| c == *unit || (any_case && c.eq_ignore_ascii_case(unit));
        let (at, _) =
            text.match_indices(is_unit).find(|(at, _)| text[..*at].ends_with(|c: char| c.is_ascii_digit()))?;
        let before = &text[..at];
        let digits = &before[before.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
        let value = ruby_integer(digits).saturating_mul(*factor);
        let rest = text[at + 1..].trim_matches(is_space);
        let letters = text[at..].split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        let odd = digits.len() != before.trim_start_matches(is_space).len()
            || rest.contains(|c: char| c.is_ascii_digit())
            || !words.is_empty() && !words.contains(&letters);
        Some(WithUnit { value, odd })
    })
}

/// A boolean: `true` and `yes`, `false` and `no`, in small letters; no value, or only a comment, is true.
pub(super) fn boolean(text: &str) -> Converted<bool> {
    match text {
        "true" | "yes" | "" => Ok(true),
        "false" | "no" => Ok(false),
        text if text.starts_with('#') => Ok(true),
        _ => Err(format!("invalid bool value: {text:?}")),
    }
}

/// A list without brackets: parts between commas, without the white space around them; empty parts at the end are dropped.
pub(super) fn comma_list(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = text.trim_matches(is_space).split(',').map(|part| part.trim_matches(is_space)).collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

/// A hash without braces: `name:value` between commas; a value may hold colons.
pub(super) fn comma_hash(text: &str) -> Vec<(&str, Option<&str>)> {
    comma_list(text)
        .into_iter()
        .map(|pair| match pair.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        })
        .collect()
}

fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Digits with single underscores between them.
fn leading_digits(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let between = *byte == b'_'
            && end > 0
            && bytes[end - 1].is_ascii_digit()
            && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !byte.is_ascii_digit() && !between {
            break;
        }
        end += 1;
    }
    &text[..end]
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_ruby_lenient_or_strict() {
        for (text, value) in [
            ("1", 1),
            ("1.9", 1),
            ("1_000", 1000),
            ("1x", 1),
            ("12abc", 12),
            ("0x1f", 0),
            ("hoge", 0),
            ("", 0),
            (" -7 ", -7),
            ("+3", 3),
            ("1__0", 1),
            ("_1", 0),
            ("99999999999999999999", i64::MAX),
            ("-99999999999999999999", i64::MIN),
        ] {
            assert_eq!(integer(text, false), Ok(value), "{text}");
        }
        for (text, value) in [
            ("6", 6),
            ("0x1f", 31),
            ("0b11", 3),
            ("0o17", 15),
            ("017", 15),
            (" 1_000 ", 1000),
            ("-0x10", -16),
            ("0", 0),
        ] {
            assert_eq!(integer(text, true), Ok(value), "{text}");
        }
        for text in ["hoge", "", "1x", "1__0", "_1", "08", "0x", "1_", "+-1"] {
            assert_eq!(integer(text, true), Err(format!("invalid value for Integer(): {text:?}")), "{text}");
        }
    }

    #[test]
    fn floats_are_ruby_lenient_or_strict() {
        for (text, value) in [
            ("1", 1.0),
            ("1.50x", 1.5),
            ("1e3", 1000.0),
            ("1e", 1.0),
            (".5", 0.5),
            ("hoge", 0.0),
            ("-1_0.2_5", -10.25),
            ("1.", 1.0),
        ] {
            assert_eq!(float(text, false), Ok(value), "{text}");
        }
        for (text, value) in [("1", 1.0), ("-1.5e-1", -0.15), ("0x10", 16.0)] {
            assert_eq!(float(text, true), Ok(value), "{text}");
        }
        for text in ["hoge", "", "1x", "1.", "NaN", "inf"] {
            assert!(float(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_take_the_digits_before_a_unit() {
        for (text, value) in [
            ("2k", 2048),
            ("2K", 2048),
            ("3m", 3 << 20),
            ("4G", 4 << 30),
            ("5t", 5 << 40),
            ("6", 6),
            ("64KB", 64 << 10),
            ("-1", -1),
            ("x", 0),
            ("", 0),
        ] {
            assert_eq!(size(text, false), Ok(WithUnit { value, odd: false }), "{text}");
        }
        assert_eq!(size("1.5m", false), Ok(WithUnit { value: 5 << 20, odd: true }));
        assert!(size("x", true).is_err());
        assert_eq!(size("99999999999t", false).map(|size| size.value), Ok(i64::MAX));
    }

    #[test]
    fn times_take_the_digits_before_a_unit() {
        for (text, value) in [
            ("10s", 10.0),
            ("10sec", 10.0),
            ("2m", 120.0),
            ("3h", 10_800.0),
            ("4d", 345_600.0),
            ("0.4", 0.4),
            ("4", 4.0),
            ("", 0.0),
        ] {
            assert_eq!(time(text, false), Ok(WithUnit { value, odd: false }), "{text}");
        }
        assert_eq!(time("0.5s", false), Ok(WithUnit { value: 5.0, odd: true }));
        assert_eq!(time("1h30m", false), Ok(WithUnit { value: 1800.0, odd: true }));
        assert_eq!(time("100ms", false), Ok(WithUnit { value: 6000.0, odd: true }));
        assert_eq!(time("10 minutes", false), Ok(WithUnit { value: 10.0, odd: true }));
        assert!(time("soon", true).is_err());
    }

    #[test]
    fn booleans_are_small_letters_and_nothing_is_true() {
        for (text, value) in [("true", true), ("yes", true), ("", true), ("#on", true), ("false", false), ("no", false)]
        {
            assert_eq!(boolean(text), Ok(value), "{text}");
        }
        for text in ["True", "1", "on", "Yes", "FALSE"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn comma_lists_drop_empty_parts_at_the_end() {
        assert_eq!(comma_list(" a a , b,c ,, "), ["a a", "b", "c"]);
        assert_eq!(comma_list(","), Vec::<&str>::new());
        assert_eq!(comma_list("a,,b"), ["a", "", "b"]);
        assert_eq!(comma_hash("x:v:v, k:1 ,z"), [("x", Some("v:v")), ("k", Some("1")), ("z", None)]);
    }
}
