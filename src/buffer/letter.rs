//! Dead letters: whatever is set aside is two files side by side. `NAME` holds the original bytes; `NAME.reason.json` says
//! what they are and why they are there, as one JSON object on one line:
//!
//! ```text
//! version   1
//! cause     one of the words of [`Cause`]
//! reason    what happened, for the operator; at most 64 KiB
//! response  what the target answered, where it did; at most 64 KiB
//! output    the `@id` of the output whose buffer it was
//! time      when it was set aside, UTC
//! chunk     id of the chunk that the bytes are, or are a part of
//! events    how many, where that is known
//! bytes     how many
//! from      the file that the bytes were in, where they were in one
//! offset    where in that file
//! ```
//!
//! A whole chunk (`ID.chunk`) is a chunk file as in `format`. A piece of one (`*.damaged`, `*.tail`) is the bytes that lay
//! at `offset`. The reason is written and synced before the bytes get their name, so a name that is there has its reason.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::id::ChunkId;

/// Version of the reason's form.
const VERSION: u32 = 1;
/// Longest reason, and longest response, that is kept, in bytes: targets may answer at length.
const MAX_TEXT: usize = 64 << 10;
/// How the name of a reason ends, behind the name of what it belongs to.
pub const REASON: &str = ".reason.json";

/// Why something was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The target refused it for good.
    Rejected,
    /// Every retry that the configuration allows has failed.
    RetryLimit,
    /// It was only in memory when the process stopped, and could not be delivered before.
    Shutdown,
    /// Events that are larger than a chunk may be.
    Oversize,
    /// Bytes in a chunk file that do not match their checksum.
    Damaged,
    /// The end of a chunk file that was not wholly written, or was never acknowledged.
    Torn,
    /// A file that is not what its name says.
    Unreadable,
    /// The operator dropped it.
    Dropped,
}

impl Cause {
    /// The word in the reason's file.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Rejected => "rejected",
            Cause::RetryLimit => "retry_limit",
            Cause::Shutdown => "shutdown",
            Cause::Oversize => "oversize",
            Cause::Damaged => "damaged",
            Cause::Torn => "torn",
            Cause::Unreadable => "unreadable",
            Cause::Dropped => "dropped",
        }
    }
}

/// Why a chunk will never be delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Which kind of reason.
    pub cause: Cause,
    /// For the operator.
    pub reason: String,
    /// What the target answered.
    pub response: Option<String>,
}

impl Refusal {
    /// A refusal without an answer of the target.
    pub fn new(cause: Cause, reason: impl Into<String>) -> Refusal {
        Refusal { cause, reason: reason.into(), response: None }
    }
}

/// What the reason beside something that was set aside says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Version of this form.
    pub version: u32,
    /// Which kind of reason.
    pub cause: Cause,
    /// What happened.
    pub reason: String,
    /// What the target answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// The output whose buffer it was.
    pub output: String,
    /// When it was set aside, in RFC 3339.
    pub time: String,
    /// The chunk that the bytes are, or are a part of: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<String>,
    /// Number of events, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Number of bytes.
    pub bytes: u64,
    /// The file that the bytes were in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Where in that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl Letter {
    /// The line that is written.
    pub(super) fn line(&self) -> String {
        // A struct of texts and numbers has no way not to be JSON.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Reads what [`line`](Self::line) gave.
    pub(super) fn read(line: &[u8]) -> Option<Letter> {
        serde_json::from_slice(line).ok()
    }
}

/// What is known of something that is about to be set aside.
#[derive(Clone, Debug)]
pub(super) struct Note {
    refusal: Refusal,
    chunk: Option<ChunkId>,
    events: Option<u64>,
    from: Option<PathBuf>,
    offset: Option<u64>,
}

impl Note {
    pub(super) fn new(cause: Cause, reason: impl Into<String>) -> Note {
        Note::of(Refusal::new(cause, reason))
    }

    pub(super) fn of(refusal: Refusal) -> Note {
        Note { refusal, chunk: None, events: None, from: None, offset: None }
    }

    pub(super) fn chunk(self, id: Option<ChunkId>) -> Note {
        Note { chunk: id, ..self }
    }

    pub(super) fn events(self, events: Option<u64>) -> Note {
        Note { events, ..self }
    }

    pub(super) fn from(self, path: PathBuf, offset: Option<u64>) -> Note {
        Note { from: Some(path), offset, ..self }
    }

    /// The letter of `bytes` bytes, of an output, at a time in microseconds since the epoch.
    pub(super) fn letter(&self, output: &str, bytes: u64, micros: i64) -> Letter {
        // A clock outside of the years that can be written is off anyway.
        let time = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
        Letter {
            version: VERSION,
            cause: self.refusal.cause,
            reason: bounded(&self.refusal.reason),
            response: self.refusal.response.as_deref().map(bounded),
            output: output.to_owned(),
            time: time.to_string(),
            chunk: self.chunk.map(|id| id.to_string()),
            events: self.events,
            bytes,
            from: self.from.clone(),
            offset: self.offset,
        }
    }
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn letters_come_back_from_their_line() {
        let refusal =
            Refusal { response: Some("{\"error\":1}".into()), ..Refusal::new(Cause::Rejected, "400 \"no\"\n") };
        let note = Note::of(refusal).chunk(Some(ChunkId([7; 16]))).events(Some(3)).from("/buf/a".into(), Some(9));
        let letter = note.letter("out", 5, 1_700_000_000_000_001);
        assert_eq!(letter.time, "2023-11-14T22:13:20.000001Z");
        assert_eq!(letter.line().lines().count(), 1);
        assert_eq!(Letter::read(letter.line().as_bytes()), Some(letter));
    }

    #[test]
    fn every_cause_is_written_as_its_word() {
        use Cause::*;
        for cause in [Rejected, RetryLimit, Shutdown, Oversize, Damaged, Torn, Unreadable, Dropped] {
            assert_eq!(serde_json::to_string(&cause).unwrap(), format!("{:?}", cause.word()));
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let letter = Note::new(Cause::Rejected, "é".repeat(MAX_TEXT)).letter("out", 0, 0);
        assert_eq!((letter.reason.len(), letter.time.as_str()), (MAX_TEXT, "1970-01-01T00:00:00Z"));
    }
}
