//! THE flush loop: chunks out of the buffer, to the target, and what follows from its answer. Retry is decided here alone.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tokio::task::{AbortHandle, JoinSet};
use tracing::{Instrument, error, info, warn};

use super::refused;
use super::retry::Next;
use super::sink::Sink;
use crate::buffer::{Apart, Buffer, Cause, Chunk, Fate, Refusal};
use crate::event::Tag;
use crate::plugin::{DynOutput, RefusedEvent, Settling, Stop, WriteError};

/// Starts the loops of a sink. They end once the buffer is closed and empty.
pub fn spawn(sink: &Arc<Sink>, closing: &Stop) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(buffer) = sink.buffer() {
        for _ in 0..sink.flush.threads {
            let flusher = Flusher { sink: sink.clone(), buffer: buffer.clone(), closing: closing.clone() };
            tasks.spawn(flusher.run());
        }
    }
    tasks
}

#[derive(Clone)]
struct Flusher {
    sink: Arc<Sink>,
    buffer: Buffer,
    closing: Stop,
}

/// What an attempt came to.
enum Attempt {
    /// The target has all of the chunk; what it still has to say, if anything.
    Delivered(Option<Settling>),
    Failed(String),
    Rejected {
        why: String,
        response: Option<String>,
    },
    /// Delivered but for these events.
    Partial(Vec<RefusedEvent>),
}

impl Flusher {
    async fn run(mut self) {
        // Chunks that are written and wait for the target's last word, while others are written.
        let mut settling = JoinSet::new();
        loop {
            self.wait_for_probe().await;
            let Some(chunk) = self.buffer.take().await else { break };
            if let Some(written) = self.flush(&chunk).instrument(self.sink.span()).await {
                let span = self.sink.span();
                settling.spawn(self.clone().settle(chunk, written).instrument(span));
            }
            while settling.try_join_next().is_some() {}
        }
        while settling.join_next().await.is_some() {}
    }

    /// A target that is down is tried with one chunk at a time, at growing pauses; not at shutdown.
    async fn wait_for_probe(&mut self) {
        if let Some(at) = self.sink.next_probe() {
            self.closing.or(tokio::time::sleep_until(at.into())).await;
        }
    }

    /// Gives what is still to be waited for.
    async fn flush(&self, chunk: &Arc<Chunk>) -> Option<Written> {
        let secondary = self.sink.wants_secondary(chunk.id(), now());
        let attempt = match (&self.sink.secondary, secondary) {
            (Some(secondary), true) => self.attempt(&secondary.output, chunk).await,
            _ => self.attempt(&self.sink.output, chunk).await,
        };
        match attempt {
            Attempt::Delivered(settling) => return self.written(chunk, settling, secondary),
            Attempt::Failed(why) => self.failed(chunk, &why, secondary),
            Attempt::Rejected { why, response } => return self.rejected(chunk, why, response, secondary).await,
            Attempt::Partial(events) => self.partial(chunk, &events, secondary).await,
        }
        None
    }

    fn written(&self, chunk: &Chunk, settling: Option<Settling>, secondary: bool) -> Option<Written> {
        let Some(settling) = settling else {
            self.delivered(chunk, secondary);
            return None;
        };
        self.buffer.written(chunk.id());
        Some(Written { settling, secondary })
    }

    /// Waits for what a target says last of a chunk that it has.
    async fn settle(self, chunk: Arc<Chunk>, Written { settling, secondary }: Written) {
        let answer = settling.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        match answer {
            Ok(()) => self.delivered(&chunk, secondary),
            Err(e) if self.buffer.is_durable() => self.failed(&chunk, &e.to_string(), secondary),
            Err(e) => self.lost(&chunk, &e),
        }
    }

    /// Sources that can read it again do so after a restart.
    fn lost(&self, chunk: &Chunk, why: &std::io::Error) {
        self.sink.stats.num_errors.fetch_add(1, Relaxed);
        self.sink.done(chunk.id(), false);
        error!(
            "chunk \"{}\" was written, but it may not be safe on disk, and a memory buffer holds it no longer. \
             records={} plugin_id=\"{}\" error={:?}",
            chunk.id(),
            chunk.count(),
            self.sink.id,
            why.to_string()
        );
        self.buffer.lose(chunk.id());
    }

    /// One write, in a task of its own so that a plugin's panic is a failed write and not the end of the loop.
    async fn attempt(&self, output: &Arc<dyn DynOutput>, chunk: &Arc<Chunk>) -> Attempt {
        let (target, copy) = (output.clone(), chunk.clone());
        let started = now();
        let write = async move {
            target.write(&copy).await?;
            Ok(target.settling(copy.id()))
        };
        let task = tokio::spawn(write.in_current_span());
        let _ended_with_us = AbortOnDrop(task.abort_handle());
        let result = task.await;
        self.note_time(started, chunk);
        match result {
            Ok(Ok(settling)) => Attempt::Delivered(settling),
            Ok(Err(WriteError::Retry(why))) => Attempt::Failed(why),
            Ok(Err(WriteError::Reject(why))) => Attempt::Rejected { why, response: None },
            Ok(Err(WriteError::Refused { why, response })) => Attempt::Rejected { why, response: Some(response) },
            Ok(Err(WriteError::Partial(events))) => Attempt::Partial(events),
            Err(e) => Attempt::Failed(format!("the output plugin failed: {e}")),
        }
    }

    fn note_time(&self, started: Instant, chunk: &Chunk) {
        let took = now().saturating_duration_since(started);
        let stats = &self.sink.stats;
        stats.flush_time_count.fetch_add(took.as_millis() as u64, Relaxed);
        if took >= self.sink.flush.slow_after {
            stats.slow_flush_count.fetch_add(1, Relaxed);
            warn!(
                "buffer flush took longer time than slow_flush_log_threshold: elapsed_time={:.3} \
                 slow_flush_log_threshold={:.1} plugin_id=\"{}\" chunk=\"{}\"",
                took.as_secs_f64(),
                self.sink.flush.slow_after.as_secs_f64(),
                self.sink.id,
                chunk.id()
            );
        }
    }

    fn delivered(&self, chunk: &Chunk, secondary: bool) {
        let stats = &self.sink.stats;
        stats.delivered_records.fetch_add(u64::from(chunk.count()), Relaxed);
        if secondary {
            stats.write_secondary_count.fetch_add(1, Relaxed);
        }
        stats.write_count.fetch_add(1, Relaxed);
        self.succeeded(chunk, !secondary);
        let committed = match secondary {
            true => self.buffer.commit_to_secondary(chunk.id()),
            false => self.buffer.commit(chunk.id()),
        };
        if let Err(e) = committed {
            error!("chunk \"{}\" was delivered but can't be removed from the buffer: {e}", chunk.id());
        }
    }

    /// A chunk is through: it needs no retry any more. `alive`: its target itself took it.
    fn succeeded(&self, chunk: &Chunk, alive: bool) {
        if self.sink.retry_view().chunks > 0 {
            info!("retry succeeded. plugin_id=\"{}\" chunk_id=\"{}\"", self.sink.id, chunk.id());
        }
        self.sink.done(chunk.id(), alive);
    }

    /// The target has taken all but some events. Those are kept first; only then is the chunk forgotten.
    async fn partial(&self, chunk: &Arc<Chunk>, events: &[RefusedEvent], secondary: bool) {
        let (stats, id) = (&self.sink.stats, chunk.id());
        stats.num_errors.fetch_add(1, Relaxed);
        let count = events.len() as u64;
        let first = events.first().map_or("", |event| event.answer.as_str());
        error!(
            "got unrecoverable error for some events. records={count} of={} chunk=\"{id}\" plugin_id=\"{}\" error={first:?}",
            chunk.count(),
            self.sink.id
        );
        let (fate, kept) = match self.part_with(chunk, events, secondary).await {
            Ok(done) => done,
            Err(e) => return self.failed(chunk, &format!("refused events can't be set aside: {e}"), secondary),
        };
        let rest = u64::from(chunk.count()).saturating_sub(count);
        let refused = if fate == Fate::Secondary { &stats.delivered_records } else { &stats.set_aside_records };
        refused.fetch_add(count, Relaxed);
        stats.delivered_records.fetch_add(rest, Relaxed);
        stats.write_count.fetch_add(1, Relaxed);
        self.succeeded(chunk, true);
        if let Err(e) = self.buffer.commit_without(id, Apart { fate, events: kept }) {
            error!("chunk \"{id}\" was delivered but can't be removed from the buffer: {e}");
        }
    }

    /// Gives refused events to the secondary, sets them aside, or drops them, as the configuration says. Gives what became of
    /// them, and how many there were of each tag.
    async fn part_with(
        &self,
        chunk: &Arc<Chunk>,
        events: &[RefusedEvent],
        secondary: bool,
    ) -> std::io::Result<(Fate, Vec<(Tag, u64)>)> {
        let parts = refused::parts(chunk, events)?;
        let tags = parts.iter().map(|part| (part.batch.tag.clone(), u64::from(part.batch.len()))).collect();
        if let (Some(other), false) = (&self.sink.secondary, secondary) {
            let mut taken = true;
            for part in &parts {
                let piece = Arc::new(Chunk::of(chunk.key().clone(), &part.batch).with_id(part.id(chunk.id())));
                taken &= match self.attempt(&other.output, &piece).await {
                    Attempt::Delivered(None) => true,
                    Attempt::Delivered(Some(settling)) => matches!(settling.await, Ok(Ok(()))),
                    Attempt::Failed(_) | Attempt::Rejected { .. } | Attempt::Partial(_) => false,
                };
            }
            if taken {
                return Ok((Fate::Secondary, tags));
            }
        }
        if self.sink.flush.drop_given_up {
            warn!(
                "disable_chunk_backup is set: {} refused records of chunk \"{}\" are dropped",
                events.len(),
                chunk.id()
            );
            return Ok((Fate::Discarded, tags));
        }
        for part in parts {
            let path = self.buffer.keep_aside(&part.batch, &part.origin(chunk.id()), part.refusal()).await?;
            warn!(
                "{} refused events of chunk \"{}\" are set aside in {}",
                part.batch.len(),
                chunk.id(),
                path.display()
            );
        }
        Ok((Fate::SetAside(Cause::Rejected), tags))
    }

    fn failed(&self, chunk: &Chunk, why: &str, secondary: bool) {
        let (stats, id) = (&self.sink.stats, chunk.id());
        stats.num_errors.fetch_add(1, Relaxed);
        stats.rollback_count.fetch_add(1, Relaxed);
        if self.closing.is_stopped() {
            return self.failed_while_closing(chunk, why);
        }
        let (next, times) = self.sink.failed(id, now(), random());
        let plugin = &self.sink.id;
        match next {
            Next::At(at) => {
                let seconds = at.saturating_duration_since(now()).as_secs_f64();
                let to = if secondary { " with secondary output" } else { "" };
                warn!(
                    "failed to flush the buffer{to}. retry_times={times} next_retry_in={seconds:.1}s \
                     chunk=\"{id}\" plugin_id=\"{plugin}\" error={why:?}"
                );
                self.buffer.give_back(id, at);
            }
            Next::GiveUp => {
                error!(
                    "Hit limit for retries. retry_times={times} records={} chunk=\"{id}\" plugin_id=\"{plugin}\" error={why:?}",
                    chunk.count()
                );
                self.give_up(chunk, Refusal::new(Cause::RetryLimit, format!("hit limit for retries: {why}")));
            }
        }
    }

    /// At shutdown each chunk is tried once more. What is on disk stays there; what is only in memory is set aside.
    fn failed_while_closing(&self, chunk: &Chunk, why: &str) {
        warn!(
            "failed to flush the buffer at shutdown. chunk=\"{}\" plugin_id=\"{}\" error={why:?}",
            chunk.id(),
            self.sink.id
        );
        if self.buffer.is_durable() {
            self.buffer.give_back(chunk.id(), now());
        } else {
            self.give_up(chunk, Refusal::new(Cause::Shutdown, format!("not delivered before shutdown: {why}")));
        }
    }

    async fn rejected(
        &self,
        chunk: &Arc<Chunk>,
        why: String,
        response: Option<String>,
        secondary: bool,
    ) -> Option<Written> {
        self.sink.stats.num_errors.fetch_add(1, Relaxed);
        let id = chunk.id();
        if let (Some(other), false) = (&self.sink.secondary, secondary) {
            warn!("got unrecoverable error in primary and retry by secondary: chunk=\"{id}\" error={why:?}");
            if let Attempt::Delivered(settling) = self.attempt(&other.output, chunk).await {
                return self.written(chunk, settling, true);
            }
        }
        error!(
            "got unrecoverable error. records={} chunk=\"{id}\" plugin_id=\"{}\" error={why:?}",
            chunk.count(),
            self.sink.id
        );
        self.give_up(chunk, Refusal { cause: Cause::Rejected, reason: format!("unrecoverable: {why}"), response });
        None
    }

    fn give_up(&self, chunk: &Chunk, refusal: Refusal) {
        self.sink.done(chunk.id(), false);
        self.sink.stats.set_aside_records.fetch_add(u64::from(chunk.count()), Relaxed);
        if self.sink.flush.drop_given_up {
            warn!("disable_chunk_backup is set: chunk \"{}\" with {} records is dropped", chunk.id(), chunk.count());
            self.buffer.discard(chunk.id(), &refusal.reason);
        } else {
            self.buffer.set_aside(chunk.id(), refusal);
        }
    }
}

/// A chunk that a target has, and whose last word is awaited.
struct Written {
    settling: Settling,
    secondary: bool,
}

/// Ends a task with whoever waits for it.
pub struct AbortOnDrop(pub AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The time, on the runtime's clock: a simulation lets it go as it likes.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A number in 0..1 for the random share of waits.
fn random() -> f64 {
    // Without randomness the waits are merely in step; that is no reason to fail.
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}
