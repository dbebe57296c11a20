//! `<pos_file>.suiro`: what Fluentd's format has no room for. For each file its device, time of birth, stream name and the
//! prints of consumed bytes; also files that were rotated and are not read to their end yet.
//!
//! It is a hint. Where it is missing, or a line of it is torn, the position file and the inode decide as in Fluentd.
//! Each line stands for itself and carries its own checksum:
//!
//! ```text
//! suiro-tail 1
//! SUM LOOKED LINES LINES-BEFORE
//! SUM LISTED POSITION INODE DEVICE BORN HEADLEN HEADHASH TAILLEN TAILHASH STREAM PATH
//! ```
//!
//! Numbers are hexadecimal. `LOOKED` is when files were looked for last, in nanoseconds since the epoch. `LINES` is the hash
//! of the position file that is saved right after this file, `LINES-BEFORE` that of the one before: a position file with
//! another hash was written by somebody else. `LISTED` is 1 for a file that has a line in the position file; `PATH` is
//! percent-encoded.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use super::super::identity::{FileId, Print, nanos};
use super::Mark;

/// First line of the file.
const HEADER: &str = "suiro-tail 1\n";
/// What a path's bytes are encoded for: lines and fields must not be broken.
const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hint {
    pub(super) path: PathBuf,
    pub(super) listed: bool,
    pub(super) id: FileId,
    pub(super) born: u64,
    pub(super) mark: Mark,
    pub(super) stream: String,
}

/// What stands in front of all hints.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Head {
    /// When files were looked for last.
    pub(super) looked: Option<SystemTime>,
    /// Hashes of the position file saved with this one, and of the one before.
    pub(super) lines: [u64; 2],
}

/// A file's content; lines that can't be read are left out.
pub(super) fn parse(text: &[u8]) -> (Head, Vec<Hint>) {
    let Some(body) = text.strip_prefix(HEADER.as_bytes()) else { return Default::default() };
    let lines = body.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mut sound = lines.filter_map(checked).peekable();
    let head = sound.next_if(|line| line.split(' ').count() == 3).and_then(parse_head).unwrap_or_default();
    (head, sound.filter_map(parse_hint).collect())
}

/// The line behind its checksum.
fn checked(line: &str) -> Option<&str> {
    let (sum, rest) = line.split_once(' ')?;
    (u64::from_str_radix(sum, 16).ok()? == hash(rest.as_bytes())).then_some(rest)
}

fn parse_head(line: &str) -> Option<Head> {
    let mut numbers = line.split(' ').map(|field| u64::from_str_radix(field, 16).ok());
    let mut number = || numbers.next().flatten();
    let (looked, lines) = (number()?, [number()?, number()?]);
    Some(Head { looked: UNIX_EPOCH.checked_add(Duration::from_nanos(looked)).filter(|_| looked > 0), lines })
}

fn parse_hint(line: &str) -> Option<Hint> {
    let mut fields = line.split(' ');
    let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
    let listed = number()? == 1;
    let (position, inode, device, born) = (number()?, number()?, number()?, number()?);
    let mut print = || Some(Print { len: u16::try_from(number()?).ok()?, hash: number()? });
    let (head, tail) = (print()?, print()?);
    let stream = fields.next()?.to_owned();
    let path = PathBuf::from(OsString::from_vec(percent_decode(fields.next()?.as_bytes()).collect()));
    Some(Hint { path, listed, id: FileId { device, inode }, born, mark: Mark { position, head, tail }, stream })
}

/// The hash that stands for a text.
pub(super) fn hash(text: &[u8]) -> u64 {
    Print::of(text).hash
}

/// A whole file.
pub(super) fn text(head: Head, hints: impl Iterator<Item = Hint>) -> Vec<u8> {
    let mut out = HEADER.as_bytes().to_vec();
    let looked = head.looked.map_or(0, nanos);
    write_checked(&mut out, &format!("{looked:x} {:x} {:x}", head.lines[0], head.lines[1]));
    hints.for_each(|hint| write_hint(&mut out, &hint));
    out
}

fn write_checked(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(format!("{:016x} {line}\n", hash(line.as_bytes())).as_bytes());
}

fn write_hint(out: &mut Vec<u8>, hint: &Hint) {
    let Hint { listed, id, born, mark: Mark { position, head, tail }, stream, .. } = hint;
    let line = format!(
        "{:x} {position:x} {:x} {:x} {born:x} {:x} {:x} {:x} {:x} {stream} {}",
        u8::from(*listed),
        id.inode,
        id.device,
        head.len,
        head.hash,
        tail.len,
        tail.hash,
        escaped(&hint.path)
    );
    write_checked(out, &line);
}

fn escaped(path: &Path) -> String {
    percent_encode(path.as_os_str().as_bytes(), UNSAFE).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hint(path: &str) -> Hint {
        Hint {
            path: path.into(),
            listed: true,
            id: FileId { device: 0x801, inode: 77 },
            born: 1_700_000_000_000_000_000,
            mark: Mark { position: 4096, head: Print::of(b"head"), tail: Print::of(b"tail") },
            stream: "tail:801:4d:1".into(),
        }
    }

    fn of(hints: &[Hint]) -> Vec<u8> {
        text(Head::default(), hints.iter().cloned())
    }

    #[test]
    fn lines_come_back_whatever_the_path_holds() {
        let hints = [hint("/a b"), hint("/tab\there\nand%20日"), Hint { listed: false, ..hint("/c") }];
        let head = Head { looked: Some(UNIX_EPOCH + Duration::from_nanos(77)), lines: [1, u64::MAX] };
        assert_eq!(parse(&text(head, hints.iter().cloned())), (head, hints.to_vec()));
    }

    #[test]
    fn a_damaged_line_costs_itself_alone() {
        let hints = [hint("/a"), hint("/b"), hint("/c")];
        let mut damaged = of(&hints);
        let at = damaged.windows(2).position(|w| w == b"/b").unwrap();
        damaged[at + 1] = b'x';
        assert_eq!(parse(&damaged).1, [hints[0].clone(), hints[2].clone()]);
        damaged.truncate(damaged.len() - 3);
        assert_eq!(parse(&damaged).1, [hints[0].clone()]);
        damaged[HEADER.len()] ^= 1;
        assert_eq!(parse(&damaged), (Head::default(), vec![hints[0].clone()]));
    }

    #[test]
    fn another_format_holds_no_hints() {
        for text in [&b""[..], b"suiro-tail 2\nx\n", &[0; 100], b"suiro-tail 1\n"] {
            assert_eq!(parse(text), Default::default());
        }
    }
}
