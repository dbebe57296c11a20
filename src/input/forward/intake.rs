//! From messages to deliveries: tags checked, payloads judged, single events of one tag put together.

use bytes::Bytes;

use super::budget::Hold;
use super::judge::{Judged, judge, with_fields};
use super::shared::{Peer, Settings, Shared};
use crate::event::{Batch, EventTime, MAX_TAG_BYTES, Packing, Tag, Value};
use crate::net::forward::{self, Body, Events, Message};

/// Single events are put together up to about this many bytes.
const GATHER_BYTES: usize = 256 * 1024;

/// Events that are to be stored, and what is to be answered then.
pub(super) struct Delivery {
    pub(super) batch: Batch,
    /// The sender's chunk id, encoded as it came.
    pub(super) ack: Option<Bytes>,
    /// What the batch is known by when it comes again.
    pub(super) once: Option<Vec<u8>>,
    /// The place that the message takes in memory.
    pub(super) hold: Option<Hold>,
}

/// The messages of one connection, in order.
pub(super) struct Intake<'c> {
    shared: &'c Shared,
    peer: &'c Peer,
    gathered: Gathered,
    last_tag: Option<(Bytes, Tag)>,
    out: Vec<Delivery>,
}

/// Single events of one tag.
#[derive(Default)]
struct Gathered {
    tag: Option<Tag>,
    entries: Vec<u8>,
    count: u32,
}

impl<'c> Intake<'c> {
    pub(super) fn new(shared: &'c Shared, peer: &'c Peer) -> Intake<'c> {
        Intake { shared, peer, gathered: Gathered::default(), last_tag: None, out: Vec::new() }
    }

    /// What has come in since the last call, in order.
    pub(super) fn finish(&mut self) -> Vec<Delivery> {
        self.flush();
        std::mem::take(&mut self.out)
    }

    /// Takes one whole message in.
    ///
    /// Errors: why the connection is to be closed. What came before is kept.
    pub(super) async fn take(&mut self, raw: Bytes, hold: Option<Hold>) -> Result<(), String> {
        let size = raw.len();
        match Message::parse(&raw) {
            Message::Heartbeat => Ok(()),
            Message::Broken(why) => {
                self.warn("incoming chunk is broken:", why);
                Ok(())
            }
            Message::Unreadable(why) => Err(why.to_owned()),
            Message::Events(events) => {
                if self.shared.settings.warn_limit.is_some_and(|limit| size > limit) {
                    let why = format!("size={size} tag={}", shown(events.tag.as_deref()));
                    self.warn("Input chunk size is larger than 'chunk_size_warn_limit':", &why);
                }
                self.take_events(events, hold).await
            }
        }
    }

    async fn take_events(&mut self, events: Events, hold: Option<Hold>) -> Result<(), String> {
        let tag = match self.tag(events.tag) {
            Ok(tag) => tag,
            Err(why) => {
                // Not acknowledged: the sender keeps what can't be routed.
                self.warn("event refused:", &why);
                return Ok(());
            }
        };
        let (bytes, packing) = match events.body {
            Body::One { time, record } => return self.take_one(tag, &time, &record, events.chunk),
            Body::Listed(bytes) => (bytes, Packing::Plain),
            Body::Packed(bytes, packing) => (bytes, packing),
        };
        self.flush();
        let Judged { taken, crc } = judge(self.shared, self.peer, bytes, packing).await?;
        if taken.skipped > 0 {
            self.warn("skip invalid event:", &format!("tag={:?} events={}", &*tag, taken.skipped));
        }
        if taken.cut {
            self.warn(
                "the payload ends in the middle of an event, what is before it is kept:",
                &format!("tag={:?}", &*tag),
            );
        }
        let once = events.chunk.as_ref().map(|chunk| once_key(chunk, &tag, crc));
        let batch = Batch::new(tag, taken.entries, taken.count);
        self.out.push(Delivery { batch, ack: events.chunk, once, hold });
        Ok(())
    }

    fn take_one(&mut self, tag: Tag, time: &[u8], record: &[u8], chunk: Option<Bytes>) -> Result<(), String> {
        let alone = chunk.is_some();
        if alone || self.gathered.tag.as_ref() != Some(&tag) || self.gathered.entries.len() > GATHER_BYTES {
            self.flush();
        }
        let crc = if alone { crc32c::crc32c_append(crc32c::crc32c(time), record) } else { 0 };
        self.gathered.put(&tag, time, record, self.shared, self.peer)?;
        if let Some(chunk) = chunk {
            // An event that was not valid is acknowledged too, with nothing to store: to send it again is of no use.
            let once = once_key(&chunk, &tag, crc);
            let batch = self.gathered.finish().unwrap_or_else(|| Batch::new(tag, Bytes::new(), 0));
            self.out.push(Delivery { batch, ack: Some(chunk), once: Some(once), hold: None });
        }
        Ok(())
    }

    fn flush(&mut self) {
        if let Some(batch) = self.gathered.finish() {
            self.out.push(Delivery { batch, ack: None, once: None, hold: None });
        }
    }

    /// The tag that events go under.
    ///
    /// Errors: why it can't be one.
    fn tag(&mut self, sent: Option<Bytes>) -> Result<Tag, String> {
        let sent = match &self.shared.settings.tag {
            Some(_) => Bytes::new(),
            None => sent.ok_or("the tag is no text")?,
        };
        if let Some((bytes, tag)) = &self.last_tag
            && *bytes == sent
        {
            return Ok(tag.clone());
        }
        let tag = Tag::from(full_tag(&self.shared.settings, &sent)?);
        // The message's memory must not live as long as the connection.
        self.last_tag = Some((Bytes::copy_from_slice(&sent), tag.clone()));
        Ok(tag)
    }

    fn warn(&self, what: &str, why: &str) {
        self.shared.complaints.warn(|| format!("{what} host={:?} {why}", self.peer.host));
    }
}

fn full_tag(settings: &Settings, sent: &[u8]) -> Result<String, String> {
    let sent = std::str::from_utf8(sent).map_err(|_| format!("the tag is no UTF-8: {}", shown(Some(sent))))?;
    let tag = settings.tag.as_deref().unwrap_or(sent);
    let tag = match &settings.add_tag_prefix {
        Some(prefix) => format!("{prefix}.{tag}"),
        None => tag.to_owned(),
    };
    if tag.len() > MAX_TAG_BYTES {
        return Err(format!("the tag is longer than {MAX_TAG_BYTES} bytes: {}", shown(Some(tag.as_bytes()))));
    }
    if tag.chars().any(char::is_control) {
        return Err(format!("the tag has control characters: {tag:?}"));
    }
    Ok(tag)
}

/// The start of a tag, fit for the log.
fn shown(tag: Option<&[u8]>) -> String {
    const SHOWN_BYTES: usize = 80;
    match tag {
        Some(tag) => format!("{:?}", String::from_utf8_lossy(&tag[..tag.len().min(SHOWN_BYTES)])),
        None => "(no text)".into(),
    }
}

/// What a chunk is known by: the sender's id, and marks of tag and payload, because some senders use one id for all.
fn once_key(chunk: &[u8], tag: &str, crc: u32) -> Vec<u8> {
    let id = Value::decode(chunk).ok().and_then(|v| v.as_bytes()).unwrap_or(chunk);
    let mut key = Vec::with_capacity(id.len() + 4);
    key.extend_from_slice(id);
    key.extend_from_slice(&crc32c::crc32c_append(crc, tag.as_bytes()).to_be_bytes());
    key
}

/// A time of a client for a log line: numbers in full, of the rest the kind.
fn shown_time(time: &[u8]) -> String {
    match Value::decode(time) {
        Ok(Value::Int(number)) => number.to_string(),
        Ok(Value::Float(number)) => format!("{number:?} (a float)"),
        Ok(Value::Ext(0, data)) if data.len() == 8 => "EventTime".into(),
        _ => "no number".into(),
    }
}

impl Gathered {
    fn put(&mut self, tag: &Tag, time: &[u8], record: &[u8], shared: &Shared, peer: &Peer) -> Result<(), String> {
        let start = self.entries.len();
        let rules = shared.settings.rules;
        match forward::put_one(&mut self.entries, time, record, rules, EventTime::now()) {
            Ok(true) => {}
            Ok(false) if rules.skip_invalid => {
                let what = || {
                    let (host, time) = (&peer.host, shown_time(time));
                    format!("got invalid event and drop it: host={host:?} tag={:?} time={time}", &**tag)
                };
                shared.complaints.warn(what);
                return Ok(());
            }
            Ok(false) => return Err("an event has no map as its record, or no time".into()),
            Err(e) => return Err(e.to_string()),
        }
        if let Some(fields) = &peer.fields {
            let entry = with_fields(&self.entries[start..], fields);
            self.entries.truncate(start);
            self.entries.extend_from_slice(&entry);
        }
        if self.tag.is_none() {
            self.tag = Some(tag.clone());
        }
        self.count += 1;
        Ok(())
    }

    fn finish(&mut self) -> Option<Batch> {
        let tag = self.tag.take()?;
        let entries = std::mem::take(&mut self.entries);
        Some(Batch::new(tag, entries.into(), std::mem::take(&mut self.count)))
    }
}
