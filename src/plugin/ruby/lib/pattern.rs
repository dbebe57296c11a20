//! Strings and patterns: search, match, scan, split. A pattern is a regular expression or a plain string.

use super::{chars, string};
use crate::plugin::ruby::bridge::Spans;
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::index;
use crate::plugin::ruby::methods::{ANY, Args, Def, TextFn, def, no_method};
use crate::plugin::ruby::value::{Matched, Pattern, Val};
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<TextFn>] = &[
    def("[]", 1, 2, |vm, text, args| index::get(vm, Val::Str(text), args.list)),
    def("slice", 1, 2, |vm, text, args| index::get(vm, Val::Str(text), args.list)),
    def("index", 1, 2, position),
    def("byteindex", 1, 1, |_, text, args| {
        Ok(memchr::memmem::find(text, args.text(0)?).map_or(Val::Nil, |at| Val::Int(at as i128)))
    }),
    def("rindex", 1, 2, last_position),
    def("match", 1, 2, |vm, text, args| {
        let from = start(text, args, 1)?;
        let pattern = Needle::regex(vm, args.val(0))?;
        let found = from.map_or(Ok(None), |from| matched(vm, text, pattern, from))?;
        Ok(found.map_or(Val::Nil, Val::Match))
    }),
    def("match?", 1, 2, |vm, text, args| {
        let pattern = Needle::regex(vm, args.val(0))?;
        let from = start(text, args, 1)?;
        Ok(Val::Bool(from.is_some_and(|from| pattern.find(text, from, &mut Vec::new()))))
    }),
    def("partition", 1, 1, |vm, text, args| {
        let needle = Needle::of(args.val(0))?;
        let mut spans = Vec::new();
        let parts = match needle.find(text, 0, &mut spans).then(|| whole(&spans)) {
            Some((from, to)) => [&text[..from], &text[from..to], &text[to..]],
            None => [text, b"", b""],
        };
        vm.array(parts.map(Val::Str))
    }),
    def("rpartition", 1, 1, |vm, text, args| {
        let parts = match last(Needle::of(args.val(0))?, text, text.len()) {
            Some((from, to)) => [&text[..from], &text[from..to], &text[to..]],
            None => [b"", b"", text],
        };
        vm.array(parts.map(Val::Str))
    }),
    def("scan", 1, 1, scan),
    def("split", 0, 2, split),
    def("start_with?", 0, ANY, |vm, text, args| {
        for arg in args.list {
            let hit = match arg {
                Val::Regex(p) => find(vm, *p, text, 0)?.is_some_and(|m| whole(m.spans).0 == 0),
                other => text.starts_with(other.to_text()?),
            };
            if hit {
                return Ok(Val::Bool(true));
            }
        }
        Ok(Val::Bool(false))
    }),
];

/// What is searched for.
#[derive(Clone, Copy)]
pub(crate) enum Needle<'s> {
    Regex(Pattern<'s>),
    Text(&'s [u8]),
}

impl<'s> Needle<'s> {
    /// A regular expression or a string.
    pub(crate) fn of(value: Val<'s>) -> Checked<Needle<'s>> {
        match value {
            Val::Regex(p) => Ok(Needle::Regex(p)),
            Val::Str(t) | Val::Bin(t) => Ok(Needle::Text(t)),
            other => Err(Fault::type_error(format!("wrong argument type {} (expected Regexp)", other.class()))),
        }
    }

    /// As [`of`](Self::of), where a string would be compiled: only one without signs of a pattern means itself.
    fn regex(_: &mut Vm<'s>, value: Val<'s>) -> Checked<Needle<'s>> {
        let needle = Needle::of(value)?;
        match needle {
            Needle::Text(t) if t.iter().any(|b| b"\\^$.|?*+()[]{}".contains(b)) => {
                Err(Fault::argument("a string can't be made into a pattern here; write /.../"))
            }
            other => Ok(other),
        }
    }

    /// Searches from byte `from`; the spans tell where.
    pub(crate) fn find(self, text: &[u8], from: usize, spans: &mut Spans) -> bool {
        match self {
            Needle::Regex(p) => from <= text.len() && p.regex.find_at(text, from, spans),
            Needle::Text(t) => {
                let at = text.get(from..).and_then(|rest| memchr::memmem::find(rest, t));
                spans.clear();
                spans.extend(at.map(|at| Some((from + at, from + at + t.len()))));
                at.is_some()
            }
        }
    }

    pub(crate) fn names(self) -> &'s [Option<String>] {
        match self {
            Needle::Regex(p) => p.regex.group_names(),
            Needle::Text(_) => &[],
        }
    }
}

/// Where the whole match stands.
pub(crate) fn whole(spans: &[Option<(usize, usize)>]) -> (usize, usize) {
    spans.first().copied().flatten().unwrap_or((0, 0))
}

/// Where to search next after a match: an empty one moves on by a character.
pub(crate) fn after(text: &[u8], from: usize, to: usize) -> usize {
    match to {
        to if to > from => to,
        to if to < text.len() => to + chars::step(text, to),
        to => to + 1,
    }
}

/// Keeps a match, and makes it `$~`.
pub(crate) fn remember<'s>(
    vm: &mut Vm<'s>,
    text: &'s [u8],
    needle: Needle<'s>,
    spans: &[Option<(usize, usize)>],
) -> Checked<&'s Matched<'s>> {
    vm.reserve(size_of::<Matched<'s>>() + size_of_val(spans))?;
    let bump = vm.cx.bump;
    let found = &*bump.alloc(Matched { text, spans: bump.alloc_slice_copy(spans), names: needle.names() });
    vm.last_match = Some(found);
    Ok(found)
}

fn matched<'s>(vm: &mut Vm<'s>, text: &'s [u8], needle: Needle<'s>, from: usize) -> Checked<Option<&'s Matched<'s>>> {
    let mut spans = Vec::new();
    if needle.find(text, from, &mut spans) {
        return remember(vm, text, needle, &spans).map(Some);
    }
    vm.last_match = None;
    Ok(None)
}

/// Searches for a regular expression and sets `$~`.
pub(crate) fn find<'s>(
    vm: &mut Vm<'s>,
    pattern: Pattern<'s>,
    text: &'s [u8],
    from: usize,
) -> Checked<Option<&'s Matched<'s>>> {
    vm.charge(1 + text.len() / 64)?;
    matched(vm, text, Needle::Regex(pattern), from)
}

/// `=~`: the position in characters, or nil.
pub(crate) fn match_operator<'s>(vm: &mut Vm<'s>, left: Val<'s>, right: Val<'s>) -> Outcome<'s> {
    let (pattern, text) = match (left, right) {
        (Val::Regex(p), Val::Str(t) | Val::Bin(t) | Val::Sym(t)) => (p, t),
        (Val::Str(t) | Val::Bin(t) | Val::Sym(t), Val::Regex(p)) => (p, t),
        (Val::Regex(_), Val::Nil) | (Val::Nil, _) => {
            vm.last_match = None;
            return Ok(Val::Nil);
        }
        (Val::Str(_), Val::Str(_)) => {
            return Err(Fault::type_error("wrong argument type String (expected Regexp)").into());
        }
        (Val::Regex(_), other) => {
            return Err(Fault::type_error(format!("no implicit conversion of {} into String", other.class())).into());
        }
        (other, _) => return Err(no_method("=~", other).into()),
    };
    let found = find(vm, pattern, text, 0)?;
    Ok(found.map_or(Val::Nil, |m| Val::Int(chars::count(&text[..whole(m.spans).0]) as i128)))
}

/// The byte offset that argument `n` gives as a position in characters; `None` outside.
fn start(text: &[u8], args: Args<'_, '_>, n: usize) -> Checked<Option<usize>> {
    if args.list.len() <= n {
        return Ok(Some(0));
    }
    let len = chars::count(text);
    let at = index::from_end(args.int(n)?, len).filter(|at| *at <= len);
    Ok(at.map(|at| chars::offset(text, at)))
}

fn position<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let Some(from) = start(text, args, 1)? else { return Ok(Val::Nil) };
    let found = matched(vm, text, Needle::of(args.val(0))?, from)?;
    Ok(found.map_or(Val::Nil, |m| Val::Int(chars::count(&text[..whole(m.spans).0]) as i128)))
}

fn last_position<'s>(_: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let limit = match args.list.len() {
        1 => Some(text.len()),
        _ => {
            let at = index::from_end(args.int(1)?, chars::count(text));
            at.map(|at| chars::offset(text, at))
        }
    };
    let found = limit.and_then(|limit| last(Needle::of(args.val(0)).ok()?, text, limit));
    Needle::of(args.val(0))?;
    Ok(found.map_or(Val::Nil, |(from, _)| Val::Int(chars::count(&text[..from]) as i128)))
}

/// The last match that begins at `limit` or before.
fn last(needle: Needle<'_>, text: &[u8], limit: usize) -> Option<(usize, usize)> {
    if let Needle::Text(t) = needle {
        let end = limit.saturating_add(t.len()).min(text.len());
        return memchr::memmem::rfind(&text[..end], t).map(|at| (at, at + t.len()));
    }
    let mut spans = Vec::new();
    let (mut at, mut found) = (0, None);
    while needle.find(text, at, &mut spans) {
        let (from, to) = whole(&spans);
        if from > limit {
            break;
        }
        found = Some((from, to));
        // The last match may begin inside an earlier one.
        at = after(text, from, from);
    }
    found
}

/// What `scan` gives for a match: the match, or its groups where there are some.
fn scanned<'s>(vm: &mut Vm<'s>, text: &'s [u8], spans: &Spans) -> Outcome<'s> {
    let part = |span: &Option<(usize, usize)>| span.map_or(Val::Nil, |(from, to)| Val::Str(&text[from..to]));
    match spans.as_slice() {
        [one] => Ok(part(one)),
        [_, groups @ ..] => {
            let groups: Vec<Val<'s>> = groups.iter().map(part).collect();
            vm.array(groups)
        }
        [] => Ok(Val::Nil),
    }
}

fn scan<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let needle = Needle::of(args.val(0))?;
    let found = vm.arr(&[])?;
    let (mut at, mut spans) = (0, Vec::new());
    while needle.find(text, at, &mut spans) {
        vm.charge(1)?;
        let (from, to) = whole(&spans);
        let item = scanned(vm, text, &spans)?;
        match args.block {
            Some(block) => {
                remember(vm, text, needle, &spans)?;
                vm.run(block, &[item])?;
            }
            None => vm.push(found, item)?,
        }
        at = after(text, from, to);
    }
    Ok(if args.block.is_some() { Val::Str(text) } else { Val::Array(found) })
}

fn split<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let limit = if args.list.len() > 1 { args.int(1)? } else { 0 };
    let limit = if limit > 0 { usize::try_from(limit).ok() } else { None };
    let keep_empty = args.list.len() > 1 && args.int(1)? != 0;
    let mut parts = match args.val(0) {
        _ if text.is_empty() => Vec::new(),
        _ if limit == Some(1) => vec![text],
        Val::Nil | Val::Str(b" ") => split_words(text, limit),
        pattern => split_at(vm, text, Needle::of(pattern)?, limit)?,
    };
    if !keep_empty {
        let kept = parts.iter().rposition(|p| !p.is_empty()).map_or(0, |at| at + 1);
        parts.truncate(kept);
    }
    let parts: Vec<Val<'s>> = parts.into_iter().map(Val::Str).collect();
    let Some(block) = args.block else { return vm.array(parts) };
    for part in parts {
        vm.run(block, &[part])?;
    }
    Ok(Val::Str(text))
}

/// Words between white space, as awk sees them.
fn split_words(text: &[u8], limit: Option<usize>) -> Vec<&[u8]> {
    let blank = |b: &u8| matches!(b, b'\t'..=b'\r' | b' ' | 0);
    let mut parts = Vec::new();
    let mut rest = string::strip_start(text);
    while !rest.is_empty() {
        if limit == Some(parts.len() + 1) {
            parts.push(rest);
            return parts;
        }
        let end = rest.iter().position(blank).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        if end == rest.len() {
            return parts;
        }
        rest = string::strip_start(&rest[end..]);
    }
    // White space at the end has an empty word behind it, for those who ask for all.
    parts.push(rest);
    parts
}

/// Parts between matches; groups of the pattern are parts too.
fn split_at<'s>(vm: &mut Vm<'s>, text: &'s [u8], needle: Needle<'s>, limit: Option<usize>) -> Checked<Vec<&'s [u8]>> {
    let (mut parts, mut spans) = (Vec::new(), Vec::new());
    let (mut begin, mut at, mut made, mut skipped) = (0, 0, 1, false);
    while at <= text.len() && limit != Some(made) && needle.find(text, at, &mut spans) {
        vm.charge(1)?;
        let (from, to) = whole(&spans);
        if from == at && from == to {
            // An empty match where the search began parts nothing; found again a character on, it parts that character.
            if !skipped {
                at = after(text, at, at);
                skipped = true;
                continue;
            }
            parts.push(&text[begin..at]);
            begin = at;
        } else {
            parts.push(&text[begin..from]);
            (begin, at) = (to, to);
        }
        skipped = false;
        parts.extend(spans.iter().skip(1).flatten().map(|(a, b)| &text[*a..*b]));
        made += 1;
    }
    parts.push(&text[begin..]);
    Ok(parts)
}
