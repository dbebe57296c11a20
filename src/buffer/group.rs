//! One group of appends: written, synced and acknowledged together, or taken back together.
//!
//! The steps, and what a crash right after each leaves for `recovery`:
//!
//! 1. New files are made, all frames are written. What is left of them is torn, whole or gone: torn ends are cut off, a
//!    whole frame of an append with several of them (PARTIAL) is set aside, any other is kept; nobody was answered.
//! 2. All touched files are synced, many at once. As before, but nothing is torn.
//! 3. The directory is synced if a file is new. Now all frames are there after any crash.
//! 4. If there are PARTIAL frames, the watermark is raised past the group and synced. Now they count.
//! 5. The group counts: **from here on its sources may be answered** (in `Writer::append`).
//! 6. Full chunks get a footer and another name, and are handed out. A crash before their directory is synced shows them
//!    as staged: they are sealed then, with the same frames, and take no more.
//!
//! When a step fails, the whole group is taken back: new files are removed, the others cut to where they were, and both
//! is synced. Where that fails too, the group's number is recorded as aborted, so that recovery refuses its frames; and
//! where even that fails, nothing more is taken until a restart.

use std::io;

use tracing::error;

use super::config::{MAX_OPEN_FILES, MAX_STAGED_CHUNKS};
use super::error::BufferError;
use super::files::{Folder, StagedFile};
use super::id::ChunkId;
use super::journal::Record;
use super::shared::Reservation;
use super::staged::{Body, Open};
use super::writer::{Append, Files, Writer};

/// Files that are synced one after the other; more of them are synced at once.
const SYNCED_IN_TURN: usize = 3;
/// Most threads that sync at once: a journalling file system makes one commit of what comes together.
const SYNCING_THREADS: usize = 16;

/// What went wrong with a group, and with which chunk.
pub(super) struct Fault {
    pub(super) chunk: Option<ChunkId>,
    pub(super) error: BufferError,
}

impl Writer {
    /// Writes and syncs the fresh frames of all touched chunks. Only then may they be acknowledged.
    pub(super) fn persist(&mut self, touched: &[ChunkId], partial: bool) -> Result<(), Fault> {
        let Some(mut files) = self.files.take() else { return Ok(()) };
        let result = self.persist_in(&mut files, touched, partial);
        self.files = Some(files);
        result
    }

    fn persist_in(&mut self, files: &mut Files, touched: &[ChunkId], partial: bool) -> Result<(), Fault> {
        let mut made = false;
        for wave in touched.chunks(MAX_OPEN_FILES) {
            self.make_descriptors(wave.len());
            for id in wave {
                made |= self.write(&files.folder, *id)?;
            }
            self.sync(&files.folder, wave)?;
        }
        let folder = &files.folder;
        if made {
            folder.sync().map_err(|e| Fault::in_folder("sync", folder, e))?;
        }
        if partial {
            let whole = files.journal.append(&[Record::Watermark(self.group)], &self.shared.known);
            whole.map_err(|e| Fault::in_folder("write the journal in", folder, e))?;
        }
        Ok(())
    }

    /// Closes files where there would be too many open ones.
    fn make_descriptors(&mut self, wanted: usize) {
        let held = self.open.values_mut().filter_map(Open::file).filter(|f| f.is_open()).count();
        if held + wanted > MAX_OPEN_FILES {
            self.open.values_mut().filter_map(Open::file).for_each(StagedFile::release);
        }
    }

    /// Writes the fresh frames of a chunk; gives whether its file is new.
    fn write(&mut self, folder: &Folder, id: ChunkId) -> Result<bool, Fault> {
        let Some(open) = self.open.get_mut(&id) else { return Ok(false) };
        let header = open.header(id);
        let Body::File(file) = &mut open.body else { return Ok(false) };
        let new = file.is_new();
        let written = file.write(folder, &header, &open.fresh, self.group);
        written.map_err(|e| Fault::in_file(id, "write", file, e))?;
        Ok(new)
    }

    fn sync(&mut self, folder: &Folder, touched: &[ChunkId]) -> Result<(), Fault> {
        let open = self.open.iter_mut().filter(|(id, _)| touched.binary_search(id).is_ok());
        let mut files: Vec<(ChunkId, &mut StagedFile)> =
            open.filter_map(|(id, open)| Some((*id, open.file()?))).collect();
        if files.len() <= SYNCED_IN_TURN || self.shared.env.inline {
            return sync_in_turn(folder, &mut files);
        }
        let share = files.len().div_ceil(SYNCING_THREADS);
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                files.chunks_mut(share).map(|some| scope.spawn(move || sync_in_turn(folder, some))).collect();
            let results = threads.into_iter().map(|thread| thread.join());
            let results: Vec<_> = results.map(|r| r.unwrap_or_else(|_| Err(Fault::of_thread(folder)))).collect();
            results.into_iter().collect()
        })
    }

    /// The group is durable.
    pub(super) fn keep(&mut self, touched: &[ChunkId], group: &mut [Append]) {
        let mut new = Vec::new();
        for id in touched {
            let Some(open) = self.open.get_mut(id) else { continue };
            if open.total.count == 0 {
                new.push(open.key.time);
            }
            open.keep_fresh(self.group);
        }
        let mut origins = self.shared.origins();
        group.iter().for_each(|append| origins.note(&append.origin));
        drop(origins);
        self.shared.ledger().keep(self.group);
        let mut rooms: Vec<&mut Reservation> = group.iter_mut().map(|a| &mut a.room).collect();
        self.shared.stored(&mut rooms, &new);
        while self.stage.len() > MAX_STAGED_CHUNKS
            && let Some(oldest) = self.open.iter().find(|(_, open)| !open.sealing).map(|(id, _)| *id)
        {
            self.unstage(oldest);
        }
    }

    /// The group failed: nothing of it may stay.
    pub(super) fn take_back(&mut self, touched: &[ChunkId], fault: &Fault) {
        let mut clean = true;
        self.shared.ledger().take_back();
        for id in touched {
            let Some(open) = self.open.get_mut(id) else { continue };
            open.drop_fresh();
            let new = open.total.count == 0;
            let mut poisoned = false;
            if let (Some(files), Body::File(file)) = (&self.files, &mut open.body) {
                clean &= file.take_back(&files.folder).is_ok();
                poisoned = file.poisoned;
            }
            if new {
                self.forget_new(*id);
            } else if poisoned {
                self.unstage(*id);
            }
        }
        // A full disk says nothing against the file; any other failure closes it to new frames.
        if let Some(id) = fault.chunk
            && !matches!(fault.error, BufferError::DiskFull { .. })
        {
            self.unstage(id);
        }
        // If descriptors are what is short, this is what helps.
        self.open.values_mut().filter_map(Open::file).for_each(StagedFile::release);
        if let Some(files) = &mut self.files {
            clean &= files.folder.sync().is_ok();
            if !clean {
                self.broken = files.journal.append(&[Record::Aborted(self.group)], &self.shared.known).is_err();
            }
        }
        if self.broken {
            error!("{}: {}: {}", self.shared.config.id, fault.error, BufferError::Broken);
        }
    }

    fn forget_new(&mut self, id: ChunkId) {
        let Some(open) = self.open.remove(&id) else { return };
        self.unschedule(id, &open);
        if self.stage.get(&open.key) == Some(&id) {
            self.stage.remove(&open.key);
        }
        self.sealing.retain(|other| *other != id);
    }
}

/// Syncs files; each is tried, and the first failure is told.
fn sync_in_turn(folder: &Folder, files: &mut [(ChunkId, &mut StagedFile)]) -> Result<(), Fault> {
    let mut result = Ok(());
    for (id, file) in files {
        let synced = file.sync(folder).map_err(|e| Fault::in_file(*id, "sync", file, e));
        result = result.and(synced);
    }
    result
}

impl Fault {
    fn of_thread(folder: &Folder) -> Fault {
        Fault::in_folder("sync files in", folder, io::Error::other("a thread failed"))
    }

    fn in_file(chunk: ChunkId, doing: &'static str, file: &StagedFile, e: io::Error) -> Fault {
        Fault { chunk: Some(chunk), error: BufferError::disk(doing, &file.path, e) }
    }

    fn in_folder(doing: &'static str, folder: &Folder, e: io::Error) -> Fault {
        Fault { chunk: None, error: BufferError::disk(doing, &folder.dir, e) }
    }
}
