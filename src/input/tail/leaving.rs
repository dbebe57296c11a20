//! Files whose path leads elsewhere now: rotated, removed, copied and cut. They are read to their end and let go of.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Instant, SystemTime};

use tracing::{info, warn};

use super::discover::{Discovery, Watch, chain_up};
use super::follow::{Followed, OpenFile};
use super::identity::{FileId, Meta, nanos};
use super::lost::{Before, Between, Known, Listings, Sibling, is_passing};
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
        for _ in 0..MAX_TRIES {
            if progress.file.is_some() {
                return;
            }
            let (siblings, mark) = (Listings::default().around(&file.path), progress.mark());
            let found = siblings.renamed(file.id.inode, file.born, mark).and_then(|s| s.open(mark, &[]).ok().flatten());
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
        let mut by_path: BTreeMap<PathBuf, (Before, SystemTime)> = BTreeMap::new();
        for Leaving { file, looked, .. } in done {
            let (before, since) = by_path.entry(file.path.clone()).or_insert_with(|| (Before::default(), looked));
            before.add(&file);
            *since = looked.min(*since);
            self.finished(&file, there);
        }
        self.look_behind(by_path);
    }

    /// Looks once more behind files that were let go of: names hold still by now, so one that was passed over while they
    /// changed is found.
    fn look_behind(&mut self, by_path: BTreeMap<PathBuf, (Before, SystemTime)>) {
        if by_path.is_empty() {
            return;
        }
        let mut search = self.search();
        for (path, (before, since)) in by_path {
            for unseen in self.unseen(&path, &before, since, &mut search) {
                self.shared.queue.wake(&unseen);
            }
        }
    }

    /// Whether nothing came for `rotate_wait` and everything that came is read.
    fn is_over(&self, leaving: &Leaving, now: Instant) -> bool {
        let wait = self.shared.settings.rotate_wait;
        let grown = leaving.file.progress.try_lock().ok().map(|progress| progress.grown);
        let quiet = grown.is_some_and(|grown| grown.is_none_or(|at| now.duration_since(at) >= wait));
        leaving.file.flags.at_end.load(SeqCst) && now.duration_since(leaving.since) >= wait && quiet
    }

    fn finished(&mut self, file: &Arc<Followed>, there: &HashMap<&Path, Meta>) {
        if let Some(next) = file.take_next() {
            self.shared.queue.wake(&next);
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
        let Some((copy, open)) = siblings.copy(&old.path, mark) else { return false };
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
        // The newest: a file that is cut again and again has one for each time.
        let Some(row) = rows.into_iter().rfind(|row| row.path() == path) else { return };
        let mark = row.mark();
        if still_has(file, meta.size, mark).unwrap_or(true) {
            return;
        }
        if let Some((copy, open)) = Listings::default().around(path).copy(path, mark) {
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
        let mut search = self.search();
        for (path, unfollowed) in by_path {
            self.recover_path(&path, &unfollowed, &mut search);
        }
    }

    /// Goes on with paths where there was more than could be opened at once, or that held not still.
    pub(super) fn catch_up(&mut self, behind: BTreeSet<PathBuf>) {
        if behind.is_empty() {
            return;
        }
        let mut by_path: BTreeMap<PathBuf, Unfollowed> = BTreeMap::new();
        for row in self.shared.positions.unfollowed().0 {
            if behind.contains(&row.path()) {
                by_path.entry(row.path()).or_default().rows.push(row);
            }
        }
        let mut search = self.search();
        for path in behind {
            let unfollowed = by_path.remove(&path).unwrap_or_default();
            self.recover_path(&path, &unfollowed, &mut search);
        }
    }

    fn recover_path(&mut self, path: &Path, unfollowed: &Unfollowed, search: &mut Search) {
        let siblings = search.listings.around(path);
        let rows = unfollowed.rows.iter().filter_map(|row| {
            let mark = row.mark();
            Some((siblings.renamed(row.id.inode, row.born, mark)?, mark))
        });
        // Fluentd's line tells an inode only, so the name has to tell as well.
        let lines =
            unfollowed.inodes.iter().filter_map(|inode| Some((siblings.rotated(path, *inode)?, Mark::default())));
        let mut renamed: Vec<(&Sibling, Mark)> = rows.chain(lines).collect();
        renamed.sort_by_key(|(sibling, _)| sibling.meta.modified);
        let last = renamed.last().map(|(s, mark)| Before { modified: Some(s.meta.modified), marks: vec![*mark] });
        // What was read to its end long ago is left in peace.
        renamed.retain(|(sibling, mark)| sibling.meta.size > mark.position);
        let renamed = renamed.into_iter().map(|(sibling, mark)| (sibling.clone(), mark)).collect();
        let (mut chain, held_still) = self.open_siblings(path, renamed, &[], search);
        if !held_still {
            self.behind.insert(path.to_owned());
        }
        let current = match self.watches.get(path) {
            Some(Watch::File(current)) => Some(current.clone()),
            _ => None,
        };
        if self.shared.positions.last_look().is_some() || !self.is_waiting_for_first_look() {
            chain.extend(self.unseen(path, &last.unwrap_or_default(), self.last_pass, search));
        }
        chain.extend(current);
        chain_up(&chain);
    }

    /// Follows files that went by `path` to their ends, but for those that hold what one of `not_like` stands for: as many as
    /// may be open at once, the next pass goes on with the others. Gives also whether all could be opened under their names.
    fn open_siblings(
        &mut self,
        path: &Path,
        siblings: Vec<(Sibling, Mark)>,
        not_like: &[Mark],
        search: &mut Search,
    ) -> (Vec<Arc<Followed>>, bool) {
        let (mut chain, mut held_still) = (Vec::new(), true);
        for (sibling, mark) in siblings {
            if !self.has_room(path) {
                self.behind.insert(path.to_owned());
                break;
            }
            match sibling.open(mark, not_like) {
                Ok(opened) => {
                    chain.extend(opened.and_then(|(sibling, file)| self.recovered(path, sibling, file, search)))
                }
                Err(e) if is_passing(&e) => held_still = false,
                Err(e) => self.complain(&sibling.path, &e),
            }
        }
        (chain, held_still)
    }

    /// Whether one more file that went by `path` may be held open.
    fn has_room(&self, path: &Path) -> bool {
        self.shared.open_files.load(SeqCst) < self.shared.most_open_files
            || !self.leaving.iter().any(|l| l.file.path == path)
    }

    fn recovered(&mut self, path: &Path, sibling: Sibling, file: File, search: &mut Search) -> Option<Arc<Followed>> {
        if !search.followed.insert(sibling.meta.id) {
            return None;
        }
        search.known.add(sibling.meta.id, sibling.meta.born);
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

    /// Files that came to the path of `old` after it and were rotated away before anybody looked.
    pub(super) fn unseen_after(
        &mut self,
        old: &Arc<Followed>,
        since: SystemTime,
        search: &mut Search,
    ) -> Vec<Arc<Followed>> {
        let mut before = Before::default();
        before.add(old);
        self.unseen(&old.path, &before, since, search)
    }

    /// The same for paths where a file was a moment ago, or is named to be, and none is now.
    pub(super) fn unseen_of_missing(&mut self, fixed: &[PathBuf]) {
        let last_of_each: BTreeMap<PathBuf, Arc<Followed>> =
            self.leaving.iter().filter(|l| l.gone).map(|l| (l.file.path.clone(), l.file.clone())).collect();
        let is_missing = |path: &&PathBuf| !last_of_each.contains_key(*path) && !self.watches.contains_key(*path);
        let missing: Vec<&PathBuf> = fixed.iter().filter(is_missing).collect();
        if missing.is_empty() && last_of_each.is_empty() {
            return;
        }
        let mut search = self.search();
        for path in missing {
            let chain = self.unseen(path, &Before::default(), self.last_pass, &mut search);
            chain_up(&chain);
        }
        for old in last_of_each.into_values() {
            let mut chain = vec![old.clone()];
            chain.extend(self.unseen_after(&old, self.last_pass, &mut search));
            chain_up(&chain);
        }
    }

    fn unseen(&mut self, path: &Path, before: &Before, since: SystemTime, search: &mut Search) -> Vec<Arc<Followed>> {
        let mut chain = Vec::new();
        for _ in 0..MAX_TRIES {
            let now = Meta::of_path(path).ok();
            let between = Between { of: path, since, before, now, known: &search.known };
            let found = between.find(&search.listings.around(path));
            let found = found.into_iter().map(|sibling| (sibling, Mark::default())).collect();
            let (more, held_still) = self.open_siblings(path, found, &before.marks, search);
            chain.extend(more);
            if held_still {
                return chain;
            }
            search.listings = Listings::default();
        }
        self.behind.insert(path.to_owned());
        chain
    }

    /// What a search begins with.
    pub(super) fn search(&self) -> Search {
        let mut search = Search { followed: HashSet::new(), known: Known::default(), listings: Listings::default() };
        let watched = self.watches.values().filter_map(|watch| match watch {
            Watch::File(file) => Some(file),
            Watch::Waiting(_) => None,
        });
        for file in watched.chain(self.leaving.iter().map(|l| &l.file)) {
            search.followed.insert(file.id);
            search.known.add(file.id, file.born);
        }
        self.shared.positions.unfollowed().0.iter().for_each(|row| search.known.add(row.id, row.born));
        self.copies.iter().for_each(|(id, born)| search.known.add(*id, *born));
        search
    }
}

/// Files that are known, and directories as they were at one moment.
pub(super) struct Search {
    /// Files that are followed.
    followed: HashSet<FileId>,
    /// Files that are no news: followed, read before, or copies.
    known: Known,
    listings: Listings,
}

/// What positions say of a path and nobody follows.
#[derive(Default)]
struct Unfollowed {
    rows: Vec<Arc<Row>>,
    inodes: Vec<u64>,
}
