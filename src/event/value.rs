//! One value of a record, borrowed from the bytes it came in or from an [`Arena`](super::record::Arena).

use super::msgpack::{self, Malformed};

/// A borrowed value. Containers stay encoded: their slice is one whole MessagePack value, already checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// nil
    Nil,
    /// true or false
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX`.
    UInt(u64),
    /// A float.
    Float(f64),
    /// Text; usually UTF-8, but clients may send anything.
    Str(&'a [u8]),
    /// Bytes.
    Bin(&'a [u8]),
    /// An encoded array.
    Array(&'a [u8]),
    /// An encoded map.
    Map(&'a [u8]),
    /// An extension: type and data.
    Ext(i8, &'a [u8]),
}

impl From<u64> for Value<'_> {
    fn from(v: u64) -> Self {
        i64::try_from(v).map_or(Value::UInt(v), Value::Int)
    }
}

impl<'a> Value<'a> {
    /// Text from a string.
    pub fn str(text: &'a str) -> Value<'a> {
        Value::Str(text.as_bytes())
    }

    /// The bytes of text or binary.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Value::Str(b) | Value::Bin(b) => Some(b),
            _ => None,
        }
    }

    /// Writes the value as MessagePack.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Value::Str(v) => msgpack::put_str(out, v),
            other => other.encode_far(out),
        }
    }

    #[inline(never)]
    fn encode_far(&self, out: &mut Vec<u8>) {
        match *self {
            Value::Nil => msgpack::put_nil(out),
            Value::Bool(v) => msgpack::put_bool(out, v),
            Value::Int(v) => msgpack::put_int(out, v),
            Value::UInt(v) => msgpack::put_uint(out, v),
            Value::Float(v) => msgpack::put_f64(out, v),
            Value::Str(v) => msgpack::put_str(out, v),
            Value::Bin(v) => msgpack::put_bin(out, v),
            Value::Array(raw) | Value::Map(raw) => out.extend_from_slice(raw),
            Value::Ext(kind, data) => msgpack::put_ext(out, kind, data),
        }
    }

    /// Decodes one whole value; bytes behind it are an error.
    pub fn decode(buf: &'a [u8]) -> Result<Value<'a>, Malformed> {
        let mut pos = 0;
        let value = msgpack::read(buf, &mut pos)?;
        if pos == buf.len() { Ok(value) } else { Err(Malformed::Invalid) }
    }

    /// The elements of an array; empty for anything else.
    pub fn items(&self) -> Items<'a> {
        match *self {
            Value::Array(raw) => Items::new(raw, msgpack::read_array_len),
            _ => Items { buf: &[], pos: 0, left: 0 },
        }
    }

    /// The pairs of a map; empty for anything else.
    pub fn pairs(&self) -> Pairs<'a> {
        Pairs(match *self {
            Value::Map(raw) => Items::new(raw, msgpack::read_map_len),
            _ => Items { buf: &[], pos: 0, left: 0 },
        })
    }
}

/// Elements of an encoded container.
#[derive(Clone)]
pub struct Items<'a> {
    buf: &'a [u8],
    pos: usize,
    left: usize,
}

type HeaderReader = fn(&[u8], &mut usize) -> Result<Option<usize>, Malformed>;

impl<'a> Items<'a> {
    fn new(buf: &'a [u8], header: HeaderReader) -> Items<'a> {
        let mut pos = 0;
        let left = header(buf, &mut pos).ok().flatten().unwrap_or(0);
        Items { buf, pos, left }
    }

    /// How many are still to come.
    pub fn remaining(&self) -> usize {
        self.left
    }

    fn read(&mut self) -> Option<Value<'a>> {
        msgpack::read(self.buf, &mut self.pos).ok()
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.read()
    }
}

/// Pairs of an encoded map.
#[derive(Clone)]
pub struct Pairs<'a>(Items<'a>);

impl Pairs<'_> {
    /// How many pairs are still to come.
    pub fn remaining(&self) -> usize {
        self.0.left
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Value<'a>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.left = self.0.left.checked_sub(1)?;
        Some((self.0.read()?, self.0.read()?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_is_24_bytes() {
        assert_eq!(size_of::<Value<'_>>(), 24);
    }

    #[test]
    fn containers_give_their_elements() {
        let mut out = Vec::new();
        msgpack::put_map_len(&mut out, 1);
        msgpack::put_str(&mut out, b"k");
        msgpack::put_array_len(&mut out, 2);
        msgpack::put_int(&mut out, 1);
        msgpack::put_nil(&mut out);
        let map = Value::decode(&out).unwrap();
        let (k, v) = map.pairs().next().unwrap();
        assert_eq!(k, Value::str("k"));
        assert_eq!(v.items().collect::<Vec<_>>(), [Value::Int(1), Value::Nil]);
        assert_eq!(v.pairs().count(), 0);
        out.push(0);
        assert_eq!(Value::decode(&out), Err(Malformed::Invalid));
    }
}
