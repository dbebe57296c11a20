//! The machine's own file system.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};

use super::env::{DirEntry, Disk, DiskFile, EntryKind};

/// Most buffers in one `writev`: Linux's IOV_MAX.
const MAX_SLICES: usize = 1024;
/// Most bytes of what an owner writes into its lock.
const MAX_OWNER: usize = 256;
/// How often a lock is asked for before its owner counts as one that stays.
const LOCK_TRIES: u32 = 5;
/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct RealDisk;

/// `O_NOFOLLOW | O_NONBLOCK`: a link is refused, and a pipe that took a file's name does not block the opening.
const SAFE_OPEN: i32 = (OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits()) as i32;

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.read(true).custom_flags(SAFE_OPEN).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(Path::new("/"));
        self.create_dir(parent, mode)?;
        match DirBuilder::new().mode(mode).create(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        }
        fs::set_permissions(dir, Permissions::from_mode(mode))?;
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                // It went away meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                kind => kind?,
            };
            let kind = match () {
                () if kind.is_file() => EntryKind::File,
                () if kind.is_dir() => EntryKind::Dir,
                () => EntryKind::Other,
            };
            entries.push(DirEntry { name: entry.file_name().to_string_lossy().into_owned(), kind });
        }
        Ok(entries)
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        let file = open(path, OpenOptions::new().append(true).create_new(true).mode(mode))?;
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(open(path, OpenOptions::new().append(true))?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, mode: u32, who: &str) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        let mut file = open(path, OpenOptions::new().write(true).create(true).truncate(false).mode(mode))?;
        match lock_exclusively(&file) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return written_in(&file).map(Err),
            Err(e) => return Err(e.into()),
        }
        file.set_len(0)?;
        file.write_all(who.as_bytes())?;
        Ok(Ok(Box::new(file)))
    }
}

/// Who holds the lock at `path`, as it wrote into it. To find out, the lock is shared for a moment.
pub(super) fn owner(path: &Path) -> io::Result<Option<String>> {
    let file = match open(path, &mut OpenOptions::new()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => written_in(&file).map(Some),
        Err(e) => Err(e.into()),
    }
}

/// What the owner of a lock wrote into it.
fn written_in(lock: &File) -> io::Result<String> {
    let mut owner = vec![0; MAX_OWNER];
    let len = lock.read_at(&mut owner, 0)?;
    Ok(String::from_utf8_lossy(&owner[..len]).trim().to_owned())
}

/// Waits a moment for a lock that somebody may only be asking about.
fn lock_exclusively(file: &File) -> rustix::io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)
}

/// The machine's own file system, for a look alone.
pub(super) struct ReadDisk;

fn read_only<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadDisk {
    fn create_dir(&self, _: &Path, _: u32) -> io::Result<()> {
        read_only()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        RealDisk.list(dir)
    }

    fn create(&self, _: &Path, _: u32) -> io::Result<Box<dyn DiskFile>> {
        read_only()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(open(path, &mut OpenOptions::new())?)))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        read_only()
    }

    fn lock(&self, _: &Path, _: u32, _: &str) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        read_only()
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn append(&self, bufs: &[&[u8]]) -> io::Result<()> {
        for some in bufs.chunks(MAX_SLICES) {
            let mut slices: Vec<IoSlice<'_>> = some.iter().map(|b| IoSlice::new(b)).collect();
            let mut left = &mut slices[..];
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                match (&self.0).write_vectored(left) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(n) => IoSlice::advance_slices(&mut left, n),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match FileExt::read_at(&self.0, buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_append_read_and_keep_their_mode() {
        let dir = tempfile::tempdir().unwrap();
        let sub = dir.path().join("a/b");
        RealDisk.create_dir(&sub, 0o700).unwrap();
        RealDisk.create_dir(&sub, 0o700).unwrap();
        let path = sub.join("f");
        let file = RealDisk.create(&path, 0o640).unwrap();
        file.append(&[b"ab", b"", b"cd"]).unwrap();
        file.sync().unwrap();
        file.truncate(3).unwrap();
        file.append(&[b"e"]).unwrap();
        let mut buf = [0; 10];
        assert_eq!(file.read_at(&mut buf, 1).unwrap(), 3);
        assert_eq!(&buf[..3], b"bce");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::metadata(&sub).unwrap().permissions().mode() & 0o7777, 0o700);
        assert!(RealDisk.create(&path, 0o640).is_err());
    }

    #[test]
    fn links_and_pipes_are_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("real"), "x").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(RealDisk.open(&dir.path().join("link")).is_err());
        assert!(RealDisk.open(&pipe).is_err());
        let other = RealDisk.list(dir.path()).unwrap().iter().filter(|e| e.kind == EntryKind::Other).count();
        assert_eq!(other, 2);
    }

    #[test]
    fn a_second_owner_learns_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = RealDisk.lock(&path, 0o600, "pid 1").unwrap();
        assert!(held.is_ok());
        assert_eq!(RealDisk.lock(&path, 0o600, "pid 2").unwrap().err(), Some("pid 1".to_owned()));
        drop(held);
        assert!(RealDisk.lock(&path, 0o600, "pid 2").unwrap().is_ok());
    }
}
