//! From an event to its two lines of a bulk request: what is to be done, and the document.
//!
//! Where only something is added to a record, the document's text is made straight from the encoded entry; a record that is
//! changed is decoded.

use std::sync::Arc;

use super::judge::Operation;
use super::names::{self, Names};
use crate::event::timefmt::{TimeFormatter, Zone, by_format, guess};
use crate::event::{Arena, Entry, EventTime, Record, RecordPath, Tag, Value, json, msgpack};
use crate::net::LogGate;
use crate::plugin::Inject;

/// The field of a document's time.
pub const TIMESTAMP: &str = "@timestamp";
/// What is said of an event without an id that its operation needs.
pub const MISSING_ID: &str = "Missing '_id' field";
/// Longest `_id` that the targets take, in bytes.
const MAX_ID: usize = 512;

/// How a document gets its `@timestamp`.
#[derive(Debug)]
pub struct Stamp {
    /// Writes it, in the machine's zone.
    pub format: TimeFormatter,
    /// The same, for a text that names a zone.
    pub digits: u32,
    /// A field that holds the time.
    pub key: Option<String>,
    /// How that is read; none: in any common form.
    pub key_format: Option<String>,
    /// Whether `key` gives only the day of the index.
    pub key_alone: bool,
}

/// What `update` and `upsert` leave out.
#[derive(Debug, Default)]
pub struct Updates {
    /// These fields.
    pub remove: Vec<String>,
    /// And those that this field of the record names.
    pub remove_key: Option<String>,
    /// Whether the record is the body, not put into `doc`.
    pub bare: bool,
}

/// How documents are made.
pub struct Layout {
    /// What is done with each.
    pub operation: Operation,
    /// Whether a document without an id of the user's gets that of its event.
    pub own_id: bool,
    /// The field of the user's id.
    pub id: Option<RecordPath>,
    /// The field of the routing.
    pub routing: Option<RecordPath>,
    /// The field of the index; taken out.
    pub target_index: Option<RecordPath>,
    /// Whether `@timestamp` is added.
    pub stamp: Option<Stamp>,
    /// Whether the index's day is in UTC.
    pub utc_index: bool,
    /// The field that the tag is put in.
    pub tag_key: Option<String>,
    /// Fields that are left out.
    pub remove: Vec<String>,
    /// See there.
    pub updates: Updates,
    /// What stands between the names of nested fields that are put on top.
    pub flatten: Option<String>,
    /// The field that the chunk's id is put in.
    pub chunk_id_key: Option<String>,
    /// `<inject>`
    pub inject: Option<Inject>,
    /// Whether the index stands in the address.
    pub in_url: bool,
    /// Of a target before version 7: the type of every document.
    pub type_name: String,
    /// Says that times can't be read.
    pub odd_times: LogGate,
}

impl Layout {
    /// Whether records are changed, and not only added to.
    fn edits(&self) -> bool {
        self.inject.is_some()
            || self.flatten.is_some()
            || self.target_index.is_some()
            || self.chunk_id_key.is_some()
            || !self.remove.is_empty()
            || matches!(self.operation, Operation::Update | Operation::Upsert)
    }
}

/// The moment that names the index, and how `@timestamp` is to be written; none where it stays as it is.
struct Moment {
    time: EventTime,
    /// Zone of a text that names one.
    offset: Option<i32>,
    stamped: bool,
}

/// Makes the lines of one chunk.
pub struct Writer<'a> {
    layout: &'a Layout,
    names: &'a Names,
    chunk: String,
    /// Whether documents have types.
    typed: bool,
    edits: bool,
    stamp: RecordPath,
    key: Option<RecordPath>,
    tag: Option<RecordPath>,
    /// The index of the last second.
    last: Option<(i64, i32, Arc<str>)>,
}

/// A field at the top by its name, whatever is in it.
fn top(name: &str) -> Option<RecordPath> {
    RecordPath::parse(&format!("$['{name}']")).or_else(|_| RecordPath::parse(name)).ok()
}

impl<'a> Writer<'a> {
    /// For a chunk.
    ///
    /// Errors: a parameter that is no name of a field.
    pub fn new(layout: &'a Layout, names: &'a Names, chunk: String, typed: bool) -> Result<Writer<'a>, String> {
        let stamp = RecordPath::parse(TIMESTAMP).map_err(|e| e.to_string())?;
        let key = layout.stamp.as_ref().and_then(|stamp| top(stamp.key.as_deref()?));
        let tag = layout.tag_key.as_deref().and_then(top);
        Ok(Writer { layout, names, chunk, typed, edits: layout.edits(), stamp, key, tag, last: None })
    }

    /// Appends the lines of an event; gives its index.
    ///
    /// Errors: why it can be no document. `out` is then as before.
    pub fn write(&mut self, tag: &Tag, entry: &Entry<'_>, place: u64, out: &mut Vec<u8>) -> Result<Arc<str>, String> {
        let start = out.len();
        let mut written = if self.edits { None } else { self.quick(tag, entry, place, out) };
        if written.is_none() {
            out.truncate(start);
            written = Some(self.edited(tag, entry, place, out));
        }
        let written = written.unwrap_or_else(|| Err("the record can't be read".into()));
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// Straight from the encoded record; none where it must be decoded.
    fn quick(
        &mut self,
        tag: &Tag,
        entry: &Entry<'_>,
        place: u64,
        out: &mut Vec<u8>,
    ) -> Option<Result<Arc<str>, String>> {
        let find = |path: &Option<RecordPath>| match path {
            Some(path) => path.find(entry.record).ok(),
            None => Some(None),
        };
        if find(&self.tag)?.is_some() {
            return None;
        }
        let stamp = match self.layout.stamp {
            Some(_) => self.stamp.find(entry.record).ok()?,
            None => None,
        };
        let key = if stamp.is_none() { find(&self.key)? } else { None };
        let (id, routing) = (find(&self.layout.id)?, find(&self.layout.routing)?);
        let moment = self.moment(entry.time, stamp, key);
        let index = match self.index(&moment) {
            Ok(index) => index,
            Err(why) => return Some(Err(why)),
        };
        if let Err(why) = self.action(&index, id, routing, place, out) {
            return Some(Err(why));
        }
        json::write_map(entry.record, out).ok()?;
        out.pop();
        let mut comma = out.last() != Some(&b'{');
        let mut add = |name: &str, value: Value<'_>, out: &mut Vec<u8>| {
            if std::mem::replace(&mut comma, true) {
                out.push(b',');
            }
            json::write_value(Value::str(name), out);
            out.push(b':');
            json::write_value(value, out);
        };
        if let Some(text) = self.stamp_text(&moment) {
            add(TIMESTAMP, Value::Str(&text), out);
        }
        if let Some(name) = &self.layout.tag_key {
            add(name, Value::str(tag), out);
        }
        out.extend_from_slice(b"}\n");
        Some(Ok(index))
    }

    /// With the record decoded and changed.
    fn edited(&mut self, tag: &Tag, entry: &Entry<'_>, place: u64, out: &mut Vec<u8>) -> Result<Arc<str>, String> {
        let (arena, layout) = (Arena::new(), self.layout);
        let mut record = Record::decode(entry.record, &arena).map_err(|_| "the record can't be read".to_owned())?;
        if let Some(inject) = &layout.inject {
            inject.apply(tag, entry.time, &mut record, &arena);
        }
        let chunk = arena.str(&self.chunk);
        if let Some(name) = &layout.chunk_id_key {
            record.set(name.as_bytes(), chunk);
        }
        if let Some(separator) = &layout.flatten {
            record = flattened(&record, separator, &arena);
        }
        let stamp = layout.stamp.as_ref().and_then(|_| record.get(TIMESTAMP.as_bytes()));
        let key = layout.stamp.as_ref().and_then(|stamp| record.get(stamp.key.as_deref()?.as_bytes()));
        let moment = self.moment(entry.time, stamp, key.filter(|_| stamp.is_none()));
        if let Some(text) = self.stamp_text(&moment) {
            record.set(TIMESTAMP.as_bytes(), arena.str(text));
        }
        let target = layout.target_index.as_ref().and_then(|path| path.remove(&mut record, &arena));
        let index = match target.and_then(json::string_of) {
            Some(name) => names::chosen(&name)?.into(),
            None => self.index(&moment)?,
        };
        if let Some(name) = &layout.tag_key {
            record.set(name.as_bytes(), Value::str(tag));
        }
        let of = |path: &Option<RecordPath>| path.as_ref().and_then(|path| path.get(&record));
        let (id, routing) = (of(&layout.id), of(&layout.routing));
        self.action(&index, id, routing, place, out)?;
        for name in &layout.remove {
            record.remove(name.as_bytes());
        }
        self.body(record, out);
        out.push(b'\n');
        Ok(index)
    }

    /// The document, or what `update` wants around it.
    fn body(&self, mut record: Record<'_>, out: &mut Vec<u8>) {
        let updates = &self.layout.updates;
        if !matches!(self.layout.operation, Operation::Update | Operation::Upsert) {
            return json::write_record(&record, out);
        }
        let named = updates.remove_key.as_ref().and_then(|key| record.remove(key.as_bytes()));
        let mut doc = record.clone();
        match named {
            Some(named @ Value::Array(_)) => {
                for name in named.items().filter_map(|name| name.as_bytes()) {
                    doc.remove(name);
                }
            }
            _ => {
                for name in &updates.remove {
                    doc.remove(name.as_bytes());
                }
            }
        }
        if updates.bare {
            return json::write_record(&doc, out);
        }
        out.extend_from_slice(b"{\"doc\":");
        json::write_record(&doc, out);
        match self.layout.operation {
            Operation::Upsert if doc.len() == record.len() => out.extend_from_slice(b",\"doc_as_upsert\":true"),
            Operation::Upsert => {
                out.extend_from_slice(b",\"upsert\":");
                json::write_record(&record, out);
            }
            _ => {}
        }
        out.push(b'}');
    }

    /// What is to be done, as a line.
    fn action(
        &self,
        index: &str,
        id: Option<Value<'_>>,
        routing: Option<Value<'_>>,
        place: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let operation = self.layout.operation;
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(operation.word().as_bytes());
        out.extend_from_slice(b"\":{");
        let start = out.len();
        if !self.layout.in_url {
            member("_index", Value::str(index), out);
        }
        if self.typed {
            member("_type", Value::str(&self.layout.type_name), out);
        }
        match id.and_then(json::string_of).filter(|id| !id.is_empty()) {
            Some(id) if id.len() > MAX_ID => {
                return Err(format!("its id has {} bytes; the target takes {MAX_ID}", id.len()));
            }
            Some(id) => member("_id", Value::str(&id), out),
            None if matches!(operation, Operation::Update | Operation::Upsert) => {
                return Err(format!("{MISSING_ID}. Write operation is {}", operation.word()));
            }
            None if self.layout.own_id => {
                out.extend_from_slice(b"\"_id\":\"");
                out.extend_from_slice(self.chunk.as_bytes());
                out.push(b'-');
                out.extend_from_slice(itoa::Buffer::new().format(place).as_bytes());
                out.extend_from_slice(b"\",");
            }
            None => {}
        }
        if let Some(pipeline) = &self.names.pipeline {
            member("pipeline", Value::str(pipeline), out);
        }
        if let Some(routing) = routing.and_then(json::string_of) {
            member(if self.typed { "_routing" } else { "routing" }, Value::str(&routing), out);
        }
        if out.len() > start {
            out.pop();
        }
        out.extend_from_slice(b"}}\n");
        Ok(())
    }

    /// When the event was: by its own text, a field, or its time.
    fn moment(&self, time: EventTime, stamp: Option<Value<'_>>, key: Option<Value<'_>>) -> Moment {
        let own = Moment { time, offset: None, stamped: false };
        let Some(rules) = &self.layout.stamp else { return own };
        let alone = rules.key_alone;
        match (stamp, key) {
            (Some(value), _) => Moment { stamped: true, ..self.read(value, time, None) },
            (None, Some(value)) => Moment { stamped: alone, ..self.read(value, time, rules.key_format.as_deref()) },
            (None, None) => own,
        }
    }

    fn read(&self, value: Value<'_>, time: EventTime, format: Option<&str>) -> Moment {
        let found = match value {
            Value::Int(secs) => Some((EventTime::from_secs(secs), None)),
            Value::Float(secs) => Some((EventTime::from_f64(secs), None)),
            Value::Str(text) | Value::Bin(text) => match format {
                Some(format) => by_format(text, format, time).ok().flatten(),
                None => guess(text, time),
            },
            _ => None,
        };
        let Some((time, offset)) = found else {
            if let Some(left_out) = self.layout.odd_times.pass() {
                let text = json::string_of(value).unwrap_or_default();
                let shown = &text[..text.floor_char_boundary(100)];
                tracing::warn!("a time can't be read, so the event's own is taken: {shown:?} ({left_out} more before)");
            }
            return Moment { time, offset: None, stamped: false };
        };
        Moment { time, offset, stamped: false }
    }

    /// The text of `@timestamp`, where it is to be set.
    fn stamp_text(&self, moment: &Moment) -> Option<Vec<u8>> {
        let rules = self.layout.stamp.as_ref().filter(|_| !moment.stamped)?;
        let mut text = Vec::with_capacity(40);
        match moment.offset {
            Some(offset) => iso8601(rules.digits, Zone::fixed(offset)).format(moment.time, &mut text),
            None => rules.format.format(moment.time, &mut text),
        }
        Some(text)
    }

    /// The index of a moment.
    fn index(&mut self, moment: &Moment) -> Result<Arc<str>, String> {
        let Some(dated) = &self.names.dated else { return Ok(self.names.index.clone()) };
        let (secs, offset) = (moment.time.secs(), moment.offset.unwrap_or(i32::MAX));
        if let Some((_, _, index)) = self.last.as_ref().filter(|(s, o, _)| (*s, *o) == (secs, offset)) {
            return Ok(index.clone());
        }
        let zone = match moment.offset {
            _ if self.layout.utc_index => Zone::utc(),
            Some(offset) => Zone::fixed(offset),
            None => Zone::local(),
        };
        let mut day = Vec::new();
        TimeFormatter::strftime(&dated.format, zone).format(moment.time, &mut day);
        let name = format!("{}{}", dated.prefix, String::from_utf8_lossy(&day)).to_lowercase();
        let index: Arc<str> = names::checked(&name)?.into();
        self.last = Some((secs, offset, index.clone()));
        Ok(index)
    }
}

/// A writer of `@timestamp` with so many digits behind the second.
pub fn iso8601(digits: u32, zone: Zone) -> TimeFormatter {
    let fraction = if digits == 0 { String::new() } else { format!(".%{digits}N") };
    TimeFormatter::strftime(&format!("%Y-%m-%dT%H:%M:%S{fraction}%:z"), zone)
}

fn member(name: &str, value: Value<'_>, out: &mut Vec<u8>) {
    json::write_value(Value::str(name), out);
    out.push(b':');
    json::write_value(value, out);
    out.push(b',');
}

/// Nested maps' fields on top, their names joined; arrays stay as they are.
fn flattened<'a>(record: &Record<'a>, separator: &str, arena: &'a Arena) -> Record<'a> {
    fn put<'a>(
        name: &'a [u8],
        value: Value<'a>,
        separator: &str,
        arena: &'a Arena,
        depth: usize,
        flat: &mut Record<'a>,
    ) {
        if !matches!(value, Value::Map(_)) || depth >= msgpack::MAX_DEPTH {
            return flat.set(name, value);
        }
        for (key, inner) in value.pairs() {
            let key = json::string_of(key).unwrap_or_default();
            let joined = [name, separator.as_bytes(), key.as_bytes()].concat();
            put(arena.bytes(&joined), inner, separator, arena, depth + 1, flat);
        }
    }
    let mut flat = Record::new();
    record.iter().for_each(|(name, value)| put(name, *value, separator, arena, 0, &mut flat));
    flat
}
