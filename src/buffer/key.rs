//! Chunk keys: what all events of a chunk have in common.

use std::fmt;
use std::sync::Arc;

use crate::event::{Malformed, Tag, Value, msgpack};

/// What all events of a chunk have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChunkKey {
    /// The tag, when chunks are parted by tag.
    pub tag: Option<Tag>,
    /// Start of the time slice in seconds since the epoch, when chunks are parted by time.
    pub time: Option<i64>,
    /// Values of record fields, in the order of the configuration.
    pub fields: Vec<(Arc<str>, KeyValue)>,
}

/// A value of a chunk key, of its own memory: one encoded MessagePack value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyValue(Box<[u8]>);

impl KeyValue {
    /// A copy of a value.
    pub fn new(value: Value<'_>) -> KeyValue {
        let mut out = Vec::new();
        value.encode(&mut out);
        KeyValue(out.into())
    }

    /// The value.
    pub fn value(&self) -> Value<'_> {
        Value::decode(&self.0).unwrap_or(Value::Nil)
    }

    /// As Ruby's `to_s` prints it: nothing for nil. Arrays and maps are printed as JSON, because Ruby's own form differs
    /// between its versions.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        match self.value() {
            Value::Nil => {}
            Value::Str(v) | Value::Bin(v) => out.push_str(&String::from_utf8_lossy(v)),
            other => push_json(other, &mut out),
        }
        out
    }
}

/// Appends a value as JSON. Nesting is bounded by the decoder's depth limit.
fn push_json(value: Value<'_>, out: &mut String) {
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(v) => out.push_str(if v { "true" } else { "false" }),
        Value::Int(v) => out.push_str(&v.to_string()),
        Value::UInt(v) => out.push_str(&v.to_string()),
        Value::Float(v) => out.push_str(&format!("{v:?}")),
        Value::Str(v) | Value::Bin(v) | Value::Ext(_, v) => push_quoted(v, out),
        Value::Array(_) => {
            let parts = value.items().map(|item| json(item));
            out.push_str(&format!("[{}]", parts.collect::<Vec<_>>().join(",")));
        }
        Value::Map(_) => {
            let parts = value.pairs().map(|(k, v)| format!("{}:{}", json(k), json(v)));
            out.push_str(&format!("{{{}}}", parts.collect::<Vec<_>>().join(",")));
        }
    }
}

fn json(value: Value<'_>) -> String {
    let mut out = String::new();
    push_json(value, &mut out);
    out
}

fn push_quoted(text: &[u8], out: &mut String) {
    // Serialising text into a string has no way to fail.
    out.push_str(&serde_json::to_string(&String::from_utf8_lossy(text)).unwrap_or_default());
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.value(), f)
    }
}

impl ChunkKey {
    /// Writes the key as MessagePack: `[tag or nil, time or nil, [[name, value], ...]]`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        msgpack::put_array_len(out, 3);
        match &self.tag {
            Some(tag) => msgpack::put_str(out, tag.as_bytes()),
            None => msgpack::put_nil(out),
        }
        match self.time {
            Some(time) => msgpack::put_int(out, time),
            None => msgpack::put_nil(out),
        }
        msgpack::put_array_len(out, self.fields.len());
        for (name, value) in &self.fields {
            msgpack::put_array_len(out, 2);
            msgpack::put_str(out, name.as_bytes());
            out.extend_from_slice(&value.0);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(buf: &[u8]) -> Result<ChunkKey, Malformed> {
        let whole = Value::decode(buf)?;
        let mut items = whole.items();
        let mut next = || items.next().ok_or(Malformed::Invalid);
        let tag = match next()? {
            Value::Nil => None,
            other => Some(Tag::from(text(other)?)),
        };
        let time = match next()? {
            Value::Nil => None,
            Value::Int(time) => Some(time),
            _ => return Err(Malformed::Invalid),
        };
        let fields = next()?.items().map(field).collect::<Result<_, _>>()?;
        Ok(ChunkKey { tag, time, fields })
    }
}

fn text(value: Value<'_>) -> Result<&str, Malformed> {
    let bytes = value.as_bytes().ok_or(Malformed::Invalid)?;
    std::str::from_utf8(bytes).map_err(|_| Malformed::Invalid)
}

fn field(pair: Value<'_>) -> Result<(Arc<str>, KeyValue), Malformed> {
    let mut items = pair.items();
    let name = items.next().ok_or(Malformed::Invalid)?;
    let value = items.next().ok_or(Malformed::Invalid)?;
    Ok((Arc::from(text(name)?), KeyValue::new(value)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_come_back_from_their_bytes() {
        let fields = vec![
            (Arc::from("user"), KeyValue::new(Value::str("ann"))),
            (Arc::from("$.a.b"), KeyValue::new(Value::Nil)),
            (Arc::from("n"), KeyValue::new(Value::Float(1.5))),
        ];
        for key in [ChunkKey::default(), ChunkKey { tag: Some(Tag::from("a.b")), time: Some(-60), fields }] {
            let mut out = Vec::new();
            key.encode(&mut out);
            assert_eq!(ChunkKey::decode(&out).unwrap(), key);
            assert!(ChunkKey::decode(&out[..out.len() - 1]).is_err());
        }
    }

    #[test]
    fn values_print_as_ruby_prints_them() {
        let text = |v: Value<'_>| KeyValue::new(v).to_text();
        assert_eq!(text(Value::Nil), "");
        assert_eq!(text(Value::Float(1.0)), "1.0");
        assert_eq!(text(Value::str("x")), "x");
        assert_eq!(text(Value::Bool(true)), "true");
        assert_eq!(text(Value::Int(-3)), "-3");
        assert_eq!(text(Value::Array(&[0x92, 0x01, 0xa1, b'"'])), r#"[1,"\""]"#);
    }
}
