//! The parser: one pass over the text, a value at a time, to MessagePack or to the fields of a record.
//!
//! Containers recurse, at most [`MAX_DEPTH`] deep. Errors are one small [`Reason`]; `pos` then tells the place.

use smallvec::SmallVec;

use super::error::{JsonError, Kind, Reason};
use super::names::{self, FEW, Seen};
use super::shape::Expected;
use super::simd::{self, BLOCK};
use super::{number, scan, strings};
use crate::event::msgpack::{self, MAX_DEPTH};
use crate::event::record::{Arena, Record};
use crate::event::room::Room;
use crate::event::value::Value;

/// Fields of open nested objects whose places are remembered without an allocation.
const INLINE_MARKS: usize = 32;

/// Longest MessagePack header of text, in bytes.
const MAX_STR_HEADER: usize = 5;

/// Text below this many bytes has a header of one byte, [`SHORT_STR`] and its length, and is copied as one block.
const SHORT: usize = 32;

/// MessagePack's "fixstr".
const SHORT_STR: u8 = 0xa0;

/// A place in JSON text.
pub(super) struct Reader<'a> {
    text: &'a [u8],
    pos: usize,
    /// Where the pairs of the open nested objects begin in the output, outermost first.
    marks: SmallVec<[usize; INLINE_MARKS]>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Reader<'a> {
        Reader { text, pos: 0, marks: SmallVec::new() }
    }

    /// Offset of what is read next.
    pub(super) fn position(&self) -> usize {
        self.pos
    }

    /// The error for a reason, at this place.
    #[cold]
    pub(super) fn error(&self, reason: Reason) -> JsonError {
        JsonError { reason, offset: self.pos }
    }

    /// Moves to the next token and gives its first byte.
    #[inline(always)]
    pub(super) fn token(&mut self) -> Result<u8, Reason> {
        match self.text.get(self.pos) {
            Some(&byte) if byte > b' ' && byte != b'/' => Ok(byte),
            Some(b' ') => {
                self.pos += 1;
                match self.text.get(self.pos) {
                    Some(&byte) if byte > b' ' && byte != b'/' => Ok(byte),
                    _ => self.far_token(),
                }
            }
            _ => self.far_token(),
        }
    }

    /// As [`token`](Self::token), over any white space and over comments, which Fluentd's parsers allow.
    #[inline(never)]
    fn far_token(&mut self) -> Result<u8, Reason> {
        loop {
            match self.text.get(self.pos) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.pos += 1,
                Some(b'/') => self.comment()?,
                Some(&byte) => return Ok(byte),
                None => return Err(Reason::Truncated),
            }
        }
    }

    fn comment(&mut self) -> Result<(), Reason> {
        let body = &self.text[self.pos + 1..];
        let len = match body.first() {
            Some(b'/') => memchr::memchr(b'\n', body).unwrap_or(body.len()),
            Some(b'*') => 3 + memchr::memmem::find(&body[1..], b"*/").ok_or(Reason::Truncated)?,
            Some(_) => return Err(Reason::Unexpected),
            None => return Err(Reason::Truncated),
        };
        self.pos += 1 + len;
        Ok(())
    }

    /// Checks that only white space is left.
    pub(super) fn end(&mut self) -> Result<(), Reason> {
        match self.token() {
            Err(Reason::Truncated) if self.pos >= self.text.len() => Ok(()),
            Err(reason) => Err(reason),
            Ok(_) => Err(Reason::Trailing),
        }
    }

    /// Behind an element: true when another follows, false when the container closes.
    #[inline(always)]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Reason> {
        let byte = self.token()?;
        if byte != b',' && byte != close {
            return Err(Reason::Unexpected);
        }
        self.pos += 1;
        Ok(byte == b',')
    }

    /// Moves behind the opening of a container; true when it is empty, then behind its closing too.
    #[inline(always)]
    pub(super) fn open(&mut self, close: u8) -> Result<bool, Reason> {
        self.pos += 1;
        let empty = self.token()? == close;
        self.pos += usize::from(empty);
        Ok(empty)
    }

    #[inline(always)]
    fn colon(&mut self) -> Result<(), Reason> {
        if self.token()? != b':' {
            return Err(Reason::Unexpected);
        }
        self.pos += 1;
        Ok(())
    }

    fn literal(&mut self, word: &[u8], value: Value<'static>) -> Result<Value<'static>, Reason> {
        let rest = &self.text[self.pos..];
        if rest.starts_with(word) {
            self.pos += word.len();
            return Ok(value);
        }
        Err(if word.starts_with(rest) { Reason::Truncated } else { Reason::Unexpected })
    }

    /// A value that is neither text nor a container and begins with `first`.
    #[inline(always)]
    fn scalar(&mut self, first: u8) -> Result<Value<'static>, Reason> {
        match first {
            b'-' | b'0'..=b'9' => {
                let (value, end) = number::read(self.text, self.pos)?;
                self.pos = end;
                Ok(value)
            }
            b't' => self.literal(b"true", Value::Bool(true)),
            b'f' => self.literal(b"false", Value::Bool(false)),
            b'n' => self.literal(b"null", Value::Nil),
            b'+' | b'.' | b'N' | b'I' => Err(Reason::Number),
            _ => Err(Reason::Unexpected),
        }
    }

    /// The string at this place: its body, or where its first backslash is. Moves behind a body without escapes.
    #[inline(always)]
    fn plain_string(&mut self) -> Result<Result<&'a [u8], usize>, Reason> {
        let start = self.pos + 1;
        let hit = scan::quote_or_backslash(self.text, start);
        match self.text.get(hit) {
            Some(b'"') => {
                self.pos = hit + 1;
                Ok(Ok(&self.text[start..hit]))
            }
            Some(_) => Ok(Err(hit)),
            None => Err(Reason::Truncated),
        }
    }

    /// Unescapes the string at this place to the end of `out` and moves behind it.
    #[inline(never)]
    fn escaped_string(&mut self, first: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        match strings::unescape(self.text, self.pos + 1, first, out) {
            Ok(end) => {
                self.pos = end;
                Ok(())
            }
            Err((reason, at)) => {
                self.pos = at;
                Err(reason)
            }
        }
    }
}

/// To MessagePack.
impl Reader<'_> {
    /// Appends the value at this place, inside of `depth` containers.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Reason> {
        match self.token()? {
            b'"' => self.append_string(out).map(|_| ()),
            b'{' => self.append_object(out, depth),
            b'[' => self.append_array(out, depth),
            first => {
                self.scalar(first)?.encode(out);
                Ok(())
            }
        }
    }

    /// Appends the string at this place; gives the offset of its body in `out`.
    #[inline(always)]
    fn append_string(&mut self, out: &mut Vec<u8>) -> Result<usize, Reason> {
        match self.plain_string()? {
            Ok(text) => Ok(self.append_plain(text, out)),
            Err(first) => self.append_escaped(first, out),
        }
    }

    /// Appends text that was just passed. Short text is copied as one block, together with what stands behind it in the
    /// input and is cut off again: a copy of fixed size costs no call.
    #[inline(always)]
    fn append_plain(&self, text: &[u8], out: &mut Vec<u8>) -> usize {
        let start = self.pos - 1 - text.len();
        match self.text[start..].first_chunk::<SHORT>() {
            Some(block) if text.len() < SHORT => {
                out.push(SHORT_STR | text.len() as u8);
                let body = out.len();
                out.extend_from_slice(block);
                out.truncate(body + text.len());
                body
            }
            _ => {
                msgpack::put_str(out, text);
                out.len() - text.len()
            }
        }
    }

    /// The header's length shows only behind the text: it is unescaped behind a gap, which is closed then.
    fn append_escaped(&mut self, first: usize, out: &mut Vec<u8>) -> Result<usize, Reason> {
        let gap = out.len() + MAX_STR_HEADER;
        out.resize(gap, 0);
        self.escaped_string(first, out)?;
        let end = out.len();
        msgpack::put_str_len(out, end - gap);
        let header = out.len() - end;
        out.copy_within(end.., gap - MAX_STR_HEADER);
        let body = gap - MAX_STR_HEADER + header;
        out.copy_within(gap..end, body);
        out.truncate(body + end - gap);
        Ok(body)
    }

    fn append_array(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Reason> {
        let header = begin(out, 0x90, depth)?;
        if self.open(b']')? {
            return Ok(());
        }
        let mut len = 0;
        loop {
            self.append(out, depth + 1)?;
            len += 1;
            if !self.more(b']')? {
                break;
            }
        }
        msgpack::set_len(out, header, len, msgpack::put_array_len);
        Ok(())
    }

    fn append_object(&mut self, out: &mut Vec<u8>, depth: usize) -> Result<(), Reason> {
        let header = begin(out, 0x80, depth)?;
        if self.open(b'}')? {
            return Ok(());
        }
        let base = self.marks.len();
        let (mut seen, mut repeated) = (Seen::default(), false);
        loop {
            self.marks.push(out.len());
            let new = self.append_name(out, &mut seen)?;
            repeated |= !new && self.is_repeated(out, base);
            self.append(out, depth + 1)?;
            if !self.more(b'}')? {
                break;
            }
        }
        let mut len = self.marks.len() - base;
        if repeated {
            len = names::settle_pairs(out, &self.marks[base..]);
        }
        self.marks.truncate(base);
        msgpack::set_len(out, header, len, msgpack::put_map_len);
        Ok(())
    }

    /// Whether the name at the end of `out` is one of those before it in the object whose marks begin at `base`, or may
    /// be where there are more than a few. An encoded name is the start of no other, so whole encodings compare.
    #[inline(never)]
    fn is_repeated(&self, out: &[u8], base: usize) -> bool {
        let Some((last, before)) = self.marks[base..].split_last() else { return false };
        let name = &out[*last..];
        before.len() > FEW || before.iter().any(|mark| out[*mark..].starts_with(name))
    }

    /// Appends the name at this place and moves behind its colon; false when it may have been there before.
    #[inline(always)]
    fn append_name(&mut self, out: &mut Vec<u8>, seen: &mut Seen) -> Result<bool, Reason> {
        if self.token()? != b'"' {
            return Err(Reason::Unexpected);
        }
        let body = self.append_string(out)?;
        let new = seen.is_new(&out[body..]);
        self.colon()?;
        Ok(new)
    }
}

/// Writes the header of an empty container; gives its place.
#[inline(always)]
fn begin(out: &mut Vec<u8>, empty: u8, depth: usize) -> Result<usize, Reason> {
    if depth >= MAX_DEPTH {
        return Err(Reason::TooDeep);
    }
    out.push(empty);
    Ok(out.len() - 1)
}

/// An object whose names are those expected, so far.
struct Object<'a> {
    /// Where its header is in the output.
    header: usize,
    /// The place of the next name among those expected.
    place: usize,
    /// Fields so far, without the one apart.
    len: usize,
    /// The value of that one.
    apart: Option<Value<'a>>,
}

impl Object<'_> {
    /// Marks the fields so far, and notes their names.
    fn names_before(&self, marks: &mut SmallVec<[usize; INLINE_MARKS]>, out: &[u8]) -> Seen {
        let (mut seen, mut at) = (Seen::default(), self.header + 1);
        marks.clear();
        for _ in 0..self.len {
            marks.push(at);
            // What was written here just now is whole.
            if let Ok(Value::Str(name)) = msgpack::read(out, &mut at) {
                seen.is_new(name);
            }
            at += msgpack::skip(&out[at..]).unwrap_or(0);
        }
        seen
    }
}

/// To a record, or to an object without one of its fields.
impl<'a> Reader<'a> {
    /// Reads the object at this place into `record`, which is empty. `scratch` is any buffer.
    pub(super) fn record(
        &mut self,
        arena: &'a Arena,
        scratch: &mut Vec<u8>,
        record: &mut Record<'a>,
    ) -> Result<(), Reason> {
        if self.open(b'}')? {
            return Ok(());
        }
        let (mut seen, mut repeated) = (Seen::default(), false);
        loop {
            let name = self.name(arena, scratch)?;
            let value = self.value(arena, scratch)?;
            if seen.is_new(name) {
                record.push(name, value);
            } else if record.len() <= FEW {
                record.set(name, value);
            } else {
                repeated = true;
                record.push(name, value);
            }
            if !self.more(b'}')? {
                break;
            }
        }
        if repeated {
            names::settle_record(record);
        }
        Ok(())
    }

    /// Appends the object at this place to `out`, without the field apart; gives the last value of that one.
    pub(super) fn append_but(
        &mut self,
        expected: &mut Expected,
        arena: &'a Arena,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Value<'a>>, Reason> {
        let header = begin(out, 0x80, 0)?;
        let mut object = Object { header, place: 0, len: 0, apart: None };
        loop {
            self.append_known(expected, &mut object, out)?;
            let rest = &self.text[self.pos..];
            match expected.shape.at(object.place) {
                // The field apart, for no other is left here.
                Some(name) if name.from.begins(rest) => {
                    self.pos += name.from.len();
                    object.place += 1;
                    object.apart = Some(self.value(arena, scratch)?);
                }
                _ if object.place > 0 && rest.first() == Some(&b'}') => {
                    self.pos += 1;
                    break;
                }
                _ => match expected.shape.further(object.place, rest) {
                    Some(place) => object.place = place,
                    None => {
                        self.append_others(expected, &mut object, arena, scratch, out)?;
                        break;
                    }
                },
            }
        }
        msgpack::set_len(out, header, object.len, msgpack::put_map_len);
        Ok(object.apart)
    }

    /// Appends the fields that have the names expected, up to the field apart. What values mostly are costs no call.
    #[inline(always)]
    fn append_known(&mut self, expected: &Expected, object: &mut Object<'a>, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (text, mut pos) = (self.text, self.pos);
        let (mut place, mut room) = (object.place, Room::of(out));
        let apart = expected.apart_at.unwrap_or(usize::MAX);
        while let Some(name) = expected.shape.at(place)
            && place != apart
            && name.from.begins(&text[pos..])
        {
            pos += name.from.len();
            place += 1;
            name.to.append(&mut room);
            let rest = &text[pos..];
            match rest.first() {
                Some(b'"') => {
                    if let Some(block) = rest[1..].first_chunk::<BLOCK>() {
                        let end = simd::quotes(block).trailing_zeros() as usize;
                        if block.get(end) == Some(&b'"') {
                            room.push(SHORT_STR | end as u8);
                            room.block(block, end);
                            pos += end + 2;
                            continue;
                        }
                    }
                }
                Some(b'0'..=b'9') => {
                    if let Some((number, end)) = number::small(text, pos) {
                        msgpack::put_unsigned(&mut room, number);
                        pos = end;
                        continue;
                    }
                }
                _ => {}
            }
            self.pos = pos;
            room.with(|out| self.append(out, 1))?;
            pos = self.pos;
        }
        self.pos = pos;
        object.len += place - object.place;
        object.place = place;
        Ok(())
    }

    /// The rest of an object, from a name on that was not expected: behind its opening or the value before.
    #[inline(never)]
    fn append_others(
        &mut self,
        expected: &mut Expected,
        object: &mut Object<'a>,
        arena: &'a Arena,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        let mut from = self.pos;
        let ended = if object.place == 0 { self.open(b'}')? } else { !self.more(b'}')? };
        if ended {
            return Ok(());
        }
        let mut learns = expected.differs(object.place);
        let mut seen = object.names_before(&mut self.marks, out);
        let mut repeated = false;
        loop {
            let at = out.len();
            if self.token()? != b'"' {
                return Err(Reason::Unexpected);
            }
            let body = self.append_string(out)?;
            self.colon()?;
            self.token()?;
            let apart = expected.is_apart(&out[body..]);
            let again = if apart {
                object.apart.is_some()
            } else {
                self.marks.push(at);
                !seen.is_new(&out[body..]) && self.is_repeated(out, 0)
            };
            repeated |= again && !apart;
            // What is expected comes once: nobody looks for its like then.
            learns = learns && !again && expected.add(&self.text[from..self.pos], &out[at..], apart);
            if apart {
                out.truncate(at);
                object.apart = Some(self.value(arena, scratch)?);
            } else {
                self.append(out, 1)?;
            }
            from = self.pos;
            if !self.more(b'}')? {
                break;
            }
        }
        object.len = if repeated { names::settle_pairs(out, &self.marks) } else { self.marks.len() };
        self.marks.clear();
        Ok(())
    }

    #[inline(always)]
    fn name(&mut self, arena: &'a Arena, scratch: &mut Vec<u8>) -> Result<&'a [u8], Reason> {
        if self.token()? != b'"' {
            return Err(Reason::Unexpected);
        }
        let name = self.string(arena, scratch)?;
        self.colon()?;
        Ok(name)
    }

    #[inline(always)]
    fn string(&mut self, arena: &'a Arena, scratch: &mut Vec<u8>) -> Result<&'a [u8], Reason> {
        match self.plain_string()? {
            Ok(text) => Ok(text),
            Err(first) => {
                scratch.clear();
                self.escaped_string(first, scratch)?;
                Ok(arena.bytes(scratch))
            }
        }
    }

    /// The value at this place, as the value of a record's field.
    #[inline(always)]
    pub(super) fn value(&mut self, arena: &'a Arena, scratch: &mut Vec<u8>) -> Result<Value<'a>, Reason> {
        match self.token()? {
            b'"' => Ok(Value::Str(self.string(arena, scratch)?)),
            b'{' => Ok(Value::Map(self.nested(arena, scratch)?)),
            b'[' => Ok(Value::Array(self.nested(arena, scratch)?)),
            first => self.scalar(first),
        }
    }

    fn nested(&mut self, arena: &'a Arena, scratch: &mut Vec<u8>) -> Result<&'a [u8], Reason> {
        scratch.clear();
        self.append(scratch, 1)?;
        Ok(arena.bytes(scratch))
    }

    /// Passes the value at this place, which is no object, and gives the reason to refuse it.
    pub(super) fn not_object(&mut self, scratch: &mut Vec<u8>) -> Reason {
        let kind = Kind::of(&self.text[self.pos..]);
        scratch.clear();
        match (self.append(scratch, 0), kind) {
            (Err(reason), _) => reason,
            (Ok(()), Some(kind)) => Reason::NotObject(kind),
            (Ok(()), None) => Reason::Unexpected,
        }
    }
}
