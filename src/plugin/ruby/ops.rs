//! Operators, equality and order.

use std::cmp::Ordering;

use super::ast::Op;
use super::error::{Checked, Fault, Outcome};
use super::index;
use super::lib::{number, pattern};
use super::methods::no_method;
use super::text::{self, Buf, check_len};
use super::value::{Arr, Map, Val, Walk};
use super::vm::Vm;

/// `left op right`.
pub(super) fn binary<'s>(vm: &mut Vm<'s>, op: Op, left: Val<'s>, right: Val<'s>) -> Outcome<'s> {
    vm.charge(left.weight())?;
    match op {
        Op::Eq => Ok(Val::Bool(equal(left, right))),
        Op::Ne => Ok(Val::Bool(!equal(left, right))),
        Op::CaseEq => Ok(Val::Bool(case_eq(vm, left, right)?)),
        Op::Cmp => Ok(compare(left, right).map_or(Val::Nil, |o| Val::Int(o as i128))),
        Op::Lt => Ok(Val::Bool(ordered(op, left, right)?.is_lt())),
        Op::Le => Ok(Val::Bool(ordered(op, left, right)?.is_le())),
        Op::Gt => Ok(Val::Bool(ordered(op, left, right)?.is_gt())),
        Op::Ge => Ok(Val::Bool(ordered(op, left, right)?.is_ge())),
        Op::Match => pattern::match_operator(vm, left, right),
        Op::NotMatch => Ok(Val::Bool(!pattern::match_operator(vm, left, right)?.truthy())),
        _ => arithmetic(vm, op, left, right),
    }
}

fn arithmetic<'s>(vm: &mut Vm<'s>, op: Op, left: Val<'s>, right: Val<'s>) -> Outcome<'s> {
    match left {
        Val::Int(n) => number::int_op(op, n, right),
        Val::Float(f) => number::float_op(op, f, right),
        Val::Str(t) | Val::Bin(t) => text_op(vm, op, t, right),
        Val::Array(a) => array_op(vm, op, a, right),
        Val::Time(t) => super::lib::time::operator(op, t, right),
        // `nil & x` is false, `nil | x` is whether x is true.
        Val::Nil | Val::Bool(_) if op == Op::And => Ok(Val::Bool(left.truthy() && right.truthy())),
        Val::Nil | Val::Bool(_) if op == Op::Or => Ok(Val::Bool(left.truthy() || right.truthy())),
        Val::Nil | Val::Bool(_) if op == Op::Xor => Ok(Val::Bool(left.truthy() != right.truthy())),
        other => Err(no_method(op.sign(), other).into()),
    }
}

fn text_op<'s>(vm: &mut Vm<'s>, op: Op, text: &'s [u8], right: Val<'s>) -> Outcome<'s> {
    match op {
        // A literal or a value of the record is never changed in place: `<<` gives the longer string.
        Op::Add | Op::Shl => {
            let right = match (op, right) {
                (Op::Shl, Val::Int(code)) => vm.keep(&number::char_text(code)?)?,
                _ => right.to_text()?,
            };
            check_len(text.len() + right.len())?;
            vm.string([text, right].concat())
        }
        Op::Mul => {
            let times = right.to_int()?;
            let times = usize::try_from(times).map_err(|_| Fault::argument("argument must be non-negative"))?;
            check_len(text.len().saturating_mul(times))?;
            vm.string(text.repeat(times))
        }
        Op::Rem => {
            let list = match right {
                Val::Array(a) => a.to_vec(),
                other => vec![other],
            };
            let made = super::lib::format::format(text, &list)?;
            vm.string(made)
        }
        _ => Err(no_method(op.sign(), Val::Str(text)).into()),
    }
}

fn array_op<'s>(vm: &mut Vm<'s>, op: Op, array: Arr<'s>, right: Val<'s>) -> Outcome<'s> {
    match (op, right) {
        (Op::Shl, item) => {
            vm.push(array, item)?;
            Ok(Val::Array(array))
        }
        (Op::Mul, Val::Str(sep)) => super::lib::array::join(vm, array, sep),
        (Op::Mul, times) => {
            let times = times.to_int()?;
            let times = usize::try_from(times).map_err(|_| Fault::argument("argument must be non-negative"))?;
            super::vm::check_elements(array.len().saturating_mul(times))?;
            let items = array.items().repeat(times);
            vm.array(items)
        }
        (Op::Add, right) => {
            let right = right.to_array()?;
            let items = [array.items().as_slice(), right.items().as_slice()].concat();
            vm.array(items)
        }
        (Op::Sub | Op::And | Op::Or, right) => set_op(vm, op, array, right.to_array()?),
        _ => Err(no_method(op.sign(), Val::Array(array)).into()),
    }
}

fn set_op<'s>(vm: &mut Vm<'s>, op: Op, left: Arr<'s>, right: Arr<'s>) -> Outcome<'s> {
    vm.charge(left.len().saturating_mul(right.len().max(left.len())) / 16)?;
    let (left, right) = (left.items(), right.items());
    let has = |list: &[Val<'s>], v: Val<'s>| list.iter().any(|o| eql(*o, v));
    let mut items: Vec<Val<'s>> = Vec::new();
    for v in left.iter().copied() {
        let keep = match op {
            Op::Sub => !has(&right, v),
            Op::And => has(&right, v) && !has(&items, v),
            _ => !has(&items, v),
        };
        if keep {
            items.push(v);
        }
    }
    if op == Op::Or {
        for v in right.iter().copied() {
            if !has(&items, v) {
                items.push(v);
            }
        }
    }
    vm.array(items)
}

/// Unary minus.
pub(super) fn negate(value: Val<'_>) -> Checked<Val<'_>> {
    match value {
        Val::Int(n) => n.checked_neg().map(Val::Int).ok_or_else(number::too_big),
        Val::Float(f) => Ok(Val::Float(-f)),
        other => Err(no_method("-@", other)),
    }
}

fn ordered(op: Op, left: Val<'_>, right: Val<'_>) -> Checked<Ordering> {
    let comparable =
        matches!(left, Val::Int(_) | Val::Float(_) | Val::Str(_) | Val::Bin(_) | Val::Sym(_) | Val::Time(_));
    if !comparable {
        return Err(no_method(op.sign(), left));
    }
    compare(left, right).ok_or_else(|| not_comparable(left, right))
}

/// `comparison of Integer with nil failed`.
pub(super) fn not_comparable(left: Val<'_>, right: Val<'_>) -> Box<Fault> {
    let mut shown = Buf::new();
    let right = match right {
        Val::Nil | Val::Bool(_) | Val::Int(_) | Val::Float(_) if text::inspect(right, &mut shown, 1).is_ok() => {
            String::from_utf8_lossy(shown.bytes()).into_owned()
        }
        other => other.class().to_owned(),
    };
    Fault::argument(format!("comparison of {} with {right} failed", left.class()))
}

/// `<=>`; `None` where Ruby gives nil.
pub(super) fn compare(left: Val<'_>, right: Val<'_>) -> Option<Ordering> {
    compare_within(left, right, &mut Walk::new())
}

fn compare_within(left: Val<'_>, right: Val<'_>, walk: &mut Walk) -> Option<Ordering> {
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(&b)),
        (Val::Int(a), Val::Float(b)) => number::compare_mixed(a, b),
        (Val::Float(a), Val::Int(b)) => number::compare_mixed(b, a).map(Ordering::reverse),
        (Val::Float(a), Val::Float(b)) => a.partial_cmp(&b),
        (Val::Str(a) | Val::Bin(a), Val::Str(b) | Val::Bin(b)) => Some(a.cmp(b)),
        (Val::Sym(a), Val::Sym(b)) => Some(a.cmp(b)),
        (Val::Time(a), Val::Time(b)) => Some(a.time.cmp(&b.time)),
        (Val::Array(a), Val::Array(b)) => walk.deeper(None, |walk| compare_arrays(a, b, walk)),
        (a, b) => equal_within(a, b, Sameness::Equal, walk).then_some(Ordering::Equal),
    }
}

fn compare_arrays(a: Arr<'_>, b: Arr<'_>, walk: &mut Walk) -> Option<Ordering> {
    let (a, b) = (a.items(), b.items());
    for (x, y) in a.iter().zip(b.iter()) {
        match compare_within(*x, *y, walk)? {
            Ordering::Equal => {}
            other => return Some(other),
        }
    }
    Some(a.len().cmp(&b.len()))
}

/// How like two values must be.
#[derive(Clone, Copy, PartialEq)]
enum Sameness {
    /// `==`: `1 == 1.0`
    Equal,
    /// `eql?`, as hash keys: not.
    Eql,
}

/// `left == right`.
pub(super) fn equal(left: Val<'_>, right: Val<'_>) -> bool {
    equal_within(left, right, Sameness::Equal, &mut Walk::new())
}

/// `left.eql?(right)`: what makes two hash keys one.
pub(super) fn eql(left: Val<'_>, right: Val<'_>) -> bool {
    match (left, right) {
        (Val::Str(a), Val::Str(b)) => a == b,
        _ => equal_within(left, right, Sameness::Eql, &mut Walk::new()),
    }
}

fn equal_within(left: Val<'_>, right: Val<'_>, like: Sameness, walk: &mut Walk) -> bool {
    match (left, right) {
        (Val::Nil, Val::Nil) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Int(a), Val::Int(b)) => a == b,
        (Val::Float(a), Val::Float(b)) => a == b,
        (Val::Int(_), Val::Float(_)) | (Val::Float(_), Val::Int(_)) => {
            like == Sameness::Equal && compare(left, right) == Some(Ordering::Equal)
        }
        (Val::Str(a) | Val::Bin(a), Val::Str(b) | Val::Bin(b)) | (Val::Sym(a), Val::Sym(b)) => a == b,
        (Val::Array(a), Val::Array(b)) => same(a, b) || walk.deeper(false, |walk| equal_arrays(a, b, like, walk)),
        (Val::Hash(a), Val::Hash(b)) => same(a, b) || walk.deeper(false, |walk| equal_maps(a, b, like, walk)),
        (Val::Range(a), Val::Range(b)) => {
            a.exclusive == b.exclusive
                && equal_within(a.first, b.first, like, walk)
                && equal_within(a.last, b.last, like, walk)
        }
        (Val::Time(a), Val::Time(b)) => a.time == b.time,
        (Val::Class(a), Val::Class(b)) => a == b,
        (Val::Regex(a), Val::Regex(b)) => a.source == b.source,
        (Val::Ext(a, x), Val::Ext(b, y)) => a == b && x == y,
        (Val::Error(a, x), Val::Error(b, y)) => a == b && x == y,
        _ => false,
    }
}

/// Whether two references lead to one object.
fn same<A, B>(a: &A, b: &B) -> bool {
    std::ptr::addr_eq(a, b)
}

fn equal_arrays(a: Arr<'_>, b: Arr<'_>, like: Sameness, walk: &mut Walk) -> bool {
    let (a, b) = (a.items(), b.items());
    a.len() == b.len() && a.iter().zip(b.iter()).all(|(x, y)| equal_within(*x, *y, like, walk))
}

fn equal_maps(a: Map<'_>, b: Map<'_>, like: Sameness, walk: &mut Walk) -> bool {
    let (a, b) = (a.pairs(), b.pairs());
    a.len() == b.len()
        && a.iter().enumerate().all(|(n, (k, x))| {
            // Most often the keys have the same order.
            let mut twin = b.get(n).filter(|(l, _)| equal_within(*k, *l, Sameness::Eql, walk));
            if twin.is_none() && walk.afford(b.len() / 8) {
                twin = b.iter().find(|(l, _)| equal_within(*k, *l, Sameness::Eql, walk));
            }
            twin.is_some_and(|(_, y)| equal_within(*x, *y, like, walk))
        })
}

/// `test === value`, as `case` asks.
pub(super) fn case_eq<'s>(vm: &mut Vm<'s>, test: Val<'s>, value: Val<'s>) -> Checked<bool> {
    match test {
        Val::Class(name) => Ok(is_a(value, name)),
        Val::Regex(p) => match value {
            Val::Str(t) | Val::Bin(t) | Val::Sym(t) => Ok(pattern::find(vm, p, t, 0)?.is_some()),
            _ => Ok(false),
        },
        Val::Range(r) => Ok(index::covers(r, value)),
        other => Ok(equal(other, value)),
    }
}

/// `value.is_a?(class)`.
pub(super) fn is_a(value: Val<'_>, class: &str) -> bool {
    match class {
        "Object" | "BasicObject" | "Kernel" => true,
        "Numeric" => matches!(value, Val::Int(_) | Val::Float(_)),
        "Comparable" => {
            matches!(value, Val::Int(_) | Val::Float(_) | Val::Str(_) | Val::Bin(_) | Val::Sym(_) | Val::Time(_))
        }
        "Enumerable" => matches!(value, Val::Array(_) | Val::Hash(_) | Val::Range(_)),
        name => match value {
            Val::Error(own, _) => super::error::rescues(name, own),
            other => other.class() == name,
        },
    }
}
