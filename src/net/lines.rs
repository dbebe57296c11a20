//! Messages in a stream of bytes: ended by a delimiter, or led by their length (RFC 6587). What is kept is bounded.

use std::io;

use memchr::memmem::Finder;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest message, where the configuration gives no limit, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Most digits of a length.
const MAX_COUNT_DIGITS: usize = 10;

/// How much of a message that is too long is shown, in bytes.
const HEAD_BYTES: usize = 32;

/// How messages are told apart.
#[derive(Clone)]
pub enum Framing {
    /// Each ends with these bytes, at least one.
    Delimiter(Vec<u8>),
    /// Each begins with its length in decimal and a space.
    OctetCount,
}

/// What the stream held.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A message without its frame.
    Message(&'a [u8]),
    /// A message over the limit, which is left out.
    TooLong {
        /// Bytes known of so far.
        size: usize,
        /// Its beginning.
        head: &'a [u8],
    },
}

/// A frame that begins with no length: where the next one begins is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCount;

impl std::fmt::Display for BadCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "a frame does not begin with its length and a space; does the sender use octet counting (RFC 6587)?",
        )
    }
}

/// Reads messages from one connection.
pub struct Lines {
    /// `None` for lengths.
    delimiter: Option<Finder<'static>>,
    limit: usize,
    buf: Vec<u8>,
    /// Bytes of `buf` known to hold no delimiter.
    scanned: usize,
    /// Whether what comes up to the next delimiter is left out.
    discarding: bool,
    /// Bytes to leave out, of a counted message that is too long.
    skip: usize,
}

impl Lines {
    /// For messages of at most `limit` bytes.
    pub fn new(framing: &Framing, limit: usize) -> Lines {
        let delimiter = match framing {
            Framing::Delimiter(bytes) => Some(Finder::new(bytes).into_owned()),
            Framing::OctetCount => None,
        };
        Lines { delimiter, limit, buf: Vec::new(), scanned: 0, discarding: false, skip: 0 }
    }

    /// Reads what is there; 0 at the end.
    pub async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        self.buf.reserve(READ_BYTES);
        stream.read_buf(&mut self.buf).await
    }

    /// Bytes of a message that is not complete.
    pub fn unfinished(&self) -> usize {
        self.buf.len()
    }

    /// What came after the last delimiter, where it is no part of a message that is left out.
    pub fn rest(&self) -> Option<&[u8]> {
        (!self.discarding && !self.buf.is_empty()).then_some(&self.buf)
    }

    /// Hands out every complete message.
    ///
    /// Errors: a length that is none; the connection is of no more use.
    pub fn drain(&mut self, each: impl FnMut(Frame<'_>)) -> Result<(), BadCount> {
        match self.delimiter.take() {
            Some(delimiter) => {
                self.drain_delimited(&delimiter, each);
                self.delimiter = Some(delimiter);
                Ok(())
            }
            None => self.drain_counted(each),
        }
    }

    fn drain_delimited(&mut self, delimiter: &Finder<'_>, mut each: impl FnMut(Frame<'_>)) {
        let length = delimiter.needle().len();
        let mut start = 0;
        let mut from = self.scanned;
        while let Some(at) = delimiter.find(&self.buf[from..]) {
            let message = &self.buf[start..from + at];
            if !std::mem::take(&mut self.discarding) {
                each(judged(message, self.limit));
            }
            from += at + length;
            start = from;
        }
        self.forget(start);
        if self.buf.len() > self.limit && !self.discarding {
            each(judged(&self.buf, self.limit));
            self.discarding = true;
        }
        // The end may hold the first bytes of a delimiter.
        let tail = self.buf.len().saturating_sub(length - 1);
        if self.discarding {
            self.forget(tail);
        }
        self.scanned = if self.discarding { 0 } else { tail };
    }

    fn drain_counted(&mut self, mut each: impl FnMut(Frame<'_>)) -> Result<(), BadCount> {
        let mut start = 0;
        loop {
            let skipped = self.skip.min(self.buf.len() - start);
            self.skip -= skipped;
            start += skipped;
            let Some((header, size)) = count(&self.buf[start..])? else { break };
            let message = &self.buf[start + header..];
            if size > self.limit {
                each(Frame::TooLong { size, head: &message[..message.len().min(HEAD_BYTES)] });
                start += header;
                self.skip = size;
            } else if let Some(message) = message.get(..size) {
                each(Frame::Message(message));
                start += header + size;
            } else {
                break;
            }
        }
        self.forget(start);
        Ok(())
    }

    fn forget(&mut self, bytes: usize) {
        self.buf.drain(..bytes);
        // What a long message needed is given back.
        if self.buf.len() < READ_BYTES && self.buf.capacity() > 4 * READ_BYTES {
            self.buf.shrink_to(2 * READ_BYTES);
        }
    }
}

fn judged(message: &[u8], limit: usize) -> Frame<'_> {
    if message.len() > limit {
        return Frame::TooLong { size: message.len(), head: &message[..message.len().min(HEAD_BYTES)] };
    }
    Frame::Message(message)
}

/// The bytes of a header and the length it tells; `None` while it is not complete. Line ends before it are allowed.
fn count(buf: &[u8]) -> Result<Option<(usize, usize)>, BadCount> {
    let blank = buf.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let digits = buf[blank..].iter().take(MAX_COUNT_DIGITS + 1).take_while(|b| b.is_ascii_digit()).count();
    let end = blank + digits;
    match buf.get(end) {
        None if digits <= MAX_COUNT_DIGITS && blank <= HEAD_BYTES => Ok(None),
        Some(b' ') if (1..=MAX_COUNT_DIGITS).contains(&digits) => {
            let size = buf[blank..end].iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
            Ok(Some((end + 1, usize::try_from(size).map_err(|_| BadCount)?)))
        }
        _ => Err(BadCount),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Feeds pieces; messages as text, those too long as `!size`.
    fn feed(lines: &mut Lines, pieces: &[&str]) -> Result<Vec<String>, BadCount> {
        let mut out = Vec::new();
        for piece in pieces {
            lines.buf.extend_from_slice(piece.as_bytes());
            lines.drain(|frame| match frame {
                Frame::Message(m) => out.push(String::from_utf8_lossy(m).into_owned()),
                Frame::TooLong { size, .. } => out.push(format!("!{size}")),
            })?;
        }
        Ok(out)
    }

    fn delimited(by: &str, limit: usize, pieces: &[&str]) -> (Vec<String>, usize) {
        let mut lines = Lines::new(&Framing::Delimiter(by.into()), limit);
        let out = feed(&mut lines, pieces).unwrap();
        (out, lines.unfinished())
    }

    #[test]
    fn pieces_are_put_together_and_the_rest_waits() {
        let (out, left) = delimited("\n", 9, &["one\ntw", "o\r\n\nthree\nunf"]);
        assert_eq!((out, left), (vec!["one".to_owned(), "two\r".into(), String::new(), "three".into()], 3));
        let (out, left) = delimited("<>", 9, &["a<", ">b<>", "c<", "d<>"]);
        assert_eq!((out, left), (vec!["a".to_owned(), "b".into(), "c<d".into()], 0));
    }

    #[test]
    fn a_message_over_the_limit_is_left_out_up_to_its_end() {
        let (out, left) = delimited("\n", 4, &["12345\nab\n", "123456", "7890", "12\ncd\n"]);
        assert_eq!((out, left), (vec!["!5".to_owned(), "ab".into(), "!6".into(), "cd".into()], 0));
        let (out, left) = delimited("<>", 4, &["123456<", ">ab<>"]);
        assert_eq!((out, left), (vec!["!7".to_owned(), "ab".into()], 0));
    }

    #[test]
    fn counted_messages_may_hold_anything() {
        let mut lines = Lines::new(&Framing::OctetCount, 6);
        let out = feed(&mut lines, &["3 a\nb", "2", " cd9 12345", "6789", "1 x", "0 ", "2 e"]).unwrap();
        assert_eq!(out, ["a\nb", "cd", "!9", "x", ""]);
        assert_eq!(lines.unfinished(), 3);
    }

    #[test]
    fn what_is_no_length_ends_the_stream() {
        for text in ["<13>x", "-1 x", "12345678901 x", " 1 x", "1x"] {
            let mut lines = Lines::new(&Framing::OctetCount, 100);
            assert_eq!(feed(&mut lines, &[text]), Err(BadCount), "{text}");
        }
        let mut lines = Lines::new(&Framing::OctetCount, 100);
        assert_eq!(feed(&mut lines, &["9999999999 x", "y"]), Ok(vec!["!9999999999".to_owned()]));
        assert_eq!(lines.unfinished(), 0);
    }
}
