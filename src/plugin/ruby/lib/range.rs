//! Range: its own methods, and those it shares with arrays by way of its elements.

use super::succ::succ;
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::limits::MAX_ELEMENTS;
use crate::plugin::ruby::methods::{ANY, Args, Def, RangeFn, def};
use crate::plugin::ruby::value::{Span, Val};
use crate::plugin::ruby::vm::{Vm, check_elements};
use crate::plugin::ruby::{index, ops};

pub(crate) const TABLE: &[Def<RangeFn>] = &[
    def("begin", 0, 0, |_, r, _| Ok(r.first)),
    def("cover?", 1, 1, |_, r, args| Ok(Val::Bool(index::covers(r, args.val(0))))),
    def("end", 0, 0, |_, r, _| Ok(r.last)),
    def("exclude_end?", 0, 0, |_, r, _| Ok(Val::Bool(r.exclusive))),
    def("first", 0, 1, |vm, r, args| if args.list.is_empty() { Ok(r.first) } else { take(vm, r, args) }),
    def("include?", 1, 1, |_, r, args| Ok(Val::Bool(index::covers(r, args.val(0))))),
    def("last", 0, 1, |vm, r, args| if args.list.is_empty() { Ok(r.last) } else { as_array(vm, r, args) }),
    def("max", 0, 1, |vm, r, args| match (r.first, r.last) {
        (Val::Int(first), Val::Int(last)) if args.list.is_empty() && args.block.is_none() => {
            let last = if r.exclusive { last - 1 } else { last };
            Ok(if last < first { Val::Nil } else { Val::Int(last) })
        }
        _ => as_array(vm, r, args),
    }),
    def("member?", 1, 1, |_, r, args| Ok(Val::Bool(index::covers(r, args.val(0))))),
    def("min", 0, 1, |vm, r, args| match ops::compare(r.first, r.last) {
        Some(order) if args.list.is_empty() && args.block.is_none() => {
            Ok(if order.is_le() { r.first } else { Val::Nil })
        }
        _ => as_array(vm, r, args),
    }),
    def("size", 0, 0, |_, r, _| match (r.first, r.last) {
        (Val::Int(first), Val::Int(last)) => {
            let len = last.saturating_sub(first).saturating_add((!r.exclusive).into());
            Ok(Val::Int(len.max(0)))
        }
        _ => Ok(Val::Nil),
    }),
    def("step", 1, 1, step),
];

/// What works on the elements as on an array's.
pub(crate) const AS_ARRAY: &[Def<RangeFn>] = &[
    def("all?", 0, 1, as_array),
    def("any?", 0, 1, as_array),
    def("collect", 0, 0, as_array),
    def("count", 0, 1, as_array),
    def("detect", 0, 0, as_array),
    def("each", 0, 0, as_array),
    def("each_slice", 1, 1, as_array),
    def("each_with_index", 0, 0, as_array),
    def("each_with_object", 1, 1, as_array),
    def("entries", 0, 0, as_array),
    def("filter", 0, 0, as_array),
    def("filter_map", 0, 0, as_array),
    def("find", 0, 0, as_array),
    def("flat_map", 0, 0, as_array),
    def("group_by", 0, 0, as_array),
    def("inject", 0, 2, as_array),
    def("map", 0, 0, as_array),
    def("map.with_index", 0, 1, as_array),
    def("none?", 0, 1, as_array),
    def("partition", 0, 0, as_array),
    def("reduce", 0, 2, as_array),
    def("reject", 0, 0, as_array),
    def("select", 0, 0, as_array),
    def("sort_by", 0, 0, as_array),
    def("sum", 0, 1, as_array),
    def("take", 1, 1, take),
    def("to_a", 0, 0, as_array),
    def("zip", 0, ANY, as_array),
];

fn as_array<'s>(vm: &mut Vm<'s>, r: &'s Span<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let items = elements(vm, r)?;
    let items = vm.arr(&items)?;
    super::on_array(vm, items, args)
}

/// The first elements; of a range without an end too.
fn take<'s>(vm: &mut Vm<'s>, r: &'s Span<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let (Val::Int(first), Val::Nil) = (r.first, r.last) else { return as_array(vm, r, args) };
    let items = integers(first, first.saturating_add(args.count(0)? as i128), true, 1)?;
    vm.array(items)
}

fn elements<'s>(vm: &mut Vm<'s>, r: &Span<'s>) -> Outcome<'s, Vec<Val<'s>>> {
    match (r.first, r.last) {
        (Val::Int(first), Val::Int(last)) => Ok(integers(first, last, r.exclusive, 1)?),
        (Val::Int(first), Val::Float(last)) if last.is_finite() => {
            let whole = super::number::truncate(last.floor())?;
            Ok(integers(first, whole, r.exclusive && whole as f64 == last, 1)?)
        }
        (Val::Str(first), Val::Str(last)) => letters(vm, first, last, r.exclusive),
        (_, Val::Nil) | (_, Val::Float(_)) => {
            Err(Fault::new("RangeError", "cannot convert endless range to an array").into())
        }
        (first, _) => Err(Fault::type_error(format!("can't iterate from {}", first.class())).into()),
    }
}

fn integers<'s>(first: i128, last: i128, exclusive: bool, step: i128) -> Checked<Vec<Val<'s>>> {
    let last = if exclusive { last.saturating_sub(1) } else { last };
    if last < first {
        return Ok(Vec::new());
    }
    let len = last.saturating_sub(first) / step;
    check_elements(usize::try_from(len).unwrap_or(usize::MAX).saturating_add(1))?;
    Ok((0..=len).map(|n| Val::Int(first + n * step)).collect())
}

/// The texts from one to another, in counting order.
pub(crate) fn letters<'s>(vm: &mut Vm<'s>, first: &'s [u8], last: &[u8], exclusive: bool) -> Outcome<'s, Vec<Val<'s>>> {
    let mut made = Vec::new();
    let mut text = first;
    while text.len() <= last.len() && made.len() <= MAX_ELEMENTS {
        if exclusive && text == last {
            break;
        }
        made.push(Val::Str(text));
        if text == last {
            break;
        }
        vm.charge(1 + text.len() / 64)?;
        text = vm.keep(&succ(text))?;
    }
    Ok(made)
}

fn step<'s>(vm: &mut Vm<'s>, r: &'s Span<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let (first, last, step) = (r.first.to_int()?, r.last.to_int()?, args.int(0)?);
    if step <= 0 {
        return Err(Fault::argument("step can't be 0 or negative").into());
    }
    let items = integers(first, last, r.exclusive, step)?;
    let Some(block) = args.block else { return vm.array(items) };
    for item in items {
        vm.run(block, &[item])?;
    }
    Ok(Val::Range(r))
}
