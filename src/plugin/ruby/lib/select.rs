//! Array: what picks some of the elements.

use super::enumerate::each;
use crate::plugin::ruby::error::Outcome;
use crate::plugin::ruby::methods::{Args, ArrayFn, Def, def};
use crate::plugin::ruby::ops;
use crate::plugin::ruby::value::{Arr, Val};
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<ArrayFn>] = &[
    def("delete_if", 0, 0, |vm, a, args| {
        let kept = picked(vm, a, args, false)?;
        let items = kept.items().clone();
        a.change(|all| *all = items);
        Ok(Val::Array(a))
    }),
    def("detect", 0, 0, find),
    def("drop", 1, 1, |vm, a, args| {
        let items: Vec<Val<'_>> = a.items().iter().copied().skip(args.count(0)?).collect();
        vm.array(items)
    }),
    def("drop_while", 0, 0, |vm, a, args| {
        let from = while_true(vm, a, args)?;
        let items = a.items()[from..].to_vec();
        vm.array(items)
    }),
    def("filter", 0, 0, |vm, a, args| Ok(Val::Array(picked(vm, a, args, true)?))),
    def("filter_map", 0, 0, |vm, a, args| {
        let (block, made) = (args.need_block()?, vm.arr(&[])?);
        each(vm, a, |vm, item| {
            let given = vm.run(block, &[item])?;
            if given.truthy() { Ok(vm.push(made, given)?) } else { Ok(()) }
        })?;
        Ok(Val::Array(made))
    }),
    def("find", 0, 0, find),
    def("find_all", 0, 0, |vm, a, args| Ok(Val::Array(picked(vm, a, args, true)?))),
    def("first", 0, 1, |vm, a, args| match args.get(0) {
        None => Ok(a.get(0).unwrap_or(Val::Nil)),
        Some(_) => take(vm, a, args),
    }),
    def("grep", 1, 1, |vm, a, args| grep(vm, a, args, true)),
    def("grep_v", 1, 1, |vm, a, args| grep(vm, a, args, false)),
    def("reject", 0, 0, |vm, a, args| Ok(Val::Array(picked(vm, a, args, false)?))),
    def("select", 0, 0, |vm, a, args| Ok(Val::Array(picked(vm, a, args, true)?))),
    def("take", 1, 1, take),
    def("take_while", 0, 0, |vm, a, args| {
        let to = while_true(vm, a, args)?;
        let items = a.items()[..to].to_vec();
        vm.array(items)
    }),
];

/// The elements for which the block is true, or false.
fn picked<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>, wanted: bool) -> Outcome<'s, Arr<'s>> {
    let (block, made) = (args.need_block()?, vm.arr(&[])?);
    each(vm, a, |vm, item| if vm.test(block, &[item])? == wanted { Ok(vm.push(made, item)?) } else { Ok(()) })?;
    Ok(made)
}

fn find<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let block = args.need_block()?;
    let mut at = 0;
    while let Some(item) = a.get(at) {
        if vm.test(block, &[item])? {
            return Ok(item);
        }
        at += 1;
    }
    Ok(Val::Nil)
}

fn take<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    let items: Vec<Val<'s>> = a.items().iter().copied().take(args.count(0)?).collect();
    vm.array(items)
}

/// How many elements at the start the block accepts.
fn while_true<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s, usize> {
    let block = args.need_block()?;
    let mut at = 0;
    while let Some(item) = a.get(at) {
        if !vm.test(block, &[item])? {
            break;
        }
        at += 1;
    }
    Ok(at.min(a.len()))
}

fn grep<'s>(vm: &mut Vm<'s>, a: Arr<'s>, args: Args<'_, 's>, wanted: bool) -> Outcome<'s> {
    let made = vm.arr(&[])?;
    each(vm, a, |vm, item| {
        if ops::case_eq(vm, args.val(0), item)? != wanted {
            return Ok(());
        }
        let item = match args.block {
            Some(block) => vm.run(block, &[item])?,
            None => item,
        };
        Ok(vm.push(made, item)?)
    })?;
    Ok(Val::Array(made))
}
