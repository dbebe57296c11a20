//! Files that are no longer where they were: renamed by a rotation, or copied before they were cut.
//!
//! Rotation keeps the old file in the same directory under a name made from the old one. So the other files there are
//! looked at: by inode for a renamed file, by the prints of what was read for a copy.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::glob::base_name;
use super::identity::{FileId, Meta, nanos, same_birth};
use super::positions::{Mark, still_has};

/// Most files that are taken to have come and gone between two looks.
const MAX_BETWEEN: usize = 100;
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

/// Files by directory, each directory read once.
#[derive(Default)]
pub(super) struct Listings(HashMap<PathBuf, Arc<Vec<Sibling>>>);

impl Listings {
    /// The regular files in the directory of `path`, and in that of the file it leads to.
    pub(super) fn around(&mut self, path: &Path) -> Arc<Vec<Sibling>> {
        let own = self.list(path.parent());
        let real = path.canonicalize().ok().filter(|real| real.parent() != path.parent());
        match real {
            Some(real) => {
                let there = self.list(real.parent());
                Arc::new(own.iter().chain(there.iter()).cloned().collect())
            }
            None => own,
        }
    }

    fn list(&mut self, directory: Option<&Path>) -> Arc<Vec<Sibling>> {
        let directory = directory.filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let listing = self.0.entry(directory.to_owned());
        listing.or_insert_with(|| Arc::new(list(directory))).clone()
    }
}

/// The regular files in a directory. While names change a file may be passed over, so it is read until none do.
fn list(directory: &Path) -> Vec<Sibling> {
    let changed = || std::fs::metadata(directory).and_then(|meta| meta.modified()).ok();
    let mut found: HashMap<FileId, Sibling> = HashMap::new();
    for _ in 0..MAX_LISTINGS {
        let before = changed();
        found.extend(list_once(directory).into_iter().map(|sibling| (sibling.meta.id, sibling)));
        if before == changed() {
            break;
        }
    }
    found.into_values().collect()
}

fn list_once(directory: &Path) -> Vec<Sibling> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let regular = entries.filter_map(Result::ok).filter(|e| e.file_type().is_ok_and(|t| t.is_file()));
    let paths = regular.map(|e| directory.join(e.file_name()));
    paths.filter_map(|p| Meta::of_path(&p).ok().map(|meta| Sibling { path: p, meta })).collect()
}

/// The file with this inode in which the bytes of `mark` are still there.
pub(super) fn renamed(siblings: &[Sibling], inode: u64, born: u64, mark: Mark) -> Option<(Sibling, File)> {
    let same = |s: &&Sibling| s.meta.id.inode == inode && same_birth(s.meta.born, born);
    siblings.iter().filter(same).find_map(|sibling| with_mark(sibling, mark))
}

/// A copy of a file that was read up to `mark`, made before that file was cut. It may hold more than was read.
pub(super) fn copy(siblings: &[Sibling], of: &Path, mark: Mark) -> Option<(Sibling, File)> {
    if mark.position == 0 || mark.head.len == 0 || mark.tail.len == 0 {
        return None;
    }
    let mut copies: Vec<&Sibling> = siblings.iter().filter(|s| is_rotated_name(&s.path, of)).collect();
    copies.sort_by_key(|s| std::cmp::Reverse(s.meta.modified));
    copies.into_iter().find_map(|sibling| with_mark(sibling, mark))
}

fn with_mark(sibling: &Sibling, mark: Mark) -> Option<(Sibling, File)> {
    let file = File::open(&sibling.path).ok()?;
    let meta = Meta::of_file(&file).ok()?;
    (meta.id == sibling.meta.id && still_has(&file, meta.size, mark).ok()?)
        .then(|| (Sibling { path: sibling.path.clone(), meta }, file))
}

/// The last file that was seen at a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// When it was changed last.
    pub(super) modified: SystemTime,
    /// What was read of it: a copy of it holds the same.
    pub(super) mark: Mark,
}

/// What is known when files are looked for that were at a path for a while and that nobody saw there.
pub(super) struct Between<'a> {
    /// The path.
    pub(super) of: &'a Path,
    /// Nobody looked since.
    pub(super) since: SystemTime,
    /// The file that was at the path before them, if it was found.
    pub(super) before: Option<Before>,
    /// Files that are known, with their births.
    pub(super) known: &'a HashMap<FileId, Vec<u64>>,
}

impl Between<'_> {
    /// Such files, in the order in which they were written; and whether one was renamed before it could be opened.
    pub(super) fn find(&self, siblings: &[Sibling]) -> (Vec<(Sibling, File)>, bool) {
        let mut new: Vec<&Sibling> = siblings.iter().filter(|s| self.is_new(s)).collect();
        new.sort_by_key(|s| (s.meta.modified, s.path.clone()));
        let mark = self.before.map(|before| before.mark).unwrap_or_default();
        let (mut found, mut moved) = (Vec::new(), false);
        for sibling in new.into_iter().take(MAX_BETWEEN) {
            match with_mark(sibling, Mark::default()) {
                Some(_) if copy(std::slice::from_ref(sibling), self.of, mark).is_some() => {}
                Some(open) => found.push(open),
                None => moved = true,
            }
        }
        (found, moved)
    }

    fn is_new(&self, sibling: &Sibling) -> bool {
        let meta = &sibling.meta;
        let since = self.since.checked_sub(CLOCK_SLACK).unwrap_or(SystemTime::UNIX_EPOCH);
        // Lines may come late to the file before, so its time says something only where births are not known.
        let later = || self.before.is_none_or(|before| meta.modified >= before.modified);
        let came = if meta.born == 0 { meta.modified > since && later() } else { meta.born > nanos(since) };
        came && meta.size > 0
            && !self.known.get(&meta.id).is_some_and(|births| births.iter().any(|b| same_birth(*b, meta.born)))
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
        let (inode, born) = (meta.id.inode, meta.born);
        assert_eq!(renamed(&list(dir.path()), inode, born, at).unwrap().0.path, moved);
        fs::write(&moved, "other bytes").unwrap();
        assert!(renamed(&list(dir.path()), inode, born, at).is_none());
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
        assert!(copy(&list(dir.path()), &path, at).unwrap().0.path.ends_with("a.log.1"));
        assert!(copy(&list(dir.path()), &path, Mark::default()).is_none());
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
        let mut between = Between {
            of: &path,
            since: SystemTime::now() - Duration::from_secs(60),
            before: Some(Before { modified: SystemTime::UNIX_EPOCH, mark: mark(&path, 8) }),
            known: &HashMap::new(),
        };
        let names = |b: &Between<'_>| {
            let found = b.find(&list(dir.path())).0.into_iter();
            found.map(|(s, _)| s.path.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&between), ["a.log.2", "a.log.1"]);
        between.since = SystemTime::now() + Duration::from_secs(1);
        assert_eq!(names(&between), [""; 0]);
    }
}
