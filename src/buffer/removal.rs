//! The end of a chunk: delivered, dropped or set aside. What must be remembered of it is durable before its file goes.

use std::io;
use std::sync::Arc;

use tracing::warn;

use super::chunk::{Chunk, Source};
use super::files::read_origins;
use super::journal::Record;
use super::origin::Origin;
use super::writer::{Files, Writer};

impl Writer {
    /// Forgets chunks that were delivered or dropped: first their origins are durable, then their files go.
    pub(super) fn remove(&mut self, chunks: Vec<Arc<Chunk>>, free: bool) {
        if let Some(files) = &mut self.files {
            let mut records = Vec::new();
            for chunk in &chunks {
                records.extend(origins_of(chunk).into_iter().map(Record::Origin));
                records.push(Record::Gone(chunk.id));
            }
            let noted = files.journal.append(&records, &self.shared.origins);
            for chunk in &chunks {
                remove_file(files, chunk);
            }
            if noted.is_err() {
                // The files that went have made room. Should this fail too, the directory alone says they are gone.
                let again = files.journal.append(&records, &self.shared.origins);
                if let Err(e) = again.and_then(|()| files.folder.sync()) {
                    warn!("{}: delivered chunks may be sent again after a crash: {e}", self.shared.config.id);
                }
            }
            files.journal.restore_reserve();
        }
        for chunk in chunks {
            if free {
                self.shared.forget(&chunk);
            }
            chunk.done.send_replace(true);
        }
    }

    /// Brings a chunk's file to the backup directory. On failure the chunk stays where it is.
    pub(super) fn set_aside(&mut self, chunk: &Chunk, reason: &str) -> io::Result<()> {
        let (Some(files), Source::File(file)) = (&mut self.files, &chunk.source) else { return Ok(()) };
        let aside = files.folder.aside_in(self.shared.config.backup_dir.clone());
        let origins: Vec<Record> = origins_of(chunk).into_iter().map(Record::Origin).collect();
        if !origins.is_empty() {
            files.journal.append(&origins, &self.shared.origins)?;
        }
        let name = format!("{}.chunk", chunk.id);
        aside.take(&file.path, &name, reason).or_else(|_| {
            files.journal.release_reserve();
            aside.take(&file.path, &name, reason)
        })
    }
}

fn origins_of(chunk: &Chunk) -> Vec<Origin> {
    let Source::File(file) = &chunk.source else { return Vec::new() };
    if !chunk.has_origins {
        return Vec::new();
    }
    match read_origins(file, chunk.id) {
        Ok(origins) => origins.iter().collect(),
        Err(e) => {
            warn!("origins of chunk {} can't be read; a batch that is sent again may be taken twice: {e}", chunk.id);
            Vec::new()
        }
    }
}

fn remove_file(files: &mut Files, chunk: &Chunk) {
    let Source::File(file) = &chunk.source else { return };
    match files.folder.disk.remove(&file.path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            warn!("{} was delivered but can't be removed; the next start removes it: {e}", file.path.display());
            files.journal.stuck(chunk.id);
        }
        _ => {}
    }
}
