//! The one retry schedule: when a chunk that was not delivered is tried again, when the secondary takes over, and when it
//! is enough. Pure arithmetic on a monotonic clock; all `<buffer>` retry parameters of Fluentd.

use std::time::{Duration, Instant};

/// Most doublings that are counted: past them the interval no longer grows (it would overflow long before).
const MAX_EXPONENT: u32 = 63;
/// Random share of a wait, plus or minus: Fluentd's 12.5 %.
const JITTER: f64 = 0.125;
/// Longest wait that the arithmetic may give.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How waits grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryType {
    /// `retry_wait`, then times the base each time, up to `retry_max_interval`.
    ExponentialBackoff,
    /// Always `retry_wait`.
    Periodic,
}

/// The retry parameters of a `<buffer>` section.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// `retry_type`
    pub kind: RetryType,
    /// `retry_wait`
    pub wait: Duration,
    /// `retry_exponential_backoff_base`
    pub base: f64,
    /// `retry_max_interval`
    pub max_interval: Option<Duration>,
    /// `retry_timeout`; `None` for `retry_forever`
    pub timeout: Option<Duration>,
    /// `retry_max_times`; `None` for no limit
    pub max_times: Option<u32>,
    /// `retry_randomize`
    pub randomize: bool,
    /// `retry_secondary_threshold`: share of the whole time after which the secondary takes over; `None` without one
    pub secondary_threshold: Option<f64>,
}

/// Where one chunk stands in its schedule.
#[derive(Clone, Debug)]
pub struct RetryState {
    started: Instant,
    /// Failed attempts since the first.
    pub times: u32,
}

/// What comes after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    At(Instant),
    /// The limit is reached.
    GiveUp,
}

impl RetryPolicy {
    /// The wait before retry number `times` (0 is the first), without its random share.
    fn interval(&self, times: u32) -> Duration {
        let wait = match self.kind {
            RetryType::Periodic => self.wait,
            RetryType::ExponentialBackoff => {
                let factor = self.base.powi(times.min(MAX_EXPONENT) as i32);
                Duration::try_from_secs_f64(self.wait.as_secs_f64() * factor).unwrap_or(LONGEST_WAIT)
            }
        };
        wait.min(self.max_interval.unwrap_or(LONGEST_WAIT)).min(LONGEST_WAIT)
    }

    /// The time from the first failure to the last allowed attempt; `None` when there is no limit.
    fn span(&self) -> Option<Duration> {
        let by_times = self.max_times.map(|n| self.sum_of_intervals(n));
        match (self.timeout, by_times) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn sum_of_intervals(&self, times: u32) -> Duration {
        let mut sum = Duration::ZERO;
        for n in 0..times {
            let interval = self.interval(n);
            sum = sum.saturating_add(interval);
            let steady = self.interval(n + 1) == interval;
            if steady || sum >= LONGEST_WAIT {
                return sum.saturating_add(interval.saturating_mul(times - n - 1)).min(LONGEST_WAIT);
            }
        }
        sum
    }

    /// Whether the secondary is to be used at `now`.
    pub fn is_secondary(&self, state: &RetryState, now: Instant) -> bool {
        match (self.secondary_threshold, self.span()) {
            (Some(share), Some(span)) => now >= state.started + span.mul_f64(share.clamp(0.0, 1.0)),
            _ => false,
        }
    }

    /// Counts a failure at `now` and says what comes next. `random` is in 0..1.
    pub fn failed(&self, state: &mut RetryState, now: Instant, random: f64) -> Next {
        let mut wait = self.interval(state.times);
        if self.randomize {
            wait = wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * random);
        }
        let next = now + wait;
        let late = self.timeout.is_some_and(|t| next >= state.started + t);
        let often = self.max_times.is_some_and(|n| state.times >= n);
        state.times = state.times.saturating_add(1);
        if !often && !late {
            return Next::At(next);
        }
        // The last attempt is made at the time-out itself, not skipped because the interval grew past it.
        match self.timeout {
            Some(t) if !often && now < state.started + t => Next::At(state.started + t),
            _ => Next::GiveUp,
        }
    }
}

impl RetryState {
    /// A chunk that fails for the first time at `now`.
    pub fn new(now: Instant) -> RetryState {
        RetryState { started: now, times: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            kind: RetryType::ExponentialBackoff,
            wait: Duration::from_secs(1),
            base: 2.0,
            max_interval: None,
            timeout: Some(Duration::from_secs(72 * 3600)),
            max_times: None,
            randomize: false,
            secondary_threshold: None,
        }
    }

    fn waits(policy: &RetryPolicy, most: usize) -> (Vec<u64>, bool) {
        let start = Instant::now();
        let (mut state, mut now, mut out) = (RetryState::new(start), start, Vec::new());
        for _ in 0..most {
            match policy.failed(&mut state, now, 0.5) {
                Next::At(t) => {
                    out.push((t - now).as_millis() as u64);
                    now = t;
                }
                Next::GiveUp => return (out, true),
            }
        }
        (out, false)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let p = RetryPolicy { max_interval: Some(Duration::from_secs(5)), ..policy() };
        assert_eq!(waits(&p, 5), (vec![1000, 2000, 4000, 5000, 5000], false));
    }

    #[test]
    fn max_times_counts_the_retries() {
        let p = RetryPolicy { kind: RetryType::Periodic, max_times: Some(2), ..policy() };
        assert_eq!(waits(&p, 9), (vec![1000, 1000], true));
    }

    #[test]
    fn the_last_attempt_is_at_the_time_out() {
        let p = RetryPolicy { timeout: Some(Duration::from_secs(6)), ..policy() };
        assert_eq!(waits(&p, 9), (vec![1000, 2000, 3000], true));
    }

    #[test]
    fn forever_never_gives_up_and_never_overflows() {
        let p = RetryPolicy { timeout: None, ..policy() };
        let (got, ended) = waits(&p, 100);
        assert!(!ended);
        assert!(got[99] <= LONGEST_WAIT.as_millis() as u64);
    }

    #[test]
    fn the_secondary_takes_over_at_its_share_of_the_time() {
        let p =
            RetryPolicy { kind: RetryType::Periodic, max_times: Some(10), secondary_threshold: Some(0.8), ..policy() };
        let start = Instant::now();
        let state = RetryState::new(start);
        assert!(!p.is_secondary(&state, start + Duration::from_millis(7999)));
        assert!(p.is_secondary(&state, start + Duration::from_secs(8)));
        assert!(!RetryPolicy { secondary_threshold: None, ..p }.is_secondary(&state, start + Duration::from_secs(99)));
    }

    #[test]
    fn randomness_stays_within_an_eighth() {
        let p = RetryPolicy { randomize: true, ..policy() };
        let now = Instant::now();
        for (random, millis) in [(0.0, 875), (0.5, 1000), (1.0, 1125)] {
            let next = p.failed(&mut RetryState::new(now), now, random);
            assert_eq!(next, Next::At(now + Duration::from_millis(millis)));
        }
    }
}
