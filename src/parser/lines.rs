//! Lines of web servers read by hand: `nginx`, `apache`, `apache2` and `apache_error` in one pass over the bytes.
//!
//! Each function finds the groups that one expression finds, on the lines where they can only be in one place. Where it
//! gives `None` nothing is said: the expression decides, so what a line gives is always the expression's. What makes the
//! places certain:
//!
//! - Without a line feed `^` and `$` are the ends of the text.
//! - A group of bytes other than a delimiter, with that delimiter behind it, ends at the first one.
//! - The request ends at the first quote: nothing in it may hold one but a word, and the quote is followed by a space, so
//!   no word goes on behind it.
//! - What separates the groups is ASCII. So characters and bytes are found alike, and bytes that are no UTF-8 too.

use memchr::memchr;

use super::convert::to_i;
use crate::event::msgpack::MapWriter;
use crate::event::{Record, Value};

/// A line whose fields were found.
pub(super) trait Line<'a> {
    /// What the time's group holds.
    fn time(&self) -> &'a [u8];

    /// The number of fields, the time not counted.
    fn count(&self) -> usize;

    /// Gives the fields in the order of the expression's groups, the time at its place.
    fn give(&self, to: &mut impl Fields<'a>);

    /// Writes the fields but the time as a MessagePack map.
    #[inline(always)]
    fn encode(&self, out: &mut Vec<u8>) {
        self.give(&mut Encoded(MapWriter::begin(out, self.count())));
    }

    /// Puts the fields into an empty record, the time too.
    fn put(&self, record: &mut Record<'a>) {
        self.give(&mut Listed(record));
    }
}

/// Takes the fields of a line.
pub(super) trait Fields<'a> {
    /// A field. Its name is as it stands in MessagePack: the first byte is the length's.
    fn field<const N: usize>(&mut self, name: &'static [u8; N], value: Value<'a>);

    /// The time.
    fn time(&mut self, text: &'a [u8]);

    #[inline(always)]
    fn text<const N: usize>(&mut self, name: &'static [u8; N], text: &'a [u8]) {
        self.field(name, Value::Str(text));
    }
}

struct Encoded<'o>(MapWriter<'o>);

impl<'a> Fields<'a> for Encoded<'_> {
    #[inline(always)]
    fn field<const N: usize>(&mut self, name: &'static [u8; N], value: Value<'a>) {
        self.0.name(name);
        self.0.value(&value);
    }

    #[inline(always)]
    fn time(&mut self, _: &'a [u8]) {}
}

struct Listed<'r, 'a>(&'r mut Record<'a>);

impl<'a> Fields<'a> for Listed<'_, 'a> {
    fn field<const N: usize>(&mut self, name: &'static [u8; N], value: Value<'a>) {
        self.0.push(&name[1..], value);
    }

    fn time(&mut self, text: &'a [u8]) {
        self.0.push(b"time", Value::Str(text));
    }
}

/// A line and how far it was read.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Option<Scanner<'a>> {
        memchr(b'\n', text).is_none().then_some(Scanner { text, at: 0 })
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// What stands before the next `end`, which is passed.
    #[inline(always)]
    fn until(&mut self, end: u8) -> Option<&'a [u8]> {
        let rest = self.rest();
        let len = find(end, rest)?;
        self.at += len + 1;
        rest.get(..len)
    }

    #[inline(always)]
    fn eat(&mut self, text: &[u8]) -> Option<()> {
        self.rest().starts_with(text).then(|| self.at += text.len())
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// A text in quotes; the opening one was passed.
    #[inline(always)]
    fn quoted(&mut self, escapes: Escapes) -> Option<&'a [u8]> {
        let text = self.until(b'"')?;
        (escapes == Escapes::None || text.last() != Some(&b'\\')).then_some(text)
    }

    /// ` [time] "`
    #[inline(always)]
    fn time(&mut self) -> Option<&'a [u8]> {
        self.eat(b"[")?;
        let time = self.until(b']')?;
        self.eat(b" \"")?;
        Some(time)
    }

    /// `method path protocol" `: the method, and what stands behind its spaces.
    #[inline(always)]
    fn request(&mut self, escapes: Escapes) -> Option<(&'a [u8], &'a [u8])> {
        let rest = self.rest();
        // White space and what is not printed either; the expression knows what else a method may be.
        let len = rest.iter().position(|byte| *byte <= b' ' || *byte == b'"')?;
        let method = rest.get(..len).filter(|_| len > 0 && rest[len] == b' ')?;
        self.at += len + 1;
        while self.text.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        let request = self.quoted(escapes)?;
        self.eat(b" ")?;
        Some((method, request))
    }

    /// `code size`, and what the quotes behind them hold, where there are any.
    #[inline(always)]
    fn answer(&mut self, escapes: Escapes) -> Option<Answer<'a>> {
        let code = self.until(b' ')?;
        let Some(size) = self.until(b' ') else {
            let size = self.rest();
            self.at = self.text.len();
            return Some(Answer { code, size, client: None });
        };
        self.eat(b"\"")?;
        let referer = self.quoted(escapes)?;
        self.eat(b" \"")?;
        Some(Answer { code, size, client: Some((referer, self.quoted(escapes)?)) })
    }
}

#[derive(Clone, Copy)]
struct Answer<'a> {
    code: &'a [u8],
    size: &'a [u8],
    /// Referer and agent.
    client: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Answer<'a> {
    #[inline(always)]
    fn give(&self, to: &mut impl Fields<'a>) {
        to.text(b"\xa4code", self.code);
        to.text(b"\xa4size", self.size);
        if let Some((referer, agent)) = self.client {
            to.text(b"\xa7referer", referer);
            to.text(b"\xa5agent", agent);
        }
    }
}

/// Whether a quote behind a backslash belongs to the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    Backslash,
}

/// Words that are looked through without a call: most fields are no longer.
const WORDS: usize = 4;

/// The first `byte`.
#[inline(always)]
fn find(byte: u8, text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, _) = text.as_chunks::<8>();
    for (n, word) in words.iter().take(WORDS).enumerate() {
        // A byte is zero where it was the one sought; the lowest such is told exactly.
        let zeros = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        let found = zeros.wrapping_sub(ONES) & !zeros & (ONES << 7);
        if found != 0 {
            return Some(8 * n + found.trailing_zeros() as usize / 8);
        }
    }
    let looked = words.len().min(WORDS) * 8;
    memchr(byte, &text[looked..]).map(|at| looked + at)
}

/// Ruby's `\s`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

/// `path` and `protocol` apart: the path ends before the spaces in front of the last word, where spaces are what stands there.
#[inline(always)]
fn path_of(request: &[u8]) -> &[u8] {
    // Nearly all requests end like this.
    if let [path @ .., b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] = request
        && path.last().is_some_and(|byte| *byte != b' ')
    {
        return path;
    }
    let word = request.iter().rposition(|b| is_space(*b)).map_or(0, |at| at + 1);
    match request.get(..word) {
        Some(head @ [.., b' ']) => {
            let end = head.iter().rposition(|b| *b != b' ').map_or(0, |at| at + 1);
            head.get(..end).unwrap_or_default()
        }
        _ => request,
    }
}

/// The fields of `nginx`.
pub(super) struct Nginx<'a> {
    remote: &'a [u8],
    host: &'a [u8],
    user: &'a [u8],
    time: &'a [u8],
    method: &'a [u8],
    path: &'a [u8],
    answer: Answer<'a>,
    forwarded: Option<&'a [u8]>,
}

/// nginx's `combined` format, perhaps with a quoted field behind it.
#[inline(always)]
pub(super) fn nginx(text: &[u8]) -> Option<Nginx<'_>> {
    let mut scanner = Scanner::new(text)?;
    let (remote, host, user) = (scanner.until(b' ')?, scanner.until(b' ')?, scanner.until(b' ')?);
    let time = scanner.time()?;
    let (method, request) = scanner.request(Escapes::None)?;
    let answer = scanner.answer(Escapes::None)?;
    let mut forwarded = None;
    if !scanner.is_at_end() {
        scanner.eat(b" \"")?;
        forwarded = Some(scanner.until(b'"')?);
    }
    let line = Nginx { remote, host, user, time, method, path: path_of(request), answer, forwarded };
    scanner.is_at_end().then_some(line)
}

impl<'a> Line<'a> for Nginx<'a> {
    fn time(&self) -> &'a [u8] {
        self.time
    }

    fn count(&self) -> usize {
        7 + 2 * usize::from(self.answer.client.is_some()) + usize::from(self.forwarded.is_some())
    }

    #[inline(always)]
    fn give(&self, to: &mut impl Fields<'a>) {
        to.text(b"\xa6remote", self.remote);
        to.text(b"\xa4host", self.host);
        to.text(b"\xa4user", self.user);
        to.time(self.time);
        to.text(b"\xa6method", self.method);
        to.text(b"\xa4path", self.path);
        self.answer.give(to);
        if let Some(forwarded) = self.forwarded {
            to.text(b"\xb4http_x_forwarded_for", forwarded);
        }
    }
}

/// The fields of `apache` and, before their nils and integers, of `apache2`.
pub(super) struct Apache<'a> {
    host: &'a [u8],
    user: &'a [u8],
    time: &'a [u8],
    method: &'a [u8],
    path: &'a [u8],
    answer: Answer<'a>,
}

/// Apache's `combined` format as old configurations read it.
pub(super) fn apache(text: &[u8]) -> Option<Apache<'_>> {
    apache_with(text, Escapes::None, |request| {
        // The path is the first word, and there is but one behind it.
        let (path, last) = request.split_at(memchr(b' ', request)?);
        let last = &last[last.iter().position(|byte| *byte != b' ').unwrap_or(last.len())..];
        (!last.iter().any(|byte| is_space(*byte))).then_some(path)
    })
}

fn apache_with(text: &[u8], escapes: Escapes, path: impl Fn(&[u8]) -> Option<&[u8]>) -> Option<Apache<'_>> {
    let mut scanner = Scanner::new(text)?;
    let host = scanner.until(b' ')?;
    scanner.until(b' ')?;
    let (user, time) = (scanner.until(b' ')?, scanner.time()?);
    let (method, request) = scanner.request(escapes)?;
    let line = Apache { host, user, time, method, path: path(request)?, answer: scanner.answer(escapes)? };
    scanner.is_at_end().then_some(line)
}

impl<'a> Line<'a> for Apache<'a> {
    fn time(&self) -> &'a [u8] {
        self.time
    }

    fn count(&self) -> usize {
        6 + 2 * usize::from(self.answer.client.is_some())
    }

    #[inline(always)]
    fn give(&self, to: &mut impl Fields<'a>) {
        to.text(b"\xa4host", self.host);
        to.text(b"\xa4user", self.user);
        to.time(self.time);
        to.text(b"\xa6method", self.method);
        to.text(b"\xa4path", self.path);
        self.answer.give(to);
    }
}

/// The fields of `apache2`: `-` is nil but in the request, code and size are integers, and every field is there. The time is
/// not among them.
pub(super) struct Apache2<'a>(Apache<'a>);

/// Apache's `combined` format.
#[inline(always)]
pub(super) fn apache2(text: &[u8]) -> Option<Apache2<'_>> {
    apache_with(text, Escapes::Backslash, |request| Some(path_of(request))).map(Apache2)
}

impl<'a> Line<'a> for Apache2<'a> {
    fn time(&self) -> &'a [u8] {
        self.0.time
    }

    fn count(&self) -> usize {
        8
    }

    #[inline(always)]
    fn give(&self, to: &mut impl Fields<'a>) {
        let Answer { code: status, size, client } = self.0.answer;
        to.field(b"\xa4host", or_nil(self.0.host));
        to.field(b"\xa4user", or_nil(self.0.user));
        to.text(b"\xa6method", self.0.method);
        to.text(b"\xa4path", self.0.path);
        to.field(b"\xa4code", code(status));
        to.field(b"\xa4size", if size == b"-" { Value::Nil } else { to_i(size) });
        to.field(b"\xa7referer", client.map_or(Value::Nil, |(referer, _)| or_nil(referer)));
        to.field(b"\xa5agent", client.map_or(Value::Nil, |(_, agent)| or_nil(agent)));
    }
}

fn or_nil(text: &[u8]) -> Value<'_> {
    if text == b"-" { Value::Nil } else { Value::Str(text) }
}

/// An answer's code; 0 is none.
pub(super) fn code(text: &[u8]) -> Value<'static> {
    Some(to_i(text)).filter(|n| *n != Value::Int(0)).unwrap_or(Value::Nil)
}

/// The fields of `apache_error`.
pub(super) struct ApacheError<'a> {
    time: &'a [u8],
    level: &'a [u8],
    pid: Option<&'a [u8]>,
    client: Option<&'a [u8]>,
    message: &'a [u8],
}

/// Apache's error log.
pub(super) fn apache_error(text: &[u8]) -> Option<ApacheError<'_>> {
    let mut scanner = Scanner::new(text)?;
    scanner.eat(b"[")?;
    scanner.until(b' ')?;
    let time = scanner.until(b']')?;
    scanner.eat(b" [")?;
    let level = scanner.until(b']')?;
    let mut bracketed = |head: &[u8]| match scanner.eat(head) {
        Some(()) => scanner.until(b']').map(Some),
        None => Some(None),
    };
    let (pid, client) = (bracketed(b" [pid ")?, bracketed(b" [client ")?);
    scanner.eat(b" ")?;
    Some(ApacheError { time, level, pid, client, message: scanner.rest() })
}

impl<'a> Line<'a> for ApacheError<'a> {
    fn time(&self) -> &'a [u8] {
        self.time
    }

    fn count(&self) -> usize {
        2 + usize::from(self.pid.is_some()) + usize::from(self.client.is_some())
    }

    #[inline(always)]
    fn give(&self, to: &mut impl Fields<'a>) {
        to.time(self.time);
        to.text(b"\xa5level", self.level);
        if let Some(pid) = self.pid {
            to.text(b"\xa3pid", pid);
        }
        if let Some(client) = self.client {
            to.text(b"\xa6client", client);
        }
        to.text(b"\xa7message", self.message);
    }
}

#[cfg(test)]
mod tests;
