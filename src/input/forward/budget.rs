//! Bounds what half-received messages may take in memory, over all connections of an input.
//!
//! A message up to [`FREE_BYTES`] takes no place. Larger ones wait for a place of their size before they are read on; the
//! place is kept until the events are stored. Places are asked for from small to large only, so that nobody waits in a
//! circle.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::net::forward::Wanted;

/// Largest message that needs no place, in bytes.
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

/// A message that holds a place must be whole within this time ...
const PATIENCE: Duration = Duration::from_secs(60);

/// ... and a second more for each so many bytes of it.
const SLOWEST_BYTES_PER_SEC: usize = 128 * 1024;

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
}

/// A place that is held; dropping it gives it back.
pub(super) struct Hold {
    class: Class,
    bytes: usize,
    /// When the message must be whole.
    pub(super) deadline: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    pub(super) fn new() -> Budget {
        let places = |n| Arc::new(Semaphore::new(n));
        Budget { medium: places(MEDIUM_UNITS), large: places(LARGE_PLACES), giant: places(GIANT_PLACES) }
    }

    /// Waits until a message that wants so much may be read on. `hold` is the place it has so far.
    ///
    /// May be dropped at any time: the place so far is kept.
    pub(super) async fn admit(&self, hold: &mut Option<Hold>, wanted: Wanted) {
        let Some((class, bytes)) = class_of(wanted) else { return };
        if hold.as_ref().is_some_and(|h| (h.class, h.bytes) >= (class, bytes)) {
            return;
        }
        let (places, units) = match class {
            Class::Medium => (&self.medium, bytes.div_ceil(FREE_BYTES)),
            Class::Large => (&self.large, 1),
            Class::Giant => (&self.giant, 1),
        };
        // The semaphores are never closed.
        let Ok(permit) = places.clone().acquire_many_owned(units as u32).await else { return };
        let time = PATIENCE + Duration::from_secs((bytes / SLOWEST_BYTES_PER_SEC) as u64);
        *hold = Some(Hold { class, bytes, deadline: Instant::now() + time, _permit: permit });
    }
}

/// The class of a message and the bytes that it may have in that class.
fn class_of(wanted: Wanted) -> Option<(Class, usize)> {
    // A message that declares no length of its own may have as many bytes as its class allows.
    let known = wanted.declared > wanted.buffered + 1;
    match wanted.declared.max(wanted.buffered) {
        0..=FREE_BYTES => None,
        bytes @ ..=MEDIUM_BYTES => Some((Class::Medium, if known { bytes } else { MEDIUM_BYTES })),
        bytes @ ..=LARGE_BYTES => Some((Class::Large, if known { bytes } else { LARGE_BYTES })),
        bytes => Some((Class::Giant, bytes.max(LARGE_BYTES * 16))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn declared(bytes: usize) -> Wanted {
        Wanted { buffered: 100, declared: bytes }
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
    async fn small_messages_take_no_place() {
        let (budget, mut hold) = (Budget::new(), None);
        budget.admit(&mut hold, declared(FREE_BYTES)).await;
        assert!(hold.is_none());
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
        for bytes in [FREE_BYTES + 1, MEDIUM_BYTES, MEDIUM_BYTES + 1, LARGE_BYTES, LARGE_BYTES + 1, 10 * LARGE_BYTES] {
            assert!(!would_wait(&budget, &mut hold, grown(bytes)).await, "{bytes}");
        }
        assert_eq!(hold.unwrap().class, Class::Giant);
        assert_eq!(budget.medium.available_permits(), MEDIUM_UNITS);
        assert_eq!(budget.large.available_permits(), LARGE_PLACES);
    }
}
