//! For tests: a route that collects, and the few bytes of the protocol that tests write by hand.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::shared::{MAX_MESSAGE_BYTES, Settings};
use crate::buffer::{Origin, Receipt};
use crate::config::{Diagnostic, Diagnostics, LoadOptions, load_text};
use crate::event::{Arena, Batch, EventTime, Record, Value, msgpack};
use crate::net::forward::Rules;
use crate::plugin::testing::process;
use crate::plugin::{BoxFuture, BuildContext, Configure, EmitError, Emitter, Registry, Route};

/// What a [`Collector`] was given.
#[derive(Default)]
pub(crate) struct Collected {
    /// Batches that were stored, in order.
    pub(crate) batches: Vec<Batch>,
    /// Batches handed to `@ERROR`, with the reason.
    pub(crate) failed: Vec<(Batch, String)>,
    seen: HashSet<Vec<u8>>,
    refusals: Vec<EmitError>,
    shut: bool,
}

/// A route that keeps what it is given.
#[derive(Default)]
pub(crate) struct Collector {
    state: Mutex<Collected>,
    changed: Notify,
}

impl Collector {
    /// A collector and the emitter over it.
    pub(crate) fn emitter() -> (Arc<Collector>, Emitter) {
        let collector = Arc::new(Collector::default());
        (collector.clone(), Emitter::new(collector))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Collected> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batches are refused so.
    pub(crate) fn refuse(&self, errors: impl IntoIterator<Item = EmitError>) {
        self.state().refusals.extend(errors);
    }

    /// While shut, batches wait.
    pub(crate) fn shut(&self, shut: bool) {
        self.state().shut = shut;
        self.changed.notify_waiters();
    }

    /// Waits until so many events were stored.
    pub(crate) async fn wait_events(&self, events: u32) {
        self.wait(|state| state.batches.iter().map(Batch::len).sum::<u32>() >= events).await;
    }

    async fn wait(&self, test: impl Fn(&Collected) -> bool) {
        loop {
            let changed = self.changed.notified();
            if test(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    /// Every event stored, in order: tag, time, the value of the field `n`.
    pub(crate) fn events(&self) -> Vec<(String, EventTime, i64)> {
        let state = self.state();
        let each = state.batches.iter().flat_map(|batch| {
            batch.entries().map_while(Result::ok).map(|entry| {
                let arena = Arena::new();
                let n = Record::decode(entry.record, &arena).ok().and_then(|r| match r.get(b"n") {
                    Some(Value::Int(n)) => Some(n),
                    _ => None,
                });
                (batch.tag.to_string(), entry.time, n.unwrap_or(-1))
            })
        });
        each.collect()
    }

    /// The field `n` of every event stored, in order.
    pub(crate) fn numbers(&self) -> Vec<i64> {
        self.events().into_iter().map(|(_, _, n)| n).collect()
    }
}

impl Route for Collector {
    fn route(&self, batch: Batch, origin: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        Box::pin(async move {
            self.wait(|state| !state.shut).await;
            let mut state = self.state();
            if let Some(error) = state.refusals.pop() {
                return Err(error);
            }
            if let Origin::Once(key) = origin {
                state.seen.insert(key.to_vec());
            }
            state.batches.push(batch);
            drop(state);
            self.changed.notify_waiters();
            Ok(Receipt::durable())
        })
    }

    fn fail(&self, events: Batch, reason: &str) -> BoxFuture<'_, ()> {
        self.state().failed.push((events, reason.to_owned()));
        Box::pin(async {})
    }

    fn give_to_errors(&self, events: Batch, _: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        self.state().failed.push((events, String::new()));
        Box::pin(async { Ok(Receipt::durable()) })
    }

    fn held(&self, _stream: &str) -> Vec<u64> {
        Vec::new()
    }

    fn seen(&self, once: &[u8]) -> bool {
        self.state().seen.contains(once)
    }
}

/// An entry with one field, `n`.
pub(crate) fn entry(time: i64, n: i64) -> Vec<u8> {
    let mut out = vec![0x92];
    msgpack::put_int(&mut out, time);
    msgpack::put_map_len(&mut out, 1);
    msgpack::put_str(&mut out, b"n");
    msgpack::put_int(&mut out, n);
    out
}

/// A Message-mode message with one field, `n`.
pub(crate) fn one(tag: &str, time: i64, n: i64, chunk: Option<&str>) -> Vec<u8> {
    let mut out = vec![if chunk.is_some() { 0x94 } else { 0x93 }];
    msgpack::put_str(&mut out, tag.as_bytes());
    out.extend_from_slice(&entry(time, n)[1..]);
    put_chunk(&mut out, chunk);
    out
}

/// A PackedForward message.
pub(crate) fn packed(tag: &str, payload: &[u8], compressed: Option<&str>, chunk: Option<&str>) -> Vec<u8> {
    let mut out = vec![0x93];
    msgpack::put_str(&mut out, tag.as_bytes());
    msgpack::put_bin(&mut out, payload);
    msgpack::put_map_len(&mut out, usize::from(compressed.is_some()) + usize::from(chunk.is_some()));
    for (key, value) in [("compressed", compressed), ("chunk", chunk)] {
        if let Some(value) = value {
            msgpack::put_str(&mut out, key.as_bytes());
            msgpack::put_str(&mut out, value.as_bytes());
        }
    }
    out
}

fn put_chunk(out: &mut Vec<u8>, chunk: Option<&str>) {
    if let Some(chunk) = chunk {
        msgpack::put_map_len(out, 1);
        msgpack::put_str(out, b"chunk");
        msgpack::put_str(out, chunk.as_bytes());
    }
}

/// The answer that acknowledges `chunk`.
pub(crate) fn ack(chunk: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    msgpack::put_str(&mut encoded, chunk.as_bytes());
    let mut out = Vec::new();
    crate::net::forward::ack_binary(&encoded, &mut out);
    out
}

/// What an input does where its section says nothing.
pub(crate) fn settings() -> Settings {
    Settings {
        rules: Rules { skip_invalid: true, any_time: false },
        tag: None,
        add_tag_prefix: None,
        message_limit: MAX_MESSAGE_BYTES,
        warn_limit: None,
        inflate_limit: 64 << 20,
        address_key: None,
        hostname_key: None,
        deny_keepalive: false,
        gate: None,
    }
}

/// Makes a plugin from the one section in `text`. Gives its warnings, or its faults.
pub(crate) fn configured<P: Configure>(text: &str) -> Result<(P, Vec<String>), Vec<String>> {
    static REGISTRY: Registry =
        Registry { inputs: &[], filters: &[], outputs: &[], parsers: &[], formatters: crate::formatter::FORMATTERS };
    let options = LoadOptions::new(crate::config::Surroundings::default());
    let lines = |d: Diagnostics| d.iter().map(Diagnostic::one_line).collect::<Vec<_>>();
    let root = load_text("test.conf", text, &options).map_err(lines)?.root;
    let (process, mut diagnostics) = (process(false), Diagnostics::new());
    let section = root.children.first().ok_or_else(|| vec!["no section".to_owned()])?;
    let plugin = BuildContext::new(section, &process, &REGISTRY, &mut diagnostics).configure::<P>();
    let said = lines(diagnostics);
    match plugin {
        Some(plugin) => Ok((plugin, said)),
        None => Err(said),
    }
}
