//! Files that are no longer where they were: renamed by a rotation, or copied before they were cut.
//!
//! Rotation keeps the old file in the same directory under a name made from the old one. So the other files there are
//! looked at: by inode for a renamed file, by the prints of what was read for a copy.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use smallvec::SmallVec;

use super::follow::Followed;
use super::glob::base_name;
use super::identity::{FileId, Meta, nanos, same_birth};
use super::positions::{Mark, still_has};

/// Most times a directory is read until its names hold still.
const MAX_LISTINGS: usize = 5;
/// File systems stamp with a clock that goes in steps.
const CLOCK_SLACK: Duration = Duration::from_millis(50);

/// A file beside another.
#[derive(Clone, Debug)]
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) meta: Meta,
}

/// The regular files in a directory.
#[derive(Debug, Default)]
struct Listing {
    files: Vec<Sibling>,
    /// Where those of an inode are.
    by_inode: HashMap<u64, SmallVec<[usize; 1]>>,
}

/// The regular files around a path.
#[derive(Debug, Default)]
pub(super) struct Siblings(SmallVec<[Arc<Listing>; 2]>);

impl Siblings {
    fn all(&self) -> impl Iterator<Item = &Sibling> {
        self.0.iter().flat_map(|listing| &listing.files)
    }

    fn of_inode(&self, inode: u64) -> impl Iterator<Item = &Sibling> {
        let of_it = move |listing: &'_ Listing| listing.by_inode.get(&inode).cloned().unwrap_or_default();
        self.0.iter().flat_map(move |listing| of_it(listing).into_iter().map(|at| &listing.files[at]))
    }

    /// Those that go by a name which a rotation may have made from that of `of`, and have this inode.
    pub(super) fn rotated(&self, of: &Path, inode: u64) -> Option<&Sibling> {
        self.of_inode(inode).find(|sibling| is_rotated_name(&sibling.path, of))
    }

    /// The file with this inode and birth that is long enough to hold what `mark` stands for.
    pub(super) fn renamed(&self, inode: u64, born: u64, mark: Mark) -> Option<&Sibling> {
        self.of_inode(inode).find(|s| same_birth(s.meta.born, born) && s.meta.size >= mark.position)
    }

    /// A copy of the file at `of`, which was read up to `mark`, made before that file was cut. It may hold more than was
    /// read.
    pub(super) fn copy(&self, of: &Path, mark: Mark) -> Option<(Sibling, File)> {
        if !can_tell_copies(mark) {
            return None;
        }
        let mut copies: Vec<&Sibling> = self.all().filter(|s| is_rotated_name(&s.path, of)).collect();
        copies.sort_by_key(|s| std::cmp::Reverse(s.meta.modified));
        copies.into_iter().find_map(|sibling| sibling.open(mark, &[]).ok().flatten())
    }
}

/// Files by directory, each directory read once.
#[derive(Default)]
pub(super) struct Listings(HashMap<PathBuf, Arc<Listing>>);

impl Listings {
    /// The regular files in the directory of `path`, and in that of the file it leads to.
    pub(super) fn around(&mut self, path: &Path) -> Siblings {
        let own = self.list(path.parent());
        let real = path.canonicalize().ok().filter(|real| real.parent() != path.parent());
        let there = real.map(|real| self.list(real.parent()));
        Siblings(std::iter::once(own).chain(there).collect())
    }

    fn list(&mut self, directory: Option<&Path>) -> Arc<Listing> {
        let directory = directory.filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let listing = self.0.entry(directory.to_owned());
        listing.or_insert_with(|| Arc::new(list(directory))).clone()
    }
}

/// The regular files in a directory. While names change a file may be passed over, so it is read until none do.
fn list(directory: &Path) -> Listing {
    let changed = || std::fs::metadata(directory).and_then(|meta| meta.modified()).ok();
    let mut found: HashMap<FileId, Sibling> = HashMap::new();
    for _ in 0..MAX_LISTINGS {
        let before = changed();
        found.extend(list_once(directory).into_iter().map(|sibling| (sibling.meta.id, sibling)));
        if before == changed() {
            break;
        }
    }
    let files: Vec<Sibling> = found.into_values().collect();
    let mut by_inode: HashMap<u64, SmallVec<[usize; 1]>> = HashMap::new();
    for (at, sibling) in files.iter().enumerate() {
        by_inode.entry(sibling.meta.id.inode).or_default().push(at);
    }
    Listing { files, by_inode }
}

fn list_once(directory: &Path) -> Vec<Sibling> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let regular = entries.filter_map(Result::ok).filter(|e| e.file_type().is_ok_and(|t| t.is_file()));
    let paths = regular.map(|e| directory.join(e.file_name()));
    paths.filter_map(|p| Meta::of_path(&p).ok().map(|meta| Sibling { path: p, meta })).collect()
}

impl Sibling {
    /// Opens the file; `None` where the bytes that `mark` stands for are not in it, or those are that one of `not_like`
    /// stands for.
    ///
    /// Errors: it was renamed meanwhile, or can't be opened.
    pub(super) fn open(&self, mark: Mark, not_like: &[Mark]) -> io::Result<Option<(Sibling, File)>> {
        let file = File::open(&self.path)?;
        let meta = Meta::of_file(&file)?;
        if meta.id != self.meta.id {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut wanted = still_has(&file, meta.size, mark)?;
        for mark in not_like.iter().filter(|mark| can_tell_copies(**mark)) {
            wanted &= !still_has(&file, meta.size, *mark)?;
        }
        Ok(wanted.then(|| (Sibling { path: self.path.clone(), meta }, file)))
    }
}

/// Whether a file that can't be opened now may be opened in a moment: it was renamed, or too many files are open.
pub(super) fn is_passing(e: &io::Error) -> bool {
    let code = e.raw_os_error();
    e.kind() == io::ErrorKind::NotFound || [Errno::MFILE, Errno::NFILE].iter().any(|n| code == Some(n.raw_os_error()))
}

/// Whether a mark is of enough to know a copy by it.
fn can_tell_copies(mark: Mark) -> bool {
    mark.position > 0 && mark.head.len > 0 && mark.tail.len > 0
}

/// Files that were seen at a path before others.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// When the first of them that is still there was changed last.
    pub(super) modified: Option<SystemTime>,
    /// What was read of each: a copy of it holds the same.
    pub(super) marks: Vec<Mark>,
}

impl Before {
    pub(super) fn add(&mut self, file: &Followed) {
        let progress = file.progress();
        let meta = progress.file.as_ref().and_then(|open| Meta::of_file(open).ok());
        if let Some(Meta { modified, .. }) = meta {
            self.modified = Some(self.modified.map_or(modified, |before| before.min(modified)));
            self.marks.push(progress.mark());
        }
    }
}

/// Files that are known, with their births.
#[derive(Default)]
pub(super) struct Known(HashMap<FileId, SmallVec<[u64; 1]>>);

impl Known {
    pub(super) fn add(&mut self, id: FileId, born: u64) {
        self.0.entry(id).or_default().push(born);
    }

    fn has(&self, meta: &Meta) -> bool {
        self.0.get(&meta.id).is_some_and(|births| births.iter().any(|born| same_birth(*born, meta.born)))
    }
}

/// What is known when files are looked for that were at a path for a while and that nobody saw there.
pub(super) struct Between<'a> {
    /// The path.
    pub(super) of: &'a Path,
    /// Nobody looked since.
    pub(super) since: SystemTime,
    /// What is known of those that were at the path before them.
    pub(super) before: &'a Before,
    /// What is at the path now.
    pub(super) now: Option<Meta>,
    pub(super) known: &'a Known,
}

impl Between<'_> {
    /// Such files, in the order in which they were written.
    pub(super) fn find(&self, siblings: &Siblings) -> Vec<Sibling> {
        let mut new: Vec<Sibling> = siblings.all().filter(|s| self.is_new(s)).cloned().collect();
        new.sort_by(|a, b| (a.meta.modified, &a.path).cmp(&(b.meta.modified, &b.path)));
        new
    }

    fn is_new(&self, sibling: &Sibling) -> bool {
        let meta = &sibling.meta;
        let since = self.since.checked_sub(CLOCK_SLACK).unwrap_or(SystemTime::UNIX_EPOCH);
        // Lines may come late to the file before, so its time says something only where births are not known.
        let later = || self.before.modified.is_none_or(|before| meta.modified >= before);
        let came = if meta.born == 0 { meta.modified > since && later() } else { meta.born > nanos(since) };
        came && meta.size > 0
            && !self.known.has(meta)
            && !self.now.is_some_and(|now| now.same_file(meta.id, meta.born))
            && is_rotated_name(&sibling.path, self.of)
    }
}

/// Whether a rotation may have made the name of `path` from that of `of`: `app.log.1`, `app.log-20240101`, `app.log.old`,
/// `app-20240101.log`, `app.1.log`. `app-debug.log` is another log.
pub(super) fn is_rotated_name(path: &Path, of: &Path) -> bool {
    let (name, base) = (base_name(path), base_name(of));
    let stem = of.file_stem().map_or(base, |stem| stem.as_bytes());
    let extension = &base[stem.len()..];
    let inserted = |name: &[u8]| name.strip_prefix(stem)?.strip_suffix(extension).map(is_mark_of_rotation);
    name.strip_prefix(base).is_some_and(is_mark_of_rotation) || (!extension.is_empty() && inserted(name) == Some(true))
}

/// A number, a date, a time or a word for what is old, parted from the rest.
fn is_mark_of_rotation(part: &[u8]) -> bool {
    let Some((separator, rest)) = part.split_first() else { return false };
    let dated =
        rest.iter().any(u8::is_ascii_digit) && rest.iter().all(|b| b.is_ascii_digit() || b"-_.:+TZ".contains(b));
    b".-_".contains(separator) && (dated || matches!(rest, b"old" | b"prev" | b"last"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::input::tail::identity::{Print, head_print};
    use std::fs;

    fn mark(file: &Path, position: u64) -> Mark {
        let text = fs::read(file).unwrap();
        let consumed = &text[..position as usize];
        let head = head_print(&File::open(file).unwrap(), position).unwrap();
        Mark { position, head, tail: Print::of_tail(consumed) }
    }

    fn around(path: &Path) -> Siblings {
        Listings::default().around(path)
    }

    #[test]
    fn names_that_rotations_make_are_known() {
        let is = |name: &str, of: &str| is_rotated_name(Path::new(name), Path::new(of));
        for name in [
            "app.log.1",
            "app.log-20240101",
            "app-20240101.log",
            "app.1.log",
            "app.log_old",
            "app.log.2024-01-01T00:00:00Z",
        ] {
            assert!(is(name, "/var/log/app.log"), "{name}");
        }
        for name in [
            "app.log",
            "app.log.1.gz",
            "apple.log",
            "other.log",
            "app.log2",
            "app-1.txt",
            "app.log~",
            "app-debug.log",
            "app.log.lock",
        ] {
            assert!(!is(name, "/var/log/app.log"), "{name}");
        }
        assert!(is("syslog.1", "syslog") && !is("syslog2", "syslog"));
    }

    #[test]
    fn a_renamed_file_is_found_if_it_still_holds_what_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("elsewhere"));
        fs::write(&path, "one\ntwo\n").unwrap();
        let (meta, at) = (Meta::of_path(&path).unwrap(), mark(&path, 4));
        fs::rename(&path, &moved).unwrap();
        let renamed = || around(&path).renamed(meta.id.inode, meta.born, at).unwrap().open(at, &[]).unwrap();
        assert_eq!(renamed().unwrap().0.path, moved);
        fs::write(&moved, "other bytes").unwrap();
        assert!(renamed().is_none());
        fs::write(&moved, "x").unwrap();
        assert!(around(&path).renamed(meta.id.inode, meta.born, at).is_none());
    }

    #[test]
    fn a_copy_is_found_by_what_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "one\ntwo\n").unwrap();
        let at = mark(&path, 4);
        fs::copy(&path, dir.path().join("a.log.1")).unwrap();
        fs::write(dir.path().join("a.log.2"), "one!two\n").unwrap();
        fs::copy(&path, dir.path().join("unrelated")).unwrap();
        assert!(around(&path).copy(&path, at).unwrap().0.path.ends_with("a.log.1"));
        assert!(around(&path).copy(&path, Mark::default()).is_none());
    }

    #[test]
    fn files_that_nobody_saw_are_found_in_order_and_copies_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        fs::write(&path, "one\ntwo\n").unwrap();
        fs::write(dir.path().join("a.log.2"), "older middle\n").unwrap();
        fs::write(dir.path().join("a.log.1"), "newer middle\n").unwrap();
        fs::write(dir.path().join("a.log.3.gz"), "packed").unwrap();
        fs::copy(&path, dir.path().join("a.log.4")).unwrap();
        let touch = |name: &str, ago| {
            let file = File::options().append(true).open(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(ago)).unwrap();
        };
        touch("a.log.2", 20);
        touch("a.log.1", 10);
        let before = Before { modified: Some(SystemTime::UNIX_EPOCH), marks: vec![mark(&path, 8)] };
        let mut between = Between {
            of: &path,
            since: SystemTime::now() - Duration::from_secs(60),
            before: &before,
            now: None,
            known: &Known::default(),
        };
        let names = |b: &Between<'_>| {
            let marks = &b.before.marks;
            let found = b.find(&around(&path)).into_iter().filter_map(|s| s.open(Mark::default(), marks).unwrap());
            found.map(|(s, _)| s.path.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&between), ["a.log.2", "a.log.1"]);
        between.since = SystemTime::now() + Duration::from_secs(1);
        assert_eq!(names(&between), [""; 0]);
    }
}
