//! Chunks as messages of the forward protocol, for a file or a socket: `[tag, entries, {size, compressed, chunk}]`.
//!
//! A chunk with one tag is one message under the chunk's own id, as the `forward` output sends it: a receiver that
//! has it from there drops the second. A chunk of many tags is a message per block, each under the chunk's id and the block's
//! offset. Both are the same whenever they are made.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Failure;
use crate::buffer::Block;
use crate::buffer::inspect::{Flaw, Piece, StoredChunk};
use crate::event::{Packing, Tag};
use crate::net::forward::{packed_header, packed_trailer};

/// A message of entries that are not packed.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its tag.
    pub tag: Tag,
    /// What its receiver knows it by.
    pub id: String,
    /// Bytes of its entries.
    pub len: u64,
    /// Its events.
    pub count: u64,
}

/// Takes messages.
pub trait Sink {
    /// Takes one; `body` writes its entries.
    fn message(&mut self, message: &Message, body: Body<'_>) -> Result<(), Failure>;
}

/// Writes the entries of a message.
pub type Body<'b> = &'b mut dyn FnMut(&mut dyn Write) -> io::Result<()>;

impl Message {
    /// Writes the whole message.
    pub fn write(&self, body: Body<'_>, out: &mut dyn Write) -> Result<(), Failure> {
        let too_long = || format!("{} bytes are too many for one message", self.len);
        let header = packed_header(&self.tag, self.len).ok_or_else(too_long)?;
        let trailer = packed_trailer(self.count, Packing::Plain, Some(&self.id));
        let written = out.write_all(&header).and_then(|()| body(out)).and_then(|()| out.write_all(&trailer));
        written.map_err(|e| format!("can't write: {e}"))
    }
}

/// Gives the messages of a chunk to `sink`; gives the events in them, and what is wrong with the chunk.
pub fn give(chunk: &StoredChunk, sink: &mut dyn Sink) -> Result<(u64, Vec<Flaw>), Failure> {
    let failed = |e: io::Error| format!("can't read {}: {e}", chunk.path().display());
    let mut id = STANDARD.encode(chunk.id().0);
    let (mut len, mut count, mut flaws) = (0, 0, Vec::new());
    for piece in chunk.pieces() {
        match (piece.map_err(failed)?, &chunk.key().tag) {
            (Piece::Flaw(flaw), _) => flaws.push(flaw),
            (Piece::Block { block, .. }, Some(_)) => {
                len += block.entries.len() as u64;
                count += u64::from(block.count);
            }
            (Piece::Block { at, block }, None) => {
                count += u64::from(block.count);
                block_message(&block, format!("{id}.{at}"), sink)?;
            }
        }
    }
    if let (Some(tag), true) = (chunk.key().tag.clone(), count > 0) {
        id.shrink_to_fit();
        sink.message(&Message { tag, id, len, count }, &mut |out| entries(chunk, len, out))?;
    }
    Ok((count, flaws))
}

fn block_message(block: &Block, id: String, sink: &mut dyn Sink) -> Result<(), Failure> {
    let (len, count) = (block.entries.len() as u64, u64::from(block.count));
    let message = Message { tag: block.tag.clone(), id, len, count };
    sink.message(&message, &mut |out| out.write_all(&block.entries))
}

/// Writes the good entries, which must be as many bytes as they were when they were counted.
fn entries(chunk: &StoredChunk, mut left: u64, out: &mut dyn Write) -> io::Result<()> {
    let changed = || io::Error::other("the chunk changed while it was read; try again");
    for piece in chunk.pieces() {
        if let Piece::Block { block, .. } = piece? {
            left = left.checked_sub(block.entries.len() as u64).ok_or_else(changed)?;
            out.write_all(&block.entries)?;
        }
    }
    if left > 0 { Err(changed()) } else { Ok(()) }
}

/// Says on standard error what is wrong with a chunk.
pub fn complain(chunk: &StoredChunk, flaws: &[Flaw]) {
    for flaw in flaws {
        eprintln!("suiro: {}: offset {}: {} bytes: {}", chunk.path().display(), flaw.at, flaw.len, flaw.reason);
    }
}
