//! The position file, in Fluentd's format: one line per file, `path TAB position TAB inode`, both numbers as 16 digits of
//! hexadecimal (fluentd `in_tail/position_file.rb`). A position of all ones means that the file is no longer watched.

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::Hash;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use tracing::warn;

/// The position of a file that is no longer watched.
pub(super) const UNWATCHED: u64 = u64::MAX;
/// Unreadable lines that are named in the log one by one.
const NAMED_BAD_LINES: usize = 10;
/// Bytes of an unreadable line that are shown.
const SHOWN_BYTES: usize = 200;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) path: PathBuf,
    pub(super) position: u64,
    pub(super) inode: u64,
}

/// Reads a position file. Of several lines for one file (one path, or one inode with `follow_inodes`) the last counts;
/// lines that can't be read, such as those torn by a power cut, are passed over with a warning. Gives also whether there
/// were any.
pub(super) fn parse(text: &[u8], by_inode: bool) -> (Vec<Line>, bool) {
    let (mut lines, mut bad) = (Vec::new(), 0usize);
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        match parse_line(line) {
            Some(line) => lines.push(line),
            None => {
                bad += 1;
                if bad <= NAMED_BAD_LINES {
                    let shown = &line[..line.len().min(SHOWN_BYTES)];
                    warn!("Unparsable line in pos_file: {:?}", String::from_utf8_lossy(shown));
                }
            }
        }
    }
    if bad > NAMED_BAD_LINES {
        warn!("{bad} lines of the pos_file can't be read and are passed over");
    }
    let lines = if by_inode { last_of_each(lines, |l| l.inode) } else { last_of_each(lines, |l| l.path.clone()) };
    (lines, bad > 0)
}

fn parse_line(line: &[u8]) -> Option<Line> {
    let mut fields = line.splitn(3, |b| *b == b'\t');
    let path = fields.next().filter(|path| !path.is_empty())?;
    let (position, inode) = (hex(fields.next()?)?, hex(fields.next()?)?);
    Some(Line { path: PathBuf::from(OsString::from_vec(path.to_vec())), position, inode })
}

/// The hexadecimal number at the start; what follows it does not count.
fn hex(text: &[u8]) -> Option<u64> {
    let digits = text.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(text.len());
    u64::from_str_radix(std::str::from_utf8(&text[..digits]).ok()?, 16).ok()
}

fn last_of_each<K: Hash + Eq>(lines: Vec<Line>, key: impl Fn(&Line) -> K) -> Vec<Line> {
    let last: HashMap<K, usize> = lines.iter().enumerate().map(|(at, line)| (key(line), at)).collect();
    let mut at = 0..;
    lines.into_iter().filter(|line| at.next() == last.get(&key(line)).copied()).collect()
}

/// Whether the format can hold this path: a tab or line feed in it would break the line.
pub(super) fn can_hold(path: &Path) -> bool {
    !path.as_os_str().as_bytes().iter().any(|b| matches!(b, b'\t' | b'\n'))
}

/// Appends one line.
pub(super) fn write_line(out: &mut Vec<u8>, path: &Path, position: u64, inode: u64) {
    out.extend_from_slice(path.as_os_str().as_bytes());
    out.extend_from_slice(format!("\t{position:016x}\t{inode:016x}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &str, position: u64, inode: u64) -> Line {
        Line { path: path.into(), position, inode }
    }

    #[test]
    fn lines_are_fluentds_and_come_back() {
        let mut out = Vec::new();
        write_line(&mut out, Path::new("/var/log/a b.log"), 4096, 0xabcdef);
        assert_eq!(out, b"/var/log/a b.log\t0000000000001000\t0000000000abcdef\n");
        assert_eq!(parse(&out, false), (vec![line("/var/log/a b.log", 4096, 0xabcdef)], false));
    }

    #[test]
    fn torn_and_foreign_lines_are_passed_over() {
        let text =
            b"/a\t0000000000000001\t0000000000000002\n\0\0\0\0\nno tabs\n/b\tzz\t1\n\t1\t1\n/c\t10\t20\n/d\t0000";
        assert_eq!(parse(text, false), (vec![line("/a", 1, 2), line("/c", 16, 32)], true));
        assert_eq!(parse(b"/a\tfffffffffffffffff\t1\n", false).0, []);
        assert_eq!(parse(b"/a\tffffffffffffffff\t1 trailing\n", false).0, [line("/a", UNWATCHED, 1)]);
    }

    #[test]
    fn the_last_line_of_a_file_counts() {
        let text = b"/a\t1\t7\n/b\t2\t8\n/a\t3\t8\n";
        assert_eq!(parse(text, false).0, [line("/b", 2, 8), line("/a", 3, 8)]);
        assert_eq!(parse(text, true).0, [line("/a", 1, 7), line("/a", 3, 8)]);
    }

    #[test]
    fn paths_that_would_break_a_line_are_told() {
        assert!(can_hold(Path::new("/var/log/日.log")));
        assert!(!can_hold(Path::new("/a\tb")) && !can_hold(Path::new("/a\nb")));
    }
}
