//! A batch: one tag and a run of entries `[time, record]`, kept as MessagePack bytes.
//!
//! These are the bytes of a Forward PackedForward message, of a chunk's frames and of what the forward output sends.

use bytes::Bytes;

use super::maps::Maps;
use super::msgpack::{self, Malformed};
use super::pack::{self, InflateError, Packing};
use super::record::Record;
use super::tag::Tag;
use super::time::EventTime;

/// A run of entries under one tag. Cloning copies no bytes.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Where the events are routed by.
    pub tag: Tag,
    entries: Bytes,
    packing: Packing,
    count: Option<u32>,
}

impl Batch {
    /// A batch of `count` plain entries that are known to be whole (they come from a [`BatchBuilder`] or were checked).
    pub fn new(tag: Tag, entries: Bytes, count: u32) -> Batch {
        Batch { tag, entries, packing: Packing::Plain, count: Some(count) }
    }

    /// A batch of unchecked bytes as a client sent them.
    pub fn packed(tag: Tag, entries: Bytes, packing: Packing, count: Option<u32>) -> Batch {
        Batch { tag, entries, packing, count }
    }

    /// The bytes as they are, packed or plain.
    pub fn bytes(&self) -> &Bytes {
        &self.entries
    }

    /// How the bytes are compressed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// The number of events, where it is known without looking.
    pub fn count(&self) -> Option<u32> {
        self.count
    }

    /// The number of events; counts the entries of a plain batch when nobody did before (a broken one ends the count).
    pub fn len(&self) -> u32 {
        self.count.unwrap_or_else(|| self.entries().take_while(Result::is_ok).count() as u32)
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.count == Some(0) || self.entries.is_empty()
    }

    /// The same events under another tag.
    pub fn with_tag(&self, tag: Tag) -> Batch {
        Batch { tag, ..self.clone() }
    }

    /// The same events, uncompressed. `limit` bounds the bytes that come out.
    pub fn inflate(&self, limit: usize) -> Result<Batch, InflateError> {
        if self.packing == Packing::Plain {
            return Ok(self.clone());
        }
        let plain = pack::inflate(&self.entries, self.packing, limit)?;
        Ok(Batch { tag: self.tag.clone(), entries: plain.into(), packing: Packing::Plain, count: self.count })
    }

    /// The entries of a plain batch, in order.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(if self.packing == Packing::Plain { &self.entries } else { &[] })
    }
}

/// One event, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry<'a> {
    /// When it happened.
    pub time: EventTime,
    /// The record: one whole encoded map.
    pub record: &'a [u8],
    /// The whole entry.
    pub raw: &'a [u8],
}

/// Walks over entries. After an error nothing more comes: what follows a broken entry can't be found.
#[derive(Clone)]
pub struct Entries<'a> {
    buf: &'a [u8],
    pos: usize,
    maps: Maps,
}

impl<'a> Entries<'a> {
    /// Over plain entry bytes.
    pub fn new(buf: &'a [u8]) -> Entries<'a> {
        Entries { buf, pos: 0, maps: Maps::new() }
    }

    /// Offset of the next entry.
    pub fn position(&self) -> usize {
        self.pos
    }

    #[inline(always)]
    fn read(&mut self) -> Result<Entry<'a>, Malformed> {
        let start = self.pos;
        let (time, record) = entry_head(self.buf, start)?;
        let end = record + self.maps.skip(&self.buf[record..])?;
        self.pos = end;
        Ok(Entry { time, record: &self.buf[record..end], raw: &self.buf[start..end] })
    }
}

/// Reads the entry at `start` up to its record, which is a map: its time, and where the map begins.
///
/// Errors: [`Malformed`] where no entry begins there; so at the end of the bytes too.
#[inline(always)]
pub fn entry_head(buf: &[u8], start: usize) -> Result<(EventTime, usize), Malformed> {
    const PAIR: u8 = 0x92;
    let mut at = start + 1;
    if buf.get(start) != Some(&PAIR) {
        at = start;
        if msgpack::read_array_len(buf, &mut at)? != Some(2) {
            return Err(Malformed::Invalid);
        }
    }
    let time = msgpack::read_time(buf, &mut at)?;
    match buf.get(at) {
        Some(first) if msgpack::is_map(*first) => Ok((time, at)),
        Some(_) => Err(Malformed::Invalid),
        None => Err(Malformed::Truncated),
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.pos >= self.buf.len() {
            return None;
        }
        let entry = self.read();
        if entry.is_err() {
            self.pos = self.buf.len();
        }
        Some(entry)
    }
}

/// A state of a [`BatchBuilder`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    count: u32,
}

/// Collects entries into a batch.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    out: Vec<u8>,
    count: u32,
}

impl BatchBuilder {
    /// An empty builder.
    pub fn new() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// An empty builder with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> BatchBuilder {
        BatchBuilder { out: Vec::with_capacity(bytes), count: 0 }
    }

    /// Adds an event.
    pub fn push(&mut self, time: EventTime, record: &Record<'_>) {
        self.push_with(time, |out| record.encode(out));
    }

    /// Adds an event whose record is written by `write`, which must write exactly one MessagePack map.
    pub fn push_with(&mut self, time: EventTime, write: impl FnOnce(&mut Vec<u8>)) {
        msgpack::put_entry_head(&mut self.out, time);
        write(&mut self.out);
        self.count += 1;
    }

    /// As [`push_with`](Self::push_with), for a writer that may fail: then the event is left out whole.
    pub fn try_push_with<E>(
        &mut self,
        time: EventTime,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.out.len();
        msgpack::put_entry_head(&mut self.out, time);
        let written = write(&mut self.out);
        match written {
            Ok(()) => self.count += 1,
            Err(_) => self.out.truncate(start),
        }
        written
    }

    /// As [`try_push_with`](Self::try_push_with), for an event whose time is known only when its record is written.
    pub fn try_push_timed<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<EventTime, E>) -> Result<(), E> {
        let start = self.out.len();
        msgpack::put_entry_head(&mut self.out, EventTime::default());
        let record = self.out.len();
        let written = write(&mut self.out);
        match written {
            Ok(time) => {
                let end = self.out.len();
                msgpack::put_time(&mut self.out, time);
                if self.out.len() - end == record - start - 1 {
                    self.out.copy_within(end.., start + 1);
                    self.out.truncate(end);
                } else {
                    let time = self.out.split_off(end);
                    self.out.splice(start + 1..record, time);
                }
                self.count += 1;
                Ok(())
            }
            Err(e) => {
                self.out.truncate(start);
                Err(e)
            }
        }
    }

    /// The present state, to [`rewind`](Self::rewind) to.
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.out.len(), count: self.count }
    }

    /// Takes out what was added since `mark` was taken from this builder.
    pub fn rewind(&mut self, mark: Mark) {
        self.out.truncate(mark.bytes);
        self.count = self.count.min(mark.count);
    }

    /// Adds a whole encoded entry.
    pub fn push_raw(&mut self, entry: &[u8]) {
        self.out.extend_from_slice(entry);
        self.count += 1;
    }

    /// Adds `count` whole encoded entries, one behind the other.
    pub fn push_run(&mut self, entries: &[u8], count: u32) {
        self.out.extend_from_slice(entries);
        self.count += count;
    }

    /// Bytes collected so far.
    pub fn bytes(&self) -> usize {
        self.out.len()
    }

    /// Events collected so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch; the builder is empty again.
    pub fn finish(&mut self, tag: Tag) -> Batch {
        let entries = std::mem::take(&mut self.out);
        Batch::new(tag, entries.into(), std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::record::Arena;
    use crate::event::value::Value;

    fn two() -> Batch {
        let mut b = BatchBuilder::new();
        let mut r = Record::new();
        r.set(b"k", Value::Int(1));
        b.push(EventTime::from_secs(1), &r);
        b.push(EventTime::new(2, 3), &Record::new());
        b.finish(Tag::from("t"))
    }

    #[test]
    fn entries_come_back_in_order() {
        let batch = two();
        let entries: Vec<_> = batch.entries().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].time, EventTime::new(2, 3));
        let arena = Arena::new();
        let record = Record::decode(entries[0].record, &arena).unwrap();
        assert_eq!(record.get(b"k"), Some(Value::Int(1)));
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn a_broken_entry_ends_the_walk_with_one_error() {
        let batch = two();
        let cut = &batch.bytes()[..batch.bytes().len() - 1];
        let got: Vec<_> = Entries::new(cut).collect();
        assert!(got[0].is_ok());
        assert_eq!(got[1], Err(Malformed::Truncated));
        assert_eq!(got.len(), 2);
    }

    #[test]
    fn a_builder_goes_back_to_a_mark() {
        let mut b = BatchBuilder::new();
        b.push(EventTime::from_secs(1), &Record::new());
        let mark = b.mark();
        b.push(EventTime::from_secs(2), &Record::new());
        b.rewind(mark);
        b.push(EventTime::from_secs(3), &Record::new());
        let batch = b.finish(Tag::from("t"));
        let times: Vec<i64> = batch.entries().map(|e| e.unwrap().time.secs()).collect();
        assert_eq!((times, batch.len()), (vec![1, 3], 2));
    }

    #[test]
    fn a_failed_writer_leaves_no_trace() {
        let mut b = BatchBuilder::new();
        let failed = b.try_push_with(EventTime::from_secs(1), |out| {
            out.push(0x80);
            Err("no")
        });
        assert_eq!(failed, Err("no"));
        assert_eq!((b.bytes(), b.count()), (0, 0));
    }

    #[test]
    fn packed_batches_unpack_within_their_limit() {
        let plain = two();
        for packing in [Packing::Gzip, Packing::Zstd] {
            let packed = pack::deflate(plain.bytes(), packing).unwrap();
            let batch = Batch::packed(Tag::from("t"), packed.into(), packing, None);
            assert_eq!(batch.inflate(1000).unwrap().bytes(), plain.bytes());
            assert!(batch.inflate(5).is_err());
        }
    }
}
