//! The methods and functions that expressions may call, a table per class. What stands in no table is refused.

pub(super) mod array;
pub(super) mod chars;
mod digest;
mod encoding;
mod enumerable;
mod enumerate;
pub(super) mod format;
mod hash;
mod kernel;
mod matched;
pub(super) mod number;
mod numeric;
mod object;
pub(super) mod pattern;
mod range;
pub(super) mod read_number;
mod replace;
mod select;
mod sets;
mod string;
mod string_edit;
mod succ;
pub(super) mod time;
mod url;

use super::error::Outcome;
use super::methods::{
    AnyFn, Args, ArrayFn, Def, FloatFn, FreeFn, HashFn, IntFn, MatchFn, RangeFn, TextFn, TimeFn, no_method,
};
use super::value::{Arr, Val};
use super::vm::Vm;

pub(super) const TEXT: &[&[Def<TextFn>]] =
    &[string::TABLE, string_edit::TABLE, sets::TABLE, pattern::TABLE, replace::TABLE, encoding::TABLE];
pub(super) const INT: &[&[Def<IntFn>]] = &[numeric::INT];
pub(super) const FLOAT: &[&[Def<FloatFn>]] = &[numeric::FLOAT];
pub(super) const ARRAY: &[&[Def<ArrayFn>]] = &[array::TABLE, enumerable::TABLE, enumerate::TABLE, select::TABLE];
pub(super) const HASH: &[&[Def<HashFn>]] = &[hash::TABLE, hash::AS_PAIRS];
pub(super) const TIME: &[&[Def<TimeFn>]] = &[time::TABLE];
pub(super) const RANGE: &[&[Def<RangeFn>]] = &[range::TABLE, range::AS_ARRAY];
pub(super) const MATCH: &[&[Def<MatchFn>]] = &[matched::TABLE];
pub(super) const NIL: &[&[Def<AnyFn>]] = &[object::NIL];
pub(super) const SYMBOL: &[&[Def<AnyFn>]] = &[object::SYMBOL];
pub(super) const REGEX: &[&[Def<AnyFn>]] = &[matched::REGEX];
pub(super) const ERROR: &[&[Def<AnyFn>]] = &[object::ERROR];
pub(super) const ANY: &[&[Def<AnyFn>]] = &[object::ANY];

/// Functions without a receiver and those of modules, by their full name (`Time.now`).
pub(super) const FREE: &[&[Def<FreeFn>]] = &[kernel::TABLE, digest::TABLE, url::TABLE, time::CONSTRUCTORS];

/// Calls the array method that has the name in `args`.
fn on_array<'s>(vm: &mut Vm<'s>, items: Arr<'s>, args: Args<'_, 's>) -> Outcome<'s> {
    match ARRAY.iter().find_map(|table| table.iter().find(|d| d.name == args.name)) {
        Some(d) => (d.checked(args)?)(vm, items, args),
        None => Err(no_method(args.name, Val::Array(items)).into()),
    }
}
