//! Records and MessagePack to JSON text.
//!
//! Compact, in the order of the fields. Binary is printed as text; EventTime as its whole seconds, as Fluentd's
//! `EventTime#to_json` does; other extensions as their data in base64, for JSON has no word for them. NaN and the
//! infinities are `null`. Names that are no text become their text.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::shape::{Name, Shape};
use super::{escape, float};
use crate::event::msgpack::{self, MAX_DEPTH, Malformed};
use crate::event::record::Record;
use crate::event::room::Room;
use crate::event::value::Value;

/// Extension type of EventTime.
const EVENT_TIME: i8 = 0;

/// Appends a record as a JSON object.
pub fn write_record(record: &Record<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (place, (name, value)) in record.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        escape::write(name, out);
        out.push(b':');
        write_value(*value, out);
    }
    out.push(b'}');
}

/// Appends a value as JSON. A container that is broken after all becomes `null`.
pub fn write_value(value: Value<'_>, out: &mut Vec<u8>) {
    let (Value::Array(raw) | Value::Map(raw)) = value else { return scalar(value, out) };
    let start = out.len();
    let written = Walk { raw, pos: 0, names: Names::default() }.value(out, 0);
    if written.is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// A value as text: text as it is, everything else as JSON; `None` for nil.
pub fn text_of(value: Value<'_>) -> Option<Cow<'_, [u8]>> {
    match value {
        Value::Nil => None,
        Value::Str(text) | Value::Bin(text) => Some(Cow::Borrowed(text)),
        other => {
            let mut text = Vec::new();
            write_value(other, &mut text);
            Some(Cow::Owned(text))
        }
    }
}

/// As [`text_of`], with U+FFFD for what is no UTF-8.
pub fn string_of(value: Value<'_>) -> Option<String> {
    text_of(value).map(|text| String::from_utf8_lossy(&text).into_owned())
}

/// Appends an encoded map, as of an [`Entry`](crate::event::Entry), as a JSON object.
///
/// Errors: [`Malformed`] when `map` is not one whole map; `out` is then as before.
pub fn write_map(map: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (start, mut pos) = (out.len(), 0);
    map_at(map, &mut pos, Names::default(), out)?;
    if pos != map.len() {
        out.truncate(start);
        return Err(Malformed::Invalid);
    }
    Ok(())
}

fn scalar(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(v) => out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes()),
        Value::UInt(v) => out.extend_from_slice(itoa::Buffer::new().format(v).as_bytes()),
        Value::Float(v) => float::write(v, out),
        Value::Str(text) | Value::Bin(text) => escape::write(text, out),
        Value::Ext(kind, data) => extension(kind, data, out),
        // Containers are walked by `write_value` and never come here.
        Value::Array(_) | Value::Map(_) => out.extend_from_slice(b"null"),
    }
}

#[cold]
fn extension(kind: i8, data: &[u8], out: &mut Vec<u8>) {
    match (kind, data.first_chunk::<4>()) {
        (EVENT_TIME, Some(secs)) if data.len() == 8 => {
            out.extend_from_slice(itoa::Buffer::new().format(u32::from_be_bytes(*secs)).as_bytes());
        }
        _ => escape::write(STANDARD.encode(data).as_bytes(), out),
    }
}

/// Prints records one behind the other. The names of one are expected to be those of the one before.
#[derive(Default)]
pub struct Writer {
    shape: Shape,
}

impl Writer {
    /// Of records of any kind.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Appends the encoded map at `*pos` as a JSON object and moves behind it.
    ///
    /// Errors: [`Malformed`] when no whole map is there; `out` and `*pos` are then as before.
    #[inline]
    pub fn write_map_at(&mut self, buf: &[u8], pos: &mut usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        map_at(buf, pos, Names { shape: Some(&mut self.shape), ..Names::default() }, out)
    }
}

fn map_at(buf: &[u8], pos: &mut usize, names: Names<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    let mut walk = Walk { raw: buf, pos: *pos, names };
    let written = match msgpack::read_map_len(buf, &mut walk.pos) {
        Ok(Some(pairs)) => walk.pairs(pairs, out, 0),
        Ok(None) => Err(Malformed::Invalid),
        Err(broken) => Err(broken),
    };
    match written {
        Ok(()) => *pos = walk.pos,
        Err(_) => out.truncate(start),
    }
    written
}

/// The names of one record.
#[derive(Default)]
struct Names<'s> {
    /// Those of the record before; `None` where there is none.
    shape: Option<&'s mut Shape>,
    /// The place of the next name, those of objects within counted as they come.
    place: usize,
    /// Whether names that were not expected are noted; not yet known before the first such one.
    learns: Option<bool>,
}

/// A walk over encoded values, each byte seen once.
struct Walk<'a, 's> {
    raw: &'a [u8],
    pos: usize,
    names: Names<'s>,
}

impl Walk<'_, '_> {
    /// The value here.
    fn value(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        let first = *self.raw.get(self.pos).ok_or(Malformed::Truncated)?;
        match first {
            0xa0..=0xbf => self.text(1, usize::from(first & 31), out),
            0xd9 => self.text(2, usize::from(*self.raw.get(self.pos + 1).ok_or(Malformed::Truncated)?), out),
            0x80..=0x9f | 0xdc..=0xdf => self.container(out, depth),
            _ => {
                scalar(msgpack::read(self.raw, &mut self.pos)?, out);
                Ok(())
            }
        }
    }

    #[inline(never)]
    fn container(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        if let Some(pairs) = msgpack::read_map_len(self.raw, &mut self.pos)? {
            return self.pairs(pairs, out, depth);
        }
        match msgpack::read_array_len(self.raw, &mut self.pos)? {
            Some(len) => self.items(len, out, depth),
            None => Err(Malformed::Invalid),
        }
    }

    #[inline(always)]
    fn text(&mut self, header: usize, len: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let start = self.pos + header;
        let text = self.raw.get(start..start + len).ok_or(Malformed::Truncated)?;
        escape::quoted(text, &self.raw[start..], out);
        self.pos = start + len;
        Ok(())
    }

    fn items(&mut self, len: usize, out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        self.check(len, depth)?;
        out.push(b'[');
        for place in 0..len {
            if place > 0 {
                out.push(b',');
            }
            self.value(out, depth + 1)?;
        }
        out.push(b']');
        Ok(())
    }

    /// What records are made of for the most part is told by its first byte and costs no call.
    fn pairs(&mut self, len: usize, out: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        self.check(len, depth)?;
        if len == 0 {
            out.extend_from_slice(b"{}");
            return Ok(());
        }
        let (raw, mut pos) = (self.raw, self.pos);
        let mut room = Room::of(out);
        for pair in 0..len {
            room.push(if pair == 0 { b'{' } else { b',' });
            match self.names.expected().filter(|name| name.from.begins(&raw[pos..])) {
                Some(name) => {
                    pos += name.from.len();
                    name.to.append(&mut room);
                    self.names.place += 1;
                }
                None => {
                    self.pos = pos;
                    room.with(|out| self.other_name(out))?;
                    pos = self.pos;
                }
            }
            let rest = &raw[pos..];
            let text = match *rest.first().ok_or(Malformed::Truncated)? {
                first @ 0xa0..=0xbf => Some((&rest[1..], usize::from(first & 31))),
                0xd9 if rest.len() > 1 => Some((&rest[2..], usize::from(rest[1]))),
                _ => None,
            };
            match text {
                Some((text, len)) if len <= text.len() && escape::short(len, text, &mut room) => {
                    pos = raw.len() - text.len() + len;
                    continue;
                }
                None if let Some((number, size)) = msgpack::small(rest) => {
                    room.few(itoa::Buffer::new().format(number).as_bytes());
                    pos += size;
                    continue;
                }
                _ => {}
            }
            self.pos = pos;
            room.with(|out| self.value(out, depth + 1))?;
            pos = self.pos;
        }
        room.push(b'}');
        self.pos = pos;
        Ok(())
    }

    /// Refuses what is too deep, and a length that the bytes can't hold.
    fn check(&self, len: usize, depth: usize) -> Result<(), Malformed> {
        match () {
            () if depth >= MAX_DEPTH => Err(Malformed::TooDeep),
            () if len > self.raw.len() - self.pos => Err(Malformed::Truncated),
            () => Ok(()),
        }
    }

    /// A name that is not the one expected, with the colon behind it.
    #[inline(never)]
    fn other_name(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let (from, start) = (self.pos, out.len());
        if let Some(name) = self.names.further(&self.raw[from..]) {
            self.pos += name.from.len();
            name.to.append(&mut Room::of(out));
            return Ok(());
        }
        match msgpack::read(self.raw, &mut self.pos)? {
            Value::Str(text) | Value::Bin(text) => escape::write(text, out),
            Value::Nil => escape::write(b"", out),
            other => {
                let mut text = Vec::new();
                write_value(other, &mut text);
                escape::write(&text, out);
            }
        }
        out.push(b':');
        self.names.learn(&self.raw[from..self.pos], &out[start..]);
        Ok(())
    }
}

impl Names<'_> {
    #[inline(always)]
    fn expected(&self) -> Option<&Name> {
        self.shape.as_ref()?.at(self.place)
    }

    /// The name at the start of `bytes`, where some of those expected before it are left out.
    fn further(&mut self, bytes: &[u8]) -> Option<&Name> {
        let shape = self.shape.as_deref_mut()?;
        let place = shape.further(self.place, bytes)?;
        self.place = place + 1;
        shape.at(place)
    }

    fn learn(&mut self, code: &[u8], text: &[u8]) {
        let Some(shape) = self.shape.as_deref_mut() else { return };
        let learns = *self.learns.get_or_insert_with(|| shape.differs(self.place));
        let place = if learns { shape.add(code, text) } else { None };
        self.learns = Some(place.is_some());
        if let Some(place) = place {
            self.place = place + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Arena;

    fn text(value: Value<'_>) -> String {
        let mut out = Vec::new();
        write_value(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_of_every_kind_are_printed() {
        for (value, expected) in [
            (Value::Nil, "null"),
            (Value::Bool(true), "true"),
            (Value::Bool(false), "false"),
            (Value::Int(i64::MIN), "-9223372036854775808"),
            (Value::UInt(u64::MAX), "18446744073709551615"),
            (Value::Float(1000.0), "1000.0"),
            (Value::Float(f64::NAN), "null"),
            (Value::str("a\"b"), r#""a\"b""#),
            (Value::Bin(b"\x00\xff"), "\"\\u0000\u{fffd}\""),
            (Value::Ext(0, &[0x65, 0x92, 0, 0x80, 0, 0, 0, 5]), "1704067200"),
            (Value::Ext(0, b"abc"), r#""YWJj""#),
            (Value::Ext(-1, b"abc?"), r#""YWJjPw==""#),
            (Value::Array(&[0x90]), "[]"),
            (Value::Map(&[0x80]), "{}"),
            (Value::Array(&[0x92, 0xc0, 0x91, 0x01]), "[null,[1]]"),
            (Value::Map(&[0x81, 0xa1, b'k', 0x82, 0x01, 0x02, 0xc2, 0x03]), r#"{"k":{"1":2,"false":3}}"#),
            (Value::Map(&[0x82, 0xc0, 0x01, 0x91, 0xa1, b'a', 0x02]), r#"{"":1,"[\"a\"]":2}"#),
            (Value::Map(&[0x81]), "null"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn a_record_and_its_encoded_map_are_printed_alike() {
        let (arena, mut out, mut direct) = (Arena::new(), Vec::new(), Vec::new());
        let mut record = Record::new();
        write_record(&record, &mut out);
        assert_eq!(out, b"{}");
        record.set(b"a", Value::Int(1));
        record.set(b"n", Value::Map(&[0x81, 0xa1, b'k', 0x90]));
        record.set(b"", arena.str("x"));
        out.clear();
        write_record(&record, &mut out);
        assert_eq!(out, br#"{"a":1,"n":{"k":[]},"":"x"}"#);
        let mut map = Vec::new();
        record.encode(&mut map);
        write_map(&map, &mut direct).unwrap();
        assert_eq!(direct, out);
    }

    #[test]
    fn a_broken_map_leaves_no_trace() {
        let mut out = b"before".to_vec();
        for (map, reason) in [
            (&[0x81, 0xa1][..], Malformed::Truncated),
            (&[0x81, 0xa1, b'a', 0xc1], Malformed::Invalid),
            (&[0x90], Malformed::Invalid),
            (&[0x80, 0x80], Malformed::Invalid),
            (&[], Malformed::Truncated),
            (&[0xdf, 0xff, 0xff, 0xff, 0xff], Malformed::Truncated),
        ] {
            assert_eq!(write_map(map, &mut out), Err(reason), "{map:x?}");
        }
        let mut deep = vec![0x81, 0xa0];
        deep.extend(vec![0x91; 1_000_000]);
        assert_eq!(write_map(&deep, &mut out), Err(Malformed::TooDeep));
        assert_eq!(out, b"before");
    }
}
