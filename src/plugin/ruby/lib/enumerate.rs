//! Array: what walks over the elements and makes new arrays and hashes of them.

use crate::plugin::ruby::error::{Fault, Outcome};
use crate::plugin::ruby::methods::{ANY, Args, ArrayFn, Def, def};
use crate::plugin::ruby::value::{Arr, Val};
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<ArrayFn>] = &[
    def("collect", 0, 0, map),
    def("each", 0, 0, |vm, a, args| {
        if let Some(block) = args.block {
            each(vm, a, |vm, item| vm.run(block, &[item]).map(drop))?;
        }
        Ok(Val::Array(a))
    }),
    def("each_entry", 0, 0, |_, a, _| Ok(Val::Array(a))),
    def("each_cons", 1, 1, |vm, a, args| {
        let size = positive(args)?;
        let parts: Vec<Vec<Val<'_>>> = a.items().windows(size).map(<[Val<'_>]>::to_vec).collect();
        vm.charge(parts.len().saturating_mul(size))?;
        give(vm, a, parts, args)
    }),
    def("each_slice", 1, 1, |vm, a, args| {
        let size = positive(args)?;
        let parts: Vec<Vec<Val<'_>>> = a.items().chunks(size).map(<[Val<'_>]>::to_vec).collect();
        give(vm, a, parts, args)
    }),
    def("each_with_index", 0, 0, each_with_index),
    def("each_with_object", 1, 1, |vm, a, args| {
        let (block, memo) = (args.need_block()?, args.val(0));
        each(vm, a, |vm, item| vm.run(block, &[item, memo]).map(drop))?;
        Ok(memo)
    }),
    def("entries", 0, 0, |_, a, _| Ok(Val::Array(a))),
    def("flat_map", 0, 0, flat_map),
    def("collect_concat", 0, 0, flat_map),
    def("group_by", 0, 0, group_by),
    def("map", 0, 0, map),
    def("partition", 0, 0, |vm, a, args| {
        let block = args.need_block()?;
        let (yes, no) = (vm.arr(&[])?, vm.arr(&[])?);
        each(vm, a, |vm, item| {
            let side = if vm.test(block, &[item])? { yes } else { no };
            Ok(vm.push(side, item)?)
        })?;
        vm.array([Val::Array(yes), Val::Array(no)])
    }),
    def("reverse_each", 0, 0, |vm, a, args| {
        let items: Vec<Val<'_>> = a.items().iter().rev().copied().collect();
        let reversed = vm.arr(&items)?;
        let Some(block) = args.block else { return Ok(Val::Array(reversed)) };
        each(vm, reversed, |vm, item| vm.run(block, &[item]).map(drop))?;
        Ok(Val::Array(a))
    }),
    def("to_a", 0, 0, |_, a, _| Ok(Val::Array(a))),
    def("to_ary", 0, 0, |_, a, _| Ok(Val::Array(a))),
    def("to_h", 0, 0, to_h),
    def("uniq", 0, 0, uniq),
    // `map.with_index(n) { |x, i| }` and its like; the parser joins the two names.
    def("map.with_index", 0, 1, |vm, a, args| {
        let made = vm.arr(&[])?;
        indexed(vm, a, args, |vm, _, given| Ok(vm.push(made, given)?))?;
        Ok(Val::Array(made))
    }),
    def("flat_map.with_index", 0, 1, |vm, a, args| {
        let made = vm.arr(&[])?;
        indexed(vm, a, args, |vm, _, given| Ok(vm.push(made, given)?))?;
        flatten_once(vm, made)
    }),
    def("each.with_index", 0, 1, each_with_index),
    def("select.with_index", 0, 1, |vm, a, args| {
        let made = vm.arr(&[])?;
        indexed(vm, a, args, |vm, item, given| if given.truthy() { Ok(vm.push(made, item)?) } else { Ok(()) })?;
        Ok(Val::Array(made))
    }),
    def("reject.with_index", 0, 1, |vm, a, args| {
        let made = vm.arr(&[])?;
        indexed(vm, a, args, |vm, item, given| if given.truthy() { Ok(()) } else { Ok(vm.push(made, item)?) })?;
        Ok(Val::Array(made))
    }),
    def("zip", 0, ANY, zip),
];

/// Walks over the elements; what is added meanwhile is seen too, as in Ruby.
pub(crate) fn each<'s>(
    vm: &mut Vm<'s>,
    a: Arr<'s>,
    mut f: impl FnMut(&mut Vm<'s>, Val<'s>) -> Outcome<'s, ()>,
) -> Outcome<'s, ()> {
    let mut at = 0;
    while let Some(item) = a.get(at) {
        vm.charge(1)?;
        f(vm, item)?;
        at += 1;
    }
    Ok(())
}

fn indexed<'s>(
    vm: &mut Vm<'s>,
    a: Arr<'s>,
    args: Args<'_, 's>,
    mut f: impl FnMut(&mut Vm<'s>, Val<'s>, Val<'s>) -> Outcome<'s, ()>,
) -> Outcome<'s, ()> {
    let block = args.need_block()?;
    let mut at = if args.list.is_empty() { 0 } else { args.int(0)? };
    each(vm, a, |vm, item| {
        let given = vm.run(block, &[item, Val::Int(at)])?;
        at = at.saturating_add(1);
        f(vm, item, given)
    })
}

fn positive(args: Args<'_, '_>) -> crate::plugin::ruby::error::Checked<usize> {
    match args.count(0) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(Fault::argument("invalid slice size")),
    }
}

/// Gives parts to the block, or makes an array of them.
fn give<'s>(vm: &mut Vm<'s>, a: Arr<'s>, parts: Vec<Vec<Val<'s>>>, args: Args<'_, 's>) -> Outcome<'s> {
    let made = vm.arr(&[])?;
    for part in parts {
        let part = vm.array(part)?;
        match args.block {
            Some(block) => drop(vm.run(block, &[part])?),
            None => vm.push(made, part)?,
        }
    }
    Ok(Val::Array(if args.block.is_some() { a } else { made }))
}

fn map<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let Some(block) = args.block else { return Ok(Val::Array(a)) };
    let made = vm.arr(&[])?;
    each(vm, a, |vm, item| {
        let given = vm.run(block, &[item])?;
        Ok(vm.push(made, given)?)
    })?;
    Ok(Val::Array(made))
}

fn flat_map<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let made = map(vm, a, args)?.to_array()?;
    flatten_once(vm, made)
}

fn flatten_once<'s>(vm: &mut Vm<'s>, a: Arr<'s>) -> Outcome<'s> {
    let made = vm.arr(&[])?;
    each(vm, a, |vm, item| match item {
        Val::Array(inner) => each(vm, inner, |vm, item| Ok(vm.push(made, item)?)),
        other => Ok(vm.push(made, other)?),
    })?;
    Ok(Val::Array(made))
}

fn each_with_index<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    if args.block.is_some() {
        indexed(vm, a, args, |_, _, _| Ok(()))?;
        return Ok(Val::Array(a));
    }
    let made = vm.arr(&[])?;
    let mut at = if args.list.is_empty() { 0 } else { args.int(0)? };
    each(vm, a, |vm, item| {
        let pair = vm.array([item, Val::Int(at)])?;
        at = at.saturating_add(1);
        Ok(vm.push(made, pair)?)
    })?;
    Ok(Val::Array(made))
}

fn group_by<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let block = args.need_block()?;
    let groups = vm.map(&[])?;
    each(vm, a, |vm, item| {
        let key = vm.run(block, &[item])?;
        if let Some(Val::Array(group)) = groups.get(key) {
            return Ok(vm.push(group, item)?);
        }
        let group = vm.array([item])?;
        Ok(vm.set(groups, key, group)?)
    })?;
    Ok(Val::Hash(groups))
}

fn to_h<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let made = vm.map(&[])?;
    each(vm, a, |vm, item| {
        let pair = match args.block {
            Some(block) => vm.run(block, &[item])?,
            None => item,
        };
        match pair {
            Val::Array(p) if p.len() == 2 => {
                Ok(vm.set(made, p.get(0).unwrap_or(Val::Nil), p.get(1).unwrap_or(Val::Nil))?)
            }
            Val::Array(p) => {
                Err(Fault::argument(format!("element has wrong array length (expected 2, was {})", p.len())).into())
            }
            other => Err(Fault::type_error(format!("wrong element type {} (expected array)", other.class())).into()),
        }
    })?;
    Ok(Val::Hash(made))
}

fn uniq<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let (seen, made) = (vm.map(&[])?, vm.arr(&[])?);
    each(vm, a, |vm, item| {
        let key = match args.block {
            Some(block) => vm.run(block, &[item])?,
            None => item,
        };
        vm.charge(seen.len() / 4)?;
        if seen.contains(key) {
            return Ok(());
        }
        vm.set(seen, key, Val::Nil)?;
        Ok(vm.push(made, item)?)
    })?;
    Ok(Val::Array(made))
}

fn zip<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let made = vm.arr(&[])?;
    let mut at = 0;
    each(vm, a, |vm, item| {
        let mut row = vec![item];
        for other in args.list {
            row.push(other.to_array()?.get(at).unwrap_or(Val::Nil));
        }
        at += 1;
        let row = vm.array(row)?;
        Ok(vm.push(made, row)?)
    })?;
    Ok(Val::Array(made))
}
