//! Array: its own methods, those that change it included.

use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::limits::MAX_VISITS;
use crate::plugin::ruby::methods::{ANY, Args, ArrayFn, Def, def};
use crate::plugin::ruby::text::{self, Buf};
use crate::plugin::ruby::value::{Arr, Val};
use crate::plugin::ruby::vm::{Vm, check_elements};
use crate::plugin::ruby::{ast::Op, index, ops};

pub(crate) const TABLE: &[Def<ArrayFn>] = &[
    def("[]", 1, 2, |vm, a, args| index::get(vm, Val::Array(a), args.list)),
    def("append", 0, ANY, push),
    def("assoc", 1, 1, |_, a, args| {
        let hit = |v: &&Val<'_>| matches!(v, Val::Array(p) if p.get(0).is_some_and(|k| ops::equal(k, args.val(0))));
        Ok(a.items().iter().find(hit).copied().unwrap_or(Val::Nil))
    }),
    def("at", 1, 1, |vm, a, args| index::get(vm, Val::Array(a), args.list)),
    def("clear", 0, 0, |_, a, _| {
        a.change(|items| items.clear());
        Ok(Val::Array(a))
    }),
    def("compact", 0, 0, |vm, a, _| {
        let items: Vec<Val<'_>> = a.items().iter().copied().filter(|v| !matches!(v, Val::Nil)).collect();
        vm.array(items)
    }),
    def("concat", 0, ANY, |vm, a, args| {
        for other in args.list {
            for item in other.to_array()?.to_vec() {
                vm.push(a, item)?;
            }
        }
        Ok(Val::Array(a))
    }),
    def("delete", 1, 1, |_, a, args| {
        let gone = a.items().iter().copied().rfind(|v| ops::equal(*v, args.val(0)));
        if gone.is_some() {
            // Compared before the change begins: an element may lead back to this array.
            let keep: Vec<bool> = a.items().iter().map(|v| !ops::equal(*v, args.val(0))).collect();
            let mut keep = keep.into_iter();
            a.change(|items| items.retain(|_| keep.next().unwrap_or(true)));
        }
        Ok(gone.unwrap_or(Val::Nil))
    }),
    def("delete_at", 1, 1, |_, a, args| {
        let at = index::from_end(args.int(0)?, a.len()).filter(|at| *at < a.len());
        Ok(at.map_or(Val::Nil, |at| a.change(|items| items.remove(at))))
    }),
    def("difference", 1, 1, |vm, a, args| ops::binary(vm, Op::Sub, Val::Array(a), args.val(0))),
    def("dig", 1, ANY, |vm, a, args| dig(vm, Val::Array(a), args.list)),
    def("empty?", 0, 0, |_, a, _| Ok(Val::Bool(a.len() == 0))),
    def("fetch", 1, 2, fetch),
    def("flatten", 0, 1, flatten),
    def("index", 0, 1, |vm, a, args| position(vm, a, args, false)),
    def("find_index", 0, 1, |vm, a, args| position(vm, a, args, false)),
    def("insert", 2, ANY, insert),
    def("intersect?", 1, 1, |vm, a, args| {
        let common = ops::binary(vm, Op::And, Val::Array(a), args.val(0))?.to_array()?;
        Ok(Val::Bool(common.len() > 0))
    }),
    def("intersection", 1, 1, |vm, a, args| ops::binary(vm, Op::And, Val::Array(a), args.val(0))),
    def("join", 0, 1, |vm, a, args| {
        let separator = if let Val::Nil = args.val(0) { b"" } else { args.text(0)? };
        join(vm, a, separator)
    }),
    def("last", 0, 1, |vm, a, args| match args.get(0) {
        None => Ok(a.items().last().copied().unwrap_or(Val::Nil)),
        Some(_) => {
            let items = a.items();
            let from = items.len().saturating_sub(args.count(0)?);
            let items = items[from..].to_vec();
            vm.array(items)
        }
    }),
    def("length", 0, 0, |_, a, _| Ok(Val::Int(a.len() as i128))),
    def("pop", 0, 0, |_, a, _| Ok(a.change(|items| items.pop()).unwrap_or(Val::Nil))),
    def("prepend", 0, ANY, unshift),
    def("product", 1, 1, product),
    def("push", 0, ANY, push),
    def("reverse", 0, 0, |vm, a, _| {
        let items: Vec<Val<'_>> = a.items().iter().rev().copied().collect();
        vm.array(items)
    }),
    def("rindex", 0, 1, |vm, a, args| position(vm, a, args, true)),
    def("rotate", 0, 1, |vm, a, args| {
        let mut items = a.to_vec();
        let by = if args.list.is_empty() { 1 } else { args.int(0)? };
        let by = if items.is_empty() { 0 } else { by.rem_euclid(items.len() as i128) as usize };
        items.rotate_left(by);
        vm.array(items)
    }),
    def("shift", 0, 0, |_, a, _| Ok(if a.len() == 0 { Val::Nil } else { a.change(|items| items.remove(0)) })),
    def("size", 0, 0, |_, a, _| Ok(Val::Int(a.len() as i128))),
    def("slice", 1, 2, |vm, a, args| index::get(vm, Val::Array(a), args.list)),
    def("store", 2, 2, |vm, a, args| {
        index::put(vm, Val::Array(a), &args.list[..1], args.val(1))?;
        Ok(args.val(1))
    }),
    def("transpose", 0, 0, transpose),
    def("union", 1, 1, |vm, a, args| ops::binary(vm, Op::Or, Val::Array(a), args.val(0))),
    def("unshift", 0, ANY, unshift),
    def("values_at", 0, ANY, |vm, a, args| {
        let mut items = Vec::new();
        for at in args.list {
            items.push(index::get(vm, Val::Array(a), &[Val::Int(at.to_int()?)])?);
        }
        vm.array(items)
    }),
];

fn push<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    for item in args.list {
        vm.push(a, *item)?;
    }
    Ok(Val::Array(a))
}

fn unshift<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    splice(vm, a, 0, args.list)
}

fn insert<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let (at, len) = (args.int(0)?, a.len());
    let place = if at < 0 { at + len as i128 + 1 } else { at };
    match usize::try_from(place) {
        Ok(place) if place <= len => splice(vm, a, place, &args.list[1..]),
        _ => Err(Fault::new("IndexError", format!("index {at} out of array")).into()),
    }
}

fn splice<'s>(vm: &mut Vm<'s>, a: Arr<'s>, at: usize, items: &[Val<'s>]) -> Outcome<'s> {
    check_elements(a.len() + items.len())?;
    vm.reserve(size_of_val(items))?;
    a.change(|all| {
        for (n, item) in items.iter().enumerate() {
            all.insert(at + n, *item);
        }
    });
    Ok(Val::Array(a))
}

fn product<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let made = vm.arr(&[])?;
    for left in a.to_vec() {
        for right in args.val(0).to_array()?.to_vec() {
            let pair = vm.array([left, right])?;
            vm.push(made, pair)?;
        }
    }
    Ok(Val::Array(made))
}

fn transpose<'s>(vm: &mut Vm<'s>, a: Arr<'s>, _: Args<'_, 's>) -> Outcome<'s> {
    let rows: Vec<Arr<'s>> = a.items().iter().map(|v| v.to_array()).collect::<Checked<_>>()?;
    let width = rows.first().map_or(0, |row| row.len());
    if rows.iter().any(|row| row.len() != width) {
        return Err(Fault::new("IndexError", "element size differs").into());
    }
    let made = vm.arr(&[])?;
    for column in 0..width {
        let items: Vec<Val<'s>> = rows.iter().filter_map(|row| row.get(column)).collect();
        let items = vm.array(items)?;
        vm.push(made, items)?;
    }
    Ok(Val::Array(made))
}

fn fetch<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let (at, len) = (args.int(0)?, a.len());
    match (index::from_end(at, len).and_then(|at| a.get(at)), args.get(1), args.block) {
        (Some(found), _, _) => Ok(found),
        (None, Some(default), _) => Ok(default),
        (None, None, Some(block)) => vm.run(block, &[args.val(0)]),
        (None, None, None) => {
            let message = format!("index {at} outside of array bounds: {}...{len}", -(len as i128));
            Err(Fault::new("IndexError", message).into())
        }
    }
}

fn position<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>, from_end: bool) -> Outcome<'s> {
    for n in 0..a.len() {
        let at = if from_end { a.len() - 1 - n } else { n };
        let item = a.get(at).unwrap_or(Val::Nil);
        let hit = match args.get(0) {
            Some(wanted) => ops::equal(item, wanted),
            None => vm.test(args.need_block()?, &[item])?,
        };
        if hit {
            return Ok(Val::Int(at as i128));
        }
    }
    Ok(Val::Nil)
}

/// `dig(a, b, ...)`: nil ends the way.
pub(crate) fn dig<'s>(vm: &mut Vm<'s>, from: Val<'s>, path: &[Val<'s>]) -> Outcome<'s> {
    let mut value = from;
    for step in path {
        vm.charge(1 + value.weight())?;
        value = match value {
            Val::Nil => return Ok(Val::Nil),
            Val::Array(_) | Val::Hash(_) => index::get(vm, value, &[*step])?,
            other => {
                return Err(Fault::type_error(format!("{} does not have #dig method", other.class())).into());
            }
        };
    }
    Ok(value)
}

/// The elements' texts with a separator between; arrays inside are joined too.
pub(crate) fn join<'s>(vm: &mut Vm<'s>, a: Arr<'s>, separator: &[u8]) -> Outcome<'s> {
    let flat = flat(a, None)?;
    vm.charge(flat.len())?;
    let mut out = Buf::new();
    for (n, item) in flat.into_iter().enumerate() {
        out.push(if n > 0 { separator } else { b"" })?;
        text::write_s(item, &mut out)?;
    }
    vm.string(out.bytes())
}

fn flatten<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let levels = match args.val(0) {
        Val::Nil => None,
        _ => usize::try_from(args.int(0)?).ok(),
    };
    let items = flat(a, levels)?;
    vm.array(items)
}

/// The elements, with those of arrays in their place, `levels` deep.
fn flat<'s>(a: Arr<'s>, levels: Option<usize>) -> Checked<Vec<Val<'s>>> {
    fn walk<'s>(a: Arr<'s>, levels: usize, visits: &mut usize, out: &mut Vec<Val<'s>>) -> Checked<()> {
        for item in a.items().iter() {
            let left = visits.checked_sub(1);
            *visits = left.ok_or_else(|| Fault::limit("an array too large or linked to itself can't be flattened"))?;
            match item {
                Val::Array(inner) if levels > 0 => walk(inner, levels - 1, visits, out)?,
                other => out.push(*other),
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    // An array nested deeper than values may be is linked to itself; its visits would run out, but the stack first.
    let deepest = crate::plugin::ruby::limits::MAX_DEPTH;
    walk(a, levels.unwrap_or(deepest).min(deepest), &mut { MAX_VISITS }, &mut out)?;
    Ok(out)
}
