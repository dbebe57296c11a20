//! The kernel's word that something changed (inotify), per directory: one watch serves all files in it.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::warn;

/// Bytes read from the kernel at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// Most events taken at once; the others are taken the next time.
const MAX_EVENTS: usize = 4096;

/// What happened in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The file's content grew, or was cut.
    Content(PathBuf),
    /// Names came, went or changed.
    Names,
}

/// Watched directories.
#[derive(Debug)]
pub(super) struct Watcher {
    fd: AsyncFd<OwnedFd>,
    /// Several names may lead to one directory.
    directories: HashMap<i32, Vec<PathBuf>>,
    watches: HashMap<PathBuf, i32>,
    /// Directories that could not be watched.
    missing: BTreeSet<PathBuf>,
}

const NAME_CHANGES: ReadFlags = ReadFlags::CREATE
    .union(ReadFlags::DELETE)
    .union(ReadFlags::MOVED_FROM)
    .union(ReadFlags::MOVED_TO)
    .union(ReadFlags::ATTRIB)
    .union(ReadFlags::DELETE_SELF)
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::QUEUE_OVERFLOW)
    .union(ReadFlags::IGNORED);

impl Watcher {
    /// A watcher of no directory yet.
    pub(super) fn new() -> io::Result<Watcher> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that give another descriptor later; an OwnedFd does not"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Watcher { fd, directories: HashMap::new(), watches: HashMap::new(), missing: BTreeSet::new() })
    }

    /// Whether every directory asked for is watched.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Watches these directories and no others. Gives whether any is new: names may have come before it was watched.
    pub(super) fn watch(&mut self, wanted: &BTreeSet<PathBuf>) -> bool {
        self.missing.retain(|directory| wanted.contains(directory));
        let unwanted: Vec<PathBuf> = self.watches.keys().filter(|d| !wanted.contains(*d)).cloned().collect();
        for directory in unwanted {
            self.forget(&directory);
        }
        let mut any_new = false;
        for directory in wanted {
            if !self.watches.contains_key(directory) {
                any_new |= self.add(directory);
            }
        }
        any_new
    }

    fn forget(&mut self, directory: &Path) {
        let Some(watch) = self.watches.remove(directory) else { return };
        let names = self.directories.entry(watch).or_default();
        names.retain(|name| name != directory);
        if names.is_empty() {
            self.directories.remove(&watch);
            // It is gone by itself where the directory is.
            let _ = inotify::remove_watch(&self.fd, watch);
        }
    }

    fn add(&mut self, directory: &Path) -> bool {
        let flags = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.fd, directory, flags) {
            Ok(watch) => {
                self.missing.remove(directory);
                self.directories.entry(watch).or_default().push(directory.to_owned());
                self.watches.insert(directory.to_owned(), watch);
                true
            }
            // It went away meanwhile; the next look finds the one above it.
            Err(Errno::NOENT | Errno::NOTDIR) => false,
            Err(e) => {
                if self.missing.insert(directory.to_owned()) {
                    warn!("{}", complaint(directory, e));
                }
                false
            }
        }
    }

    /// Waits for changes.
    pub(super) async fn changes(&mut self) -> io::Result<Vec<Change>> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
            let mut reader = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
            let mut events = Vec::new();
            let outcome = loop {
                match reader.next() {
                    Ok(event) => {
                        events.push((event.wd(), event.events(), event.file_name().map(|n| n.to_bytes().to_vec())))
                    }
                    Err(e) => break e,
                }
                if events.len() >= MAX_EVENTS && reader.is_buffer_empty() {
                    break Errno::INTR;
                }
            };
            if outcome == Errno::AGAIN {
                ready.clear_ready();
            } else if outcome != Errno::INTR {
                return Err(outcome.into());
            }
            drop(ready);
            let changes = self.sort_out(events);
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }

    fn sort_out(&mut self, events: Vec<(i32, ReadFlags, Option<Vec<u8>>)>) -> Vec<Change> {
        let (mut changes, mut names): (Vec<Change>, _) = (Vec::new(), false);
        let mut last = None;
        for (watch, flags, name) in events {
            if flags.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
                // The directory is gone, or another has its name now.
                for name in self.directories.get(&watch).cloned().unwrap_or_default() {
                    self.forget(&name);
                }
            }
            names |= flags.intersects(NAME_CHANGES);
            if !flags.contains(ReadFlags::MODIFY) || last.as_ref() == Some(&(watch, name.clone())) {
                continue;
            }
            if let (Some(directories), Some(name)) = (self.directories.get(&watch), &name) {
                changes.extend(directories.iter().map(|d| Change::Content(d.join(OsStr::from_bytes(name)))));
                last = Some((watch, Some(name.clone())));
            }
        }
        if names {
            changes.push(Change::Names);
        }
        changes
    }
}

fn complaint(directory: &Path, e: Errno) -> String {
    let remedy = match e {
        Errno::NOSPC => ": raise fs.inotify.max_user_watches",
        Errno::MFILE => ": raise fs.inotify.max_user_instances",
        _ => "",
    };
    format!("can't watch {}: {e}{remedy}. Its files are looked at each second instead", directory.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    async fn until(watcher: &mut Watcher, wanted: Change) {
        let wait = async { while !watcher.changes().await.unwrap().contains(&wanted) {} };
        tokio::time::timeout(std::time::Duration::from_secs(10), wait).await.unwrap();
    }

    #[tokio::test]
    async fn names_and_contents_of_a_directory_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::new().unwrap();
        assert!(watcher.watch(&BTreeSet::from([dir.path().to_owned()])));
        assert!(!watcher.watch(&BTreeSet::from([dir.path().to_owned()])));
        let path = dir.path().join("a.log");
        let mut file = std::fs::File::create(&path).unwrap();
        until(&mut watcher, Change::Names).await;
        file.write_all(b"x").unwrap();
        until(&mut watcher, Change::Content(path.clone())).await;
        std::fs::rename(&path, dir.path().join("b.log")).unwrap();
        until(&mut watcher, Change::Names).await;
    }

    #[tokio::test]
    async fn a_directory_that_was_replaced_is_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("sub");
        std::fs::create_dir(&sub).unwrap();
        let wanted = BTreeSet::from([dir.path().to_owned(), sub.clone()]);
        let mut watcher = Watcher::new().unwrap();
        watcher.watch(&wanted);
        std::fs::remove_dir(&sub).unwrap();
        until(&mut watcher, Change::Names).await;
        while watcher.watches.contains_key(&sub) {
            watcher.changes().await.unwrap();
        }
        std::fs::create_dir(&sub).unwrap();
        assert!(watcher.watch(&wanted) && watcher.is_complete());
        std::fs::write(sub.join("x"), "1").unwrap();
        until(&mut watcher, Change::Content(sub.join("x"))).await;
    }
}
