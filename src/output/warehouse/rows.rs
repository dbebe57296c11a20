//! From a chunk to data files: each event becomes a row of the file of its partition. Memory is bounded by what the files
//! take packed; a file that has grown large enough is ended and another one begun.

use std::collections::{BTreeMap, HashMap};

use parquet::file::properties::WriterProperties;

use super::fault::Done;
use super::layout::{Key, Layout, Place};
use super::schema::Kind;
use super::sheet::{NEW_FIELD, Sheet, Whole};
use crate::buffer::{Block, Chunk};
use crate::event::{Arena, Entries, EventTime, Record, Tag, Value};
use crate::plugin::Inject;

/// Files that grow at once. When a chunk has more partitions, the fullest is ended.
const MAX_SHEETS: usize = 64;

/// Bytes of all files that grow at once.
const MAX_MEMORY: usize = 256 << 20;

/// How often, in rows, the memory is looked at.
const LOOK_EACH: u64 = 4_096;

/// Fields with strays that are told apart.
const MAX_STRAYS: usize = 16;

/// Columns that a chunk brings, in the order they were first seen.
#[derive(Default)]
pub struct News {
    kinds: Vec<(String, Kind)>,
    places: HashMap<Vec<u8>, usize, foldhash::fast::RandomState>,
}

/// What went to `_rest`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// Values.
    pub count: u64,
    /// Values and reason by field, of the first fields.
    pub fields: BTreeMap<String, (u64, &'static str)>,
}

impl Strays {
    fn add(&mut self, name: &[u8], why: &'static str) {
        self.count += 1;
        let name = String::from_utf8_lossy(name);
        if let Some((count, _)) = self.fields.get_mut(&*name) {
            *count += 1;
        } else if self.fields.len() < MAX_STRAYS {
            self.fields.insert(name.into_owned(), (1, why));
        }
    }
}

/// Calls `each` with every event of a block.
pub fn events(
    block: &Block,
    inject: Option<&Inject>,
    mut each: impl FnMut(EventTime, &Record<'_>) -> Done<()>,
) -> Done<()> {
    let tag: &Tag = &block.tag;
    let mut arena = Arena::new();
    let mut spare = Record::new();
    for entry in Entries::new(&block.entries).map_while(Result::ok) {
        if arena.allocated() > ARENA_BYTES {
            arena = Arena::new();
        }
        let mut record: Record<'_> = spare.recycle();
        if record.decode_into(entry.record, &arena).is_ok() {
            if let Some(inject) = inject {
                inject.apply(tag, entry.time, &mut record, &arena);
            }
            each(entry.time, &record)?;
        }
        spare = record.recycle();
    }
    Ok(())
}

/// Memory of made-up values that is kept from one event to the next.
const ARENA_BYTES: usize = 1 << 20;

impl News {
    /// Looks at an event.
    pub fn look(&mut self, layout: &mut Layout, record: &Record<'_>) {
        for (name, value) in record.iter() {
            let Some(kind) = Kind::of(value) else { continue };
            if layout.place(name) != Place::New {
                continue;
            }
            let valid = !matches!(value, Value::Str(text) if simdutf8::basic::from_utf8(text).is_err());
            match self.places.get(*name) {
                Some(place) => self.kinds[*place].1 = self.kinds[*place].1.and(kind),
                None if !valid || self.kinds.len() >= layout.room() => {}
                None => {
                    self.places.insert(name.to_vec(), self.kinds.len());
                    self.kinds.push((String::from_utf8_lossy(name).into_owned(), kind));
                }
            }
        }
    }

    /// The columns that a chunk asks for and that are not there.
    pub fn of(chunk: &Chunk, inject: Option<&Inject>, layout: &mut Layout) -> Done<Vec<(String, Kind)>> {
        let mut news = News::default();
        for block in chunk.blocks() {
            events(&block?, inject, |_, record| {
                news.look(layout, record);
                Ok(())
            })?;
        }
        Ok(news.kinds)
    }
}

/// The files of a chunk in the making.
pub struct Sheets<'a> {
    layout: &'a mut Layout,
    properties: &'a WriterProperties,
    /// Bytes of a file after which another one is begun.
    target: usize,
    sheets: Vec<Sheet>,
    places: HashMap<Key, usize, foldhash::fast::RandomState>,
    /// The partition of the last row, which the next one is likely to have, too.
    last: Option<(Key, usize)>,
    key: Key,
    rows: u64,
    strays: Strays,
    has_news: bool,
}

impl<'a> Sheets<'a> {
    /// No files yet.
    pub fn new(layout: &'a mut Layout, properties: &'a WriterProperties, target: usize) -> Sheets<'a> {
        Sheets {
            layout,
            properties,
            target,
            sheets: Vec::new(),
            places: HashMap::default(),
            last: None,
            key: Vec::new(),
            rows: 0,
            strays: Strays::default(),
            has_news: false,
        }
    }

    /// Takes an event; gives a file that has become whole.
    pub fn row(&mut self, time: EventTime, record: &Record<'_>) -> Done<Option<Whole>> {
        let micros = time.nanos().div_euclid(1_000);
        self.layout.key(micros, record, &mut self.key);
        let place = match &self.last {
            Some((key, place)) if *key == self.key => *place,
            _ => self.sheet()?,
        };
        let (strays, has_news) = (&mut self.strays, &mut self.has_news);
        self.sheets[place].row(self.layout, time, record, &mut |name, why| {
            *has_news |= why == NEW_FIELD;
            strays.add(name, why);
        })?;
        self.rows += 1;
        match self.rows.is_multiple_of(LOOK_EACH) || self.sheets.len() > MAX_SHEETS {
            true => self.look(),
            false => Ok(None),
        }
    }

    /// The file of the present key, which may be new.
    fn sheet(&mut self) -> Done<usize> {
        let place = match self.places.get(&self.key) {
            Some(place) => *place,
            None => {
                let sheet = Sheet::new(self.layout, self.key.clone(), self.properties)?;
                self.places.insert(self.key.clone(), self.sheets.len());
                self.sheets.push(sheet);
                self.sheets.len() - 1
            }
        };
        self.last = Some((self.key.clone(), place));
        Ok(place)
    }

    /// Ends the fullest file where there are too many, or where it is large enough.
    fn look(&mut self) -> Done<Option<Whole>> {
        let fullest = self.sheets.iter().enumerate().max_by_key(|(_, sheet)| sheet.size());
        let Some((place, size)) = fullest.map(|(place, sheet)| (place, sheet.size())) else { return Ok(None) };
        let memory: usize = self.sheets.iter().map(Sheet::memory).sum();
        if size < self.target && self.sheets.len() <= MAX_SHEETS && memory <= MAX_MEMORY {
            return Ok(None);
        }
        self.last = None;
        let sheet = self.sheets.swap_remove(place);
        self.places.remove(&sheet.key);
        if let Some(moved) = self.sheets.get(place) {
            self.places.insert(moved.key.clone(), place);
        }
        sheet.finish(self.layout).map(Some)
    }

    /// Ends one file after the other.
    pub fn next(&mut self) -> Done<Option<Whole>> {
        self.last = None;
        match self.sheets.pop() {
            Some(sheet) => sheet.finish(self.layout).map(Some),
            None => Ok(None),
        }
    }

    /// Whether there was a field that a column is to be made for.
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// What went to `_rest`.
    pub fn strays(self) -> Strays {
        self.strays
    }
}
