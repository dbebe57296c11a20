//! Walks over the frames of a chunk file, head by head, and finds the next good frame behind damage.

use std::io;

use bytes::Bytes;
use memchr::memmem;

use super::env::{DiskFile, read_full};
use super::format::{FRAME_MAGIC, Head, MAX_HEAD, MIN_HEAD};
use super::id::ChunkId;

/// Bytes read at once where frames are small or damage is searched.
const WINDOW: usize = 128 << 10;
/// Bytes read for a head behind a large frame.
const PEEK: usize = 4 << 10;
/// Bytes looked at at once for zeros.
const PIECE: usize = 64 << 10;

/// What comes next in a file.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// A frame whose head is good; its entries were not looked at.
    Frame {
        /// Offset of the head.
        at: u64,
        head: Head,
    },
    /// Bytes that are no frame, up to the next one or to the end.
    Damage { at: u64, len: u64 },
}

/// A place in a chunk file. Uses a window of bounded size whatever the file holds.
pub(super) struct Walk {
    id: ChunkId,
    pos: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Walk {
    /// Over the bytes from `pos` to `end` of the file of chunk `id`.
    pub(super) fn new(id: ChunkId, pos: u64, end: u64) -> Walk {
        Walk { id, pos, end, window: Vec::new(), window_at: 0 }
    }

    /// What comes next; nothing at the end.
    pub(super) fn next(&mut self, file: &dyn DiskFile) -> io::Result<Option<Step>> {
        if self.pos >= self.end {
            return Ok(None);
        }
        let at = self.pos;
        if let Some(head) = self.head_at(file, at)? {
            self.pos = at + head.frame_len();
            return Ok(Some(Step::Frame { at, head }));
        }
        self.pos = self.find_frame(file, at + 1)?.unwrap_or(self.end);
        Ok(Some(Step::Damage { at, len: self.pos - at }))
    }

    /// The stored entries of a frame that [`next`](Self::next) gave; nothing if they don't match their checksum.
    pub(super) fn entries(&mut self, file: &dyn DiskFile, at: u64, head: &Head) -> io::Result<Option<Bytes>> {
        if head.frame_len() > WINDOW as u64 {
            return read_stored(file, at, head);
        }
        let stored = self.look(file, at + u64::from(head.head_len), head.stored as usize)?;
        let good = stored.len() == head.stored as usize && crc32c::crc32c(stored) == head.crc;
        Ok(good.then(|| Bytes::copy_from_slice(stored)))
    }

    /// The bytes at `at`, up to `len` of them: fewer at the end.
    fn look(&mut self, file: &dyn DiskFile, at: u64, len: usize) -> io::Result<&[u8]> {
        let wanted = (self.end.saturating_sub(at)).min(len as u64) as usize;
        let held = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + wanted as u64 > held {
            // A place within or right behind the window means that frames are small: then read ahead.
            let near = at >= self.window_at && at <= held;
            self.fill(file, at, if near { WINDOW } else { PEEK }.max(wanted))?;
        }
        let start = (at - self.window_at) as usize;
        let end = (start + wanted).min(self.window.len());
        Ok(self.window.get(start..end).unwrap_or_default())
    }

    fn fill(&mut self, file: &dyn DiskFile, at: u64, len: usize) -> io::Result<()> {
        let len = (self.end.saturating_sub(at)).min(len as u64) as usize;
        self.window.resize(len, 0);
        let got = read_full(file, &mut self.window, at)?;
        self.window.truncate(got);
        self.window_at = at;
        Ok(())
    }

    fn head_at(&mut self, file: &dyn DiskFile, at: u64) -> io::Result<Option<Head>> {
        let Some(len) = Head::peek_len(self.look(file, at, MIN_HEAD)?) else { return Ok(None) };
        debug_assert!(len <= MAX_HEAD);
        let id = self.id;
        let head = Head::decode(id, self.look(file, at, len)?);
        Ok(head.filter(|head| head.frame_len() <= self.end - at))
    }

    /// The first good frame at `from` or behind it.
    fn find_frame(&mut self, file: &dyn DiskFile, mut from: u64) -> io::Result<Option<u64>> {
        while from < self.end {
            let bytes = self.look(file, from, WINDOW)?;
            if bytes.is_empty() {
                // The file has become shorter.
                return Ok(None);
            }
            let Some(found) = memmem::find(bytes, &FRAME_MAGIC) else {
                // A magic may lie across the border of what was looked at.
                let seen = bytes.len() as u64;
                from += seen.saturating_sub(FRAME_MAGIC.len() as u64 - 1).max(1);
                continue;
            };
            let at = from + found as u64;
            if self.head_at(file, at)?.is_some() {
                return Ok(Some(at));
            }
            from = at + 1;
        }
        Ok(None)
    }
}

/// The stored entries of a frame; nothing if they don't match their checksum.
pub(super) fn read_stored(file: &dyn DiskFile, at: u64, head: &Head) -> io::Result<Option<Bytes>> {
    // Whoever found the head has made sure that the file is long enough for this much.
    let mut stored = vec![0; head.stored as usize];
    let got = read_full(file, &mut stored, at + u64::from(head.head_len))?;
    let good = got == stored.len() && crc32c::crc32c(&stored) == head.crc;
    Ok(good.then(|| stored.into()))
}

/// Whether a part of a file is all zeros.
pub(super) fn is_zero(file: &dyn DiskFile, mut at: u64, end: u64) -> io::Result<bool> {
    let mut buf = vec![0; PIECE];
    while at < end {
        let want = (end - at).min(PIECE as u64) as usize;
        let got = read_full(file, &mut buf[..want], at)?;
        if got == 0 {
            break;
        }
        if buf[..got].iter().any(|b| *b != 0) {
            return Ok(false);
        }
        at += got as u64;
    }
    Ok(true)
}
