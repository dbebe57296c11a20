//! A value that owns what it is made of: for what is built once (a configured JSON value) rather than read from a batch.

use super::msgpack::{self, MAX_DEPTH, Malformed};
use super::record::{Arena, key_text};
use super::value::Value;

/// A value tree. Map keys are text, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Owned {
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
    /// Text; usually UTF-8.
    Str(Box<[u8]>),
    /// Bytes that are no text.
    Bin(Box<[u8]>),
    /// Elements in order.
    Array(Vec<Owned>),
    /// Pairs in order.
    Map(Vec<(Box<[u8]>, Owned)>),
    /// An extension: type and data.
    Ext(i8, Box<[u8]>),
}

impl Owned {
    /// Copies a borrowed value.
    ///
    /// Errors: [`Malformed::TooDeep`] past [`MAX_DEPTH`], [`Malformed::Truncated`] where a container's bytes end early.
    pub fn from_value(value: Value<'_>) -> Result<Owned, Malformed> {
        copy(value, &Arena::new(), 0)
    }

    /// Text from a string.
    pub fn str(text: &str) -> Owned {
        Owned::Str(text.as_bytes().into())
    }

    /// Writes the value as MessagePack. A tree deeper than [`MAX_DEPTH`] (which [`from_value`](Owned::from_value) never
    /// makes) has nil in place of what is below.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_at(out, 0);
    }

    fn encode_at(&self, out: &mut Vec<u8>, depth: usize) {
        match self {
            Owned::Array(_) | Owned::Map(_) if depth >= MAX_DEPTH => msgpack::put_nil(out),
            Owned::Array(items) => {
                msgpack::put_array_len(out, items.len());
                items.iter().for_each(|v| v.encode_at(out, depth + 1));
            }
            Owned::Map(pairs) => {
                msgpack::put_map_len(out, pairs.len());
                for (key, value) in pairs {
                    msgpack::put_str(out, key);
                    value.encode_at(out, depth + 1);
                }
            }
            flat => flat.borrow_flat().encode(out),
        }
    }

    /// The value in an arena: text and containers are copied there.
    pub fn to_value<'a>(&self, arena: &'a Arena) -> Value<'a> {
        match self {
            Owned::Array(_) => Value::Array(self.encoded(arena)),
            Owned::Map(_) => Value::Map(self.encoded(arena)),
            flat => arena.keep(flat.borrow_flat()),
        }
    }

    fn encoded<'a>(&self, arena: &'a Arena) -> &'a [u8] {
        let mut out = Vec::new();
        self.encode(&mut out);
        arena.bytes(&out)
    }

    /// The value borrowed; containers, which have no borrowed form, give nil.
    fn borrow_flat(&self) -> Value<'_> {
        match self {
            Owned::Nil | Owned::Array(_) | Owned::Map(_) => Value::Nil,
            Owned::Bool(v) => Value::Bool(*v),
            Owned::Int(v) => Value::Int(*v),
            Owned::UInt(v) => Value::UInt(*v),
            Owned::Float(v) => Value::Float(*v),
            Owned::Str(v) => Value::Str(v),
            Owned::Bin(v) => Value::Bin(v),
            Owned::Ext(kind, v) => Value::Ext(*kind, v),
        }
    }
}

fn copy(value: Value<'_>, keys: &Arena, depth: usize) -> Result<Owned, Malformed> {
    Ok(match value {
        Value::Nil => Owned::Nil,
        Value::Bool(v) => Owned::Bool(v),
        Value::Int(v) => Owned::Int(v),
        Value::UInt(v) => Owned::UInt(v),
        Value::Float(v) => Owned::Float(v),
        Value::Str(v) => Owned::Str(v.into()),
        Value::Bin(v) => Owned::Bin(v.into()),
        Value::Ext(kind, v) => Owned::Ext(kind, v.into()),
        Value::Array(_) | Value::Map(_) if depth >= MAX_DEPTH => return Err(Malformed::TooDeep),
        Value::Array(_) => copy_array(value, keys, depth)?,
        Value::Map(_) => copy_map(value, keys, depth)?,
    })
}

fn copy_array(value: Value<'_>, keys: &Arena, depth: usize) -> Result<Owned, Malformed> {
    let mut walk = value.items();
    let declared = walk.remaining();
    let items: Vec<Owned> = walk.by_ref().map(|v| copy(v, keys, depth + 1)).collect::<Result<_, _>>()?;
    if items.len() == declared { Ok(Owned::Array(items)) } else { Err(Malformed::Truncated) }
}

fn copy_map(value: Value<'_>, keys: &Arena, depth: usize) -> Result<Owned, Malformed> {
    let mut walk = value.pairs();
    let declared = walk.remaining();
    let pair = |(k, v)| Ok((Box::from(key_text(k, keys)), copy(v, keys, depth + 1)?));
    let pairs: Vec<_> = walk.by_ref().map(pair).collect::<Result<_, Malformed>>()?;
    if pairs.len() == declared { Ok(Owned::Map(pairs)) } else { Err(Malformed::Truncated) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Owned {
        Owned::Map(vec![
            (
                Box::from(*b"a"),
                Owned::Array(vec![Owned::Int(-1), Owned::UInt(u64::MAX), Owned::Float(1.5), Owned::Nil]),
            ),
            (Box::from(*b"b"), Owned::Map(vec![(Box::from(*b"c"), Owned::Bin(Box::from(*b"\xff")))])),
            (Box::from(*b"e"), Owned::Ext(7, Box::from(*b"xy"))),
            (Box::from(*b"t"), Owned::Bool(true)),
            (Box::from(*b"s"), Owned::str("text")),
        ])
    }

    #[test]
    fn a_tree_comes_back_from_its_bytes() {
        let arena = Arena::new();
        let value = sample().to_value(&arena);
        assert_eq!(Owned::from_value(value), Ok(sample()));
        let mut out = Vec::new();
        sample().encode(&mut out);
        assert_eq!(Value::decode(&out), Ok(value));
    }

    #[test]
    fn trees_past_the_depth_limit_are_refused_when_read_and_cut_when_written() {
        let mut raw = vec![0x91; MAX_DEPTH + 1];
        raw.push(0xc0);
        assert_eq!(Owned::from_value(Value::Array(&raw)), Err(Malformed::TooDeep));
        let mut deep = Owned::Nil;
        for _ in 0..MAX_DEPTH + 5 {
            deep = Owned::Array(vec![deep]);
        }
        let mut out = Vec::new();
        deep.encode(&mut out);
        assert!(Value::decode(&out).is_ok());
    }

    #[test]
    fn a_container_cut_short_is_an_error() {
        assert_eq!(Owned::from_value(Value::Array(&[0x92, 0x01])), Err(Malformed::Truncated));
        assert_eq!(Owned::from_value(Value::Map(&[0x81, 0x01])), Err(Malformed::Truncated));
    }

    #[test]
    fn keys_that_are_no_text_become_text() {
        let got = Owned::from_value(Value::Map(&[0x81, 0x07, 0xc3])).unwrap();
        assert_eq!(got, Owned::Map(vec![(Box::from(*b"7"), Owned::Bool(true))]));
    }
}
