//! Record accessors: names of fields, at the top of a record or within nested ones.
//!
//! The notation and its meaning are Fluentd's (`record_accessor` plugin helper): `key` is a field of the record, dots and
//! all; `$.a.b[0]` and `$['a']['b.c'][0]` go into nested maps and arrays. Nothing is created on the way: a nested value is
//! set only where its container is.
//!
//! MessagePack containers hold their element count and not their size, so a nested edit copies the bytes around the
//! place and rewrites one header.

use std::fmt;
use std::ops::Range;

use super::msgpack::{self, Malformed};
use super::record::{Arena, Record};
use super::value::Value;

/// Most elements that `set` adds to an array to reach an index past its end (Ruby fills up with nil).
pub const MAX_ARRAY_FILL: usize = 1024;

/// A parsed record accessor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordPath {
    text: Box<str>,
    /// At least one.
    steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Key(Box<[u8]>),
    Index(i64),
}

/// Why text is no record accessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    text: String,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Empty,
    WhiteSpace,
    Open,
    Quote,
    Index,
    Behind,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Empty => "has no key; write `$.key` or `$['key']`",
            Fault::WhiteSpace => "has white space in a key; write such keys as `$['the key']`",
            Fault::Open => "has a `[` without its `]`",
            Fault::Quote => "has a quoted key without its closing quote and bracket; write `['key']` or `[\"key\"]`",
            Fault::Index => {
                "has no whole number as an index; write `[0]` for an index and `$['a']['b']` for keys in brackets"
            }
            Fault::Behind => "has text behind a `]`; write `$.a[0].b` or `$['a'][0]['b']`, not a mixture",
        };
        write!(f, "record accessor `{}` {what}", self.text)
    }
}

impl std::error::Error for PathError {}

impl fmt::Display for RecordPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl RecordPath {
    /// Reads an accessor. Text that begins neither with `$.` nor with `$[` is a top-level key as it stands.
    pub fn parse(text: &str) -> Result<RecordPath, PathError> {
        let steps = match (text.strip_prefix("$."), text.strip_prefix('$')) {
            (Some(dotted), _) => dot_steps(dotted),
            (None, Some(bracketed)) if bracketed.starts_with('[') => bracket_steps(bracketed),
            _ => Ok(vec![key(text)]),
        };
        match steps {
            Ok(steps) if steps.is_empty() => Err(Fault::Empty),
            Ok(steps) => Ok(RecordPath { text: text.into(), steps: steps.into() }),
            Err(fault) => Err(fault),
        }
        .map_err(|fault| PathError { text: text.to_owned(), fault })
    }

    /// Whether it is written in `$` notation, as Fluentd's `record_accessor_nested?` tells; `$.a` is too.
    pub fn is_nested(&self) -> bool {
        self.text.starts_with("$.") || self.text.starts_with("$[")
    }

    fn split(&self) -> Option<(&[u8], &[Step])> {
        match self.steps.split_first()? {
            (Step::Key(key), rest) => Some((key, rest)),
            // The record itself is a map with text for keys.
            (Step::Index(_), _) => None,
        }
    }

    /// The value at the path; `None` when any part of the way is missing.
    pub fn get<'a>(&self, record: &Record<'a>) -> Option<Value<'a>> {
        let (top, rest) = self.split()?;
        below(record.get(top)?, rest)
    }

    /// As [`get`](RecordPath::get) of the record that `map` is decoded to, without decoding it.
    ///
    /// Errors: a name that is no text, which becomes one when the record is decoded; or no map.
    pub fn find<'a>(&self, map: &'a [u8]) -> Result<Option<Value<'a>>, Malformed> {
        let Some((top, rest)) = self.split() else { return Ok(None) };
        let mut at = 0;
        let len = msgpack::read_map_len(map, &mut at)?.ok_or(Malformed::Invalid)?;
        for _ in 0..len {
            let Value::Str(name) = msgpack::read(map, &mut at)? else { return Err(Malformed::Invalid) };
            if name == top {
                return Ok(below(msgpack::read(map, &mut at)?, rest));
            }
            at += msgpack::skip(map.get(at..).ok_or(Malformed::Truncated)?)?;
        }
        Ok(None)
    }

    /// Takes the value at the path out. The containers on the way stay, if need be empty.
    pub fn remove<'a>(&self, record: &mut Record<'a>, arena: &'a Arena) -> Option<Value<'a>> {
        let (top, rest) = self.split()?;
        if rest.is_empty() {
            return record.remove(top);
        }
        let field = &mut record.iter_mut().find(|(name, _)| *name == top)?.1;
        let raw = container(*field)?;
        let (container, last) = descend(raw, rest)?;
        let found = container.find(raw, last)?;
        let edited = container.edit(raw, container.len - 1, found.whole.clone(), &[]);
        *field = replaced(*field, arena.bytes(&edited));
        msgpack::read(raw, &mut found.value.clone().start).ok()
    }

    /// Sets the value at the path: in place, else at the end of its container. Nothing happens when the container isn't
    /// there, or when the record would nest deeper than [`msgpack::MAX_DEPTH`].
    pub fn set<'a>(&self, record: &mut Record<'a>, value: Value<'a>, arena: &'a Arena) {
        let Some((top, rest)) = self.split() else { return };
        match record.iter_mut().find(|(name, _)| *name == top) {
            Some(field) if rest.is_empty() => field.1 = value,
            Some(field) => field.1 = set_nested(field.1, rest, value, arena).unwrap_or(field.1),
            None if rest.is_empty() => record.push(arena.bytes(top), value),
            None => {}
        }
    }
}

fn key(text: &str) -> Step {
    Step::Key(text.as_bytes().into())
}

/// `a.b[0].c`, the part behind `$.`. Ruby's `split`: empty keys at the end are left out.
fn dot_steps(text: &str) -> Result<Vec<Step>, Fault> {
    let (text, mut steps) = (text.trim_end_matches('.'), Vec::new());
    if text.is_empty() {
        return Ok(steps);
    }
    for part in text.split('.') {
        let (name, brackets) = part.find('[').map_or((part, ""), |at| part.split_at(at));
        if name.contains(|c: char| c.is_ascii_whitespace() || c == '\x0b') {
            return Err(Fault::WhiteSpace);
        }
        if !name.is_empty() || brackets.is_empty() {
            steps.push(key(name));
        }
        steps.extend(bracket_steps(brackets)?);
    }
    Ok(steps)
}

/// `['a'][0]["b"]`. As in Fluentd, text between a `]` and the next `[` is not looked at.
fn bracket_steps(text: &str) -> Result<Vec<Step>, Fault> {
    let mut steps = Vec::new();
    let mut rest = next_bracket(text)?;
    while !rest.is_empty() {
        let (step, behind) = bracket_step(rest)?;
        steps.push(step);
        rest = next_bracket(behind)?;
    }
    Ok(steps)
}

/// What is behind the next `[`; nothing at the end.
fn next_bracket(text: &str) -> Result<&str, Fault> {
    match text.split_once('[') {
        Some((_, inside)) => Ok(inside),
        None if text.is_empty() => Ok(""),
        None => Err(Fault::Behind),
    }
}

fn bracket_step(inside: &str) -> Result<(Step, &str), Fault> {
    for (quote, close) in [('\'', "']"), ('"', "\"]")] {
        if let Some(quoted) = inside.strip_prefix(quote) {
            let (name, behind) = quoted.split_once(close).ok_or(Fault::Quote)?;
            return Ok((key(name), behind));
        }
    }
    let (number, behind) = inside.split_once(']').ok_or(Fault::Open)?;
    let index = number.trim().parse().map_err(|_| Fault::Index)?;
    Ok((Step::Index(index), behind))
}

/// The value behind the steps from a field on.
fn below<'a>(field: Value<'a>, steps: &[Step]) -> Option<Value<'a>> {
    if steps.is_empty() {
        return Some(field);
    }
    let raw = container(field)?;
    let (container, last) = descend(raw, steps)?;
    msgpack::read(raw, &mut container.find(raw, last)?.value.start).ok()
}

fn container(value: Value<'_>) -> Option<&[u8]> {
    match value {
        Value::Array(raw) | Value::Map(raw) => Some(raw),
        _ => None,
    }
}

fn replaced<'a>(old: Value<'_>, raw: &'a [u8]) -> Value<'a> {
    if matches!(old, Value::Map(_)) { Value::Map(raw) } else { Value::Array(raw) }
}

/// A container within encoded bytes.
struct Container {
    map: bool,
    /// Where its header is.
    header: Range<usize>,
    /// Elements, or pairs.
    len: usize,
}

/// An element or pair, and its value.
struct Found {
    whole: Range<usize>,
    value: Range<usize>,
}

/// The container that the last step is a child of, and that step.
fn descend<'s>(raw: &[u8], steps: &'s [Step]) -> Option<(Container, &'s Step)> {
    let (last, way) = steps.split_last()?;
    let mut container = Container::at(raw, 0)?;
    for step in way {
        container = Container::at(raw, container.find(raw, step)?.value.start)?;
    }
    Some((container, last))
}

fn skip(raw: &[u8], at: usize) -> Option<usize> {
    Some(at + msgpack::skip(raw.get(at..)?).ok()?)
}

impl Container {
    fn at(raw: &[u8], start: usize) -> Option<Container> {
        let mut pos = start;
        if let Some(len) = msgpack::read_map_len(raw, &mut pos).ok()? {
            return Some(Container { map: true, header: start..pos, len });
        }
        let len = msgpack::read_array_len(raw, &mut pos).ok()??;
        Some(Container { map: false, header: start..pos, len })
    }

    fn find(&self, raw: &[u8], step: &Step) -> Option<Found> {
        match (self.map, step) {
            (true, _) => self.find_pair(raw, step),
            (false, Step::Index(index)) => self.find_element(raw, self.place(*index)?),
            (false, Step::Key(_)) => None,
        }
    }

    fn find_pair(&self, raw: &[u8], step: &Step) -> Option<Found> {
        let mut at = self.header.end;
        for _ in 0..self.len {
            let mut value = at;
            let name = msgpack::read(raw, &mut value).ok()?;
            let end = skip(raw, value)?;
            if step.names(name) {
                return Some(Found { whole: at..end, value: value..end });
            }
            at = end;
        }
        None
    }

    fn find_element(&self, raw: &[u8], place: usize) -> Option<Found> {
        if place >= self.len {
            return None;
        }
        let mut at = self.header.end;
        for _ in 0..place {
            at = skip(raw, at)?;
        }
        let end = skip(raw, at)?;
        Some(Found { whole: at..end, value: at..end })
    }

    /// An index from the start, for one that may count from the end; it may be past the end.
    fn place(&self, index: i64) -> Option<usize> {
        let from_end = if index < 0 { self.len as i64 } else { 0 };
        usize::try_from(index.checked_add(from_end)?).ok()
    }

    fn end(&self, raw: &[u8]) -> Option<usize> {
        skip(raw, self.header.start)
    }

    /// The bytes with `place` replaced by `new`, and this container's length changed.
    fn edit(&self, raw: &[u8], len: usize, place: Range<usize>, new: &[u8]) -> Vec<u8> {
        let put_len = if self.map { msgpack::put_map_len } else { msgpack::put_array_len };
        let mut out = Vec::with_capacity(raw.len() + new.len() + 4);
        out.extend_from_slice(&raw[..self.header.start]);
        put_len(&mut out, len);
        out.extend_from_slice(&raw[self.header.end..place.start]);
        out.extend_from_slice(new);
        out.extend_from_slice(&raw[place.end..]);
        out
    }

    /// The bytes with the child at `step` set to the encoded value in `new`.
    fn set(&self, raw: &[u8], step: &Step, new: &[u8]) -> Option<Vec<u8>> {
        if let Some(found) = self.find(raw, step) {
            return Some(self.edit(raw, self.len, found.value, new));
        }
        let end = self.end(raw)?;
        let mut added = Vec::new();
        let len = if self.map { step.encode(&mut added) + self.len } else { self.fill(step, &mut added)? };
        added.extend_from_slice(new);
        Some(self.edit(raw, len, end..end, &added))
    }

    /// Writes the nils between an array's end and an index past it; gives the array's new length.
    fn fill(&self, step: &Step, out: &mut Vec<u8>) -> Option<usize> {
        let Step::Index(index) = step else { return None };
        let place = self.place(*index)?;
        let missing = place.checked_sub(self.len).filter(|missing| *missing <= MAX_ARRAY_FILL)?;
        (0..missing).for_each(|_| msgpack::put_nil(out));
        Some(place + 1)
    }
}

impl Step {
    fn names(&self, name: Value<'_>) -> bool {
        match (self, name) {
            (Step::Key(key), Value::Str(text) | Value::Bin(text)) => **key == *text,
            (Step::Index(index), Value::Int(number)) => *index == number,
            _ => false,
        }
    }

    /// Writes the step as a map's key; one pair.
    fn encode(&self, out: &mut Vec<u8>) -> usize {
        match self {
            Step::Key(key) => msgpack::put_str(out, key),
            Step::Index(index) => msgpack::put_int(out, *index),
        }
        1
    }
}

fn set_nested<'a>(field: Value<'a>, steps: &[Step], value: Value<'a>, arena: &'a Arena) -> Option<Value<'a>> {
    let raw = container(field)?;
    let (container, last) = descend(raw, steps)?;
    let mut new = Vec::new();
    value.encode(&mut new);
    let edited = container.set(raw, last, &new)?;
    fits(&edited).then(|| replaced(field, arena.bytes(&edited)))
}

/// Whether a field's value nests no deeper than a record allows, whose map is one level more.
fn fits(raw: &[u8]) -> bool {
    msgpack::skip(&[&[0x91], raw].concat()).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::json;
    use crate::event::msgpack::MAX_DEPTH;

    fn steps(text: &str) -> Vec<Step> {
        RecordPath::parse(text).unwrap().steps.into()
    }

    fn shown(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        json::write_record(record, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The record of `text` after `edit`, as JSON.
    fn edited(text: &str, edit: impl for<'a> FnOnce(&mut Record<'a>, &'a Arena)) -> String {
        let (arena, mut record) = (Arena::new(), Record::new());
        json::parse_object(text.as_bytes(), &arena, &mut record).unwrap();
        edit(&mut record, &arena);
        shown(&record)
    }

    fn set(text: &str, path: &str) -> String {
        let path = RecordPath::parse(path).unwrap();
        edited(text, |record, arena| path.set(record, Value::str("new"), arena))
    }

    fn removed(text: &str, path: &str) -> (String, Option<String>) {
        let path = RecordPath::parse(path).unwrap();
        let mut taken = None;
        let left = edited(text, |record, arena| {
            taken = path.remove(record, arena).map(|value| {
                let mut out = Vec::new();
                json::write_value(value, &mut out);
                String::from_utf8(out).unwrap()
            });
        });
        (left, taken)
    }

    fn got(text: &str, path: &str) -> Option<String> {
        let path = RecordPath::parse(path).unwrap();
        let mut out = None;
        edited(text, |record, _| {
            out = path.get(record).map(|value| {
                let mut text = Vec::new();
                json::write_value(value, &mut text);
                String::from_utf8(text).unwrap()
            });
        });
        out
    }

    #[test]
    fn both_notations_give_their_steps() {
        let index = Step::Index;
        for (text, expected) in [
            ("key1", vec![key("key1")]),
            ("ke y2", vec![key("ke y2")]),
            ("this.is.key3", vec![key("this.is.key3")]),
            ("$key", vec![key("$key")]),
            ("", vec![key("")]),
            ("$.a", vec![key("a")]),
            ("$.key1.key2[0]", vec![key("key1"), key("key2"), index(0)]),
            ("$.a[0][-1].b", vec![key("a"), index(0), index(-1), key("b")]),
            ("$.[0].key1.[1].key2", vec![index(0), key("key1"), index(1), key("key2")]),
            ("$.a..b.", vec![key("a"), key(""), key("b")]),
            ("$['key1']['this.is.key3']", vec![key("key1"), key("this.is.key3")]),
            ("$[\"key1\"][0][\"ke y2\"]", vec![key("key1"), index(0), key("ke y2")]),
            ("$[\"a\"]['b']", vec![key("a"), key("b")]),
            ("$['a]b']", vec![key("a]b")]),
            ("$['']", vec![key("")]),
            ("$[0]['key1']", vec![index(0), key("key1")]),
            ("$.a['b'][0]", vec![key("a"), key("b"), index(0)]),
            ("$['a'].b['c']", vec![key("a"), key("c")]),
        ] {
            assert_eq!(steps(text), expected, "{text}");
            assert_eq!(RecordPath::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn broken_notation_is_an_error_that_shows_it() {
        for (text, fault) in [
            ("$['key1'", Fault::Quote),
            ("$.hello[]", Fault::Index),
            ("$['hello'][]", Fault::Index),
            ("$[]", Fault::Index),
            ("$.a[b]", Fault::Index),
            ("$.a[0", Fault::Open),
            ("$[0", Fault::Open),
            ("$.key1[0]foo", Fault::Behind),
            ("$['a'].b", Fault::Behind),
            ("$.key[0].ke y", Fault::WhiteSpace),
            ("$.", Fault::Empty),
            ("$..", Fault::Empty),
            ("$[", Fault::Empty),
            ("$['key1']['key2\"]", Fault::Quote),
            ("$[\"key1\"][\"key2']", Fault::Quote),
        ] {
            let error = RecordPath::parse(text).unwrap_err();
            assert_eq!(error.fault, fault, "{text}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn dollar_notation_counts_as_nested() {
        for (text, nested) in [("a.b", false), ("$a", false), ("$.a", true), ("$['a']", true)] {
            assert_eq!(RecordPath::parse(text).unwrap().is_nested(), nested, "{text}");
        }
    }

    const SAMPLE: &str = r#"{"a":{"b":[1,{"c.d":null},"x"],"":0},"a.b":7,"s":"text"}"#;

    #[test]
    fn values_are_found_at_every_depth() {
        for (path, value) in [
            ("a.b", Some("7")),
            ("$['a.b']", Some("7")),
            ("$.a.b[0]", Some("1")),
            ("$.a.b[-1]", Some(r#""x""#)),
            ("$.a.b[-3]", Some("1")),
            ("$['a']['b'][1]['c.d']", Some("null")),
            ("$['a']['']", Some("0")),
            ("$.a.b", Some(r#"[1,{"c.d":null},"x"]"#)),
            ("$.a.b[3]", None),
            ("$.a.b[-4]", None),
            ("$.a.b[9223372036854775807]", None),
            ("$.a.b[-9223372036854775808]", None),
            ("$.a.b.c", None),
            ("$.a[0]", None),
            ("$.s.x", None),
            ("$.s[0]", None),
            ("$.none.b", None),
            ("$[0]", None),
        ] {
            assert_eq!(got(SAMPLE, path).as_deref(), value, "{path}");
        }
    }

    #[test]
    fn removing_takes_one_value_and_leaves_the_rest() {
        for (path, left, taken) in [
            ("s", r#"{"a":{"b":[1,{"c.d":null},"x"],"":0},"a.b":7}"#, r#""text""#),
            ("$.a.b[0]", r#"{"a":{"b":[{"c.d":null},"x"],"":0},"a.b":7,"s":"text"}"#, "1"),
            ("$.a.b[-1]", r#"{"a":{"b":[1,{"c.d":null}],"":0},"a.b":7,"s":"text"}"#, r#""x""#),
            ("$['a']['b'][1]['c.d']", r#"{"a":{"b":[1,{},"x"],"":0},"a.b":7,"s":"text"}"#, "null"),
            ("$.a.b", r#"{"a":{"":0},"a.b":7,"s":"text"}"#, r#"[1,{"c.d":null},"x"]"#),
        ] {
            assert_eq!(removed(SAMPLE, path), (left.to_owned(), Some(taken.to_owned())), "{path}");
        }
        for path in ["$.a.b[3]", "$.a.x", "$.s.x", "$.none.x", "none", "$[0]", "$.a.b.c"] {
            assert_eq!(removed(SAMPLE, path), (SAMPLE.to_owned(), None), "{path}");
        }
    }

    #[test]
    fn setting_replaces_or_adds_but_creates_no_container() {
        for (path, after) in [
            ("s", r#"{"a":{"b":[1]},"s":"new"}"#),
            ("t", r#"{"a":{"b":[1]},"s":0,"t":"new"}"#),
            ("$['t']", r#"{"a":{"b":[1]},"s":0,"t":"new"}"#),
            ("$.a.b", r#"{"a":{"b":"new"},"s":0}"#),
            ("$.a.c", r#"{"a":{"b":[1],"c":"new"},"s":0}"#),
            ("$.a.b[0]", r#"{"a":{"b":["new"]},"s":0}"#),
            ("$.a.b[1]", r#"{"a":{"b":[1,"new"]},"s":0}"#),
            ("$.a.b[3]", r#"{"a":{"b":[1,null,null,"new"]},"s":0}"#),
            ("$.a[5]", r#"{"a":{"b":[1],"5":"new"},"s":0}"#),
        ] {
            assert_eq!(set(r#"{"a":{"b":[1]},"s":0}"#, path), after, "{path}");
        }
        for path in ["$.x.y", "$.s.y", "$.a.b.c", "$.a.b[-2]", "$.a.b[2000000000]", "$[0]", "$.a.b[0].x"] {
            assert_eq!(set(r#"{"a":{"b":[1]},"s":0}"#, path), r#"{"a":{"b":[1]},"s":0}"#, "{path}");
        }
    }

    #[test]
    fn headers_grow_and_shrink_with_their_containers() {
        let items = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
        let fifteen = format!(r#"{{"a":[{}]}}"#, items(15));
        assert_eq!(set(&fifteen, "$.a[15]"), format!(r#"{{"a":[{},"new"]}}"#, items(15)));
        let sixteen = format!(r#"{{"a":[{}]}}"#, items(16));
        assert_eq!(removed(&sixteen, "$.a[15]").0, fifteen);
    }

    #[test]
    fn integer_keys_of_nested_maps_are_found_by_index() {
        let (arena, mut record) = (Arena::new(), Record::new());
        record.set(b"m", Value::Map(&[0x81, 0x05, 0xa1, b'x']));
        let path = RecordPath::parse("$.m[5]").unwrap();
        assert_eq!(path.get(&record), Some(Value::str("x")));
        assert_eq!(path.remove(&mut record, &arena), Some(Value::str("x")));
        assert_eq!(shown(&record), r#"{"m":{}}"#);
    }

    #[test]
    fn a_value_that_would_nest_too_deep_is_not_set() {
        let (arena, mut record) = (Arena::new(), Record::new());
        record.set(b"a", Value::Map(&[0x80]));
        let mut deep = vec![0x91; MAX_DEPTH - 2];
        deep.push(0xc0);
        let path = RecordPath::parse("$.a.x").unwrap();
        let mut deeper = vec![0x91];
        deeper.extend(&deep);
        path.set(&mut record, Value::Array(&deeper), &arena);
        assert_eq!(record.get(b"a"), Some(Value::Map(&[0x80])));
        path.set(&mut record, Value::Array(&deep), &arena);
        assert_eq!(path.get(&record), Some(Value::Array(&deep)));
        let mut out = Vec::new();
        record.encode(&mut out);
        assert_eq!(msgpack::skip(&out), Ok(out.len()));
    }
}
