//! What the buffer's owner and its callers share: room, the queue, the chunks on their way, and who waits for what.
//!
//! One short lock, never held over an await or over I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tracing::{error, warn};

use super::chunk::Chunk;
use super::config::{AHEAD_PATIENCE, BufferConfig, BufferKind, MAX_AHEAD_BYTES, MAX_PENDING_BYTES, Overflow};
use super::env::Env;
use super::error::BufferError;
use super::id::ChunkId;
use super::ledger::Ledger;
use super::origin::Origins;

/// Longest sleep of a [`take`](super::Buffer::take) before it looks at the clock on the wall again.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// Pause before a chunk is tried again that could not be set aside.
const ASIDE_RETRY: Duration = Duration::from_secs(60);

/// Shared between the owner and the callers of a buffer.
pub(super) struct Shared {
    pub(super) config: BufferConfig,
    pub(super) env: Env,
    limit: u64,
    core: Mutex<Core>,
    /// Something that a take waits for has changed.
    pub(super) changed: Notify,
    /// The queue is shorter, or its output has failed.
    eased: Notify,
    pub(super) known: Known,
    pub(super) counts: Counts,
}

/// What a buffer remembers of all that went through it.
#[derive(Default)]
pub(super) struct Known {
    origins: Mutex<Origins>,
    ledger: Mutex<Ledger>,
}

impl Known {
    pub(super) fn origins(&self) -> MutexGuard<'_, Origins> {
        // Nothing that runs under the lock can panic half way through a change.
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has happened since the buffer was opened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) refused: AtomicU64,
    pub(super) dropped_chunks: AtomicU64,
    pub(super) dropped_events: AtomicU64,
    pub(super) discarded_chunks: AtomicU64,
    pub(super) discarded_events: AtomicU64,
    pub(super) aside_chunks: AtomicU64,
    pub(super) aside_events: AtomicU64,
    pub(super) damaged: Arc<AtomicU64>,
}

#[derive(Default)]
struct Core {
    /// Bytes of stage, queue, chunks on their way and reserved appends.
    used: u64,
    /// Bytes of reserved appends.
    pending: u64,
    waiters: VecDeque<Waiter>,
    stage: Level,
    queue_bytes: u64,
    /// Someone waited in vain for the queue to get shorter.
    stuck: bool,
    next_turn: u64,
    queue: BTreeMap<u64, Arc<Chunk>>,
    delayed: BTreeMap<(Instant, u64), Arc<Chunk>>,
    taken: HashMap<ChunkId, (u64, Arc<Chunk>)>,
    timekeys: BTreeMap<i64, usize>,
    due: Due,
    seal_asked: bool,
    phase: Phase,
    /// Given back after closing: kept, but not handed out again.
    kept: Vec<Arc<Chunk>>,
}

/// Staged chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) chunks: usize,
    pub(super) bytes: u64,
}

/// When the next staged chunk is to be queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// For its age.
    pub(super) age: Option<Instant>,
    /// For its time slice, in microseconds since the epoch.
    pub(super) slice: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
enum Phase {
    #[default]
    Open,
    /// Takes nothing more; the owner still queues what is staged.
    Closing,
    /// What is queued is handed out.
    Draining,
    /// Nothing is handed out any more.
    Closed,
}

struct Waiter {
    bytes: u64,
    grant: oneshot::Sender<Reservation>,
}

/// Room for an append: given back when dropped, unless the append was stored.
pub(super) struct Reservation {
    shared: Arc<Shared>,
    pub(super) bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.shared.release(self.bytes);
        }
    }
}

/// What a look at the queue gave.
pub(super) enum Taken {
    Chunk(Arc<Chunk>),
    /// Staged chunks are due: ask the owner to queue them.
    SealDue,
    /// Nothing yet; look again then at the latest.
    Wait(Duration),
    Ended,
}

/// How an append stands.
pub(super) enum Room {
    Granted(Reservation),
    InLine(oneshot::Receiver<Reservation>),
    /// The oldest chunks went to make room; their owner must forget them. Then ask again.
    Dropped(Vec<Arc<Chunk>>),
}

impl Core {
    fn has_room(&self, limit: u64) -> bool {
        self.used < limit
    }

    /// Whether the disk is not too far behind for `bytes` more.
    fn has_turn(&self, bytes: u64) -> bool {
        self.pending == 0 || self.pending.saturating_add(bytes) <= MAX_PENDING_BYTES
    }

    fn reserve(&mut self, shared: &Arc<Shared>, bytes: u64) -> Reservation {
        self.used += bytes;
        self.pending += bytes;
        Reservation { shared: shared.clone(), bytes }
    }

    fn free(&mut self, bytes: u64) {
        debug_assert!(self.used >= bytes);
        self.used = self.used.saturating_sub(bytes);
    }

    fn forget_timekey(&mut self, time: Option<i64>) {
        if let Some(time) = time
            && let Some(count) = self.timekeys.get_mut(&time)
        {
            *count -= 1;
            if *count == 0 {
                self.timekeys.remove(&time);
            }
        }
    }

    /// The oldest chunk that no one is delivering.
    fn pop_oldest(&mut self) -> Option<Arc<Chunk>> {
        let queued = self.queue.keys().next().copied();
        let delayed = self.delayed.keys().min_by_key(|(_, turn)| *turn).copied();
        match (queued, delayed) {
            (Some(q), Some((_, d))) if q < d => self.queue.remove(&q),
            (_, Some(key)) => self.delayed.remove(&key),
            (Some(q), None) => self.queue.remove(&q),
            (None, None) => None,
        }
    }

    fn waiting(&self) -> usize {
        self.queue.len() + self.delayed.len()
    }
}

impl Shared {
    pub(super) fn new(config: BufferConfig, env: Env) -> Shared {
        Shared {
            limit: config.total_limit(),
            config,
            env,
            core: Mutex::default(),
            changed: Notify::new(),
            eased: Notify::new(),
            known: Known::default(),
            counts: Counts::default(),
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // Nothing that runs under the lock can panic half way through a change.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn origins(&self) -> MutexGuard<'_, Origins> {
        self.known.origins()
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.known.ledger()
    }

    /// Asks for room for `bytes`.
    pub(super) fn room(self: &Arc<Shared>, bytes: u64) -> Result<Room, BufferError> {
        let mut core = self.core();
        if core.phase != Phase::Open {
            return Err(BufferError::Closed);
        }
        let room = core.has_room(self.limit);
        if room && core.waiters.is_empty() && core.has_turn(bytes) {
            return Ok(Room::Granted(core.reserve(self, bytes)));
        }
        match self.config.overflow {
            Overflow::ThrowException if !room => Err(self.full(&core)),
            Overflow::DropOldestChunk if !room => self.drop_oldest(&mut core),
            _ => {
                let (grant, granted) = oneshot::channel();
                core.waiters.push_back(Waiter { bytes, grant });
                Ok(Room::InLine(granted))
            }
        }
    }

    /// Forgets who waits in line no more; gives the reason that they may say.
    pub(super) fn leave_line(self: &Arc<Shared>) -> BufferError {
        let mut core = self.core();
        core.waiters.retain(|waiter| !waiter.grant.is_closed());
        self.grant(&mut core);
        self.full(&core)
    }

    /// Lets the output of a memory buffer catch up with a source that reads faster than it: what waits in the source's own
    /// files needs no memory here. Ends at once where the output fails, and where it took nothing for a while: then the
    /// buffer fills up to its limit, and no one waits until the next chunk is gone.
    pub(super) async fn let_output_catch_up(&self) {
        let deadline = tokio::time::Instant::now() + AHEAD_PATIENCE;
        loop {
            let eased = self.eased.notified();
            tokio::pin!(eased);
            eased.as_mut().enable();
            if !self.is_ahead() {
                return;
            }
            if tokio::time::timeout_at(deadline, eased).await.is_err() {
                self.core().stuck = true;
                return;
            }
        }
    }

    fn is_ahead(&self) -> bool {
        if self.config.kind != BufferKind::Memory {
            return false;
        }
        let most = MAX_AHEAD_BYTES.max(self.config.chunk_limit_size.saturating_mul(2));
        let core = self.core();
        core.queue_bytes > most && !core.stuck && core.delayed.is_empty() && core.phase == Phase::Open
    }

    fn full(&self, core: &Core) -> BufferError {
        self.counts.refused.fetch_add(1, Relaxed);
        BufferError::Full { used: core.used, limit: self.limit }
    }

    fn drop_oldest(&self, core: &mut Core) -> Result<Room, BufferError> {
        let mut dropped = Vec::new();
        while !core.has_room(self.limit) {
            let Some(chunk) = core.pop_oldest() else { break };
            core.free(chunk.bytes);
            core.queue_bytes -= chunk.bytes;
            core.forget_timekey(chunk.key.time);
            self.counts.dropped_chunks.fetch_add(1, Relaxed);
            self.counts.dropped_events.fetch_add(chunk.count, Relaxed);
            dropped.push(chunk);
        }
        if dropped.is_empty() { Err(self.full(core)) } else { Ok(Room::Dropped(dropped)) }
    }

    fn release(self: &Arc<Shared>, bytes: u64) {
        let mut core = self.core();
        core.free(bytes);
        core.pending -= bytes;
        self.grant(&mut core);
        self.wake_closing(&core);
    }

    /// Serves those who wait for room, first come first.
    fn grant(self: &Arc<Shared>, core: &mut Core) {
        while let Some(first) = core.waiters.front()
            && (first.grant.is_closed() || core.has_room(self.limit) && core.has_turn(first.bytes))
            && let Some(waiter) = core.waiters.pop_front()
        {
            if waiter.grant.is_closed() {
                continue;
            }
            let reservation = core.reserve(self, waiter.bytes);
            if let Err(mut unwanted) = waiter.grant.send(reservation) {
                // Dropping it would take the lock that is held here.
                let bytes = std::mem::take(&mut unwanted.bytes);
                core.free(bytes);
                core.pending -= bytes;
            }
        }
    }

    /// The appends of a group are stored: their room is now the stage's. `new` are the time slices of new chunks.
    pub(super) fn stored(self: &Arc<Shared>, reservations: &mut [&mut Reservation], new: &[Option<i64>]) {
        let mut core = self.core();
        for reservation in reservations {
            let bytes = std::mem::take(&mut reservation.bytes);
            core.pending -= bytes;
            core.stage.bytes += bytes;
        }
        for time in new.iter().flatten() {
            *core.timekeys.entry(*time).or_default() += 1;
        }
        core.stage.chunks += new.len();
        self.grant(&mut core);
        self.wake_closing(&core);
    }

    /// Takes account of a chunk that an earlier run has staged.
    pub(super) fn resumed(&self, bytes: u64, time: Option<i64>) {
        let mut core = self.core();
        core.used += bytes;
        core.stage.bytes += bytes;
        core.stage.chunks += 1;
        if let Some(time) = time {
            *core.timekeys.entry(time).or_default() += 1;
        }
    }

    /// Takes a chunk into the queue: one that was staged, or one that an earlier run has queued.
    pub(super) fn enqueue(&self, chunk: Arc<Chunk>, was_staged: bool) {
        let mut core = self.core();
        if was_staged {
            core.stage.bytes -= chunk.bytes;
            core.stage.chunks -= 1;
        } else {
            core.used += chunk.bytes;
            if let Some(time) = chunk.key.time {
                *core.timekeys.entry(time).or_default() += 1;
            }
        }
        core.queue_bytes += chunk.bytes;
        let turn = core.next_turn;
        core.next_turn += 1;
        core.queue.insert(turn, chunk);
        drop(core);
        self.changed.notify_one();
    }

    /// Tells when the next staged chunk is due; `looked` answers a [`Taken::SealDue`].
    pub(super) fn set_due(&self, due: Due, looked: bool) {
        let mut core = self.core();
        let news = core.due != due || looked;
        core.due = due;
        core.seal_asked &= !looked;
        drop(core);
        if news {
            self.changed.notify_one();
        }
    }

    /// How many chunks may be queued for their age.
    pub(super) fn queue_room(&self) -> usize {
        let limit = self.config.queued_chunks_limit_size.unwrap_or(usize::MAX);
        limit.max(1).saturating_sub(self.core().waiting())
    }

    fn is_long(&self, core: &Core) -> bool {
        self.config.queued_chunks_limit_size.is_some_and(|limit| core.waiting() >= limit.max(1))
    }

    /// The oldest chunk that may be delivered now.
    pub(super) fn try_take(&self) -> Taken {
        let now = self.env.clock.now();
        let mut core = self.core();
        if core.phase == Phase::Closed {
            return Taken::Ended;
        }
        if !core.seal_asked && !self.is_long(&core) && self.is_due(core.due, now) {
            core.seal_asked = true;
            return Taken::SealDue;
        }
        while let Some(entry) = core.delayed.first_entry()
            && entry.key().0 <= now
        {
            let ((_, turn), chunk) = entry.remove_entry();
            core.queue.insert(turn, chunk);
        }
        if let Some((turn, chunk)) = core.queue.pop_first() {
            core.taken.insert(chunk.id, (turn, chunk.clone()));
            let more = !core.queue.is_empty();
            drop(core);
            if more {
                self.changed.notify_one();
            }
            return Taken::Chunk(chunk);
        }
        if core.phase == Phase::Draining && core.pending == 0 {
            return Taken::Ended;
        }
        Taken::Wait(self.sleep(&core, now))
    }

    fn is_due(&self, due: Due, now: Instant) -> bool {
        due.age.is_some_and(|at| at <= now) || due.slice.is_some_and(|at| at <= self.env.clock.wall_micros())
    }

    fn sleep(&self, core: &Core, now: Instant) -> Duration {
        let delayed = core.delayed.keys().next().map(|(at, _)| *at);
        let age = core.due.age.filter(|_| !core.seal_asked && !self.is_long(core));
        let slice = core.due.slice.map(|at| {
            let left = at.saturating_sub(self.env.clock.wall_micros());
            now + Duration::from_micros(left.max(1000) as u64)
        });
        let first = [delayed, age, slice].into_iter().flatten().min();
        first.map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(now).min(LONGEST_SLEEP))
    }

    /// A chunk that is on its way and about to be forgotten or set aside; nobody else gets it.
    pub(super) fn claim(&self, id: ChunkId) -> Option<Arc<Chunk>> {
        self.core().taken.remove(&id).map(|(_, chunk)| chunk)
    }

    /// The target has all of a chunk that is on its way: a memory buffer gives its bytes up.
    pub(super) fn give_up(self: &Arc<Shared>, id: ChunkId) {
        let mut core = self.core();
        let Some((_, chunk)) = core.taken.get(&id) else { return };
        if !chunk.give_up() {
            return;
        }
        let bytes = chunk.bytes;
        core.free(bytes);
        core.queue_bytes -= bytes;
        core.stuck = false;
        self.grant(&mut core);
        drop(core);
        self.eased.notify_waiters();
    }

    /// Puts a chunk that is on its way back in line.
    pub(super) fn give_back(&self, id: ChunkId, not_before: Instant) {
        let mut core = self.core();
        let Some((turn, chunk)) = core.taken.remove(&id) else { return };
        if core.phase >= Phase::Closing {
            core.kept.push(chunk);
        } else {
            core.delayed.insert((not_before, turn), chunk);
        }
        drop(core);
        self.eased.notify_waiters();
        self.changed.notify_one();
    }

    /// Puts back a chunk that [`claim`](Self::claim) gave out.
    pub(super) fn unclaim(&self, chunk: Arc<Chunk>, not_before: Instant) {
        let mut core = self.core();
        let turn = core.next_turn;
        core.next_turn += 1;
        core.taken.insert(chunk.id, (turn, chunk.clone()));
        drop(core);
        self.give_back(chunk.id, not_before);
    }

    /// A claimed chunk is gone: its room is free.
    pub(super) fn forget(self: &Arc<Shared>, chunk: &Chunk) {
        let mut core = self.core();
        core.forget_timekey(chunk.key.time);
        if !chunk.is_given_up() {
            core.free(chunk.bytes);
            core.queue_bytes -= chunk.bytes;
        }
        core.stuck = false;
        self.grant(&mut core);
        drop(core);
        self.eased.notify_waiters();
    }

    /// Takes account of a setting aside; gives whether the chunk is to be forgotten. If it failed, the chunk comes again.
    pub(super) fn set_aside(&self, chunk: &Arc<Chunk>, result: io::Result<()>) -> bool {
        let id = &self.config.id;
        let place = self.config.backup_dir.display();
        match result {
            Ok(()) => {
                self.counts.aside_chunks.fetch_add(1, Relaxed);
                self.counts.aside_events.fetch_add(chunk.count, Relaxed);
                warn!("{id}: chunk {} with {} events was set aside in {place}", chunk.id, chunk.count);
                true
            }
            Err(e) => {
                error!("{id}: chunk {} can't be set aside in {place} and stays in the buffer: {e}", chunk.id);
                self.unclaim(chunk.clone(), self.env.clock.now() + ASIDE_RETRY);
                false
            }
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        let mut core = self.core();
        if core.phase == Phase::Open {
            core.phase = Phase::Closing;
        }
        // Dropping the grants tells those who wait.
        core.waiters.clear();
    }

    /// The owner has done its part of closing. `drain`: what is queued is handed out, each chunk once more at most.
    pub(super) fn closed(&self, drain: bool) {
        let mut core = self.core();
        let phase = if drain { Phase::Draining } else { Phase::Closed };
        if core.phase < phase {
            core.phase = phase;
        }
        let delayed = std::mem::take(&mut core.delayed);
        core.queue.extend(delayed.into_iter().map(|((_, turn), chunk)| (turn, chunk)));
        core.due = Due::default();
        drop(core);
        self.changed.notify_waiters();
    }

    /// Nothing is handed out any more. Gives the chunks that are left, staged ones aside.
    pub(super) fn end(&self) -> Vec<Arc<Chunk>> {
        let mut core = self.core();
        core.phase = Phase::Closed;
        core.waiters.clear();
        let mut left: Vec<Arc<Chunk>> = std::mem::take(&mut core.kept);
        left.extend(core.queue.values().chain(core.delayed.values()).cloned());
        left.extend(core.taken.values().map(|(_, chunk)| chunk.clone()));
        drop(core);
        self.changed.notify_waiters();
        left
    }

    fn wake_closing(&self, core: &Core) {
        if core.phase == Phase::Draining && core.pending == 0 {
            self.changed.notify_waiters();
        }
    }

    pub(super) fn stats(&self) -> BufferStats {
        let core = self.core();
        let count = |n: &AtomicU64| n.load(Relaxed);
        let free = 1.0 - core.used as f64 / self.limit.max(1) as f64;
        BufferStats {
            stage_length: core.stage.chunks,
            stage_bytes: core.stage.bytes,
            queue_length: core.waiting() + core.kept.len(),
            queue_bytes: core.queue_bytes,
            in_flight: core.taken.len(),
            total_bytes: core.used,
            total_limit: self.limit,
            available_ratio: free.clamp(0.0, 1.0),
            oldest_timekey: core.timekeys.keys().next().copied(),
            newest_timekey: core.timekeys.keys().next_back().copied(),
            timekeys: core.timekeys.keys().copied().collect(),
            refused_appends: count(&self.counts.refused),
            dropped_chunks: count(&self.counts.dropped_chunks),
            dropped_events: count(&self.counts.dropped_events),
            discarded_chunks: count(&self.counts.discarded_chunks),
            discarded_events: count(&self.counts.discarded_events),
            set_aside_chunks: count(&self.counts.aside_chunks),
            set_aside_events: count(&self.counts.aside_events),
            damaged_frames: count(&self.counts.damaged),
        }
    }
}

/// A buffer as it is now, and what has happened since it was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct BufferStats {
    /// Chunks that still take events.
    pub stage_length: usize,
    /// Their bytes.
    pub stage_bytes: u64,
    /// Chunks that wait to be delivered, those that wait for a retry too.
    pub queue_length: usize,
    /// Bytes of chunks that wait or are being delivered (Fluentd counts both).
    pub queue_bytes: u64,
    /// Chunks that are being delivered.
    pub in_flight: usize,
    /// Bytes of all chunks, and of appends under way.
    pub total_bytes: u64,
    /// Bytes at which the buffer is full.
    pub total_limit: u64,
    /// Share of the limit that is free, 0 to 1.
    pub available_ratio: f64,
    /// Start of the oldest time slice, seconds since the epoch.
    pub oldest_timekey: Option<i64>,
    /// Start of the newest time slice, seconds since the epoch.
    pub newest_timekey: Option<i64>,
    /// Starts of all time slices, in order.
    pub timekeys: Vec<i64>,
    /// Appends refused because the buffer was full.
    pub refused_appends: u64,
    /// Chunks dropped by `drop_oldest_chunk`.
    pub dropped_chunks: u64,
    /// Their events.
    pub dropped_events: u64,
    /// Chunks discarded by the engine.
    pub discarded_chunks: u64,
    /// Their events.
    pub discarded_events: u64,
    /// Chunks set aside.
    pub set_aside_chunks: u64,
    /// Their events.
    pub set_aside_events: u64,
    /// Damaged frames found while reading.
    pub damaged_frames: u64,
}
