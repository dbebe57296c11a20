//! Names that come twice in an object: the last value wins at the first one's place, as in a Ruby Hash.
//!
//! Looking each name up among the ones before would cost more than the parsing, so a small bit set of fingerprints tells
//! "surely new" first; only a name that isn't is compared. Objects above [`FEW`] fields are settled once, at their end,
//! through a hash table with a random seed, so that no text makes it quadratic.

use std::ops::Range;

use foldhash::{HashMap, HashMapExt};

use crate::event::msgpack;
use crate::event::record::{Field, Record};

/// Fields of an object that are compared one by one where the bit set doesn't rule a repetition out.
pub(super) const FEW: usize = 64;

/// Words of the bit set: 512 bits, so that 15 names collide by chance in one object of five.
const WORDS: usize = 8;

/// The fingerprints of the names seen in one object.
#[derive(Default)]
pub(super) struct Seen([u64; WORDS]);

impl Seen {
    /// Notes a name; false when it may have been there before.
    #[inline(always)]
    pub(super) fn is_new(&mut self, name: &[u8]) -> bool {
        let print = fingerprint(name);
        let (word, bit) = (&mut self.0[print / 64 % WORDS], 1 << (print % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}

/// Nine bits of a name.
#[inline(always)]
fn fingerprint(name: &[u8]) -> usize {
    let mixed = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(head), Some(tail)) => u64::from_le_bytes(*head) ^ u64::from_le_bytes(*tail).rotate_left(29),
        _ => short(name),
    };
    (mixed.wrapping_add(name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55) as usize
}

#[inline(always)]
fn short(name: &[u8]) -> u64 {
    match (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        (Some(head), Some(tail)) => u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << 32,
        _ => name.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)),
    }
}

/// Settles a record that may hold names twice.
#[cold]
pub(super) fn settle_record(record: &mut Record<'_>) {
    let mut places = HashMap::with_capacity(record.len());
    let mut fields: Vec<Field<'_>> = Vec::with_capacity(record.len());
    for (name, value) in record.iter().copied() {
        let place = *places.entry(name).or_insert(fields.len());
        match fields.get_mut(place) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
    }
    if fields.len() < record.len() {
        record.clear();
        fields.into_iter().for_each(|(name, value)| record.push(name, value));
    }
}

/// Settles the pairs at the end of `out` that may hold names twice. `marks` are the offsets where the pairs begin.
/// Gives the number of pairs that are left.
#[cold]
pub(super) fn settle_pairs(out: &mut Vec<u8>, marks: &[usize]) -> usize {
    let Some(&body) = marks.first() else { return 0 };
    let mut places = HashMap::with_capacity(marks.len());
    let mut kept: Vec<(Range<usize>, Range<usize>)> = Vec::with_capacity(marks.len());
    let ends = marks[1..].iter().copied().chain([out.len()]);
    for (start, end) in marks.iter().copied().zip(ends) {
        let value = start + msgpack::skip(&out[start..end]).unwrap_or(end - start);
        let place = *places.entry(&out[start..value]).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(pair) => pair.1 = value..end,
            None => kept.push((start..value, value..end)),
        }
    }
    drop(places);
    if kept.len() < marks.len() {
        let parts: Vec<&[u8]> = kept.iter().flat_map(|(k, v)| [&out[k.clone()], &out[v.clone()]]).collect();
        let settled = parts.concat();
        out.truncate(body);
        out.extend_from_slice(&settled);
    }
    kept.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_that_came_before_is_never_called_new() {
        let mut seen = Seen::default();
        let names: Vec<String> = (0..40).map(|n| "ab".repeat(n)).collect();
        let new = names.iter().filter(|n| seen.is_new(n.as_bytes())).count();
        assert!(new > 30, "{new}");
        assert!(names.iter().all(|n| !seen.is_new(n.as_bytes())));
    }

    #[test]
    fn names_that_differ_only_in_a_zero_byte_or_a_digit_mostly_differ() {
        let mut seen = Seen::default();
        let names = ["", "\0", "\0\0", "a", "a\0", "key1", "key2", "key3", "request_id_1", "request_id_2", "ab", "ba"];
        assert!(names.iter().filter(|n| seen.is_new(n.as_bytes())).count() >= names.len() - 1);
    }
}
