//! From messages to batches. Each batch says the offset behind its last message, so a batch that is made again from the same
//! messages is known by the buffers that have it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::params::{KafkaInParams, TagSource, TimeSource};
use crate::config::{Diagnostic, Section};
use crate::event::timefmt::TimeParser;
use crate::event::{Arena, Batch, BatchBuilder, EventTime, Record, Tag, Value};
use crate::plugin::{BuildContext, Parser};

/// Nanoseconds of a millisecond.
const MILLI: i64 = 1_000_000;
/// Longest text of a message that could not be read, in what is handed to `@ERROR`.
const MAX_SHOWN: usize = 64 << 10;

/// A message, as far as it is needed.
#[derive(Debug, Default)]
pub struct Raw {
    /// Its offset.
    pub offset: i64,
    /// Its time, in milliseconds since the epoch.
    pub millis: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Itself; none of a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Raw {
    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        size_of::<Raw>() + of(&self.key) + of(&self.payload) + headers
    }
}

/// What reading needs to know.
pub struct Reading {
    parser: Arc<dyn Parser>,
    time_source: TimeSource,
    time_key: String,
    time: TimeParser,
    tag_source: TagSource,
    tag_key: String,
    prefix: String,
    suffix: String,
    /// Whether headers are wanted.
    pub add_headers: bool,
    /// Whether keys are wanted.
    pub message_key: Option<String>,
    add_offset: bool,
    /// Nothing of a record decides over its time or tag, and the parser finds no times.
    is_plain: bool,
    /// Messages without a value.
    pub tombstones: AtomicU64,
    /// Messages that could not be read.
    pub malformed: AtomicU64,
}

/// Some of a partition's events.
#[derive(Clone, Debug)]
pub struct Made {
    /// Those that could be read.
    pub events: Batch,
    /// Messages that could not, with the reason of the first.
    pub unread: Option<(Batch, String)>,
    /// The position behind them.
    pub upto: i64,
    /// The first and the one behind the last of the messages.
    pub range: (usize, usize),
}

/// The parser that `<parse>` or `format` names, by the names that Fluentd's plugin knows too.
fn parser(params: &KafkaInParams, cx: &mut BuildContext<'_>) -> Result<Arc<dyn Parser>, Diagnostic> {
    let written = cx.section.child("parse");
    let asks = written.is_some() && params.format.is_none();
    let mut section = written.cloned().unwrap_or_else(|| Section::new("parse", cx.section.span.clone()));
    let kind = section.plugin_type().or(params.format.as_deref()).unwrap_or("json").to_owned();
    match kind.as_str() {
        "text" => {
            section.set_text("@type", "none");
            section.set_default("message_key", &*params.message_key);
        }
        other => {
            section.set_text("@type", other);
            // A field `time` of JSON stays, unless a <parse> asks for it.
            if other == "json" && !asks {
                section.set_default("time_key", "");
            }
        }
    }
    cx.parser_of(&section)
}

/// Field and value that stand in a record beside what was parsed.
type More<'a> = Vec<(&'a str, Value<'a>)>;

impl Reading {
    /// Errors: a parser, or a time, that can't be used.
    pub fn new(params: &KafkaInParams, cx: &mut BuildContext<'_>) -> Result<Reading, Diagnostic> {
        let section: &Section = cx.section;
        let time_source = if params.use_record_time { TimeSource::Record } else { params.time_source };
        let kind = if section.has("time_format") { "string" } else { "mixed" };
        let times = params.times.clone().with_defaults(Some(kind), None);
        let times = match section.has("time_format") || section.has("time_type") {
            true => times.parser(),
            false => TimeParser::build(&crate::event::timefmt::TimeParseConfig {
                time_type: Some("mixed".into()),
                time_format_fallbacks: vec!["float".into(), "%iso8601".into()],
                ..Default::default()
            }),
        };
        let point = |text: &Option<String>, before: bool| match (text, before) {
            (None, _) => String::new(),
            (Some(text), true) => format!("{text}."),
            (Some(text), false) => format!(".{text}"),
        };
        Ok(Reading {
            parser: parser(params, cx)?,
            time_source,
            time_key: params.record_time_key.clone(),
            time: times.map_err(|e| cx.fault("time_format", e))?,
            tag_source: params.tag_source,
            tag_key: params.record_tag_key.clone(),
            prefix: point(&params.add_prefix, true),
            suffix: point(&params.add_suffix, false),
            add_headers: params.add_headers,
            message_key: params.kafka_message_key.clone(),
            add_offset: params.add_offset_in_record,
            is_plain: cx.section.child("parse").is_none()
                && time_source != TimeSource::Record
                && params.tag_source == TagSource::Topic,
            tombstones: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
        })
    }

    /// The tag of a topic's events.
    pub fn tag(&self, name: &str) -> Tag {
        Tag::from(format!("{}{name}{}", self.prefix, self.suffix))
    }

    /// The batches of some messages, which end where buffers stand (`cuts`, in order; those passed are taken out), where tags
    /// change, and behind each message where `is_single` is set. What is behind the last cut was not seen before.
    pub fn batches(&self, place: (&str, i32), raws: &[Raw], cuts: &mut VecDeque<i64>, is_single: bool) -> Vec<Made> {
        let (mut made, mut growing) = (Vec::new(), Growing::new(self.tag(place.0)));
        for (at, raw) in raws.iter().enumerate() {
            let mut cut = None;
            while let Some(first) = cuts.pop_front_if(|cut| *cut <= raw.offset) {
                cut = Some(first);
            }
            if let Some(cut) = cut {
                growing.end(at, cut, &mut made);
            }
            self.message(place, raw, at, &mut growing, &mut made, cuts.is_empty());
            growing.upto = raw.offset + 1;
            if is_single {
                growing.end(at + 1, raw.offset + 1, &mut made);
            }
        }
        let upto = growing.upto;
        growing.end(raws.len(), upto, &mut made);
        made
    }

    fn message(
        &self,
        place: (&str, i32),
        raw: &Raw,
        at: usize,
        growing: &mut Growing,
        made: &mut Vec<Made>,
        is_new: bool,
    ) {
        let Some(payload) = &raw.payload else {
            self.tombstones.fetch_add(u64::from(is_new), Relaxed);
            return;
        };
        let arena = Arena::new();
        let more = self.more(place, raw);
        let mut record = Record::new();
        if self.is_plain && more.is_empty() {
            let mark = growing.events.mark();
            let time = self.time(None, &record, raw).unwrap_or_else(|_| EventTime::now());
            if let Err(e) = self.parser.parse_into(payload, &arena, &mut record, time, &mut growing.events) {
                growing.events.rewind(mark);
                self.refuse(place, raw, growing, e.to_string(), is_new);
            }
            return;
        }
        let mut found: Vec<(Tag, EventTime, Vec<u8>)> = Vec::new();
        let mut fault = None;
        let parsed = self.parser.parse_each(payload, &arena, &mut record, &mut |time, record| {
            let time = self.time(time, record, raw);
            let tag = self.tag_of(record, &growing.topic);
            match (time, tag) {
                // A position is behind a whole message, so all of it has to be in one batch.
                (_, Ok(tag)) if found.first().is_some_and(|(first, ..)| *first != tag) => {
                    fault.get_or_insert_with(|| "its events have different tags".to_owned());
                }
                (Ok(time), Ok(tag)) => {
                    let mut whole = record.clone();
                    more.iter().for_each(|(name, value)| whole.set(name.as_bytes(), *value));
                    let mut bytes = Vec::new();
                    whole.encode(&mut bytes);
                    found.push((tag, time, bytes));
                }
                (Err(why), _) | (_, Err(why)) => {
                    fault.get_or_insert(why);
                }
            }
        });
        if let Err(e) = parsed {
            fault.get_or_insert_with(|| e.to_string());
        }
        if let Some(why) = fault {
            return self.refuse(place, raw, growing, why, is_new);
        }
        if let Some((tag, ..)) = found.first()
            && *tag != growing.tag
        {
            let (tag, upto) = (tag.clone(), growing.upto);
            growing.end(at, upto, made);
            growing.tag = tag;
        }
        for (_, time, bytes) in found {
            growing.events.push_with(time, |out| out.extend_from_slice(&bytes));
        }
    }

    /// A message is taken whole or not at all.
    fn refuse(&self, place: (&str, i32), raw: &Raw, growing: &mut Growing, why: String, is_new: bool) {
        if is_new {
            self.malformed.fetch_add(1, Relaxed);
            growing.unread(place, raw, raw.payload.as_deref().unwrap_or_default(), why);
        }
    }

    fn more<'a>(&'a self, place: (&'a str, i32), raw: &'a Raw) -> More<'a> {
        let mut more: More<'a> = Vec::new();
        if self.add_offset {
            more.push(("kafka_topic", Value::str(place.0)));
            more.push(("kafka_partition", Value::Int(i64::from(place.1))));
            more.push(("kafka_offset", Value::Int(raw.offset)));
        }
        if let Some(name) = &self.message_key {
            more.push((name, raw.key.as_deref().map_or(Value::Nil, Value::Str)));
        }
        more.extend(raw.headers.iter().map(|(name, value)| (name.as_str(), Value::Str(value))));
        more
    }

    fn time(&self, parsed: Option<EventTime>, record: &Record<'_>, raw: &Raw) -> Result<EventTime, String> {
        let of_message = || raw.millis.map(|millis| EventTime::from_nanos(millis.saturating_mul(MILLI)));
        match self.time_source {
            TimeSource::Now => Ok(EventTime::now()),
            TimeSource::Kafka => Ok(of_message().unwrap_or_else(EventTime::now)),
            TimeSource::Record => match (parsed, record.get(self.time_key.as_bytes())) {
                (Some(time), _) => Ok(time),
                (None, None | Some(Value::Nil)) => Ok(of_message().unwrap_or_else(EventTime::now)),
                (None, Some(value)) => self
                    .time
                    .parse_value(value, EventTime::now)
                    .map_err(|e| format!("its field {:?} is no time: {e}", self.time_key)),
            },
        }
    }

    fn tag_of(&self, record: &Record<'_>, topic: &Tag) -> Result<Tag, String> {
        if self.tag_source == TagSource::Topic {
            return Ok(topic.clone());
        }
        match record.get(self.tag_key.as_bytes()) {
            Some(Value::Str(text)) if !text.is_empty() => Ok(self.tag(&String::from_utf8_lossy(text))),
            _ => Err(format!("its field {:?} holds no tag", self.tag_key)),
        }
    }
}

/// Batches in the making.
struct Growing {
    topic: Tag,
    tag: Tag,
    events: BatchBuilder,
    unread: BatchBuilder,
    why: Option<String>,
    from: usize,
    upto: i64,
}

impl Growing {
    fn new(topic: Tag) -> Growing {
        Growing {
            tag: topic.clone(),
            topic,
            events: BatchBuilder::new(),
            unread: BatchBuilder::new(),
            why: None,
            from: 0,
            upto: 0,
        }
    }

    fn unread(&mut self, place: (&str, i32), raw: &Raw, payload: &[u8], why: String) {
        let mut record = Record::new();
        record.push(b"message", Value::Str(&payload[..payload.len().min(MAX_SHOWN)]));
        record.push(b"kafka_topic", Value::str(place.0));
        record.push(b"kafka_partition", Value::Int(i64::from(place.1)));
        record.push(b"kafka_offset", Value::Int(raw.offset));
        let time = raw.millis.map_or_else(EventTime::now, |millis| EventTime::from_nanos(millis.saturating_mul(MILLI)));
        self.unread.push(time, &record);
        self.why.get_or_insert(why);
    }

    /// Ends the batch before message `at`, whose position is then `upto`.
    fn end(&mut self, at: usize, upto: i64, made: &mut Vec<Made>) {
        if at > self.from {
            let unread = self.why.take().map(|why| (self.unread.finish(self.topic.clone()), why));
            let events = self.events.finish(self.tag.clone());
            made.push(Made { events, unread, upto, range: (self.from, at) });
            self.from = at;
        }
        self.tag = self.topic.clone();
    }
}
