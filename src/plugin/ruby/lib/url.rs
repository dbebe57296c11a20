//! URI and CGI: texts as forms and addresses carry them.

use crate::plugin::ruby::error::{Checked, Fault, Outcome};
use crate::plugin::ruby::methods::{Args, Def, FreeFn, def};
use crate::plugin::ruby::value::Val;
use crate::plugin::ruby::vm::Vm;

pub(crate) const TABLE: &[Def<FreeFn>] = &[
    def("CGI.escape", 1, 1, |vm, args| escape(vm, args, b"-._~")),
    def("CGI.escapeHTML", 1, 1, |vm, args| html(vm, args, false)),
    def("CGI.unescape", 1, 1, |vm, args| unescape(vm, args, false)),
    def("CGI.unescapeHTML", 1, 1, |vm, args| html(vm, args, true)),
    def("URI.decode_www_form_component", 1, 1, |vm, args| unescape(vm, args, true)),
    def("URI.encode_www_form_component", 1, 1, |vm, args| escape(vm, args, b"*-._")),
    def("URI.decode_uri_component", 1, 1, |vm, args| {
        let made = decode(args.text(0)?, false, true)?;
        vm.string(made)
    }),
    def("URI.encode_uri_component", 1, 1, |vm, args| {
        let made = encode(args.text(0)?, b"*-._", b"%20");
        vm.string(made)
    }),
];

/// As forms have it: a space becomes `+`.
fn escape<'s>(vm: &mut Vm<'s>, args: Args<'_, 's>, plain: &[u8]) -> Outcome<'s> {
    let text = crate::plugin::ruby::text::to_s(args.val(0))?;
    let made = encode(&text, plain, b"+");
    vm.string(made)
}

fn encode(text: &[u8], plain: &[u8], space: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' ' => out.extend_from_slice(space),
            b if b.is_ascii_alphanumeric() || plain.contains(b) => out.push(*b),
            b => out.extend_from_slice(format!("%{b:02X}").as_bytes()),
        }
    }
    out
}

fn unescape<'s>(vm: &mut Vm<'s>, args: Args<'_, 's>, strict: bool) -> Outcome<'s> {
    let made = decode(args.text(0)?, true, strict)?;
    vm.string(made)
}

/// Undoes `%41` and, for forms, `+`. A `%` that begins no byte is an error or, not being strict, itself.
fn decode(text: &[u8], form: bool, strict: bool) -> Checked<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'%', ..) if strict => {
                let shown = String::from_utf8_lossy(text);
                return Err(Fault::argument(format!("invalid %-encoding ({shown})")));
            }
            (b'+', ..) if form => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    Ok(out)
}

const HTML: &[(&[u8], &[u8])] =
    &[(b"&", b"&amp;"), (b"<", b"&lt;"), (b">", b"&gt;"), (b"\"", b"&quot;"), (b"'", b"&#39;")];

fn html<'s>(vm: &mut Vm<'s>, args: Args<'_, 's>, back: bool) -> Outcome<'s> {
    let text = args.text(0)?;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let one = std::slice::from_ref(first);
        let sides = HTML.iter().map(|(plain, escaped)| if back { (*escaped, *plain) } else { (*plain, *escaped) });
        let (from, to) = sides.into_iter().find(|(from, _)| rest.starts_with(from)).unwrap_or((one, one));
        out.extend_from_slice(to);
        rest = &rest[from.len()..];
    }
    Ok(Val::Str(vm.keep(&out)?))
}
