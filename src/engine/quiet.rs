//! Keeps complaints that a client can cause from filling the log: a few per subject and period, then a count.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Length of a period.
const PERIOD: Duration = Duration::from_secs(10);
/// Lines per subject and period.
const LINES_PER_PERIOD: u32 = 20;
/// Subjects that are told apart; the others share one allowance.
const MAX_SUBJECTS: usize = 1000;

#[derive(Clone, Copy)]
struct Allowance {
    since: Instant,
    said: u32,
    held_back: u64,
}

/// Allowances by subject.
#[derive(Default)]
pub struct Quiet(Mutex<HashMap<String, Allowance>>);

impl Quiet {
    /// Whether a line about `subject` may be logged now. Says how many were left out once a new period begins.
    pub fn may_say(&self, subject: &str) -> bool {
        let now = Instant::now();
        let mut subjects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = subjects.len() < MAX_SUBJECTS || subjects.contains_key(subject);
        let subject = if known { subject } else { "(others)" };
        let fresh = Allowance { since: now, said: 0, held_back: 0 };
        let allowance = subjects.entry(subject.to_owned()).or_insert(fresh);
        if now.duration_since(allowance.since) >= PERIOD {
            if allowance.held_back > 0 {
                warn!("{} more lines about \"{}\" were left out", allowance.held_back, subject.escape_debug());
            }
            *allowance = fresh;
        }
        let may = allowance.said < LINES_PER_PERIOD;
        if may {
            allowance.said += 1;
        } else {
            allowance.held_back += 1;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_has_its_own_few_lines() {
        let quiet = Quiet::default();
        let said = (0..1000).filter(|_| quiet.may_say("a")).count();
        assert_eq!(said, LINES_PER_PERIOD as usize);
        assert!(quiet.may_say("b"));
    }

    #[test]
    fn subjects_from_clients_do_not_grow_memory_for_ever() {
        let quiet = Quiet::default();
        for n in 0..5000 {
            quiet.may_say(&n.to_string());
        }
        let kept = quiet.0.lock().map(|s| s.len());
        assert!(matches!(kept, Ok(n) if n <= MAX_SUBJECTS + 1));
    }
}
