//! Chunk ids: 16 bytes, ordered by time, unique without a registry. Fluentd's form: microseconds and randomness.

use std::fmt;

use crate::event::EventTime;

/// The id of a chunk; it never changes and names the chunk to targets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub [u8; 16]);

impl ChunkId {
    /// A new id: the first eight bytes are the time in microseconds shifted left by 12 bits with 12 random bits below, the
    /// others are random.
    pub fn new(now: EventTime, random: [u8; 10]) -> ChunkId {
        let micros = (now.nanos() / 1000) as u64;
        let low = u64::from(u16::from_be_bytes([random[0], random[1]]) & 0x0fff);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(micros << 12 | low).to_be_bytes());
        id[8..].copy_from_slice(&random[2..]);
        ChunkId(id)
    }

    /// From 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<ChunkId> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut id = [0; 16];
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(ChunkId(id))
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ordered_by_time_and_come_back_from_text() {
        let a = ChunkId::new(EventTime::from_secs(1), [255; 10]);
        let b = ChunkId::new(EventTime::from_secs(2), [0; 10]);
        assert!(a < b);
        assert_eq!(ChunkId::parse(&a.to_string()), Some(a));
        assert_eq!(ChunkId::parse("zz"), None);
    }
}
