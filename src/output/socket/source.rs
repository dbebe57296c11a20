//! From a chunk to the bytes of a stream, or to datagrams.

use std::io::{self, IoSlice};

use super::line::Pen;
use crate::buffer::{Block, Chunk};
use crate::event::{Entries, RecordPath, Value};
use crate::plugin::Render;

/// Slices handed to the kernel in one call; Linux takes 1,024.
const MAX_SLICES: usize = 1024;
/// Bytes handed over in one call, as long as there are more.
const MAX_BATCH: usize = 1 << 20;

/// What is written over a connection.
pub trait Write: Sync {
    /// Writes all of it. May be called again, for another connection, and then writes the same.
    fn write(&self, pen: &mut Pen<'_>) -> impl Future<Output = io::Result<()>> + Send;
}

/// How events become texts.
pub struct Texts {
    /// The formatter.
    pub render: Render,
    /// The one field that is sent as it stands, where nothing else is asked for: such texts are not copied.
    pub field: Option<RecordPath>,
    /// What ends a text in a stream.
    pub delimiter: Vec<u8>,
}

impl Texts {
    /// Calls `each` with the text of every event, without a line's end.
    pub fn each(&self, block: &Block, mut each: impl FnMut(&[u8])) {
        self.render.texts(block, |text| each(without_end(text)));
    }

    /// The texts of a block with their delimiters.
    fn rendered(&self, block: &Block) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.entries.len());
        self.each(block, |text| {
            out.extend_from_slice(text);
            out.extend_from_slice(&self.delimiter);
        });
        out
    }

    /// Texts of a field and their delimiters, as they lie in the block; `None` where one of them is no text.
    fn slices<'b>(&'b self, block: &'b Block, field: &RecordPath) -> Option<Vec<IoSlice<'b>>> {
        let mut slices = Vec::with_capacity(2 * block.count as usize);
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            match field.find(entry.record) {
                Ok(Some(Value::Str(text) | Value::Bin(text))) => slices.push(IoSlice::new(text)),
                Ok(None | Some(Value::Nil)) => {}
                _ => return None,
            }
            slices.push(IoSlice::new(&self.delimiter));
        }
        Some(slices)
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
        for block in self.chunk.blocks() {
            let block = block?;
            let slices = self.texts.field.as_ref().and_then(|field| self.texts.slices(&block, field));
            match slices {
                Some(mut slices) => {
                    let mut rest = &mut slices[..];
                    while !rest.is_empty() {
                        let (some, more) = rest.split_at_mut(run(rest));
                        pen.slices(some).await?;
                        rest = more;
                    }
                }
                None => pen.bytes(&self.texts.rendered(&block)).await?,
            }
        }
        Ok(())
    }
}

/// How many slices go out in one call.
fn run(slices: &[IoSlice<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |slice: &&IoSlice<'_>| {
        let begun = bytes < MAX_BATCH;
        bytes += slice.len();
        begun
    };
    slices.iter().take(MAX_SLICES).take_while(fits).count()
}

/// A text without the end of its line.
pub fn without_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}
