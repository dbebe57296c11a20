//! Which files are followed: what is named and there, what was rotated, cut, renamed or removed.
//!
//! A pass compares what the configuration names now with what is followed. It reads no log; it makes [`Followed`]s, tells
//! readers which of them are to be looked at, and lets go of those that are done. Passes run on a blocking thread, one at a
//! time: they look at many files, and a file system may let them wait.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Instant, SystemTime};

use tracing::{info, warn};

use super::Shared;
use super::follow::{Followed, OpenFile};
use super::identity::{FileId, Meta, nanos};
use super::leaving::Leaving;
use super::lost::is_passing;
use super::paths::{Paths, Targets};
use super::positions::{Arrival, Arrived, Mark, Row};

/// What is followed.
pub(super) struct Discovery {
    pub(super) shared: Arc<Shared>,
    paths: Paths,
    pub(super) watches: HashMap<PathBuf, Watch>,
    /// Files whose path leads elsewhere now, and that are read to their end.
    pub(super) leaving: Vec<Leaving>,
    /// Where links lead, to the paths that are followed.
    links: HashMap<PathBuf, Vec<PathBuf>>,
    /// No pass that looks up paths was made yet.
    startup: bool,
    /// What was there when the input was opened: that is the start, not the first pass.
    at_start: Option<AtStart>,
    held: HashMap<PathBuf, File>,
    /// Everything that was at its path before is known, but for what `behind` says.
    pub(super) last_pass: SystemTime,
    /// Paths whose files are not all known: one went away before it could be opened, or there are more than may be open.
    pub(super) behind: BTreeSet<PathBuf>,
    /// Copies of files that were cut.
    pub(super) copies: VecDeque<(FileId, u64)>,
    /// Files that may not be read, so that each is warned of once.
    unreadable: HashSet<PathBuf>,
    /// What the present pass found: woken at its end, when it is known which file waits for which.
    pub(super) fresh: Vec<Arc<Followed>>,
    /// The present pass is the one of `refresh_interval`.
    pub(super) regular: bool,
}

/// Files at the moment when the input was opened. They are held open: what is rotated before the first pass is followed all
/// the same.
#[derive(Debug)]
pub(super) struct AtStart {
    /// That moment.
    at: SystemTime,
    pub(super) targets: Targets,
    files: HashMap<PathBuf, File>,
}

impl AtStart {
    /// Of what is named now; at most `most` files are held open.
    pub(super) fn new(paths: &mut Paths, most: usize) -> AtStart {
        let at = SystemTime::now();
        let targets = paths.expand(at);
        let open = |path: &PathBuf| Some((path.clone(), File::open(path).ok()?));
        let files = targets.files.iter().take(most).filter_map(|target| open(&target.path)).collect();
        AtStart { at, targets, files }
    }
}

/// A path that is followed.
#[derive(Debug)]
pub(super) enum Watch {
    File(Arc<Followed>),
    /// The file at the path left another path and is still read under that one.
    Waiting(FileId),
}

/// What a pass looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The paths that are followed already.
    Followed,
    /// Everything that is named.
    Named,
}

/// What a pass asks for.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Directories where something may happen; `None` where paths were not looked up.
    pub(super) directories: Option<BTreeSet<PathBuf>>,
    /// Files are being let go of: the next pass is to come soon.
    pub(super) leaving: bool,
}

impl Discovery {
    pub(super) fn new(shared: Arc<Shared>, paths: Paths, at_start: Option<AtStart>) -> Discovery {
        // What came after an earlier process looked last is as unknown as what comes now.
        let opened = at_start.as_ref().map_or_else(SystemTime::now, |start| start.at);
        let last_pass = shared.positions.last_look().unwrap_or(opened);
        Discovery {
            shared,
            paths,
            watches: HashMap::new(),
            leaving: Vec::new(),
            links: HashMap::new(),
            startup: true,
            at_start,
            held: HashMap::new(),
            last_pass,
            behind: BTreeSet::new(),
            copies: VecDeque::new(),
            unreadable: HashSet::new(),
            fresh: Vec::new(),
            regular: false,
        }
    }

    /// Compares what is there with what is followed.
    pub(super) fn pass(&mut self, scope: Scope) -> Outcome {
        self.shared.quiet.look(Instant::now());
        let behind = std::mem::take(&mut self.behind);
        let (targets, began) = self.targets(scope);
        let there: HashMap<&Path, Meta> = targets.files.iter().map(|t| (t.path.as_path(), t.meta)).collect();
        let fixed = if scope == Scope::Named { self.paths.fixed(began) } else { Vec::new() };
        self.departures(&there);
        if !self.startup {
            self.unseen_of_missing(&fixed);
        }
        self.arrivals(&targets);
        if scope == Scope::Named && self.startup {
            self.recover(&fixed);
            self.shared.positions.settle();
            self.startup = false;
        } else {
            self.catch_up(behind);
        }
        for file in std::mem::take(&mut self.fresh) {
            self.shared.queue.wake(&file);
        }
        self.let_go(&there);
        if scope == Scope::Named && self.behind.is_empty() {
            self.last_pass = began;
            self.shared.positions.looked(began);
        }
        let directories = (scope == Scope::Named).then(|| self.with_links(targets.directories));
        Outcome { directories, leaving: !self.leaving.is_empty() || !self.behind.is_empty() }
    }

    /// What is there, and when it was looked for.
    fn targets(&mut self, scope: Scope) -> (Targets, SystemTime) {
        let now = SystemTime::now();
        match (scope, self.at_start.take()) {
            (Scope::Named, Some(AtStart { at, targets, files })) => {
                self.held = files;
                (targets, at)
            }
            (Scope::Named, None) => (self.paths.expand(now), now),
            (Scope::Followed, at_start) => {
                self.at_start = at_start;
                (self.followed_now(), now)
            }
        }
    }

    /// Directories to be watched: also those of files that links lead to.
    fn with_links(&self, mut directories: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        directories.extend(self.links.keys().filter_map(|real| real.parent()).map(Path::to_owned));
        directories
    }

    /// Whether paths were not looked up yet (`skip_refresh_on_startup`).
    pub(super) fn is_waiting_for_first_look(&self) -> bool {
        self.startup
    }

    fn followed_now(&self) -> Targets {
        let files = self.watches.keys().filter_map(|path| {
            let meta = Meta::of_path(path).ok().filter(|meta| meta.regular)?;
            Some(super::paths::Target { path: path.clone(), meta })
        });
        Targets { files: files.collect(), ..Targets::default() }
    }

    /// Lets go of what is no longer at its path, and looks after what is.
    fn departures(&mut self, there: &HashMap<&Path, Meta>) {
        let mut ended = Vec::new();
        for (path, watch) in &self.watches {
            match (watch, there.get(path.as_path())) {
                (Watch::File(file), Some(meta)) if meta.same_file(file.id, file.born) && !is_cut(file, meta) => {
                    self.look_after(file, meta);
                }
                (Watch::Waiting(id), Some(meta)) if meta.id == *id => {}
                _ => ended.push(path.clone()),
            }
        }
        // All leave before any comes: what one path lost may be what another has now.
        let (mut rotated, mut cut) = (Vec::new(), Vec::new());
        for path in ended {
            let Some(Watch::File(file)) = self.watches.remove(&path) else { continue };
            match there.get(path.as_path()) {
                None => self.leave(file, true),
                Some(meta) if meta.same_file(file.id, file.born) => cut.push(file),
                Some(meta) => {
                    info!("detected rotation of {}; waiting {:?}", path.display(), self.shared.settings.rotate_wait);
                    self.shared.positions.unlist(&file.row);
                    self.leave(file.clone(), false);
                    rotated.push((file, *meta));
                }
            }
        }
        cut.into_iter().for_each(|file| self.cut(file));
        let rotated: Vec<_> = rotated.into_iter().map(|(old, meta)| (self.replaced(&old, meta), old)).collect();
        if rotated.is_empty() {
            return;
        }
        // Looked for after the new ones were opened, so that nothing can come between.
        let mut search = self.search();
        for (new, old) in rotated {
            let mut chain = vec![old.clone()];
            chain.extend(self.unseen_after(&old, self.last_pass, &mut search));
            chain.extend(new);
            chain_up(&chain);
            self.fresh.extend(chain);
        }
    }

    fn look_after(&self, file: &Arc<Followed>, meta: &Meta) {
        let grown = meta.size != file.flags.size.load(SeqCst);
        if grown || file.flags.pending.load(SeqCst) {
            self.shared.queue.wake(file);
        }
    }

    /// Another file is at the path: it is followed, unless it is one that still goes by another path.
    fn replaced(&mut self, old: &Arc<Followed>, meta: Meta) -> Option<Arc<Followed>> {
        let new = if self.awaits(&old.path, meta) { None } else { self.arrive(&old.path, Arrival::Later) };
        if !self.watches.contains_key(&old.path) {
            self.is_missing(old);
        }
        new
    }

    /// The file at the path was cut, or written anew.
    fn cut(&mut self, old: Arc<Followed>) {
        info!("detected rotation of {}", old.path.display());
        let copied = self.read_copy(&old);
        if !copied {
            self.shared.positions.retire(&old.row, false);
        }
        let mut chain = if copied { vec![old.clone()] } else { Vec::new() };
        chain.extend(self.arrive(&old.path, Arrival::Later));
        chain_up(&chain);
        self.fresh.extend(chain);
    }

    /// Whether the file is one that is still read under its old path: it is followed here once that is over.
    fn awaits(&mut self, path: &Path, meta: Meta) -> bool {
        let Some(at) = self.leaving.iter().position(|l| meta.same_file(l.file.id, l.file.born)) else { return false };
        let leaving = &self.leaving[at];
        if leaving.file.path == path && leaving.take_back() {
            let back = self.leaving.swap_remove(at).file;
            self.shared.positions.rename(&back.row, path);
            self.shared.queue.wake(&back);
            self.watches.insert(path.to_owned(), Watch::File(back));
            return true;
        }
        self.watches.insert(path.to_owned(), Watch::Waiting(meta.id));
        true
    }

    fn arrivals(&mut self, targets: &Targets) {
        let mut followed: Option<HashMap<FileId, PathBuf>> = None;
        for target in &targets.files {
            let path = target.path.as_path();
            if self.watches.contains_key(path) || self.awaits(path, target.meta) {
                continue;
            }
            let followed = followed.get_or_insert_with(|| self.followed_ids());
            if let Some(other) = followed.get(&target.meta.id) {
                let there = Meta::of_path(other).is_ok_and(|meta| meta.id == target.meta.id);
                if !there {
                    // It is being renamed right now; the next pass sees both names as they are then.
                    self.shared.look_again.notify_one();
                }
                // A file with two names is followed under both, but with `follow_inodes` under the first.
                if !there || self.shared.settings.follow_inodes {
                    continue;
                }
            }
            let how = self.arrival(target.meta);
            if let Some(file) = self.arrive(path, how) {
                followed.insert(file.id, file.path.clone());
                self.leaving_before(&file);
                self.fresh.push(file);
            }
        }
    }

    /// How a file counts that is not followed yet. One that came into being after an earlier process looked last would have
    /// been read from its head by that one, so it is by this one too.
    fn arrival(&self, meta: Meta) -> Arrival {
        let came_since = self.shared.positions.last_look().is_some_and(|look| meta.born > nanos(look));
        let from = if self.shared.settings.read_from_head { 0 } else { meta.size };
        if self.startup && !came_since { Arrival::AtStart { from } } else { Arrival::Later }
    }

    fn followed_ids(&self) -> HashMap<FileId, PathBuf> {
        let watched = self.watches.iter().filter_map(|(path, watch)| match watch {
            Watch::File(file) => Some((file.id, path.clone())),
            Watch::Waiting(_) => None,
        });
        watched.collect()
    }

    /// A file that was at the same path before, and is still being read, comes first.
    fn leaving_before(&self, file: &Arc<Followed>) {
        let before = self.leaving.iter().rev().find(|l| l.file.path == file.path && !l.file.flags.at_end.load(SeqCst));
        if let Some(before) = before {
            before.file.set_next(file);
        }
    }

    /// Follows the file at a path.
    pub(super) fn arrive(&mut self, path: &Path, how: Arrival) -> Option<Arc<Followed>> {
        let opened = self.held.remove(path).map_or_else(|| File::open(path), Ok);
        let opened = opened.and_then(|file| Ok((Meta::of_file(&file)?, file)));
        let followed = opened.and_then(|(meta, file)| {
            if matches!(how, Arrival::AtStart { .. }) {
                self.read_copy_at_start(path, meta, &file);
            }
            self.follow(path, path, file, meta, how)
        });
        match followed {
            Ok(followed) => {
                info!("following tail of {}", path.display());
                self.unreadable.remove(path);
                self.note_link(path);
                let before = self.leaving.iter().filter(|l| l.file.path == path);
                before.for_each(|l| self.shared.positions.unlist(&l.file.row));
                self.watches.insert(path.to_owned(), Watch::File(followed.clone()));
                Some(followed)
            }
            Err(e) => {
                self.complain(path, &e);
                None
            }
        }
    }

    /// A `Followed` for an open file. `path` is what it is followed as, `real` where it is.
    pub(super) fn follow(
        &self,
        path: &Path,
        real: &Path,
        file: File,
        meta: Meta,
        how: Arrival,
    ) -> io::Result<Arc<Followed>> {
        let newest = |stream: &str| self.shared.emit.held(stream).last().copied();
        let adopted = self.shared.positions.adopt(&Arrived { path, file: &file, meta, how, newest: &newest })?;
        Ok(self.followed(path, real, adopted, file))
    }

    /// A `Followed` for a row, a place to start at, and the open file.
    pub(super) fn followed(&self, path: &Path, real: &Path, adopted: (Arc<Row>, Mark), file: File) -> Arc<Followed> {
        let settings = &self.shared.settings;
        let member = settings.groups.as_ref().map(|groups| groups.join(path));
        let open = OpenFile::new(file, &self.shared.open_files);
        let held = self.shared.emit.held(&adopted.0.stream);
        let followed = Arc::new(Followed::new(path.to_owned(), settings.tag.tag(path), adopted, member, open));
        followed.progress().end_batches_at(held);
        // A file that is not where its path says can't be opened again.
        if self.shared.open_files.load(SeqCst) > self.shared.most_open_files && path == real {
            followed.progress().file = None;
        }
        followed
    }

    pub(super) fn complain(&mut self, path: &Path, e: &io::Error) {
        if is_passing(e) {
            self.behind.insert(path.to_owned());
        }
        let denied = e.kind() == io::ErrorKind::PermissionDenied;
        let again = !self.unreadable.insert(path.to_owned());
        // A pass may come each moment, so a second complaint waits for the regular look-up of paths.
        let keep_still = again && (!self.regular || (denied && self.shared.settings.complain_once));
        if e.kind() == io::ErrorKind::NotFound || keep_still {
            return;
        }
        let path = path.display();
        if denied {
            warn!("{path} unreadable. It is excluded and would be examined next time.");
        } else {
            warn!("can't follow {path}: {e}. It is tried again later");
        }
    }

    /// Changes of a file that a link leads to are told where the file is, not where the link is.
    fn note_link(&mut self, path: &Path) {
        if let Ok(real) = path.canonicalize()
            && real != path
        {
            let paths = self.links.entry(real).or_default();
            if !paths.iter().any(|known| known == path) {
                paths.push(path.to_owned());
            }
        }
    }

    /// The content of a file changed.
    pub(super) fn touched(&self, path: &Path) {
        let linked = self.links.get(path).into_iter().flatten();
        for path in linked.map(PathBuf::as_path).chain([path]) {
            if let Some(Watch::File(file)) = self.watches.get(path) {
                self.shared.queue.wake(file);
            }
        }
    }

    /// Gives every file a turn.
    pub(super) fn wake_all(&self) {
        let watched = self.watches.values().filter_map(|watch| match watch {
            Watch::File(file) => Some(file),
            Watch::Waiting(_) => None,
        });
        watched.chain(self.leaving.iter().map(|l| &l.file)).for_each(|file| self.shared.queue.wake(file));
    }

    /// Forgets links to paths that are not followed any more.
    pub(super) fn forget_links(&mut self) {
        let watches = &self.watches;
        self.links.retain(|_, paths| {
            paths.retain(|path| watches.contains_key(path));
            !paths.is_empty()
        });
    }
}

/// Whether a file is not what was read of it any more.
fn is_cut(file: &Followed, meta: &Meta) -> bool {
    file.flags.truncated.load(SeqCst) || meta.size < file.flags.position.load(SeqCst)
}

/// Each file waits until the one before it is read to its end once.
pub(super) fn chain_up(files: &[Arc<Followed>]) {
    for pair in files.windows(2) {
        pair[0].set_next(&pair[1]);
    }
}
