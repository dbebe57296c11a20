//! Chunk ids: time-ordered and unique, of the same make as Fluentd's (`Fluent::UniqueId`).

use std::fmt;

/// Bits of randomness below the microseconds in the first eight bytes.
const RANDOM_BITS: u32 = 12;

/// Sixteen bytes: microseconds since the epoch shifted left by twelve bits with twelve random bits below them (big
/// endian, so ids sort by age), then eight random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub [u8; 16]);

impl ChunkId {
    /// Reads 32 hexadecimal digits.
    pub fn parse(hex: &str) -> Option<ChunkId> {
        let digits = hex.as_bytes();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let value = u128::from_str_radix(hex, 16).ok()?;
        Some(ChunkId(value.to_be_bytes()))
    }

    /// The microseconds since the epoch at which the id was made.
    pub fn micros(&self) -> u64 {
        (u128::from_be_bytes(self.0) >> (64 + RANDOM_BITS)) as u64
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes ids that rise even when the clock does not.
#[derive(Debug, Default)]
pub(super) struct IdSource {
    last: u64,
}

impl IdSource {
    /// A new id from the time in microseconds and two random numbers.
    pub(super) fn next(&mut self, micros: i64, random: (u64, u64)) -> ChunkId {
        let time = (micros.max(0) as u64) << RANDOM_BITS | random.0 & ((1 << RANDOM_BITS) - 1);
        self.last = time.max(self.last + 1);
        ChunkId((u128::from(self.last) << 64 | u128::from(random.1)).to_be_bytes())
    }

    /// Keeps new ids above one that is already there.
    pub(super) fn rise_above(&mut self, id: ChunkId) {
        // An id from a damaged or far-off clock must not take all room above it.
        let time = (u128::from_be_bytes(id.0) >> 64) as u64;
        if time < u64::MAX >> 1 {
            self.last = self.last.max(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_come_back_from_their_text() {
        let mut source = IdSource::default();
        let a = source.next(1_700_000_000_000_000, (5, 6));
        let b = source.next(1_600_000_000_000_000, (7, 8));
        assert!(a < b);
        assert_eq!(ChunkId::parse(&a.to_string()), Some(a));
        assert_eq!(a.micros(), 1_700_000_000_000_000);
        assert_eq!(a.to_string().len(), 32);
    }

    #[test]
    fn text_that_is_no_id_is_none() {
        for text in ["", "+0000000000000000000000000000000", "zz", &"0".repeat(31), &"0".repeat(33)] {
            assert_eq!(ChunkId::parse(text), None, "{text}");
        }
    }
}
