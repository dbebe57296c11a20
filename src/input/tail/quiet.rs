//! Keeps complaints about lines from filling the log: the first ones of a period are said, then a count.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Length of a period.
const PERIOD: Duration = Duration::from_secs(10);
/// Complaints per period.
const LINES_PER_PERIOD: u32 = 100;
/// Bytes of a line that are shown.
const SHOWN_BYTES: usize = 1024;

/// What was said in the present period.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<Period>);

#[derive(Debug, Default)]
struct Period {
    since: Option<Instant>,
    said: u32,
    left_out: u64,
    /// Complaints since the start.
    total: u64,
}

/// A complaint about a line of a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Complaint<'a> {
    /// The parser does not know it.
    NotMatched(&'a [u8]),
    /// The parser knows it, but a part of it is wrong.
    Invalid(&'a [u8], &'a str),
    /// It comes before the first line of any event.
    BeforeFirst(&'a [u8]),
    /// It was not whole when the file ended or the input stopped.
    Incomplete(&'a [u8]),
    /// It is longer than so many bytes.
    TooLong(u64),
}

impl Quiet {
    fn period(&self) -> MutexGuard<'_, Period> {
        // A panic elsewhere can't leave the counts half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says it, unless too much was said already.
    pub(super) fn say(&self, path: &Path, complaint: Complaint<'_>) {
        if !self.may_say(Instant::now()) {
            return;
        }
        let path = path.display();
        match complaint {
            Complaint::NotMatched(line) => warn!("pattern not matched: {}", shown(line)),
            Complaint::Invalid(line, why) => {
                warn!("invalid line found file=\"{path}\" line={} error={why:?}", shown(line));
            }
            Complaint::BeforeFirst(line) => {
                warn!("got incomplete line before first line from {path}: {}", shown(line));
            }
            Complaint::Incomplete(line) => warn!("got incomplete line at shutdown from {path}: {}", shown(line)),
            Complaint::TooLong(limit) => warn!("received line length is longer than {limit} in {path}; it is left out"),
        }
    }

    fn may_say(&self, now: Instant) -> bool {
        self.look(now);
        let mut period = self.period();
        period.since.get_or_insert(now);
        period.total += 1;
        if period.said < LINES_PER_PERIOD {
            period.said += 1;
            return true;
        }
        period.left_out += 1;
        false
    }

    /// Ends a period that is over, with a word about what was left out.
    pub(super) fn look(&self, now: Instant) {
        let mut period = self.period();
        if period.since.is_some_and(|since| now.duration_since(since) >= PERIOD) {
            if period.left_out > 0 {
                warn!(
                    "{} more complaints about lines were left out; {} since the start",
                    period.left_out, period.total
                );
            }
            *period = Period { total: period.total, ..Period::default() };
        }
    }
}

/// A line for the log: quoted, escaped and cut.
fn shown(line: &[u8]) -> String {
    let cut = &line[..line.len().min(SHOWN_BYTES)];
    let dots = if cut.len() < line.len() { "..." } else { "" };
    format!("{:?}{dots}", String::from_utf8_lossy(cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_has_so_many_lines_and_the_next_one_again() {
        let (quiet, now) = (Quiet::default(), Instant::now());
        let said = |at| (0..1000).filter(|_| quiet.may_say(at)).count();
        assert_eq!(said(now), LINES_PER_PERIOD as usize);
        assert_eq!(said(now + PERIOD), LINES_PER_PERIOD as usize);
        assert_eq!(quiet.period().total, 2000);
    }

    #[test]
    fn lines_are_escaped_and_cut() {
        assert_eq!(shown(b"a\x1b[0m\n"), "\"a\\u{1b}[0m\\n\"");
        assert!(shown(&[b'x'; 5000]).len() < SHOWN_BYTES + 10);
    }
}
