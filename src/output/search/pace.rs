//! How much is sent at once: it shrinks where a target says that this is too much, and grows again while it takes all.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Size of a request where nothing else is said, in bytes before packing: within the 5 to 10 MB that Elasticsearch's own
/// guide ("Tune for indexing speed") begins with.
const REQUEST_BYTES: usize = 8 << 20;
/// Largest request that may be asked for, in bytes: `http.max_content_length` is 100 MB where nobody changed it.
const LARGEST_REQUEST: usize = 96 << 20;
/// Smallest size that requests shrink to, in bytes.
const SMALLEST_REQUEST: usize = 64 * 1024;
/// Most documents of a request, where nothing else is said.
const REQUEST_DOCUMENTS: usize = 5_000;
/// Requests of one chunk that are under way at once, where nothing else is said.
const REQUESTS_AT_ONCE: usize = 2;
/// Most such requests that may be asked for.
pub const MAX_REQUESTS_AT_ONCE: usize = 16;
/// Fewest documents that requests shrink to.
const FEWEST_DOCUMENTS: usize = 50;

/// First wait for a target that is busy; it doubles with each round.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes before packing; one document may have more.
    pub bytes: usize,
    /// Documents.
    pub documents: usize,
}

/// How much is sent at once, shared by all chunks of an output.
#[derive(Debug)]
pub struct Pace {
    most: Limits,
    most_at_once: usize,
    bytes: AtomicUsize,
    documents: AtomicUsize,
    at_once: AtomicUsize,
    /// What a target said is too large is never sent again.
    ceiling: AtomicUsize,
}

impl Pace {
    /// `bytes`: of a request; `documents`: of a request; `at_once`: requests of a chunk.
    pub fn new(bytes: Option<usize>, documents: Option<usize>, at_once: Option<usize>) -> Pace {
        let most = Limits {
            bytes: bytes.unwrap_or(REQUEST_BYTES).clamp(1, LARGEST_REQUEST),
            documents: documents.unwrap_or(REQUEST_DOCUMENTS).max(1),
        };
        let most_at_once = at_once.unwrap_or(REQUESTS_AT_ONCE).clamp(1, MAX_REQUESTS_AT_ONCE);
        Pace {
            most,
            most_at_once,
            bytes: AtomicUsize::new(most.bytes),
            documents: AtomicUsize::new(most.documents),
            at_once: AtomicUsize::new(most_at_once),
            ceiling: AtomicUsize::new(usize::MAX),
        }
    }

    /// What the next request may have.
    pub fn limits(&self) -> Limits {
        let bytes = self.bytes.load(Relaxed).min(self.ceiling.load(Relaxed));
        Limits { bytes, documents: self.documents.load(Relaxed) }
    }

    /// Requests of a chunk that may be under way at once.
    pub fn at_once(&self) -> usize {
        self.at_once.load(Relaxed)
    }

    /// A request of so many bytes was too large.
    pub fn too_large(&self, bytes: usize) {
        let smallest = SMALLEST_REQUEST.min(self.most.bytes);
        self.ceiling.fetch_min((bytes / 2).max(smallest), Relaxed);
    }

    /// The target is busy.
    pub fn busy(&self) {
        let halve = |value: &AtomicUsize, least: usize| {
            // Several requests may say so at the same time; each halves once.
            let _ = value.fetch_update(Relaxed, Relaxed, |now| Some((now / 2).max(least.min(now))));
        };
        halve(&self.bytes, SMALLEST_REQUEST);
        halve(&self.documents, FEWEST_DOCUMENTS);
        halve(&self.at_once, 1);
    }

    /// The target has taken a request whole.
    pub fn good(&self) {
        let grow = |value: &AtomicUsize, most: usize| {
            if value.load(Relaxed) < most {
                let _ = value.fetch_update(Relaxed, Relaxed, |now| Some((now + most / 16 + 1).min(most)));
            }
        };
        grow(&self.bytes, self.most.bytes);
        grow(&self.documents, self.most.documents);
        grow(&self.at_once, self.most_at_once);
    }
}

/// How long to wait before the next round, from 0; as the target asks where it does. `random`: in 0..1.
pub fn pause(round: u32, asked: Option<Duration>, random: f64) -> Duration {
    let own = FIRST_WAIT.saturating_mul(1 << round.min(10)).mul_f64(0.75 + random / 2.0);
    asked.unwrap_or(own).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_shrink_when_the_target_is_busy_and_grow_again() {
        let pace = Pace::new(None, None, Some(4));
        assert_eq!((pace.limits().bytes, pace.at_once()), (REQUEST_BYTES, 4));
        pace.busy();
        assert_eq!((pace.limits().bytes, pace.limits().documents, pace.at_once()), (REQUEST_BYTES / 2, 2500, 2));
        (0..20).for_each(|_| pace.busy());
        assert_eq!(pace.limits(), Limits { bytes: SMALLEST_REQUEST, documents: FEWEST_DOCUMENTS });
        assert_eq!(pace.at_once(), 1);
        (0..20).for_each(|_| pace.good());
        assert_eq!((pace.limits().bytes, pace.at_once()), (REQUEST_BYTES, 4));
    }

    #[test]
    fn what_was_too_large_is_not_sent_again() {
        let pace = Pace::new(Some(1 << 20), None, None);
        pace.too_large(1 << 20);
        (0..20).for_each(|_| pace.good());
        assert_eq!(pace.limits().bytes, 1 << 19);
        pace.too_large(10);
        assert_eq!(pace.limits().bytes, SMALLEST_REQUEST);
        assert_eq!(Pace::new(Some(100), Some(0), Some(99)).limits(), Limits { bytes: 100, documents: 1 });
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        assert_eq!(pause(0, None, 0.5), FIRST_WAIT);
        assert_eq!(pause(3, None, 0.5), FIRST_WAIT * 8);
        assert_eq!(pause(9, Some(Duration::from_secs(100)), 0.0), LONGEST_WAIT);
        assert!(pause(30, None, 1.0) <= LONGEST_WAIT);
    }
}
