//! From a chunk's events to rows.

use std::io;
use std::sync::Arc;

use super::schema::{Schema, Style};
use crate::buffer::{Block, Chunk};
use crate::event::{Arena, Entries, Entry, Record, Value, json};
use crate::plugin::{Inject, Render};

/// What makes rows of events.
pub enum Rows {
    /// JSON, by `<inject>` and the columns.
    Json {
        /// What is put into each event.
        inject: Option<Inject>,
        /// A field that the time of sending is put in, behind that.
        stamp: Option<String>,
    },
    /// What a formatter writes, a line for each event.
    Text(Render),
}

impl Rows {
    /// Appends the row of one event, without a line's end.
    pub fn row(&self, block: &Block, entry: &Entry<'_>, schema: Option<&Schema>, style: Style, out: &mut Vec<u8>) {
        let inject = match self {
            Rows::Json { inject, .. } => inject.as_ref(),
            Rows::Text(render) => {
                let alone = Block { tag: block.tag.clone(), entries: block.entries.slice_ref(entry.raw), count: 1 };
                render.block(&alone, out);
                while out.last() == Some(&b'\n') {
                    out.pop();
                }
                return;
            }
        };
        let start = out.len();
        if inject.is_none() && schema.is_none() {
            if json::write_map(entry.record, out).is_err() {
                out.extend_from_slice(b"{}");
            }
            return;
        }
        let arena = Arena::new();
        // Entries were checked when they were taken in.
        if let Ok(mut record) = Record::decode(entry.record, &arena) {
            if let Some(inject) = inject {
                inject.apply(&block.tag, entry.time, &mut record, &arena);
            }
            match schema {
                Some(schema) => schema.write(&record, style, out),
                None => json::write_record(&record, out),
            }
        }
        if out.len() == start {
            out.extend_from_slice(b"{}");
        }
    }

    /// The columns with those that the chunk's events need besides, `most` in all; none where all have theirs.
    ///
    /// Errors: the chunk can't be read.
    pub fn learn(&self, chunk: &Chunk, schema: &Arc<Schema>, most: usize) -> io::Result<Option<Schema>> {
        let Rows::Json { inject, stamp } = self else { return Ok(None) };
        let (mut columns, mut has_grown) = ((**schema).clone(), false);
        for block in chunk.blocks() {
            let block = block?;
            for entry in Entries::new(&block.entries).map_while(Result::ok) {
                let arena = Arena::new();
                let Ok(mut record) = Record::decode(entry.record, &arena) else { continue };
                if let Some(inject) = inject {
                    inject.apply(&block.tag, entry.time, &mut record, &arena);
                }
                has_grown |= columns.learn(&record, most);
            }
        }
        if let Some(field) = stamp {
            let time = [0; 8];
            let mut record = Record::new();
            record.push(field.as_bytes(), Value::Ext(0, &time));
            has_grown |= columns.learn(&record, most);
        }
        Ok(has_grown.then_some(columns))
    }
}
