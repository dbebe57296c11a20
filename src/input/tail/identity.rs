//! Which file is which: device, inode, time of birth, and prints of bytes that were consumed.
//!
//! A path says nothing: files are renamed, replaced and truncated under it. Device and inode say which file it is as long
//! as it is there; the time of birth (where the file system keeps one) tells a recycled inode from the one before; the
//! prints tell whether the bytes that were read are still the bytes of the file. Where any of them differs the file is a
//! new generation and is read from its head (RELIABILITY rule 8).

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a file's head that its print covers, once so many were consumed.
pub(super) const HEAD_BYTES: usize = 256;
/// Bytes before a position that its print covers.
pub(super) const TAIL_BYTES: usize = 64;

/// Device and inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// What the file system says about a file at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) id: FileId,
    /// Time of birth in nanoseconds since the epoch; 0 where the file system does not tell.
    pub(super) born: u64,
    pub(super) size: u64,
    pub(super) modified: SystemTime,
    /// A regular file: the only kind that has positions.
    pub(super) regular: bool,
    pub(super) directory: bool,
}

impl Meta {
    /// Of what `path` leads to; links are followed.
    pub(super) fn of_path(path: &Path) -> io::Result<Meta> {
        std::fs::metadata(path).map(|m| Meta::from(&m))
    }

    /// Of an open file.
    pub(super) fn of_file(file: &File) -> io::Result<Meta> {
        file.metadata().map(|m| Meta::from(&m))
    }

    /// Whether both are the same file: not merely the same inode, used again.
    pub(super) fn same_file(&self, id: FileId, born: u64) -> bool {
        self.id == id && same_birth(self.born, born)
    }
}

impl From<&Metadata> for Meta {
    fn from(m: &Metadata) -> Meta {
        Meta {
            id: FileId { device: m.dev(), inode: m.ino() },
            born: m.created().map_or(0, nanos),
            size: m.size(),
            modified: m.modified().unwrap_or(UNIX_EPOCH),
            regular: m.is_file(),
            directory: m.is_dir(),
        }
    }
}

/// Whether two times of birth may be of one file; an unknown one may be any.
pub(super) fn same_birth(a: u64, b: u64) -> bool {
    a == b || a == 0 || b == 0
}

/// Nanoseconds since the epoch; 0 before it.
pub(super) fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// Length and hash of a run of bytes. The hash is FNV-1a of 64 bits: it is kept on disk, so it must be the same in every
/// build and version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) len: u16,
    pub(super) hash: u64,
}

impl Print {
    /// Of bytes, at most 64 KiB.
    pub(super) fn of(bytes: &[u8]) -> Print {
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Print { len: u16::try_from(bytes.len()).unwrap_or(u16::MAX), hash }
    }

    /// Of the last bytes of what was consumed.
    pub(super) fn of_tail(consumed: &[u8]) -> Print {
        Print::of(&consumed[consumed.len().saturating_sub(TAIL_BYTES)..])
    }

    /// Whether it is the print of the first bytes of `bytes`. A print of no bytes tells nothing and matches all.
    pub(super) fn matches(self, bytes: &[u8]) -> bool {
        self.len == 0 || bytes.get(..usize::from(self.len)).is_some_and(|bytes| Print::of(bytes) == self)
    }
}

/// Reads at `offset` until `buf` is full or the file ends; gives the number of bytes.
pub(super) fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        match file.read_at(&mut buf[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// The print of the head of a file of which `consumed` bytes count.
pub(super) fn head_print(file: &File, consumed: u64) -> io::Result<Print> {
    let mut buf = [0; HEAD_BYTES];
    let want = usize::try_from(consumed).unwrap_or(HEAD_BYTES).min(HEAD_BYTES);
    let got = read_at(file, &mut buf[..want], 0)?;
    Ok(Print::of(&buf[..got]))
}

/// Whether the file still begins with the bytes that `head` is of.
pub(super) fn has_head(file: &File, head: Print) -> io::Result<bool> {
    let mut buf = [0; HEAD_BYTES];
    let want = usize::from(head.len).min(HEAD_BYTES);
    let got = read_at(file, &mut buf[..want], 0)?;
    Ok(head.matches(&buf[..got]))
}

/// Whether the bytes before `position` are still those that `tail` is of.
pub(super) fn has_tail(file: &File, position: u64, tail: Print) -> io::Result<bool> {
    let mut buf = [0; TAIL_BYTES];
    let want = usize::from(tail.len).min(TAIL_BYTES);
    let Some(start) = position.checked_sub(want as u64) else { return Ok(false) };
    let got = read_at(file, &mut buf[..want], start)?;
    Ok(tail.matches(&buf[..got]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_print_tells_other_bytes_and_too_few_of_them() {
        let print = Print::of(b"2024-01-01 a");
        assert!(print.matches(b"2024-01-01 a and more"));
        assert!(!print.matches(b"2024-01-01 b and more"));
        assert!(!print.matches(b"2024"));
        assert!(Print::default().matches(b"anything") && Print::of(b"").matches(b""));
    }

    #[test]
    fn prints_on_disk_stay_the_same_in_every_version() {
        // Test vectors of FNV-1a, 64 bits.
        assert_eq!(Print::of(b"").hash, 0xcbf2_9ce4_8422_2325);
        assert_eq!(Print::of(b"foobar").hash, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn head_and_tail_are_checked_against_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let text: Vec<u8> = (0..1000u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &text).unwrap();
        let file = File::open(&path).unwrap();
        let head = head_print(&file, 1000).unwrap();
        assert_eq!(usize::from(head.len), HEAD_BYTES);
        assert!(has_head(&file, head).unwrap());
        assert!(has_tail(&file, 500, Print::of_tail(&text[..500])).unwrap());
        assert!(!has_tail(&file, 501, Print::of_tail(&text[..500])).unwrap());
        assert!(!has_tail(&file, 10, Print::of_tail(&text[..500])).unwrap());
    }

    #[test]
    fn a_recycled_inode_is_told_by_its_birth() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let meta = Meta::of_path(&path).unwrap();
        assert!(meta.regular && meta.size == 1);
        assert!(meta.same_file(meta.id, meta.born) && meta.same_file(meta.id, 0));
        assert!(meta.born == 0 || !meta.same_file(meta.id, meta.born + 1));
    }
}
