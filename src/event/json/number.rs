//! Numbers: integers exact while 64 bits hold them, floats rounded correctly.

use super::error::Reason;
use crate::event::value::Value;

/// Digits that always fit `u64`.
const SAFE_DIGITS: usize = 19;

/// Powers of ten that a double holds exactly.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Bits of a double's mantissa.
const MANTISSA_BITS: u32 = 53;

/// Largest exponent that is told apart; beyond it everything is zero or infinite.
const MAX_EXPONENT: i32 = 100_000;

/// Reads the number at `start`; gives it and where it ends.
#[inline]
pub(super) fn read(text: &[u8], start: usize) -> Result<(Value<'static>, usize), Reason> {
    let negative = text.get(start) == Some(&b'-');
    let first = start + usize::from(negative);
    let mut scan = Digits { text, at: first, sum: 0 };
    let digits = scan.run()?;
    if digits > 1 && text[first] == b'0' {
        return Err(Reason::Number);
    }
    if matches!(text.get(scan.at), Some(b'.' | b'e' | b'E')) {
        return fraction(scan, start, first, negative);
    }
    let value = if digits <= SAFE_DIGITS { integer(scan.sum, negative) } else { big(&text[start..scan.at])? };
    Ok((value, scan.at))
}

/// Powers of ten by how many digits of eight there are.
const WHOLE_TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The digits at the start of the eight bytes at `at`, if there are so many: how many, and the number they are. Taken all
/// at once, for their count is hard to foretell.
#[inline(always)]
fn eight(text: &[u8], at: usize) -> Option<(usize, u64)> {
    let bytes = text.get(at..)?.first_chunk::<8>()?;
    // A digit becomes 0 to 9; adding 0x76 to anything above sets the top bit of its byte. What that carries into the next
    // byte is of no account: only the first one that is no digit is looked for.
    let digits = u64::from_le_bytes(*bytes) ^ 0x3030_3030_3030_3030;
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    let bits = others.trailing_zeros() & !7;
    // Zeros before them change no number. Then pairs, fours and all eight are put together.
    let digits = digits.checked_shl(64 - bits).unwrap_or(0);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let even = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let odd = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    Some(((bits / 8) as usize, even.wrapping_add(odd) >> 32))
}

/// The whole number at `start` that has less than eight digits and stands before other text; gives it and where it ends.
/// `None` for any other, and for what is no number.
#[inline(always)]
pub(super) fn small(text: &[u8], start: usize) -> Option<(u64, usize)> {
    let (digits, sum) = eight(text, start)?;
    let end = start + digits;
    let leading_zero = digits > 1 && text[start] == b'0';
    let whole = !matches!(text.get(end), None | Some(b'.' | b'e' | b'E'));
    (0 < digits && digits < 8 && whole && !leading_zero).then_some((sum, end))
}

struct Digits<'a> {
    text: &'a [u8],
    at: usize,
    /// The digits so far as one number; wraps after [`SAFE_DIGITS`].
    sum: u64,
}

impl Digits<'_> {
    /// Takes one digit or more; gives how many.
    #[inline(always)]
    fn run(&mut self) -> Result<usize, Reason> {
        let start = self.at;
        while let Some((digits, sum)) = eight(self.text, self.at) {
            self.sum = self.sum.wrapping_mul(WHOLE_TENS[digits]).wrapping_add(sum);
            self.at += digits;
            if digits < 8 {
                return if self.at > start { Ok(self.at - start) } else { Err(Reason::Number) };
            }
        }
        while let Some(digit) = self.text.get(self.at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            self.sum = self.sum.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        match self.at - start {
            0 if self.at == self.text.len() => Err(Reason::Truncated),
            0 => Err(Reason::Number),
            digits => Ok(digits),
        }
    }

    /// Takes an exponent if there is one.
    fn exponent(&mut self) -> Result<i32, Reason> {
        if !matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            return Ok(0);
        }
        let sign = self.text.get(self.at + 1).copied();
        self.at += 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
        let mut scan = Digits { text: self.text, at: self.at, sum: 0 };
        let digits = scan.run()?;
        self.at = scan.at;
        let size = if digits <= SAFE_DIGITS { scan.sum.min(MAX_EXPONENT as u64) as i32 } else { MAX_EXPONENT };
        Ok(if sign == Some(b'-') { -size } else { size })
    }
}

fn integer(size: u64, negative: bool) -> Value<'static> {
    match (negative, i64::try_from(size)) {
        (false, _) => Value::from(size),
        (true, Ok(n)) => Value::Int(-n),
        (true, Err(_)) if size == i64::MIN.unsigned_abs() => Value::Int(i64::MIN),
        (true, Err(_)) => Value::Float(-(size as f64)),
    }
}

/// An integer of twenty digits or more: where 64 bits don't hold it it becomes a float, for MessagePack has no larger one.
#[cold]
fn big(digits: &[u8]) -> Result<Value<'static>, Reason> {
    let text = str::from_utf8(digits).map_err(|_| Reason::Number)?;
    match text.parse::<u64>() {
        Ok(n) => Ok(Value::UInt(n)),
        Err(_) => slow(digits),
    }
}

/// The part behind the integer's digits: `.5`, `e3`, or both.
fn fraction(
    mut scan: Digits<'_>,
    start: usize,
    first: usize,
    negative: bool,
) -> Result<(Value<'static>, usize), Reason> {
    let mut digits = scan.at - first;
    let mut behind = 0;
    if scan.text[scan.at] == b'.' {
        scan.at += 1;
        behind = scan.run()?;
        digits += behind;
    }
    let sum = scan.sum;
    let exponent = scan.exponent()?;
    let value = match exact(sum, exponent - behind.min(MAX_EXPONENT as usize) as i32) {
        Some(size) if digits <= SAFE_DIGITS => Value::Float(if negative { -size } else { size }),
        _ => slow(&scan.text[start..scan.at])?,
    };
    Ok((value, scan.at))
}

/// Clinger's fast path: both the digits and the power of ten are exact doubles, so one operation rounds once.
#[inline]
fn exact(sum: u64, exponent: i32) -> Option<f64> {
    let ten = *TENS.get(exponent.unsigned_abs() as usize)?;
    if sum >> MANTISSA_BITS != 0 {
        return None;
    }
    Some(if exponent < 0 { sum as f64 / ten } else { sum as f64 * ten })
}

#[inline(never)]
fn slow(number: &[u8]) -> Result<Value<'static>, Reason> {
    let text = str::from_utf8(number).map_err(|_| Reason::Number)?;
    text.parse().map(Value::Float).map_err(|_| Reason::Number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str) -> Result<Value<'static>, Reason> {
        let (value, end) = read(text.as_bytes(), 0)?;
        if end == text.len() { Ok(value) } else { Err(Reason::Trailing) }
    }

    #[test]
    fn integers_are_exact_while_64_bits_hold_them() {
        for (text, value) in [
            ("0", Value::Int(0)),
            ("-0", Value::Int(0)),
            ("-1", Value::Int(-1)),
            ("9223372036854775807", Value::Int(i64::MAX)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("9223372036854775808", Value::UInt(1 << 63)),
            ("12345678901234567890", Value::UInt(12345678901234567890)),
            ("18446744073709551615", Value::UInt(u64::MAX)),
            ("18446744073709551616", Value::Float(18446744073709551616.0)),
            ("-9223372036854775809", Value::Float(-9223372036854775808.0)),
            ("-99999999999999999999", Value::Float(-1e20)),
            ("100000000000000000000000000000", Value::Float(1e29)),
        ] {
            assert_eq!(whole(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn floats_of_every_form_are_read() {
        for (text, value) in [
            ("1.5", 1.5),
            ("-0.0", -0.0),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("1e-3", 0.001),
            ("0e0", 0.0),
            ("123.456e2", 12345.6),
            ("0.1", 0.1),
            ("1e23", 1e23),
            ("9007199254740993.0", 9007199254740992.0),
            ("1e400", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
            ("1e99999999999999999999999", f64::INFINITY),
            ("999999999999999999999999999999.99999", 1e30),
            ("2.2250738585072011e-308", 2.225073858507201e-308),
        ] {
            let Ok(Value::Float(got)) = whole(text) else { panic!("{text}") };
            assert_eq!(got.to_bits(), value.to_bits(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["01", "-01", "00", "-", "-a", "1.", "1.e3", "1e", "1e+", "-.5", "1.-5", "1ee3"] {
            assert!(whole(text).is_err(), "{text}");
        }
        assert_eq!(read(b"1.", 0), Err(Reason::Truncated));
        assert_eq!(read(b"1.x", 0), Err(Reason::Number));
    }

    proptest! {
        #[test]
        fn floats_round_as_the_standard_library_does(number in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            for text in [format!("{number:e}"), format!("{number:.3}")] {
                let read = whole(&text);
                let expected: f64 = text.parse().unwrap();
                let close = matches!(read, Ok(Value::Float(got)) if got.to_bits() == expected.to_bits())
                    || matches!(read, Ok(Value::Int(got)) if got as f64 == expected);
                prop_assert!(close, "{text} {read:?}");
            }
        }

        #[test]
        fn short_decimals_round_as_the_standard_library_does(sum in 0u64..1 << 60, point in 0usize..25, exp in -30i32..30) {
            let digits = format!("{sum:025}");
            let (whole_part, fraction) = digits.split_at(point.clamp(1, 24));
            let text = format!("{}.{fraction}e{exp}", whole_part.trim_start_matches('0').parse::<u128>().unwrap_or(0));
            let expected: f64 = text.parse().unwrap();
            prop_assert_eq!(whole(&text), Ok(Value::Float(expected)));
        }
    }
}
