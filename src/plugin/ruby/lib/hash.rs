//! Hash: its own methods, and those it shares with arrays by way of an array of pairs.

use bumpalo::collections::Vec as BumpVec;

use super::array;
use crate::plugin::ruby::ast::Block;
use crate::plugin::ruby::error::{Fault, Outcome};
use crate::plugin::ruby::limits::MAX_DEPTH;
use crate::plugin::ruby::methods::{ANY, Args, Def, HashFn, def};
use crate::plugin::ruby::ops;
use crate::plugin::ruby::text::{self, Buf};
use crate::plugin::ruby::value::{Arr, Map, Pair, Val};
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<HashFn>] = &[
    def("[]", 1, 1, |_, h, args| Ok(h.get(args.val(0)).unwrap_or(Val::Nil))),
    def("clear", 0, 0, |vm, h, _| {
        h.replace(BumpVec::new_in(vm.cx.bump));
        Ok(Val::Hash(h))
    }),
    def("compact", 0, 0, |vm, h, _| {
        let pairs: Vec<Pair<'_>> = h.pairs().iter().copied().filter(|(_, v)| !matches!(v, Val::Nil)).collect();
        vm.hash(pairs)
    }),
    def("delete", 1, 1, |vm, h, args| match (h.remove(args.val(0)), args.block) {
        (Some(gone), _) => Ok(gone),
        (None, Some(block)) => vm.run(block, &[args.val(0)]),
        (None, None) => Ok(Val::Nil),
    }),
    def("delete_if", 0, 0, |vm, h, args| keep(vm, h, args, false)),
    def("reject!", 0, 0, |vm, h, args| keep(vm, h, args, false)),
    def("keep_if", 0, 0, |vm, h, args| keep(vm, h, args, true)),
    def("select!", 0, 0, |vm, h, args| keep(vm, h, args, true)),
    def("filter!", 0, 0, |vm, h, args| keep(vm, h, args, true)),
    def("dig", 1, ANY, |vm, h, args| array::dig(vm, Val::Hash(h), args.list)),
    def("each", 0, 0, each),
    def("each_pair", 0, 0, each),
    def("each_key", 0, 0, |vm, h, args| {
        let block = args.need_block()?;
        for (key, _) in h.snapshot() {
            vm.run(block, &[*key])?;
        }
        Ok(Val::Hash(h))
    }),
    def("each_value", 0, 0, |vm, h, args| {
        let block = args.need_block()?;
        for (_, value) in h.snapshot() {
            vm.run(block, &[*value])?;
        }
        Ok(Val::Hash(h))
    }),
    def("empty?", 0, 0, |_, h, _| Ok(Val::Bool(h.len() == 0))),
    def("except", 0, ANY, |vm, h, args| {
        let dropped = |k: Val<'_>| args.list.iter().any(|a| ops::eql(*a, k));
        let pairs: Vec<Pair<'_>> = h.pairs().iter().copied().filter(|(k, _)| !dropped(*k)).collect();
        vm.hash(pairs)
    }),
    def("fetch", 1, 2, |vm, h, args| match (h.get(args.val(0)), args.get(1), args.block) {
        (Some(found), _, _) => Ok(found),
        (None, _, Some(block)) => vm.run(block, &[args.val(0)]),
        (None, Some(default), None) => Ok(default),
        (None, None, None) => Err(key_not_found(args.val(0)).into()),
    }),
    def("fetch_values", 0, ANY, |vm, h, args| {
        let mut values = Vec::new();
        for key in args.list {
            values.push(match (h.get(*key), args.block) {
                (Some(value), _) => value,
                (None, Some(block)) => vm.run(block, &[*key])?,
                (None, None) => return Err(key_not_found(*key).into()),
            });
        }
        vm.array(values)
    }),
    def("filter", 0, 0, |vm, h, args| picked(vm, h, args, true)),
    def("select", 0, 0, |vm, h, args| picked(vm, h, args, true)),
    def("reject", 0, 0, |vm, h, args| picked(vm, h, args, false)),
    def("has_key?", 1, 1, |_, h, args| Ok(Val::Bool(h.contains(args.val(0))))),
    def("include?", 1, 1, |_, h, args| Ok(Val::Bool(h.contains(args.val(0))))),
    def("key?", 1, 1, |_, h, args| Ok(Val::Bool(h.contains(args.val(0))))),
    def("member?", 1, 1, |_, h, args| Ok(Val::Bool(h.contains(args.val(0))))),
    def("has_value?", 1, 1, |_, h, args| Ok(Val::Bool(key_of(h, args.val(0)).is_some()))),
    def("value?", 1, 1, |_, h, args| Ok(Val::Bool(key_of(h, args.val(0)).is_some()))),
    def("invert", 0, 0, |vm, h, _| {
        let made = vm.map(&[])?;
        for (key, value) in h.snapshot() {
            vm.set(made, *value, *key)?;
        }
        Ok(Val::Hash(made))
    }),
    def("key", 1, 1, |_, h, args| Ok(key_of(h, args.val(0)).unwrap_or(Val::Nil))),
    def("keys", 0, 0, |vm, h, _| {
        let keys: Vec<Val<'_>> = h.pairs().iter().map(|(k, _)| *k).collect();
        vm.array(keys)
    }),
    def("length", 0, 0, |_, h, _| Ok(Val::Int(h.len() as i128))),
    def("size", 0, 0, |_, h, _| Ok(Val::Int(h.len() as i128))),
    def("count", 0, 1, |vm, h, args| match args.block {
        None if args.list.is_empty() => Ok(Val::Int(h.len() as i128)),
        _ => as_pairs(vm, h, args),
    }),
    def("merge", 0, ANY, |vm, h, args| {
        let made = vm.map(h.snapshot())?;
        merge(vm, made, args)
    }),
    def("merge!", 0, ANY, merge),
    def("update", 0, ANY, merge),
    def("map", 0, 0, map),
    def("collect", 0, 0, map),
    def("shift", 0, 0, |vm, h, _| {
        let Some((key, value)) = h.pairs().first().copied() else { return Ok(Val::Nil) };
        h.remove(key);
        vm.array([key, value])
    }),
    def("slice", 0, ANY, |vm, h, args| {
        let pairs: Vec<Pair<'_>> = args.list.iter().filter_map(|k| Some((*k, h.get(*k)?))).collect();
        vm.hash(pairs)
    }),
    def("store", 2, 2, |vm, h, args| {
        vm.set(h, args.val(0), args.val(1))?;
        Ok(args.val(1))
    }),
    def("to_h", 0, 0, to_h),
    def("to_hash", 0, 0, |_, h, _| Ok(Val::Hash(h))),
    def("to_a", 0, 0, |vm, h, _| Ok(Val::Array(pairs(vm, h)?))),
    def("transform_keys", 0, 1, transform_keys),
    def("transform_values", 0, 0, transform_values),
    def("transform_values!", 0, 0, |vm, h, args| {
        let made = transform_values(vm, h, args)?.to_map()?;
        h.replace(made.pairs().clone());
        Ok(Val::Hash(h))
    }),
    def("values", 0, 0, |vm, h, _| {
        let values: Vec<Val<'_>> = h.pairs().iter().map(|(_, v)| *v).collect();
        vm.array(values)
    }),
    def("values_at", 0, ANY, |vm, h, args| {
        let values: Vec<Val<'_>> = args.list.iter().map(|k| h.get(*k).unwrap_or(Val::Nil)).collect();
        vm.array(values)
    }),
];

/// What works on the pairs as an array does on its elements.
pub(crate) const AS_PAIRS: &[Def<HashFn>] = &[
    def("all?", 0, 1, as_pairs),
    def("any?", 0, 1, as_pairs),
    def("collect_concat", 0, 0, as_pairs),
    def("detect", 0, 0, as_pairs),
    def("drop", 1, 1, as_pairs),
    def("drop_while", 0, 0, as_pairs),
    def("each.with_index", 0, 1, as_pairs),
    def("each_cons", 1, 1, as_pairs),
    def("each_entry", 0, 0, as_pairs),
    def("each_slice", 1, 1, as_pairs),
    def("each_with_index", 0, 0, as_pairs),
    def("each_with_object", 1, 1, as_pairs),
    def("entries", 0, 0, as_pairs),
    def("filter_map", 0, 0, as_pairs),
    def("find", 0, 0, as_pairs),
    def("find_all", 0, 0, as_pairs),
    def("first", 0, 1, as_pairs),
    def("flat_map", 0, 0, as_pairs),
    def("group_by", 0, 0, as_pairs),
    def("inject", 0, 2, as_pairs),
    def("map.with_index", 0, 1, as_pairs),
    def("max", 0, 1, as_pairs),
    def("max_by", 0, 0, as_pairs),
    def("min", 0, 1, as_pairs),
    def("min_by", 0, 0, as_pairs),
    def("none?", 0, 1, as_pairs),
    def("one?", 0, 1, as_pairs),
    def("partition", 0, 0, as_pairs),
    def("reduce", 0, 2, as_pairs),
    def("sort", 0, 0, as_pairs),
    def("sort_by", 0, 0, as_pairs),
    def("sum", 0, 1, as_pairs),
    def("take", 1, 1, as_pairs),
    def("take_while", 0, 0, as_pairs),
    def("uniq", 0, 0, as_pairs),
    def("zip", 0, ANY, as_pairs),
];

fn as_pairs<'s>(vm: &mut Vm<'s>, h: Map<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let pairs = pairs(vm, h)?;
    super::on_array(vm, Val::Hash(h), pairs, args)
}

/// An array of `[key, value]`.
fn pairs<'s>(vm: &mut Vm<'s>, h: Map<'s>) -> Outcome<'s, Arr<'s>> {
    let made = vm.arr(&[])?;
    for (key, value) in h.snapshot() {
        let pair = vm.array([*key, *value])?;
        vm.push(made, pair)?;
    }
    Ok(made)
}

/// Runs a block with a pair: as two values where it takes them apart anyway, else as an array.
fn run_pair<'s>(vm: &mut Vm<'s>, block: &'s Block, pair: Pair<'s>) -> Outcome<'s> {
    if let Block::Code(code) = block
        && code.params.len() > 1
    {
        return vm.run(block, &[pair.0, pair.1]);
    }
    let pair = vm.array([pair.0, pair.1])?;
    vm.run(block, &[pair])
}

fn key_not_found(key: Val<'_>) -> Box<Fault> {
    let mut shown = Buf::new();
    let shown = match text::inspect(key, &mut shown, MAX_DEPTH) {
        Ok(()) => String::from_utf8_lossy(shown.bytes()).into_owned(),
        Err(fault) => return fault,
    };
    Fault::new("KeyError", format!("key not found: {shown}"))
}

fn key_of<'s>(h: Map<'s>, value: Val<'s>) -> Option<Val<'s>> {
    h.pairs().iter().find(|(_, v)| ops::equal(*v, value)).map(|(k, _)| *k)
}

fn each<'s>(vm: &mut Vm<'s>, h: Map<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let Some(block) = args.block else { return Ok(Val::Array(pairs(vm, h)?)) };
    for pair in h.snapshot() {
        run_pair(vm, block, *pair)?;
    }
    Ok(Val::Hash(h))
}

fn map<'s>(vm: &mut Vm<'s>, h: Map<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let Some(block) = args.block else { return Ok(Val::Array(pairs(vm, h)?)) };
    let made = vm.arr(&[])?;
    for pair in h.snapshot() {
        let given = run_pair(vm, block, *pair)?;
        vm.push(made, given)?;
    }
    Ok(Val::Array(made))
}

fn kept<'s>(vm: &mut Vm<'s>, h: Map<'s>, args: Args<'_, 's>, wanted: bool) -> Outcome<'s, Vec<Pair<'s>>> {
    let block = args.need_block()?;
    let mut kept = Vec::new();
    for pair in h.snapshot() {
        // Two values, and not a pair: a block of one parameter gets the key.
        if vm.test(block, &[pair.0, pair.1])? == wanted {
            kept.push(*pair);
        }
    }
    Ok(kept)
}

fn picked<'s>(vm: &mut Vm<'s>, h: Map<'s>, args: Args<'_, 's>, wanted: bool) -> Outcome<'s> {
    let kept = kept(vm, h, args, wanted)?;
    vm.hash(kept)
}

fn keep<'s>(vm: &mut Vm<'s>, h: Map<'s>, args: Args<'_, 's>, wanted: bool) -> Outcome<'s> {
    let kept = kept(vm, h, args, wanted)?;
    let unchanged = kept.len() == h.len();
    let made = vm.map(&kept)?;
    h.replace(made.pairs().clone());
    // The names with `!` tell by nil that nothing was left out.
    Ok(if unchanged && args.name.ends_with('!') { Val::Nil } else { Val::Hash(h) })
}

fn merge<'s>(vm: &mut Vm<'s>, into: Map<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    for other in args.list {
        for (key, value) in other.to_map()?.snapshot() {
            let value = match (args.block, into.get(*key)) {
                (Some(block), Some(old)) => vm.run(block, &[*key, old, *value])?,
                _ => *value,
            };
            vm.set(into, *key, value)?;
        }
    }
    Ok(Val::Hash(into))
}

fn to_h<'s>(vm: &mut Vm<'s>, h: Map<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let Some(block) = args.block else { return Ok(Val::Hash(h)) };
    let made = vm.map(&[])?;
    for (key, value) in h.snapshot() {
        let pair = vm.run(block, &[*key, *value])?;
        super::enumerate::set_pair(vm, made, pair)?;
    }
    Ok(Val::Hash(made))
}

fn transform_keys<'s>(vm: &mut Vm<'s>, h: Map<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let made = vm.map(&[])?;
    for (key, value) in h.snapshot() {
        let renamed = match args.get(0) {
            Some(table) => table.to_map()?.get(*key),
            None => None,
        };
        let key = match (renamed, args.block) {
            (Some(renamed), _) => renamed,
            (None, Some(block)) => vm.run(block, &[*key])?,
            (None, None) => *key,
        };
        vm.set(made, key, *value)?;
    }
    Ok(Val::Hash(made))
}

fn transform_values<'s>(vm: &mut Vm<'s>, h: Map<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let block = args.need_block()?;
    let mut pairs = Vec::new();
    for (key, value) in h.snapshot() {
        pairs.push((*key, vm.run(block, &[*value])?));
    }
    vm.hash(pairs)
}
