//! From a batch to frames per chunk key: plain functions, run by the caller before the buffer's owner is asked.
//!
//! By tag alone, or without keys, a batch that fits one frame goes through untouched. By time, entries are only skimmed.
//! By fields, records are read borrowed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::config::{BufferConfig, BufferKind, MAX_INFLATED_BATCH, MAX_KEY_BYTES};
use super::error::{BufferError, Oversize};
use super::format::MAX_TAG;
use super::key::{ChunkKey, KeyValue};
use crate::event::{Arena, Batch, BatchBuilder, Entries, Entry, Packing, Record, Tag, Value, pack};

/// Entries as they will be stored: what a frame holds, without where it came from.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Stored bytes.
    pub(super) payload: Bytes,
    /// Bytes of the entries before packing.
    pub(super) plain: u32,
    /// Number of entries.
    pub(super) count: u32,
    pub(super) packing: Packing,
    /// CRC-32C of the payload; 0 in memory.
    pub(super) crc: u32,
    /// The entries' tag, where the chunk key has none.
    pub(super) tag: Option<Tag>,
}

/// Frames for one chunk key, in order.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) key: Arc<ChunkKey>,
    pub(super) frames: Vec<Frame>,
}

impl Part {
    /// Stored bytes of all frames.
    pub(super) fn bytes(&self) -> u64 {
        self.frames.iter().map(|f| f.payload.len() as u64).sum()
    }

    /// Entries of all frames.
    pub(super) fn count(&self) -> u64 {
        self.frames.iter().map(|f| u64::from(f.count)).sum()
    }
}

/// Parts a batch by chunk key and cuts the parts into frames.
///
/// Errors: [`BufferError::Oversize`], [`BufferError::Malformed`], [`BufferError::Packed`].
pub(super) fn split(batch: &Batch, config: &BufferConfig) -> Result<Vec<Part>, BufferError> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    if batch.tag.len() > MAX_TAG {
        return Err(oversize(batch.tag.len() as u64, MAX_TAG as u64, batch.clone(), empty(batch)));
    }
    if let Some(part) = untouched(batch, config) {
        return Ok(vec![part]);
    }
    let plain = batch.inflate(MAX_INFLATED_BATCH).map_err(BufferError::Packed)?;
    let mut splitter = Splitter::new(&plain, config);
    splitter.walk()?;
    let parts = splitter.finish()?;
    Ok(keep_packed(batch, config, parts))
}

/// The whole batch as one frame, where nothing asks for a look into it.
fn untouched(batch: &Batch, config: &BufferConfig) -> Option<Part> {
    let fits = batch.packing() == Packing::Plain
        && batch.bytes().len() <= config.frame_limit()
        && batch.count().is_some_and(|count| count <= config.frame_records());
    if !fits || config.keys.time.is_some() || !config.keys.fields.is_empty() {
        return None;
    }
    let frame = frame(batch.bytes().clone(), batch.count()?, config, &batch.tag);
    Some(Part { key: Arc::new(base_key(batch, config)), frames: vec![frame] })
}

/// Where the client's own packing is the buffer's, the client's bytes are stored instead of packing them again.
fn keep_packed(batch: &Batch, config: &BufferConfig, mut parts: Vec<Part>) -> Vec<Part> {
    if batch.packing() != Packing::Plain
        && batch.packing() == config.compress
        && let [part] = &mut parts[..]
        && let [only] = &mut part.frames[..]
        && batch.bytes().len() <= config.frame_limit()
    {
        only.payload = batch.bytes().clone();
        only.packing = batch.packing();
        only.crc = checksum(&only.payload, config);
    }
    parts
}

fn base_key(batch: &Batch, config: &BufferConfig) -> ChunkKey {
    ChunkKey { tag: config.keys.tag.then(|| batch.tag.clone()), time: None, fields: Vec::new() }
}

fn empty(batch: &Batch) -> Batch {
    Batch::new(batch.tag.clone(), Bytes::new(), 0)
}

fn oversize(bytes: u64, limit: u64, refused: Batch, rest: Batch) -> BufferError {
    BufferError::Oversize(Box::new(Oversize { bytes, limit, refused, rest }))
}

fn frame(plain: Bytes, count: u32, config: &BufferConfig, tag: &Tag) -> Frame {
    let len = plain.len() as u32;
    let (payload, packing) = pack_smaller(plain, config.compress);
    let crc = checksum(&payload, config);
    let tag = (!config.keys.tag).then(|| tag.clone());
    Frame { payload, plain: len, count, packing, crc, tag }
}

/// In memory nothing is checked, so nothing is summed.
fn checksum(payload: &[u8], config: &BufferConfig) -> u32 {
    if config.kind == BufferKind::Memory { 0 } else { crc32c::crc32c(payload) }
}

/// Packs bytes, unless they would not get smaller.
fn pack_smaller(plain: Bytes, packing: Packing) -> (Bytes, Packing) {
    if packing != Packing::Plain
        && let Ok(packed) = pack::deflate(&plain, packing)
        && packed.len() < plain.len()
    {
        return (packed.into(), packing);
    }
    (plain, Packing::Plain)
}

/// Entries of one chunk key on their way into frames.
struct Group {
    key: Arc<ChunkKey>,
    done: Vec<(Bytes, u32)>,
    /// Entries of the open frame that don't lie side by side in the batch.
    own: Vec<u8>,
    /// Entries of the open frame that do.
    run: Range<usize>,
    count: u32,
}

impl Group {
    fn new(key: ChunkKey) -> Group {
        Group { key: Arc::new(key), done: Vec::new(), own: Vec::new(), run: 0..0, count: 0 }
    }

    fn add(&mut self, source: &Bytes, entry: Range<usize>, config: &BufferConfig) {
        let size = self.own.len() + self.run.len() + entry.len();
        if self.count > 0 && (size > config.frame_limit() || self.count >= config.frame_records()) {
            self.close(source);
        }
        if self.run.end != entry.start || self.run.is_empty() {
            self.own.extend_from_slice(&source[self.run.clone()]);
            self.run = entry.start..entry.start;
        }
        self.run.end = entry.end;
        self.count += 1;
    }

    fn close(&mut self, source: &Bytes) {
        if self.count == 0 {
            return;
        }
        let bytes = if self.own.is_empty() {
            source.slice(self.run.clone())
        } else {
            self.own.extend_from_slice(&source[self.run.clone()]);
            std::mem::take(&mut self.own).into()
        };
        self.done.push((bytes, std::mem::take(&mut self.count)));
        self.run = 0..0;
    }
}

struct Splitter<'a> {
    batch: &'a Batch,
    config: &'a BufferConfig,
    groups: Vec<Group>,
    index: HashMap<Box<[u8]>, usize>,
    current: Vec<u8>,
    at: usize,
    refused: Vec<Range<usize>>,
    refused_bytes: u64,
}

impl<'a> Splitter<'a> {
    fn new(batch: &'a Batch, config: &'a BufferConfig) -> Splitter<'a> {
        Splitter {
            batch,
            config,
            groups: Vec::new(),
            index: HashMap::new(),
            current: Vec::new(),
            at: 0,
            refused: Vec::new(),
            refused_bytes: 0,
        }
    }

    fn walk(&mut self) -> Result<(), BufferError> {
        let arena = Arena::new();
        let mut record = Record::new();
        let mut key = Vec::new();
        let batch = self.batch;
        let mut entries = batch.entries();
        let mut start = 0;
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(BufferError::Malformed)?;
            let range = start..entries.position();
            start = range.end;
            key.clear();
            self.read_key(&entry, &mut record, &arena, &mut key)?;
            if self.is_too_large(&entry, &key) {
                self.refused.push(range);
                continue;
            }
            self.find_group(&key);
            self.groups[self.at].add(batch.bytes(), range, self.config);
        }
        Ok(())
    }

    /// Writes what tells the entry's group from the others: the start of its slice, then its values.
    fn read_key<'r>(
        &self,
        entry: &Entry<'r>,
        record: &mut Record<'r>,
        arena: &'r Arena,
        out: &mut Vec<u8>,
    ) -> Result<(), BufferError> {
        let keys = &self.config.keys;
        if let Some(time) = &keys.time {
            out.extend_from_slice(&time.start(entry.time.secs()).to_le_bytes());
        }
        if !keys.fields.is_empty() {
            record.decode_into(entry.record, arena).map_err(BufferError::Malformed)?;
            for field in &keys.fields {
                field.path.get(record).unwrap_or(Value::Nil).encode(out);
            }
        }
        Ok(())
    }

    fn is_too_large(&mut self, entry: &Entry<'_>, key: &[u8]) -> bool {
        let limit = self.config.entry_limit();
        let mut size = entry.raw.len() as u64;
        if size > limit && self.config.compress != Packing::Plain {
            let packed = pack_smaller(Bytes::copy_from_slice(entry.raw), self.config.compress);
            size = packed.0.len() as u64;
        }
        let refused = size > limit || entry.raw.len() as u64 > super::config::MAX_ENTRY || key.len() > MAX_KEY_BYTES;
        if refused {
            self.refused_bytes = self.refused_bytes.max(size);
        }
        refused
    }

    fn find_group(&mut self, key: &[u8]) {
        if !self.groups.is_empty() && self.current == key {
            return;
        }
        self.current.clear();
        self.current.extend_from_slice(key);
        if let Some(at) = self.index.get(key) {
            self.at = *at;
            return;
        }
        self.at = self.groups.len();
        self.index.insert(key.into(), self.at);
        self.groups.push(Group::new(self.chunk_key(key)));
    }

    fn chunk_key(&self, key: &[u8]) -> ChunkKey {
        let keys = &self.config.keys;
        let mut chunk_key = base_key(self.batch, self.config);
        let mut rest = key;
        if keys.time.is_some()
            && let Some((start, values)) = key.split_first_chunk()
        {
            chunk_key.time = Some(i64::from_le_bytes(*start));
            rest = values;
        }
        let mut at = 0;
        for field in &keys.fields {
            // These bytes were encoded a moment ago; there is no way for them to be unreadable.
            let value = crate::event::msgpack::read(rest, &mut at).unwrap_or(Value::Nil);
            chunk_key.fields.push((field.name.clone(), KeyValue::new(value)));
        }
        chunk_key
    }

    fn finish(mut self) -> Result<Vec<Part>, BufferError> {
        if !self.refused.is_empty() {
            return Err(self.oversize());
        }
        let (batch, config) = (self.batch, self.config);
        self.groups.iter_mut().for_each(|g| g.close(batch.bytes()));
        let frames = |g: Vec<(Bytes, u32)>| g.into_iter().map(|(b, n)| frame(b, n, config, &batch.tag)).collect();
        Ok(self.groups.into_iter().map(|g| Part { key: g.key, frames: frames(g.done) }).collect())
    }

    fn oversize(&self) -> BufferError {
        let (mut refused, mut rest) = (BatchBuilder::new(), BatchBuilder::new());
        let mut next = self.refused.iter().peekable();
        let mut start = 0;
        let mut entries = Entries::new(self.batch.bytes());
        while let Some(Ok(entry)) = entries.next() {
            let is_refused = next.next_if(|r| r.start == start).is_some();
            start = entries.position();
            if is_refused { refused.push_raw(entry.raw) } else { rest.push_raw(entry.raw) }
        }
        let tag = &self.batch.tag;
        oversize(self.refused_bytes, self.config.entry_limit(), refused.finish(tag.clone()), rest.finish(tag.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::buffer::config::{FieldKey, TimeKey};
    use crate::buffer::testing::{config, events};
    use crate::event::EventTime;

    fn counts(parts: &[Part]) -> Vec<Vec<u32>> {
        parts.iter().map(|p| p.frames.iter().map(|f| f.count).collect()).collect()
    }

    fn joined(part: &Part) -> Vec<u8> {
        part.frames.iter().flat_map(|f| pack::inflate(&f.payload, f.packing, 1 << 30).unwrap()).collect()
    }

    #[test]
    fn without_keys_a_batch_is_passed_on_as_it_is() {
        let batch = events("t", &[(1, "a"), (2, "b")]);
        let parts = split(&batch, &config()).unwrap();
        assert_eq!(parts[0].frames[0].payload.as_ptr(), batch.bytes().as_ptr());
        assert_eq!(parts[0].frames[0].tag, Some(Tag::from("t")));
        let mut by_tag = config();
        by_tag.keys.tag = true;
        let parts = split(&batch, &by_tag).unwrap();
        assert_eq!(parts[0].key.tag, Some(Tag::from("t")));
        assert_eq!(parts[0].frames[0].tag, None);
    }

    #[test]
    fn slices_of_time_keep_the_order_within_them() {
        let mut config = config();
        config.keys.time = Some(TimeKey { seconds: 60, zone: Arc::new(0) });
        let batch = events("t", &[(1, "a"), (61, "b"), (2, "c"), (62, "d"), (63, "e")]);
        let parts = split(&batch, &config).unwrap();
        assert_eq!(parts.iter().map(|p| p.key.time).collect::<Vec<_>>(), [Some(0), Some(60)]);
        assert_eq!(joined(&parts[0]), events("t", &[(1, "a"), (2, "c")]).bytes()[..]);
        assert_eq!(joined(&parts[1]), events("t", &[(61, "b"), (62, "d"), (63, "e")]).bytes()[..]);
        assert_eq!(counts(&parts), [[2], [3]]);
    }

    #[test]
    fn one_slice_of_time_costs_no_copy() {
        let mut config = config();
        config.keys.time = Some(TimeKey { seconds: 60, zone: Arc::new(0) });
        let batch = events("t", &[(1, "a"), (2, "b")]);
        let parts = split(&batch, &config).unwrap();
        assert_eq!(parts[0].frames[0].payload.as_ptr(), batch.bytes().as_ptr());
    }

    #[test]
    fn missing_fields_are_nil_and_make_their_own_chunk() {
        let mut config = config();
        let name: Arc<str> = "k".into();
        config.keys.fields.push(FieldKey { name: name.clone(), path: Arc::new(name.clone()) });
        let mut builder = BatchBuilder::new();
        let mut record = Record::new();
        record.set(b"k", Value::str("x"));
        builder.push(EventTime::from_secs(1), &record);
        builder.push(EventTime::from_secs(1), &Record::new());
        builder.push(EventTime::from_secs(2), &record);
        let parts = split(&builder.finish(Tag::from("t")), &config).unwrap();
        assert_eq!(parts[0].key.fields, [(name.clone(), KeyValue::new(Value::str("x")))]);
        assert_eq!(parts[1].key.fields, [(name, KeyValue::new(Value::Nil))]);
        assert_eq!(counts(&parts), [[2], [1]]);
    }

    #[test]
    fn large_batches_are_cut_at_entry_borders() {
        let mut config = config();
        config.chunk_limit_size = 100;
        let rows: Vec<(i64, String)> = (0..50).map(|n| (n, "x".repeat(20))).collect();
        let rows: Vec<(i64, &str)> = rows.iter().map(|(n, s)| (*n, s.as_str())).collect();
        let batch = events("t", &rows);
        let parts = split(&batch, &config).unwrap();
        assert!(parts[0].frames.iter().all(|f| f.payload.len() <= 100));
        assert_eq!(joined(&parts[0]), batch.bytes()[..]);
        config.chunk_limit_size = 1 << 20;
        config.chunk_limit_records = Some(7);
        assert!(counts(&split(&batch, &config).unwrap())[0].iter().all(|n| *n <= 7));
    }

    #[test]
    fn what_no_chunk_can_hold_is_told_from_the_rest() {
        let mut config = config();
        config.chunk_limit_size = 50;
        let big = "x".repeat(60);
        let batch = events("t", &[(1, "a"), (2, &big), (3, "c")]);
        let Err(BufferError::Oversize(o)) = split(&batch, &config) else { panic!() };
        assert_eq!((o.limit, o.refused.len(), o.rest.len()), (50, 1, 2));
        assert!(o.bytes > 60);
        assert_eq!(o.rest.bytes(), events("t", &[(1, "a"), (3, "c")]).bytes());
        config.compress = Packing::Gzip;
        config.chunk_limit_size = 56;
        assert!(split(&batch, &config).is_ok(), "it fits once it is packed");
    }

    #[test]
    fn packed_batches_are_checked_and_kept_packed_where_the_buffer_packs_alike() {
        let plain = events("t", &[(1, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]);
        let packed = Bytes::from(pack::deflate(plain.bytes(), Packing::Gzip).unwrap());
        let batch = Batch::packed(Tag::from("t"), packed.clone(), Packing::Gzip, None);
        let mut config = config();
        assert_eq!(split(&batch, &config).unwrap()[0].frames[0].payload, plain.bytes());
        config.compress = Packing::Gzip;
        let parts = split(&batch, &config).unwrap();
        assert_eq!(parts[0].frames[0].payload.as_ptr(), packed.as_ptr());
        assert_eq!(parts[0].frames[0].count, 1);
        let bad = Batch::packed(Tag::from("t"), packed.slice(..10), Packing::Gzip, None);
        assert!(matches!(split(&bad, &config), Err(BufferError::Packed(_))));
    }

    #[test]
    fn bytes_that_are_no_entries_are_refused() {
        let batch = Batch::packed(Tag::from("t"), Bytes::from_static(b"\x92\x01"), Packing::Plain, None);
        assert!(matches!(split(&batch, &config()), Err(BufferError::Malformed(_))));
    }
}
