//! A chunk as the payload of one message, its length known before the first byte is sent.
//!
//! A small chunk is kept in memory, a large one is read twice: once to be measured, once to be sent. What is compressed or
//! rewritten is kept, because its length is not known otherwise.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::GzEncoder;

use crate::buffer::{Block, Blocks, Chunk};
use crate::event::{Entries, Packing, msgpack};

/// Payloads up to this many bytes are kept from measuring to sending.
const KEPT_BYTES: u64 = 16 * 1024 * 1024;

/// Entries are compressed in pieces of about this many bytes, off the threads that serve connections.
const PIECE_BYTES: usize = 1024 * 1024;

/// What is done to a chunk's entries before they are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    pub(super) packing: Packing,
    /// Times are written as whole seconds, for servers that know no EventTime.
    pub(super) time_as_integer: bool,
}

/// A payload of known length.
pub(super) struct Payload<'c> {
    /// Bytes.
    pub(super) len: u64,
    /// Events.
    pub(super) count: u64,
    body: Body<'c>,
}

enum Body<'c> {
    Kept(Vec<Bytes>),
    Chunk(&'c Chunk),
}

/// The parts of a payload, in order.
pub(super) enum Parts<'p> {
    Kept(std::slice::Iter<'p, Bytes>),
    Blocks(Blocks<'p>),
}

impl<'c> Payload<'c> {
    /// Measures a chunk, and compresses it where asked for.
    ///
    /// Errors: the chunk can't be read, or not be compressed.
    pub(super) async fn of(chunk: &'c Chunk, shape: Shape) -> io::Result<Payload<'c>> {
        match shape.packing {
            Packing::Plain => plain(chunk, shape),
            _ => packed(chunk, shape).await,
        }
    }

    /// The parts, to be sent; together they have [`len`](Payload::len) bytes unless the disk changed meanwhile.
    pub(super) fn parts(&self) -> Parts<'_> {
        match &self.body {
            Body::Kept(parts) => Parts::Kept(parts.iter()),
            Body::Chunk(chunk) => Parts::Blocks(chunk.blocks()),
        }
    }
}

impl Iterator for Parts<'_> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<io::Result<Bytes>> {
        match self {
            Parts::Kept(parts) => parts.next().cloned().map(Ok),
            Parts::Blocks(blocks) => blocks.next().map(|block| block.map(|b| b.entries)),
        }
    }
}

fn plain(chunk: &Chunk, shape: Shape) -> io::Result<Payload<'_>> {
    let mut kept = Some(Vec::new());
    let (mut len, mut count) = (0, 0);
    for block in chunk.blocks() {
        let block = shape.apply(block?);
        len += block.entries.len() as u64;
        count += u64::from(block.count);
        if len > KEPT_BYTES && !shape.time_as_integer {
            kept = None;
        }
        if let Some(parts) = &mut kept {
            parts.push(block.entries);
        }
    }
    Ok(Payload { len, count, body: kept.map_or(Body::Chunk(chunk), Body::Kept) })
}

impl Shape {
    fn apply(self, block: Block) -> Block {
        if !self.time_as_integer {
            return block;
        }
        let mut out = Vec::with_capacity(block.entries.len());
        // Entries were checked when they were taken in.
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            out.push(0x92);
            msgpack::put_int(&mut out, entry.time.secs());
            out.extend_from_slice(entry.record);
        }
        Block { entries: out.into(), ..block }
    }
}

async fn packed(chunk: &Chunk, shape: Shape) -> io::Result<Payload<'_>> {
    let mut encoder = Encoder::new(shape.packing)?;
    let mut count = 0;
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    for block in chunk.blocks() {
        let block = shape.apply(block?);
        count += u64::from(block.count);
        bytes += block.entries.len();
        pieces.push(block.entries);
        if bytes >= PIECE_BYTES {
            encoder = encoder.write(std::mem::take(&mut pieces)).await?;
            bytes = 0;
        }
    }
    let out = encoder.write(pieces).await?.finish()?;
    let parts = if count == 0 { Vec::new() } else { vec![Bytes::from(out)] };
    Ok(Payload { len: parts.iter().map(|p| p.len() as u64).sum(), count, body: Body::Kept(parts) })
}

/// Writes one gzip member or one zstd frame: some receivers read no more than that.
enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(packing: Packing) -> io::Result<Encoder> {
        Ok(match packing {
            Packing::Zstd => {
                Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?)
            }
            _ => Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
        })
    }

    async fn write(mut self, pieces: Vec<Bytes>) -> io::Result<Encoder> {
        let work = move || {
            for piece in &pieces {
                match &mut self {
                    Encoder::Gzip(encoder) => encoder.write_all(piece)?,
                    Encoder::Zstd(encoder) => encoder.write_all(piece)?,
                }
            }
            Ok(self)
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::{Batch, Tag, pack};

    fn chunk(entries: Vec<u8>, count: u32) -> Chunk {
        Chunk::direct(&Batch::new(Tag::from("t"), entries.into(), count))
    }

    fn collected(payload: &Payload<'_>) -> Vec<u8> {
        let all: Vec<u8> = payload.parts().flat_map(|p| p.unwrap()).collect();
        assert_eq!(all.len() as u64, payload.len);
        all
    }

    #[tokio::test]
    async fn plain_entries_are_sent_as_they_are() {
        let chunk = chunk(b"\x92\x05\x80\x92\x06\x80".to_vec(), 2);
        let payload = Payload::of(&chunk, Shape::default()).await.unwrap();
        assert_eq!((collected(&payload), payload.count), (b"\x92\x05\x80\x92\x06\x80".to_vec(), 2));
    }

    #[tokio::test]
    async fn a_large_chunk_is_measured_and_not_kept() {
        let record = [&[0x92, 0x05, 0x81, 0xa1, b'k', 0xc6, 0, 0x10, 0, 0], &vec![0; 1 << 20][..]].concat();
        let chunk = chunk(record.repeat(17), 17);
        let payload = Payload::of(&chunk, Shape::default()).await.unwrap();
        assert!(matches!(payload.body, Body::Chunk(_)));
        assert_eq!(payload.len, 17 * record.len() as u64);
        assert_eq!(payload.parts().map(|p| p.unwrap().len() as u64).sum::<u64>(), payload.len);
    }

    #[tokio::test]
    async fn compressed_entries_inflate_to_what_they_were() {
        let entries = b"\x92\x05\x80".repeat(1000);
        for packing in [Packing::Gzip, Packing::Zstd] {
            let chunk = chunk(entries.clone(), 1000);
            let payload = Payload::of(&chunk, Shape { packing, time_as_integer: false }).await.unwrap();
            assert_eq!(pack::inflate(&collected(&payload), packing, 1 << 20).unwrap(), entries);
        }
    }

    #[tokio::test]
    async fn times_become_whole_seconds_where_asked_for() {
        let chunk = chunk(b"\x92\xd7\x00\x00\x00\x00\x07\x00\x00\x00\x09\x80".to_vec(), 1);
        let payload = Payload::of(&chunk, Shape { time_as_integer: true, ..Shape::default() }).await.unwrap();
        assert_eq!(collected(&payload), b"\x92\x07\x80");
    }

    #[tokio::test]
    async fn a_chunk_without_events_has_an_empty_payload() {
        for packing in [Packing::Plain, Packing::Gzip] {
            let chunk = chunk(Vec::new(), 0);
            let payload = Payload::of(&chunk, Shape { packing, ..Shape::default() }).await.unwrap();
            assert_eq!((payload.len, payload.count), (0, 0));
        }
    }
}
