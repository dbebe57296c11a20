//! Times, marks of time inside of events, and percentiles of waits.

use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem;

/// What stands before a mark's digits.
pub const MARK: &[u8] = b"T0@";
/// Digits of a mark: nanoseconds since 1970.
pub const DIGITS: usize = 19;

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// Writes the present time into every mark.
pub fn stamp(bytes: &mut [u8]) {
    let text = format!("{:0width$}", now(), width = DIGITS);
    let places: Vec<usize> = memmem::find_iter(bytes, MARK).map(|at| at + MARK.len()).collect();
    for at in places {
        if let Some(room) = bytes.get_mut(at..at + DIGITS) {
            room.copy_from_slice(text.as_bytes());
        }
    }
}

/// Microseconds between each mark and now, added to `waits`.
pub fn read_marks(bytes: &[u8], waits: &mut Waits) {
    let now = now();
    for at in memmem::find_iter(bytes, MARK) {
        let digits = bytes.get(at + MARK.len()..at + MARK.len() + DIGITS);
        let sent = digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse::<u64>().ok());
        if let Some(sent) = sent {
            waits.add(now.saturating_sub(sent) / 1_000);
        }
    }
}

/// Waits in microseconds.
#[derive(Default)]
pub struct Waits(Vec<u64>);

impl Waits {
    /// Most waits that are kept; 32 MB.
    const MOST: usize = 4_000_000;

    /// Adds one, in microseconds.
    pub fn add(&mut self, micros: u64) {
        if self.0.len() < Self::MOST {
            self.0.push(micros);
        }
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// `"waits":N,"p50_us":N,"p99_us":N,"max_us":N`.
    pub fn json(&mut self) -> String {
        self.0.sort_unstable();
        let at = |share: usize| self.0.get(self.0.len().saturating_sub(1) * share / 100).copied().unwrap_or(0);
        format!(r#""waits":{},"p50_us":{},"p99_us":{},"max_us":{}"#, self.0.len(), at(50), at(99), at(100))
    }
}
