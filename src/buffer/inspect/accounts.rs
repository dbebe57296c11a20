//! The ledger of a buffer, read from its files: what its next start would say.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{State, Stored, Survey, Unreadable, survey};
use crate::buffer::disk::ReadDisk;
use crate::buffer::files::Total;
use crate::buffer::journal;
use crate::buffer::ledger::{Account, AccountKey, Holdings};

/// Readings of a directory that changes meanwhile.
const TRIES: usize = 20;
/// Pause between them.
const PAUSE: Duration = Duration::from_millis(100);

/// The accounts of the buffer in `dir`. A process may own it: where the directory changes while it is read, so that
/// something seems to be missing, it is read again for up to two seconds.
///
/// Errors: the directory, or a file in it, can't be read.
pub fn accounts(dir: &Path) -> io::Result<BTreeMap<AccountKey, Account>> {
    let mut tries = 1;
    loop {
        let (accounts, live) = read(dir)?;
        let balanced = accounts.values().all(|account| account.missing() == 0);
        if balanced || !live || tries == TRIES {
            return Ok(accounts);
        }
        tries += 1;
        std::thread::sleep(PAUSE);
    }
}

fn read(dir: &Path) -> io::Result<(BTreeMap<AccountKey, Account>, bool)> {
    let mut holdings = Holdings::default();
    // Files first: what ends in between is in the journal then, and the journal is believed.
    let Survey { owner, files, .. } = survey(dir)?;
    let mut damage = false;
    let mut held = Vec::new();
    for file in files.iter().filter(|file| matches!(file.state, State::Staged | State::Sealed)) {
        match look(file)? {
            Some(look) => held.push((file, look)),
            None => damage = true,
        }
    }
    let remembered = journal::read(&ReadDisk, dir);
    for (file, look) in held {
        let Some(id) = file.id.filter(|id| !remembered.gone.contains(id)) else { continue };
        damage |= look.holes;
        // A chunk that was set aside meanwhile is in the journal, and not in the directory any more.
        if look.gone || !file.is_there() {
            continue;
        }
        holdings.add(id, &look.total.tally, look.group, look.sealed);
    }
    let explained = remembered.explains(damage);
    Ok((holdings.settle(remembered.recorded, explained).accounts(), owner.is_some()))
}

/// What a file holds.
#[derive(Default)]
pub(super) struct Look {
    pub(super) total: Total,
    pub(super) group: u64,
    pub(super) sealed: bool,
    /// Frames in the middle are damaged.
    pub(super) holes: bool,
    pub(super) gone: bool,
}

/// Nothing for a file that can't be read as a chunk.
fn look(file: &Stored) -> io::Result<Option<Look>> {
    match file.open() {
        Ok(chunk) => chunk.look().map(Some),
        Err(Unreadable::Gone) => Ok(Some(Look { gone: true, ..Look::default() })),
        Err(Unreadable::Empty) => Ok(Some(Look::default())),
        Err(Unreadable::NoChunk(_)) => Ok(None),
        Err(Unreadable::Disk(e)) => Err(e),
    }
}
