//! `suiro buffer verify`: every frame of every chunk is checked.

use std::path::Path;

use serde::Serialize;

use super::place::Place;
use super::print::{Out, Read};
use super::{Failure, Form};
use crate::buffer::inspect::{Flaw, Piece, State, Stored, Unreadable};

/// What a row says.
#[derive(Serialize)]
struct Row<'a> {
    file: String,
    chunk: Option<String>,
    offset: u64,
    bytes: u64,
    events: Option<u32>,
    reason: &'a str,
}

/// Checks; gives whether all was in order.
pub fn run(places: &[Place], form: Form) -> Result<bool, Failure> {
    let mut check = Check { out: Out::new(), form, flaws: 0, files: 0, events: 0, read: Read::On };
    for place in places {
        let contents = place.look()?;
        if let Some((path, why)) = contents.journal {
            check.flaw(&path, None, &Flaw { at: 0, len: 0, events: None, reason: why })?;
        }
        for file in contents.files.iter().filter(|file| place.means(file) && file.state != State::Piece) {
            check.file(file)?;
            if check.read == Read::Over {
                return Ok(check.flaws == 0);
            }
        }
    }
    check.end()
}

struct Check {
    out: Out,
    form: Form,
    flaws: u64,
    files: u64,
    events: u64,
    read: Read,
}

impl Check {
    fn file(&mut self, file: &Stored) -> Result<(), Failure> {
        let chunk = match file.open() {
            Ok(chunk) => chunk,
            // Made a moment ago, or delivered; a start removes empty files.
            Err(Unreadable::Gone | Unreadable::Empty) => return Ok(()),
            Err(Unreadable::Disk(e)) => return Err(format!("can't read {}: {e}", file.path.display())),
            Err(e @ Unreadable::NoChunk(_)) => {
                let size = file.path.metadata().map_or(0, |m| m.len());
                return self.flaw(
                    &file.path,
                    Some(file),
                    &Flaw { at: 0, len: size, events: None, reason: e.to_string() },
                );
            }
        };
        self.files += 1;
        for piece in chunk.pieces() {
            match piece.map_err(|e| format!("can't read {}: {e}", chunk.path().display()))? {
                Piece::Block { block, .. } => self.events += u64::from(block.count),
                Piece::Flaw(flaw) => self.flaw(chunk.path(), Some(file), &flaw)?,
            }
        }
        Ok(())
    }

    fn flaw(&mut self, path: &Path, file: Option<&Stored>, flaw: &Flaw) -> Result<(), Failure> {
        self.flaws += 1;
        let events = flaw.events.map(|n| format!(" with {n} events")).unwrap_or_default();
        let text = match self.form {
            Form::Text => {
                format!("{}: offset {}: {} bytes{events}: {}", path.display(), flaw.at, flaw.len, flaw.reason)
            }
            Form::Json => serde_json::to_string(&Row {
                file: path.display().to_string(),
                chunk: file.and_then(|file| file.id).map(|id| id.to_string()),
                offset: flaw.at,
                bytes: flaw.len,
                events: flaw.events,
                reason: &flaw.reason,
            })
            .map_err(|e| e.to_string())?,
        };
        self.read = self.out.line(&text)?;
        Ok(())
    }

    fn end(mut self) -> Result<bool, Failure> {
        let sound = self.flaws == 0;
        if self.form == Form::Text {
            let found = if sound { "no damage".to_owned() } else { format!("{} damaged places", self.flaws) };
            let _ = self.out.line(&format!("{} chunks with {} good events: {found}", self.files, self.events))?;
        }
        let _ = self.out.flush()?;
        Ok(sound)
    }
}
