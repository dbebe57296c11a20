//! The buffer itself: append, take, commit, give back, close.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::chunk::{Chunk, Data};
use super::config::{BufferConfig, BufferKind, Overflow};
use super::env::Env;
use super::frame::{self, Frame};
use super::id::ChunkId;
use super::key::{self, ChunkKey, Piece};
use super::origin::Origin;
use super::owner::{self, Append, Request};
use super::receipt::Receipt;
use super::recover::{self, RecoveryReport};
use super::setaside;
use super::state::{MAX_STAGED, Next, Phase, Sealed, Staged, State};
use crate::event::{Batch, BatchBuilder, Packing};

/// Size of a frame's entries that a batch is cut to, in bytes; a larger event is a frame of its own.
const FRAME_TARGET: usize = 1 << 20;
/// Largest size of a packed batch once it is unpacked, in bytes.
const MAX_INFLATED: usize = 256 << 20;

/// Why an append was refused. Nothing of the batch is stored then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BufferError {
    /// `total_limit_size` or `queue_limit_length` is reached.
    Full {
        /// The buffer's id.
        id: String,
    },
    /// The disk is full or broken.
    Disk(String),
    /// The batch is not what it should be; it would be refused again.
    Invalid(String),
    /// The buffer takes nothing more.
    Closed,
}

impl std::fmt::Display for BufferError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BufferError::Full { id } => write!(f, "buffer space has too many data: the buffer of \"{id}\" is full"),
            BufferError::Disk(why) => write!(f, "the buffer can't be written: {why}"),
            BufferError::Invalid(why) => write!(f, "the batch can't be buffered: {why}"),
            BufferError::Closed => f.write_str("the buffer is closed"),
        }
    }
}

impl std::error::Error for BufferError {}

/// What a buffer holds, for monitoring.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BufferStats {
    /// Staged chunks.
    pub stage_length: usize,
    /// Bytes of staged chunks.
    pub stage_bytes: u64,
    /// Queued and taken chunks.
    pub queue_length: usize,
    /// Bytes of queued and taken chunks.
    pub queue_bytes: u64,
    /// Bytes of all chunks.
    pub total_bytes: u64,
    /// Free share of `total_limit_size`, in percent.
    pub available_percent: f64,
    /// Oldest time slice.
    pub oldest_timekey: Option<i64>,
    /// Newest time slice.
    pub newest_timekey: Option<i64>,
    /// Chunks dropped because the buffer was full.
    pub dropped_chunks: u64,
    /// Events in those chunks.
    pub dropped_records: u64,
    /// Syncs so far.
    pub syncs: u64,
    /// Appends so far.
    pub appends: u64,
}

/// What the buffer and its owner thread share.
pub struct Shared {
    pub(super) config: BufferConfig,
    pub(super) env: Env,
    state: Mutex<State>,
    pub(super) ready: Notify,
    room: Notify,
    pub(super) syncs: AtomicU64,
    appends: AtomicU64,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is made whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back the room of an append that was not stored.
    pub(super) fn release(&self, bytes: u64) {
        let mut state = self.state();
        state.total = state.total.saturating_sub(bytes);
        drop(state);
        self.room.notify_waiters();
    }

    /// Takes a chunk out of the stage that has no room for more. One with a write under way is queued when that is done.
    pub(super) fn retire(&self, state: &mut State, key: &ChunkKey) {
        if let Some(staged) = state.staged.remove(key) {
            if staged.writing {
                state.retiring.insert(staged.id, (key.clone(), staged));
            } else {
                state.staged.insert(key.clone(), staged);
                state.seal(key);
            }
        }
    }

    /// Ends a write: the chunk grows, and is queued where it is full or was retired meanwhile.
    pub(super) fn settle(&self, state: &mut State, key: &ChunkKey, id: ChunkId, grow: impl FnOnce(&mut Staged)) {
        if let Some((key, mut staged)) = state.retiring.remove(&id) {
            grow(&mut staged);
            return state.enqueue_staged(key, staged);
        }
        let Some(staged) = state.staged.get_mut(key).filter(|s| s.id == id) else { return };
        grow(staged);
        if self.is_full(staged) {
            state.seal(key);
        }
        self.bound_stage(state);
    }

    /// After a failed write: the chunk stays as it was before; a broken one is queued as it is. Gives whether it is empty
    /// and was forgotten.
    pub(super) fn abandon(&self, key: &ChunkKey, id: ChunkId, broken: bool) -> bool {
        let mut state = self.state();
        let (key, mut staged) = match state.retiring.remove(&id) {
            Some(retired) => retired,
            None => match state.staged.remove(key) {
                Some(staged) if staged.id == id => (key.clone(), staged),
                Some(other) => {
                    state.staged.insert(key.clone(), other);
                    return false;
                }
                None => return false,
            },
        };
        staged.writing = false;
        match (staged.count, broken) {
            (0, true) => return true,
            (_, true) => state.enqueue_staged(key, staged),
            (_, false) => {
                // Another chunk may have taken the key's place while this one was retiring.
                if state.staged.contains_key(&key) {
                    state.enqueue_staged(key, staged);
                } else {
                    state.staged.insert(key, staged);
                }
            }
        }
        false
    }

    fn is_full(&self, staged: &Staged) -> bool {
        let limit = self.config.chunk_limit_size as f64 * self.config.chunk_full_threshold;
        let records = self.config.chunk_limit_records.is_some_and(|l| u64::from(staged.count) >= l);
        records || staged.bytes as f64 >= limit
    }

    fn bound_stage(&self, state: &mut State) {
        while state.staged.len() > MAX_STAGED {
            let oldest = state.staged.iter().filter(|(_, s)| !s.writing).min_by_key(|(_, s)| s.id);
            let Some(key) = oldest.map(|(k, _)| k.clone()) else { return };
            state.seal(&key);
        }
    }
}

/// A buffer. Cloning shares it.
#[derive(Clone)]
pub struct Buffer {
    shared: Arc<Shared>,
    owner: Option<Sender<Request>>,
    // Kept for as long as a clone lives: the directory has one owner.
    _lock: Option<Arc<dyn Send + Sync>>,
}

impl Buffer {
    /// Opens a buffer; a file buffer finds again what a former process left. Blocks while it reads the directory.
    ///
    /// Errors: a directory that can't be made, read or locked (with the name and pid of its owner). Damaged files are no
    /// error: they are set aside and reported.
    pub fn open(config: BufferConfig, env: Env) -> std::io::Result<(Buffer, RecoveryReport)> {
        let mut state = State::new();
        let dir = match &config.kind {
            BufferKind::Memory => None,
            BufferKind::File { dir } => Some(dir.clone()),
        };
        let (mut report, mut lock, mut journal) = (RecoveryReport::default(), None, None);
        if let Some(dir) = &dir {
            env.disk.create_dir(dir, config.dir_mode)?;
            lock = Some(Arc::from(env.disk.lock(dir)?));
            let noted = owner::Journal::open(&env, dir, config.file_mode, |o| state.origins.note(&o))?;
            journal = Some(noted);
            report = recover::recover(&config, &env, dir, &mut state)?;
        }
        let shared = Arc::new(Shared {
            config,
            env,
            state: Mutex::new(state),
            ready: Notify::new(),
            room: Notify::new(),
            syncs: AtomicU64::new(0),
            appends: AtomicU64::new(0),
        });
        let owner = match (dir, journal) {
            (Some(dir), Some(journal)) => Some(owner::spawn(shared.clone(), dir, journal)?),
            _ => None,
        };
        Ok((Buffer { shared, owner, _lock: lock }, report))
    }

    /// Whether what is stored survives the process.
    pub fn is_durable(&self) -> bool {
        self.owner.is_some()
    }

    /// Stores a batch. When this returns, every part of it is synced to disk (file) or admitted (memory).
    ///
    /// Errors: see [`BufferError`]; nothing of the batch is stored then.
    pub async fn append(&self, batch: &Batch, origin: &Origin) -> Result<Receipt, BufferError> {
        let plain = batch.inflate(MAX_INFLATED).map_err(|e| BufferError::Invalid(e.to_string()))?;
        let pieces = key::split(&self.shared.config.keys, &plain).map_err(|e| BufferError::Invalid(split_fault(&e)))?;
        let frames: Vec<(ChunkKey, Frame)> = pieces.into_iter().flat_map(|p| self.frames(p, origin)).collect();
        let bytes: u64 = frames.iter().map(|(_, f)| f.entries.len() as u64).sum();
        if frames.is_empty() {
            return Ok(Receipt::durable());
        }
        self.make_room(bytes).await?;
        self.shared.appends.fetch_add(1, Relaxed);
        match &self.owner {
            None => Ok(self.admit(frames, origin)),
            Some(owner) => self.hand_over(owner, Append { frames, origin: origin.clone(), reply: oneshot::channel().0 }).await,
        }
    }

    async fn hand_over(&self, owner: &Sender<Request>, mut append: Append) -> Result<Receipt, BufferError> {
        let (reply, answer) = oneshot::channel();
        append.reply = reply;
        owner.send(Request::Append(append)).map_err(|_| BufferError::Closed)?;
        answer.await.map_err(|_| BufferError::Closed)?
    }

    /// Cuts a piece into frames of bounded size at the borders of entries.
    fn frames(&self, piece: Piece, origin: &Origin) -> Vec<(ChunkKey, Frame)> {
        let limit = usize::try_from(self.shared.config.chunk_limit_size).unwrap_or(usize::MAX).min(FRAME_TARGET);
        let records = self.shared.config.chunk_limit_records.unwrap_or(u64::MAX).max(1);
        let tag = piece.key.tag.is_none().then(|| piece.batch.tag.clone());
        let frame = |batch: Batch| {
            let (count, entries) = (batch.len(), batch.bytes().clone());
            (piece.key.clone(), Frame { origin: origin.clone(), tag: tag.clone(), count, entries })
        };
        let batch = &piece.batch;
        if batch.bytes().len() <= limit && u64::from(batch.len()) <= records {
            return if batch.is_empty() { Vec::new() } else { vec![frame(batch.clone())] };
        }
        let (mut out, mut part) = (Vec::new(), BatchBuilder::new());
        for entry in batch.entries().map_while(Result::ok) {
            let over = part.bytes() + entry.raw.len() > limit || u64::from(part.count()) >= records;
            if over && !part.is_empty() {
                out.push(frame(part.finish(batch.tag.clone())));
            }
            part.push_raw(entry.raw);
        }
        if !part.is_empty() {
            out.push(frame(part.finish(batch.tag.clone())));
        }
        out
    }

    async fn make_room(&self, bytes: u64) -> Result<(), BufferError> {
        loop {
            // Registered before the look, so that room made in between is not missed.
            let freed = self.shared.room.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut state = self.shared.state();
                if state.phase != Phase::Open {
                    return Err(BufferError::Closed);
                }
                if state.has_room(&self.shared.config, bytes) {
                    state.total += bytes;
                    return Ok(());
                }
                match self.shared.config.overflow {
                    Overflow::ThrowException => return Err(self.full()),
                    Overflow::DropOldestChunk => {
                        if !self.drop_oldest(&mut state) {
                            return Err(self.full());
                        }
                        continue;
                    }
                    Overflow::Block => self.shared.ready.notify_waiters(),
                }
            }
            freed.await;
        }
    }

    fn full(&self) -> BufferError {
        BufferError::Full { id: self.shared.config.id.clone() }
    }

    fn drop_oldest(&self, state: &mut State) -> bool {
        if state.queue.is_empty() {
            state.seal_where(|_, s| !s.writing);
        }
        let Some((_, sealed)) = state.queue.pop_first() else { return false };
        state.dropped_chunks += 1;
        state.dropped_records += u64::from(sealed.chunk.count);
        tracing::error!(
            "dropping oldest chunk to make space after buffer overflow: chunk_id=\"{}\" records={}",
            sealed.chunk.id,
            sealed.chunk.count
        );
        self.end(state, sealed);
        true
    }

    /// Memory: frames into their chunks.
    fn admit(&self, frames: Vec<(ChunkKey, Frame)>, origin: &Origin) -> Receipt {
        let mut state = self.shared.state();
        let mut fates = Vec::new();
        state.origins.note(origin);
        for (key, frame) in frames {
            let bytes = frame.entries.len() as u64;
            let has_room = |s: &Staged| {
                let records = u64::from(s.count + frame.count);
                s.bytes + bytes <= self.shared.config.chunk_limit_size
                    && self.shared.config.chunk_limit_records.is_none_or(|l| records <= l)
            };
            if state.staged.get(&key).is_some_and(|s| s.count > 0 && !has_room(s)) {
                state.seal(&key);
            }
            let (env, now) = (&self.shared.env, (self.shared.env.now)());
            let new = || Staged::new(ChunkId::new(now, (env.random)()), now);
            let staged = state.staged.entry(key.clone()).or_insert_with(new);
            let (id, count) = (staged.id, frame.count);
            fates.push(staged.fate.clone());
            self.shared.settle(&mut state, &key, id, |staged| {
                staged.bytes += bytes;
                staged.count += count;
                staged.frames.push(frame);
            });
        }
        drop(state);
        self.shared.ready.notify_waiters();
        Receipt::of(false, fates)
    }

    /// The oldest chunk that is ready; waits for one. `None` once the buffer is closed and nothing more comes.
    pub async fn take(&self) -> Option<Arc<Chunk>> {
        loop {
            let changed = self.shared.ready.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let next = self.shared.state().next(&self.shared.config, &self.shared.env);
            match next {
                Next::Chunk(chunk) => return Some(chunk),
                Next::End => return None,
                Next::Wait(None) => changed.await,
                Next::Wait(Some(at)) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// The target has all of the chunk: it is forgotten, its file removed.
    ///
    /// Errors: a chunk that was not taken.
    pub fn commit(&self, id: ChunkId) -> Result<(), BufferError> {
        let mut state = self.shared.state();
        let Some((_, sealed)) = state.taken.remove(&id) else {
            return Err(BufferError::Invalid(format!("chunk {id} was not taken")));
        };
        self.end(&mut state, sealed);
        drop(state);
        self.shared.room.notify_waiters();
        Ok(())
    }

    /// The target does not have it: it comes again, no earlier than `not_before`, in its old place.
    pub fn give_back(&self, id: ChunkId, not_before: std::time::Instant) {
        let mut state = self.shared.state();
        if let Some((place, mut sealed)) = state.taken.remove(&id) {
            if state.phase == Phase::Open {
                sealed.not_before = Some(Instant::from_std(not_before));
                state.queue.insert(place, sealed);
            } else {
                state.parked.push(sealed);
            }
        }
        drop(state);
        self.shared.ready.notify_waiters();
    }

    /// Nobody will take it: it is kept in the backup directory with the reason.
    pub fn set_aside(&self, id: ChunkId, reason: &str) {
        let mut state = self.shared.state();
        let Some((_, sealed)) = state.taken.remove(&id) else { return };
        if let (Some(owner), Data::File(file)) = (&self.owner, &sealed.chunk.data) {
            // Without its thread the file stays where it is, which loses nothing.
            let _ = owner.send(Request::SetAside(file.path.clone(), sealed.origins.clone(), reason.to_owned()));
        } else if let Err(e) = write_aside(&self.shared, &sealed.chunk, reason) {
            tracing::error!("chunk {id} can't be set aside and is kept in memory: {e}");
            state.parked.push(sealed);
            return;
        }
        state.forget(&sealed);
        drop(state);
        self.shared.room.notify_waiters();
    }

    /// Nobody will take it and the configuration wants no backup: it is dropped and counted.
    pub fn discard(&self, id: ChunkId) {
        let mut state = self.shared.state();
        if let Some((_, sealed)) = state.taken.remove(&id) {
            state.dropped_chunks += 1;
            state.dropped_records += u64::from(sealed.chunk.count);
            self.end(&mut state, sealed);
        }
        drop(state);
        self.shared.room.notify_waiters();
    }

    fn end(&self, state: &mut State, sealed: Sealed) {
        if let (Some(owner), Data::File(file)) = (&self.owner, &sealed.chunk.data) {
            // Without its thread the file stays and comes again at the next start.
            let _ = owner.send(Request::Remove(file.path.clone(), sealed.origins.clone()));
        }
        state.forget(&sealed);
    }

    /// Queues everything that is staged.
    pub fn flush_all(&self) {
        let mut state = self.shared.state();
        state.seal_where(|_, _| true);
        state.queue.values_mut().for_each(|s| s.not_before = None);
        drop(state);
        self.shared.ready.notify_waiters();
    }

    /// Takes no more batches. What is to be flushed at shutdown is handed out once more, then [`take`](Self::take) ends.
    pub fn close(&self) {
        let mut state = self.shared.state();
        if state.phase == Phase::Open {
            state.phase = if self.shared.config.flush_at_shutdown { Phase::Draining } else { Phase::Closed };
            if self.shared.config.flush_at_shutdown {
                state.seal_where(|_, _| true);
            }
        }
        drop(state);
        self.shared.ready.notify_waiters();
        self.shared.room.notify_waiters();
    }

    /// Ends the buffer once nobody takes any more. A file buffer's writes are finished; what is still in memory is set
    /// aside. Gives a line for each chunk that was.
    pub async fn finish(&self) -> Vec<String> {
        self.shared.state().phase = Phase::Closed;
        if let Some(owner) = &self.owner {
            let (reply, stopped) = oneshot::channel();
            if owner.send(Request::Stop(reply)).is_ok() {
                // An error means that the thread is gone already.
                let _ = stopped.await;
            }
            return Vec::new();
        }
        self.rest_aside()
    }

    fn rest_aside(&self) -> Vec<String> {
        let mut state = self.shared.state();
        state.seal_where(|_, _| true);
        let mut rest: Vec<Sealed> = std::mem::take(&mut state.parked);
        rest.extend(std::mem::take(&mut state.taken).into_values().map(|(_, s)| s));
        rest.extend(std::mem::take(&mut state.queue).into_values());
        let aside = |sealed: Sealed| {
            let (id, count) = (sealed.chunk.id, sealed.chunk.count);
            let done = write_aside(&self.shared, &sealed.chunk, "not delivered before the end of the process");
            sealed.fate.ended();
            match done {
                Ok(path) => format!("chunk {id} with {count} records is set aside in {}", path.display()),
                Err(e) => format!("chunk {id} with {count} records is lost: it can't be set aside: {e}"),
            }
        };
        rest.into_iter().map(aside).collect()
    }

    /// What the buffer holds.
    pub fn stats(&self) -> BufferStats {
        let state = self.shared.state();
        let sealed = || state.queue.values().chain(state.taken.values().map(|(_, s)| s));
        let staged_keys = state.staged.keys().filter_map(|k| k.time);
        let times = || staged_keys.clone().chain(sealed().filter_map(|s| s.chunk.key.time));
        let limit = self.shared.config.total_limit_size.max(1) as f64;
        BufferStats {
            stage_length: state.staged.len(),
            stage_bytes: state.staged.values().map(|s| s.bytes).sum(),
            queue_length: sealed().count(),
            queue_bytes: sealed().map(|s| s.chunk.bytes).sum(),
            total_bytes: state.total,
            available_percent: ((1.0 - state.total as f64 / limit) * 1000.0).round().max(0.0) / 10.0,
            oldest_timekey: times().min(),
            newest_timekey: times().max(),
            dropped_chunks: state.dropped_chunks,
            dropped_records: state.dropped_records,
            syncs: self.shared.syncs.load(Relaxed),
            appends: self.shared.appends.load(Relaxed),
        }
    }

    /// The highest position of a stream that is stored or was delivered.
    pub fn newest(&self, stream: &str) -> Option<u64> {
        self.shared.state().origins.newest(stream)
    }

    /// Whether the batch known by this id is stored or was delivered.
    pub fn seen(&self, once: &[u8]) -> bool {
        self.shared.state().origins.seen(once)
    }
}

fn split_fault(e: &key::SplitError) -> String {
    match e {
        key::SplitError::Malformed(e) => e.to_string(),
        key::SplitError::TooManyKeys => "the chunk keys split it into too many chunks; use a key with fewer values".into(),
    }
}

/// Writes a memory chunk in the form of a chunk file into the backup directory.
fn write_aside(shared: &Shared, chunk: &Chunk, reason: &str) -> std::io::Result<PathBuf> {
    let Data::Memory(frames) = &chunk.data else {
        return Err(std::io::Error::other("the chunk is in a file"));
    };
    let header = frame::FileHeader { id: chunk.id, created: chunk.created, key: chunk.key.clone() };
    let mut bytes = frame::put_header(&header);
    for f in frames {
        frame::put_frame(&mut bytes, f, Packing::Plain)?;
    }
    let name = format!("buffer.{}.chunk", chunk.id);
    setaside::write(&shared.env, &shared.config.backup_dir, &name, &bytes, reason)
}
