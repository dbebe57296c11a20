//! Files whose path leads elsewhere now: rotated, removed, copied and cut. They are read to their end and let go of.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Instant, SystemTime};

use tracing::{info, warn};

use super::discover::{Discovery, Watch, chain_up};
use super::follow::{Followed, OpenFile};
use super::identity::{FileId, Meta, nanos};
use super::lost::{self, Before, Between, Listings, Sibling};
use super::positions::{Arrival, Mark, Row, still_has};

/// Most times files are looked for again because one was renamed meanwhile.
const MAX_TRIES: usize = 5;
/// Copies of files that were cut, which are remembered so that they are not read as files nobody saw.
const MAX_COPIES: usize = 100;

/// A file on its way out.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) file: Arc<Followed>,
    since: Instant,
    /// When files were looked for last before: what came to its path later may not have been seen.
    looked: SystemTime,
    /// Its path is gone, or is named no longer: its line in the position file says so.
    gone: bool,
}

impl Leaving {
    /// The file is at its path again; gives whether it is not too late.
    pub(super) fn take_back(&self) -> bool {
        let flags = &self.file.flags;
        if flags.finish.load(SeqCst) {
            return false;
        }
        flags.leaving.store(false, SeqCst);
        true
    }
}

impl Discovery {
    /// From now on the file is read to its end and then let go of.
    pub(super) fn leave(&mut self, file: Arc<Followed>, gone: bool) {
        file.flags.leaving.store(true, SeqCst);
        file.flags.at_end.store(false, SeqCst);
        self.hold(&file);
        self.fresh.push(file.clone());
        self.leaving.push(Leaving { file, since: Instant::now(), looked: self.last_pass, gone });
    }

    /// No file could be followed in the place of `old`: the next passes look for what came and went there.
    pub(super) fn is_missing(&mut self, old: &Arc<Followed>) {
        for leaving in self.leaving.iter_mut().filter(|l| Arc::ptr_eq(&l.file, old)) {
            leaving.gone = true;
        }
    }

    /// A file that was closed between reads is opened again, wherever it is now.
    fn hold(&self, file: &Arc<Followed>) {
        let mut progress = file.progress();
        if progress.file.is_none() {
            let found =
                lost::renamed(&Listings::default().around(&file.path), file.id.inode, file.born, progress.mark());
            progress.file = found.map(|(_, open)| OpenFile::new(open, &self.shared.open_files));
        }
    }

    /// Lets go of files that are read to their end and grow no more.
    pub(super) fn let_go(&mut self, there: &HashMap<&Path, Meta>) {
        let now = Instant::now();
        let mut done = Vec::new();
        for leaving in std::mem::take(&mut self.leaving) {
            let flags = &leaving.file.flags;
            let over = flags.finished.load(SeqCst) || flags.truncated.load(SeqCst);
            if over && leaving.file.is_sent() {
                done.push(leaving);
                continue;
            }
            if !flags.finish.load(SeqCst) && self.is_over(&leaving, now) {
                flags.finish.store(true, SeqCst);
            }
            self.shared.queue.wake(&leaving.file);
            self.leaving.push(leaving);
        }
        // All are known as read before any file is looked for.
        for Leaving { file, gone, .. } in &done {
            self.shared.positions.retire(&file.row, *gone && !self.watches.contains_key(&file.path));
        }
        for leaving in done {
            self.finished(leaving, there);
        }
    }

    /// Whether nothing came for `rotate_wait` and everything that came is read.
    fn is_over(&self, leaving: &Leaving, now: Instant) -> bool {
        let wait = self.shared.settings.rotate_wait;
        let grown = leaving.file.progress.try_lock().ok().map(|progress| progress.grown);
        let quiet = grown.is_some_and(|grown| grown.is_none_or(|at| now.duration_since(at) >= wait));
        leaving.file.flags.at_end.load(SeqCst) && now.duration_since(leaving.since) >= wait && quiet
    }

    fn finished(&mut self, leaving: Leaving, there: &HashMap<&Path, Meta>) {
        let Leaving { file, looked, .. } = leaving;
        if let Some(next) = file.take_next() {
            self.shared.queue.wake(&next);
        }
        // Names hold still by now, so a file that was passed over while they changed is found.
        for unseen in self.unseen_after(&file, looked) {
            self.shared.queue.wake(&unseen);
        }
        // The file is followed under its new path from now on.
        let waits = |watch: &Watch| matches!(watch, Watch::Waiting(id) if *id == file.id);
        let waiting: Vec<PathBuf> = self.watches.iter().filter(|(_, w)| waits(w)).map(|(p, _)| p.clone()).collect();
        for path in waiting {
            self.watches.remove(&path);
            if there.get(path.as_path()).is_some_and(|meta| meta.id == file.id)
                && let Some(new) = self.arrive(&path, Arrival::Later)
            {
                self.shared.queue.wake(&new);
            }
        }
        self.forget_links();
    }

    /// Reads on in the copy of a file that was cut. Gives whether there is one with all that was read.
    pub(super) fn read_copy(&mut self, old: &Arc<Followed>) -> bool {
        let mut progress = old.progress();
        let mark = progress.mark();
        let siblings = Listings::default().around(&old.path);
        let Some((copy, open)) = lost::copy(&siblings, &old.path, mark) else { return false };
        info!("{} holds what was not read of {} yet", copy.path.display(), old.path.display());
        self.copies.push_front((copy.meta.id, copy.meta.born));
        self.copies.truncate(MAX_COPIES);
        progress.file = Some(OpenFile::new(open, &self.shared.open_files));
        progress.move_to(mark);
        drop(progress);
        old.flags.truncated.store(false, SeqCst);
        self.shared.positions.take_over(&old.row);
        self.leave(old.clone(), false);
        true
    }

    /// As [`read_copy`](Self::read_copy), for a file that was cut while nobody looked.
    pub(super) fn read_copy_at_start(&mut self, path: &Path, meta: Meta, file: &File) {
        let rows = self.shared.positions.unfollowed_of(meta.id.inode);
        let Some(row) = rows.into_iter().find(|row| row.path() == path) else { return };
        let mark = row.mark();
        if still_has(file, meta.size, mark).unwrap_or(true) {
            return;
        }
        if let Some((copy, open)) = lost::copy(&Listings::default().around(path), path, mark) {
            info!("{} holds what was not read of {} yet", copy.path.display(), path.display());
            self.copies.push_front((copy.meta.id, copy.meta.born));
            self.shared.positions.take_over(&row);
            let old = self.followed(path, &copy.path, (row, mark), open);
            self.leave(old, false);
        }
    }

    /// At the start: files that were rotated away while nobody looked are read to their end, before those now at their
    /// paths.
    pub(super) fn recover(&mut self, fixed: &[PathBuf]) {
        let (rows, lines) = self.shared.positions.unfollowed();
        let mut by_path: BTreeMap<PathBuf, Unfollowed> = BTreeMap::new();
        for row in rows {
            by_path.entry(row.path()).or_default().rows.push(row);
        }
        for (path, inode) in lines {
            by_path.entry(path).or_default().inodes.push(inode);
        }
        if let Some(since) = self.shared.positions.last_look() {
            let new = |watch: &Watch| matches!(watch, Watch::File(file) if file.born > nanos(since));
            let new = self.watches.iter().filter(|(_, watch)| new(watch)).map(|(path, _)| path.clone());
            for path in new.chain(fixed.iter().cloned()) {
                by_path.entry(path).or_default();
            }
        }
        let mut listings = Listings::default();
        for (path, unfollowed) in by_path {
            let siblings = listings.around(&path);
            let chain = self.recover_path(&path, &unfollowed, &siblings);
            chain_up(&chain);
        }
    }

    fn recover_path(&mut self, path: &Path, unfollowed: &Unfollowed, siblings: &[Sibling]) -> Vec<Arc<Followed>> {
        let rows = unfollowed.rows.iter().filter_map(|row| lost::renamed(siblings, row.id.inode, row.born, row.mark()));
        // Fluentd's line tells an inode only, so the name has to tell as well.
        let named: Vec<Sibling> = siblings.iter().filter(|s| lost::is_rotated_name(&s.path, path)).cloned().collect();
        let lines = unfollowed.inodes.iter().filter_map(|inode| lost::renamed(&named, *inode, 0, Mark::default()));
        let mut renamed: Vec<(Sibling, File)> = rows.chain(lines).collect();
        renamed.sort_by_key(|(sibling, _)| sibling.meta.modified);
        let marks: HashMap<u64, Mark> = unfollowed.rows.iter().map(|row| (row.id.inode, row.mark())).collect();
        let mark_of = |s: &Sibling| marks.get(&s.meta.id.inode).copied().unwrap_or_default();
        let last = renamed.last().map(|(s, _)| Before { modified: s.meta.modified, mark: mark_of(s) });
        let mut chain = Vec::new();
        for (sibling, file) in renamed {
            // What was read to its end long ago is left in peace.
            if sibling.meta.size > mark_of(&sibling).position {
                chain.extend(self.recovered(path, sibling, file));
            }
        }
        let current = match self.watches.get(path) {
            Some(Watch::File(current)) => Some(current.clone()),
            _ => None,
        };
        if let Some(since) = self.shared.positions.last_look() {
            chain.extend(self.unseen(path, last, since));
        }
        chain.extend(current);
        chain
    }

    fn recovered(&mut self, path: &Path, sibling: Sibling, file: File) -> Option<Arc<Followed>> {
        if self.known().contains_key(&sibling.meta.id) {
            return None;
        }
        info!("{} was {} and is read to its end", sibling.path.display(), path.display());
        match self.follow(path, &sibling.path, file, sibling.meta, Arrival::Later) {
            Ok(followed) => {
                self.shared.positions.unlist(&followed.row);
                // Until the path has a file again, more of them may come and go there.
                self.leave(followed.clone(), !self.watches.contains_key(path));
                Some(followed)
            }
            Err(e) => {
                warn!("can't read {}: {e}", sibling.path.display());
                None
            }
        }
    }

    /// Files that are followed, with their births.
    fn known(&self) -> HashMap<FileId, Vec<u64>> {
        let watched = self.watches.values().filter_map(|watch| match watch {
            Watch::File(file) => Some((file.id, file.born)),
            Watch::Waiting(_) => None,
        });
        let mut known: HashMap<FileId, Vec<u64>> = HashMap::new();
        for (id, born) in watched.chain(self.leaving.iter().map(|l| (l.file.id, l.file.born))) {
            known.entry(id).or_default().push(born);
        }
        known
    }

    /// Files that came to the path of `old` after it and were rotated away before anybody looked.
    pub(super) fn unseen_after(&mut self, old: &Arc<Followed>, since: SystemTime) -> Vec<Arc<Followed>> {
        let progress = old.progress();
        let modified = progress.file.as_ref().and_then(|open| Meta::of_file(open).ok()).map(|meta| meta.modified);
        let before = modified.map(|modified| Before { modified, mark: progress.mark() });
        drop(progress);
        self.unseen(&old.path, before, since)
    }

    /// The same for paths where a file was a moment ago, or is named to be, and none is now.
    pub(super) fn unseen_of_missing(&mut self, fixed: &[PathBuf]) {
        let last_of_each: BTreeMap<PathBuf, Arc<Followed>> =
            self.leaving.iter().filter(|l| l.gone).map(|l| (l.file.path.clone(), l.file.clone())).collect();
        for path in fixed.iter().filter(|path| !last_of_each.contains_key(*path)) {
            if self.watches.contains_key(path) {
                continue;
            }
            let chain = self.unseen(path, None, self.last_pass);
            chain_up(&chain);
        }
        for old in last_of_each.into_values() {
            let mut chain = vec![old.clone()];
            chain.extend(self.unseen_after(&old, self.last_pass));
            chain_up(&chain);
        }
    }

    fn unseen(&mut self, path: &Path, before: Option<Before>, since: SystemTime) -> Vec<Arc<Followed>> {
        let mut chain = Vec::new();
        for _ in 0..MAX_TRIES {
            let known = self.known_at(path);
            let between = Between { of: path, since, before, known: &known };
            let (files, moved) = between.find(&Listings::default().around(path));
            chain.extend(files.into_iter().filter_map(|(sibling, file)| self.recovered(path, sibling, file)));
            if !moved {
                return chain;
            }
        }
        self.missed = true;
        chain
    }

    /// Files that are no news at a path: followed, known from before, or there now.
    fn known_at(&self, path: &Path) -> HashMap<FileId, Vec<u64>> {
        let mut known = self.known();
        let rows = self.shared.positions.unfollowed().0;
        let now = Meta::of_path(path).ok().map(|now| (now.id, now.born));
        for (id, born) in rows.iter().map(|row| (row.id, row.born)).chain(now).chain(self.copies.iter().copied()) {
            known.entry(id).or_default().push(born);
        }
        known
    }
}

/// What positions say of a path and nobody follows.
#[derive(Default)]
struct Unfollowed {
    rows: Vec<Arc<Row>>,
    inodes: Vec<u64>,
}
