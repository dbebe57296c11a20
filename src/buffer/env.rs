//! What a buffer needs of the machine, behind traits, so that a simulation with a seed can drive it.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::disk::RealDisk;

/// Disk, clock and randomness of a buffer.
#[derive(Clone)]
pub struct Env {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    /// I/O runs in the calling thread instead of the buffer's own: for simulations, where each step must be one.
    pub(super) inline: bool,
}

impl Env {
    /// The machine itself.
    pub fn real() -> Env {
        Env { disk: Arc::new(RealDisk), clock: Arc::new(RealClock), random: Arc::new(RealRandom), inline: false }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").finish_non_exhaustive()
    }
}

/// Time.
pub(super) trait Clock: Send + Sync {
    /// Monotonic time.
    fn now(&self) -> Instant;
    /// Microseconds since the epoch, as the clock on the wall says.
    fn wall_micros(&self) -> i64;
}

/// Random numbers.
pub(super) trait Random: Send + Sync {
    /// A random number.
    fn next(&self) -> u64;
}

/// A file system. A call either does what it says or fails; nothing but [`sync`](DiskFile::sync) and
/// [`sync_dir`](Disk::sync_dir) makes anything durable.
pub(super) trait Disk: Send + Sync {
    /// Makes a directory, its missing parents too, durably. One that is there is left as it is.
    fn create_dir(&self, dir: &Path, mode: u32) -> io::Result<()>;
    /// The entries of a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes a new file for reading and appending; fails if the name is taken. The mode holds whatever the umask.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a regular file for reading and appending; follows no symbolic link.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file, over an old one too.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock that `path` stands for and writes `who` into it; gives what the present owner wrote if there is
    /// one. The lock is held until the value is dropped.
    fn lock(&self, path: &Path, mode: u32, who: &str) -> io::Result<Result<Box<dyn Send + Sync>, String>>;
}

/// A file open for reading and appending.
pub(super) trait DiskFile: Send + Sync {
    /// Writes all of the buffers at the end of the file. After an error any part of them may be there.
    fn append(&self, bufs: &[&[u8]]) -> io::Result<()>;
    /// Reads at most `buf.len()` bytes at an offset; 0 at the end.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Makes the file's bytes and length durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Takes room on the disk for `len` bytes.
    fn reserve(&self, len: u64) -> io::Result<()>;
}

/// Fills `buf` from an offset; gives how much there was before the end of the file.
pub(super) fn read_full(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirEntry {
    pub(super) name: String,
    pub(super) kind: EntryKind,
}

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Dir,
    /// A link, a pipe, a socket, a device: never opened.
    Other,
}

struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}

struct RealRandom;

impl Random for RealRandom {
    fn next(&self) -> u64 {
        // Ids are kept unique within a buffer by their time part; randomness only tells machines apart.
        getrandom::u64().unwrap_or(0)
    }
}
