//! The chunks of a buffer as they are now: staged, queued, taken. All changes are short and under one lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::chunk::{Chunk, Data, FileData};
use super::config::{BufferConfig, FlushMode};
use super::env::{DiskFile, Env};
use super::frame::Frame;
use super::id::ChunkId;
use super::key::ChunkKey;
use super::origin::{Origin, Origins};
use super::receipt::Fate;
use crate::event::EventTime;

/// Staged chunks at once; past it the oldest is queued.
pub const MAX_STAGED: usize = 4096;

/// A chunk that still grows.
pub struct Staged {
    pub id: ChunkId,
    pub created: EventTime,
    pub since: Instant,
    pub bytes: u64,
    pub count: u32,
    pub fate: Arc<Fate>,
    pub origins: Vec<Origin>,
    pub frames: Vec<Frame>,
    pub file: Option<StagedFile>,
    /// A write is under way; it is not sealed meanwhile.
    pub writing: bool,
}

/// The file of a staged chunk.
#[derive(Clone)]
pub struct StagedFile {
    pub file: Arc<dyn DiskFile>,
    pub data: FileData,
    /// Length that is synced.
    pub len: u64,
}

impl Staged {
    pub fn new(id: ChunkId, created: EventTime) -> Staged {
        Staged {
            id,
            created,
            since: Instant::now(),
            bytes: 0,
            count: 0,
            fate: Fate::new(),
            origins: Vec::new(),
            frames: Vec::new(),
            file: None,
            writing: false,
        }
    }

    /// Takes note of an origin; of a stream only the last position counts.
    pub fn note(&mut self, origin: &Origin) {
        if let Origin::Stream { stream, .. } = origin {
            let same = |o: &Origin| matches!(o, Origin::Stream { stream: s, .. } if s == stream);
            if let Some(known) = self.origins.iter_mut().rev().find(|o| same(o)) {
                *known = origin.clone();
                return;
            }
        }
        if *origin != Origin::None {
            self.origins.push(origin.clone());
        }
    }

    fn seal(self, key: ChunkKey) -> Sealed {
        let data = match self.file {
            Some(file) => Data::File(file.data),
            None => Data::Memory(self.frames),
        };
        let chunk = Chunk { id: self.id, key, created: self.created, bytes: self.bytes, count: self.count, data };
        Sealed { chunk: Arc::new(chunk), fate: self.fate, origins: self.origins, not_before: None }
    }
}

/// A chunk that never changes again.
pub struct Sealed {
    pub chunk: Arc<Chunk>,
    pub fate: Arc<Fate>,
    pub origins: Vec<Origin>,
    pub not_before: Option<Instant>,
}

/// Whether new batches are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Open,
    /// No new batches; what is queued is handed out once more.
    Draining,
    /// No new batches; nothing is handed out.
    Closed,
}

/// The state of a buffer.
pub struct State {
    pub phase: Phase,
    pub staged: HashMap<ChunkKey, Staged>,
    pub queue: BTreeMap<u64, Sealed>,
    pub taken: HashMap<ChunkId, (u64, Sealed)>,
    /// Full while a write to them was under way: queued when it is done.
    pub retiring: HashMap<ChunkId, (ChunkKey, Staged)>,
    /// Given back while draining: they stay where they are.
    pub parked: Vec<Sealed>,
    pub origins: Origins,
    /// Bytes of all chunks, and of appends under way.
    pub total: u64,
    pub dropped_chunks: u64,
    pub dropped_records: u64,
    next_place: u64,
}

/// What a taker gets.
pub enum Next {
    Chunk(Arc<Chunk>),
    Wait(Option<Instant>),
    End,
}

impl State {
    pub fn new() -> State {
        State {
            phase: Phase::Open,
            staged: HashMap::new(),
            queue: BTreeMap::new(),
            taken: HashMap::new(),
            retiring: HashMap::new(),
            parked: Vec::new(),
            origins: Origins::default(),
            total: 0,
            dropped_chunks: 0,
            dropped_records: 0,
            next_place: 0,
        }
    }

    /// Whether `bytes` more have room.
    pub fn has_room(&self, config: &BufferConfig, bytes: u64) -> bool {
        let fits = self.total == 0 || self.total.saturating_add(bytes) <= config.total_limit_size;
        fits && config.queue_limit_length.is_none_or(|limit| self.queue.len() + self.taken.len() < limit)
    }

    /// Puts a sealed chunk at the end of the queue.
    pub fn enqueue(&mut self, sealed: Sealed) {
        self.next_place += 1;
        self.queue.insert(self.next_place, sealed);
    }

    /// Seals the staged chunk of a key, unless a write to it is under way.
    pub fn seal(&mut self, key: &ChunkKey) {
        if self.staged.get(key).is_some_and(|s| !s.writing)
            && let Some((key, staged)) = self.staged.remove_entry(key)
        {
            self.enqueue_staged(key, staged);
        }
    }

    /// Seals a chunk that is out of the stage. An empty one is nothing.
    pub fn enqueue_staged(&mut self, key: ChunkKey, staged: Staged) {
        if staged.count > 0 {
            self.enqueue(staged.seal(key));
        }
    }

    /// Seals every staged chunk that passes the test.
    pub fn seal_where(&mut self, test: impl Fn(&ChunkKey, &Staged) -> bool) {
        let mut keys: Vec<(ChunkId, ChunkKey)> =
            self.staged.iter().filter(|(k, s)| test(k, s)).map(|(k, s)| (s.id, k.clone())).collect();
        keys.sort_by_key(|(id, _)| *id);
        keys.iter().for_each(|(_, key)| self.seal(key));
    }

    /// Whether a staged chunk is due by now; if not, when it is.
    fn due(&self, config: &BufferConfig, env: &Env, key: &ChunkKey, staged: &Staged) -> Option<Instant> {
        match (config.flush_mode, key.time) {
            (FlushMode::Immediate, _) => Some(staged.since),
            (FlushMode::Interval, _) => Some(staged.since + config.flush_interval),
            (FlushMode::Lazy, Some(slice)) => Some(slice_end(config, env, slice)),
            (FlushMode::Lazy, None) => None,
        }
    }

    /// The next chunk to write, or how long to wait for it.
    pub fn next(&mut self, config: &BufferConfig, env: &Env) -> Next {
        let now = Instant::now();
        if self.phase == Phase::Closed {
            return Next::End;
        }
        let wake = if self.phase == Phase::Open { self.seal_due(config, env, now) } else { None };
        let draining = self.phase == Phase::Draining;
        let ready = |s: &Sealed| draining || s.not_before.is_none_or(|t| t <= now);
        if let Some(place) = self.queue.iter().find(|(_, s)| ready(s)).map(|(place, _)| *place)
            && let Some(sealed) = self.queue.remove(&place)
        {
            let chunk = sealed.chunk.clone();
            self.taken.insert(chunk.id, (place, sealed));
            return Next::Chunk(chunk);
        }
        if draining && self.retiring.is_empty() && !self.staged.values().any(|s| s.writing) {
            return Next::End;
        }
        let later = self.queue.values().filter_map(|s| s.not_before).min();
        Next::Wait([wake, later].into_iter().flatten().min())
    }

    /// Seals what is due; gives when the next one is.
    fn seal_due(&mut self, config: &BufferConfig, env: &Env, now: Instant) -> Option<Instant> {
        if self.staged.is_empty() || config.queued_chunks_limit_size.is_some_and(|limit| self.queue.len() >= limit) {
            return None;
        }
        let mut wake: Option<Instant> = None;
        let mut due = Vec::new();
        for (key, staged) in &self.staged {
            match self.due(config, env, key, staged) {
                Some(at) if at <= now => due.push((staged.id, key.clone())),
                Some(at) => wake = Some(wake.map_or(at, |w| w.min(at))),
                None => {}
            }
        }
        due.sort_by_key(|(id, _)| *id);
        due.iter().for_each(|(_, key)| self.seal(key));
        wake
    }

    /// Ends a chunk; its bytes are free again.
    pub fn forget(&mut self, sealed: &Sealed) {
        self.total = self.total.saturating_sub(sealed.chunk.bytes);
        sealed.fate.ended();
    }
}

/// When a slice and the wait for late events are over, on the monotonic clock.
pub fn slice_end(config: &BufferConfig, env: &Env, slice: i64) -> Instant {
    let length = config.keys.time.as_ref().map_or(0, |t| t.seconds);
    let end = EventTime::from_secs(slice.saturating_add(i64::try_from(length).unwrap_or(i64::MAX)));
    let left = end.nanos().saturating_sub((env.now)().nanos());
    let wait = i64::try_from(config.timekey_wait.as_nanos()).unwrap_or(i64::MAX);
    let left = left.saturating_add(wait);
    Instant::now() + Duration::from_nanos(u64::try_from(left).unwrap_or(0))
}
