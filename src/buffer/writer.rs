//! The owner of a buffer's staged chunks: decides where frames go and when chunks are sealed. Everything that changes a
//! buffer's directory happens here, in [`group`](super::group) or in [`removal`](super::removal), one thing after the
//! other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::warn;

use super::chunk::{Chunk, Frames, Source};
use super::config::FlushMode;
use super::error::BufferError;
use super::files::{Folder, Framed, StagedFile, chunk_name};
use super::id::{ChunkId, IdSource};
use super::journal::Journal;
use super::key::ChunkKey;
use super::origin::Origin;
use super::receipt::Receipt;
use super::recovery::Resumed;
use super::shared::{Due, Reservation, Shared};
use super::split::{Frame, Part};
use super::staged::{Body, Open};
use crate::event::Tag;

/// An append that has room.
pub(super) struct Append {
    pub(super) parts: Vec<Part>,
    pub(super) origin: Origin,
    /// `@id` of the input that it came through.
    pub(super) input: Arc<str>,
    pub(super) tag: Tag,
    pub(super) room: Reservation,
    pub(super) reply: oneshot::Sender<Result<Receipt, BufferError>>,
}

impl Append {
    /// Whether its frames count only together. Without an origin nobody could recognise a second sending anyway.
    pub(super) fn is_partial(&self) -> bool {
        self.origin != Origin::None && self.parts.iter().map(|p| p.frames.len()).sum::<usize>() > 1
    }
}

/// The part of a writer that only a file buffer has.
pub(super) struct Files {
    pub(super) folder: Arc<Folder>,
    pub(super) journal: Journal,
    /// Held until the buffer is finished.
    #[expect(dead_code, reason = "it is held, not read")]
    pub(super) lock: Box<dyn Send + Sync>,
}

/// See the module's description.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    ids: IdSource,
    pub(super) open: BTreeMap<ChunkId, Open>,
    pub(super) stage: HashMap<Arc<ChunkKey>, ChunkId>,
    /// Chunks that are to be sealed after the present group.
    pub(super) sealing: Vec<ChunkId>,
    by_age: BTreeSet<(Instant, ChunkId)>,
    /// By the moment at which they are due, in microseconds since the epoch.
    by_slice: BTreeSet<(i64, ChunkId)>,
    pub(super) group: u64,
    pub(super) files: Option<Files>,
    /// Nothing may be taken until a restart.
    pub(super) broken: bool,
    /// What still comes is queued at once.
    closed: bool,
    stopped: bool,
    /// A chunk was queued whose file could not be marked so.
    unmarked: bool,
}

impl Writer {
    /// The owner of a buffer. `group`: the highest sync of earlier runs.
    pub(super) fn new(shared: Arc<Shared>, files: Option<Files>, group: u64) -> Writer {
        Writer {
            shared,
            ids: IdSource::default(),
            open: BTreeMap::new(),
            stage: HashMap::new(),
            sealing: Vec::new(),
            by_age: BTreeSet::new(),
            by_slice: BTreeSet::new(),
            group,
            files,
            broken: false,
            closed: false,
            stopped: false,
            unmarked: false,
        }
    }

    /// Takes a staged chunk of an earlier run. After an end that was not in order it takes no more events: it may have
    /// been handed out already, and what its id stands for must not change.
    pub(super) fn resume(&mut self, resumed: Resumed, clean: bool) {
        self.ids.rise_above(resumed.id);
        let (now, wall) = (self.shared.env.clock.now(), self.shared.env.clock.wall_micros());
        let age = Duration::from_micros(wall.saturating_sub(resumed.created).max(0) as u64);
        let born = now.checked_sub(age).unwrap_or(now);
        let file = StagedFile::resume(resumed.path, resumed.start, resumed.end, resumed.group);
        let mut open = Open::new(Arc::new(resumed.key), resumed.created, born, Body::File(file));
        open.has_origins = !resumed.total.origins.is_empty();
        self.shared.resumed(resumed.total.bytes, open.key.time);
        open.total = resumed.total;
        // Of two staged chunks of one key only the newer goes on.
        if clean && let Some(older) = self.stage.insert(open.key.clone(), resumed.id) {
            self.unstage(older);
        }
        let scheduled = self.schedule(resumed.id, &open);
        let full = self.shared.config.is_full(open.total.bytes, open.total.count);
        self.open.insert(resumed.id, open);
        if full || !scheduled && (!clean || self.shared.config.flush_mode == FlushMode::Immediate) {
            self.unstage(resumed.id);
        }
    }

    /// Keeps new ids above those of queued chunks.
    pub(super) fn rise_above(&mut self, id: ChunkId) {
        self.ids.rise_above(id);
    }

    /// Seals what [`resume`](Self::resume) found to be full.
    pub(super) fn settle_resumed(&mut self) {
        self.seal_marked();
        self.publish(false);
    }

    /// Stores appends with one sync per touched file, and answers them.
    pub(super) fn append(&mut self, group: Vec<Append>) {
        let mut taken = Vec::with_capacity(group.len());
        for append in group {
            match self.refusal() {
                Some(why) => answer(append.reply, Err(why)),
                None => taken.push(append),
            }
        }
        self.append_taken(taken);
        self.seal_marked();
        self.publish(false);
    }

    fn append_taken(&mut self, mut group: Vec<Append>) {
        if group.len() > 1 {
            match self.try_group(&mut group) {
                Ok(receipts) => group.into_iter().zip(receipts).for_each(|(a, receipt)| answer(a.reply, Ok(receipt))),
                // One of them may be at fault, or too large for what room there is: each by itself then.
                Err(_) => group.into_iter().for_each(|a| self.append_one(a)),
            }
        } else {
            group.into_iter().for_each(|a| self.append_one(a));
        }
    }

    /// Why nothing is taken now.
    fn refusal(&mut self) -> Option<BufferError> {
        if self.stopped {
            return Some(BufferError::Closed);
        }
        if self.broken {
            return Some(BufferError::Broken);
        }
        let files = self.files.as_mut()?;
        let unwritten = files.journal.renew(&self.shared.known).err()?;
        Some(BufferError::disk("write the journal in", &files.folder.dir, unwritten))
    }

    fn append_one(&mut self, append: Append) {
        let mut one = [append];
        let mut result = self.try_group(&mut one);
        if let Err(error) = &result
            && matches!(error, BufferError::Disk { .. })
            && !self.broken
        {
            // The file that failed is closed to new frames: this time they go to another.
            result = self.try_group(&mut one);
        }
        let [append] = one;
        answer(append.reply, result.map(|mut receipts| receipts.remove(0)));
    }

    fn try_group(&mut self, group: &mut [Append]) -> Result<Vec<Receipt>, BufferError> {
        self.group += 1;
        let mut touched = Vec::new();
        let receipts: Vec<Receipt> = group.iter().map(|append| self.place(append, &mut touched)).collect();
        touched.sort_unstable();
        touched.dedup();
        let partial = group.iter().any(Append::is_partial);
        match self.persist(&touched, partial) {
            Ok(()) => {
                self.keep(&touched, group);
                Ok(receipts)
            }
            Err(fault) => {
                self.take_back(&touched, &fault);
                Err(if self.broken { BufferError::Broken } else { fault.error })
            }
        }
    }

    /// Decides which chunks the frames of an append go to.
    fn place(&mut self, append: &Append, touched: &mut Vec<ChunkId>) -> Receipt {
        let mut receipt = Receipt::new(self.files.is_some());
        let partial = append.is_partial();
        let now = self.shared.env.clock.wall_micros();
        for part in &append.parts {
            self.make_way(part);
            let mut last = None;
            for frame in &part.frames {
                let id = self.staged_for(&part.key, frame);
                let Some(open) = self.open.get_mut(&id) else { continue };
                let count = u64::from(frame.count);
                let entered = Some(self.shared.ledger().enter(&append.input, &append.tag, now, count));
                open.add(Framed { frame: frame.clone(), origin: append.origin.clone(), partial, entered });
                if last.replace(id) != Some(id) {
                    receipt.touch(&open.done);
                    touched.push(id);
                }
            }
            self.queue_if_full(last);
        }
        receipt
    }

    /// Events of one batch stay together if they can: a chunk without room for all of them is queued first (Fluentd's
    /// rule).
    fn make_way(&mut self, part: &Part) {
        if let Some(id) = self.stage.get(&part.key).copied()
            && let Some(open) = self.open.get(&id)
            && self.shared.config.is_over(open.bytes() + part.bytes(), open.count() + part.count())
        {
            self.unstage(id);
        }
    }

    fn staged_for(&mut self, key: &Arc<ChunkKey>, frame: &Frame) -> ChunkId {
        if let Some(id) = self.stage.get(key).copied()
            && let Some(open) = self.open.get(&id)
        {
            let (bytes, count) = (frame.payload.len() as u64, u64::from(frame.count));
            if !self.shared.config.is_over(open.bytes() + bytes, open.count() + count) {
                return id;
            }
            self.unstage(id);
        }
        self.new_chunk(key)
    }

    fn new_chunk(&mut self, key: &Arc<ChunkKey>) -> ChunkId {
        let env = &self.shared.env;
        let (created, born) = (env.clock.wall_micros(), env.clock.now());
        let id = self.ids.next(created, (env.random.next(), env.random.next()));
        let body = match &self.files {
            Some(files) => Body::File(StagedFile::new(files.folder.path(&chunk_name(id, false)))),
            None => Body::Memory(Vec::new()),
        };
        let open = Open::new(key.clone(), created, born, body);
        self.schedule(id, &open);
        self.open.insert(id, open);
        self.stage.insert(key.clone(), id);
        id
    }

    fn queue_if_full(&mut self, id: Option<ChunkId>) {
        let config = &self.shared.config;
        let Some(id) = id else { return };
        let Some(open) = self.open.get(&id) else { return };
        if self.closed || config.flush_mode == FlushMode::Immediate || config.is_full(open.bytes(), open.count()) {
            self.unstage(id);
        }
    }

    /// Notes when a chunk is to be queued; gives whether there is such a time.
    fn schedule(&mut self, id: ChunkId, open: &Open) -> bool {
        let config = &self.shared.config;
        match config.flush_mode {
            FlushMode::Interval => {
                let due = open.born.checked_add(config.flush_interval);
                due.is_some_and(|due| self.by_age.insert((due, id)))
            }
            FlushMode::Lazy => self.slice_due(open).is_some_and(|due| self.by_slice.insert((due, id))),
            FlushMode::Immediate => false,
        }
    }

    fn slice_due(&self, open: &Open) -> Option<i64> {
        let config = &self.shared.config;
        let length = i64::try_from(config.keys.time.as_ref()?.seconds).unwrap_or(i64::MAX);
        let wait = i64::try_from(config.timekey_wait.as_secs()).unwrap_or(i64::MAX);
        let end = open.key.time?.saturating_add(length).saturating_add(wait);
        Some(end.saturating_mul(1_000_000))
    }

    /// Closes a chunk to further events; it is sealed after the present group.
    pub(super) fn unstage(&mut self, id: ChunkId) {
        let Some(open) = self.open.get_mut(&id) else { return };
        if self.stage.get(&open.key) == Some(&id) {
            self.stage.remove(&open.key);
        }
        if !std::mem::replace(&mut open.sealing, true) {
            self.sealing.push(id);
        }
    }

    pub(super) fn unschedule(&mut self, id: ChunkId, open: &Open) {
        if let Some(due) = open.born.checked_add(self.shared.config.flush_interval) {
            self.by_age.remove(&(due, id));
        }
        if let Some(due) = self.slice_due(open) {
            self.by_slice.remove(&(due, id));
        }
    }

    /// Seals the chunks that were closed to further events, and queues them.
    fn seal_marked(&mut self) {
        let mut sealed = Vec::new();
        for id in std::mem::take(&mut self.sealing) {
            let Some(mut open) = self.open.remove(&id) else { continue };
            self.unschedule(id, &open);
            let header = open.header(id);
            if let (Some(files), Body::File(file)) = (&self.files, &mut open.body) {
                // Neither is needed to read the chunk; both tell a later start that it is sealed.
                let footer = file.seal(&files.folder, &header, &open.total);
                let name = file.rename(&files.folder, id);
                self.unmarked |= name.is_err();
                if let Err(e) = footer.and(name) {
                    warn!("{}: chunk {id} is queued, but its file could not be marked so: {e}", self.shared.config.id);
                }
            }
            sealed.push((id, open));
        }
        if let (Some(files), false) = (&self.files, sealed.is_empty())
            && let Err(e) = files.folder.sync()
        {
            self.unmarked = true;
            warn!("{}: chunks are queued, but the directory could not be synced: {e}", self.shared.config.id);
        }
        for (id, open) in sealed {
            let chunk = Arc::new(self.chunk(id, open));
            self.shared.enqueue(chunk, true);
        }
    }

    fn chunk(&self, id: ChunkId, open: Open) -> Chunk {
        let source = match (open.body, &self.files) {
            (Body::Memory(frames), _) => Source::Memory(Frames::new(frames)),
            (Body::File(file), Some(files)) => Source::File(file.into_chunk_file(&files.folder)),
            // A file's body is only ever made where there are files.
            (Body::File(_), None) => Source::Memory(Frames::new(Vec::new())),
        };
        Chunk {
            id,
            key: open.key,
            created: open.created,
            bytes: open.total.bytes,
            count: open.total.count,
            has_origins: open.has_origins,
            shares: open.total.tally.shares(),
            unread: AtomicU64::new(0),
            has_memo: AtomicBool::new(false),
            source,
            done: open.done,
            damaged: self.shared.counts.damaged.clone(),
        }
    }

    /// Queues staged chunks whose time has come.
    pub(super) fn seal_due(&mut self) {
        let (now, wall) = (self.shared.env.clock.now(), self.shared.env.clock.wall_micros());
        let aged = self.by_age.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        let past = self.by_slice.iter().take_while(|(at, _)| *at <= wall).map(|(_, id)| *id);
        let mut due: Vec<ChunkId> = aged.chain(past).collect();
        due.sort_unstable();
        due.truncate(self.shared.queue_room());
        due.into_iter().for_each(|id| self.unstage(id));
        self.seal_marked();
        self.publish(true);
    }

    /// Queues everything that is staged.
    pub(super) fn flush_all(&mut self) {
        let all: Vec<ChunkId> = self.open.keys().copied().collect();
        all.into_iter().for_each(|id| self.unstage(id));
        self.seal_marked();
        self.publish(false);
    }

    /// Queues everything or leaves it for the next start, as configured; what still comes is treated alike.
    pub(super) fn close(&mut self) {
        self.closed = self.shared.config.flush_at_shutdown;
        if self.closed {
            self.flush_all();
        }
        self.shared.closed(self.closed);
    }

    /// Gives everything up that the process holds: the lock too.
    pub(super) fn stop(&mut self) -> Staged {
        let staged = Staged { chunks: self.open.len(), events: self.open.values().map(|open| open.total.count).sum() };
        if let Some(files) = &mut self.files
            && !self.unmarked
            && !self.stopped
        {
            // If this can't be written, the next start is only more careful than it need be.
            let _ = files.journal.end(&self.shared.known);
        }
        self.stopped = true;
        self.open.clear();
        self.stage.clear();
        self.files = None;
        staged
    }

    fn publish(&self, looked: bool) {
        let due = Due { age: self.by_age.first().map(|(at, _)| *at), slice: self.by_slice.first().map(|(at, _)| *at) };
        self.shared.set_due(due, looked);
    }
}

/// What was staged when a writer stopped.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) chunks: usize,
    pub(super) events: u64,
}

fn answer(reply: oneshot::Sender<Result<Receipt, BufferError>>, result: Result<Receipt, BufferError>) {
    // Nobody waits any more: the source was not answered and will send again.
    let _ = reply.send(result);
}
