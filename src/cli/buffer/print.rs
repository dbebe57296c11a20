//! Printing: standard output that may go away, events as JSON, sizes and ages for people.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::time::{Duration, SystemTime};

use super::Failure;
use crate::buffer::{Block, ChunkKey};
use crate::event::{Entries, EventTime, NANOS, json};

/// Standard output. When its reader has gone, what was asked is done: nobody wants more.
pub struct Out(BufWriter<StdoutLock<'static>>);

/// Whether there is still a reader.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Go on.
    On,
    /// Stop quietly.
    Over,
}

impl Out {
    /// Locks standard output.
    pub fn new() -> Out {
        Out(BufWriter::new(io::stdout().lock()))
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<Read, Failure> {
        judge(self.0.write_all(bytes))
    }

    /// Writes a line.
    pub fn line(&mut self, text: &str) -> Result<Read, Failure> {
        judge(writeln!(self.0, "{text}"))
    }

    /// Gives everything out.
    pub fn flush(&mut self) -> Result<Read, Failure> {
        judge(self.0.flush())
    }
}

fn judge(written: io::Result<()>) -> Result<Read, Failure> {
    match written {
        Ok(()) => Ok(Read::On),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Read::Over),
        Err(e) => Err(format!("can't write: {e}")),
    }
}

/// Appends up to `most` events of a block, each as a JSON object on a line; `head` stands first in every object. Gives how
/// many.
pub fn events(block: &Block, head: &str, most: u64, out: &mut Vec<u8>) -> u64 {
    let tag = quoted(&block.tag);
    let mut count = 0;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    for entry in Entries::new(&block.entries).map_while(Result::ok).take(most) {
        out.extend_from_slice(format!("{{{head}\"tag\":{tag},\"time\":{},\"record\":", time(entry.time)).as_bytes());
        if json::write_map(entry.record, out).is_err() {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(b"}\n");
        count += 1;
    }
    count
}

/// A text as JSON.
pub fn quoted(text: &str) -> String {
    // A text has no way not to be JSON.
    serde_json::to_string(text).unwrap_or_default()
}

/// Seconds with all nine digits of the fraction.
fn time(time: EventTime) -> String {
    let (sign, nanos) = (if time.nanos() < 0 { "-" } else { "" }, time.nanos().unsigned_abs());
    format!("{sign}{}.{:09}", nanos / NANOS.unsigned_abs(), nanos % NANOS.unsigned_abs())
}

/// What the events of a chunk have in common: `tag=a.b time=1700000000 user=ann`.
pub fn key(key: &ChunkKey) -> String {
    let tag = key.tag.iter().map(|tag| format!("tag={}", tag.escape_debug()));
    let time = key.time.iter().map(|time| format!("time={time}"));
    let fields =
        key.fields.iter().map(|(name, value)| format!("{}={}", name.escape_debug(), value.to_text().escape_debug()));
    tag.chain(time).chain(fields).collect::<Vec<_>>().join(" ")
}

/// How long ago, in the two largest units: `2d3h`, `5m1s`.
pub fn age(since: SystemTime) -> String {
    let secs = since.elapsed().unwrap_or(Duration::ZERO).as_secs();
    match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, _, _) => format!("{d}d{h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_every_digit_and_their_sign() {
        assert_eq!(time(EventTime::new(1_700_000_000, 5)), "1700000000.000000005");
        assert_eq!(time(EventTime::from_nanos(-1_500_000_000)), "-1.500000000");
    }

    #[test]
    fn ages_have_two_units() {
        let ago = |secs| age(SystemTime::now() - Duration::from_secs(secs));
        assert_eq!([ago(5), ago(65), ago(7260), ago(90_000)], ["5s", "1m5s", "2h1m", "1d1h"]);
    }
}
