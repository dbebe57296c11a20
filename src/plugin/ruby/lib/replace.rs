//! `sub` and `gsub`: by text, by hash, by block.

use super::pattern::{Needle, after, remember, whole};
use crate::plugin::ruby::ast::Block;
use crate::plugin::ruby::bridge::Spans;
use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::index::no_group;
use crate::plugin::ruby::methods::{Args, Def, TextFn, def};
use crate::plugin::ruby::text::{self, Buf};
use crate::plugin::ruby::value::{Map, Val};
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<TextFn>] = &[
    def("gsub", 1, 2, |vm, text, args| replace(vm, text, args, usize::MAX)),
    def("sub", 1, 2, |vm, text, args| replace(vm, text, args, 1)),
];

/// What comes in place of a match.
#[derive(Clone, Copy)]
enum With<'s> {
    Text(&'s [u8]),
    Hash(Map<'s>),
    Block(&'s Block),
}

fn replace<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>, most: usize) -> Outcome<'s> {
    let needle = Needle::of(args.val(0))?;
    let with = match (args.get(1), args.block) {
        (Some(Val::Hash(map)), _) => With::Hash(map),
        (Some(other), _) => With::Text(other.to_text()?),
        (None, Some(block)) => With::Block(block),
        (None, None) => return Err(Fault::argument("wrong number of arguments (given 1, expected 2)").into()),
    };
    let (mut spans, mut out) = (Vec::new(), Buf::new());
    let (mut at, mut copied, mut made) = (0, 0, 0);
    while made < most && at <= text.len() && needle.find(text, at, &mut spans) {
        vm.charge(1 + spans.len() / 4)?;
        let (from, to) = whole(&spans);
        out.push(&text[copied..from])?;
        insert(vm, text, needle, &spans, with, &mut out)?;
        (copied, made) = (to, made + 1);
        at = after(text, from, to);
    }
    if made == 0 {
        return Ok(Val::Str(text));
    }
    if !matches!(with, With::Block(_)) {
        vm.last_match = None;
    }
    out.push(&text[copied..])?;
    vm.string(out.bytes())
}

fn insert<'s>(
    vm: &mut Vm<'s>,
    text: &'s [u8],
    needle: Needle<'s>,
    spans: &Spans,
    with: With<'s>,
    out: &mut Buf,
) -> Outcome<'s, ()> {
    let (from, to) = whole(spans);
    match with {
        With::Text(template) => expand(template, text, needle.names(), spans, out)?,
        With::Hash(map) => {
            vm.charge(map.len() / 4)?;
            text::write_s(map.get(Val::Str(&text[from..to])).unwrap_or(Val::Nil), out)?;
        }
        With::Block(block) => {
            remember(vm, text, needle, spans)?;
            let made = vm.run(block, &[Val::Str(&text[from..to])])?;
            text::write_s(made, out)?;
        }
    }
    Ok(())
}

/// Appends a replacement, in which `\1`, `\k<name>`, `\0`, `\&`, `` \` ``, `\'` and `\\` stand for something.
fn expand(template: &[u8], text: &[u8], names: &[Option<String>], spans: &Spans, out: &mut Buf) -> Checked<()> {
    let group = |n: usize| spans.get(n).copied().flatten().map_or(&b""[..], |(from, to)| &text[from..to]);
    let (from, to) = whole(spans);
    let mut rest = template;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.push(&rest[..at])?;
        let Some(sign) = rest.get(at + 1) else { return out.push(&rest[at..]) };
        let after = &rest[at + 2..];
        rest = after;
        match sign {
            b'0'..=b'9' => out.push(group(usize::from(sign - b'0')))?,
            b'&' => out.push(group(0))?,
            b'`' => out.push(&text[..from])?,
            b'\'' => out.push(&text[to..])?,
            b'\\' => out.push(b"\\")?,
            b'k' if after.first() == Some(&b'<') && after.contains(&b'>') => {
                let end = memchr::memchr(b'>', after).unwrap_or(after.len());
                let name = &after[1..end];
                let number = names.iter().position(|n| n.as_ref().is_some_and(|n| n.as_bytes() == name));
                out.push(group(number.ok_or_else(|| no_group(name))?))?;
                rest = &after[end + 1..];
            }
            other => out.push(&[b'\\', *other])?,
        }
    }
    out.push(rest)
}
