//! Files that have something to read, in the order in which they asked: a file that has more after its turn goes to the
//! end, so that a huge one never holds up the others. Also the memory that batches on their way may take.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::follow::Followed;

/// Bytes of batches on their way above which files get small blocks only.
const SOFT_BYTES: usize = 16 << 20;
/// Bytes of batches on their way above which nothing is read.
const HARD_BYTES: usize = 48 << 20;
/// How often a waiting reader looks whether the queue was closed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    /// Bytes of batches on their way.
    in_flight: AtomicUsize,
    /// Events over several lines are ended where they are: the input is stopping.
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    files: VecDeque<Arc<Followed>>,
    running: usize,
    closed: bool,
}

impl Queue {
    // Every change under the lock is whole by itself; a panic elsewhere leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a turn.
    pub(super) fn wake(&self, file: &Arc<Followed>) {
        if !file.flags.blocked.load(SeqCst) && file.ask() {
            self.push(file.clone());
        }
    }

    fn push(&self, file: Arc<Followed>) {
        self.state().files.push_back(file);
        self.ready.notify_one();
    }

    /// Waits for a file whose turn it is; `None` once the queue is closed.
    pub(super) fn next(&self) -> Option<Arc<Followed>> {
        let mut state = self.state();
        loop {
            if state.closed {
                return None;
            }
            if self.in_flight.load(SeqCst) < HARD_BYTES
                && let Some(file) = state.files.pop_front()
            {
                state.running += 1;
                file.begin();
                return Some(file);
            }
            state = self.ready.wait_timeout(state, LOOK_INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The turn of a file is over.
    pub(super) fn done(&self, file: Arc<Followed>, more: bool) {
        let again = file.end(more);
        let mut state = self.state();
        state.running -= 1;
        if again {
            state.files.push_back(file);
            drop(state);
            self.ready.notify_one();
        }
    }

    /// Whether nobody reads and nothing waits to be read.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.running == 0 && state.files.is_empty()
    }

    /// Lets readers end after the turn they are in.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_all();
    }

    /// From now on events over several lines are ended where they are.
    pub(super) fn set_stopping(&self) {
        self.stopping.store(true, SeqCst);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// Counts a batch as on its way until the guard is dropped.
    pub(super) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.in_flight.fetch_add(bytes, SeqCst);
        Charge { queue: self.clone(), bytes }
    }

    /// Whether batches are to be small.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.in_flight.load(SeqCst) >= SOFT_BYTES
    }
}

/// Bytes of one batch on its way.
#[derive(Debug)]
pub(super) struct Charge {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let before = self.queue.in_flight.fetch_sub(self.bytes, SeqCst);
        if before >= HARD_BYTES {
            // Under the lock, so that a reader about to wait is not missed.
            let _state = self.queue.state();
            self.queue.ready.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::input::tail::tests::followed;

    #[test]
    fn a_file_with_more_goes_behind_the_others() {
        let ((_a, a), (_b, b)) = (followed("a\n"), followed("b\n"));
        let queue = Queue::default();
        queue.wake(&a);
        queue.wake(&b);
        queue.wake(&a);
        let first = queue.next().unwrap();
        assert!(Arc::ptr_eq(&first, &a));
        queue.done(first, true);
        let second = queue.next().unwrap();
        assert!(Arc::ptr_eq(&second, &b) && !queue.is_idle());
        queue.done(second, false);
        let third = queue.next().unwrap();
        assert!(Arc::ptr_eq(&third, &a));
        queue.done(third, false);
        assert!(queue.is_idle());
        queue.close();
        assert!(queue.next().is_none());
    }

    #[test]
    fn nothing_is_read_while_too_much_is_on_its_way() {
        let (_dir, a) = followed("a\n");
        let queue = Arc::new(Queue::default());
        let charge = queue.charge(HARD_BYTES);
        queue.wake(&a);
        let reader = std::thread::spawn({
            let queue = queue.clone();
            move || queue.next().is_some()
        });
        assert!(queue.is_short_of_memory() && !reader.is_finished());
        drop(charge);
        assert!(reader.join().unwrap());
    }
}
