//! Values as text (`to_s`, `inspect`) and as MessagePack. Everything written is bounded, however the values are linked.

use super::clock;
use super::error::{Checked, Fault};
use super::limits::{MAX_DEPTH, MAX_TEXT_BYTES};
use super::value::{Arr, Map, Val};
use crate::event::{Value, msgpack};

/// Text in the making, never longer than [`MAX_TEXT_BYTES`].
#[derive(Default)]
pub(super) struct Buf(Vec<u8>);

impl Buf {
    pub(super) fn new() -> Buf {
        Buf::default()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Checked<()> {
        check_len(self.0.len().saturating_add(bytes.len()))?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn str(&mut self, text: &str) -> Checked<()> {
        self.push(text.as_bytes())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

/// Refuses a string of more than [`MAX_TEXT_BYTES`].
pub(super) fn check_len(len: usize) -> Checked<()> {
    if len <= MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(Fault::limit(format!("a string would be longer than {MAX_TEXT_BYTES} bytes")))
}

pub(super) fn to_s(value: Val<'_>) -> Checked<Vec<u8>> {
    let mut buf = Buf::new();
    write_s(value, &mut buf)?;
    Ok(buf.into_vec())
}

/// Appends what `to_s` gives.
pub(super) fn write_s(value: Val<'_>, out: &mut Buf) -> Checked<()> {
    match value {
        Val::Nil => Ok(()),
        Val::Str(t) | Val::Bin(t) | Val::Sym(t) | Val::Error(_, t) => out.push(t),
        Val::Time(t) => out.str(&clock::to_s(t)),
        Val::Match(m) => write_s(m.group(0), out),
        Val::Range(r) => {
            write_s(r.first, out)?;
            out.str(if r.exclusive { "..." } else { ".." })?;
            write_s(r.last, out)
        }
        Val::Regex(p) => {
            out.str("(?-mix:")?;
            out.push(p.source)?;
            out.str(")")
        }
        other => inspect(other, out, MAX_DEPTH),
    }
}

/// Appends what `inspect` gives, in the form of Ruby 3.4 (`{"a" => 1, b: 2}`).
pub(super) fn inspect(value: Val<'_>, out: &mut Buf, depth: usize) -> Checked<()> {
    match value {
        Val::Nil => out.str("nil"),
        Val::Bool(v) => out.str(if v { "true" } else { "false" }),
        Val::Int(n) => out.str(&n.to_string()),
        Val::Float(f) => out.str(&super::lib::number::float_text(f)),
        Val::Str(t) | Val::Bin(t) => quote(t, out),
        Val::Sym(t) => inspect_symbol(t, out),
        Val::Array(_) | Val::Hash(_) if depth == 0 => Err(too_deep()),
        Val::Array(a) => inspect_array(a, out, depth - 1),
        Val::Hash(h) => inspect_hash(h, out, depth - 1),
        Val::Range(r) => {
            let end = |v, out: &mut Buf| if matches!(v, Val::Nil) { Ok(()) } else { inspect(v, out, depth) };
            end(r.first, out)?;
            out.str(if r.exclusive { "..." } else { ".." })?;
            end(r.last, out)
        }
        Val::Regex(p) => [b"/", p.source, b"/"].into_iter().try_for_each(|part| out.push(part)),
        Val::Match(m) => {
            out.str("#<MatchData ")?;
            inspect(m.group(0), out, depth)?;
            out.str(">")
        }
        Val::Time(t) => out.str(&clock::inspect(t)),
        Val::Class(name) => out.str(name),
        Val::Error(class, t) => {
            out.str(&format!("#<{class}: "))?;
            out.push(t)?;
            out.str(">")
        }
        Val::Ext(kind, _) => out.str(&format!("#<MessagePack::ExtensionValue type={kind}>")),
    }
}

fn too_deep() -> Box<Fault> {
    Fault::argument(format!("nested deeper than {MAX_DEPTH} levels"))
}

fn inspect_array(array: Arr<'_>, out: &mut Buf, depth: usize) -> Checked<()> {
    out.str("[")?;
    for (i, item) in array.items().iter().enumerate() {
        out.str(if i > 0 { ", " } else { "" })?;
        inspect(*item, out, depth)?;
    }
    out.str("]")
}

fn inspect_hash(map: Map<'_>, out: &mut Buf, depth: usize) -> Checked<()> {
    out.str("{")?;
    for (i, (key, value)) in map.pairs().iter().enumerate() {
        out.str(if i > 0 { ", " } else { "" })?;
        match key {
            Val::Sym(t) if plain_symbol(t) => {
                out.push(t)?;
                out.str(": ")?;
            }
            Val::Sym(t) => {
                quote(t, out)?;
                out.str(": ")?;
            }
            other => {
                inspect(*other, out, depth)?;
                out.str(" => ")?;
            }
        }
        inspect(*value, out, depth)?;
    }
    out.str("}")
}

fn plain_symbol(text: &[u8]) -> bool {
    let name = text.strip_suffix(b"?").or(text.strip_suffix(b"!")).unwrap_or(text);
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || !b.is_ascii();
    name.first().is_some_and(|b| !b.is_ascii_digit()) && name.iter().all(word)
}

fn inspect_symbol(text: &[u8], out: &mut Buf) -> Checked<()> {
    out.str(":")?;
    let sign = std::str::from_utf8(text).is_ok_and(|t| super::ast::Op::find(t).is_some());
    if sign || plain_symbol(text) { out.push(text) } else { quote(text, out) }
}

/// Appends a string in double quotes, with Ruby's escapes.
fn quote(text: &[u8], out: &mut Buf) -> Checked<()> {
    out.str("\"")?;
    for chunk in text.utf8_chunks() {
        let mut chars = chunk.valid().chars().peekable();
        while let Some(c) = chars.next() {
            quote_char(c, chars.peek().copied(), out)?;
        }
        for byte in chunk.invalid() {
            out.str(&format!("\\x{byte:02X}"))?;
        }
    }
    out.str("\"")
}

fn quote_char(c: char, next: Option<char>, out: &mut Buf) -> Checked<()> {
    match c {
        '"' | '\\' => out.str(&format!("\\{c}")),
        '#' if matches!(next, Some('{' | '$' | '@')) => out.str("\\#"),
        '\n' => out.str("\\n"),
        '\r' => out.str("\\r"),
        '\t' => out.str("\\t"),
        '\u{b}' => out.str("\\v"),
        '\u{c}' => out.str("\\f"),
        '\u{8}' => out.str("\\b"),
        '\u{7}' => out.str("\\a"),
        '\u{1b}' => out.str("\\e"),
        // What Ruby takes for unprintable; characters that Unicode may yet assign are left as they are.
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => out.str(&format!("\\u{:04X}", c as u32)),
        c => out.str(c.encode_utf8(&mut [0; 4])),
    }
}

/// An integer as MessagePack has it.
pub(super) fn integer(n: i128) -> Checked<Value<'static>> {
    if let Ok(n) = i64::try_from(n) {
        return Ok(Value::Int(n));
    }
    let Ok(n) = u64::try_from(n) else {
        return Err(Fault::new("RangeError", format!("integer {n} is too big for a record (64 bits)")));
    };
    Ok(Value::UInt(n))
}

/// Appends a value as MessagePack. What has no form there becomes its text.
pub(super) fn encode(value: Val<'_>, out: &mut Vec<u8>, depth: usize) -> Checked<()> {
    check_len(out.len())?;
    match value {
        Val::Nil => msgpack::put_nil(out),
        Val::Bool(v) => msgpack::put_bool(out, v),
        Val::Int(n) => integer(n)?.encode(out),
        Val::Float(f) => msgpack::put_f64(out, f),
        Val::Str(t) | Val::Sym(t) => msgpack::put_str(out, t),
        Val::Bin(t) => msgpack::put_bin(out, t),
        Val::Ext(kind, data) => msgpack::put_ext(out, kind, data),
        Val::Array(_) | Val::Hash(_) if depth == 0 => return Err(too_deep()),
        Val::Array(a) => return encode_array(a, out, depth - 1),
        Val::Hash(h) => return encode_hash(h, out, depth - 1),
        other => msgpack::put_str(out, &to_s(other)?),
    }
    Ok(())
}

fn encode_array(array: Arr<'_>, out: &mut Vec<u8>, depth: usize) -> Checked<()> {
    if let Some(raw) = array.raw() {
        out.extend_from_slice(raw);
        return Ok(());
    }
    let items = array.items();
    msgpack::put_array_len(out, items.len());
    items.iter().try_for_each(|item| encode(*item, out, depth))
}

fn encode_hash(map: Map<'_>, out: &mut Vec<u8>, depth: usize) -> Checked<()> {
    if let Some(raw) = map.raw() {
        out.extend_from_slice(raw);
        return Ok(());
    }
    let pairs = map.pairs();
    msgpack::put_map_len(out, pairs.len());
    for (key, value) in pairs.iter() {
        // Record keys are text, as JSON's are.
        msgpack::put_str(out, &to_s(*key)?);
        encode(*value, out, depth)?;
    }
    Ok(())
}
