//! Arithmetic as Ruby does it: integers floor, floats print shortest.

use std::cmp::Ordering;

use crate::plugin::ruby::ast::Op;
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::methods::no_method;
use crate::plugin::ruby::ops;
use crate::plugin::ruby::value::Val;

pub(crate) fn too_big() -> Box<Fault> {
    Fault::new("RangeError", "integer too big (128 bits)")
}

fn zero_division() -> Box<Fault> {
    Fault::new("ZeroDivisionError", "divided by 0")
}

fn no_coercion(right: Val<'_>, into: &str) -> Box<Fault> {
    let what = match right {
        Val::Nil => "nil".into(),
        Val::Bool(b) => b.to_string(),
        other => other.class().to_owned(),
    };
    Fault::type_error(format!("{what} can't be coerced into {into}"))
}

/// `n op right`.
pub(crate) fn int_op<'s>(op: Op, n: i128, right: Val<'s>) -> Outcome<'s> {
    match right {
        Val::Int(m) => Ok(int_int(op, n, m)?),
        Val::Float(f) => float_op(op, n as f64, Val::Float(f)),
        other => Err(no_coercion(other, "Integer").into()),
    }
}

fn int_int<'s>(op: Op, n: i128, m: i128) -> Checked<Val<'s>> {
    let result = match op {
        Op::Add => n.checked_add(m),
        Op::Sub => n.checked_sub(m),
        Op::Mul => n.checked_mul(m),
        Op::Div => return Ok(Val::Int(floor_div(n, m)?.0)),
        Op::Rem => return Ok(Val::Int(floor_div(n, m)?.1)),
        Op::Pow => return power(n, m),
        Op::Shl => shift(n, m),
        Op::Shr => shift(n, m.saturating_neg()),
        Op::And => Some(n & m),
        Op::Or => Some(n | m),
        Op::Xor => Some(n ^ m),
        other => return Err(no_method(other.sign(), Val::Int(n))),
    };
    result.map(Val::Int).ok_or_else(too_big)
}

/// Quotient rounded down, and the remainder with the divisor's sign.
pub(crate) fn floor_div(n: i128, m: i128) -> Checked<(i128, i128)> {
    if m == 0 {
        return Err(zero_division());
    }
    let (quotient, rest) = (n.checked_div(m).ok_or_else(too_big)?, n.checked_rem(m).unwrap_or(0));
    if rest != 0 && (rest < 0) != (m < 0) { Ok((quotient - 1, rest + m)) } else { Ok((quotient, rest)) }
}

fn power<'s>(n: i128, m: i128) -> Checked<Val<'s>> {
    if m < 0 {
        return Err(Fault::argument("a negative exponent gives a Rational in Ruby; write x.to_f ** y"));
    }
    let result = match (n, u32::try_from(m)) {
        (0 | 1, _) if m > 0 => Some(n),
        (-1, _) => Some(if m % 2 == 0 { 1 } else { -1 }),
        (_, Ok(m)) => n.checked_pow(m),
        _ => None,
    };
    result.map(Val::Int).ok_or_else(too_big)
}

fn shift(n: i128, by: i128) -> Option<i128> {
    match by {
        ..=-127 => Some(if n < 0 { -1 } else { 0 }),
        -126..0 => Some(n >> -by),
        0..127 => n.checked_mul(1_i128.checked_shl(by as u32)?),
        _ => (n == 0).then_some(0),
    }
}

/// `f op right`.
pub(crate) fn float_op<'s>(op: Op, f: f64, right: Val<'s>) -> Outcome<'s> {
    let g = match right {
        Val::Int(m) => m as f64,
        Val::Float(g) => g,
        other => return Err(no_coercion(other, "Float").into()),
    };
    Ok(Val::Float(match op {
        Op::Add => f + g,
        Op::Sub => f - g,
        Op::Mul => f * g,
        Op::Div => f / g,
        Op::Rem => float_mod(f, g),
        Op::Pow if f < 0.0 && g.fract() != 0.0 => {
            return Err(Fault::new("Math::DomainError", "a root of a negative number is Complex in Ruby").into());
        }
        Op::Pow => f.powf(g),
        other => return Err(no_method(other.sign(), Val::Float(f)).into()),
    }))
}

/// The remainder with the divisor's sign.
pub(crate) fn float_mod(f: f64, g: f64) -> f64 {
    let rest = f % g;
    if g.is_infinite() && f.is_finite() {
        return if f == 0.0 || (f < 0.0) == (g < 0.0) { f } else { g };
    }
    if rest != 0.0 && (rest < 0.0) != (g < 0.0) { rest + g } else { rest }
}

/// An integer against a float, exactly.
pub(crate) fn compare_mixed(n: i128, f: f64) -> Option<Ordering> {
    if f.is_nan() {
        return None;
    }
    let Ok(whole) = truncate(f) else { return Some(if f > 0.0 { Ordering::Less } else { Ordering::Greater }) };
    Some(n.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&f.fract()).unwrap_or(Ordering::Equal)))
}

/// A float without its fraction.
pub(crate) fn truncate(f: f64) -> Checked<i128> {
    if !f.is_finite() {
        return Err(Fault::new("FloatDomainError", float_text(f)));
    }
    if f.abs() >= i128::MAX as f64 { Err(too_big()) } else { Ok(f as i128) }
}

/// One character by number, as `chr` and `<<` make it.
pub(crate) fn char_text(code: i128) -> Checked<Vec<u8>> {
    let c = u32::try_from(code).ok().and_then(char::from_u32);
    let c = c.ok_or_else(|| Fault::new("RangeError", format!("{code} out of char range")))?;
    Ok(c.to_string().into_bytes())
}

/// A float as Ruby prints it: the shortest digits, with an exponent from 1e15 on and below 1e-4.
pub(crate) fn float_text(f: f64) -> String {
    if f.is_nan() {
        return "NaN".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let scientific = format!("{f:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..15).contains(&exponent) || f == 0.0 {
        let plain = format!("{f}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `round`, `floor` or `ceil`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Rounding {
    Half,
    Down,
    Up,
    Zero,
}

/// An integer rounded to a power of ten: `digits` is negative there.
pub(crate) fn round_int(n: i128, digits: i128, how: Rounding) -> Checked<i128> {
    let Ok(places) = u32::try_from(digits.saturating_neg()) else { return Ok(n) };
    let Some(unit) = 10_i128.checked_pow(places) else { return Ok(0) };
    let rest = floor_div(n, unit)?.1;
    let down = n.checked_sub(rest).ok_or_else(too_big)?;
    let up = || down.checked_add(unit).ok_or_else(too_big);
    match how {
        _ if rest == 0 => Ok(n),
        Rounding::Down => Ok(down),
        Rounding::Up => up(),
        Rounding::Zero => {
            if n < 0 {
                up()
            } else {
                Ok(down)
            }
        }
        Rounding::Half => {
            // Half goes away from zero.
            let above = rest > unit / 2 || (rest * 2 == unit && n > 0);
            if above { up() } else { Ok(down) }
        }
    }
}

/// A float rounded to `digits` places after the point, or to an integer where `digits` is not positive.
pub(crate) fn round_float<'s>(f: f64, digits: i128, how: Rounding) -> Checked<Val<'s>> {
    if digits <= 0 {
        let whole = match how {
            Rounding::Half => f.round(),
            Rounding::Down => f.floor(),
            Rounding::Up => f.ceil(),
            Rounding::Zero => f.trunc(),
        };
        let whole = truncate(if digits == 0 { whole } else { f })?;
        return Ok(Val::Int(if digits == 0 { whole } else { round_int(whole, digits, how)? }));
    }
    // A double has 17 digits at most: more places change nothing.
    if !f.is_finite() || digits > 17 || f == 0.0 || f.abs() >= 1e16 {
        return Ok(Val::Float(f));
    }
    Ok(Val::Float(round_places(f, digits as i32, how)))
}

fn round_places(f: f64, digits: i32, how: Rounding) -> f64 {
    let scale = 10_f64.powi(digits);
    let scaled = f * scale;
    if !scaled.is_finite() {
        return f;
    }
    let (whole, back) = match how {
        Rounding::Half if digits > 14 => return format!("{f:.*}", digits as usize).parse().unwrap_or(f),
        Rounding::Half => (scaled.round(), 0.5),
        Rounding::Zero => (scaled.trunc(), 0.0),
        Rounding::Down => return directed(f, scaled.floor(), scale, 1.0),
        Rounding::Up => return directed(f, scaled.ceil(), scale, -1.0),
    };
    // The product may have been rounded below the half that the number's own text has: 1.005.round(2) is 1.01.
    let next = (whole.abs() + back) / scale;
    let whole = if back > 0.0 && next <= f.abs() { whole + f.signum() } else { whole };
    whole / scale
}

/// Floor or ceiling, corrected where the product was rounded past a whole number: `1.1.floor(1)` is 1.1.
fn directed(f: f64, whole: f64, scale: f64, step: f64) -> f64 {
    let next = (whole + step) / scale;
    let fits = if step > 0.0 { next <= f } else { next >= f };
    if fits { next } else { whole / scale }
}

/// `x.clamp(low, high)`; nil leaves an end open.
pub(crate) fn clamp<'s>(value: Val<'s>, low: Val<'s>, high: Val<'s>) -> Checked<Val<'s>> {
    let order = |a, b| ops::compare(a, b).ok_or_else(|| ops::not_comparable(a, b));
    if !matches!(low, Val::Nil) && !matches!(high, Val::Nil) && order(low, high)?.is_gt() {
        return Err(Fault::argument("min argument must be less than or equal to max argument"));
    }
    if !matches!(low, Val::Nil) && order(value, low)?.is_lt() {
        return Ok(low);
    }
    if !matches!(high, Val::Nil) && order(value, high)?.is_gt() {
        return Ok(high);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn floats_print_as_ruby_prints_them() {
        let cases = [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (999_999_999_999_999.9, "999999999999999.9"),
            (1e15, "1.0e+15"),
            (1e16, "1.0e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0e-05"),
            (123456.789, "123456.789"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (f, text) in cases {
            assert_eq!(float_text(f), text);
        }
    }

    #[test]
    fn integer_arithmetic_at_the_borders_is_an_error_and_not_a_panic() {
        assert!(floor_div(i128::MIN, -1).is_err());
        assert!(floor_div(1, 0).is_err());
        for op in [Op::Add, Op::Sub, Op::Mul, Op::Pow, Op::Shl, Op::Shr, Op::Div, Op::Rem] {
            for n in [i128::MIN, -1, 0, 1, i128::MAX] {
                for m in [i128::MIN, -200, -1, 0, 1, 200, i128::MAX] {
                    let _ = int_int(op, n, m);
                }
            }
        }
        for how in [Rounding::Half, Rounding::Up, Rounding::Down, Rounding::Zero] {
            let _ = round_int(i128::MIN, -38, how);
            let _ = round_int(i128::MAX, i128::MIN, how);
        }
    }

    #[test]
    fn integers_and_floats_compare_exactly() {
        assert_eq!(compare_mixed(9_007_199_254_740_993, 9_007_199_254_740_992.0), Some(Ordering::Greater));
        assert_eq!(compare_mixed(1, 1.5), Some(Ordering::Less));
        assert_eq!(compare_mixed(-1, -1.5), Some(Ordering::Greater));
        assert_eq!(compare_mixed(1, f64::INFINITY), Some(Ordering::Less));
        assert_eq!(compare_mixed(1, f64::NAN), None);
    }
}
