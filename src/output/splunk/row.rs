//! From an event to what the collector takes: an event, or metrics.

use std::sync::Arc;

use crate::event::{Arena, Entry, EventTime, Record, RecordPath, Tag, Value, json};
use crate::plugin::{Formatter, Inject};

/// Where a property of an event comes from.
pub enum Part {
    /// The configuration.
    Fixed(String),
    /// The tag.
    Tag,
    /// A field.
    Field(RecordPath),
}

/// Where metrics come from.
pub enum Metrics {
    /// Each field is one.
    Each,
    /// Fields with the name and the value.
    Named(RecordPath, RecordPath),
}

/// What becomes of an event.
pub struct Shape {
    pub(super) host: Part,
    pub(super) source: Option<Part>,
    pub(super) sourcetype: Option<Part>,
    pub(super) index: Option<Part>,
    pub(super) time: Option<RecordPath>,
    /// Whether fields that become properties stay.
    pub(super) keep: bool,
    /// Indexed fields, or dimensions.
    pub(super) fields: Option<Vec<(String, RecordPath)>>,
    pub(super) formatter: Option<Arc<dyn Formatter>>,
    pub(super) metrics: Option<Metrics>,
    pub(super) inject: Option<Inject>,
}

/// JSON objects of one event.
pub struct Event {
    /// They themselves, one behind the other.
    pub text: Vec<u8>,
    /// How many there are.
    pub count: usize,
}

impl Shape {
    /// Whether events name their index.
    pub fn indexes(&self) -> bool {
        matches!(self.index, Some(Part::Field(_) | Part::Tag))
    }

    /// An event as the collector takes it; `None` for one without metrics.
    ///
    /// Errors: its record can't be read.
    pub fn event(&self, tag: &Tag, entry: &Entry<'_>) -> Result<Option<Event>, String> {
        let arena = Arena::new();
        let mut record =
            Record::decode(entry.record, &arena).map_err(|e| format!("its record can't be read: {e:?}"))?;
        if let Some(inject) = &self.inject {
            inject.apply(tag, entry.time, &mut record, &arena);
        }
        let mut head = vec![b'{'];
        let time = self.time.as_ref().and_then(|path| self.take(path, &mut record, &arena));
        let host = self.part(&self.host, tag, &mut record, &arena);
        key(b"host", &mut head, host);
        key(b"time", &mut head, time);
        if time.is_none_or(|time| time == Value::Nil) {
            moment(entry.time, &mut head);
        }
        for (name, part) in [("index", &self.index), ("source", &self.source), ("sourcetype", &self.sourcetype)] {
            let value = part.as_ref().and_then(|part| self.part(part, tag, &mut record, &arena));
            key(name.as_bytes(), &mut head, value);
        }
        Ok(match &self.metrics {
            None => Some(Event { text: self.record(tag, entry, head, record, &arena), count: 1 }),
            Some(Metrics::Named(name, value)) => Some(self.named(name, value, head, record, &arena)),
            Some(Metrics::Each) => each(&head, &record),
        })
    }

    fn take<'a>(&self, path: &RecordPath, record: &mut Record<'a>, arena: &'a Arena) -> Option<Value<'a>> {
        if self.keep { path.get(record) } else { path.remove(record, arena) }
    }

    fn part<'a>(
        &'a self,
        part: &'a Part,
        tag: &'a Tag,
        record: &mut Record<'a>,
        arena: &'a Arena,
    ) -> Option<Value<'a>> {
        match part {
            Part::Fixed(text) => Some(Value::str(text)),
            Part::Tag => Some(Value::str(tag)),
            Part::Field(path) => self.take(path, record, arena),
        }
    }

    /// An event's own data, with indexed fields beside it.
    fn record<'a>(
        &'a self,
        tag: &Tag,
        entry: &Entry<'_>,
        mut out: Vec<u8>,
        mut record: Record<'a>,
        arena: &'a Arena,
    ) -> Vec<u8> {
        if let Some(fields) = &self.fields {
            let mut indexed = Record::new();
            for (name, path) in fields {
                // A field that two names have goes to both.
                if let Some(value) = path.get(&record).filter(|value| *value != Value::Nil) {
                    indexed.set(name.as_bytes(), value);
                }
            }
            out.extend_from_slice(b"\"fields\":");
            json::write_record(&indexed, &mut out);
            out.push(b',');
            for (_, path) in fields {
                path.remove(&mut record, arena);
            }
        }
        out.extend_from_slice(b"\"event\":");
        match &self.formatter {
            None => json::write_record(&record, &mut out),
            Some(formatter) => {
                let mut text = Vec::new();
                formatter.format(tag, entry.time, &record, &mut text);
                let end = text.strip_suffix(b"\n").map_or(text.len(), <[u8]>::len);
                json::write_value(Value::Str(&text[..end]), &mut out);
            }
        }
        out.push(b'}');
        out
    }

    fn named<'a>(
        &'a self,
        name: &RecordPath,
        value: &RecordPath,
        mut out: Vec<u8>,
        mut record: Record<'a>,
        arena: &'a Arena,
    ) -> Event {
        let mut fields = Record::new();
        let (name, value) = (self.take(name, &mut record, arena), self.take(value, &mut record, arena));
        let own = [(&b"metric_name"[..], name), (b"_value", value)];
        own.iter().for_each(|(key, value)| fields.set(key, value.unwrap_or(Value::Nil)));
        match &self.fields {
            Some(dimensions) => dimensions.iter().for_each(|(name, path)| {
                fields.set(name.as_bytes(), path.get(&record).unwrap_or(Value::Nil));
            }),
            None => record.iter().for_each(|(name, value)| fields.set(name, *value)),
        }
        fields.retain(|(_, value)| *value != Value::Nil);
        out.extend_from_slice(b"\"event\":\"metric\",\"fields\":");
        json::write_record(&fields, &mut out);
        out.push(b'}');
        Event { text: out, count: 1 }
    }
}

/// A metric for each field.
fn each(head: &[u8], record: &Record<'_>) -> Option<Event> {
    let mut text = Vec::new();
    for (name, value) in record.iter() {
        text.extend_from_slice(head);
        text.extend_from_slice(b"\"event\":\"metric\",\"fields\":{\"metric_name\":");
        json::write_value(Value::Str(name), &mut text);
        text.extend_from_slice(b",\"_value\":");
        json::write_value(*value, &mut text);
        text.extend_from_slice(b"}}");
    }
    (!record.is_empty()).then_some(Event { text, count: record.len() })
}

/// A property and a comma; nothing for nil.
fn key(name: &[u8], out: &mut Vec<u8>, value: Option<Value<'_>>) {
    let Some(value) = value.filter(|value| *value != Value::Nil) else { return };
    json::write_value(Value::Str(name), out);
    out.push(b':');
    json::write_value(value, out);
    out.push(b',');
}

fn moment(time: EventTime, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\"time\":{}.{:09},", time.secs(), time.subsec_nanos()).as_bytes());
}
