//! Fields that are the same for many records, set in encoded ones without reading their values.

use std::ops::Range;

use super::msgpack::{self, Malformed};
use super::value::Value;

/// Most fields whose places are told apart by the bits of a word.
const MOST: usize = 64;

/// Fields in the order in which they are set, names unique.
#[derive(Clone, Debug, Default)]
pub struct Added {
    fields: Vec<Field>,
    /// A bit for each length of a name; the last stands for all that are longer.
    lengths: u64,
    /// Names and values, as in a map.
    pairs: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Field {
    name: Box<[u8]>,
    /// The name and the value in `pairs`.
    pair: Range<usize>,
    /// The value alone.
    value: Range<usize>,
}

impl Added {
    /// Adds a field whose name is not there yet.
    pub fn push(&mut self, name: &[u8], value: Value<'_>) {
        let start = self.pairs.len();
        msgpack::put_str(&mut self.pairs, name);
        let middle = self.pairs.len();
        value.encode(&mut self.pairs);
        let end = self.pairs.len();
        self.lengths |= length_bit(name);
        self.fields.push(Field { name: name.into(), pair: start..end, value: middle..end });
    }

    /// Writes `map`, one whole encoded map, with these fields set: in place where they are, else behind its own. Gives
    /// `false` where this can't be told from the bytes: a name is no text, or is there twice. Then `out` is as before.
    ///
    /// Errors: [`Malformed`] where `map` is no map, or has bytes behind it; `out` is then as before.
    pub fn set_in(&self, map: &[u8], out: &mut Vec<u8>) -> Result<bool, Malformed> {
        let start = out.len();
        let written = self.write(map, out);
        if written != Ok(true) {
            out.truncate(start);
        }
        written
    }

    fn write(&self, map: &[u8], out: &mut Vec<u8>) -> Result<bool, Malformed> {
        let mut at = 0;
        let len = msgpack::read_map_len(map, &mut at)?.ok_or(Malformed::Invalid)?;
        if self.fields.len() > MOST {
            return Ok(false);
        }
        let header = out.len();
        // Right unless a name is there already, which the end tells.
        msgpack::put_map_len(out, len + self.fields.len());
        let (body, mut copied, mut found) = (out.len(), at, 0u64);
        for _ in 0..len {
            let Value::Str(name) = msgpack::read(map, &mut at)? else { return Ok(false) };
            let value = at;
            at += msgpack::skip(map.get(at..).ok_or(Malformed::Truncated)?)?;
            if let Some(place) = self.place(name) {
                if found & (1 << place) != 0 {
                    return Ok(false);
                }
                found |= 1 << place;
                out.extend_from_slice(&map[copied..value]);
                out.extend_from_slice(&self.pairs[self.fields[place].value.clone()]);
                copied = at;
            }
        }
        if at != map.len() {
            return Err(Malformed::Invalid);
        }
        out.extend_from_slice(&map[copied..]);
        self.write_rest(found, out);
        if found != 0 {
            shorten(out, header..body, len + self.fields.len() - found.count_ones() as usize);
        }
        Ok(true)
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        if self.lengths & length_bit(name) == 0 {
            return None;
        }
        self.fields.iter().position(|field| *field.name == *name)
    }

    /// The fields that were not found.
    fn write_rest(&self, found: u64, out: &mut Vec<u8>) {
        if found == 0 {
            return out.extend_from_slice(&self.pairs);
        }
        for (place, field) in self.fields.iter().enumerate() {
            if found & (1 << place) == 0 {
                out.extend_from_slice(&self.pairs[field.pair.clone()]);
            }
        }
    }
}

/// Writes a smaller number of pairs into the header of a map.
fn shorten(out: &mut Vec<u8>, header: Range<usize>, len: usize) {
    let end = out.len();
    msgpack::put_map_len(out, len);
    let size = out.len() - end;
    if size == header.len() {
        out.copy_within(end.., header.start);
        out.truncate(end);
    } else {
        let shorter = out.split_off(end);
        out.splice(header, shorter);
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
        const LONG: &[u8] = &[b'n'; 70];
        let many: Vec<&'static [u8]> = b"abcdefghijklmnopqrstu".chunks(1).collect();
        let mut maps: Vec<Vec<u8>> = (0..many.len()).map(|n| record(&many[..n])).collect();
        maps.extend([record(&[LONG, b"a"]), record(&[b"x", LONG]), record(&[b"a", b"bb", b"c"])]);
        for names in [&[&b"c"[..], LONG][..], &[b"a"], &[b"a", b"o", b"new"], &[b"p", b"q"], &[]] {
            for map in &maps {
                let mut got = vec![7];
                assert_eq!(added(names).set_in(map, &mut got), Ok(true));
                let arena = Arena::new();
                let mut wanted = Record::decode(map, &arena).unwrap();
                names.iter().for_each(|name| wanted.set(name, Value::Str(b"new")));
                let mut bytes = vec![7];
                wanted.encode(&mut bytes);
                assert_eq!(got, bytes, "{names:?}");
            }
        }
    }

    #[test]
    fn what_the_bytes_do_not_tell_is_left_to_others() {
        let mut out = Vec::new();
        assert_eq!(added(&[b"q"]).set_in(b"\x81\x01\x02", &mut out), Ok(false));
        assert_eq!(added(&[b"q"]).set_in(b"\x82\xa1q\x02\xa1q\x03", &mut out), Ok(false));
        let names: Vec<Vec<u8>> = (0..=MOST).map(|n| n.to_string().into_bytes()).collect();
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        assert_eq!(added(&names).set_in(&record(&[b"a"]), &mut out), Ok(false));
        assert_eq!(added(&names[1..]).set_in(&record(&[b"a"]), &mut out.clone()), Ok(true));
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_no_map_is_an_error() {
        for map in [&b"\x01"[..], b"", b"\x81", b"\x81\xa1a", b"\x81\xa1a\x92\x01", b"\x80\x80"] {
            let mut out = Vec::new();
            assert!(added(&[b"q"]).set_in(map, &mut out).is_err(), "{map:?}");
            assert!(out.is_empty());
        }
    }
}
