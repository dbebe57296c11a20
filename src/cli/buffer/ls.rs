//! `suiro buffer ls`: a row per chunk.

use serde::Serialize;

use super::place::Place;
use super::print::{self, Out, Read};
use super::{Failure, Form};
use crate::buffer::inspect::{Piece, State, Stored, StoredChunk, Unreadable};

/// What a row says.
#[derive(Debug, Serialize)]
struct Row {
    chunk: Option<String>,
    state: &'static str,
    events: Option<u64>,
    bytes: Option<u64>,
    /// Seconds since the epoch.
    created: Option<u64>,
    /// Frames and other parts that are damaged; not told where nobody looked.
    damaged: Option<u64>,
    tag: Option<String>,
    key: String,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip)]
    age: String,
}

/// Prints the rows; always in order, whatever they say.
pub fn run(places: &[Place], form: Form, quick: bool) -> Result<bool, Failure> {
    let mut out = Out::new();
    if form == Form::Text {
        let _ = out.line(&line(["CHUNK", "STATE", "EVENTS", "BYTES", "AGE", "DAMAGED", "KEY"]))?;
    }
    for place in places {
        for file in place.look()?.files {
            let Some(row) = row(&file, quick)? else { continue };
            let text = match form {
                Form::Text => row.text(),
                Form::Json => serde_json::to_string(&row).map_err(|e| e.to_string())?,
            };
            if out.line(&text)? == Read::Over {
                return Ok(true);
            }
        }
    }
    let _ = out.flush()?;
    Ok(true)
}

/// Nothing for a file that went away, or has nothing in it yet.
fn row(file: &Stored, quick: bool) -> Result<Option<Row>, Failure> {
    let failed = |e: &dyn std::fmt::Display| format!("can't read {}: {e}", file.path.display());
    let mut row = Row {
        chunk: file.id.map(|id| id.to_string()),
        state: file.state.word(),
        events: file.letter.as_ref().and_then(|letter| letter.events),
        bytes: file.letter.as_ref().map(|letter| letter.bytes),
        created: None,
        damaged: None,
        tag: None,
        key: String::new(),
        file: file.path.display().to_string(),
        cause: file.letter.as_ref().map(|letter| letter.cause.word()),
        age: "-".into(),
    };
    if file.state == State::Piece {
        return Ok(Some(row));
    }
    match file.open() {
        Ok(chunk) => fill(&mut row, &chunk, quick).map_err(|e| failed(&e))?,
        Err(Unreadable::Gone | Unreadable::Empty) => return Ok(None),
        Err(Unreadable::NoChunk(why)) => (row.damaged, row.key) = (Some(1), why),
        Err(Unreadable::Disk(e)) => return Err(failed(&e)),
    }
    Ok(Some(row))
}

fn fill(row: &mut Row, chunk: &StoredChunk, quick: bool) -> std::io::Result<()> {
    row.chunk = Some(chunk.id().to_string());
    row.tag = chunk.key().tag.as_ref().map(|tag| tag.to_string());
    row.key = print::key(chunk.key());
    row.created = chunk.created().duration_since(std::time::UNIX_EPOCH).ok().map(|d| d.as_secs());
    row.age = print::age(chunk.created());
    let (events, bytes) = chunk.count()?;
    (row.events, row.bytes) = (Some(events), Some(bytes));
    if !quick {
        let mut damaged = 0;
        for piece in chunk.pieces() {
            damaged += u64::from(matches!(piece?, Piece::Flaw(_)));
        }
        row.damaged = Some(damaged);
    }
    Ok(())
}

impl Row {
    fn text(&self) -> String {
        let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
        let what = match (&self.cause, self.key.is_empty()) {
            (Some(cause), true) => format!("{cause} {}", self.file),
            (Some(cause), false) => format!("{cause} {}", self.key),
            (None, _) => self.key.clone(),
        };
        let (events, bytes, damaged) = (number(self.events), number(self.bytes), number(self.damaged));
        let chunk = self.chunk.as_deref().unwrap_or("-");
        line([chunk, self.state, &events, &bytes, &self.age, &damaged, &what])
    }
}

fn line([chunk, state, events, bytes, age, damaged, key]: [&str; 7]) -> String {
    format!("{chunk:<32} {state:<9} {events:>9} {bytes:>12} {age:>7} {damaged:>7} {key}").trim_end().to_owned()
}
