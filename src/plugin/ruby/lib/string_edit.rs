//! String: new strings made from one.

use super::chars;
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::methods::{ANY, Args, Def, TextFn, def};
use crate::plugin::ruby::text::{Buf, check_len};
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<TextFn>] = &[
    def("center", 1, 2, |vm, text, args| justify(vm, text, args, |room| (room / 2, room - room / 2))),
    def("chomp", 0, 1, |_, text, args| match args.get(0) {
        Some(Val::Nil) => Ok(Val::Str(text)),
        Some(end) => Ok(Val::Str(chomp_text(text, end.to_text()?))),
        None => Ok(Val::Str(chomp(text))),
    }),
    def("chop", 0, 0, |_, text, _| {
        let last = if text.ends_with(b"\r\n") { 2 } else { chars::iter(text).last().map_or(0, <[u8]>::len) };
        Ok(Val::Str(&text[..text.len() - last]))
    }),
    def("concat", 0, ANY, |vm, text, args| glue(vm, text, args, true)),
    def("delete_prefix", 1, 1, |_, text, args| Ok(Val::Str(text.strip_prefix(args.text(0)?).unwrap_or(text)))),
    def("delete_suffix", 1, 1, |_, text, args| Ok(Val::Str(text.strip_suffix(args.text(0)?).unwrap_or(text)))),
    def("insert", 2, 2, insert),
    def("ljust", 1, 2, |vm, text, args| justify(vm, text, args, |room| (0, room))),
    def("prepend", 0, ANY, |vm, text, args| glue(vm, text, args, false)),
    def("rjust", 1, 2, |vm, text, args| justify(vm, text, args, |room| (room, 0))),
];

/// The text without the line end at its end.
pub(crate) fn chomp(text: &[u8]) -> &[u8] {
    match text {
        [rest @ .., b'\r', b'\n'] | [rest @ .., b'\n'] | [rest @ .., b'\r'] => rest,
        _ => text,
    }
}

fn chomp_text<'t>(mut text: &'t [u8], end: &[u8]) -> &'t [u8] {
    match end {
        b"\n" => chomp(text),
        // An empty end stands for all line ends.
        b"" => {
            while text.ends_with(b"\n") {
                text = chomp(text);
            }
            text
        }
        end => text.strip_suffix(end).unwrap_or(text),
    }
}

fn glue<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>, behind: bool) -> Outcome<'s> {
    let mut parts: Vec<&[u8]> = (0..args.list.len()).map(|n| args.text(n)).collect::<Checked<_>>()?;
    parts.insert(if behind { 0 } else { parts.len() }, text);
    check_len(parts.iter().map(|p| p.len()).sum())?;
    vm.string(parts.concat())
}

fn insert<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let (at, part) = (args.int(0)?, args.text(1)?);
    let len = chars::count(text) as i128;
    let place = if at < 0 { at + len + 1 } else { at };
    let place = usize::try_from(place).ok().filter(|p| *p <= len as usize);
    let place = place.ok_or_else(|| Fault::new("IndexError", format!("index {at} out of string")))?;
    let offset = chars::offset(text, place);
    vm.string([&text[..offset], part, &text[offset..]].concat())
}

fn justify<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>, split: fn(usize) -> (usize, usize)) -> Outcome<'s> {
    let width = usize::try_from(args.int(0)?.max(0)).unwrap_or(usize::MAX);
    let pad = if args.list.len() > 1 { args.text(1)? } else { b" " };
    if pad.is_empty() {
        return Err(Fault::argument("zero width padding").into());
    }
    let room = width.saturating_sub(chars::count(text));
    check_len(room.saturating_add(text.len()))?;
    let (left, right) = split(room);
    let mut out = Buf::new();
    fill(&mut out, pad, left)?;
    out.push(text)?;
    fill(&mut out, pad, right)?;
    vm.string(out.bytes())
}

fn fill(out: &mut Buf, pad: &[u8], len: usize) -> Checked<()> {
    let pad: Vec<&[u8]> = chars::iter(pad).collect();
    pad.iter().cycle().take(len).try_for_each(|c| out.push(c))
}
