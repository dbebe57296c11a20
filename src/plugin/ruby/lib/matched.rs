//! MatchData and Regexp.

use super::pattern::{self, whole};
use crate::plugin::ruby::error::{Outcome, Stop};
use crate::plugin::ruby::index;
use crate::plugin::ruby::methods::{ANY, AnyFn, Args, Def, MatchFn, def};
use crate::plugin::ruby::value::{Matched, Pattern, Val};
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<MatchFn>] = &[
    def("[]", 1, 2, |vm, m, args| index::get(vm, Val::Match(m), args.list)),
    def("begin", 1, 1, |_, m, args| edge(m, args, |span| span.0)),
    def("captures", 0, 0, |vm, m, _| groups(vm, m, 1)),
    def("end", 1, 1, |_, m, args| edge(m, args, |span| span.1)),
    def("named_captures", 0, 0, |vm, m, _| {
        let map = vm.map(&[])?;
        for (n, name) in m.names.iter().enumerate() {
            if let Some(name) = name {
                vm.set(map, Val::Str(name.as_bytes()), m.group(n))?;
            }
        }
        Ok(Val::Hash(map))
    }),
    def("names", 0, 0, |vm, m, _| {
        let names: Vec<Val<'_>> = m.names.iter().flatten().map(|n| Val::Str(n.as_bytes())).collect();
        vm.array(names)
    }),
    def("post_match", 0, 0, |_, m, _| Ok(Val::Str(&m.text[whole(m.spans).1..]))),
    def("pre_match", 0, 0, |_, m, _| Ok(Val::Str(&m.text[..whole(m.spans).0]))),
    def("size", 0, 0, |_, m, _| Ok(Val::Int(m.spans.len() as i128))),
    def("length", 0, 0, |_, m, _| Ok(Val::Int(m.spans.len() as i128))),
    def("string", 0, 0, |_, m, _| Ok(Val::Str(m.text))),
    def("to_a", 0, 0, |vm, m, _| groups(vm, m, 0)),
    def("values_at", 0, ANY, |vm, m, args| {
        let all: Vec<Val<'_>> =
            args.list.iter().map(|n| index::get(vm, Val::Match(m), &[*n])).collect::<Result<_, Stop<'_>>>()?;
        vm.array(all)
    }),
];

fn groups<'s>(vm: &mut Vm<'s>, m: &'s Matched<'s>, from: usize) -> Outcome<'s> {
    let all: Vec<Val<'s>> = (from..m.spans.len()).map(|n| m.group(n)).collect();
    vm.array(all)
}

fn edge<'s>(m: &'s Matched<'s>, args: Args<'_, 's>, side: fn((usize, usize)) -> usize) -> Outcome<'s> {
    let span = m.spans.get(args.count(0)?).copied().flatten();
    let at = |span| super::chars::count(&m.text[..side(span)]) as i128;
    Ok(span.map_or(Val::Nil, |span| Val::Int(at(span))))
}

pub(crate) const REGEX: &[Def<AnyFn>] = &[
    def("match", 1, 1, |vm, me, args| {
        with(vm, me, args, |vm, p, text| Ok(pattern::find(vm, p, text, 0)?.map_or(Val::Nil, Val::Match)))
    }),
    def("match?", 1, 1, |vm, me, args| {
        with(vm, me, args, |_, p, text| Ok(Val::Bool(p.regex.find_at(text, 0, &mut Vec::new()))))
    }),
    def("names", 0, 0, |vm, me, _| {
        let Val::Regex(p) = me else { return Ok(Val::Nil) };
        let names: Vec<Val<'_>> = p.regex.group_names().iter().flatten().map(|n| Val::Str(n.as_bytes())).collect();
        vm.array(names)
    }),
    def("source", 0, 0, |_, me, _| Ok(if let Val::Regex(p) = me { Val::Str(p.source) } else { Val::Nil })),
];

/// Runs a search on a string or symbol; nil matches nothing.
fn with<'s>(
    vm: &mut Vm<'s>,
    me: Val<'s>,
    args: Args<'_, 's>,
    search: fn(&mut Vm<'s>, Pattern<'s>, &'s [u8]) -> Outcome<'s>,
) -> Outcome<'s> {
    match (me, args.val(0)) {
        (Val::Regex(p), Val::Sym(t)) => search(vm, p, t),
        (Val::Regex(_), Val::Nil) => {
            vm.last_match = None;
            Ok(if args.name == "match?" { Val::Bool(false) } else { Val::Nil })
        }
        (Val::Regex(p), other) => search(vm, p, other.to_text()?),
        _ => Ok(Val::Nil),
    }
}
