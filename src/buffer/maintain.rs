//! What an operator may do to a file buffer that no process owns. The lock is held meanwhile, so no daemon starts in between;
//! recovery runs first, as at a start, and everything that is cut or moved is set aside before.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::chunk::{ChunkFile, Source};
use super::config::{BufferConfig, BufferKind, ChunkKeys, FlushMode, MAX_ENTRY, Overflow};
use super::env::Env;
use super::error::BufferError;
use super::files::{BACKUP, LOCK, parse_name, read_origins};
use super::id::ChunkId;
use super::journal::{JOURNAL, Record};
use super::ledger::{Fate, Shares};
use super::letter::{Cause, Note};
use super::open::{Site, settle};
use super::recovery::{Found, RecoveryReport};
use crate::event::Packing;

/// A chunk that was dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropped {
    /// Its id.
    pub id: ChunkId,
    /// Its events.
    pub events: u64,
    /// Where a copy is kept.
    pub kept: Option<PathBuf>,
}

/// Does what recovery does at a start: torn ends are set aside and cut, files that can't be read are set aside.
///
/// Errors: [`BufferError::Locked`] where a process owns the directory; what the disk says.
pub fn repair(dir: &Path, output: &str) -> Result<RecoveryReport, BufferError> {
    let mut site = take(dir, output)?;
    let report = std::mem::take(&mut site.found.report);
    close(site, dir)?;
    Ok(report)
}

/// Takes chunks out of the buffer: where they came from stays known, so no source sends them again. With `keep` the files
/// go to `backup`, else they are gone. Ids that the buffer does not have are passed over.
///
/// Errors: as of [`repair`]; what was dropped before stays so.
pub fn drop_chunks(dir: &Path, output: &str, ids: &[ChunkId], keep: bool) -> Result<Vec<Dropped>, BufferError> {
    let mut site = take(dir, output)?;
    let chosen: Vec<Doomed> = doomed(&site.found, &site).filter(|doomed| ids.contains(&doomed.id)).collect();
    let mut dropped = Vec::with_capacity(chosen.len());
    for doomed in chosen {
        let kept = site.remove(&doomed, keep).map_err(|e| BufferError::disk("drop", &doomed.file.path(), e))?;
        dropped.push(Dropped { id: doomed.id, events: doomed.events, kept });
    }
    close(site, dir)?;
    Ok(dropped)
}

struct Doomed {
    id: ChunkId,
    events: u64,
    shares: Shares,
    file: ChunkFile,
}

fn doomed<'f>(found: &'f Found, site: &Site) -> impl Iterator<Item = Doomed> + 'f {
    let folder = site.files.folder.clone();
    let file = move |name, start, end| ChunkFile { folder: folder.clone(), name, start, end, keeps_damage: false };
    let again = file.clone();
    let queued = found.queued.iter().filter_map(move |chunk| match &chunk.source {
        Source::File(at) => {
            let (id, events, shares) = (chunk.id, chunk.count, chunk.shares.clone());
            Some(Doomed { id, events, shares, file: file(at.name.clone(), at.start, at.end) })
        }
        Source::Memory(_) => None,
    });
    let staged = found.resumed.iter().map(move |staged| {
        let name = staged.path.file_name().unwrap_or_default().to_string_lossy().into();
        let (id, events, shares) = (staged.id, staged.total.count, staged.total.tally.shares());
        Doomed { id, events, shares, file: again(name, staged.start, staged.end) }
    });
    queued.chain(staged)
}

impl Site {
    /// First what must be remembered is durable, then the file goes.
    fn remove(&mut self, doomed: &Doomed, keep: bool) -> io::Result<Option<PathBuf>> {
        let origins = read_origins(&doomed.file, doomed.id)?;
        let mut records: Vec<Record> = origins.iter().map(Record::Origin).collect();
        let settled = self.shared.ledger().settled(doomed.id, &doomed.shares, Fate::SetAside(Cause::Dropped), None, 0);
        records.extend(settled.iter().cloned().map(Record::Settled));
        if !keep {
            records.push(Record::Gone(doomed.id));
        }
        self.files.journal.append(&records, &self.shared.known)?;
        self.shared.ledger().settle(&settled);
        let (folder, path) = (&self.files.folder, doomed.file.path());
        if !keep {
            folder.disk.remove(&path)?;
            folder.sync()?;
            return Ok(None);
        }
        let (aside, name) = (folder.aside(), format!("{}.chunk", doomed.id));
        let note = Note::new(Cause::Dropped, "dropped by the operator").chunk(Some(doomed.id));
        aside.take(&path, &name, &note.events(Some(doomed.events)).from(path.clone(), None))?;
        Ok(Some(aside.dir.join(name)))
    }
}

/// Whether a directory is that of a file buffer.
pub fn is_buffer(dir: &Path) -> bool {
    let ours = |name: &str| name == LOCK || name == JOURNAL || parse_name(name).is_some();
    let names = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    // Chunks that were set aside keep such names too.
    dir.file_name().is_none_or(|name| name != BACKUP)
        && names.into_iter().any(|e| ours(&e.file_name().to_string_lossy()))
}

/// Locks the directory and recovers what is in it; staged chunks stay staged, whatever their keys.
fn take(dir: &Path, output: &str) -> Result<Site, BufferError> {
    if !is_buffer(dir) {
        let absent = io::Error::new(io::ErrorKind::NotFound, "it is no buffer directory");
        return Err(BufferError::disk("open the buffer", dir, absent));
    }
    settle(bare(dir, output), &Env::real(), dir, true)
}

/// After a stop in order no staged chunk was ever handed out; that stays true.
fn close(mut site: Site, dir: &Path) -> Result<(), BufferError> {
    if site.clean {
        let written = site.files.journal.append(&[Record::Clean], &site.shared.known);
        written.map_err(|e| BufferError::disk("write the journal in", dir, e))?;
    }
    Ok(())
}

/// A configuration that only names a directory, with the permissions that are in use there.
fn bare(dir: &Path, output: &str) -> BufferConfig {
    let mode = |path: &Path, usual| fs::metadata(path).map_or(usual, |m| m.permissions().mode() & 0o777);
    BufferConfig {
        id: output.to_owned(),
        kind: BufferKind::File { dir: dir.to_owned() },
        keys: ChunkKeys::default(),
        chunk_limit_size: MAX_ENTRY,
        chunk_limit_records: None,
        total_limit_size: u64::MAX,
        queue_limit_length: None,
        queued_chunks_limit_size: None,
        chunk_full_threshold: 1.0,
        compress: Packing::Plain,
        flush_mode: FlushMode::Lazy,
        flush_interval: std::time::Duration::MAX,
        timekey_wait: std::time::Duration::MAX,
        overflow: Overflow::ThrowException,
        file_mode: mode(&dir.join(LOCK), 0o600),
        dir_mode: mode(dir, 0o700),
        flush_at_shutdown: false,
        backup_dir: dir.join(BACKUP),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::buffer::inspect::{State, survey};
    use crate::buffer::testing::{events, file_buffer};
    use crate::buffer::{Buffer, Origin};

    async fn filled(dir: &Path) -> Vec<ChunkId> {
        let (buffer, _) = Buffer::open(file_buffer(dir), Env::real()).unwrap();
        for n in 0..3u8 {
            let origin = Origin::Once(vec![n].into());
            let _ = buffer.append(&events("t", &[(1, "a"), (2, "b")]), &origin).await.unwrap();
            buffer.flush_all();
        }
        let _ = buffer.append(&events("t", &[(1, "staged")]), &Origin::Once("s".into())).await.unwrap();
        buffer.finish().await;
        survey(dir).unwrap().files.iter().map(|file| file.id.unwrap()).collect()
    }

    #[tokio::test]
    async fn a_dropped_chunk_is_kept_and_what_it_held_stays_known() {
        let dir = tempfile::tempdir().unwrap();
        let ids = filled(dir.path()).await;
        let dropped = drop_chunks(dir.path(), "out", &[ids[1], ids[3]], true).unwrap();
        assert_eq!(dropped.iter().map(|d| (d.id, d.events)).collect::<Vec<_>>(), [(ids[1], 2), (ids[3], 1)]);
        assert!(dropped.iter().all(|d| d.kept.as_ref().unwrap().exists()));
        let states: Vec<State> = survey(dir.path()).unwrap().files.iter().map(|file| file.state).collect();
        assert_eq!(states, [State::Sealed, State::Sealed, State::SetAside, State::SetAside]);
        let (buffer, report) = Buffer::open(file_buffer(dir.path()), Env::real()).unwrap();
        assert_eq!((report.chunks, report.records), (2, 4));
        assert!(buffer.has(&Origin::Once(vec![1].into())) && buffer.has(&Origin::Once("s".into())));
    }

    #[tokio::test]
    async fn without_a_copy_the_chunk_is_gone_and_a_stage_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let ids = filled(dir.path()).await;
        assert_eq!(drop_chunks(dir.path(), "out", &ids[..1], false).unwrap()[0].kept, None);
        assert_eq!(drop_chunks(dir.path(), "out", &ids[..1], false).unwrap(), []);
        let (buffer, report) = Buffer::open(file_buffer(dir.path()), Env::real()).unwrap();
        assert_eq!((report.chunks, report.staged), (3, 1));
        assert!(buffer.has(&Origin::Once(vec![0].into())));
        let _ = buffer.append(&events("t", &[(1, "more")]), &Origin::None).await.unwrap();
        assert_eq!(buffer.stats().stage_length, 1, "the stop before was in order: the staged chunk takes more");
    }

    #[tokio::test]
    async fn a_directory_with_an_owner_is_left_alone_and_the_owner_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let ids = filled(dir.path()).await;
        let (buffer, _) = Buffer::open(file_buffer(dir.path()), Env::real()).unwrap();
        let owner = format!("pid {}", std::process::id());
        for refused in [repair(dir.path(), "out").map(drop), drop_chunks(dir.path(), "out", &ids, true).map(drop)] {
            let told = refused.unwrap_err().to_string();
            assert!(told.contains(&owner), "{told}");
        }
        drop(buffer);
        assert_eq!(repair(dir.path(), "out").unwrap().chunks, 4);
    }
}
