//! Where a batch came from, and what of each origin is already here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::event::msgpack;
use crate::event::{Malformed, Value};

/// Ids that are remembered per buffer: a sender that repeats a chunk does so within minutes.
pub const ONCE_WINDOW: usize = 100_000;
/// Streams whose newest position is remembered per buffer.
pub const MAX_STREAMS: usize = 100_000;
/// Longest origin that is stored, in bytes; longer ids are not remembered.
pub const MAX_ORIGIN: usize = 4096;

/// Where a batch came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A source that can't tell.
    #[default]
    None,
    /// A source with positions: a tailed file, a topic's partition. Positions only grow.
    Stream {
        /// What the positions are of.
        stream: Arc<str>,
        /// The position after the batch.
        upto: u64,
    },
    /// A source that names its batches: a forward chunk id, an idempotency key.
    Once(Bytes),
}

impl Origin {
    /// Appends the stored form: nothing, `[stream, upto]` or the id as MessagePack.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Origin::Stream { stream, upto } if stream.len() <= MAX_ORIGIN => {
                msgpack::put_array_len(out, 2);
                msgpack::put_str(out, stream.as_bytes());
                msgpack::put_uint(out, *upto);
            }
            Origin::Once(id) if id.len() <= MAX_ORIGIN => msgpack::put_bin(out, id),
            _ => {}
        }
    }

    /// Reads the stored form.
    pub(super) fn decode(bytes: &[u8]) -> Result<Origin, Malformed> {
        if bytes.is_empty() {
            return Ok(Origin::None);
        }
        match Value::decode(bytes)? {
            Value::Bin(id) => Ok(Origin::Once(Bytes::copy_from_slice(id))),
            pair @ Value::Array(_) => {
                let mut items = pair.items();
                match (items.next(), items.next()) {
                    (Some(Value::Str(stream)), Some(Value::Int(upto))) if upto >= 0 => {
                        let stream = Arc::from(String::from_utf8_lossy(stream));
                        Ok(Origin::Stream { stream, upto: upto as u64 })
                    }
                    _ => Err(Malformed::Invalid),
                }
            }
            _ => Err(Malformed::Invalid),
        }
    }
}

/// What of each origin is here, in chunks or delivered.
#[derive(Default)]
pub(super) struct Origins {
    newest: HashMap<Arc<str>, u64>,
    once: HashSet<Bytes>,
    order: VecDeque<Bytes>,
}

impl Origins {
    /// Takes note of an origin.
    pub fn note(&mut self, origin: &Origin) {
        match origin {
            Origin::None => {}
            Origin::Stream { stream, upto } => {
                if self.newest.len() < MAX_STREAMS || self.newest.contains_key(stream) {
                    let newest = self.newest.entry(stream.clone()).or_insert(0);
                    *newest = (*newest).max(*upto);
                }
            }
            Origin::Once(id) => {
                if self.once.insert(id.clone()) {
                    self.order.push_back(id.clone());
                }
                if self.order.len() > ONCE_WINDOW
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.once.remove(&oldest);
                }
            }
        }
    }

    /// The highest position of a stream.
    pub fn newest(&self, stream: &str) -> Option<u64> {
        self.newest.get(stream).copied()
    }

    /// Whether an id is known.
    pub fn seen(&self, id: &[u8]) -> bool {
        self.once.contains(id)
    }

    /// Everything known, to write it anew.
    pub fn all(&self) -> impl Iterator<Item = Origin> + '_ {
        let streams = self.newest.iter().map(|(stream, upto)| Origin::Stream { stream: stream.clone(), upto: *upto });
        streams.chain(self.order.iter().map(|id| Origin::Once(id.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_come_back_from_their_stored_form() {
        let stream = Origin::Stream { stream: "f".into(), upto: 77 };
        for origin in [Origin::None, stream, Origin::Once(Bytes::from_static(b"id"))] {
            let mut out = Vec::new();
            origin.encode(&mut out);
            assert_eq!(Origin::decode(&out), Ok(origin));
        }
        assert!(Origin::decode(&[0xc1]).is_err() && Origin::decode(&[0x90]).is_err());
    }

    #[test]
    fn positions_only_grow_and_old_ids_are_forgotten_past_the_window() {
        let mut o = Origins::default();
        for upto in [5, 3] {
            o.note(&Origin::Stream { stream: "f".into(), upto });
        }
        assert_eq!(o.newest("f"), Some(5));
        for n in 0..=ONCE_WINDOW {
            o.note(&Origin::Once(Bytes::from(n.to_string())));
        }
        assert!(!o.seen(b"0") && o.seen(b"1"));
    }
}
