//! Lines of the log on their way to be events. The queue is bounded: what does not fit is counted, never waited for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{Instrument, error, warn};

use crate::event::{Batch, BatchBuilder, EventTime, Tag};
use crate::plugin::{EmitError, Emitter, Stop, Stopper, scope};

/// Log events that wait for the router; more are left out.
const MAX_WAITING_EVENTS: usize = 1000;
/// Log events that are emitted at once.
const MAX_BATCH: usize = 100;
/// Longest time at the stop until those that wait are emitted.
const LAST_EMITS: Duration = Duration::from_secs(1);

/// A line as an event.
pub(super) struct LogEvent {
    /// `info`, `warn`, ...
    pub(super) level: &'static str,
    pub(super) time: EventTime,
    /// The encoded record.
    pub(super) record: Vec<u8>,
}

/// The queue. Cloning shares it.
#[derive(Clone)]
pub struct LogEvents(Arc<Queue>);

struct Queue {
    on: AtomicBool,
    sender: mpsc::Sender<LogEvent>,
    receiver: Mutex<Option<mpsc::Receiver<LogEvent>>>,
    left_out: AtomicU64,
}

impl LogEvents {
    pub(super) fn new() -> LogEvents {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_EVENTS);
        let receiver = Mutex::new(Some(receiver));
        LogEvents(Arc::new(Queue { on: AtomicBool::new(false), sender, receiver, left_out: AtomicU64::new(0) }))
    }

    /// Whether lines become events.
    pub fn enable(&self, on: bool) {
        self.0.on.store(on, Relaxed);
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.0.on.load(Relaxed)
    }

    pub(super) fn push(&self, event: LogEvent) {
        if self.0.sender.try_send(event).is_err() {
            self.0.left_out.fetch_add(1, Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        MAX_WAITING_EVENTS - self.0.sender.capacity()
    }

    /// Starts to emit what is in the queue; only once.
    pub fn deliver(&self, emitter: Emitter) -> Option<Delivery> {
        let receiver = self.0.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let stopper = Stopper::new();
        let courier = Courier { events: self.clone(), receiver, emitter, stop: stopper.listener() };
        // What is logged while a log event is handled never becomes one itself: that would have no end.
        let task = tokio::spawn(courier.run().instrument(scope(None, true)));
        Some(Delivery { events: self.clone(), stopper, task })
    }
}

/// The task that emits log events.
pub struct Delivery {
    events: LogEvents,
    stopper: Stopper,
    task: JoinHandle<()>,
}

impl Delivery {
    /// Takes no more log events, emits those that wait, and ends.
    pub async fn end(self) {
        self.events.enable(false);
        self.stopper.stop();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(LAST_EMITS, self.task).await.is_err() {
            abort.abort();
        }
    }
}

struct Courier {
    events: LogEvents,
    receiver: mpsc::Receiver<LogEvent>,
    emitter: Emitter,
    stop: Stop,
}

impl Courier {
    async fn run(mut self) {
        let mut events = Vec::new();
        loop {
            // The queue holds a sender, so it never ends by itself.
            let waited = self.stop.or(self.receiver.recv_many(&mut events, MAX_BATCH)).await;
            if waited.is_none() {
                while let Ok(event) = self.receiver.try_recv() {
                    events.push(event);
                }
            }
            self.emit(&mut events).await;
            if waited.is_none() {
                return;
            }
        }
    }

    async fn emit(&self, events: &mut Vec<LogEvent>) {
        let left_out = self.events.0.left_out.swap(0, Relaxed);
        if left_out > 0 {
            warn!("{left_out} log events were left out: more than {MAX_WAITING_EVENTS} were waiting");
        }
        for batch in batches(events) {
            match self.emitter.emit(batch).await {
                Ok(_) | Err(EmitError::Closed) => {}
                Err(e) => error!("failed to emit log events: {e}"),
            }
        }
        events.clear();
    }
}

/// Batches of neighbours with the same level.
fn batches(events: &[LogEvent]) -> Vec<Batch> {
    let runs = events.chunk_by(|a, b| a.level == b.level);
    let batch = |run: &[LogEvent]| {
        let mut builder = BatchBuilder::new();
        run.iter().for_each(|e| builder.push_with(e.time, |out| out.extend_from_slice(&e.record)));
        builder.finish(Tag::from(format!("fluent.{}", run[0].level).as_str()))
    };
    runs.map(batch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(level: &'static str) -> LogEvent {
        LogEvent { level, time: EventTime::from_secs(1), record: vec![0x80] }
    }

    #[test]
    fn neighbours_of_one_level_travel_together() {
        let got = batches(&[event("info"), event("info"), event("warn"), event("info")]);
        let shown: Vec<(&str, u32)> = got.iter().map(|b| (&*b.tag, b.len())).collect();
        assert_eq!(shown, [("fluent.info", 2), ("fluent.warn", 1), ("fluent.info", 1)]);
    }

    #[test]
    fn a_full_queue_counts_what_it_leaves_out() {
        let events = LogEvents::new();
        (0..MAX_WAITING_EVENTS + 3).for_each(|_| events.push(event("info")));
        assert_eq!(events.0.left_out.load(Relaxed), 3);
    }
}
