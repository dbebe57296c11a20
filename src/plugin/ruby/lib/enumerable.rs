//! Array: what gives one value for all elements, or orders and groups them. Hashes and ranges use these too.

use std::cmp::Ordering;

use crate::plugin::ruby::ast::{Block, Op};
use crate::plugin::ruby::error::{Fault, Outcome};
use crate::plugin::ruby::methods::{Args, ArrayFn, Def, Method, def};
use crate::plugin::ruby::ops;
use crate::plugin::ruby::value::{Arr, Val};
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<ArrayFn>] = &[
    def("all?", 0, 1, |vm, a, args| Ok(Val::Bool(tally(vm, a, args, |_, misses| misses > 0)?.1 == 0))),
    def("any?", 0, 1, |vm, a, args| Ok(Val::Bool(tally(vm, a, args, |hits, _| hits > 0)?.0 > 0))),
    def("count", 0, 1, |vm, a, args| {
        if args.list.is_empty() && args.block.is_none() {
            return Ok(Val::Int(a.len() as i128));
        }
        Ok(Val::Int(tally(vm, a, args, |_, _| false)?.0 as i128))
    }),
    def("include?", 1, 1, |_, a, args| Ok(Val::Bool(a.items().iter().any(|v| ops::equal(*v, args.val(0)))))),
    def("member?", 1, 1, |_, a, args| Ok(Val::Bool(a.items().iter().any(|v| ops::equal(*v, args.val(0)))))),
    def("inject", 0, 2, inject),
    def("reduce", 0, 2, inject),
    def("max", 0, 1, |vm, a, args| extreme(vm, a, args, Ordering::Greater)),
    def("max_by", 0, 0, |vm, a, args| extreme_by(vm, a, args, Ordering::Greater)),
    def("min", 0, 1, |vm, a, args| extreme(vm, a, args, Ordering::Less)),
    def("min_by", 0, 0, |vm, a, args| extreme_by(vm, a, args, Ordering::Less)),
    def("minmax", 0, 0, |vm, a, args| {
        let low = extreme(vm, a, args, Ordering::Less)?;
        let high = extreme(vm, a, args, Ordering::Greater)?;
        vm.array([low, high])
    }),
    def("none?", 0, 1, |vm, a, args| Ok(Val::Bool(tally(vm, a, args, |hits, _| hits > 0)?.0 == 0))),
    def("one?", 0, 1, |vm, a, args| Ok(Val::Bool(tally(vm, a, args, |hits, _| hits > 1)?.0 == 1))),
    def("sort", 0, 0, |vm, a, args| {
        let sorted = sorted(vm, a, args.block)?;
        vm.array(sorted)
    }),
    def("sort_by", 0, 0, sort_by),
    def("sum", 0, 1, sum),
    def("tally", 0, 0, |vm, a, _| {
        let counts = vm.map(&[])?;
        for item in a.to_vec() {
            let Val::Int(n) = counts.get(item).unwrap_or(Val::Int(0)) else { continue };
            vm.set(counts, item, Val::Int(n + 1))?;
        }
        Ok(Val::Hash(counts))
    }),
];

/// Counts the elements that the argument, the block or their own truth accepts, and the others; ends early when told to.
fn tally<'s>(
    vm: &mut Vm<'s>,
    a: Arr<'s>,
    args: Args<'_, 's>,
    enough: fn(usize, usize) -> bool,
) -> Outcome<'s, (usize, usize)> {
    let (mut hits, mut misses, mut at) = (0, 0, 0);
    while let Some(item) = a.get(at) {
        vm.charge(1)?;
        let hit = match (args.get(0), args.block) {
            (Some(wanted), _) if args.name == "count" => ops::equal(item, wanted),
            (Some(wanted), _) => ops::case_eq(vm, wanted, item)?,
            (None, Some(block)) => vm.test(block, &[item])?,
            (None, None) => item.truthy(),
        };
        hits += usize::from(hit);
        misses += usize::from(!hit);
        at += 1;
        if enough(hits, misses) {
            break;
        }
    }
    Ok((hits, misses))
}

fn inject<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let (start, symbol) = match (args.list, args.block) {
        ([Val::Sym(name)], None) => (None, Some(*name)),
        ([start, Val::Sym(name)], None) => (Some(*start), Some(*name)),
        ([], Some(_)) => (None, None),
        ([start], Some(_)) => (Some(*start), None),
        _ => return Err(Fault::argument("inject takes a start and a block, or a start and a symbol").into()),
    };
    let named = symbol.map(|name| String::from_utf8_lossy(name).into_owned());
    let (mut made, from) = match start {
        Some(start) => (start, 0),
        None => (a.get(0).unwrap_or(Val::Nil), 1),
    };
    let mut at = from;
    while let Some(item) = a.get(at) {
        made = match (&named, args.block) {
            (Some(name), _) => send_named(vm, name, made, item)?,
            (None, Some(block)) => vm.run(block, &[made, item])?,
            (None, None) => made,
        };
        at += 1;
    }
    Ok(made)
}

/// Calls the operator or method of that name.
fn send_named<'s>(vm: &mut Vm<'s>, name: &str, me: Val<'s>, arg: Val<'s>) -> Outcome<'s> {
    vm.charge(1)?;
    if let Some(op) = Op::find(name) {
        return ops::binary(vm, op, me, arg);
    }
    match Method::find(name) {
        Some(method) => vm.send(&method, me, &[arg], None),
        None => Err(Fault::new("NoMethodError", format!("undefined method '{name}' for {}", me.described())).into()),
    }
}

fn sum<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let mut total = args.get(0).unwrap_or(Val::Int(0));
    // Ruby adds floats with a correction for what each step rounds away (Kahan-Babuska).
    let (mut lost, mut at) = (0.0, 0);
    while let Some(item) = a.get(at) {
        let item = match args.block {
            Some(block) => vm.run(block, &[item])?,
            None => item,
        };
        total = match (total, item) {
            (Val::Float(t), Val::Float(_) | Val::Int(_)) => {
                let x = if let Val::Float(x) = item { x } else { item.to_int()? as f64 };
                let next = t + x;
                lost += if t.abs() >= x.abs() { (t - next) + x } else { (x - next) + t };
                Val::Float(next)
            }
            (total, item) => ops::binary(vm, Op::Add, total, item)?,
        };
        at += 1;
    }
    Ok(match total {
        Val::Float(t) if lost != 0.0 && t.is_finite() => Val::Float(t + lost),
        other => other,
    })
}

/// The order of two elements: the block's, or their own.
fn order<'s>(vm: &mut Vm<'s>, block: Option<&'s Block>, a: Val<'s>, b: Val<'s>) -> Outcome<'s, Ordering> {
    vm.charge(1)?;
    let Some(block) = block else {
        return ops::compare(a, b).ok_or_else(|| ops::not_comparable(a, b).into());
    };
    match vm.run(block, &[a, b])? {
        Val::Int(n) => Ok(n.cmp(&0)),
        Val::Float(f) => Ok(f.partial_cmp(&0.0).unwrap_or(Ordering::Equal)),
        other => Err(Fault::argument(format!("comparison of {} with 0 failed", other.class())).into()),
    }
}

fn sorted<'s>(vm: &mut Vm<'s>, a: Arr<'s>, block: Option<&'s Block>) -> Outcome<'s, Vec<Val<'s>>> {
    let items = a.to_vec();
    merge_sort(items, &mut |x: &Val<'s>, y: &Val<'s>| order(vm, block, *x, *y))
}

/// Sorts with an order that may fail or contradict itself, both of which the standard library's sort does not allow.
fn merge_sort<'s, T: Copy>(
    mut items: Vec<T>,
    order: &mut impl FnMut(&T, &T) -> Outcome<'s, Ordering>,
) -> Outcome<'s, Vec<T>> {
    let mut width = 1;
    while width < items.len() {
        let mut merged = Vec::with_capacity(items.len());
        for run in items.chunks(width * 2) {
            let (mut left, mut right) = run.split_at(width.min(run.len()));
            while let (Some(l), Some(r)) = (left.first(), right.first()) {
                let from = if order(l, r)?.is_le() { &mut left } else { &mut right };
                merged.push(from[0]);
                *from = &from[1..];
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        items = merged;
        width *= 2;
    }
    Ok(items)
}

/// The elements with what the block gives for each.
fn keyed<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s, Vec<(Val<'s>, Val<'s>)>> {
    let block = args.need_block()?;
    let (mut made, mut at) = (Vec::new(), 0);
    while let Some(item) = a.get(at) {
        made.push((vm.run(block, &[item])?, item));
        at += 1;
    }
    Ok(made)
}

fn sort_by<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let items = keyed(vm, a, args)?;
    type Keyed<'s> = (Val<'s>, Val<'s>);
    let items = merge_sort(items, &mut |x: &Keyed<'s>, y: &Keyed<'s>| order(vm, None, x.0, y.0))?;
    let items: Vec<Val<'s>> = items.into_iter().map(|(_, item)| item).collect();
    vm.array(items)
}

fn extreme<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>, wanted: Ordering) -> Outcome<'s> {
    if !args.list.is_empty() {
        let mut sorted = sorted(vm, a, args.block)?;
        if wanted == Ordering::Greater {
            sorted.reverse();
        }
        sorted.truncate(args.count(0)?);
        return vm.array(sorted);
    }
    let (mut best, mut at) = (None, 0);
    while let Some(item) = a.get(at) {
        best = match best {
            Some(best) if order(vm, args.block, item, best)? != wanted => Some(best),
            _ => Some(item),
        };
        at += 1;
    }
    Ok(best.unwrap_or(Val::Nil))
}

fn extreme_by<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>, wanted: Ordering) -> Outcome<'s> {
    let mut best: Option<(Val<'s>, Val<'s>)> = None;
    for (key, item) in keyed(vm, a, args)? {
        let better = match best {
            Some((top, _)) => order(vm, None, key, top)? == wanted,
            None => true,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Val::Nil, |(_, item)| item))
}
