//! `x[...]` and `x[...] = v`.

use super::error::{Checked, Fault, Outcome};
use super::lib::{chars, pattern};
use super::limits::MAX_ELEMENTS;
use super::methods::no_method;
use super::ops;
use super::value::{Arr, Span, Val};
use super::vm::{Vm, check_elements};

/// `of[args]`.
pub(super) fn get<'s>(vm: &mut Vm<'s>, of: Val<'s>, args: &[Val<'s>]) -> Outcome<'s> {
    match (of, args) {
        (Val::Hash(h), [key]) => Ok(h.get(*key).unwrap_or(Val::Nil)),
        (Val::Array(a), _) => array_get(vm, a, args),
        (Val::Str(t) | Val::Bin(t) | Val::Sym(t), _) => text_get(vm, t, args),
        (Val::Match(m), [Val::Int(n)]) => {
            let n = from_end(*n, m.spans.len());
            Ok(n.map_or(Val::Nil, |n| m.group(n)))
        }
        (Val::Match(m), [Val::Str(name) | Val::Sym(name)]) => m.named(name).ok_or_else(|| no_group(name).into()),
        (Val::Int(n), [Val::Int(bit)]) => Ok(Val::Int(if (0..127).contains(bit) { n >> bit & 1 } else { 0 })),
        (Val::Hash(_) | Val::Match(_) | Val::Int(_), _) => {
            Err(Fault::argument(format!("wrong arguments for '[]' of {}", of.described())).into())
        }
        (other, _) => Err(no_method("[]", other).into()),
    }
}

pub(super) fn no_group(name: &[u8]) -> Box<Fault> {
    Fault::new("IndexError", format!("undefined group name reference: {}", String::from_utf8_lossy(name)))
}

/// A position counted from the start, or from the end when negative.
pub(super) fn from_end(at: i128, len: usize) -> Option<usize> {
    let at = if at < 0 { at + len as i128 } else { at };
    usize::try_from(at).ok()
}

/// The positions that a range covers in a sequence of `len`; `None` where it begins outside.
pub(super) fn span(range: &Span<'_>, len: usize) -> Checked<Option<(usize, usize)>> {
    let first = if let Val::Nil = range.first { 0 } else { range.first.to_int()? };
    let Some(from) = from_end(first, len).filter(|from| *from <= len) else { return Ok(None) };
    let open = matches!(range.last, Val::Nil);
    let last = if open { -1 } else { range.last.to_int()? };
    let last = if last < 0 { last.saturating_add(len as i128) } else { last };
    let end = last.saturating_add((open || !range.exclusive).into()).clamp(0, len as i128) as usize;
    Ok(Some((from, end.max(from))))
}

/// The positions of `(start, count)`.
pub(super) fn window(start: i128, count: i128, len: usize) -> Option<(usize, usize)> {
    let from = from_end(start, len).filter(|from| *from <= len)?;
    let count = usize::try_from(count).ok()?;
    Some((from, from.saturating_add(count).min(len)))
}

fn array_get<'s>(vm: &mut Vm<'s>, array: Arr<'s>, args: &[Val<'s>]) -> Outcome<'s> {
    let len = array.len();
    let window = match args {
        [Val::Range(r)] => span(r, len)?,
        [at] => return Ok(from_end(at.to_int()?, len).and_then(|at| array.get(at)).unwrap_or(Val::Nil)),
        [start, count] => window(start.to_int()?, count.to_int()?, len),
        _ => return Err(Fault::argument("wrong number of arguments for '[]' (expected 1..2)").into()),
    };
    let Some((from, to)) = window else { return Ok(Val::Nil) };
    let items = array.items()[from..to].to_vec();
    vm.array(items)
}

fn text_get<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: &[Val<'s>]) -> Outcome<'s> {
    match args {
        [Val::Regex(p)] => {
            let found = pattern::find(vm, *p, text, 0)?;
            Ok(found.map_or(Val::Nil, |m| m.group(0)))
        }
        [Val::Regex(p), group] => {
            let found = pattern::find(vm, *p, text, 0)?;
            found.map_or(Ok(Val::Nil), |m| get(vm, Val::Match(m), &[*group]))
        }
        [Val::Str(part) | Val::Bin(part)] => {
            Ok(if memchr::memmem::find(text, part).is_some() { Val::Str(part) } else { Val::Nil })
        }
        [Val::Range(r)] => {
            let window = span(r, chars::count(text))?;
            Ok(window.map_or(Val::Nil, |(from, to)| Val::Str(chars::slice(text, from, to))))
        }
        [at] => {
            let window = window(at.to_int()?, 1, chars::count(text)).filter(|(from, to)| from < to);
            Ok(window.map_or(Val::Nil, |(from, to)| Val::Str(chars::slice(text, from, to))))
        }
        [start, count] => {
            let window = window(start.to_int()?, count.to_int()?, chars::count(text));
            Ok(window.map_or(Val::Nil, |(from, to)| Val::Str(chars::slice(text, from, to))))
        }
        _ => Err(Fault::argument("wrong number of arguments for '[]' (expected 1..2)").into()),
    }
}

/// `of[args] = value`.
pub(super) fn put<'s>(vm: &mut Vm<'s>, of: Val<'s>, args: &[Val<'s>], value: Val<'s>) -> Checked<()> {
    match (of, args) {
        (Val::Hash(map), [key]) => vm.set(map, *key, value),
        (Val::Array(array), [at]) => array_put(vm, array, at.to_int()?, value),
        (Val::Str(_) | Val::Bin(_), _) => {
            Err(Fault::new("FrozenError", "a string can't be changed in place here; write sub(...) or a new string"))
        }
        (other, _) => Err(no_method("[]=", other)),
    }
}

fn array_put<'s>(vm: &mut Vm<'s>, array: Arr<'s>, at: i128, value: Val<'s>) -> Checked<()> {
    let too_small = || Fault::new("IndexError", format!("index {at} too small for array"));
    let at = from_end(at, array.len()).ok_or_else(too_small)?;
    check_elements(at.min(MAX_ELEMENTS + 1) + 1)?;
    vm.reserve((at + 1) * size_of::<Val<'s>>())?;
    array.change(|items| {
        if items.len() <= at {
            items.resize(at + 1, Val::Nil);
        }
        items[at] = value;
    });
    Ok(())
}

/// Whether a range has the value between its ends.
pub(super) fn covers(range: &Span<'_>, value: Val<'_>) -> bool {
    let above = matches!(range.first, Val::Nil) || ops::compare(range.first, value).is_some_and(|o| o.is_le());
    let below = match ops::compare(value, range.last) {
        _ if matches!(range.last, Val::Nil) => true,
        Some(order) => {
            if range.exclusive {
                order.is_lt()
            } else {
                order.is_le()
            }
        }
        None => false,
    };
    above && below
}
