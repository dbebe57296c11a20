//! The position of one file, and the batches that are stored but not delivered yet.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::super::identity::{FileId, Print, nanos};
use super::sidecar::Hint;
use crate::buffer::Receipt;

/// Receipts of one file that are waited for one by one; past it neighbours are put together, and the position moves in
/// larger steps.
const MAX_RECEIPTS: usize = 4096;

/// Of a row that no state of positions has yet.
const NEVER: u64 = u64::MAX;

/// A position with the prints that tell whether the file still is the one it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Mark {
    /// Bytes of the file that are done with.
    pub(in super::super) position: u64,
    /// Of the file's first bytes.
    pub(in super::super) head: Print,
    /// Of the bytes before the position; of none where they are not known.
    pub(in super::super) tail: Print,
}

/// One generation of one file.
#[derive(Debug)]
pub(in super::super) struct Row {
    /// Names the generation towards buffers; each has its own.
    pub(in super::super) stream: Arc<str>,
    pub(in super::super) id: FileId,
    pub(in super::super) born: u64,
    /// The place in the position file.
    pub(super) order: u64,
    /// The state of all positions that has this row first; 0 for one that was on the disk before.
    since: AtomicU64,
    state: Mutex<State>,
    receipts: Mutex<Receipts>,
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    mark: Mark,
    /// Whether the position file has a line of it: with `follow_inodes` always, else while it is the file of its path.
    listed: bool,
}

#[derive(Debug, Default)]
struct Receipts {
    waiting: VecDeque<(Mark, Receipt)>,
    /// A task waits for the first of them.
    watched: bool,
}

/// What is to be done after a batch was stored.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Stored {
    /// The position has moved.
    Moved,
    /// It moves once receipts are in; somebody waits for them.
    Waiting,
    /// It moves once receipts are in; the caller is to wait for them, with [`Row::delivered`].
    Wait,
}

/// A number that no other generation has, in this process or an earlier one: later than any before.
fn generation() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = nanos(SystemTime::now());
    let last = LAST.fetch_update(Relaxed, Relaxed, |last| Some(now.max(last + 1))).unwrap_or(now);
    now.max(last + 1)
}

impl Row {
    /// A new generation.
    pub(super) fn new(path: PathBuf, id: FileId, born: u64, mark: Mark, order: u64) -> Row {
        let stream = format!("tail:{:x}:{:x}:{:x}", id.device, id.inode, generation());
        let row = Row::with_stream(stream.into(), path, id, born, mark, order);
        row.since.store(NEVER, Relaxed);
        row
    }

    /// A generation that is known from an earlier process.
    pub(super) fn from_hint(hint: Hint, order: u64) -> Row {
        let row = Row::with_stream(hint.stream.into(), hint.path, hint.id, hint.born, hint.mark, order);
        row.set_listed(hint.listed);
        row
    }

    fn with_stream(stream: Arc<str>, path: PathBuf, id: FileId, born: u64, mark: Mark, order: u64) -> Row {
        let state = Mutex::new(State { path, mark, listed: true });
        Row { stream, id, born, order, since: AtomicU64::new(0), state, receipts: Mutex::default() }
    }

    /// The same generation for a file whose device or birth is known better now.
    pub(super) fn renewed(&self, path: PathBuf, id: FileId, born: u64, mark: Mark) -> Row {
        Row::with_stream(self.stream.clone(), path, id, born, mark, self.order)
    }

    // Every change under either lock is whole by itself; a panic elsewhere leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receipts(&self) -> MutexGuard<'_, Receipts> {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From this state of all positions on the row is there, if it was not before.
    pub(super) fn is_there_since(&self, version: u64) {
        let _ = self.since.compare_exchange(NEVER, version, Relaxed, Relaxed);
    }

    /// The state of all positions that has this row first.
    pub(super) fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    pub(in super::super) fn path(&self) -> PathBuf {
        self.state().path.clone()
    }

    pub(in super::super) fn mark(&self) -> Mark {
        self.state().mark
    }

    /// Whether the position file has a line of it.
    pub(super) fn is_listed(&self) -> bool {
        self.state().listed
    }

    pub(super) fn set_listed(&self, listed: bool) {
        self.state().listed = listed;
    }

    pub(super) fn set_path(&self, path: PathBuf) {
        self.state().path = path;
    }

    /// Everything that is saved.
    pub(super) fn hint(&self) -> Hint {
        let state = self.state();
        let (path, listed, mark) = (state.path.clone(), state.listed, state.mark);
        Hint { path, listed, id: self.id, born: self.born, mark, stream: self.stream.to_string() }
    }

    /// A batch up to `mark` is stored. Batches come in the file's order.
    pub(super) fn stored(&self, mark: Mark, receipt: Receipt) -> Stored {
        let mut receipts = self.receipts();
        if receipts.waiting.is_empty() && receipt.is_durable() {
            self.state().mark = mark;
            return Stored::Moved;
        }
        // The first is being waited for and stays as it is.
        let many = receipts.waiting.len() >= MAX_RECEIPTS;
        let receipt = match receipts.waiting.pop_back_if(|_| many) {
            Some((_, before)) => before.merge(receipt),
            None => receipt,
        };
        receipts.waiting.push_back((mark, receipt));
        if std::mem::replace(&mut receipts.watched, true) { Stored::Waiting } else { Stored::Wait }
    }

    /// Waits for the receipts in order and moves the position with each; `moved` is called after every step. Ends when no
    /// more are waiting. Where it is dropped before, the position stays and the next call goes on.
    pub(super) async fn delivered(&self, moved: impl Fn()) {
        let mut watch = Watch { row: self, ended: false };
        while let Some((mark, receipt)) = self.first_receipt() {
            if !receipt.delivered().await {
                // The buffer went away with it: the position stays, and a restart reads it again.
                return;
            }
            self.state().mark = mark;
            self.receipts().waiting.pop_front();
            moved();
        }
        watch.ended = true;
    }

    fn first_receipt(&self) -> Option<(Mark, Receipt)> {
        let mut receipts = self.receipts();
        let first = receipts.waiting.front().cloned();
        // Under the same lock, so that a batch stored now is either seen here or gets a watcher of its own.
        receipts.watched = first.is_some();
        first
    }
}

/// Somebody waits for a row's receipts.
struct Watch<'r> {
    row: &'r Row,
    ended: bool,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.row.receipts().watched = false;
        }
    }
}
