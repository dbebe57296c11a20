//! From a message's payload to entries: inflated within its limit, judged, with the peer's fields added.

use bytes::Bytes;

use super::shared::{Peer, Shared};
use crate::event::{Arena, BatchBuilder, Entries, EventTime, Packing, Record, Tag, Value, pack};
use crate::net::forward::{self, Rules, Taken};

/// Payloads above this many bytes are judged off the threads that serve connections.
const LARGE_BYTES: usize = 1024 * 1024;

/// Entries that were judged.
pub(super) struct Judged {
    pub(super) taken: Taken,
    /// Tells payloads apart that come under one chunk id: CRC-32C of what the sender sent, inflated.
    pub(super) crc: u32,
}

/// A payload on its way.
struct Payload {
    bytes: Bytes,
    packing: Packing,
    rules: Rules,
    limit: usize,
    fields: Option<std::sync::Arc<[(String, String)]>>,
}

/// Judges a payload.
///
/// Errors: why no event of it can be taken. The sender can't be answered.
pub(super) async fn judge(shared: &Shared, peer: &Peer, bytes: Bytes, packing: Packing) -> Result<Judged, String> {
    let (rules, limit) = (shared.settings.rules, shared.settings.inflate_limit);
    let payload = Payload { bytes, packing, rules, limit, fields: peer.fields.clone() };
    if packing == Packing::Plain && payload.bytes.len() <= LARGE_BYTES {
        return payload.judge();
    }
    // The semaphore is never closed, so that there is always a permit in the end.
    let _permit = match packing {
        Packing::Plain => None,
        _ => shared.inflating.acquire().await.ok(),
    };
    let judged = tokio::task::spawn_blocking(move || payload.judge()).await;
    judged.unwrap_or_else(|e| Err(format!("judging its payload failed: {e}")))
}

impl Payload {
    fn judge(self) -> Result<Judged, String> {
        let plain = match self.packing {
            Packing::Plain => self.bytes,
            packing => pack::inflate(&self.bytes, packing, self.limit).map_err(|e| e.to_string())?.into(),
        };
        let crc = crc32c::crc32c(&plain);
        let mut taken = forward::take(&plain, self.rules, EventTime::now()).map_err(|e| e.to_string())?;
        if taken.cut && taken.count == 0 {
            return Err("its payload ends in the middle of its first event".into());
        }
        if let Some(fields) = &self.fields {
            taken.entries = with_fields(&taken.entries, fields);
        }
        Ok(Judged { taken, crc })
    }
}

/// The same entries, each with the fields set.
pub(super) fn with_fields(entries: &[u8], fields: &[(String, String)]) -> Bytes {
    let mut out = BatchBuilder::with_capacity(entries.len() + entries.len() / 4);
    // Entries were judged: each can be read.
    for entry in Entries::new(entries).map_while(Result::ok) {
        let arena = Arena::new();
        let Ok(mut record) = Record::decode(entry.record, &arena) else { continue };
        for (key, value) in fields {
            record.set(key.as_bytes(), Value::str(value));
        }
        out.push(entry.time, &record);
    }
    out.finish(Tag::from("")).bytes().clone()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_are_set_in_every_record() {
        let entries = with_fields(b"\x92\x05\x80\x92\x06\x81\xa1a\xa1x", &[("a".into(), "1".into())]);
        let records: Vec<_> = Entries::new(&entries).map(|e| e.unwrap().record).collect();
        assert_eq!(records, [b"\x81\xa1a\xa11", b"\x81\xa1a\xa11"]);
    }

    fn judged(bytes: Bytes, packing: Packing, limit: usize) -> Result<Judged, String> {
        let rules = Rules { skip_invalid: true, any_time: false };
        Payload { bytes, packing, rules, limit, fields: None }.judge()
    }

    #[test]
    fn a_payload_has_one_mark_however_it_is_packed() {
        let plain = Bytes::from_static(b"\x92\x05\x80");
        let packed = pack::deflate(&plain, Packing::Gzip).unwrap().into();
        let a = judged(plain, Packing::Plain, 100).unwrap();
        let b = judged(packed, Packing::Gzip, 100).unwrap();
        assert_eq!((a.crc, a.taken), (b.crc, b.taken));
    }

    #[test]
    fn bombs_and_cut_payloads_are_refused() {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let bomb = pack::deflate(&vec![0; 100_000], packing).unwrap().into();
            assert!(judged(bomb, packing, 99_999).is_err());
        }
        for head in [0xdd, 0xdf, 0xdb, 0xc6] {
            let huge = Bytes::copy_from_slice(&[head, 0xff, 0xff, 0xff, 0xff]);
            assert!(judged(huge, Packing::Plain, 100).is_err(), "{head:x}");
        }
    }
}
