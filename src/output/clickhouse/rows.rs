//! From a chunk's events to rows of JSONEachRow, in pieces whose bounds follow from the chunk's bytes alone.

use std::io;
use std::ops::Range;

use super::columns::{Kind, Table};
use crate::buffer::{Block, Blocks};
use crate::event::timefmt::Civil;
use crate::event::{Arena, Entries, EventTime, Record, Tag, Value, json};
use crate::output::fields::{Mapped, unmapped};
use crate::plugin::Inject;

/// A piece takes no more events once they have so many bytes as they are in the chunk.
const PIECE_BYTES: usize = 16 << 20;
/// Most events of a piece: well below what the server puts into one block.
const PIECE_EVENTS: usize = 200_000;

/// Which fields go where.
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

/// Rows of one insert.
#[derive(Default)]
pub struct Piece {
    /// Its number in the chunk.
    pub number: usize,
    /// The place of its first row in the chunk.
    first: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Piece {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { self.ends[row - 1] }
    }

    /// Some of the rows.
    pub fn rows(&self, range: Range<usize>) -> Vec<u8> {
        self.text[self.start(range.start)..self.start(range.end)].to_vec()
    }

    /// All rows but these, which are in order.
    pub fn rows_without(&self, bad: &[(usize, String)]) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.text.len());
        let mut from = 0;
        for (row, _) in bad {
            text.extend_from_slice(&self.text[self.start(from)..self.start(*row)]);
            from = row + 1;
        }
        text.extend_from_slice(&self.text[self.start(from)..]);
        text
    }

    /// The place of a row in the chunk.
    pub fn place(&self, row: usize) -> u64 {
        self.first + row as u64
    }
}

/// The pieces of a chunk.
pub struct Pieces<'a> {
    layout: &'a Layout,
    table: &'a Table,
    time: Option<usize>,
    tag: Option<usize>,
    json: Option<usize>,
    mapped: Vec<usize>,
    number: usize,
    place: u64,
    /// What was read of a block and belongs to the next piece.
    ahead: Option<Block>,
    /// Fields that had no column.
    pub left_out: u64,
}

impl<'a> Pieces<'a> {
    /// Errors: a column that the configuration names and the table lacks, by parameter.
    pub fn new(layout: &'a Layout, table: &'a Table) -> Result<Pieces<'a>, String> {
        let find = |parameter: &str, name: &str| {
            let missing = || format!("the table has no column {name:?}, which {parameter} names");
            table.find(name.as_bytes()).ok_or_else(missing)
        };
        let named = |parameter: &str, name: &Option<String>| name.as_deref().map(|n| find(parameter, n)).transpose();
        let mapped = layout.mapping.iter().flatten().map(|m| find("column_mapping", &m.column));
        Ok(Pieces {
            time: named("time_column", &layout.time)?,
            tag: named("tag_column", &layout.tag)?,
            json: named("json_column", &layout.json)?,
            mapped: mapped.collect::<Result<_, _>>()?,
            layout,
            table,
            number: 0,
            place: 0,
            ahead: None,
            left_out: 0,
        })
    }

    /// The next piece; `None` at the end.
    ///
    /// Errors: the chunk can't be read.
    pub fn next(&mut self, blocks: &mut Blocks<'_>) -> io::Result<Option<Piece>> {
        let mut piece = Piece { number: self.number, first: self.place, ..Piece::default() };
        self.number += 1;
        let mut raw = 0;
        while let Some(block) = self.ahead.take().map(Ok).or_else(|| blocks.next()).transpose()? {
            let mut entries = Entries::new(&block.entries);
            let arena = Arena::new();
            while let Some(Ok(entry)) = entries.next() {
                // What is no record becomes a row that the server refuses.
                let mut record = Record::decode(entry.record, &arena).unwrap_or_default();
                if let Some(inject) = &self.layout.inject {
                    inject.apply(&block.tag, entry.time, &mut record, &arena);
                }
                self.row(&block.tag, entry.time, &record, &mut piece);
                self.place += 1;
                raw += entry.raw.len();
                if raw >= PIECE_BYTES || piece.len() >= PIECE_EVENTS {
                    let at = entries.position();
                    if at < block.entries.len() {
                        self.ahead = Some(Block { entries: block.entries.slice(at..), ..block.clone() });
                    }
                    return Ok(Some(piece));
                }
            }
        }
        Ok((piece.len() > 0).then_some(piece))
    }

    fn row(&mut self, tag: &Tag, time: EventTime, record: &Record<'_>, piece: &mut Piece) {
        let out = &mut piece.text;
        out.push(b'{');
        let mut rest = Record::new();
        match &self.layout.mapping {
            Some(mapping) => {
                for (mapped, at) in mapping.iter().zip(&self.mapped) {
                    if let Some(value) = mapped.path.get(record) {
                        field(self.table, *at, value, out);
                    }
                }
                if self.json.is_some() {
                    rest = unmapped(mapping, record);
                }
            }
            None => {
                let own = [self.time, self.tag, self.json];
                for (name, value) in record.iter() {
                    match self.table.find(name).filter(|at| !own.contains(&Some(*at))) {
                        Some(at) => field(self.table, at, *value, out),
                        None => rest.push(name, *value),
                    }
                }
            }
        }
        if let Some(at) = self.time {
            moment(self.table, at, time, out);
        }
        if let Some(at) = self.tag {
            field(self.table, at, Value::str(tag), out);
        }
        match self.json {
            Some(at) => {
                let mut text = Vec::new();
                json::write_record(&rest, &mut text);
                name(self.table, at, out);
                match self.table.columns[at].kind {
                    Kind::Text => json::write_value(Value::Str(&text), out),
                    _ => out.append(&mut text),
                }
                out.push(b',');
            }
            None => self.left_out += rest.len() as u64,
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.extend_from_slice(b"}\n");
        piece.ends.push(piece.text.len());
    }
}

fn name(table: &Table, at: usize, out: &mut Vec<u8>) {
    json::write_value(Value::str(&table.columns[at].name), out);
    out.push(b':');
}

fn field(table: &Table, at: usize, value: Value<'_>, out: &mut Vec<u8>) {
    name(table, at, out);
    match (table.columns[at].kind, value) {
        (Kind::Text, Value::Str(_) | Value::Bin(_) | Value::Nil) => json::write_value(value, out),
        (Kind::Text, value) => {
            let mut text = Vec::new();
            json::write_value(value, &mut text);
            json::write_value(Value::Str(&text), out);
        }
        (_, value) => json::write_value(value, out),
    }
    out.push(b',');
}

/// The time of an event: text in UTC for columns of times and for text, seconds for numbers.
fn moment(table: &Table, at: usize, time: EventTime, out: &mut Vec<u8>) {
    let c = Civil::from_secs(time.secs());
    let day = format!("{:04}-{:02}-{:02}", c.year, c.month, c.day);
    let column = &table.columns[at];
    name(table, at, out);
    match column.kind {
        Kind::Date => json::write_value(Value::str(&day), out),
        Kind::Time | Kind::Text => {
            let fraction = match column.sql.contains("DateTime64") || column.kind == Kind::Text {
                true => format!(".{:09}", time.subsec_nanos()),
                false => String::new(),
            };
            let text = format!("{day}T{:02}:{:02}:{:02}{fraction}Z", c.hour, c.minute, c.second);
            json::write_value(Value::str(&text), out);
        }
        Kind::Other if column.sql.contains("Float") || column.sql.contains("Decimal") => {
            json::write_value(Value::Float(time.as_f64()), out);
        }
        Kind::Other => json::write_value(Value::Int(time.secs()), out),
    }
    out.push(b',');
}
