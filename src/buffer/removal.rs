//! The end of a chunk: delivered, dropped or set aside. What must be remembered of it is durable before its file goes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tracing::warn;

use super::chunk::{Chunk, ChunkFile, Source};
use super::files::{read_footer, read_origins};
use super::freeing;
use super::journal::Record;
use super::ledger::{Apart, Fate, Settled};
use super::letter::{Cause, Note, Refusal};
use super::memo;
use super::origin::Origin;
use super::shared::Shared;
use super::writer::{Files, Writer};

impl Writer {
    /// Forgets chunks that were delivered or dropped: first their origins are durable, then their files go. `apart`: events of
    /// the only chunk that ended otherwise.
    pub(super) fn remove(&mut self, chunks: Vec<Arc<Chunk>>, fate: Fate, apart: Option<&Apart>) {
        let settled: Vec<Settled> = chunks.iter().flat_map(|chunk| settled(&self.shared, chunk, fate, apart)).collect();
        if let Some(files) = &mut self.files {
            let gone: Vec<&Chunk> = chunks.iter().map(|chunk| &**chunk).collect();
            gone.iter().for_each(|chunk| files.journal.halfway(chunk.id, Vec::new()));
            let noted = note(files, &self.shared, &gone, &settled, true);
            // Where the disk was full, what comes next needs the room.
            let at_once = files.journal.is_short() || self.shared.env.inline;
            for chunk in &chunks {
                remove_file(files, chunk, at_once);
            }
            if noted.is_err() {
                // The files that went have made room. Should this fail too, the directory alone says they are gone.
                let records = settled.iter().cloned().map(Record::Settled);
                let records: Vec<Record> = records.chain(chunks.iter().map(|chunk| Record::Gone(chunk.id))).collect();
                let again = files.journal.renew_with(&records, &self.shared.known);
                if let Err(e) = again.and_then(|()| files.folder.sync()) {
                    warn!("{}: delivered chunks may be sent again after a crash: {e}", self.shared.config.id);
                }
            }
            files.journal.restore_reserve();
        }
        self.shared.ledger().settle(&settled);
        for chunk in chunks {
            // The room of what was dropped to make room is free already.
            if fate != Fate::Overflow {
                self.shared.forget(&chunk);
            }
            // Whoever waits for what is lost learns of it when the chunk goes.
            if fate != Fate::Lost {
                chunk.done.tell();
            }
        }
    }

    /// Forgets a chunk that was set aside.
    pub(super) fn forget(&mut self, chunk: &Chunk, cause: Cause) {
        let settled = settled(&self.shared, chunk, Fate::SetAside(cause), None);
        self.shared.ledger().settle(&settled);
        self.shared.forget(chunk);
        chunk.done.tell();
    }

    /// Brings a chunk's file to the backup directory. On failure the chunk stays where it is.
    pub(super) fn set_aside(&mut self, chunk: &Chunk, refusal: &Refusal) -> io::Result<()> {
        let (Some(files), Source::File(file)) = (&mut self.files, &chunk.source) else { return Ok(()) };
        let aside = files.folder.aside_in(self.shared.config.backup_dir.clone());
        let settled = settled(&self.shared, chunk, Fate::SetAside(refusal.cause), None);
        note(files, &self.shared, &[chunk], &settled, false)?;
        trim(file, chunk)?;
        let (name, path) = (format!("{}.chunk", chunk.id), file.path());
        remove_memo(files, chunk);
        let kept = Note::of(refusal.clone()).chunk(Some(chunk.id)).events(Some(chunk.count)).from(path.clone(), None);
        let taken = aside.take(&path, &name, &kept).or_else(|_| {
            files.journal.release_reserve();
            aside.take(&path, &name, &kept)
        });
        files.journal.halfway(chunk.id, if taken.is_err() { settled } else { Vec::new() });
        taken
    }
}

/// Cuts off what lies behind the acknowledged frames and could not be cut at the start: in a file that is set aside
/// nothing would tell it from them.
fn trim(file: &ChunkFile, chunk: &Chunk) -> io::Result<()> {
    let open = file.open()?;
    let size = open.size()?;
    if size <= file.end || read_footer(&*open, chunk.id)?.is_some() {
        return Ok(());
    }
    let reason = format!("what was behind the last good frame of chunk {}", chunk.id);
    let note = Note::new(Cause::Torn, reason).chunk(Some(chunk.id)).from(file.path(), Some(file.end));
    let name = format!("{}.{}.tail", chunk.id, file.end);
    file.folder.aside().copy(&*open, file.end, size - file.end, &name, &note)?;
    open.truncate(file.end)?;
    open.sync()
}

/// What the ledger is to say of a chunk that ends so.
pub(super) fn settled(shared: &Shared, chunk: &Chunk, fate: Fate, apart: Option<&Apart>) -> Vec<Settled> {
    // What can't be read is kept with the chunk where that is set aside as a whole.
    let unread = if matches!(fate, Fate::SetAside(_)) { 0 } else { chunk.unread.load(Relaxed) };
    shared.ledger().settled(chunk.id, &chunk.shares, fate, apart, unread)
}

/// Records the origins of chunks, what the ledger says of them, and `gone` of them.
fn note(files: &mut Files, shared: &Shared, chunks: &[&Chunk], settled: &[Settled], gone: bool) -> io::Result<()> {
    let mut records: Vec<Record> = settled.iter().cloned().map(Record::Settled).collect();
    let mut unread = false;
    for chunk in chunks {
        match origins_of(chunk) {
            Ok(origins) => records.extend(origins.into_iter().map(Record::Origin)),
            Err(_) => unread = true,
        }
        if gone {
            records.push(Record::Gone(chunk.id));
        }
    }
    // What a file does not tell any more is among all that the buffer remembers.
    match unread {
        true => files.journal.renew_with(&records, &shared.known),
        false if records.is_empty() => Ok(()),
        false => files.journal.append(&records, &shared.known),
    }
}

fn origins_of(chunk: &Chunk) -> io::Result<Vec<Origin>> {
    match &chunk.source {
        Source::File(file) if chunk.has_origins => Ok(read_origins(file, chunk.id)?.iter().collect()),
        _ => Ok(Vec::new()),
    }
}

/// One that stays is removed at the next start.
fn remove_memo(files: &Files, chunk: &Chunk) {
    if chunk.has_memo.load(Relaxed)
        && let Err(e) = memo::remove(&files.folder, chunk.id)
    {
        warn!("what an output wrote down about chunk {} can't be removed: {e}", chunk.id);
    }
}

/// `at_once`: its bytes are freed too, which the writer need not wait for.
fn remove_file(files: &mut Files, chunk: &Chunk, at_once: bool) {
    let Source::File(file) = &chunk.source else { return };
    let path = file.path();
    remove_memo(files, chunk);
    // One that can't be opened can often still be removed.
    let held = if at_once { None } else { files.folder.disk.open(&path).ok() };
    match files.folder.disk.remove(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            warn!("{} was delivered but can't be removed; the next start removes it: {e}", path.display());
            files.journal.stuck(chunk.id);
        }
        _ => {}
    }
    held.into_iter().for_each(freeing::close);
}
