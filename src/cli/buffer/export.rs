//! `suiro buffer export`: events into a file that needs no suiro to be read.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::message::{self, Body, Message, Sink};
use super::place::Place;
use super::print::{self, quoted};
use super::{Failure, Shape};
use crate::buffer::inspect::{Piece, StoredChunk, Unreadable};

/// Writes the events; gives whether everything could be read.
pub fn run(places: &[Place], shape: Shape, to: Option<&Path>) -> Result<bool, Failure> {
    let Some(path) = to else {
        let mut out = Writer { out: BufWriter::new(io::stdout().lock()) };
        let whole = write(places, shape, &mut out);
        return match out.out.flush() {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(true),
            Err(e) => Err(format!("can't write: {e}")),
            Ok(()) => whole,
        };
    };
    let failed = |e: io::Error| format!("can't write {}: {e}", path.display());
    // What is there already may be the only copy of something.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let mut out = Writer { out: BufWriter::new(file) };
    let whole = write(places, shape, &mut out)?;
    let file = out.out.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(whole)
}

fn write<W: Write>(places: &[Place], shape: Shape, out: &mut Writer<W>) -> Result<bool, Failure> {
    let mut whole = true;
    for place in places {
        for file in place.look()?.files.iter().filter(|file| place.means(file)) {
            match file.open() {
                Ok(chunk) => whole &= out.chunk(&chunk, shape)?,
                Err(Unreadable::Gone | Unreadable::Empty) => {}
                Err(e) => {
                    eprintln!("suiro: {}: {e}", file.path.display());
                    whole = false;
                }
            }
        }
    }
    Ok(whole)
}

struct Writer<W: Write> {
    out: W,
}

impl<W: Write> Sink for Writer<W> {
    fn message(&mut self, message: &Message, body: Body<'_>) -> Result<(), Failure> {
        message.write(body, &mut self.out)
    }
}

impl<W: Write> Writer<W> {
    fn chunk(&mut self, chunk: &StoredChunk, shape: Shape) -> Result<bool, Failure> {
        if shape == Shape::Msgpack {
            let (_, flaws) = message::give(chunk, self)?;
            message::complain(chunk, &flaws);
            return Ok(flaws.is_empty());
        }
        let (head, mut whole) = (format!("\"chunk\":{},", quoted(&chunk.id().to_string())), true);
        for piece in chunk.pieces() {
            match piece.map_err(|e| format!("can't read {}: {e}", chunk.path().display()))? {
                Piece::Block { block, .. } => {
                    let mut lines = Vec::new();
                    print::events(&block, &head, u64::MAX, &mut lines);
                    self.out.write_all(&lines).map_err(|e| format!("can't write: {e}"))?;
                }
                Piece::Flaw(flaw) => {
                    whole = false;
                    message::complain(chunk, &[flaw]);
                }
            }
        }
        Ok(whole)
    }
}
