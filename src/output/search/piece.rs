//! A chunk's documents in pieces, each the body of one request.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::document::Writer;
use super::pace::Limits;
use crate::buffer::{Block, Blocks};
use crate::event::Entries;
use crate::plugin::RefusedEvent;

/// Pieces for different addresses that grow at once, where the index stands in the address.
const MAX_GROWING: usize = 64;

/// A document of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Document {
    /// Its event's place in the chunk.
    place: u64,
    /// Where its lines end in the piece.
    end: usize,
}

/// Documents of one request.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    /// The index that stands in the address.
    pub index: Option<Arc<str>>,
    /// Their lines.
    pub text: Bytes,
    documents: Vec<Document>,
}

impl Piece {
    /// Lines that are made elsewhere; `ends`: place and end of each document.
    pub fn of(text: Vec<u8>, ends: impl IntoIterator<Item = (u64, usize)>) -> Piece {
        let documents = ends.into_iter().map(|(place, end)| Document { place, end }).collect();
        Piece { index: None, text: text.into(), documents }
    }

    /// Number of documents.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Places of the events.
    pub fn places(&self) -> impl Iterator<Item = u64> + '_ {
        self.documents.iter().map(|document| document.place)
    }

    /// The place of one.
    pub fn place(&self, row: usize) -> u64 {
        self.documents[row].place
    }

    fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.documents[row - 1].end }
    }

    /// Some of the documents, by their rows, in order.
    pub fn select(&self, rows: &[usize]) -> Piece {
        let mut text = Vec::new();
        let documents = rows.iter().map(|row| {
            text.extend_from_slice(&self.text[self.start(*row)..self.documents[*row].end]);
            Document { place: self.place(*row), end: text.len() }
        });
        let documents = documents.collect();
        Piece { index: self.index.clone(), text: text.into(), documents }
    }

    /// Both halves; the text is shared.
    pub fn halves(self) -> (Piece, Piece) {
        let middle = self.len() / 2;
        let at = self.start(middle);
        let behind = self.documents[middle..].iter().map(|d| Document { end: d.end - at, ..*d }).collect();
        let second = Piece { index: self.index.clone(), text: self.text.slice(at..), documents: behind };
        let mut first = Piece { text: self.text.slice(..at), ..self };
        first.documents.truncate(middle);
        (first, second)
    }
}

#[derive(Default)]
struct Growing {
    text: Vec<u8>,
    documents: Vec<Document>,
}

impl Growing {
    fn done(self, index: Option<Arc<str>>) -> Piece {
        Piece { index, text: self.text.into(), documents: self.documents }
    }
}

/// Which events of a chunk are still to be sent.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Events in front of this place were dealt with,
    pub upto: u64,
    /// but for these, in order.
    pub left: Vec<u64>,
}

impl Settled {
    /// Whether an event needs nothing more.
    pub fn has(&self, place: u64) -> bool {
        place < self.upto && self.left.binary_search(&place).is_err()
    }
}

/// The pieces of a chunk.
pub struct Pieces<'a> {
    blocks: Blocks<'a>,
    writer: Writer<'a>,
    settled: &'a Settled,
    in_url: bool,
    /// What was read of a block and belongs to the next piece.
    ahead: Option<Block>,
    place: u64,
    growing: HashMap<Option<Arc<str>>, Growing>,
    /// Events that can be no documents.
    pub refused: Vec<RefusedEvent>,
    /// Indices of the documents so far.
    pub indices: HashSet<Arc<str>>,
    last: Option<Arc<str>>,
}

impl<'a> Pieces<'a> {
    /// Of these blocks but for what is settled. `in_url`: each piece has one index.
    pub fn new(blocks: Blocks<'a>, writer: Writer<'a>, settled: &'a Settled, in_url: bool) -> Pieces<'a> {
        let (growing, indices) = (HashMap::new(), HashSet::new());
        Pieces {
            blocks,
            writer,
            settled,
            in_url,
            ahead: None,
            place: 0,
            growing,
            refused: Vec::new(),
            indices,
            last: None,
        }
    }

    /// The place behind the last event that was read.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// Places of events that were read and are in no piece yet.
    pub fn unsent(&self) -> Vec<u64> {
        self.growing.values().flat_map(|growing| growing.documents.iter().map(|d| d.place)).collect()
    }

    /// The next piece; `None` at the end.
    ///
    /// Errors: the chunk can't be read.
    pub fn next(&mut self, limits: Limits) -> io::Result<Option<Piece>> {
        while let Some(block) = self.ahead.take().map(Ok).or_else(|| self.blocks.next()).transpose()? {
            if let Some(piece) = self.block(block, limits) {
                return Ok(Some(piece));
            }
        }
        let largest = self.growing.keys().next().cloned();
        Ok(largest.and_then(|index| Some(self.growing.remove(&index)?.done(index))))
    }

    /// Takes a block in; gives a piece that is full, and keeps the rest of the block.
    fn block(&mut self, block: Block, limits: Limits) -> Option<Piece> {
        let mut entries = Entries::new(&block.entries);
        let mut line = Vec::new();
        while let Some(Ok(entry)) = entries.next() {
            let place = self.place;
            self.place += 1;
            if self.settled.has(place) {
                continue;
            }
            line.clear();
            let index = match self.writer.write(&block.tag, &entry, place, &mut line) {
                Ok(index) => index,
                Err(answer) => {
                    self.refused.push(RefusedEvent { place, answer });
                    continue;
                }
            };
            if self.last.as_ref() != Some(&index) {
                self.last = Some(index.clone());
                self.indices.insert(index.clone());
            }
            let address = self.in_url.then_some(index);
            let growing = self.growing.entry(address.clone()).or_default();
            let full = growing.text.len() + line.len() > limits.bytes || growing.documents.len() >= limits.documents;
            let done = (full && !growing.documents.is_empty()).then(|| std::mem::take(growing));
            growing.text.extend_from_slice(&line);
            growing.documents.push(Document { place, end: growing.text.len() });
            let piece = match done {
                Some(done) => Some(done.done(address)),
                None if self.growing.len() > MAX_GROWING => self.largest(),
                None => None,
            };
            if piece.is_some() {
                let at = entries.position();
                if at < block.entries.len() {
                    self.ahead = Some(Block { entries: block.entries.slice(at..), ..block.clone() });
                }
                return piece;
            }
        }
        None
    }

    fn largest(&mut self) -> Option<Piece> {
        let index = self.growing.iter().max_by_key(|(_, growing)| growing.text.len())?.0.clone();
        Some(self.growing.remove(&index)?.done(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_piece_keep_their_lines_and_places() {
        let piece = Piece::of(b"abbcccdddd".to_vec(), [(3, 1), (5, 3), (6, 6), (9, 10)]);
        let some = piece.select(&[1, 3]);
        assert_eq!((&some.text[..], some.places().collect::<Vec<_>>()), (&b"bbdddd"[..], vec![5, 9]));
        let (first, second) = piece.halves();
        assert_eq!((&first.text[..], first.places().collect::<Vec<_>>()), (&b"abb"[..], vec![3, 5]));
        assert_eq!((&second.text[..], second.places().collect::<Vec<_>>()), (&b"cccdddd"[..], vec![6, 9]));
        assert_eq!(&second.select(&[1]).text[..], b"dddd");
    }

    #[test]
    fn what_is_settled_is_known() {
        let settled = Settled { upto: 5, left: vec![1, 3] };
        let open: Vec<u64> = (0..7).filter(|place| !settled.has(*place)).collect();
        assert_eq!(open, [1, 3, 5, 6]);
    }
}
