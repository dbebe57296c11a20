//! String: questions, case, white space, parts.

use super::{chars, read_number, succ};
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::methods::{ANY, Args, Def, TextFn, def};
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::Vm;
use crate::plugin::ruby::{index, ops};

pub(crate) const TABLE: &[Def<TextFn>] = &[
    def("bytes", 0, 0, |vm, text, _| {
        let bytes: Vec<Val<'_>> = text.iter().map(|b| Val::Int((*b).into())).collect();
        vm.array(bytes)
    }),
    def("bytesize", 0, 0, |_, text, _| Ok(Val::Int(text.len() as i128))),
    def("byteslice", 1, 2, byteslice),
    def("getbyte", 1, 1, |_, text, args| {
        let at = index::from_end(args.int(0)?, text.len()).and_then(|at| text.get(at));
        Ok(at.map_or(Val::Nil, |b| Val::Int((*b).into())))
    }),
    def("capitalize", 0, 0, |vm, text, _| {
        let first = chars::slice(text, 0, 1);
        let rest = mapped(&text[first.len()..], |s| s.to_lowercase());
        vm.string([mapped(first, title), rest].concat())
    }),
    def("casecmp", 1, 1, |_, text, args| {
        let other = args.text(0)?.to_ascii_lowercase();
        Ok(Val::Int(text.to_ascii_lowercase().cmp(&other) as i128))
    }),
    def("casecmp?", 1, 1, |_, text, args| {
        let fold = |t| mapped(t, |s| s.to_lowercase());
        Ok(Val::Bool(fold(text) == fold(args.text(0)?)))
    }),
    def("chars", 0, 0, each_char),
    def("each_char", 0, 0, each_char),
    def("chr", 0, 0, |_, text, _| Ok(Val::Str(chars::slice(text, 0, 1)))),
    def("codepoints", 0, 0, |vm, text, _| {
        let codes: Vec<Val<'_>> = chars::iter(text).map(|c| Val::Int(chars::code(c).into())).collect();
        vm.array(codes)
    }),
    def("downcase", 0, 0, |vm, text, _| vm.string(mapped(text, |s| s.to_lowercase()))),
    def("empty?", 0, 0, |_, text, _| Ok(Val::Bool(text.is_empty()))),
    def("end_with?", 0, ANY, |_, text, args| {
        let ends: Vec<&[u8]> = (0..args.list.len()).map(|n| args.text(n)).collect::<Checked<_>>()?;
        Ok(Val::Bool(ends.into_iter().any(|e| text.ends_with(e))))
    }),
    def("hex", 0, 0, |_, text, _| Ok(Val::Int(read_number::to_i(text, 16)?))),
    def("include?", 1, 1, |_, text, args| Ok(Val::Bool(memchr::memmem::find(text, args.text(0)?).is_some()))),
    def("length", 0, 0, |_, text, _| Ok(Val::Int(chars::count(text) as i128))),
    def("size", 0, 0, |_, text, _| Ok(Val::Int(chars::count(text) as i128))),
    def("between?", 2, 2, |_, text, args| {
        let order = |n| {
            ops::compare(Val::Str(text), args.val(n)).ok_or_else(|| ops::not_comparable(Val::Str(text), args.val(n)))
        };
        Ok(Val::Bool(order(0)?.is_ge() && order(1)?.is_le()))
    }),
    def("lines", 0, 1, lines),
    def("each_line", 0, 1, lines),
    def("lstrip", 0, 0, |_, text, _| Ok(Val::Str(strip_start(text)))),
    def("next", 0, 0, |vm, text, _| vm.string(succ::succ(text))),
    def("oct", 0, 0, |_, text, _| Ok(Val::Int(octal(text)?))),
    def("ord", 0, 0, |_, text, _| match chars::iter(text).next() {
        Some(c) if std::str::from_utf8(c).is_ok() => Ok(Val::Int(chars::code(c).into())),
        Some(_) => Err(Fault::argument("invalid byte sequence in UTF-8").into()),
        None => Err(Fault::argument("empty string").into()),
    }),
    def("reverse", 0, 0, |vm, text, _| {
        let reversed: Vec<&[u8]> = chars::iter(text).collect::<Vec<_>>().into_iter().rev().collect();
        vm.string(reversed.concat())
    }),
    def("rstrip", 0, 0, |_, text, _| Ok(Val::Str(strip_end(text)))),
    def("strip", 0, 0, |_, text, _| Ok(Val::Str(strip_end(strip_start(text))))),
    def("succ", 0, 0, |vm, text, _| vm.string(succ::succ(text))),
    def("sum", 0, 0, |_, text, _| Ok(Val::Int(text.iter().map(|b| i128::from(*b)).sum::<i128>() & 0xffff))),
    def("swapcase", 0, 0, |vm, text, _| vm.string(mapped(text, swap))),
    def("to_f", 0, 0, |_, text, _| Ok(Val::Float(read_number::to_f(text)))),
    def("to_i", 0, 1, |_, text, args| {
        let base = if args.list.is_empty() { 10 } else { read_number::check_base(args.int(0)?)? };
        Ok(Val::Int(read_number::to_i(text, base)?))
    }),
    def("to_s", 0, 0, |_, text, _| Ok(Val::Str(text))),
    def("to_str", 0, 0, |_, text, _| Ok(Val::Str(text))),
    def("to_sym", 0, 0, |_, text, _| Ok(Val::Sym(text))),
    def("intern", 0, 0, |_, text, _| Ok(Val::Sym(text))),
    def("upcase", 0, 0, |vm, text, _| vm.string(mapped(text, |s| s.to_uppercase()))),
    def("upto", 1, 1, |vm, text, args| {
        let all = super::range::letters(vm, text, args.text(0)?, false)?;
        let Some(block) = args.block else { return vm.array(all) };
        for each in all {
            vm.run(block, &[each])?;
        }
        Ok(Val::Str(text))
    }),
];

/// Applies a change of case to what is UTF-8, and leaves other bytes as they are.
fn mapped(text: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(change(chunk.valid()).as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    out
}

fn title(text: &str) -> String {
    // Of the few letters whose title form differs, none begins a log field; the upper one serves.
    text.to_uppercase()
}

fn swap(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_lowercase() { out.extend(c.to_uppercase()) } else { out.extend(c.to_lowercase()) }
    }
    out
}

fn blank(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ' | 0)
}

pub(crate) fn strip_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| !blank(*b)).unwrap_or(text.len());
    &text[start..]
}

pub(crate) fn strip_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| !blank(*b)).map_or(0, |at| at + 1);
    &text[..end]
}

fn each_char<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    if let Some(block) = args.block {
        for c in chars::iter(text) {
            vm.run(block, &[Val::Str(c)])?;
        }
        return Ok(Val::Str(text));
    }
    let all: Vec<Val<'s>> = chars::iter(text).map(Val::Str).collect();
    vm.array(all)
}

fn lines<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let chomp = args.keyword("chomp").is_some_and(Val::truthy);
    let separator = match args.positional() {
        [separator, ..] => separator.to_text()?,
        [] => b"\n",
    };
    let mut all = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = match memchr::memmem::find(rest, separator) {
            Some(at) if !separator.is_empty() => at + separator.len(),
            _ => rest.len(),
        };
        let line = &rest[..end];
        all.push(Val::Str(if chomp { super::string_edit::chomp(line) } else { line }));
        rest = &rest[end..];
    }
    let Some(block) = args.block else { return vm.array(all) };
    for line in all {
        vm.run(block, &[line])?;
    }
    Ok(Val::Str(text))
}

fn byteslice<'s>(_: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let window = match args.list {
        [Val::Range(r)] => index::span(r, text.len())?,
        [at] => index::window(at.to_int()?, 1, text.len()).filter(|(from, to)| from < to),
        _ => index::window(args.int(0)?, args.int(1)?, text.len()),
    };
    Ok(window.map_or(Val::Nil, |(from, to)| Val::Str(&text[from..to])))
}

fn octal(text: &[u8]) -> Checked<i128> {
    let start = text.trim_ascii_start();
    let digits = start.strip_prefix(b"-").or(start.strip_prefix(b"+")).unwrap_or(start);
    let prefixed = matches!(digits, [b'0', b'x' | b'X' | b'b' | b'B' | b'o' | b'O' | b'd' | b'D', ..]);
    read_number::to_i(text, if prefixed { 0 } else { 8 })
}
