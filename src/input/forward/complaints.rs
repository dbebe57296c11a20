//! Warnings that a client can cause: a few per period, then a count of those left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Length of a period.
const PERIOD: Duration = Duration::from_secs(10);

/// Lines in a period.
const LINES: u32 = 20;

struct State {
    since: Instant,
    said: u32,
    left_out: u64,
}

/// The allowance of one input.
pub(crate) struct Complaints(Mutex<State>);

impl Complaints {
    pub(crate) fn new() -> Complaints {
        Complaints(Mutex::new(State { since: Instant::now(), said: 0, left_out: 0 }))
    }

    /// Logs a warning, unless too many were logged of late.
    pub(crate) fn warn(&self, line: impl FnOnce() -> String) {
        let (may, left_out) = self.may_say(Instant::now());
        if left_out > 0 {
            tracing::warn!("{left_out} warnings about what clients sent were left out");
        }
        if may {
            tracing::warn!("{}", line());
        }
    }

    fn may_say(&self, now: Instant) -> (bool, u64) {
        // Counters only: whole after any panic.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        if now.duration_since(state.since) >= PERIOD {
            left_out = state.left_out;
            *state = State { since: now, said: 0, left_out: 0 };
        }
        let may = state.said < LINES;
        if may {
            state.said += 1;
        } else {
            state.left_out += 1;
        }
        (may, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted_and_told_in_the_next_period() {
        let (complaints, now) = (Complaints::new(), Instant::now());
        let said = (0..1000).filter(|_| complaints.may_say(now).0).count();
        assert_eq!(said, LINES as usize);
        assert_eq!(complaints.may_say(now + PERIOD * 2), (true, 1000 - u64::from(LINES)));
        assert_eq!(complaints.may_say(now + PERIOD * 2), (true, 0));
    }
}
