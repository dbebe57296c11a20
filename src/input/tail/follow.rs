//! One file that is followed: what discovery, readers and senders share about it.
//!
//! A `Followed` is one generation of one file under one path. Discovery makes it and says when it was rotated and when it
//! is to be finished; exactly one reader at a time runs a turn on it; one sender at a time hands its batches on, in order.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use smallvec::SmallVec;

use super::group::Member;
use super::identity::{FileId, Print};
use super::positions::{Mark, Row};
use super::queue::Charge;
use crate::event::{Batch, Tag};

/// A file that is followed.
pub(super) struct Followed {
    pub(super) path: PathBuf,
    pub(super) tag: Tag,
    pub(super) id: FileId,
    pub(super) born: u64,
    pub(super) row: Arc<Row>,
    pub(super) member: Option<Member>,
    /// Where readers are with it.
    pub(super) progress: Mutex<Progress>,
    outbox: Mutex<Outbox>,
    /// Readers that come after: the file that took its path waits until this one is read to its end once.
    next: Mutex<Option<Arc<Followed>>>,
    turn: AtomicU8,
    pub(super) flags: Flags,
}

/// What others say or ask without waiting for a turn to end.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// It waits for the file before it.
    pub(super) blocked: AtomicBool,
    /// Another file is at its path, or none: it is kept open whatever else is said.
    pub(super) leaving: AtomicBool,
    /// Nothing more is expected: what is left without a line end counts as a line.
    pub(super) finish: AtomicBool,
    /// It was finished, and everything is handed on.
    pub(super) finished: AtomicBool,
    /// The last turn saw the end of the file.
    pub(super) at_end: AtomicBool,
    /// Its bytes are no longer those that were read: a new generation is due.
    pub(super) truncated: AtomicBool,
    /// An event over several lines is not whole yet.
    pub(super) pending: AtomicBool,
    /// Where the reader is.
    pub(super) position: AtomicU64,
    /// The size that the last turn saw.
    pub(super) size: AtomicU64,
    /// Refusals in a row.
    pub(super) refusals: AtomicU32,
}

/// An open file that is counted as long as it is open.
#[derive(Debug)]
pub(super) struct OpenFile {
    file: File,
    count: Arc<AtomicUsize>,
}

impl OpenFile {
    pub(super) fn new(file: File, count: &Arc<AtomicUsize>) -> OpenFile {
        count.fetch_add(1, SeqCst);
        OpenFile { file, count: count.clone() }
    }
}

impl std::ops::Deref for OpenFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.count.fetch_sub(1, SeqCst);
    }
}

/// What the reader of a file keeps from turn to turn. There are no bytes of the file in it: ten thousand idle files cost
/// next to nothing, and what is not handed on yet is read again.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) file: Option<OpenFile>,
    /// Where the next text begins: everything before it is handed on.
    pub(super) position: u64,
    /// Up to here no text ends; at or after `position`.
    pub(super) scanned: u64,
    pub(super) head: Print,
    pub(super) tail: Print,
    /// Between `position` and `scanned` there is no line end at all.
    pub(super) unbroken: bool,
    /// The line at `position` is over the limit; said once.
    pub(super) too_long: bool,
    /// When bytes came last.
    pub(super) grown: Option<Instant>,
    /// Up to here batches hold one event each: a larger one was refused.
    pub(super) single_until: u64,
    /// Where a batch has to end, in order: buffers hold the stream up to there, and pass over what does not go further.
    ends: SmallVec<[u64; 1]>,
    /// Bytes read in the present second.
    pub(super) window: Option<(Instant, u64)>,
}

impl Progress {
    /// From the mark of a row.
    pub(super) fn new(file: OpenFile, mark: Mark) -> Progress {
        let Mark { position, head, tail } = mark;
        Progress { file: Some(file), position, scanned: position, head, tail, unbroken: true, ..Progress::default() }
    }

    /// Goes to a mark; nothing behind it was looked at.
    pub(super) fn move_to(&mut self, mark: Mark) {
        Mark { position: self.position, head: self.head, tail: self.tail } = mark;
        self.scanned = self.position;
        (self.unbroken, self.too_long) = (true, false);
    }

    /// Lets batches end at these positions.
    pub(super) fn end_batches_at(&mut self, positions: impl IntoIterator<Item = u64>) {
        let position = self.position;
        self.ends.retain(|end| *end > position);
        self.ends.extend(positions.into_iter().filter(|end| *end > position));
        self.ends.sort_unstable();
        self.ends.dedup();
    }

    /// How many bytes from the position on the next batch may have at most.
    pub(super) fn longest_batch(&self) -> Option<usize> {
        let next = self.ends.iter().find(|end| **end > self.position)?;
        usize::try_from(next - self.position).ok()
    }

    /// Bytes that were looked at and belong to a text that is not whole.
    pub(super) fn ahead(&self) -> u64 {
        self.scanned - self.position
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { position: self.position, head: self.head, tail: self.tail }
    }
}

/// A batch that was read and not emitted yet.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) batch: Batch,
    /// Where it begins.
    pub(super) from: Mark,
    /// The mark behind it.
    pub(super) upto: Mark,
    /// The memory it takes, counted until it is dropped.
    pub(super) _charge: Option<Charge>,
}

/// Asks a reader to go back: what came after was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rewind {
    pub(super) to: Mark,
    /// Some buffers may have it up to here.
    pub(super) refused: u64,
    /// Up to here one event at a time.
    pub(super) single_until: u64,
}

#[derive(Debug, Default)]
struct Outbox {
    sending: bool,
    ready: Option<Prepared>,
    rewind: Option<Rewind>,
}

/// What becomes of a batch that a reader hands on.
#[derive(Debug)]
pub(super) enum Offer {
    /// Nobody sends: the caller is to start.
    Send(Prepared),
    /// It is kept until the one before is taken.
    Kept,
    /// It is not wanted: the reader has to go back.
    Dropped,
}

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const AGAIN: u8 = 3;

impl Followed {
    /// The generation that `row` is of, read from `start` on.
    pub(super) fn new(
        path: PathBuf,
        tag: Tag,
        (row, start): (Arc<Row>, Mark),
        member: Option<Member>,
        file: OpenFile,
    ) -> Followed {
        let progress = Progress::new(file, start);
        let flags = Flags { position: AtomicU64::new(progress.position), ..Flags::default() };
        Followed {
            path,
            tag,
            id: row.id,
            born: row.born,
            row,
            member,
            progress: Mutex::new(progress),
            outbox: Mutex::default(),
            next: Mutex::default(),
            turn: AtomicU8::new(IDLE),
            flags,
        }
    }

    // Every change under these locks is whole by itself; a panic elsewhere leaves nothing half done.
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader's state; only readers take it for longer than a moment.
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `next` wait until this file is read to its end once. A file that waited before waits no longer.
    pub(super) fn set_next(&self, next: &Arc<Followed>) {
        next.flags.blocked.store(true, SeqCst);
        let before = self.next.lock().unwrap_or_else(PoisonError::into_inner).replace(next.clone());
        if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, next)) {
            before.flags.blocked.store(false, SeqCst);
        }
    }

    /// The file that waits for this one; it no longer does.
    pub(super) fn take_next(&self) -> Option<Arc<Followed>> {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        next.flags.blocked.store(false, SeqCst);
        Some(next)
    }

    /// Asks for a turn. Gives whether the caller is to queue the file.
    pub(super) fn ask(&self) -> bool {
        let next = |turn| match turn {
            IDLE => Some(QUEUED),
            RUNNING => Some(AGAIN),
            _ => None,
        };
        self.turn.fetch_update(SeqCst, SeqCst, next) == Ok(IDLE)
    }

    /// A turn begins.
    pub(super) fn begin(&self) {
        self.turn.store(RUNNING, SeqCst);
    }

    /// A turn ends. Gives whether another was asked for meanwhile: then the file is queued again.
    pub(super) fn end(&self, more: bool) -> bool {
        if more {
            self.turn.store(QUEUED, SeqCst);
            return true;
        }
        if self.turn.compare_exchange(RUNNING, IDLE, SeqCst, SeqCst).is_ok() {
            return false;
        }
        self.turn.store(QUEUED, SeqCst);
        true
    }

    /// Whether a batch waits already behind the one that is sent: then no more is read.
    pub(super) fn is_full(&self) -> bool {
        self.outbox().ready.is_some()
    }

    /// Whether nothing is on its way.
    pub(super) fn is_sent(&self) -> bool {
        let outbox = self.outbox();
        !outbox.sending && outbox.rewind.is_none()
    }

    /// Hands on a batch.
    pub(super) fn offer(&self, prepared: Prepared) -> Offer {
        let mut outbox = self.outbox();
        if outbox.rewind.is_some() {
            return Offer::Dropped;
        }
        if !std::mem::replace(&mut outbox.sending, true) {
            return Offer::Send(prepared);
        }
        outbox.ready = Some(prepared);
        Offer::Kept
    }

    /// The batch after the one that was sent; sending ends where there is none.
    pub(super) fn next_batch(&self) -> Option<Prepared> {
        let mut outbox = self.outbox();
        let ready = outbox.ready.take();
        outbox.sending = ready.is_some();
        ready
    }

    /// Sending ends, and the next turn goes back.
    pub(super) fn give_back(&self, rewind: Rewind) -> Option<Prepared> {
        let mut outbox = self.outbox();
        outbox.sending = false;
        outbox.rewind = Some(rewind);
        outbox.ready.take()
    }

    /// Where a turn has to begin, if not where the last one ended.
    pub(super) fn take_rewind(&self) -> Option<Rewind> {
        self.outbox().rewind.take()
    }
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followed").field("path", &self.path).field("stream", &self.row.stream).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::BatchBuilder;
    use crate::input::tail::tests::followed;

    fn prepared(upto: u64) -> Prepared {
        let at = |position| Mark { position, ..Mark::default() };
        Prepared { batch: BatchBuilder::new().finish(Tag::from("t")), from: at(0), upto: at(upto), _charge: None }
    }

    #[test]
    fn a_file_asked_for_during_its_turn_gets_another() {
        let (_dir, f) = followed("x\n");
        assert!(f.ask());
        assert!(!f.ask());
        f.begin();
        assert!(!f.ask());
        assert!(f.end(false));
        f.begin();
        assert!(!f.end(false));
        assert!(f.ask());
    }

    #[test]
    fn batches_are_sent_one_after_the_other() {
        let (_dir, f) = followed("x\n");
        assert!(matches!(f.offer(prepared(1)), Offer::Send(_)));
        assert!(matches!(f.offer(prepared(2)), Offer::Kept));
        assert!(f.is_full());
        assert_eq!(f.next_batch().unwrap().upto.position, 2);
        assert!(!f.is_full() && !f.is_sent());
        assert!(f.next_batch().is_none() && f.is_sent());
    }

    #[test]
    fn after_a_refusal_nothing_is_taken_until_the_reader_went_back() {
        let (_dir, f) = followed("x\n");
        assert!(matches!(f.offer(prepared(1)), Offer::Send(_)));
        assert!(matches!(f.offer(prepared(2)), Offer::Kept));
        let rewind = Rewind { to: Mark::default(), refused: 0, single_until: 0 };
        assert!(f.give_back(rewind).is_some());
        assert!(matches!(f.offer(prepared(3)), Offer::Dropped));
        assert_eq!(f.take_rewind(), Some(rewind));
        assert!(matches!(f.offer(prepared(1)), Offer::Send(_)));
    }

    #[test]
    fn the_next_file_is_blocked_until_it_is_taken() {
        let (_dir, old) = followed("x\n");
        let (_dir, new) = followed("y\n");
        old.set_next(&new);
        assert!(new.flags.blocked.load(SeqCst));
        assert!(Arc::ptr_eq(&old.take_next().unwrap(), &new));
        assert!(!new.flags.blocked.load(SeqCst) && old.take_next().is_none());
    }
}
