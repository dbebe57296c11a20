//! Disk, clock and randomness behind one seam, so that a simulation can stand in for them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::event::EventTime;

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `data` at `offset`.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Reads at `offset` until `buf` is full or the file ends; gives the length read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// What was written is on the disk when this returns.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Length of the file.
    fn len(&self) -> io::Result<u64>;
}

/// A disk.
pub trait Disk: Send + Sync {
    /// Creates a file that must not be there, for reading and writing.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing; links are not followed.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Names in the directory that are plain files.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// The directory's names are on the disk when this returns.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Creates a directory and those above it.
    fn create_dir(&self, dir: &Path, mode: u32) -> io::Result<()>;
    /// Takes the directory for one owner; it is free again when the guard is dropped.
    ///
    /// Errors: who has it.
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// What a buffer needs of the world.
#[derive(Clone)]
pub struct Env {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The wall clock.
    pub now: fn() -> EventTime,
    /// Random bytes.
    pub random: fn() -> [u8; 10],
}

impl Env {
    /// The machine's own.
    pub fn real() -> Env {
        Env { disk: Arc::new(RealDisk), now: EventTime::now, random }
    }
}

fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    // Without randomness ids still differ by their time; two in one microsecond would be refused by O_EXCL.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

/// The machine's disk.
struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn create_dir(&self, dir: &Path, mode: u32) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(mode).create(dir)?;
        // The names of new directories must survive a power cut like those of files.
        let parents: Vec<PathBuf> = dir.ancestors().skip(1).take(2).map(Path::to_owned).collect();
        parents.iter().filter(|p| !p.as_os_str().is_empty()).try_for_each(|p| self.sync_dir(p))
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Ok(Box::new(lock(dir)?))
    }
}

/// Name of the lock file.
const LOCK: &str = "lock";

fn lock(dir: &Path) -> io::Result<File> {
    use rustix::fs::{FlockOperation, flock};
    let path = dir.join(LOCK);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let owner = std::fs::read_to_string(&path).unwrap_or_default();
        let owner = owner.lines().next().unwrap_or("another process").to_owned();
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{} is in use by {owner}", dir.display())));
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let text = format!("suiro pid {} on {host}\n", std::process::id());
    file.set_len(0)?;
    file.write_all_at(text.as_bytes(), 0)?;
    Ok(file)
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
