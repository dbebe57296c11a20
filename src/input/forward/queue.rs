//! The messages of one connection that are being stored, answered in the order in which they came.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::plugin::BoxFuture;

/// Messages under way at once.
const MAX_UNDER_WAY: usize = 32;

/// Bytes under way at once that hold no place in the [`Budget`](super::budget::Budget).
const MAX_LOOSE_BYTES: usize = 256 * 1024;

struct Slot<T> {
    work: BoxFuture<'static, T>,
    done: Option<T>,
    loose_bytes: usize,
}

/// Work in order: begun in order, driven together, taken out in order.
pub(super) struct Queue<T> {
    slots: VecDeque<Slot<T>>,
    loose_bytes: usize,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Queue<T> {
        Queue { slots: VecDeque::new(), loose_bytes: 0 }
    }

    /// Whether another message may be read.
    pub(super) fn has_room(&self) -> bool {
        self.slots.len() < MAX_UNDER_WAY && self.loose_bytes < MAX_LOOSE_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Adds work, which begins when the queue is next waited for.
    pub(super) fn push(&mut self, work: BoxFuture<'static, T>, loose_bytes: usize) {
        self.loose_bytes += loose_bytes;
        self.slots.push_back(Slot { work, done: None, loose_bytes });
    }

    /// Waits for the oldest; for ever where there is none. May be dropped and called again.
    pub(super) async fn next(&mut self) -> T {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The oldest, where it is done already.
    pub(super) fn next_done(&mut self) -> Option<T> {
        let done = self.slots.front_mut()?.done.take()?;
        if let Some(slot) = self.slots.pop_front() {
            self.loose_bytes -= slot.loose_bytes;
        }
        Some(done)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        for slot in self.slots.iter_mut().filter(|s| s.done.is_none()) {
            if let Poll::Ready(done) = slot.work.as_mut().poll(cx) {
                slot.done = Some(done);
            }
        }
        self.next_done().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn results_come_in_order_whatever_is_done_first() {
        let mut queue = Queue::new();
        let mut ends = Vec::new();
        for n in 0..3 {
            let (end, wait) = oneshot::channel::<()>();
            ends.push(end);
            queue.push(
                Box::pin(async move {
                    let _ = wait.await;
                    n
                }),
                100,
            );
        }
        ends.pop().unwrap().send(()).unwrap();
        let early = tokio::select! {
            biased;
            n = queue.next() => Some(n),
            () = std::future::ready(()) => None,
        };
        assert_eq!(early, None);
        assert_eq!(queue.next_done(), None);
        drop(ends);
        assert_eq!((queue.next().await, queue.next_done(), queue.next_done()), (0, Some(1), Some(2)));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_full_queue_has_no_room() {
        let mut queue: Queue<()> = Queue::new();
        queue.push(Box::pin(async {}), MAX_LOOSE_BYTES);
        assert!(!queue.has_room());
        let mut queue: Queue<()> = Queue::new();
        (0..MAX_UNDER_WAY).for_each(|_| queue.push(Box::pin(async {}), 0));
        assert!(!queue.has_room());
    }
}
