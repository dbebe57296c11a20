//! Methods of Integer and Float.

use super::number::{self, Rounding, float_text, floor_div, round_float, round_int, too_big, truncate};
use super::read_number::check_base;
use crate::plugin::ruby::ast::Op;
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::methods::{Args, Def, FloatFn, IntFn, def};
use crate::plugin::ruby::ops;
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::{Vm, check_elements};

pub(crate) const INT: &[Def<IntFn>] = &[
    def("abs", 0, 0, |_, n, _| Ok(Val::Int(n.checked_abs().ok_or_else(too_big)?))),
    def("magnitude", 0, 0, |_, n, _| Ok(Val::Int(n.checked_abs().ok_or_else(too_big)?))),
    def("between?", 2, 2, |_, n, args| between(Val::Int(n), args)),
    def("bit_length", 0, 0, |_, n, _| Ok(Val::Int((128 - (n ^ (n >> 127)).leading_zeros()).into()))),
    def("ceil", 0, 1, |_, n, args| Ok(Val::Int(round_int(n, digits(args)?, Rounding::Up)?))),
    def("chr", 0, 1, chr),
    def("clamp", 1, 2, |_, n, args| clamp(Val::Int(n), args)),
    def("digits", 0, 0, int_digits),
    def("div", 1, 1, |_, n, args| floored_quotient(Val::Int(n), args.val(0))),
    def("divmod", 1, 1, |vm, n, args| divmod(vm, Val::Int(n), args.val(0))),
    def("downto", 1, 1, |vm, n, args| {
        let low = args.int(0)?;
        count(vm, args, n, low, -1)
    }),
    def("even?", 0, 0, |_, n, _| Ok(Val::Bool(n % 2 == 0))),
    def("fdiv", 1, 1, |_, n, args| number::float_op(Op::Div, n as f64, args.val(0))),
    def("finite?", 0, 0, |_, _, _| Ok(Val::Bool(true))),
    def("floor", 0, 1, |_, n, args| Ok(Val::Int(round_int(n, digits(args)?, Rounding::Down)?))),
    def("gcd", 1, 1, |_, n, args| Ok(Val::Int(gcd(n, args.int(0)?)?))),
    def("infinite?", 0, 0, |_, _, _| Ok(Val::Nil)),
    def("integer?", 0, 0, |_, _, _| Ok(Val::Bool(true))),
    def("lcm", 1, 1, lcm),
    def("modulo", 1, 1, |_, n, args| number::int_op(Op::Rem, n, args.val(0))),
    def("negative?", 0, 0, |_, n, _| Ok(Val::Bool(n < 0))),
    def("next", 0, 0, |_, n, _| number::int_op(Op::Add, n, Val::Int(1))),
    def("nonzero?", 0, 0, |_, n, _| Ok(if n == 0 { Val::Nil } else { Val::Int(n) })),
    def("odd?", 0, 0, |_, n, _| Ok(Val::Bool(n % 2 != 0))),
    def("ord", 0, 0, |_, n, _| Ok(Val::Int(n))),
    def("positive?", 0, 0, |_, n, _| Ok(Val::Bool(n > 0))),
    def("pow", 1, 1, |_, n, args| number::int_op(Op::Pow, n, args.val(0))),
    def("pred", 0, 0, |_, n, _| number::int_op(Op::Sub, n, Val::Int(1))),
    def("remainder", 1, 1, |_, n, args| {
        let m = args.int(0)?;
        floor_div(n, m)?;
        Ok(Val::Int(n.checked_rem(m).unwrap_or(0)))
    }),
    def("round", 0, 1, |_, n, args| Ok(Val::Int(round_int(n, digits(args)?, Rounding::Half)?))),
    def("size", 0, 0, |_, n, _| Ok(Val::Int(if i64::try_from(n).is_ok() { 8 } else { 16 }))),
    def("succ", 0, 0, |_, n, _| number::int_op(Op::Add, n, Val::Int(1))),
    def("times", 0, 0, |vm, n, args| {
        let counted = count(vm, args, 0, n.saturating_sub(1), 1)?;
        Ok(if args.block.is_some() { Val::Int(n) } else { counted })
    }),
    def("to_f", 0, 0, |_, n, _| Ok(Val::Float(n as f64))),
    def("to_i", 0, 0, |_, n, _| Ok(Val::Int(n))),
    def("to_int", 0, 0, |_, n, _| Ok(Val::Int(n))),
    def("to_s", 0, 1, int_to_s),
    def("inspect", 0, 0, int_to_s),
    def("truncate", 0, 1, |_, n, args| Ok(Val::Int(round_int(n, digits(args)?, Rounding::Zero)?))),
    def("upto", 1, 1, |vm, n, args| {
        let high = args.int(0)?;
        count(vm, args, n, high, 1)
    }),
    def("zero?", 0, 0, |_, n, _| Ok(Val::Bool(n == 0))),
];

pub(crate) const FLOAT: &[Def<FloatFn>] = &[
    def("abs", 0, 0, |_, f, _| Ok(Val::Float(f.abs()))),
    def("magnitude", 0, 0, |_, f, _| Ok(Val::Float(f.abs()))),
    def("between?", 2, 2, |_, f, args| between(Val::Float(f), args)),
    def("ceil", 0, 1, |_, f, args| Ok(round_float(f, digits(args)?, Rounding::Up)?)),
    def("clamp", 1, 2, |_, f, args| clamp(Val::Float(f), args)),
    def("div", 1, 1, |_, f, args| floored_quotient(Val::Float(f), args.val(0))),
    def("divmod", 1, 1, |vm, f, args| divmod(vm, Val::Float(f), args.val(0))),
    def("fdiv", 1, 1, |_, f, args| number::float_op(Op::Div, f, args.val(0))),
    def("finite?", 0, 0, |_, f, _| Ok(Val::Bool(f.is_finite()))),
    def("floor", 0, 1, |_, f, args| Ok(round_float(f, digits(args)?, Rounding::Down)?)),
    def("infinite?", 0, 0, |_, f, _| Ok(if f.is_infinite() { Val::Int(f.signum() as i128) } else { Val::Nil })),
    def("integer?", 0, 0, |_, _, _| Ok(Val::Bool(false))),
    def("modulo", 1, 1, |_, f, args| number::float_op(Op::Rem, f, args.val(0))),
    def("nan?", 0, 0, |_, f, _| Ok(Val::Bool(f.is_nan()))),
    def("negative?", 0, 0, |_, f, _| Ok(Val::Bool(f < 0.0))),
    def("nonzero?", 0, 0, |_, f, _| Ok(if f == 0.0 { Val::Nil } else { Val::Float(f) })),
    def("positive?", 0, 0, |_, f, _| Ok(Val::Bool(f > 0.0))),
    def("round", 0, 1, |_, f, args| Ok(round_float(f, digits(args)?, Rounding::Half)?)),
    def("to_f", 0, 0, |_, f, _| Ok(Val::Float(f))),
    def("to_i", 0, 0, |_, f, _| Ok(Val::Int(truncate(f)?))),
    def("to_int", 0, 0, |_, f, _| Ok(Val::Int(truncate(f)?))),
    def("to_s", 0, 0, |vm, f, _| vm.string(float_text(f))),
    def("inspect", 0, 0, |vm, f, _| vm.string(float_text(f))),
    def("truncate", 0, 1, |_, f, args| Ok(round_float(f, digits(args)?, Rounding::Zero)?)),
    def("zero?", 0, 0, |_, f, _| Ok(Val::Bool(f == 0.0))),
];

fn digits(args: Args<'_, '_>) -> Checked<i128> {
    if args.list.is_empty() { Ok(0) } else { args.int(0) }
}

fn between<'s>(value: Val<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let order = |other| ops::compare(value, other).ok_or_else(|| ops::not_comparable(value, other));
    Ok(Val::Bool(order(args.val(0))?.is_ge() && order(args.val(1))?.is_le()))
}

fn clamp<'s>(value: Val<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    match (args.val(0), args.list.len()) {
        (Val::Range(r), 1) => Ok(number::clamp(value, r.first, r.last)?),
        (_, 2) => Ok(number::clamp(value, args.val(0), args.val(1))?),
        (other, _) => Err(Fault::type_error(format!("wrong argument type {} (expected Range)", other.class())).into()),
    }
}

fn floored_quotient<'s>(left: Val<'s>, right: Val<'s>) -> Outcome<'s> {
    match (left, right) {
        (Val::Int(n), Val::Int(m)) => Ok(Val::Int(floor_div(n, m)?.0)),
        _ => {
            let (f, g) = (as_float(left)?, as_float(right)?);
            if g == 0.0 {
                return Err(Fault::new("ZeroDivisionError", "divided by 0").into());
            }
            Ok(Val::Int(truncate((f / g).floor())?))
        }
    }
}

fn divmod<'s>(vm: &mut Vm<'s>, left: Val<'s>, right: Val<'s>) -> Outcome<'s> {
    let quotient = floored_quotient(left, right)?;
    let rest = match (left, right) {
        (Val::Int(n), Val::Int(m)) => Val::Int(floor_div(n, m)?.1),
        _ => Val::Float(number::float_mod(as_float(left)?, as_float(right)?)),
    };
    vm.array([quotient, rest])
}

fn as_float(value: Val<'_>) -> Checked<f64> {
    match value {
        Val::Int(n) => Ok(n as f64),
        Val::Float(f) => Ok(f),
        other => Err(Fault::type_error(format!("{} can't be coerced into Float", other.class()))),
    }
}

fn int_to_s<'s>(vm: &mut Vm<'s>, n: i128, args: Args<'_, 's>) -> Outcome<'s> {
    let base = if args.list.is_empty() { 10 } else { check_base(args.int(0)?)? };
    if base == 10 {
        return vm.string(n.to_string());
    }
    let base = if base == 0 { return Err(Fault::argument("invalid radix 0").into()) } else { u128::from(base) };
    let digits = in_base(n.unsigned_abs(), base);
    vm.string(if n < 0 { format!("-{digits}") } else { digits })
}

/// Digits of a number in a base from 2 to 36.
pub(crate) fn in_base(mut n: u128, base: u128) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit((n % base) as u32, base as u32).unwrap_or('0'));
        n /= base;
        if n == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

/// Without an encoding a number above ASCII is a byte.
fn chr<'s>(vm: &mut Vm<'s>, n: i128, args: Args<'_, 's>) -> Outcome<'s> {
    match n {
        128..=255 if args.list.is_empty() => Ok(Val::Bin(vm.keep(&[n as u8])?)),
        256.. if args.list.is_empty() => Err(Fault::new("RangeError", format!("{n} out of char range")).into()),
        _ => {
            let text = number::char_text(n)?;
            vm.string(text)
        }
    }
}

fn int_digits<'s>(vm: &mut Vm<'s>, n: i128, _: Args<'_, 's>) -> Outcome<'s> {
    if n < 0 {
        return Err(Fault::new("Math::DomainError", "out of domain").into());
    }
    let digits: Vec<Val<'s>> = n.to_string().bytes().rev().map(|b| Val::Int((b - b'0').into())).collect();
    vm.array(digits)
}

fn gcd(n: i128, m: i128) -> Checked<i128> {
    let (mut a, mut b) = (n.unsigned_abs(), m.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i128::try_from(a).map_err(|_| too_big())
}

fn lcm<'s>(_: &mut Vm<'s>, n: i128, args: Args<'_, 's>) -> Outcome<'s> {
    let m = args.int(0)?;
    let divisor = gcd(n, m)?;
    if divisor == 0 {
        return Ok(Val::Int(0));
    }
    let product = (n / divisor).checked_mul(m).and_then(i128::checked_abs);
    Ok(Val::Int(product.ok_or_else(too_big)?))
}

/// Counts from `from` to `to`: runs the block, or gives the numbers.
fn count<'s>(vm: &mut Vm<'s>, args: Args<'_, 's>, from: i128, to: i128, step: i128) -> Outcome<'s> {
    let len = if step > 0 { to.saturating_sub(from) } else { from.saturating_sub(to) }.saturating_add(1).max(0);
    let Some(block) = args.block else {
        check_elements(usize::try_from(len).unwrap_or(usize::MAX))?;
        let numbers: Vec<Val<'s>> = (0..len).map(|i| Val::Int(from + i * step)).collect();
        return vm.array(numbers);
    };
    for i in 0..len {
        vm.run(block, &[Val::Int(from + i * step)])?;
    }
    Ok(Val::Int(from))
}
