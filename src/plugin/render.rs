//! From a chunk's blocks to a target's text: `<inject>`, then `<format>`.

use std::sync::Arc;

use super::contract::{Formatter, WholeFile, WholeFormat};
use super::inject::Inject;
use crate::buffer::Block;
use crate::event::{Arena, Entries, Entry, EventTime, Record, Tag};

/// Formatter and injection of one output.
pub struct Render {
    formatter: Arc<dyn Formatter>,
    inject: Option<Inject>,
}

impl Render {
    /// Of a formatter and what is injected before it.
    pub fn new(formatter: Arc<dyn Formatter>, inject: Option<Inject>) -> Render {
        Render { formatter, inject }
    }

    /// Appends all events of a block to `out`.
    pub fn block(&self, block: &Block, out: &mut Vec<u8>) {
        match self.inject {
            None => self.formatter.format_entries(&block.tag, &block.entries, &Arena::new(), out),
            Some(_) => self.each(block, |tag, entry, arena| self.entry(tag, &entry, arena, out)),
        }
    }

    /// Calls `each` with the text of every event.
    pub fn texts(&self, block: &Block, mut each: impl FnMut(&[u8])) {
        let mut text = Vec::new();
        self.each(block, |tag, entry, arena| {
            text.clear();
            self.entry(tag, &entry, arena, &mut text);
            each(&text);
        });
    }

    /// The format of whole files, where it is one.
    pub fn whole(&self) -> Option<&dyn WholeFormat> {
        self.formatter.whole()
    }

    /// Shows every event of a block to a file that is about to be written.
    pub fn look(&self, block: &Block, file: &mut dyn WholeFile) {
        self.records(block, |tag, time, record| file.look(tag, time, record));
    }

    /// Writes every event of a block to such a file.
    ///
    /// Errors: as [`WholeFile::write`].
    pub fn write(&self, block: &Block, file: &mut dyn WholeFile, out: &mut Vec<u8>) -> Result<(), String> {
        let mut outcome = Ok(());
        self.records(block, |tag, time, record| {
            if outcome.is_ok() {
                outcome = file.write(tag, time, record, out);
            }
        });
        outcome
    }

    fn records(&self, block: &Block, mut each: impl FnMut(&Tag, EventTime, &Record<'_>)) {
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            let arena = Arena::new();
            let Ok(mut record) = Record::decode(entry.record, &arena) else { continue };
            if let Some(inject) = &self.inject {
                inject.apply(&block.tag, entry.time, &mut record, &arena);
            }
            each(&block.tag, entry.time, &record);
        }
    }

    fn each(&self, block: &Block, mut each: impl FnMut(&Tag, Entry<'_>, &Arena)) {
        let arena = Arena::new();
        // Entries were checked when they were taken in; a block is whole or its checksum does not match.
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            each(&block.tag, entry, &arena);
        }
    }

    fn entry(&self, tag: &Tag, entry: &Entry<'_>, arena: &Arena, out: &mut Vec<u8>) {
        let Some(inject) = &self.inject else {
            return self.formatter.format_entry(tag, entry, arena, out);
        };
        if let Ok(mut record) = Record::decode(entry.record, arena) {
            inject.apply(tag, entry.time, &mut record, arena);
            self.formatter.format(tag, entry.time, &record, out);
        }
    }
}
