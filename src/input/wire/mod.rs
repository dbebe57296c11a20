//! What inputs of text over a network share: who sent a message, batches by tag, delivery that waits for room.

mod datagrams;
mod plain;
mod receiver;
mod stream;
#[cfg(test)]
pub(super) mod testing;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;

pub(super) use datagrams::{Datagrams, serve_datagrams};
pub(super) use plain::Plain;
pub(super) use stream::{Streams, serve_streams};

use crate::config::Diagnostic;
use crate::event::{Batch, BatchBuilder, EventTime, Record, Tag, Value};
use crate::net::{LogGate, hostname};
use crate::plugin::{BuildContext, EmitError, Emitter, Stop};

/// Log lines that a sender can cause pass once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Waits between attempts while a buffer has no room: the first and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long a name that was looked up is believed, and how many are kept.
const NAME_LIFE: Duration = Duration::from_secs(60);
const MAX_NAMES: usize = 4096;

/// A gate for log lines about what senders do.
pub(super) fn log_gate() -> LogGate {
    LogGate::new(LOG_INTERVAL)
}

/// Turns one message into events.
pub(super) trait Handler: Send + Sync + 'static {
    /// Reads `text` and adds its events to `batches`.
    fn handle(&self, text: &[u8], sender: &Sender, batches: &mut Batches);

    /// What is told of senders.
    fn senders(&self) -> &Senders;
}

/// Who sent a message.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    address: String,
    name: String,
}

/// Which fields tell who sent a message.
pub(super) struct Senders {
    address_key: Option<String>,
    name_key: Option<String>,
    resolves: bool,
    names: Mutex<HashMap<IpAddr, (Instant, String)>>,
}

impl Senders {
    /// Field names for the address and the name; `resolves`: names are looked up, else they are the addresses.
    pub(super) fn new(address_key: Option<String>, name_key: Option<String>, resolves: bool) -> Senders {
        Senders { address_key, name_key, resolves, names: Mutex::default() }
    }

    /// The sender at an address.
    pub(super) async fn sender(&self, ip: Option<IpAddr>) -> Sender {
        let Some(ip) = ip else { return Sender { address: String::new(), name: String::new() } };
        let ip = ip.to_canonical();
        let name = match self.name_key {
            Some(_) if self.resolves => self.name(ip).await,
            _ => ip.to_string(),
        };
        Sender { address: ip.to_string(), name }
    }

    async fn name(&self, ip: IpAddr) -> String {
        let names = || self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, name)) = names().get(&ip)
            && at.elapsed() < NAME_LIFE
        {
            return name.clone();
        }
        let name = hostname::of(ip).await;
        let mut names = names();
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        names.insert(ip, (Instant::now(), name.clone()));
        name
    }

    /// Puts the fields into a record.
    pub(super) fn put<'a>(&'a self, sender: &'a Sender, record: &mut Record<'a>) {
        if let Some(key) = &self.address_key {
            record.set(key.as_bytes(), Value::str(&sender.address));
        }
        if let Some(key) = &self.name_key {
            record.set(key.as_bytes(), Value::str(&sender.name));
        }
    }
}

/// Tags that a connection keeps from one read to the next.
const MAX_TAGS: usize = 256;

/// Most bytes that are made ready for the events of a tag before the first of them.
const MOST_BEFORE: usize = 128 << 10;

/// Events by tag, tags in the order they were first seen.
#[derive(Default)]
pub(super) struct Batches {
    places: HashMap<Tag, usize, foldhash::fast::RandomState>,
    tagged: Vec<Tagged>,
    /// Memory for the record of the next event.
    spare: Record<'static>,
}

/// The events of one tag.
struct Tagged {
    tag: Tag,
    events: BatchBuilder,
    /// Bytes of those before: what comes next is likely to be as much.
    before: usize,
}

impl Batches {
    /// An empty record, which is to be [given back](Self::give_back): then an event costs no allocation for it.
    pub(super) fn record<'a>(&mut self) -> Record<'a> {
        std::mem::take(&mut self.spare)
    }

    pub(super) fn give_back(&mut self, record: Record<'_>) {
        self.spare = record.recycle();
    }

    /// Adds one event.
    pub(super) fn push(&mut self, tag: &str, time: EventTime, record: &Record<'_>) {
        let place = self.places.get(tag).copied().unwrap_or_else(|| self.add(tag));
        let tagged = &mut self.tagged[place];
        if tagged.events.is_empty() {
            tagged.events = BatchBuilder::with_capacity(tagged.before.min(MOST_BEFORE));
        }
        tagged.events.push(time, record);
    }

    #[cold]
    fn add(&mut self, tag: &str) -> usize {
        let tag = Tag::from(tag);
        self.tagged.push(Tagged { tag: tag.clone(), events: BatchBuilder::new(), before: 0 });
        self.places.insert(tag, self.tagged.len() - 1);
        self.tagged.len() - 1
    }

    /// Emits everything; waits while there is no room. All tags at once: one sync of a file buffer is waited for then, not one
    /// for each.
    pub(super) async fn deliver(&mut self, emit: &Emitter, stop: &mut Stop) {
        let each = self.tagged.iter_mut().filter_map(Tagged::finish).map(|batch| {
            let mut stop = stop.clone();
            async move { deliver(batch, emit, &mut stop).await }
        });
        join_all(each).await;
        if self.tagged.len() > MAX_TAGS {
            self.places.clear();
            self.tagged.clear();
        }
    }
}

impl Tagged {
    /// The events so far, if there are any.
    fn finish(&mut self) -> Option<Batch> {
        self.before = self.events.bytes();
        (self.before > 0).then(|| self.events.finish(self.tag.clone()))
    }
}

/// Emits one batch; while a buffer has no room it is tried again, so that the sender has to wait, until the stop.
pub(super) async fn deliver(batch: Batch, emit: &Emitter, stop: &mut Stop) {
    let mut wait = FIRST_WAIT;
    loop {
        let (why, events) = match emit.emit(batch.clone()).await {
            Ok(_) => return,
            Err(EmitError::Full(why)) if !stop.is_stopped() => {
                tracing::debug!(tag = %batch.tag, %why, "no room, waiting");
                let _ = stop.or(tokio::time::sleep(wait)).await;
                wait = (wait * 2).min(LONGEST_WAIT);
                continue;
            }
            Err(why) => (why, batch.len()),
        };
        tracing::error!(tag = %batch.tag, error = %why, events, "failed to emit, these events are lost");
        return;
    }
}

/// `\n` and the like as a delimiter: the two characters mean one.
pub(super) fn delimiter(text: &str, cx: &BuildContext<'_>) -> Result<Vec<u8>, Diagnostic> {
    if text.is_empty() {
        return Err(cx.fault("delimiter", "'delimiter' parameter must not be empty"));
    }
    Ok(text.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0").into_bytes())
}

/// Warns of what tunes Fluentd's event loop.
pub(super) fn warn_of_blocking_timeout(given: bool, cx: &mut BuildContext<'_>) {
    if given {
        cx.warn("blocking_timeout", "blocking_timeout tunes Fluentd's event loop and has no effect here; take it out");
    }
}
