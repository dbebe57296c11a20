//! A record as a short list of borrowed fields.
//!
//! Decoding points into the entry's bytes; edits replace a field's value by another borrowed one; what is new lives in an
//! [`Arena`] that outlives the record. Encoding copies untouched values as they are. Field names are text: other
//! MessagePack keys become their text, as Ruby's JSON generators print them.

use std::cell::Cell;

use bumpalo::Bump;

use super::json::shape::Expected;
use super::msgpack::{self, Malformed, MapWriter};
use super::value::Value;

/// Memory for new values of the records of one batch, given back all at once.
#[derive(Default)]
pub struct Arena {
    bump: Bump,
    /// A buffer lent to whoever builds a value piece by piece, so that this costs no allocation per record.
    scratch: Cell<Vec<u8>>,
    /// Names that the next object is likely to have.
    expected: Cell<Expected>,
}

impl Arena {
    /// An empty arena.
    pub fn new() -> Arena {
        Arena::default()
    }

    /// Copies bytes into the arena.
    pub fn bytes(&self, data: &[u8]) -> &[u8] {
        self.bump.alloc_slice_copy(data)
    }

    /// Copies bytes into the arena, as a text value.
    pub fn str(&self, text: impl AsRef<[u8]>) -> Value<'_> {
        Value::Str(self.bump.alloc_slice_copy(text.as_ref()))
    }

    /// A value moved into the arena, whatever it borrowed from before.
    pub fn keep(&self, value: Value<'_>) -> Value<'_> {
        match value {
            Value::Nil => Value::Nil,
            Value::Bool(v) => Value::Bool(v),
            Value::Int(v) => Value::Int(v),
            Value::UInt(v) => Value::UInt(v),
            Value::Float(v) => Value::Float(v),
            Value::Str(v) => Value::Str(self.bytes(v)),
            Value::Bin(v) => Value::Bin(self.bytes(v)),
            Value::Array(v) => Value::Array(self.bytes(v)),
            Value::Map(v) => Value::Map(self.bytes(v)),
            Value::Ext(kind, v) => Value::Ext(kind, self.bytes(v)),
        }
    }

    /// Borrows the scratch buffer, with whatever is in it; a second borrower gets an empty one.
    pub(super) fn take_scratch(&self) -> Vec<u8> {
        self.scratch.take()
    }

    /// Gives the scratch buffer back.
    pub(super) fn give_scratch(&self, scratch: Vec<u8>) {
        self.scratch.set(scratch);
    }

    /// Borrows the names that objects are expected to have, for those without the field `apart`.
    pub(super) fn take_expected(&self, apart: &[u8]) -> Expected {
        self.expected.take().without(apart)
    }

    /// Gives the names back.
    pub(super) fn give_expected(&self, expected: Expected) {
        self.expected.set(expected);
    }

    /// Bytes in use by the arena's blocks.
    pub fn allocated(&self) -> usize {
        self.bump.allocated_bytes()
    }
}

/// One field.
pub type Field<'a> = (&'a [u8], Value<'a>);

/// A record: fields in order, names unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record<'a> {
    fields: Vec<Field<'a>>,
}

impl<'a> Record<'a> {
    /// A record without fields.
    pub fn new() -> Record<'a> {
        Record { fields: Vec::new() }
    }

    /// An empty record with this one's memory, for fields that live elsewhere.
    pub fn recycle<'b>(mut self) -> Record<'b> {
        self.fields.clear();
        // Nothing is left to be mapped; the standard library keeps the allocation where the sizes are the same.
        Record { fields: self.fields.into_iter().map(|_| (&[] as &[u8], Value::Nil)).collect() }
    }

    /// Reads a whole MessagePack map.
    ///
    /// Errors: [`Malformed`] when `map` is no map or has bytes behind it.
    pub fn decode(map: &'a [u8], arena: &'a Arena) -> Result<Record<'a>, Malformed> {
        let mut record = Record::new();
        record.decode_into(map, arena)?;
        Ok(record)
    }

    /// As [`decode`](Record::decode), reusing this record's memory.
    pub fn decode_into(&mut self, map: &'a [u8], arena: &'a Arena) -> Result<(), Malformed> {
        self.fields.clear();
        let mut pos = 0;
        let len = msgpack::read_map_len(map, &mut pos)?.ok_or(Malformed::Invalid)?;
        for _ in 0..len {
            let key = msgpack::read(map, &mut pos)?;
            let value = msgpack::read(map, &mut pos)?;
            let name = if let Value::Str(text) = key { text } else { key_text(key, arena) };
            self.fields.push((name, value));
        }
        if pos == map.len() { Ok(()) } else { Err(Malformed::Invalid) }
    }

    /// Writes the record as a MessagePack map.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut map = MapWriter::begin(out, self.fields.len());
        for (name, value) in &self.fields {
            map.value(&Value::Str(name));
            map.value(value);
        }
    }

    /// The value of a field.
    pub fn get(&self, name: &[u8]) -> Option<Value<'a>> {
        self.fields.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    /// Sets a field: in place where it is, else at the end.
    pub fn set(&mut self, name: &'a [u8], value: Value<'a>) {
        match self.fields.iter_mut().find(|(n, _)| *n == name) {
            Some(field) => field.1 = value,
            None => self.fields.push((name, value)),
        }
    }

    /// Adds a field at the end without looking whether the name is there; the caller knows that it is not.
    pub fn push(&mut self, name: &'a [u8], value: Value<'a>) {
        self.fields.push((name, value));
    }

    /// Takes a field out; the others keep their order.
    pub fn remove(&mut self, name: &[u8]) -> Option<Value<'a>> {
        let at = self.fields.iter().position(|(n, _)| *n == name)?;
        Some(self.fields.remove(at).1)
    }

    /// Keeps the fields that the test accepts.
    pub fn retain(&mut self, keep: impl FnMut(&Field<'a>) -> bool) {
        self.fields.retain(keep);
    }

    /// Takes all fields out.
    pub fn clear(&mut self) {
        self.fields.clear();
    }

    /// Fields in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Field<'a>> {
        self.fields.iter()
    }

    /// Fields in order, to change names and values.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Field<'a>> {
        self.fields.iter_mut()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl<'a> IntoIterator for Record<'a> {
    type Item = Field<'a>;
    type IntoIter = std::vec::IntoIter<Field<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.fields.into_iter()
    }
}

/// The text of a map key; keys that are no text are printed into the arena.
pub(crate) fn key_text<'a>(key: Value<'a>, arena: &'a Arena) -> &'a [u8] {
    match key {
        Value::Str(text) | Value::Bin(text) => text,
        Value::Nil => b"",
        Value::Bool(v) => arena.bytes(v.to_string().as_bytes()),
        Value::Int(v) => arena.bytes(v.to_string().as_bytes()),
        Value::UInt(v) => arena.bytes(v.to_string().as_bytes()),
        Value::Float(v) => arena.bytes(v.to_string().as_bytes()),
        Value::Array(raw) | Value::Map(raw) | Value::Ext(_, raw) => raw,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        msgpack::put_map_len(&mut out, 3);
        for (k, v) in [("a", 1), ("b", 2), ("c", 3)] {
            msgpack::put_str(&mut out, k.as_bytes());
            msgpack::put_int(&mut out, v);
        }
        out
    }

    #[test]
    fn an_untouched_record_comes_back_byte_for_byte() {
        let (bytes, arena) = (sample(), Arena::new());
        let record = Record::decode(&bytes, &arena).unwrap();
        let mut out = Vec::new();
        record.encode(&mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn a_recycled_record_is_empty_and_keeps_its_memory() {
        let mut record = Record::new();
        for _ in 0..20 {
            record.push(b"k", Value::Nil);
        }
        let memory = record.fields.as_ptr().cast::<u8>();
        let recycled = record.recycle();
        assert!(recycled.is_empty());
        assert_eq!((recycled.fields.as_ptr().cast(), recycled.fields.capacity() >= 20), (memory, true));
    }

    #[test]
    fn edits_keep_the_order_of_fields() {
        let (bytes, arena) = (sample(), Arena::new());
        let mut record = Record::decode(&bytes, &arena).unwrap();
        record.set(b"b", arena.str("new"));
        record.set(b"d", Value::Nil);
        assert_eq!(record.remove(b"a"), Some(Value::Int(1)));
        let names: Vec<&[u8]> = record.iter().map(|(n, _)| *n).collect();
        assert_eq!(names, [b"b" as &[u8], b"c", b"d"]);
        assert_eq!(record.get(b"b"), Some(Value::str("new")));
    }

    #[test]
    fn keys_that_are_no_text_become_text() {
        let arena = Arena::new();
        let bytes = [0x82, 0x07, 0x01, 0xc0, 0x02];
        let record = Record::decode(&bytes, &arena).unwrap();
        assert_eq!(record.get(b"7"), Some(Value::Int(1)));
        assert_eq!(record.get(b""), Some(Value::Int(2)));
    }

    #[test]
    fn what_is_no_map_is_refused() {
        let arena = Arena::new();
        assert_eq!(Record::decode(&[0x90], &arena), Err(Malformed::Invalid));
        assert_eq!(Record::decode(&[0x80, 0x00], &arena), Err(Malformed::Invalid));
        assert_eq!(Record::decode(&[0x81, 0xa1], &arena), Err(Malformed::Truncated));
    }
}
