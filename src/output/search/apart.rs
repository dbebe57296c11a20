//! Events of a chunk that go somewhere else than the rest: to `@ERROR`, under another tag, or into a second index.

use std::io;

use super::document::{TIMESTAMP, iso8601};
use super::piece::Piece;
use crate::buffer::Chunk;
use crate::event::timefmt::Zone;
use crate::event::{Batch, BatchBuilder, Entries, Tag, Value, json};
use crate::plugin::RefusedEvent;

/// A piece for the second index takes no more events once it has so many bytes.
const PIECE_BYTES: usize = 4 << 20;

/// Some events of a chunk by tag, each with the place of its first. The same places always give the same batches.
///
/// Errors: the chunk can't be read.
pub fn batches(chunk: &Chunk, places: &[u64]) -> io::Result<Vec<(u64, Batch)>> {
    let mut growing: Vec<(Tag, u64, BatchBuilder)> = Vec::new();
    let (mut wanted, mut place) = (places.iter().peekable(), 0);
    for block in chunk.blocks() {
        let block = block?;
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            if wanted.next_if(|next| **next == place).is_some() {
                let at = growing.iter().position(|(tag, ..)| *tag == block.tag).unwrap_or_else(|| {
                    growing.push((block.tag.clone(), place, BatchBuilder::new()));
                    growing.len() - 1
                });
                growing[at].2.push_raw(entry.raw);
            }
            place += 1;
        }
    }
    Ok(growing.into_iter().map(|(tag, first, mut batch)| (first, batch.finish(tag))).collect())
}

/// Refused events as documents of a second index, whatever is in them: the record is a text there, so that no mapping is in
/// its way.
///
/// Errors: the chunk can't be read.
pub fn second(chunk: &Chunk, refused: &[RefusedEvent], index: &str) -> io::Result<Vec<Piece>> {
    let stamp = iso8601(9, Zone::utc());
    let (mut pieces, mut text, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let (mut wanted, mut place) = (refused.iter().peekable(), 0);
    for block in chunk.blocks() {
        let block = block?;
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            if let Some(event) = wanted.next_if(|event| event.place == place) {
                let (mut time, mut record) = (Vec::new(), Vec::new());
                stamp.format(entry.time, &mut time);
                // What is no record has no text either.
                let _ = json::write_map(entry.record, &mut record);
                text.extend_from_slice(b"{\"create\":{");
                member("_index", index.as_bytes(), b',', &mut text);
                member("_id", format!("{}-{place}", chunk.id()).as_bytes(), b'}', &mut text);
                text.extend_from_slice(b"}\n{");
                member(TIMESTAMP, &time, b',', &mut text);
                member("tag", block.tag.as_bytes(), b',', &mut text);
                member("error", event.answer.as_bytes(), b',', &mut text);
                member("record", &record, b'}', &mut text);
                text.push(b'\n');
                ends.push((place, text.len()));
                if text.len() >= PIECE_BYTES {
                    pieces.push(Piece::of(std::mem::take(&mut text), std::mem::take(&mut ends)));
                }
            }
            place += 1;
        }
    }
    if !ends.is_empty() {
        pieces.push(Piece::of(text, ends));
    }
    Ok(pieces)
}

fn member(name: &str, value: &[u8], end: u8, out: &mut Vec<u8>) {
    json::write_value(Value::str(name), out);
    out.push(b':');
    json::write_value(Value::Str(value), out);
    out.push(end);
}
