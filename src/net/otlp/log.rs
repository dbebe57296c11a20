//! A log record on its way into a batch, and the fields that it becomes.

use crate::event::msgpack::{put_map_len, put_str, put_uint};
use crate::event::{BatchBuilder, EventTime};

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no request, with the reason.
    Malformed(String),
    /// Its events would be larger than the limit.
    TooLarge,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Malformed(why) => write!(f, "no request for logs: {why}"),
            Fault::TooLarge => f.write_str("the events of this request are larger than the limit"),
        }
    }
}

/// What bounds a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of its events together. Each event gets its resource, so a small request can become large.
    pub bytes: usize,
}

/// What several records have in common, as encoded maps; empty where there is nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) resource: Vec<u8>,
    pub(super) scope: Vec<u8>,
}

/// A record.
#[derive(Debug, Default)]
pub(super) struct Log<'a> {
    /// Nanoseconds since the epoch; 0 where it is not known.
    pub(super) time: u64,
    pub(super) observed: u64,
    pub(super) severity: u64,
    pub(super) severity_text: &'a [u8],
    /// An encoded value; empty where there is none.
    pub(super) body: Vec<u8>,
    /// An encoded map; empty where there is none.
    pub(super) attributes: Vec<u8>,
    pub(super) dropped: u64,
    pub(super) flags: u64,
    /// Hexadecimal.
    pub(super) trace_id: Vec<u8>,
    pub(super) span_id: Vec<u8>,
    pub(super) event_name: &'a [u8],
}

impl Log<'_> {
    /// Makes it an empty record, which has its memory still.
    pub(super) fn clear(&mut self) {
        let (mut body, mut attributes) = (std::mem::take(&mut self.body), std::mem::take(&mut self.attributes));
        body.clear();
        attributes.clear();
        *self = Log { body, attributes, ..Log::default() };
    }

    /// Adds the record to a batch.
    ///
    /// Errors: the batch grows over the limit.
    pub(super) fn push(&self, common: &Common, limits: &Limits, batch: &mut BatchBuilder) -> Result<(), Fault> {
        let time = [self.time, self.observed].into_iter().find(|time| *time > 0);
        let time = time.and_then(|time| i64::try_from(time).ok()).map_or_else(EventTime::now, EventTime::from_nanos);
        batch.push_with(time, |out| self.write(common, out));
        if batch.bytes() > limits.bytes { Err(Fault::TooLarge) } else { Ok(()) }
    }

    fn write(&self, common: &Common, out: &mut Vec<u8>) {
        let encoded = [
            ("body", &self.body),
            ("attributes", &self.attributes),
            ("resource", &common.resource),
            ("scope", &common.scope),
        ];
        let texts = [
            ("severity_text", self.severity_text),
            ("trace_id", &self.trace_id[..]),
            ("span_id", &self.span_id),
            ("event_name", self.event_name),
        ];
        let numbers = [
            ("severity_number", self.severity),
            ("observed_time_unix_nano", self.observed),
            ("flags", self.flags),
            ("dropped_attributes_count", self.dropped),
        ];
        let fields = encoded.iter().filter(|(_, v)| !v.is_empty()).count()
            + texts.iter().filter(|(_, v)| !v.is_empty()).count()
            + numbers.iter().filter(|(_, v)| *v > 0).count();
        put_map_len(out, fields);
        for (name, value) in numbers.into_iter().filter(|(_, v)| *v > 0) {
            put_str(out, name.as_bytes());
            put_uint(out, value);
        }
        for (name, value) in texts.into_iter().filter(|(_, v)| !v.is_empty()) {
            put_str(out, name.as_bytes());
            put_str(out, value);
        }
        for (name, value) in encoded.into_iter().filter(|(_, v)| !v.is_empty()) {
            put_str(out, name.as_bytes());
            out.extend_from_slice(value);
        }
    }
}

/// A scope as an encoded map; empty where it says nothing.
pub(super) fn scope(name: &[u8], version: &[u8], attributes: &[u8]) -> Vec<u8> {
    let texts = [("name", name), ("version", version)];
    let fields = texts.iter().filter(|(_, v)| !v.is_empty()).count() + usize::from(!attributes.is_empty());
    let mut out = Vec::new();
    if fields == 0 {
        return out;
    }
    put_map_len(&mut out, fields);
    for (name, value) in texts.into_iter().filter(|(_, v)| !v.is_empty()) {
        put_str(&mut out, name.as_bytes());
        put_str(&mut out, value);
    }
    if !attributes.is_empty() {
        put_str(&mut out, b"attributes");
        out.extend_from_slice(attributes);
    }
    out
}

/// Hexadecimal digits as bytes; `None` for what is none.
pub(super) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?);
    text.chunks(2).map(pair).collect()
}
