//! From a request to a batch.

use std::borrow::Cow;

use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;

use super::form;
use super::params::{Reading, Settings};
use super::query::Parameters;
use super::time::{self, RecordTime};
use crate::event::json::{self, JsonError, Reason};
use crate::event::{Arena, BatchBuilder, EventTime, Field, MAX_TAG_BYTES, Record, Tag, Value, msgpack};
use crate::plugin::{ParseError, Parser};

/// The header that says which client a proxy forwards for.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// What a request came to.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Its events.
    pub(super) events: BatchBuilder,
    /// Events that are none and were left out, with the first reason.
    pub(super) dropped: u32,
    pub(super) why: Option<String>,
}

impl Taken {
    fn drop_one(&mut self, why: impl std::fmt::Display) {
        self.dropped = self.dropped.saturating_add(1);
        self.why.get_or_insert_with(|| why.to_string());
    }
}

/// The tag in a path: what is between the slashes, with dots between. Percent signs are left as they are.
///
/// Errors: a tag that no event may have.
pub(super) fn tag_of(path: &str, prefix: Option<&str>) -> Result<Tag, String> {
    let path = path.strip_prefix('/').unwrap_or(path).trim_end_matches('/').replace('/', ".");
    let tag = match prefix {
        Some(prefix) => format!("{prefix}.{path}"),
        None => path,
    };
    match tag {
        long if long.len() > MAX_TAG_BYTES => Err(format!("the tag is longer than {MAX_TAG_BYTES} bytes")),
        odd if odd.chars().any(char::is_control) => Err("the tag has control characters".into()),
        tag => Ok(Tag::from(tag)),
    }
}

/// Reads the events of a request. `peer` is the sender's address as text.
///
/// Errors: why the whole request is refused; nothing of it is taken then.
pub(super) fn take(settings: &Settings, head: &Parts, peer: Option<&str>, body: &[u8]) -> Result<Taken, String> {
    let arena = Arena::new();
    let query = head.uri.query().unwrap_or_default().as_bytes();
    let parameters = Parameters::parse(query)?;
    let content_type = text(&head.headers, CONTENT_TYPE.as_str());
    match &settings.reading {
        Reading::Parser(parser, kind) => {
            let mut writer = Writer::new(settings, head, peer, &parameters, query, &arena);
            writer.parsed(&**parser, kind, body)?;
            Ok(writer.taken)
        }
        Reading::Default(times) => {
            let (parameters, content) = content(parameters, content_type, body)?;
            let mut writer = Writer::new(settings, head, peer, &parameters, query, &arena);
            writer.times = Some(times);
            let find = |name: &str| content.filter(|c| *c == name).map_or_else(|| parameters.get(name), |_| Some(body));
            match (find("msgpack"), find("json"), find("ndjson")) {
                (Some(data), ..) => writer.msgpack(data)?,
                (_, Some(text), _) => writer.json(text)?,
                (_, _, Some(text)) => writer.ndjson(text)?,
                _ => return Err("'json', 'ndjson' or 'msgpack' parameter is required".into()),
            }
            Ok(writer.taken)
        }
    }
}

/// Reads a body of a content type with the settings of an empty section; for [`crate::fuzzing`].
#[cfg(any(test, fuzzing))]
pub(crate) fn take_any(cx: &mut crate::plugin::BuildContext<'_>, content_type: &str, body: &[u8]) -> Option<u32> {
    let settings = Settings::new(&super::HttpParams::default(), cx).ok()?;
    let (head, ()) = hyper::Request::post("/a.b").header(CONTENT_TYPE, content_type).body(()).ok()?.into_parts();
    let taken = take(&settings, &head, Some("127.0.0.1"), body).ok()?;
    Some(taken.dropped)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// All parameters, and as which one of them the body itself counts.
fn content<'a>(
    mut parameters: Parameters<'a>,
    content_type: &str,
    body: &'a [u8],
) -> Result<(Parameters<'a>, Option<&'static str>), String> {
    let starts = |with: &str| content_type.starts_with(with);
    if starts("application/x-www-form-urlencoded") {
        parameters.extend(Parameters::parse(body)?)?;
    } else if let Some(boundary) = form::boundary(content_type) {
        parameters.extend(form::parse(body, boundary)?)?;
    } else if starts("application/json") || starts("application/csp-report") {
        return Ok((parameters, Some("json")));
    } else if starts("application/msgpack") {
        return Ok((parameters, Some("msgpack")));
    } else if starts("application/x-ndjson") {
        return Ok((parameters, Some("ndjson")));
    }
    Ok((parameters, None))
}

/// Writes events with what the request adds to each.
struct Writer<'a> {
    arena: &'a Arena,
    added: Vec<Field<'a>>,
    /// The request's own time.
    time: Option<EventTime>,
    now: EventTime,
    times: Option<&'a RecordTime>,
    taken: Taken,
}

impl<'a> Writer<'a> {
    fn new(
        settings: &Settings,
        head: &Parts,
        peer: Option<&str>,
        parameters: &Parameters<'_>,
        query: &[u8],
        arena: &'a Arena,
    ) -> Writer<'a> {
        Writer {
            arena,
            added: added(settings, head, peer, parameters, query, arena),
            time: parameters.get("time").map(|text| time::of_parameter(text).unwrap_or_else(EventTime::now)),
            now: EventTime::now(),
            times: None,
            taken: Taken::default(),
        }
    }

    fn add(&mut self, found: Option<EventTime>, record: &mut Record<'a>) -> Result<(), String> {
        for (name, value) in &self.added {
            record.set(name, *value);
        }
        let time = match (self.time, found, self.times) {
            (Some(time), ..) | (None, Some(time), _) => time,
            (None, None, Some(times)) => times.take(record, self.now)?.unwrap_or(self.now),
            (None, None, None) => self.now,
        };
        self.taken.events.push(time, record);
        Ok(())
    }

    /// Reads one JSON text: an object, or an array of objects. Broken text has no events at all.
    fn json(&mut self, text: &'a [u8]) -> Result<(), String> {
        let mut record = Record::new();
        let Some(mut elements) = json::Elements::new(text) else {
            return self.object(text, &mut record)?.or_else(|e| self.invalid(e));
        };
        let mark = self.taken.events.mark();
        while let Some(next) = self.element(&mut elements, &mut record)? {
            if let Err(e) = next {
                if !e.is_valid_json() {
                    self.taken.events.rewind(mark);
                }
                self.invalid(e)?;
            }
        }
        Ok(())
    }

    /// Text that is one object.
    fn object(&mut self, text: &'a [u8], record: &mut Record<'a>) -> Result<Result<(), JsonError>, String> {
        let arena = self.arena;
        if let Some((times, apart)) = self.straight() {
            let append = |out: &mut Vec<u8>| Some(json::append_object(text, apart, arena, out));
            return Ok(self.append(times, append)?.unwrap_or(Ok(())));
        }
        let read = json::parse_object(text, arena, record);
        if read.is_ok() {
            self.add(None, record)?;
        }
        Ok(read)
    }

    /// The next element of an array; `None` at the end.
    fn element(
        &mut self,
        elements: &mut json::Elements<'a>,
        record: &mut Record<'a>,
    ) -> Result<Option<Result<(), JsonError>>, String> {
        let arena = self.arena;
        if let Some((times, apart)) = self.straight() {
            return self.append(times, |out| elements.append_next(apart, arena, out));
        }
        let next = elements.next_record(arena, record);
        if let Some(Ok(())) = next {
            self.add(None, record)?;
        }
        Ok(next)
    }

    /// How times are read and the field that they are in, where nothing is added to records and only that is taken out.
    fn straight(&self) -> Option<(&'a RecordTime, &'a [u8])> {
        let times = self.times.filter(|_| self.time.is_none() && self.added.is_empty())?;
        Some((times, times.field_apart()?))
    }

    /// An event whose record `append` writes, straight from the text; it gives the field of the time, or that there is no
    /// more.
    fn append(
        &mut self,
        times: &RecordTime,
        append: impl FnOnce(&mut Vec<u8>) -> Option<Result<Option<Value<'a>>, JsonError>>,
    ) -> Result<Option<Result<(), JsonError>>, String> {
        /// Why there is no event.
        enum Without {
            End,
            Json(JsonError),
            Time(String),
        }
        let now = self.now;
        let pushed = self.taken.events.try_push_timed(|out| {
            let found = append(out).ok_or(Without::End)?.map_err(Without::Json)?;
            times.of(found, now).map(|time| time.unwrap_or(now)).map_err(Without::Time)
        });
        match pushed {
            Ok(()) => Ok(Some(Ok(()))),
            Err(Without::End) => Ok(None),
            Err(Without::Json(error)) => Ok(Some(Err(error))),
            Err(Without::Time(why)) => Err(why),
        }
    }

    /// Fluentd drops what is no JSON without a word; what nests too deep may be meant to harm and is refused.
    fn invalid(&mut self, error: JsonError) -> Result<(), String> {
        if error.reason == Reason::TooDeep {
            return Err(error.to_string());
        }
        self.taken.drop_one(error);
        Ok(())
    }

    fn ndjson(&mut self, text: &'a [u8]) -> Result<(), String> {
        for line in text.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.trim_ascii().is_empty() {
                self.json(line)?;
            }
        }
        Ok(())
    }

    /// Reads maps, and arrays of maps, one after the other.
    fn msgpack(&mut self, data: &'a [u8]) -> Result<(), String> {
        let (mut at, mut record) = (0, Record::new());
        while at < data.len() {
            let value = msgpack::read(data, &mut at).map_err(|e| format!("invalid MessagePack: {e}"))?;
            match value {
                Value::Array(_) => {
                    for item in value.items() {
                        self.map(item, &mut record)?;
                    }
                }
                other => self.map(other, &mut record)?,
            }
        }
        Ok(())
    }

    fn map(&mut self, value: Value<'a>, record: &mut Record<'a>) -> Result<(), String> {
        let Value::Map(raw) = value else {
            self.taken.drop_one("an event is no map");
            return Ok(());
        };
        record.decode_into(raw, self.arena).map_err(|e| format!("invalid MessagePack: {e}"))?;
        self.add(None, record)
    }

    /// Reads the body with the configured parser.
    fn parsed(&mut self, parser: &'a dyn Parser, kind: &str, body: &'a [u8]) -> Result<(), String> {
        let (arena, mut fault) = (self.arena, None);
        let outcome = parser.parse_each(body, arena, &mut Record::new(), &mut |time, record| {
            if let Err(e) = self.add(time, record) {
                fault.get_or_insert(e);
            }
        });
        match (outcome, fault) {
            (Err(ParseError::Invalid(fault)), _) => Err(fault.why),
            (Ok(()), Some(why)) => Err(why),
            (Err(ParseError::Unmatched), _) => {
                // Some elements of an array are no objects, or the text is broken and has no events at all.
                if kind == "json" && json::parse_value(body, arena).is_err() {
                    self.taken.events = BatchBuilder::new();
                }
                self.taken.drop_one("the body does not match the parser");
                Ok(())
            }
            (Ok(()), None) => Ok(()),
        }
    }
}

/// The fields that every record of the request gets.
fn added<'a>(
    settings: &Settings,
    head: &Parts,
    peer: Option<&str>,
    parameters: &Parameters<'_>,
    query: &[u8],
    arena: &'a Arena,
) -> Vec<Field<'a>> {
    let mut fields = Record::new();
    let mut set = |name: &[u8], value: Value<'a>| fields.set(arena.bytes(name), value);
    if settings.add_http_headers {
        parameters.iter().filter(|(n, _)| n.starts_with(b"HTTP_")).for_each(|(n, v)| set(n, arena.str(v)));
        for name in head.headers.keys() {
            set(&upper("HTTP_", name.as_str().as_bytes()), header_value(&head.headers, name.as_str(), arena));
        }
    }
    if settings.add_query_params {
        parameters.iter().filter(|(n, _)| n.starts_with(b"QUERY_")).for_each(|(n, v)| set(n, arena.str(v)));
        let query = Parameters::parse(query).unwrap_or_default();
        query.iter().for_each(|(n, v)| set(&upper("QUERY_", n), arena.str(v)));
    }
    if settings.add_remote_addr {
        let remote = remote_addr(&head.headers, peer);
        set(b"REMOTE_ADDR", remote.map_or(Value::Nil, |text| arena.str(text.as_bytes())));
    }
    fields.into_iter().collect()
}

/// `long-name` as `PREFIX_LONG_NAME`.
fn upper(prefix: &str, name: &[u8]) -> Vec<u8> {
    let letters = name.iter().map(|b| if *b == b'-' { b'_' } else { b.to_ascii_uppercase() });
    prefix.bytes().chain(letters).collect()
}

/// A header's value; of a header that comes several times, the array of its values.
fn header_value<'a>(headers: &HeaderMap, name: &str, arena: &'a Arena) -> Value<'a> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(|v| v.as_bytes()).collect();
    if let [one] = values[..] {
        return arena.str(one);
    }
    let mut array = Vec::new();
    msgpack::put_array_len(&mut array, values.len());
    values.iter().for_each(|v| msgpack::put_str(&mut array, v));
    Value::Array(arena.bytes(&array))
}

fn remote_addr<'h>(headers: &'h HeaderMap, peer: Option<&'h str>) -> Option<Cow<'h, str>> {
    match headers.get(FORWARDED_FOR) {
        Some(value) => {
            let text = String::from_utf8_lossy(value.as_bytes());
            let first = text.split(',').next().filter(|t| !t.is_empty())?;
            Some(Cow::Owned(first.to_owned()))
        }
        None => peer.map(Cow::Borrowed),
    }
}
