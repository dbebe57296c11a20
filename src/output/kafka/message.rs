//! From a chunk's events to messages: topic, partition, key, headers, time and text. All of it follows from the event and the
//! configuration, so an event that comes again becomes the same message.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::params::KafkaOutParams;
use crate::buffer::{Block, Chunk};
use crate::config::Diagnostic;
use crate::event::{Arena, Entries, Entry, Record, RecordPath, Tag, Value, json};
use crate::plugin::{BuildContext, Formatter, Inject, RefusedEvent, Template};

/// Longest name of a topic.
const MAX_TOPIC: usize = 249;
/// Topics that events may name; librdkafka keeps something of each.
const MAX_TOPICS: usize = 10_000;
/// Nanoseconds of a millisecond.
const MILLI: i64 = 1_000_000;

/// A message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Place of its event in the chunk.
    pub place: u64,
    /// Where it goes.
    pub topic: Arc<str>,
    /// Which partition, where that is said.
    pub partition: Option<i32>,
    /// What chooses the partition by its digest.
    pub partition_key: Option<Vec<u8>>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Itself.
    pub payload: Vec<u8>,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its time, in milliseconds since the epoch.
    pub millis: Option<i64>,
}

impl Message {
    /// The same message for another topic, which chooses the partition.
    pub fn to(&self, topic: Arc<str>) -> Message {
        let Message { place, partition_key, key, payload, headers, millis, .. } = self;
        Message {
            place: *place,
            topic,
            partition: None,
            partition_key: partition_key.clone(),
            key: key.clone(),
            payload: payload.clone(),
            headers: headers.clone(),
            millis: *millis,
        }
    }
}

/// What decides over messages.
pub struct Maker {
    topic: Option<Template>,
    topic_key: Field,
    default_topic: Option<Arc<str>>,
    partition: Field,
    default_partition: Option<i32>,
    partition_key: Field,
    default_partition_key: Option<Vec<u8>>,
    key: Field,
    default_key: Option<Vec<u8>>,
    exclude: Vec<RecordPath>,
    record_key: Option<RecordPath>,
    headers: Vec<(String, Vec<u8>)>,
    headers_from_record: Vec<(String, RecordPath)>,
    use_event_time: bool,
    limit: Option<usize>,
    formatter: Arc<dyn Formatter>,
    keeps_line_end: bool,
    inject: Option<Inject>,
    topics: Mutex<HashSet<Arc<str>>>,
}

/// A field that is read, and taken out where that is wanted.
struct Field {
    name: String,
    is_excluded: bool,
}

impl Field {
    fn take<'a>(&self, record: &mut Record<'a>) -> Option<Value<'a>> {
        let value =
            if self.is_excluded { record.remove(self.name.as_bytes()) } else { record.get(self.name.as_bytes()) };
        value.filter(|value| *value != Value::Nil)
    }
}

fn path(name: &str, text: &str, cx: &BuildContext<'_>) -> Result<RecordPath, Diagnostic> {
    RecordPath::parse(text).map_err(|e| cx.fault(name, e.to_string()))
}

/// The text that stands for a value outside of a record; none for nil.
fn text(value: Value<'_>) -> Option<Vec<u8>> {
    json::text_of(value).map(Cow::into_owned)
}

/// Whether brokers take a topic of this name.
fn is_topic(name: &[u8]) -> bool {
    let good = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b);
    !name.is_empty() && name.len() <= MAX_TOPIC && name != b"." && name != b".." && name.iter().all(good)
}

/// For a value that goes into a topic's name.
fn topic_part(value: &str) -> Option<String> {
    (value.is_empty() || is_topic(value.as_bytes()) || value == ".").then(|| value.to_owned())
}

impl Maker {
    /// Errors: what is wrong with the parameters.
    pub fn new(params: &KafkaOutParams, cx: &mut BuildContext<'_>) -> Result<Maker, Diagnostic> {
        let named = [("topic", params.topic.as_ref()), ("default_topic", params.default_topic.as_ref())];
        for (name, topic) in named {
            let has_placeholders = topic.is_some_and(|t| t.contains("${") || t.contains('%'));
            if topic.is_some_and(|t| !is_topic(t.as_bytes())) && !(name == "topic" && has_placeholders) {
                let why = "the name of a topic has letters, digits, '.', '_' and '-', and at most 249 of them";
                return Err(cx.fault(name, why));
            }
        }
        if params.use_default_for_unknown_topic && params.default_topic.is_none() {
            return Err(cx.fault("use_default_for_unknown_topic", "it needs default_topic"));
        }
        if params.default_partition.is_some_and(|n| n < 0) {
            return Err(cx.fault("default_partition", "partitions are counted from 0"));
        }
        let field = |name: &String, is_excluded: bool| Field { name: name.clone(), is_excluded };
        let topic = params.topic.as_deref().map(|topic| Template::new(topic, "topic", cx)).transpose()?;
        let exclude = params.exclude_fields.iter().map(|text| path("exclude_fields", text, cx));
        let from_record =
            params.headers_from_record.iter().map(|p| Ok((p.name.clone(), path("headers_from_record", p.text(), cx)?)));
        let bytes = |text: &Option<String>| text.clone().map(String::into_bytes);
        Ok(Maker {
            topic,
            topic_key: field(&params.topic_key, params.exclude_topic_key),
            default_topic: params.default_topic.as_deref().map(Arc::from),
            partition: field(&params.partition_key, params.exclude_partition),
            default_partition: params.default_partition,
            partition_key: field(&params.partition_key_key, params.exclude_partition_key),
            default_partition_key: bytes(&params.default_partition_key),
            key: field(&params.message_key_key, params.exclude_message_key),
            default_key: bytes(&params.default_message_key),
            exclude: exclude.collect::<Result<_, _>>()?,
            record_key: params.record_key.as_deref().map(|text| path("record_key", text, cx)).transpose()?,
            headers: params.headers.iter().map(|p| (p.name.clone(), p.text().as_bytes().to_vec())).collect(),
            headers_from_record: from_record.collect::<Result<_, _>>()?,
            use_event_time: params.use_event_time,
            limit: params.max_send_limit_bytes.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX)),
            keeps_line_end: cx.section.child("format").is_some_and(|format| format.has("add_newline")),
            formatter: cx.formatter("json")?,
            inject: cx.inject()?,
            topics: Mutex::default(),
        })
    }

    /// The topic of events whose own is not there.
    pub fn default_topic(&self) -> Option<&Arc<str>> {
        self.default_topic.as_ref()
    }

    /// What the chunk's topic is, where the configuration names one for all of its events.
    ///
    /// Errors: no topic can have that name.
    pub fn chunk_topic(&self, chunk: &Chunk) -> Result<Option<Arc<str>>, String> {
        let Some(template) = &self.topic else { return Ok(None) };
        let name = template.expand(chunk, topic_part)?;
        if !is_topic(name.as_bytes()) {
            return Err(format!("no topic can have the name {name:?}, which topic {:?} expands to", template.source()));
        }
        self.known(name.as_bytes()).map(Some)
    }

    /// The messages of a block whose first event has the place `first` in its chunk; and events that can be none.
    pub fn block(&self, block: &Block, first: u64, topic: Option<&Arc<str>>) -> (Vec<Message>, Vec<RefusedEvent>) {
        let (mut messages, mut refused) = (Vec::with_capacity(block.count as usize), Vec::new());
        let arena = Arena::new();
        let entries = Entries::new(&block.entries).map_while(Result::ok);
        for (place, entry) in (first..).zip(entries) {
            match self.message(place, &block.tag, &entry, topic, &arena) {
                Ok(message) => messages.push(message),
                Err(answer) => refused.push(RefusedEvent { place, answer }),
            }
        }
        (messages, refused)
    }

    /// The topic of the first message of a block, where the configuration names none for all.
    pub fn first_topic(&self, block: &Block) -> Option<Arc<str>> {
        let arena = Arena::new();
        let mut entries = Entries::new(&block.entries).map_while(Result::ok);
        entries.find_map(|entry| self.message(0, &block.tag, &entry, None, &arena).ok()).map(|message| message.topic)
    }

    fn message(
        &self,
        place: u64,
        tag: &Tag,
        entry: &Entry<'_>,
        topic: Option<&Arc<str>>,
        arena: &Arena,
    ) -> Result<Message, String> {
        let mut record = Record::decode(entry.record, arena).map_err(|_| "it is no record".to_owned())?;
        if let Some(inject) = &self.inject {
            inject.apply(tag, entry.time, &mut record, arena);
        }
        let own = self.topic_key.take(&mut record);
        let topic = match (topic, own.and_then(text)) {
            (Some(topic), _) => topic.clone(),
            (None, Some(name)) => self.known(&name)?,
            (None, None) => match &self.default_topic {
                Some(topic) => topic.clone(),
                None => self.known(tag.as_bytes())?,
            },
        };
        let partition = match self.partition.take(&mut record) {
            Some(value) => Some(number(value)?),
            None => self.default_partition,
        };
        let partition_key = self.partition_key.take(&mut record).and_then(text);
        let key = self.key.take(&mut record).and_then(text);
        let header = |(name, path): &(String, RecordPath)| Some((name.clone(), text(path.get(&record)?)?));
        let headers = self.headers.iter().cloned().chain(self.headers_from_record.iter().filter_map(header)).collect();
        for field in &self.exclude {
            field.remove(&mut record, arena);
        }
        let payload = self.payload(tag, entry, record, arena)?;
        if let Some(limit) = self.limit.filter(|limit| payload.len() > *limit) {
            return Err(format!("a message of {} bytes, and max_send_limit_bytes is {limit}", payload.len()));
        }
        Ok(Message {
            place,
            topic,
            partition,
            partition_key: partition_key.or_else(|| self.default_partition_key.clone()),
            key: key.or_else(|| self.default_key.clone()),
            payload,
            headers,
            millis: self.use_event_time.then(|| entry.time.nanos().div_euclid(MILLI)),
        })
    }

    fn payload(&self, tag: &Tag, entry: &Entry<'_>, record: Record<'_>, arena: &Arena) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let Some(path) = &self.record_key else {
            self.formatter.format(tag, entry.time, &record, &mut out);
            self.trim(&mut out);
            return Ok(out);
        };
        match path.get(&record) {
            None | Some(Value::Nil) => Err(format!("it has no field {path}, which record_key names")),
            Some(Value::Map(map)) => {
                let inner = Record::decode(map, arena).map_err(|_| format!("its field {path} is no record"))?;
                self.formatter.format(tag, entry.time, &inner, &mut out);
                self.trim(&mut out);
                Ok(out)
            }
            Some(value) => Ok(text(value).unwrap_or_default()),
        }
    }

    /// A message is no line: the end of one goes, unless it was asked for.
    fn trim(&self, out: &mut Vec<u8>) {
        if !self.keeps_line_end && out.last() == Some(&b'\n') {
            out.pop();
        }
    }

    /// The name of a topic, held once.
    fn known(&self, name: &[u8]) -> Result<Arc<str>, String> {
        if !is_topic(name) {
            let shown = String::from_utf8_lossy(&name[..name.len().min(MAX_TOPIC)]).into_owned();
            return Err(format!("no topic can have the name {shown:?}"));
        }
        let name = String::from_utf8_lossy(name);
        // Every change under the lock is whole by itself.
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = topics.get(&*name) {
            return Ok(known.clone());
        }
        if topics.len() >= MAX_TOPICS {
            return Err(format!("events name more than {MAX_TOPICS} topics; {name} is one too many"));
        }
        let new: Arc<str> = name.into();
        topics.insert(new.clone());
        Ok(new)
    }
}

fn number(value: Value<'_>) -> Result<i32, String> {
    let found = match value {
        Value::Int(n) => i32::try_from(n).ok(),
        Value::Str(text) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()),
        _ => None,
    };
    found.filter(|n| *n >= 0).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&text(value).unwrap_or_default()).into_owned();
        format!("{shown:?} is no number of a partition")
    })
}

/// The partition that a key chooses among so many: by CRC-32, as ruby-kafka and librdkafka's `consistent` do.
pub fn partition_of(key: &[u8], count: i32) -> i32 {
    let mut crc = flate2::Crc::new();
    crc.update(key);
    i32::try_from(crc.sum() % count.max(1).unsigned_abs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_broker_takes_are_known() {
        for good in ["a", "a.b-c_D9", &"x".repeat(249)] {
            assert!(is_topic(good.as_bytes()), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
            assert!(!is_topic(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_key_chooses_the_partition_that_ruby_kafka_chooses() {
        // Zlib.crc32("user-1") % 12 and Zlib.crc32("") % 3, by Ruby.
        assert_eq!(partition_of(b"", 3), 0);
        let crc = 0xcbf4_3926u32;
        assert_eq!(partition_of(b"123456789", 12), (crc % 12) as i32);
        assert_eq!(partition_of(b"x", 0), 0);
    }

    #[test]
    fn a_partition_is_a_number_or_its_text() {
        assert_eq!(number(Value::Int(3)), Ok(3));
        assert_eq!(number(Value::str(" 4 ")), Ok(4));
        for bad in [Value::Int(-1), Value::str("x"), Value::Float(1.0), Value::Int(1 << 40)] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
    }
}
