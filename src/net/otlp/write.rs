//! Records as `ExportLogsServiceRequest`, in protobuf.

use super::log::unhex;
use crate::event::{EventTime, Record, Value, json};
use crate::net::proto::{put_bytes, put_fixed32, put_fixed64, put_message, put_number};

/// The fields that a record of the input `opentelemetry` has. One that has others too is an event like any other.
const OWN: &[&[u8]] = &[
    b"severity_number",
    b"observed_time_unix_nano",
    b"flags",
    b"dropped_attributes_count",
    b"severity_text",
    b"trace_id",
    b"span_id",
    b"event_name",
    b"body",
    b"attributes",
    b"resource",
    b"scope",
];

/// Names of severities and their numbers, by the beginning of a level's name.
const SEVERITIES: &[(&str, u64)] = &[
    ("trace", 1),
    ("debug", 5),
    ("info", 9),
    ("notice", 10),
    ("warn", 13),
    ("err", 17),
    ("crit", 18),
    ("alert", 19),
    ("emerg", 21),
    ("fatal", 21),
    ("panic", 21),
];

/// A record as a message, and what it belongs to.
#[derive(Debug, Default)]
pub struct Placed {
    /// `Resource`
    pub resource: Vec<u8>,
    /// `InstrumentationScope`
    pub scope: Vec<u8>,
    /// `LogRecord`
    pub log: Vec<u8>,
}

/// A record as a message. What the input `opentelemetry` has made of one becomes that again. Of others, the field `body` (a
/// name) becomes the body and the rest attributes; one without that field is the body as a whole. `severity`: the field
/// with the level. `extra`: attributes of each resource.
pub fn write_record(
    time: EventTime,
    record: &Record<'_>,
    body: &[u8],
    severity: Option<&[u8]>,
    extra: &[(String, String)],
) -> Placed {
    let own = |name: &[u8]| record.get(name).filter(|value| *value != Value::Nil);
    let is_own =
        record.iter().all(|(name, _)| OWN.contains(name)) && (own(b"body").is_some() || own(b"attributes").is_some());
    let mut placed = Placed::default();
    if is_own {
        resource(own(b"resource"), extra, &mut placed.resource);
        scope(own(b"scope"), &mut placed.scope);
        return Placed { log: same(time, record), ..placed };
    }
    resource(None, extra, &mut placed.resource);
    let out = &mut placed.log;
    stamp(time, out);
    let level = severity.and_then(|name| record.get(name)).and_then(|v| v.as_bytes());
    if let Some(level) = level {
        let text = String::from_utf8_lossy(level);
        let lower = text.to_ascii_lowercase();
        if let Some((_, number)) = SEVERITIES.iter().find(|(name, _)| lower.starts_with(name)) {
            put_number(out, 2, *number);
        }
        put_bytes(out, 3, text.as_bytes());
    }
    match record.get(body) {
        Some(held) => {
            put_message(out, 5, |out| any(held, out));
            for (name, held) in record.iter().filter(|(name, _)| *name != body) {
                pair(6, name, *held, out);
            }
        }
        None => put_message(out, 5, |out| {
            put_message(out, 6, |out| record.iter().for_each(|(name, held)| pair(1, name, *held, out)));
        }),
    }
    placed
}

fn stamp(time: EventTime, out: &mut Vec<u8>) {
    put_fixed64(out, 1, u64::try_from(time.nanos()).unwrap_or(0));
}

/// A record of the input's as it was.
fn same(time: EventTime, record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    stamp(time, &mut out);
    let number = |name: &[u8]| match record.get(name) {
        Some(Value::Int(n)) => u64::try_from(n).unwrap_or(0),
        Some(Value::UInt(n)) => n,
        _ => 0,
    };
    let bytes = |name: &[u8]| record.get(name).and_then(|v| v.as_bytes()).unwrap_or_default();
    for (field, name) in [(2, &b"severity_number"[..]), (7, b"dropped_attributes_count")] {
        if number(name) > 0 {
            put_number(&mut out, field, number(name));
        }
    }
    for (field, name) in [(3, &b"severity_text"[..]), (12, b"event_name")] {
        if !bytes(name).is_empty() {
            put_bytes(&mut out, field, String::from_utf8_lossy(bytes(name)).as_bytes());
        }
    }
    if let Some(body) = record.get(b"body") {
        put_message(&mut out, 5, |out| any(body, out));
    }
    if let Some(attributes) = record.get(b"attributes") {
        for (name, held) in attributes.pairs() {
            pair(6, name.as_bytes().unwrap_or_default(), held, &mut out);
        }
    }
    if number(b"flags") > 0 {
        put_fixed32(&mut out, 8, number(b"flags") as u32);
    }
    // A receiver refuses ids of another length.
    for (field, name, length) in [(9, &b"trace_id"[..], 16), (10, b"span_id", 8)] {
        if let Some(id) = unhex(bytes(name)).filter(|id| id.len() == length) {
            put_bytes(&mut out, field, &id);
        }
    }
    if number(b"observed_time_unix_nano") > 0 {
        put_fixed64(&mut out, 11, number(b"observed_time_unix_nano"));
    }
    out
}

fn resource(held: Option<Value<'_>>, extra: &[(String, String)], out: &mut Vec<u8>) {
    let held = held.unwrap_or(Value::Nil);
    let known = |name: &str| held.pairs().any(|(key, _)| key.as_bytes() == Some(name.as_bytes()));
    // What a record brings of its own is nearer to the truth.
    for (name, text) in extra.iter().filter(|(name, _)| !known(name)) {
        pair(1, name.as_bytes(), Value::str(text), out);
    }
    for (name, value) in held.pairs() {
        pair(1, name.as_bytes().unwrap_or_default(), value, out);
    }
}

fn scope(held: Option<Value<'_>>, out: &mut Vec<u8>) {
    for (name, value) in held.unwrap_or(Value::Nil).pairs() {
        match (name.as_bytes(), value) {
            (Some(b"name"), Value::Str(text)) => put_bytes(out, 1, String::from_utf8_lossy(text).as_bytes()),
            (Some(b"version"), Value::Str(text)) => put_bytes(out, 2, String::from_utf8_lossy(text).as_bytes()),
            (Some(b"attributes"), value) => {
                value.pairs().for_each(|(name, held)| pair(3, name.as_bytes().unwrap_or_default(), held, out));
            }
            _ => {}
        }
    }
}

/// Appends a `KeyValue`.
fn pair(field: u32, name: &[u8], value: Value<'_>, out: &mut Vec<u8>) {
    put_message(out, field, |out| {
        put_bytes(out, 1, String::from_utf8_lossy(name).as_bytes());
        put_message(out, 2, |out| any(value, out));
    });
}

/// Appends the inside of an `AnyValue`. Text that is no UTF-8 is mended: a receiver would refuse the whole request.
fn any(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Nil => {}
        Value::Str(text) => put_bytes(out, 1, String::from_utf8_lossy(text).as_bytes()),
        Value::Bool(v) => put_number(out, 2, u64::from(v)),
        Value::Int(v) => put_number(out, 3, v as u64),
        Value::UInt(v) => put_bytes(out, 1, v.to_string().as_bytes()),
        Value::Float(v) => put_fixed64(out, 4, v.to_bits()),
        Value::Array(_) => put_message(out, 5, |out| {
            value.items().for_each(|item| put_message(out, 1, |out| any(item, out)));
        }),
        Value::Map(_) => put_message(out, 6, |out| {
            value.pairs().for_each(|(name, held)| pair(1, name.as_bytes().unwrap_or_default(), held, out));
        }),
        Value::Bin(data) => put_bytes(out, 7, data),
        Value::Ext(..) => {
            let mut text = Vec::new();
            json::write_value(value, &mut text);
            put_bytes(out, 1, &text);
        }
    }
}

/// A request of records: those of one resource together, and those of one scope within.
pub fn request<'r>(records: impl Iterator<Item = &'r Placed>) -> Vec<u8> {
    type Scopes<'r> = Vec<(&'r [u8], Vec<&'r [u8]>)>;
    let mut resources: Vec<(&[u8], Scopes<'_>)> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for placed in records {
        let (at, within) = *known.entry((&placed.resource[..], &placed.scope[..])).or_insert_with(|| {
            let at = resources.iter().position(|(resource, _)| *resource == placed.resource).unwrap_or_else(|| {
                resources.push((&placed.resource, Vec::new()));
                resources.len() - 1
            });
            resources[at].1.push((&placed.scope, Vec::new()));
            (at, resources[at].1.len() - 1)
        });
        resources[at].1[within].1.push(&placed.log);
    }
    let mut out = Vec::new();
    for (resource, scopes) in &resources {
        put_message(&mut out, 1, |out| {
            put_bytes(out, 1, resource);
            for (scope, logs) in scopes {
                put_message(out, 2, |out| {
                    if !scope.is_empty() {
                        put_bytes(out, 1, scope);
                    }
                    logs.iter().for_each(|log| put_bytes(out, 2, log));
                });
            }
        });
    }
    out
}
