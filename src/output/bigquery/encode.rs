//! The rows of a load job: packed text piece by piece, and from a place in the text back to its row.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::rows::Rows;
use super::schema::{Schema, Style};
use crate::buffer::{Block, Blocks, Chunk};
use crate::event::Entries;

/// Bytes of a piece of an upload, packed: a multiple of 256 KiB, as the service wants it, and what is held of one.
pub const PIECE: usize = 8 << 20;
/// How much time goes into packing; BigQuery charges nothing for what it reads.
const LEVEL: u32 = 3;

/// Events of a chunk, by their places: from, and behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first.
    pub from: u64,
    /// Behind the last.
    pub to: u64,
}

/// What is to be loaded of a chunk.
#[derive(Clone, Copy)]
pub struct Selected<'a> {
    /// The chunk.
    pub chunk: &'a Chunk,
    /// What makes rows.
    pub rows: &'a Rows,
    /// Columns.
    pub schema: Option<&'a Schema>,
    /// Which of its events.
    pub segment: Segment,
    /// Those that are left out, by place.
    pub refused: &'a BTreeMap<u64, String>,
}

impl Selected<'_> {
    /// How many events that are.
    pub fn count(&self) -> u64 {
        let Segment { from, to } = self.segment;
        (to - from).saturating_sub(self.refused.range(from..to).count() as u64)
    }

    /// The text of a block's rows; `each` hears the place of each row before its text is added.
    fn block(&self, block: &Block, place: &mut u64, text: &mut Vec<u8>, mut each: impl FnMut(u64, &[u8])) {
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            let own = *place;
            *place += 1;
            if own < self.segment.from || own >= self.segment.to || self.refused.contains_key(&own) {
                continue;
            }
            each(own, text);
            self.rows.row(block, &entry, self.schema, Style::File, text);
            text.push(b'\n');
        }
    }

    /// The rows that lie at these places of the text, in bytes.
    ///
    /// Errors: the chunk can't be read.
    pub fn locate(&self, offsets: &[u64]) -> io::Result<Vec<Option<u64>>> {
        let mut found = vec![None; offsets.len()];
        let (mut at, mut place, mut text) = (0u64, 0, Vec::new());
        let mut starts: Vec<(u64, u64)> = Vec::new();
        for block in self.chunk.blocks() {
            text.clear();
            starts.clear();
            self.block(&block?, &mut place, &mut text, |own, text| starts.push((at + text.len() as u64, own)));
            let end = at + text.len() as u64;
            for (offset, found) in offsets.iter().zip(&mut found).filter(|(offset, _)| (at..end).contains(*offset)) {
                let behind = starts.partition_point(|(start, _)| start <= offset);
                *found = behind.checked_sub(1).map(|n| starts[n].1);
            }
            at = end;
        }
        Ok(found)
    }
}

/// The packed text, piece by piece. Memory is bounded: a block's text, and little more than one piece.
pub struct Pieces<'a> {
    selected: Selected<'a>,
    blocks: Blocks<'a>,
    /// Gone once the end was reached.
    encoder: Option<GzEncoder<Vec<u8>>>,
    rest: Vec<u8>,
    text: Vec<u8>,
    place: u64,
}

impl<'a> Pieces<'a> {
    /// Of these events.
    pub fn new(selected: Selected<'a>) -> Pieces<'a> {
        let encoder = Some(GzEncoder::new(Vec::new(), Compression::new(LEVEL)));
        let blocks = selected.chunk.blocks();
        Pieces { selected, blocks, encoder, rest: Vec::new(), text: Vec::new(), place: 0 }
    }

    /// The next piece, and whether it is the last. All but the last are whole.
    ///
    /// Errors: the chunk can't be read.
    pub fn next(&mut self) -> io::Result<(Bytes, bool)> {
        while self.rest.len() <= PIECE
            && let Some(encoder) = &mut self.encoder
        {
            let Some(block) = self.blocks.next() else {
                if let Some(encoder) = self.encoder.take() {
                    self.rest.append(&mut encoder.finish()?);
                }
                break;
            };
            self.text.clear();
            self.selected.block(&block?, &mut self.place, &mut self.text, |_, _| {});
            encoder.write_all(&self.text)?;
            self.rest.append(encoder.get_mut());
        }
        let behind = self.rest.split_off(self.rest.len().min(PIECE));
        let piece = std::mem::replace(&mut self.rest, behind);
        Ok((piece.into(), self.rest.is_empty() && self.encoder.is_none()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::buffer::testing::numbered as chunk;

    fn unpacked(selected: Selected<'_>) -> String {
        let (mut pieces, mut packed) = (Pieces::new(selected), Vec::new());
        loop {
            let (piece, is_last) = pieces.next().unwrap();
            packed.extend_from_slice(&piece);
            if is_last {
                break;
            }
        }
        let mut text = String::new();
        GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_place_in_the_text_leads_back_to_its_event() {
        let (chunk, rows) = (chunk(12), Rows::Json { inject: None, stamp: None });
        let refused = BTreeMap::from([(3, "no".to_owned()), (11, "no".to_owned())]);
        let segment = Segment { from: 1, to: 12 };
        let selected = Selected { chunk: &chunk, rows: &rows, schema: None, segment, refused: &refused };
        let text = unpacked(selected);
        assert_eq!(text.lines().count() as u64, selected.count());
        let wanted: Vec<u64> = (1..12).filter(|place| !refused.contains_key(place)).collect();
        let starts: Vec<u64> = text.match_indices('{').map(|(at, _)| at as u64).collect();
        let found: Vec<u64> = selected.locate(&starts).unwrap().into_iter().flatten().collect();
        assert_eq!(found, wanted);
        // Within a row, and behind the last.
        let within = selected.locate(&[starts[4] + 2, text.len() as u64]).unwrap();
        assert_eq!(within, [Some(wanted[4]), None]);
    }
}
