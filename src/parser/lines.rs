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
use crate::event::{Record, Value, msgpack};

/// Most fields of a line, its time counted.
const MOST_FIELDS: usize = 10;

/// A field's name as it stands in a MessagePack map: its first byte is the length's.
type Key = &'static [u8];

const TIME: Key = b"\xa4time";
const REMOTE: Key = b"\xa6remote";
const HOST: Key = b"\xa4host";
const USER: Key = b"\xa4user";
const METHOD: Key = b"\xa6method";
const PATH: Key = b"\xa4path";
const CODE: Key = b"\xa4code";
const SIZE: Key = b"\xa4size";
const REFERER: Key = b"\xa7referer";
const AGENT: Key = b"\xa5agent";
const FORWARDED: Key = b"\xb4http_x_forwarded_for";
const LEVEL: Key = b"\xa5level";
const PID: Key = b"\xa3pid";
const CLIENT: Key = b"\xa6client";
const MESSAGE: Key = b"\xa7message";

/// The fields of a line in the order of its expression's groups.
pub(super) struct Line<'a> {
    /// What the time's group holds.
    pub time: &'a [u8],
    fields: [(Key, Value<'a>); MOST_FIELDS],
    count: usize,
    /// So many fields stand before the time.
    before_time: usize,
}

impl<'a> Line<'a> {
    fn new() -> Line<'a> {
        Line { time: b"", fields: [(b"", Value::Nil); MOST_FIELDS], count: 0, before_time: 0 }
    }

    fn add(&mut self, key: Key, value: &'a [u8]) {
        self.add_value(key, Value::Str(value));
    }

    #[inline(always)]
    fn add_value(&mut self, key: Key, value: Value<'a>) {
        if let Some(field) = self.fields.get_mut(self.count) {
            *field = (key, value);
            self.count += 1;
        }
    }

    fn add_time(&mut self, time: &'a [u8]) {
        (self.time, self.before_time) = (time, self.count);
    }

    fn fields(&self) -> &[(Key, Value<'a>)] {
        self.fields.get(..self.count).unwrap_or_default()
    }

    /// Writes the fields but the time as a MessagePack map.
    pub fn encode(&self, out: &mut Vec<u8>) {
        msgpack::put_map_len(out, self.count);
        for (key, value) in self.fields() {
            out.extend_from_slice(key);
            value.encode(out);
        }
    }

    /// Puts the fields into an empty record, with the time at its place.
    pub fn put_with_time(&self, record: &mut Record<'a>) {
        for (at, (key, value)) in self.fields().iter().enumerate() {
            if at == self.before_time {
                record.push(&TIME[1..], Value::Str(self.time));
            }
            record.push(&key[1..], *value);
        }
    }

    /// Puts the fields but the time into an empty record.
    pub fn put(&self, record: &mut Record<'a>) {
        self.fields().iter().for_each(|(key, value)| record.push(&key[1..], *value));
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
        let len = rest.iter().position(|b| is_space(*b) || *b == b'"')?;
        let method = rest.get(..len).filter(|_| len > 0 && rest[len] == b' ')?;
        self.at += len;
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

struct Answer<'a> {
    code: &'a [u8],
    size: &'a [u8],
    /// Referer and agent.
    client: Option<(&'a [u8], &'a [u8])>,
}

/// Whether a quote behind a backslash belongs to the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    None,
    Backslash,
}

/// The first `byte`. Most fields are short: the first bytes are looked at without a call.
#[inline(always)]
fn find(byte: u8, text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    if let Some(word) = text.first_chunk::<8>() {
        // A byte is zero where it was the one sought; the lowest such is told exactly.
        let zeros = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        let found = zeros.wrapping_sub(ONES) & !zeros & (ONES << 7);
        if found != 0 {
            return Some(found.trailing_zeros() as usize / 8);
        }
    }
    memchr(byte, text)
}

/// Ruby's `\s`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

/// `path` and `protocol` apart: the path ends before the spaces in front of the last word, where spaces are what stands there.
fn path_of(request: &[u8]) -> &[u8] {
    let word = request.iter().rposition(|b| is_space(*b)).map_or(0, |at| at + 1);
    match request.get(..word) {
        Some(head @ [.., b' ']) => {
            let end = head.iter().rposition(|b| *b != b' ').map_or(0, |at| at + 1);
            head.get(..end).unwrap_or_default()
        }
        _ => request,
    }
}

/// nginx's `combined` format, perhaps with a quoted field behind it.
pub(super) fn nginx(text: &[u8]) -> Option<Line<'_>> {
    let mut scanner = Scanner::new(text)?;
    let mut line = Line::new();
    line.add(REMOTE, scanner.until(b' ')?);
    line.add(HOST, scanner.until(b' ')?);
    line.add(USER, scanner.until(b' ')?);
    line.add_time(scanner.time()?);
    let (method, request) = scanner.request(Escapes::None)?;
    let answer = scanner.answer(Escapes::None)?;
    line.add(METHOD, method);
    line.add(PATH, path_of(request));
    line.add(CODE, answer.code);
    line.add(SIZE, answer.size);
    if let Some((referer, agent)) = answer.client {
        line.add(REFERER, referer);
        line.add(AGENT, agent);
    }
    if !scanner.is_at_end() {
        scanner.eat(b" \"")?;
        line.add(FORWARDED, scanner.until(b'"')?);
    }
    scanner.is_at_end().then_some(line)
}

/// Apache's `combined` format as old configurations read it.
pub(super) fn apache(text: &[u8]) -> Option<Line<'_>> {
    let mut scanner = Scanner::new(text)?;
    let mut line = Line::new();
    line.add(HOST, scanner.until(b' ')?);
    scanner.until(b' ')?;
    line.add(USER, scanner.until(b' ')?);
    line.add_time(scanner.time()?);
    let (method, request) = scanner.request(Escapes::None)?;
    // The path is the first word, and there is but one behind it.
    let len = memchr(b' ', request)?;
    let last = request[len..].iter().position(|b| *b != b' ').map_or(&b""[..], |at| &request[len + at..]);
    if last.iter().any(|b| is_space(*b)) {
        return None;
    }
    let answer = scanner.answer(Escapes::None)?;
    line.add(METHOD, method);
    line.add(PATH, &request[..len]);
    line.add(CODE, answer.code);
    line.add(SIZE, answer.size);
    if let Some((referer, agent)) = answer.client {
        line.add(REFERER, referer);
        line.add(AGENT, agent);
    }
    scanner.is_at_end().then_some(line)
}

/// Apache's `combined` format: `-` is nil but in the request, code and size are integers, and every field is there.
pub(super) fn apache2(text: &[u8]) -> Option<Line<'_>> {
    let mut scanner = Scanner::new(text)?;
    let mut line = Line::new();
    line.add_value(HOST, or_nil(scanner.until(b' ')?));
    scanner.until(b' ')?;
    line.add_value(USER, or_nil(scanner.until(b' ')?));
    line.add_time(scanner.time()?);
    let (method, request) = scanner.request(Escapes::Backslash)?;
    let answer = scanner.answer(Escapes::Backslash)?;
    line.add(METHOD, method);
    line.add(PATH, path_of(request));
    line.add_value(CODE, code(answer.code));
    line.add_value(SIZE, if answer.size == b"-" { Value::Nil } else { to_i(answer.size) });
    line.add_value(REFERER, answer.client.map_or(Value::Nil, |(referer, _)| or_nil(referer)));
    line.add_value(AGENT, answer.client.map_or(Value::Nil, |(_, agent)| or_nil(agent)));
    scanner.is_at_end().then_some(line)
}

fn or_nil(text: &[u8]) -> Value<'_> {
    if text == b"-" { Value::Nil } else { Value::Str(text) }
}

/// An answer's code; 0 is none.
pub(super) fn code(text: &[u8]) -> Value<'static> {
    Some(to_i(text)).filter(|n| *n != Value::Int(0)).unwrap_or(Value::Nil)
}

/// Apache's error log.
pub(super) fn apache_error(text: &[u8]) -> Option<Line<'_>> {
    let mut scanner = Scanner::new(text)?;
    let mut line = Line::new();
    scanner.eat(b"[")?;
    scanner.until(b' ')?;
    line.add_time(scanner.until(b']')?);
    scanner.eat(b" [")?;
    line.add(LEVEL, scanner.until(b']')?);
    if scanner.eat(b" [pid ").is_some() {
        line.add(PID, scanner.until(b']')?);
    }
    if scanner.eat(b" [client ").is_some() {
        line.add(CLIENT, scanner.until(b']')?);
    }
    scanner.eat(b" ")?;
    line.add(MESSAGE, scanner.rest());
    Some(line)
}

#[cfg(test)]
mod tests;
