//! What an output writes down about a chunk of a file buffer for a later run: beside the chunk's file, gone with it.
//!
//! It is not synced: it is of use after the end of the process, and whoever reads it must check what it says, since a power
//! cut may have taken it or what it speaks of.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use super::chunk::{Chunk, ChunkFile, Source};
use super::env::{Disk, read_full};
use super::files::Folder;
use super::id::ChunkId;

/// Most bytes of a memo.
const MAX_MEMO: usize = 8 << 10;
/// Ends the name of a memo, behind the id of its chunk.
const SUFFIX: &str = ".memo";
/// Ends the name of one that is being written, behind that.
const BEGUN: &str = ".tmp";

fn path(folder: &Folder, id: ChunkId) -> PathBuf {
    folder.path(&format!("{id}{SUFFIX}"))
}

fn begun(folder: &Folder, id: ChunkId) -> PathBuf {
    folder.path(&format!("{id}{SUFFIX}{BEGUN}"))
}

/// Whether a file of this name is one that a killed run had begun to write.
pub(super) fn is_begun(name: &str) -> bool {
    name.strip_suffix(BEGUN).is_some_and(|name| parse_name(name).is_some())
}

/// The chunk that a file of this name has a memo of.
pub(super) fn parse_name(name: &str) -> Option<ChunkId> {
    ChunkId::parse(name.strip_suffix(SUFFIX)?)
}

/// Removes the memo of a chunk, if there is one.
pub(super) fn remove(folder: &Folder, id: ChunkId) -> io::Result<()> {
    match folder.disk.remove(&path(folder, id)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

impl Chunk {
    /// What an output has last written down about the chunk, in this run or an earlier one.
    pub fn memo(&self) -> Option<Vec<u8>> {
        let Source::File(file) = &self.source else { return None };
        let open = file.folder.disk.open(&path(&file.folder, self.id)).ok()?;
        self.has_memo.store(true, Relaxed);
        let mut memo = vec![0; MAX_MEMO];
        let got = read_full(&*open, &mut memo, 0).ok()?;
        memo.truncate(got);
        Some(memo)
    }

    /// Writes down what a later run is to know of a chunk of a file buffer, in place of what was there; for a chunk in memory
    /// there is no later run. A kill leaves what was there or this, whole; a power cut may take or tear both.
    ///
    /// Errors: what the disk says; more than 8 KiB.
    pub fn set_memo(&self, memo: &[u8]) -> io::Result<()> {
        let Source::File(ChunkFile { folder, .. }) = &self.source else { return Ok(()) };
        if memo.len() > MAX_MEMO {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.has_memo.store(true, Relaxed);
        let (disk, begun): (&dyn Disk, _) = (&*folder.disk, begun(folder, self.id));
        let created = disk.create(&begun, folder.file_mode).or_else(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                disk.remove(&begun)?;
                disk.create(&begun, folder.file_mode)
            }
            _ => Err(e),
        });
        created?.append(&[memo])?;
        disk.rename(&begun, &path(folder, self.id))
    }
}
