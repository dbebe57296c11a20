//! Bounds what half-received messages may take in memory, over all connections of an input.
//!
//! A message takes no place until [`FREE_BYTES`] of it have come. Then it waits for a place of its size before it is read
//! on; the place is kept until the events are stored. Places are asked for from small to large only, so that nobody waits
//! in a circle, and while somebody waits, a peer that holds a place must keep its bytes coming.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::net::forward::Wanted;

/// So much of a message may come before it needs a place, in bytes.
pub(super) const FREE_BYTES: usize = 64 * 1024;

/// Largest message that takes as many units as it has [`FREE_BYTES`], in bytes.
const MEDIUM_BYTES: usize = 1024 * 1024;

/// Units for medium messages: 32 MiB in all.
const MEDIUM_UNITS: usize = 512;

/// Largest message of the next class, in bytes.
const LARGE_BYTES: usize = 16 * 1024 * 1024;

/// Large messages at once.
const LARGE_PLACES: usize = 2;

/// Messages above [`LARGE_BYTES`] at once.
const GIANT_PLACES: usize = 1;

/// How long a message that holds a place may be waited for in all, ...
const PATIENCE: Duration = Duration::from_secs(60);

/// ... how long while others wait for a place, ...
const CROWDED_PATIENCE: Duration = Duration::from_secs(2);

/// ... and a second more for each so many bytes that have come.
const SLOWEST_BYTES_PER_SEC: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Medium,
    Large,
    Giant,
}

/// The places of one input.
pub(super) struct Budget {
    medium: Arc<Semaphore>,
    large: Arc<Semaphore>,
    giant: Arc<Semaphore>,
    /// Connections that wait for a place.
    waiting: AtomicUsize,
}

/// A place that is held; dropping it gives it back.
pub(super) struct Hold {
    class: Class,
    /// Bytes that the message may have here.
    bytes: usize,
    /// Time spent on waiting for the message's bytes.
    waited: Duration,
    _permit: OwnedSemaphorePermit,
}

/// Time that is being spent on waiting for bytes; noted when dropped.
pub(super) struct Waiting<'h> {
    hold: &'h mut Hold,
    since: Instant,
}

impl Hold {
    /// Begins to wait for more of the message.
    pub(super) fn wait(&mut self) -> Waiting<'_> {
        Waiting { hold: self, since: Instant::now() }
    }
}

impl Waiting<'_> {
    /// Whether a peer of which `buffered` bytes have come took too long.
    pub(super) fn is_over(&self, buffered: usize, budget: &Budget) -> bool {
        let crowded = budget.waiting.load(Relaxed) > 0;
        let patience = if crowded { CROWDED_PATIENCE } else { PATIENCE };
        let earned = Duration::from_secs((buffered / SLOWEST_BYTES_PER_SEC) as u64);
        self.hold.waited + self.since.elapsed() > patience + earned
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.hold.waited += self.since.elapsed();
    }
}

/// Counts a connection that waits for a place.
struct InLine<'b>(&'b AtomicUsize);

impl<'b> InLine<'b> {
    fn new(waiting: &'b AtomicUsize) -> InLine<'b> {
        waiting.fetch_add(1, Relaxed);
        InLine(waiting)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Budget {
    pub(super) fn new() -> Budget {
        let places = |n| Arc::new(Semaphore::new(n));
        Budget {
            medium: places(MEDIUM_UNITS),
            large: places(LARGE_PLACES),
            giant: places(GIANT_PLACES),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits until a message that wants so much may be read on. `hold` is the place it has so far.
    ///
    /// May be dropped at any time: the place so far is kept.
    pub(super) async fn admit(&self, hold: &mut Option<Hold>, wanted: Wanted) {
        let Some((mut class, mut bytes)) = class_of(wanted) else { return };
        if let Some(held) = hold {
            if (held.class, held.bytes) >= (class, bytes) {
                return;
            }
            if held.class == Class::Medium {
                // Never more of the same class, which others may wait for with what they hold.
                (class, bytes) = (class.max(Class::Large), bytes.max(LARGE_BYTES));
            }
        }
        let (places, units) = match class {
            Class::Medium => (&self.medium, bytes.div_ceil(FREE_BYTES)),
            Class::Large => (&self.large, 1),
            Class::Giant => (&self.giant, 1),
        };
        let _in_line = (places.available_permits() < units).then(|| InLine::new(&self.waiting));
        // The semaphores are never closed.
        let Ok(permit) = places.clone().acquire_many_owned(units as u32).await else { return };
        let waited = hold.as_ref().map_or(Duration::ZERO, |h| h.waited);
        *hold = Some(Hold { class, bytes, waited, _permit: permit });
    }
}

/// The class of a message and the bytes that it may have in that class.
fn class_of(wanted: Wanted) -> Option<(Class, usize)> {
    // A message that declares no length of its own may have as many bytes as its class allows.
    let known = wanted.declared > wanted.buffered + 1;
    match wanted.declared.max(wanted.buffered) {
        _ if wanted.buffered < FREE_BYTES => None,
        bytes @ ..=MEDIUM_BYTES => Some((Class::Medium, if known { bytes } else { MEDIUM_BYTES })),
        ..=LARGE_BYTES => Some((Class::Large, LARGE_BYTES)),
        _ => Some((Class::Giant, usize::MAX)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn declared(bytes: usize) -> Wanted {
        Wanted { buffered: FREE_BYTES, declared: bytes }
    }

    fn grown(bytes: usize) -> Wanted {
        Wanted { buffered: bytes, declared: bytes + 1 }
    }

    async fn would_wait(budget: &Budget, hold: &mut Option<Hold>, wanted: Wanted) -> bool {
        tokio::select! {
            biased;
            () = budget.admit(hold, wanted) => false,
            () = std::future::ready(()) => true,
        }
    }

    #[tokio::test]
    async fn a_message_takes_no_place_before_much_of_it_came() {
        let (budget, mut hold) = (Budget::new(), None);
        for declared in [100, 100 << 20] {
            budget.admit(&mut hold, Wanted { buffered: FREE_BYTES - 1, declared }).await;
            assert!(hold.is_none());
        }
    }

    #[tokio::test]
    async fn medium_messages_share_their_units_and_give_them_back() {
        let budget = Budget::new();
        let mut holds = Vec::new();
        for _ in 0..32 {
            let mut hold = None;
            assert!(!would_wait(&budget, &mut hold, declared(MEDIUM_BYTES)).await);
            holds.push(hold);
        }
        let mut late = None;
        assert!(would_wait(&budget, &mut late, declared(FREE_BYTES + 1)).await);
        holds.pop();
        assert!(!would_wait(&budget, &mut late, declared(FREE_BYTES + 1)).await);
    }

    #[tokio::test]
    async fn one_giant_is_received_at_a_time() {
        let budget = Budget::new();
        let (mut first, mut second) = (None, None);
        assert!(!would_wait(&budget, &mut first, declared(200 << 20)).await);
        assert!(would_wait(&budget, &mut second, declared(200 << 20)).await);
        assert!(!would_wait(&budget, &mut second, declared(MEDIUM_BYTES)).await);
    }

    #[tokio::test]
    async fn a_message_of_unknown_length_climbs_from_class_to_class() {
        let budget = Budget::new();
        let mut hold = None;
        for bytes in [FREE_BYTES + 1, MEDIUM_BYTES, MEDIUM_BYTES + 1, LARGE_BYTES, LARGE_BYTES + 1, 100 * LARGE_BYTES] {
            assert!(!would_wait(&budget, &mut hold, grown(bytes)).await, "{bytes}");
        }
        assert_eq!(hold.unwrap().class, Class::Giant);
        assert_eq!(budget.medium.available_permits(), MEDIUM_UNITS);
        assert_eq!(budget.large.available_permits(), LARGE_PLACES);
    }

    #[tokio::test]
    async fn a_message_that_declares_more_and_more_waits_for_no_more_of_its_own_class() {
        let budget = Budget::new();
        let mut holds: Vec<Option<Hold>> = (0..3).map(|_| None).collect();
        for hold in &mut holds {
            budget.admit(hold, declared(MEDIUM_BYTES / 2)).await;
        }
        let _rest = budget.medium.clone().acquire_many_owned(budget.medium.available_permits() as u32).await;
        assert!(!would_wait(&budget, &mut holds[0], declared(MEDIUM_BYTES)).await);
        assert_eq!(holds[0].as_ref().unwrap().class, Class::Large);
    }

    #[tokio::test(start_paused = true)]
    async fn only_time_spent_on_waiting_for_the_peer_counts() {
        let (budget, mut hold) = (Budget::new(), None);
        budget.admit(&mut hold, declared(MEDIUM_BYTES)).await;
        let mut hold = hold.unwrap();
        drop(hold.wait());
        tokio::time::advance(Duration::from_secs(1000)).await;
        let waiting = hold.wait();
        assert!(!waiting.is_over(0, &budget));
        tokio::time::advance(PATIENCE + Duration::from_secs(1)).await;
        assert!(!waiting.is_over(2 * SLOWEST_BYTES_PER_SEC, &budget), "what has come earns time");
        drop(waiting);
        assert!(hold.wait().is_over(0, &budget));
    }

    #[tokio::test(start_paused = true)]
    async fn while_others_wait_for_a_place_a_silent_peer_loses_its_own() {
        let (budget, mut first, mut second) = (Budget::new(), None, None);
        budget.admit(&mut first, declared(200 << 20)).await;
        let mut first = first.unwrap();
        let waiting = first.wait();
        tokio::time::advance(CROWDED_PATIENCE * 2).await;
        assert!(!waiting.is_over(0, &budget));
        tokio::select! {
            biased;
            () = budget.admit(&mut second, declared(200 << 20)) => panic!("admitted"),
            () = async { assert!(waiting.is_over(0, &budget)) } => {}
        }
        assert_eq!(budget.waiting.load(Relaxed), 0);
    }
}
