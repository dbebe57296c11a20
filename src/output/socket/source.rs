//! From a chunk to the bytes of a stream, or to datagrams.

use std::io;

use super::line::Pen;
use crate::buffer::{Block, Chunk};
use crate::event::{Entries, Malformed, RecordPath, json};
use crate::plugin::Render;

/// What is written over a connection.
pub trait Write: Sync {
    /// Writes all of it. May be called again, for another connection, and then writes the same.
    fn write(&self, pen: &mut Pen<'_>) -> impl Future<Output = io::Result<()>> + Send;
}

/// How events become texts.
pub struct Texts {
    /// The formatter.
    pub render: Render,
    /// The one field that is sent, where nothing else is asked for: then no record is taken apart.
    pub field: Option<Field>,
    /// What ends a text in a stream.
    pub delimiter: Vec<u8>,
}

/// A field whose value is a text.
pub struct Field {
    /// Where it is.
    pub path: RecordPath,
    /// Whether the end of its own line is left out.
    pub without_end: bool,
}

impl Texts {
    /// Calls `each` with the text of every event, without a line's end.
    pub fn each(&self, block: &Block, mut each: impl FnMut(&[u8])) {
        self.render.texts(block, |text| each(without_end(text)));
    }

    /// Appends the texts of a block with their delimiters.
    fn append(&self, block: &Block, out: &mut Vec<u8>) {
        let start = out.len();
        if let Some(field) = &self.field {
            match self.append_field(block, field, out) {
                Ok(()) => return,
                // A name that is no text: the record has to be taken apart.
                Err(_) => out.truncate(start),
            }
        }
        self.each(block, |text| {
            out.extend_from_slice(text);
            out.extend_from_slice(&self.delimiter);
        });
    }

    fn append_field(&self, block: &Block, field: &Field, out: &mut Vec<u8>) -> Result<(), Malformed> {
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            if let Some(text) = field.path.find(entry.record)?.and_then(json::text_of) {
                out.extend_from_slice(if field.without_end { without_end(&text) } else { &text });
            }
            out.extend_from_slice(&self.delimiter);
        }
        Ok(())
    }
}

/// A chunk's texts in a stream.
pub struct Streamed<'c> {
    /// The texts.
    pub texts: &'c Texts,
    /// The chunk.
    pub chunk: &'c Chunk,
}

impl Write for Streamed<'_> {
    async fn write(&self, pen: &mut Pen<'_>) -> io::Result<()> {
        let mut out = Vec::new();
        for block in self.chunk.blocks() {
            out.clear();
            self.texts.append(&block?, &mut out);
            pen.bytes(&out).await?;
        }
        Ok(())
    }
}

/// A text without the end of its line.
pub fn without_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}
