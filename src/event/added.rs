//! Fields that are the same for many records, set in encoded ones without reading their values.

use super::msgpack::{self, Malformed};
use super::value::Value;

/// Fields in the order in which they are added, names unique.
#[derive(Clone, Debug, Default)]
pub struct Added {
    names: Vec<Box<[u8]>>,
    /// A bit for each length of a name; the last stands for all that are longer.
    lengths: u64,
    /// Names and values, as in a map.
    pairs: Vec<u8>,
}

impl Added {
    /// Adds a field whose name is not there yet.
    pub fn push(&mut self, name: &[u8], value: Value<'_>) {
        self.names.push(name.into());
        self.lengths |= length_bit(name);
        msgpack::put_str(&mut self.pairs, name);
        value.encode(&mut self.pairs);
    }

    /// Writes `map`, one whole encoded map, with these fields behind its own. Gives `false`, and writes nothing, where that
    /// is not what setting them comes to: one of the names is there already, or a name is no text.
    ///
    /// Errors: [`Malformed`] where `map` is no map, or has bytes behind it.
    pub fn append(&self, map: &[u8], out: &mut Vec<u8>) -> Result<bool, Malformed> {
        let mut at = 0;
        let len = msgpack::read_map_len(map, &mut at)?.ok_or(Malformed::Invalid)?;
        let first = at;
        for _ in 0..len {
            let Value::Str(name) = msgpack::read(map, &mut at)? else { return Ok(false) };
            if self.lengths & length_bit(name) != 0 && self.names.iter().any(|added| **added == *name) {
                return Ok(false);
            }
            at += msgpack::skip(map.get(at..).ok_or(Malformed::Truncated)?)?;
        }
        if at != map.len() {
            return Err(Malformed::Invalid);
        }
        msgpack::put_map_len(out, len + self.names.len());
        out.extend_from_slice(&map[first..]);
        out.extend_from_slice(&self.pairs);
        Ok(true)
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::{Arena, Record};

    fn added(names: &[&[u8]]) -> Added {
        let mut added = Added::default();
        names.iter().for_each(|name| added.push(name, Value::Str(b"new")));
        added
    }

    fn record(names: &[&'static [u8]]) -> Vec<u8> {
        let mut record = Record::new();
        names.iter().for_each(|name| record.set(name, Value::Array(b"\x92\x01\xa1x")));
        let mut out = Vec::new();
        record.encode(&mut out);
        out
    }

    #[test]
    fn it_comes_to_the_same_as_setting_the_fields() {
        let long: &[u8] = &[b'n'; 70];
        for names in [&[][..], &[&b"a"[..]], &[b"a", b"bb"], &[b"x"]] {
            let map = record(names);
            let mut got = Vec::new();
            assert!(added(&[b"c", long]).append(&map, &mut got).unwrap());
            let arena = Arena::new();
            let mut wanted = Record::decode(&map, &arena).unwrap();
            wanted.set(b"c", Value::Str(b"new"));
            wanted.set(long, Value::Str(b"new"));
            assert_eq!(Record::decode(&got, &arena).unwrap(), wanted);
        }
        // A map of fifteen fields has the longest of the short heads.
        let names: Vec<&'static [u8]> = b"abcdefghijklmno".chunks(1).collect();
        let mut got = Vec::new();
        assert!(added(&[b"new"]).append(&record(&names), &mut got).unwrap());
        assert_eq!(Record::decode(&got, &Arena::new()).unwrap().len(), 16);
    }

    #[test]
    fn a_name_that_is_there_or_no_text_is_left_to_others() {
        let mut out = Vec::new();
        assert!(!added(&[b"q", b"b"]).append(&record(&[b"a", b"b"]), &mut out).unwrap());
        assert!(!added(&[b"q"]).append(b"\x81\x01\x02", &mut out).unwrap());
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_no_map_is_an_error() {
        for map in [&b"\x01"[..], b"", b"\x81", b"\x81\xa1a", b"\x81\xa1a\x92\x01", b"\x80\x80"] {
            let mut out = Vec::new();
            assert!(added(&[b"q"]).append(map, &mut out).is_err(), "{map:?}");
            assert!(out.is_empty());
        }
    }
}
