//! An output with everything around it: its buffer, its secondary, its retry states, its counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::books::Books;
use super::graph::Source;
use super::retry::{Next, RetryPolicy, RetryState};
use crate::buffer::{
    Buffer, BufferConfig, BufferError, Cause, Chunk, ChunkId, Fate, Origin, Oversize, Receipt, Refusal,
};
use crate::config::Section;
use crate::event::Batch;
use crate::plugin::{DynOutput, EmitError, WriteError, scope};

/// Failed chunks in a row, all different, after which a target counts as down and is only probed.
const DOWN_AFTER_FAILURES: u32 = 3;
/// Longest pause between probes of a target that is down.
const LONGEST_PROBE_PAUSE: Duration = Duration::from_secs(60);

/// What an output has done; the names are Fluentd's.
#[derive(Debug, Default)]
pub struct SinkStats {
    pub emit_records: AtomicU64,
    pub emit_count: AtomicU64,
    pub emit_size: AtomicU64,
    pub write_count: AtomicU64,
    pub write_secondary_count: AtomicU64,
    pub rollback_count: AtomicU64,
    pub num_errors: AtomicU64,
    pub slow_flush_count: AtomicU64,
    pub flush_time_count: AtomicU64,
    pub delivered_records: AtomicU64,
    pub set_aside_records: AtomicU64,
}

/// Streams whose last receipt is kept, where the buffer lives in memory.
const MAX_RECENT: usize = 10_000;

/// How an output is flushed.
#[derive(Clone, Debug, PartialEq)]
pub struct FlushParams {
    /// Writes at once.
    pub threads: usize,
    /// A write that takes longer is warned of.
    pub slow_after: Duration,
    /// Chunks that are given up are dropped instead of being set aside.
    pub drop_given_up: bool,
}

/// The output of a `<secondary>` section.
pub struct Secondary {
    /// The plugin.
    pub output: Arc<dyn DynOutput>,
}

/// An output of the graph.
pub struct Sink {
    /// `@id`, or one made up.
    pub id: String,
    /// The same, for the ledger.
    pub name: Arc<str>,
    /// `@type`
    pub kind: String,
    /// Its section, to tell at a reload whether it changed.
    pub section: Section,
    /// The plugin.
    pub output: Arc<dyn DynOutput>,
    /// How it is buffered; not at all for an output that writes as events come.
    pub buffered: Option<BufferConfig>,
    buffer: OnceLock<Buffer>,
    /// Where chunks go that the output does not take.
    pub secondary: Option<Secondary>,
    /// The retry schedule.
    pub retry: RetryPolicy,
    /// How it is flushed.
    pub flush: FlushParams,
    /// Counts.
    pub stats: SinkStats,
    /// The label that an output which gives events out again gives them to; none is the top level.
    pub emits_to: Option<String>,
    retries: Mutex<Retries>,
    /// The last receipt of each stream in a memory buffer: whoever comes again with the same batch waits for it too.
    recent: Mutex<HashMap<Arc<str>, Receipt>>,
    silent: AtomicBool,
}

#[derive(Default)]
struct Retries {
    by_chunk: HashMap<ChunkId, RetryState>,
    in_a_row: u32,
    next_probe: Option<Instant>,
}

/// The retry state as monitor_agent shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryView {
    /// Most retries of any chunk.
    pub times: u32,
    /// Chunks that wait for a retry.
    pub chunks: usize,
}

impl Sink {
    /// An output that is not running yet.
    pub fn new(
        id: String,
        section: Section,
        output: Arc<dyn DynOutput>,
        flush: FlushParams,
        retry: RetryPolicy,
    ) -> Sink {
        let kind = section.plugin_type().unwrap_or_default().to_owned();
        Sink {
            name: id.as_str().into(),
            id,
            kind,
            section,
            output,
            buffered: None,
            buffer: OnceLock::new(),
            secondary: None,
            retry,
            flush,
            stats: SinkStats::default(),
            emits_to: None,
            retries: Mutex::default(),
            recent: Mutex::default(),
            silent: AtomicBool::new(false),
        }
    }

    /// Whether events of suiro's own log come here: then what is said about this sink never becomes one.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Relaxed);
    }

    /// The span that its work runs in.
    pub fn span(&self) -> tracing::Span {
        scope(self.section.log_level(), self.silent.load(Relaxed))
    }

    /// Takes a batch: into the buffer, or straight to the target.
    pub async fn take_in(&self, batch: &Batch, from: &Source, books: &Books) -> Result<Receipt, EmitError> {
        let receipt = match (&self.buffered, self.buffer.get()) {
            (_, Some(buffer)) => self.store(buffer, batch, from, books).await?,
            (None, None) => {
                let receipt = self.write_direct(batch).await?;
                books.book(Some(&self.name), &from.input, &batch.tag, Fate::Delivered, u64::from(batch.len()));
                receipt
            }
            (Some(_), None) => return Err(EmitError::Closed),
        };
        self.stats.emit_count.fetch_add(1, Relaxed);
        self.stats.emit_records.fetch_add(u64::from(batch.len()), Relaxed);
        self.stats.emit_size.fetch_add(batch.bytes().len() as u64, Relaxed);
        Ok(receipt)
    }

    /// Whether the buffer has what came from there.
    pub fn has(&self, origin: &Origin) -> bool {
        self.buffer.get().is_some_and(|buffer| buffer.has(origin))
    }

    /// Stores a batch in the buffer. One that is known there from before is not stored again: a batch that only some of
    /// several stores took comes again for the others.
    async fn store(&self, buffer: &Buffer, batch: &Batch, from: &Source, books: &Books) -> Result<Receipt, EmitError> {
        let Source { origin, input, until } = from;
        if buffer.has(origin) {
            return Ok(self.recent_receipt(origin));
        }
        match buffer.append_from(batch, origin, input, *until).await {
            Ok(receipt) => {
                self.keep_receipt(origin, &receipt);
                Ok(receipt)
            }
            Err(BufferError::Oversize(over)) => {
                self.keep_oversize(buffer, &over, origin).await?;
                let refused = u64::from(over.refused.len());
                books.book(Some(&self.name), input, &batch.tag, Fate::SetAside(Cause::Oversize), refused);
                if over.rest.is_empty() {
                    return Ok(Receipt::durable());
                }
                buffer.append_from(&over.rest, origin, input, *until).await.map_err(|e| emit_error(&e))
            }
            Err(e) => Err(emit_error(&e)),
        }
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<Arc<str>, Receipt>> {
        // Every change under the lock is whole by itself.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_receipt(&self, origin: &Origin, receipt: &Receipt) {
        let Origin::Stream { stream, .. } = origin else { return };
        if receipt.is_durable() {
            return;
        }
        let mut recent = self.recent();
        if recent.len() >= MAX_RECENT {
            recent.retain(|_, receipt| !receipt.is_delivered());
        }
        if recent.len() < MAX_RECENT || recent.contains_key(stream) {
            recent.insert(stream.clone(), receipt.clone());
        }
    }

    fn recent_receipt(&self, origin: &Origin) -> Receipt {
        let receipt = match origin {
            Origin::Stream { stream, .. } => self.recent().get(stream).cloned(),
            _ => None,
        };
        receipt.unwrap_or_else(Receipt::durable)
    }

    /// Events larger than a chunk become a dead letter before the rest is stored.
    async fn keep_oversize(&self, buffer: &Buffer, over: &Oversize, origin: &Origin) -> Result<(), EmitError> {
        let (events, limit) = (over.refused.len(), over.limit);
        let reason =
            format!("{events} events of up to {} bytes are larger than the limit of {limit} bytes", over.bytes);
        let kept = buffer.keep_aside(&over.refused, origin, Refusal::new(Cause::Oversize, reason)).await;
        let path = kept.map_err(|e| EmitError::Full(format!("events that are too large can't be set aside: {e}")))?;
        self.stats.set_aside_records.fetch_add(u64::from(events), Relaxed);
        let id = &self.id;
        tracing::error!(
            "plugin_id=\"{id}\": {events} events are larger than the chunk limit of {limit} bytes and are set aside in {}",
            path.display()
        );
        Ok(())
    }

    /// The buffer, once it is open.
    pub fn buffer(&self) -> Option<&Buffer> {
        self.buffer.get()
    }

    /// Gives the sink its open buffer; a second one is not taken.
    pub fn set_buffer(&self, buffer: Buffer) {
        let _ = self.buffer.set(buffer);
    }

    async fn write_direct(&self, batch: &Batch) -> Result<Receipt, EmitError> {
        let chunk = Chunk::direct(batch);
        let mut outcome = self.output.write(&chunk).await;
        if let (Ok(()), Some(settling)) = (&outcome, self.output.settling(chunk.id())) {
            outcome = settling.await.map_err(std::io::Error::other).flatten().map_err(WriteError::from);
        }
        match outcome {
            Ok(()) => {
                self.stats.write_count.fetch_add(1, Relaxed);
                self.stats.delivered_records.fetch_add(u64::from(batch.len()), Relaxed);
                Ok(Receipt::durable())
            }
            Err(WriteError::Retry(why)) => Err(EmitError::Full(why)),
            Err(refused) => Err(EmitError::Refused(refused.to_string())),
        }
    }

    fn retries(&self) -> MutexGuard<'_, Retries> {
        // Every change under the lock is whole by itself; a panic elsewhere leaves nothing half done.
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this chunk is to go to the secondary now.
    pub fn wants_secondary(&self, id: ChunkId, now: Instant) -> bool {
        self.secondary.is_some()
            && self.retries().by_chunk.get(&id).is_some_and(|state| self.retry.is_secondary(state, now))
    }

    /// Counts a failure of a chunk; gives what comes next and the number of retries before this failure.
    pub fn failed(&self, id: ChunkId, now: Instant, random: f64) -> (Next, u32) {
        let mut retries = self.retries();
        let first = !retries.by_chunk.contains_key(&id);
        let state = retries.by_chunk.entry(id).or_insert_with(|| RetryState::new(now));
        let times = state.times;
        let next = self.retry.failed(state, now, random);
        if next == Next::GiveUp {
            retries.by_chunk.remove(&id);
        }
        if first || retries.in_a_row >= DOWN_AFTER_FAILURES {
            retries.in_a_row = retries.in_a_row.saturating_add(1);
        }
        if retries.in_a_row >= DOWN_AFTER_FAILURES {
            let doublings = (retries.in_a_row - DOWN_AFTER_FAILURES).min(16);
            let pause = self.retry.wait.saturating_mul(1 << doublings);
            let longest = self.retry.max_interval.unwrap_or(LONGEST_PROBE_PAUSE).min(LONGEST_PROBE_PAUSE);
            retries.next_probe = Some(now + pause.min(longest));
        }
        (next, times)
    }

    /// Forgets a chunk's failures. `alive` says that the target itself took it.
    pub fn done(&self, id: ChunkId, alive: bool) {
        let mut retries = self.retries();
        retries.by_chunk.remove(&id);
        if alive {
            retries.in_a_row = 0;
            retries.next_probe = None;
        }
    }

    /// While the target is down: when it may be probed next.
    pub fn next_probe(&self) -> Option<Instant> {
        self.retries().next_probe
    }

    /// The retry state as monitor_agent shows it.
    pub fn retry_view(&self) -> RetryView {
        let retries = self.retries();
        RetryView {
            times: retries.by_chunk.values().map(|s| s.times).max().unwrap_or(0),
            chunks: retries.by_chunk.len(),
        }
    }
}

fn emit_error(e: &BufferError) -> EmitError {
    match e {
        BufferError::Closed => EmitError::Closed,
        e if e.may_pass() => EmitError::Full(e.to_string()),
        e => EmitError::Refused(e.to_string()),
    }
}
