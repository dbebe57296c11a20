//! Lines that were written already: `ignore_repeated_log_interval` and `ignore_same_log_interval`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most lines that are remembered: Fluentd's.
const MAX_REMEMBERED: usize = 1000;

/// What was written.
pub(super) struct Repeats {
    repeated: Option<Duration>,
    same: Option<Duration>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    last: Option<(String, Instant)>,
    all: HashMap<String, Instant>,
}

impl Repeats {
    /// `repeated`: how long a line that is the same as the one before is left out; `same`: any line that was written.
    pub(super) fn new(repeated: Option<Duration>, same: Option<Duration>) -> Repeats {
        Repeats { repeated, same, seen: Mutex::default() }
    }

    /// Whether to leave the line out. Where both times are given `same` counts, as in Fluentd.
    pub(super) fn leaves_out(&self, line: &str, now: Instant) -> bool {
        if self.same.is_none() && self.repeated.is_none() {
            return false;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.same, self.repeated) {
            (Some(interval), _) => seen.is_same(line, now, interval),
            (None, Some(interval)) => seen.is_repeated(line, now, interval),
            (None, None) => false,
        }
    }
}

impl Seen {
    fn is_repeated(&mut self, line: &str, now: Instant, interval: Duration) -> bool {
        let repeated = self.last.as_ref().is_some_and(|(last, at)| last == line && now.duration_since(*at) <= interval);
        if !repeated {
            self.last = Some((line.to_owned(), now));
        }
        repeated
    }

    fn is_same(&mut self, line: &str, now: Instant, interval: Duration) -> bool {
        if self.all.get(line).is_some_and(|at| now.duration_since(*at) <= interval) {
            return true;
        }
        if self.all.len() >= MAX_REMEMBERED {
            self.all.retain(|_, at| now.duration_since(*at) <= interval);
        }
        if self.all.len() >= MAX_REMEMBERED {
            self.all.clear();
        }
        self.all.insert(line.to_owned(), now);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn left_out(repeats: &Repeats, lines: &[(&str, u64)]) -> Vec<bool> {
        let start = Instant::now();
        lines.iter().map(|(line, at)| repeats.leaves_out(line, start + Duration::from_secs(*at))).collect()
    }

    #[test]
    fn a_line_like_the_one_before_is_left_out_for_a_while() {
        let repeats = Repeats::new(Some(MINUTE), None);
        let got = left_out(&repeats, &[("a", 0), ("a", 1), ("b", 2), ("a", 3), ("a", 64)]);
        assert_eq!(got, [false, true, false, false, false]);
    }

    #[test]
    fn any_line_of_before_is_left_out_for_a_while() {
        let repeats = Repeats::new(None, Some(MINUTE));
        let got = left_out(&repeats, &[("a", 0), ("b", 1), ("a", 2), ("a", 61), ("a", 62)]);
        assert_eq!(got, [false, false, true, false, true]);
        assert_eq!(left_out(&Repeats::new(None, None), &[("a", 0), ("a", 0)]), [false, false]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let repeats = Repeats::new(None, Some(MINUTE));
        (0..5000).for_each(|n| drop(left_out(&repeats, &[(&n.to_string(), 0)])));
        let kept = repeats.seen.lock().map(|seen| seen.all.len());
        assert!(matches!(kept, Ok(n) if n <= MAX_REMEMBERED));
    }
}
