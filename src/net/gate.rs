//! Log lines that a client can cause are let through now and then, with the number of those left out.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use std::sync::LazyLock;

/// The moment that a gate's clock counts from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Lets one line through in each interval.
#[derive(Debug)]
pub struct LogGate {
    every: Duration,
    /// Milliseconds after [`START`] from when the next line may pass.
    next: AtomicU64,
    left_out: AtomicU64,
}

impl LogGate {
    /// A gate for one line in `every`.
    pub const fn new(every: Duration) -> LogGate {
        LogGate { every, next: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// `Some(n)` when the line may be logged: `n` lines were left out since the last one. `None` when it may not.
    pub fn pass(&self) -> Option<u64> {
        let now = START.elapsed().as_millis() as u64;
        let next = self.next.load(Relaxed);
        let until = now.saturating_add(self.every.as_millis() as u64);
        if now >= next && self.next.compare_exchange(next, until, Relaxed, Relaxed).is_ok() {
            return Some(self.left_out.swap(0, Relaxed));
        }
        self.left_out.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_and_the_others_are_counted() {
        let gate = LogGate::new(Duration::from_secs(3600));
        assert_eq!(gate.pass(), Some(0));
        assert_eq!(gate.pass(), None);
        let open = LogGate::new(Duration::ZERO);
        assert_eq!((open.pass(), open.pass()), (Some(0), Some(0)));
    }
}
