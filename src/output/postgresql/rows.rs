//! From a chunk's events to the rows of COPY, in pieces of bounded size.
//!
//! A column that COPY names is NULL where a row has no value for it; one that it does not name gets its default. So rows
//! that leave different columns with a default out go in different pieces.

use std::ops::Range;

use smallvec::SmallVec;

use super::columns::{Columns, Kind, MAX_NEW_COLUMNS, NewFields};
use super::row;
use crate::buffer::{Block, Chunk};
use crate::event::{Arena, Entries, EventTime, Record, Tag, Value, json};
use crate::output::fields::{Mapped, unmapped};
use crate::output::pg::{MAX_NAME_BYTES, identifier};
use crate::plugin::{Inject, RefusedEvent};

/// A piece is sent once it has so many bytes.
const PIECE_BYTES: usize = 4 << 20;
/// Pieces that grow at once.
const MAX_PIECES: usize = 8;

/// Which fields go where.
#[derive(Default)]
pub struct Layout {
    /// Fields and their columns; `None`: by name.
    pub mapping: Option<Vec<Mapped>>,
    /// Column of the time.
    pub time: Option<String>,
    /// Column of the tag.
    pub tag: Option<String>,
    /// Column of what has none.
    pub json: Option<String>,
    /// What is put into records first.
    pub inject: Option<Inject>,
}

impl Layout {
    /// Calls `each` with the record of every event, after what is injected.
    fn records(&self, block: &Block, mut each: impl FnMut(EventTime, Option<&Record<'_>>)) {
        let mut arena = Arena::new();
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            if arena.allocated() > PIECE_BYTES {
                arena = Arena::new();
            }
            let mut record = Record::decode(entry.record, &arena).ok();
            if let (Some(inject), Some(record)) = (&self.inject, &mut record) {
                inject.apply(&block.tag, entry.time, record, &arena);
            }
            each(entry.time, record.as_ref());
        }
    }

    /// Fields of a chunk that have no column, each with the type that its values fit into.
    ///
    /// Errors: the chunk can't be read.
    pub fn new_fields(&self, chunk: &Chunk, columns: Option<&Columns>) -> std::io::Result<NewFields> {
        let mut found = NewFields::new();
        for block in chunk.blocks() {
            self.records(&block?, |_, record| {
                for (name, value) in record.into_iter().flat_map(Record::iter) {
                    if columns.is_some_and(|columns| columns.find(name).is_some()) {
                        continue;
                    }
                    let Ok(name) = std::str::from_utf8(name) else { continue };
                    let usable = !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('\0');
                    if let Some(seen) = found.get_mut(name) {
                        seen.add(*value);
                    } else if usable && found.len() < MAX_NEW_COLUMNS {
                        found.entry(name.to_owned()).or_default().add(*value);
                    }
                }
            });
        }
        Ok(found)
    }
}

/// Rows of one COPY.
#[derive(Default)]
pub struct Piece {
    /// Columns with a default that it names beside those of every row.
    optional: Vec<usize>,
    /// The rows.
    text: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// The place of each in the chunk.
    places: Vec<u64>,
}

impl Piece {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of some of the rows.
    pub fn rows(&self, range: Range<usize>) -> &[u8] {
        let start = if range.start == 0 { 0 } else { self.ends[range.start - 1] };
        let end = if range.end == 0 { 0 } else { self.ends[range.end - 1] };
        &self.text[start..end]
    }

    /// The place in the chunk of a row.
    pub fn place(&self, row: usize) -> u64 {
        self.places[row]
    }
}

/// What each field of a chunk's events becomes.
pub struct Plan<'a> {
    layout: &'a Layout,
    columns: &'a Columns,
    time: Option<usize>,
    tag: Option<usize>,
    json: Option<usize>,
    /// Columns of mapped fields, in the mapping's order.
    mapped: Vec<usize>,
    /// Columns that every row writes.
    always: Vec<usize>,
    /// Columns with a default, which rows write where they have a value.
    optional: Vec<usize>,
    pieces: Vec<Piece>,
    place: u64,
    /// Fields that had no column.
    pub left_out: u64,
    /// Events that are no records.
    pub refused: Vec<RefusedEvent>,
}

type Slots<'v> = SmallVec<[Option<Value<'v>>; 32]>;

impl<'a> Plan<'a> {
    /// Errors: a column that the configuration names and the table lacks, by parameter.
    pub fn new(layout: &'a Layout, columns: &'a Columns) -> Result<Plan<'a>, String> {
        let find = |parameter: &str, name: &str| {
            let missing = || format!("the table has no column {name:?}, which {parameter} names");
            columns.find(name.as_bytes()).ok_or_else(missing)
        };
        let named = |parameter: &str, name: &Option<String>| name.as_deref().map(|n| find(parameter, n)).transpose();
        let (time, tag) = (named("time_column", &layout.time)?, named("tag_column", &layout.tag)?);
        let json = named("json_column", &layout.json)?;
        let mapped = layout.mapping.iter().flatten().map(|m| find("column_mapping", &m.column));
        let mapped: Vec<usize> = mapped.collect::<Result<_, _>>()?;
        let own = [time, tag, json];
        let is_own = |at: usize| own.contains(&Some(at));
        let written = |at: &usize| layout.mapping.is_none() || mapped.contains(at) || is_own(*at);
        let all = (0..columns.all.len()).filter(written);
        let (optional, always) = all.partition(|at| columns.all[*at].has_default && !is_own(*at));
        Ok(Plan {
            layout,
            columns,
            time,
            tag,
            json,
            mapped,
            always,
            optional,
            pieces: Vec::new(),
            place: 0,
            left_out: 0,
            refused: Vec::new(),
        })
    }

    /// The columns that a piece writes, in SQL.
    pub fn names(&self, piece: &Piece) -> String {
        let all = self.always.iter().chain(&piece.optional);
        let names: Vec<String> = all.map(|at| identifier(&self.columns.all[*at].name)).collect();
        names.join(", ")
    }

    /// Takes the events of a block; gives pieces that are ready.
    pub fn add(&mut self, block: &Block) -> Vec<Piece> {
        let mut ready = Vec::new();
        let layout = self.layout;
        layout.records(block, |time, record| {
            match record {
                Some(record) => self.row(&block.tag, time, record),
                None => {
                    self.refused.push(RefusedEvent { place: self.place, answer: "the event is no record".into() });
                }
            }
            self.place += 1;
            if let Some(at) = self.pieces.iter().position(|piece| piece.text.len() >= PIECE_BYTES) {
                ready.push(self.pieces.swap_remove(at));
            } else if self.pieces.len() > MAX_PIECES {
                ready.append(&mut self.pieces);
            }
        });
        ready
    }

    /// The last pieces.
    pub fn finish(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }

    fn row(&mut self, tag: &Tag, time: EventTime, record: &Record<'_>) {
        let mut slots: Slots<'_> = std::iter::repeat_n(None, self.columns.all.len()).collect();
        let mut rest = Record::new();
        match &self.layout.mapping {
            Some(mapping) => {
                for (mapped, at) in mapping.iter().zip(&self.mapped) {
                    slots[*at] = mapped.path.get(record);
                }
                if self.json.is_some() {
                    rest = unmapped(mapping, record);
                }
            }
            None => {
                for (name, value) in record.iter() {
                    match self.columns.find(name).filter(|at| Some(*at) != self.json) {
                        Some(at) => slots[at] = Some(*value),
                        None => rest.push(name, *value),
                    }
                }
            }
        }
        if self.json.is_none() {
            self.left_out += rest.len() as u64;
        }
        self.write(tag, time, &slots, &rest);
    }

    fn write(&mut self, tag: &Tag, time: EventTime, slots: &Slots<'_>, rest: &Record<'_>) {
        let optional: SmallVec<[usize; 8]> = self.optional.iter().copied().filter(|at| slots[*at].is_some()).collect();
        let at = self.pieces.iter().position(|piece| piece.optional == optional.as_slice()).unwrap_or_else(|| {
            self.pieces.push(Piece { optional: optional.to_vec(), ..Piece::default() });
            self.pieces.len() - 1
        });
        let piece = &mut self.pieces[at];
        for (n, column) in self.always.iter().chain(&piece.optional).enumerate() {
            if n > 0 {
                piece.text.push(b'\t');
            }
            let column = Some(*column);
            if column == self.time {
                row::time(time, &mut piece.text);
            } else if column == self.tag {
                row::escape(tag.as_bytes(), &mut piece.text);
            } else if column == self.json {
                let mut text = Vec::new();
                json::write_record(rest, &mut text);
                row::escape(&text, &mut piece.text);
            } else if let Some(at) = column {
                let kind: Kind = self.columns.all[at].kind;
                row::write(slots[at].unwrap_or(Value::Nil), kind, &mut piece.text);
            }
        }
        piece.text.push(b'\n');
        piece.ends.push(piece.text.len());
        piece.places.push(self.place);
    }
}
