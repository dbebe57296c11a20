//! Encodings: strings are UTF-8 or bytes, and can be made clean; other encodings are a parser's business.

use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::methods::{Args, Def, TextFn, def};
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<TextFn>] = &[
    def("b", 0, 0, |_, text, _| Ok(Val::Bin(text))),
    def("encode", 0, 3, encode),
    def("force_encoding", 1, 1, force),
    def("scrub", 0, 1, scrub),
    def("unicode_normalize", 0, 1, |_, text, _| {
        if text.is_ascii() {
            return Ok(Val::Str(text));
        }
        Err(Fault::new("Encoding::ConverterNotFoundError", "unicode_normalize works on ASCII text only").into())
    }),
    def("valid_encoding?", 0, 0, |_, text, _| Ok(Val::Bool(std::str::from_utf8(text).is_ok()))),
    def("ascii_only?", 0, 0, |_, text, _| Ok(Val::Bool(text.is_ascii()))),
];

#[derive(PartialEq)]
enum Encoding {
    Utf8,
    Bytes,
}

fn named(value: Val<'_>) -> Checked<Encoding> {
    let name = String::from_utf8_lossy(value.text().unwrap_or_default()).to_ascii_lowercase();
    match name.as_str() {
        "utf-8" | "utf8" => Ok(Encoding::Utf8),
        "ascii-8bit" | "binary" => Ok(Encoding::Bytes),
        "us-ascii" | "ascii" => Ok(Encoding::Utf8),
        _ => {
            let message =
                format!("encoding {name:?} is not supported here (UTF-8 and BINARY are); set `encoding` at the source");
            Err(Fault::new("Encoding::ConverterNotFoundError", message))
        }
    }
}

fn force<'s>(_: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    Ok(if named(args.val(0))? == Encoding::Bytes { Val::Bin(text) } else { Val::Str(text) })
}

/// `encode("UTF-8", invalid: :replace, undef: :replace, replace: "?")`.
fn encode<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let names = args.positional();
    let kinds: Vec<Encoding> = names.iter().map(|v| named(*v)).collect::<Checked<_>>()?;
    let replaces = ["invalid", "undef"].into_iter().any(|k| matches!(args.keyword(k), Some(Val::Sym(b"replace"))));
    // From UTF-8 to UTF-8 nothing is converted; from bytes, each byte above ASCII is undefined.
    let valid = match kinds.get(1) {
        Some(Encoding::Bytes) => text.is_ascii(),
        _ => std::str::from_utf8(text).is_ok(),
    };
    if valid || (kinds.is_empty() && !replaces) {
        return Ok(Val::Str(text));
    }
    if !replaces {
        return if kinds.len() < 2 { Ok(Val::Str(text)) } else { Err(undefined(text).into()) };
    }
    let mark = match args.keyword("replace") {
        Some(mark) => mark.to_text()?,
        None => "\u{fffd}".as_bytes(),
    };
    if kinds.get(1) == Some(&Encoding::Bytes) {
        let parts: Vec<&[u8]> = text.chunks(1).map(|b| if b.is_ascii() { b } else { mark }).collect();
        return vm.string(parts.concat());
    }
    replaced(vm, text, |vm, _| Ok(vm.keep(mark)?))
}

fn undefined(text: &[u8]) -> Box<Fault> {
    let byte = text.iter().find(|b| !b.is_ascii()).copied().unwrap_or_default();
    Fault::new("EncodingError", format!("\"\\x{byte:02X}\" from ASCII-8BIT to UTF-8"))
}

fn scrub<'s>(vm: &mut Vm<'s>, text: &'s [u8], args: Args<'_, 's>) -> Outcome<'s> {
    let mark = if args.list.is_empty() { "\u{fffd}".as_bytes() } else { args.text(0)? };
    match args.block {
        Some(block) => replaced(vm, text, |vm, bad| {
            let bad = vm.string(bad)?;
            Ok(vm.run(block, &[bad])?.to_text()?)
        }),
        None => replaced(vm, text, |_, _| Ok(mark)),
    }
}

/// The text with each run of bytes that begins a character but ends none replaced.
fn replaced<'s>(
    vm: &mut Vm<'s>,
    text: &'s [u8],
    mut with: impl FnMut(&mut Vm<'s>, &[u8]) -> Outcome<'s, &'s [u8]>,
) -> Outcome<'s> {
    let mut out = crate::plugin::ruby::text::Buf::new();
    for chunk in text.utf8_chunks() {
        out.str(chunk.valid())?;
        if !chunk.invalid().is_empty() {
            out.push(with(vm, chunk.invalid())?)?;
        }
    }
    vm.string(out.bytes())
}
