//! The opening of a file buffer: lock, journal, recovery, and then a writer that goes on where the last one ended.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::Inner;
use super::config::BufferConfig;
use super::driver::Driver;
use super::env::Env;
use super::error::BufferError;
use super::files::{Folder, LOCK};
use super::journal::{self, JOURNAL, Journal, Remembered};
use super::letter::{Cause, Note};
use super::recovery::{Found, RecoveryReport, recover};
use super::shared::Shared;
use super::writer::{Files, Writer};
use crate::config::hostname;

/// A directory that is locked and in order.
pub(super) struct Site {
    pub(super) shared: Arc<Shared>,
    pub(super) files: Files,
    pub(super) found: Found,
    /// The highest sync of earlier runs.
    group: u64,
    /// The run before this one stopped in order.
    pub(super) clean: bool,
}

/// Opens the file buffer in `dir`.
pub(super) fn open(config: BufferConfig, env: Env, dir: &Path) -> Result<(Inner, RecoveryReport), BufferError> {
    let site = settle(config, &env, dir, false)?;
    let shared = site.shared.clone();
    let (writer, report) = take_up(site);
    let driver = if env.inline {
        Driver::Inline(Box::new(Mutex::new(writer)))
    } else {
        let started = Driver::spawn(writer, &shared.config.id);
        started.map_err(|e| BufferError::disk("start the thread for", dir, e))?
    };
    Ok((Inner::new(shared, driver, true), report))
}

/// Locks the directory, recovers what is in it and begins a new journal. `any_shape`: staged chunks stay staged whatever
/// their keys.
pub(super) fn settle(config: BufferConfig, env: &Env, dir: &Path, any_shape: bool) -> Result<Site, BufferError> {
    let folder = Arc::new(Folder::new(env, dir, &config));
    let failed = |doing: &'static str| move |e: io::Error| BufferError::disk(doing, dir, e);
    env.disk.create_dir(dir, config.dir_mode).map_err(failed("make the buffer directory"))?;
    let lock = lock(&folder)?;
    let mut known = journal::read(&*env.disk, dir);
    let clean = known.clean;
    let shared = Arc::new(Shared::new(config, env.clone()));
    let shape = (!any_shape).then_some(&shared.config.keys);
    let found = recover(&folder, shape, &mut known, &shared.counts.damaged, env.inline);
    let mut found = found.map_err(failed("read the buffer directory"))?;
    keep_bad_journal(&folder, &known, &mut found.report);
    found.report.close();
    let group = found.group.max(known.highest);
    let explained = known.explains(found.damage || found.report.set_aside > 0);
    *shared.origins() = known.origins;
    *shared.ledger() = found.holdings.settle(known.recorded, explained);
    let aborted = std::mem::take(&mut found.aborted);
    let journal = Journal::create(env.disk.clone(), dir, folder.file_mode, group, aborted, &shared.known);
    let journal = journal.map_err(failed("write the journal in"))?;
    Ok(Site { shared, files: Files { folder, journal, lock }, found, group, clean })
}

fn lock(folder: &Folder) -> Result<Box<dyn Send + Sync>, BufferError> {
    let who = format!("pid {} on {}", std::process::id(), hostname());
    let path = folder.path(LOCK);
    let taken = folder.disk.lock(&path, folder.file_mode, &who);
    let taken = taken.map_err(|e| BufferError::disk("lock", &path, e))?;
    taken.map_err(|owner| BufferError::Locked { dir: folder.dir.clone(), owner })
}

/// The journal is about to be written anew: a damaged one is kept beside the rest of the damage.
fn keep_bad_journal(folder: &Folder, known: &Remembered, report: &mut RecoveryReport) {
    let Some(fault) = &known.fault else { return };
    let path = folder.path(JOURNAL);
    let kept = folder.disk.open(&path).and_then(|file| {
        let size = file.size()?;
        let name = format!("{JOURNAL}.{:08x}", checksum(&*file, size)?);
        let note = Note::new(Cause::Unreadable, fault.as_str()).from(path.clone(), None);
        folder.aside().copy(&*file, 0, size, &name, &note)
    });
    let outcome = kept.map_or_else(|e| format!("could not be kept: {e}"), |_| "is kept in backup/".to_owned());
    report
        .say(format!("{} was damaged ({fault}) and {outcome}; a batch sent again may be taken twice", path.display()));
}

fn checksum(file: &dyn super::env::DiskFile, size: u64) -> io::Result<u32> {
    let mut buf = vec![0; 64 << 10];
    let (mut at, mut crc) = (0, 0);
    while at < size {
        let got = file.read_at(&mut buf, at)?;
        if got == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &buf[..got]);
        at += got as u64;
    }
    Ok(crc)
}

fn take_up(site: Site) -> (Writer, RecoveryReport) {
    let Site { shared, files, found, group, clean } = site;
    let mut writer = Writer::new(shared.clone(), Some(files), group);
    for chunk in found.queued {
        writer.rise_above(chunk.id);
        shared.enqueue(chunk, false);
    }
    found.resumed.into_iter().for_each(|resumed| writer.resume(resumed, clean));
    writer.settle_resumed();
    (writer, found.report)
}
