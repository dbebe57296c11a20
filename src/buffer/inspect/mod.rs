//! A look at what a buffer has on the disk, from outside: nothing here writes, and a process that owns the directory is not
//! disturbed. Files may grow, get another name or vanish while they are looked at.
//!
//! [`survey`] tells what lies in a directory, [`Stored::open`] looks into one file, [`StoredChunk::pieces`] reads it frame
//! by frame, about 2 MiB at a time, and says what is wrong with it. [`accounts`] is the ledger.

mod accounts;
mod stored;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{self, ReadDisk};
use super::env::{Disk, EntryKind, read_full};
use super::files::{BACKUP, LOCK, parse_name};
use super::id::ChunkId;
use super::journal::{self, Remembered};
use super::letter::{Letter, REASON};

pub use accounts::accounts;
pub use stored::{Flaw, Piece, Pieces, StoredChunk, Unreadable};

/// Most bytes of a reason's file that are read.
const MAX_REASON_FILE: usize = 1 << 20;

/// What a file of a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A chunk that takes more events.
    Staged,
    /// A chunk that waits to be delivered.
    Sealed,
    /// A chunk that was delivered and whose file is still there: the next start removes it.
    Delivered,
    /// A whole chunk file among what was set aside.
    SetAside,
    /// A part of a chunk file, or something else, among what was set aside.
    Piece,
}

impl State {
    /// The word for listings.
    pub fn word(self) -> &'static str {
        match self {
            State::Staged => "staged",
            State::Sealed => "sealed",
            State::Delivered => "delivered",
            State::SetAside => "set-aside",
            State::Piece => "piece",
        }
    }
}

/// A file that belongs to a buffer.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where it is.
    pub path: PathBuf,
    /// What it is, by its name and the journal.
    pub state: State,
    /// The chunk that its name, or its letter, stands for.
    pub id: Option<ChunkId>,
    /// What is written beside it.
    pub letter: Option<Letter>,
    /// A process owns the directory: the file may change.
    live: bool,
    /// What the journal of a directory without an owner says of frames that were never acknowledged.
    known: Option<Arc<Remembered>>,
}

/// What lies in a directory.
#[derive(Debug)]
pub struct Survey {
    /// Who owns the directory, in its own words (`pid 12 on host`).
    pub owner: Option<String>,
    /// Files by chunk id: chunks, then what was set aside.
    pub files: Vec<Stored>,
    /// The journal, and what is wrong with it.
    pub journal_flaw: Option<(PathBuf, String)>,
}

/// Looks through a buffer's directory and its `backup`, or through a directory of what was set aside.
///
/// Errors: the directory can't be read.
pub fn survey(dir: &Path) -> io::Result<Survey> {
    let owner = disk::owner(&dir.join(LOCK))?;
    let mut survey = Survey { owner, files: Vec::new(), journal_flaw: None };
    let mut known = None;
    // Of a living journal neither the end nor the age is known.
    if survey.owner.is_none() {
        let remembered = journal::read(&ReadDisk, dir);
        survey.journal_flaw = remembered.fault.clone().map(|fault| (dir.join(journal::JOURNAL), fault));
        known = Some(Arc::new(remembered));
    }
    let live = survey.owner.is_some();
    for name in files_in(dir)? {
        survey.files.extend(stored(dir, &name, live, known.as_ref()));
    }
    let backup = dir.join(BACKUP);
    if backup.is_dir() {
        for name in files_in(&backup)? {
            survey.files.extend(stored(&backup, &name, false, None));
        }
    }
    survey.files.sort_by(|a, b| order(a).cmp(&order(b)));
    Ok(survey)
}

/// One file, whatever directory it is in; nothing where its name is not that of a buffer's file.
pub fn file(path: &Path) -> io::Result<Option<Stored>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let live = disk::owner(&dir.join(LOCK))?.is_some();
    let known = (!live).then(|| Arc::new(journal::read(&ReadDisk, dir)));
    Ok(stored(dir, &name.to_string_lossy(), live, known.as_ref()))
}

fn order(stored: &Stored) -> (bool, Option<ChunkId>, &Path) {
    (matches!(stored.state, State::SetAside | State::Piece), stored.id, &stored.path)
}

fn files_in(dir: &Path) -> io::Result<Vec<String>> {
    let entries = ReadDisk.list(dir)?;
    Ok(entries.into_iter().filter(|entry| entry.kind == EntryKind::File).map(|entry| entry.name).collect())
}

fn stored(dir: &Path, name: &str, live: bool, known: Option<&Arc<Remembered>>) -> Option<Stored> {
    if name.ends_with(REASON) || name.ends_with(".tmp") {
        return None;
    }
    let letter = letter(dir, name);
    let told = letter.as_ref().and_then(|letter| ChunkId::parse(letter.chunk.as_deref()?));
    let whole = name.strip_suffix(".chunk").and_then(ChunkId::parse);
    let (state, id) = match (parse_name(name), whole) {
        (Some((id, _)), _) if letter.is_some() => (State::SetAside, Some(id)),
        (Some((id, _)), _) if known.is_some_and(|known| known.gone.contains(&id)) => (State::Delivered, Some(id)),
        (Some((id, sealed)), _) => (if sealed { State::Sealed } else { State::Staged }, Some(id)),
        (None, Some(id)) => (State::SetAside, Some(id)),
        (None, None) if letter.is_some() => (State::Piece, told),
        (None, None) => return None,
    };
    Some(Stored { path: dir.join(name), state, id, letter, live, known: known.cloned() })
}

fn letter(dir: &Path, name: &str) -> Option<Letter> {
    let file = ReadDisk.open(&dir.join(format!("{name}{REASON}"))).ok()?;
    let size = usize::try_from(file.size().ok()?).ok()?.min(MAX_REASON_FILE);
    let mut line = vec![0; size];
    let got = read_full(&*file, &mut line, 0).ok()?;
    Letter::read(&line[..got])
}
