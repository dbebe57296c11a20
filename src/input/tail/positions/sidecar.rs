//! `<pos_file>.suiro`: what Fluentd's format has no room for. For each file its device, time of birth, stream name and the
//! prints of consumed bytes; also files that were rotated and are not read to their end yet.
//!
//! It is a hint. Where it is missing, or a line of it is torn, the position file and the inode decide as in Fluentd.
//! Each line stands for itself and carries its own checksum:
//!
//! ```text
//! suiro-tail 1
//! looked TIME
//! SUM LISTED POSITION INODE DEVICE BORN HEADLEN HEADHASH TAILLEN TAILHASH STREAM PATH
//! ```
//!
//! Numbers are hexadecimal; `TIME` is when files were looked for last, in nanoseconds since the epoch; `LISTED` is 1 for a file that has a line in the position file; `PATH` is percent-encoded.

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

/// The hints of a file; lines that can't be read are left out.
pub(super) fn parse(text: &[u8]) -> Vec<Hint> {
    let Some(body) = text.strip_prefix(HEADER.as_bytes()) else { return Vec::new() };
    body.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok()).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Hint> {
    let (sum, rest) = line.split_once(' ')?;
    if u64::from_str_radix(sum, 16).ok()? != Print::of(rest.as_bytes()).hash {
        return None;
    }
    let mut fields = rest.split(' ');
    let mut number = || u64::from_str_radix(fields.next()?, 16).ok();
    let listed = number()? == 1;
    let (position, inode, device, born) = (number()?, number()?, number()?, number()?);
    let mut print = || Some(Print { len: u16::try_from(number()?).ok()?, hash: number()? });
    let (head, tail) = (print()?, print()?);
    let stream = fields.next()?.to_owned();
    let path = PathBuf::from(OsString::from_vec(percent_decode(fields.next()?.as_bytes()).collect()));
    Some(Hint { path, listed, id: FileId { device, inode }, born, mark: Mark { position, head, tail }, stream })
}

/// When files were looked for last.
pub(super) fn looked(text: &[u8]) -> Option<SystemTime> {
    let line = text.strip_prefix(HEADER.as_bytes())?.split(|b| *b == b'\n').next()?;
    let time = std::str::from_utf8(line).ok()?.strip_prefix("looked ")?;
    UNIX_EPOCH.checked_add(Duration::from_nanos(u64::from_str_radix(time, 16).ok()?))
}

/// Starts the text of a file.
pub(super) fn header(looked: Option<SystemTime>) -> Vec<u8> {
    let looked = looked.map(|at| format!("looked {:x}\n", nanos(at)));
    [HEADER, looked.as_deref().unwrap_or("")].concat().into_bytes()
}

/// Appends one line.
pub(super) fn write_line(out: &mut Vec<u8>, hint: &Hint) {
    let Hint { listed, id, born, mark: Mark { position, head, tail }, stream, .. } = hint;
    let rest = format!(
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
    out.extend_from_slice(format!("{:016x} {rest}\n", Print::of(rest.as_bytes()).hash).as_bytes());
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

    fn text(hints: &[Hint]) -> Vec<u8> {
        let mut out = header(Some(UNIX_EPOCH + Duration::from_nanos(77)));
        hints.iter().for_each(|hint| write_line(&mut out, hint));
        out
    }

    #[test]
    fn lines_come_back_whatever_the_path_holds() {
        let hints = [hint("/a b"), hint("/tab\there\nand%20日"), Hint { listed: false, ..hint("/c") }];
        assert_eq!(parse(&text(&hints)), hints);
        assert_eq!(looked(&text(&hints)), Some(UNIX_EPOCH + Duration::from_nanos(77)));
        assert_eq!(looked(&header(None)), None);
    }

    #[test]
    fn a_damaged_line_costs_itself_alone() {
        let hints = [hint("/a"), hint("/b"), hint("/c")];
        let mut damaged = text(&hints);
        let at = damaged.windows(2).position(|w| w == b"/b").unwrap();
        damaged[at + 1] = b'x';
        assert_eq!(parse(&damaged), [hints[0].clone(), hints[2].clone()]);
        damaged.truncate(damaged.len() - 3);
        assert_eq!(parse(&damaged), [hints[0].clone()]);
    }

    #[test]
    fn another_format_holds_no_hints() {
        assert_eq!(parse(b""), []);
        assert_eq!(parse(b"suiro-tail 2\nx\n"), []);
        assert_eq!(parse(&[0; 100]), []);
    }
}
