//! Custody: the only place where a batch waits.
//!
//! A batch comes in with [`Buffer::append`] and is acknowledged by a [`Receipt`]; chunks go out with [`Buffer::take`] and
//! stay in the buffer until [`Buffer::commit`]. What every part of this layer holds to:
//!
//! - An append is answered once all of it is stored: in a file buffer written and synced in every file that it touched;
//!   in a memory buffer admitted. An append that fails has stored nothing.
//! - A chunk is sealed before it is handed out, and its id, key and bytes never change again.
//! - A chunk is forgotten only after what must be remembered of it is durable (`journal`).
//! - Damage costs the frame that it is in. Nothing is deleted that was not delivered, or dropped by configuration and
//!   counted; what can't be delivered is set aside (`aside`).
//! - No lock is held over an await or over I/O of others; every size, count and wait is bounded by a name in `config`.
//!
//! From the caller to the disk: `split` (batch to frames, in the caller), `shared` (room, queue), `driver` (who runs
//! it), `writer` (stage, sealing), `group` (write, sync, acknowledge or take back), `removal`, `files` and `format` (one chunk's file), `env`
//! (the machine, or a simulation of it). From the disk back: `recovery` at the start, `walk` and `chunk` for reading.

mod aside;
mod chunk;
mod config;
mod disk;
mod driver;
mod env;
mod error;
mod files;
mod format;
mod freeing;
mod group;
mod id;
pub mod inspect;
mod journal;
mod key;
mod ledger;
mod letter;
pub mod maintain;
mod memo;
mod memory;
mod open;
mod origin;
mod receipt;
mod recovery;
mod removal;
mod shared;
mod split;
mod staged;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tracing::warn;

#[cfg(test)]
pub(crate) use tests::fake;

pub use chunk::{Block, Blocks, Chunk};
pub use config::{
    BufferConfig, BufferKind, ChunkKeys, FieldKey, FieldPath, FlushMode, MAX_FRAME, Overflow, TimeKey, ZoneOffset,
};
pub use env::Env;
pub use error::{BufferError, Oversize};
pub use id::ChunkId;
pub use key::{ChunkKey, KeyValue};
pub use ledger::{Account, AccountKey, Apart, Fate, OTHER_TAGS};
pub use letter::{Cause, Letter, REASON, Refusal};
pub use origin::Origin;
pub use receipt::Receipt;
pub use recovery::RecoveryReport;
pub use shared::BufferStats;

use crate::event::Batch;
use driver::{Driver, Request};
use shared::{Reservation, Room, Shared, Taken};
use split::Part;
use writer::{Append, Writer};

/// A buffer. Cloning gives another handle of the same.
#[derive(Clone)]
pub struct Buffer(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    driver: Driver,
    durable: bool,
    /// Settings aside of memory chunks that are under way.
    asides: Mutex<Vec<oneshot::Receiver<()>>>,
}

impl Inner {
    fn new(shared: Arc<Shared>, driver: Driver, durable: bool) -> Inner {
        Inner { shared, driver, durable, asides: Mutex::default() }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Without this the thread would still hold the lock for a moment.
        self.driver.submit(Request::Stop(oneshot::channel().0));
        self.driver.join();
    }
}

impl Buffer {
    /// Opens a buffer: makes and locks its directory and takes up what an earlier run left. Blocks on the disk.
    ///
    /// Errors: [`BufferError::Locked`], [`BufferError::Disk`], [`BufferError::DiskFull`]. Damaged data is no error.
    pub fn open(config: BufferConfig, env: Env) -> Result<(Buffer, RecoveryReport), BufferError> {
        match config.kind.clone() {
            BufferKind::Memory => {
                let shared = Arc::new(Shared::new(config, env));
                let writer = Writer::new(shared.clone(), None, 0);
                let inner = Inner::new(shared, Driver::Inline(Box::new(Mutex::new(writer))), false);
                Ok((Buffer(Arc::new(inner)), RecoveryReport::default()))
            }
            BufferKind::File { dir } => {
                let (inner, report) = open::open(config, env, &dir)?;
                Ok((Buffer(Arc::new(inner)), report))
            }
        }
    }

    /// Stores a batch. When this returns `Ok` it is stored as the receipt says; when it fails, nothing of it is.
    ///
    /// Waits for room ([`Overflow::Block`]), fails with [`BufferError::Full`], or makes room by dropping the oldest
    /// queued chunks, as configured. All of a source's events with one origin must come in one append: an origin counts
    /// as held as soon as one append with it is stored.
    pub async fn append(&self, batch: &Batch, origin: &Origin) -> Result<Receipt, BufferError> {
        self.append_from(batch, origin, &Arc::from(""), None).await
    }

    /// As [`append`](Self::append), under the name of the input that the batch came through. Room is waited for until then at
    /// most, where there is an end to that.
    pub async fn append_from(
        &self,
        batch: &Batch,
        origin: &Origin,
        input: &Arc<str>,
        until: Option<Instant>,
    ) -> Result<Receipt, BufferError> {
        let shared = &self.0.shared;
        let parts = split::split(batch, &shared.config)?;
        if parts.is_empty() {
            return Ok(Receipt::new(self.0.durable));
        }
        if matches!(origin, Origin::Stream { .. }) {
            shared.let_output_catch_up().await;
        }
        let room = self.reserve(parts.iter().map(Part::bytes).sum(), until).await?;
        let (reply, stored) = oneshot::channel();
        let (origin, input, tag) = (origin.bounded(), input.clone(), batch.tag.clone());
        self.0.driver.submit(Request::Append(Append { parts, origin, input, tag, room, reply }));
        stored.await.unwrap_or(Err(BufferError::Closed))
    }

    async fn reserve(&self, bytes: u64, until: Option<Instant>) -> Result<Reservation, BufferError> {
        loop {
            match self.0.shared.room(bytes)? {
                Room::Granted(reservation) => return Ok(reservation),
                Room::InLine(granted) => {
                    return match until {
                        None => granted.await.map_err(|_| BufferError::Closed),
                        // In a box: few batches have an end to that, and the others need not carry its room along.
                        Some(until) => Box::pin(self.in_line(granted, until)).await,
                    };
                }
                Room::Dropped(chunks) => self.drop_chunks(chunks),
            }
        }
    }

    async fn in_line(
        &self,
        mut granted: oneshot::Receiver<Reservation>,
        until: Instant,
    ) -> Result<Reservation, BufferError> {
        match timeout_at(until.into(), &mut granted).await {
            Ok(granted) => granted.map_err(|_| BufferError::Closed),
            Err(_) => {
                drop(granted);
                Err(self.0.shared.leave_line())
            }
        }
    }

    fn drop_chunks(&self, chunks: Vec<Arc<Chunk>>) {
        for chunk in chunks {
            warn!(
                "{}: dropping oldest chunk to make space after buffer overflow: chunk {} with {} events",
                self.0.shared.config.id, chunk.id, chunk.count
            );
            self.0.driver.submit(Request::Remove { chunk, fate: Fate::Overflow, apart: None });
        }
    }

    /// The oldest chunk that is ready to be delivered; waits for one. `None` once the buffer is closed and has nothing
    /// more to hand out. Each chunk must be answered with [`commit`](Self::commit), [`give_back`](Self::give_back),
    /// [`set_aside`](Self::set_aside) or [`discard`](Self::discard).
    pub async fn take(&self) -> Option<Arc<Chunk>> {
        let shared = &self.0.shared;
        loop {
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match shared.try_take() {
                Taken::Chunk(chunk) => return Some(chunk),
                Taken::Ended => return None,
                Taken::SealDue => self.0.driver.submit(Request::SealDue),
                Taken::Wait(longest) => {
                    let _ = tokio::time::timeout(longest, changed).await;
                }
            }
        }
    }

    /// The target has all of the chunk, and only its sync is awaited: a memory buffer gives its bytes up now, a file buffer
    /// when the chunk is committed. After this a chunk of a memory buffer ends with [`commit`](Self::commit) or
    /// [`lose`](Self::lose).
    pub fn written(&self, id: ChunkId) {
        self.0.shared.give_up(id);
    }

    /// What the target had taken of a chunk is not safe there, and its bytes are no longer held: its events are lost unless
    /// their source has them still, which is not told that they were delivered.
    pub fn lose(&self, id: ChunkId) {
        let Some(chunk) = self.0.shared.claim(id) else { return };
        self.0.driver.submit(Request::Remove { chunk, fate: Fate::Lost, apart: None });
    }

    /// The chunk was delivered: it is forgotten. Its file goes soon after, once its origins are durable; a crash before
    /// that brings it back.
    pub fn commit(&self, id: ChunkId) -> Result<(), BufferError> {
        self.end(id, Fate::Delivered, None)
    }

    /// As [`commit`](Self::commit), by the output of the `<secondary>`.
    pub fn commit_to_secondary(&self, id: ChunkId) -> Result<(), BufferError> {
        self.end(id, Fate::Secondary, None)
    }

    /// As [`commit`](Self::commit), where some of its events were refused. What became of those is the caller's: it has kept
    /// them before ([`keep_aside`](Self::keep_aside)), given them to the secondary, or dropped them.
    pub fn commit_without(&self, id: ChunkId, refused: Apart) -> Result<(), BufferError> {
        self.end(id, Fate::Delivered, Some(refused))
    }

    fn end(&self, id: ChunkId, fate: Fate, apart: Option<Apart>) -> Result<(), BufferError> {
        let chunk = self.0.shared.claim(id).ok_or(BufferError::UnknownChunk(id))?;
        self.0.driver.submit(Request::Remove { chunk, fate, apart });
        Ok(())
    }

    /// The chunk was not delivered: it comes again, not before the moment given. Others are not held up. Once the buffer
    /// is closed it stays in its file and is not handed out again by this process.
    pub fn give_back(&self, id: ChunkId, not_before: Instant) {
        self.0.shared.give_back(id, not_before);
    }

    /// The chunk will never be delivered: it is kept in `backup_dir` with the reason beside it ([`Letter`]). If that
    /// fails, it comes again a minute later.
    pub fn set_aside(&self, id: ChunkId, refusal: Refusal) {
        let Some(chunk) = self.0.shared.claim(id) else { return };
        let (shared, cause) = (self.0.shared.clone(), refusal.cause);
        if self.0.durable {
            let answer = Box::new(move |writer: &mut Writer, chunk: Arc<Chunk>, result: io::Result<()>| {
                if shared.set_aside(&chunk, result) {
                    writer.forget(&chunk, cause);
                }
            });
            self.0.driver.submit(Request::SetAside { chunk, refusal, answer });
        } else {
            let done = memory::set_aside(shared, chunk, refusal);
            let mut asides = self.0.asides.lock().unwrap_or_else(PoisonError::into_inner);
            asides.retain_mut(|aside| aside.try_recv() == Err(oneshot::error::TryRecvError::Empty));
            asides.push(done);
        }
    }

    /// Keeps events in `backup_dir` that never were in a chunk, because none may hold them; as a chunk file with the reason
    /// beside it, durable when this returns. Gives the file. What comes again with the same origin is kept once.
    ///
    /// Errors: what the disk says; then nothing of it is kept.
    pub async fn keep_aside(&self, events: &Batch, origin: &Origin, refusal: Refusal) -> io::Result<PathBuf> {
        let path = memory::keep(self.0.shared.clone(), events, origin, refusal).await?;
        let counts = &self.0.shared.counts;
        counts.aside_chunks.fetch_add(1, Relaxed);
        counts.aside_events.fetch_add(u64::from(events.len()), Relaxed);
        Ok(path)
    }

    /// The chunk will never be delivered, and the configuration says that such chunks are not kept.
    pub fn discard(&self, id: ChunkId, reason: &str) {
        let Some(chunk) = self.0.shared.claim(id) else { return };
        let counts = &self.0.shared.counts;
        counts.discarded_chunks.fetch_add(1, Relaxed);
        counts.discarded_events.fetch_add(chunk.count, Relaxed);
        warn!("{}: chunk {id} with {} events is discarded: {reason}", self.0.shared.config.id, chunk.count);
        self.0.driver.submit(Request::Remove { chunk, fate: Fate::Discarded, apart: None });
    }

    /// Queues everything that is staged.
    pub fn flush_all(&self) {
        self.0.driver.submit(Request::FlushAll);
    }

    /// Takes nothing more. With `flush_at_shutdown` everything is queued and handed out, each chunk once more at most;
    /// else a file buffer hands out nothing more and keeps everything.
    pub fn close(&self) {
        self.0.shared.close();
        self.0.driver.submit(Request::Close);
    }

    /// Ends the buffer after [`close`](Self::close): waits for the disk, gives the lock back. A line for
    /// everything that is lost with the process; a file buffer loses nothing.
    pub async fn finish(&self) -> Vec<String> {
        self.close();
        let asides = std::mem::take(&mut *self.0.asides.lock().unwrap_or_else(PoisonError::into_inner));
        for aside in asides {
            let _ = aside.await;
        }
        let (answer, stopped) = oneshot::channel();
        self.0.driver.submit(Request::Stop(answer));
        let staged = stopped.await.unwrap_or_default();
        self.0.driver.join();
        let left = self.0.shared.end();
        if self.0.durable {
            return Vec::new();
        }
        let mut ledger = self.0.shared.ledger();
        ledger.lose();
        drop(ledger);
        let chunks = left.len() + staged.chunks;
        let events = left.iter().map(|c| c.count).sum::<u64>() + staged.events;
        let lost = (chunks > 0)
            .then(|| format!("{events} events in {chunks} chunks were only in memory and are lost with the process"));
        lost.into_iter().collect()
    }

    /// Whether what is stored outlives the process.
    pub fn is_durable(&self) -> bool {
        self.0.durable
    }

    /// Lengths, sizes and counts.
    pub fn stats(&self) -> BufferStats {
        self.0.shared.stats()
    }

    /// The ledger: what was taken in, and what became of it.
    pub fn accounts(&self) -> BTreeMap<AccountKey, Account> {
        self.0.shared.ledger().accounts()
    }

    /// The newest positions that this buffer holds or has held of a stream and of each [way](Origin::branch) that it came.
    pub fn positions(&self, stream: &str) -> Vec<u64> {
        self.0.shared.origins().positions(stream)
    }

    /// The newest position of a stream that this buffer holds or has held.
    #[cfg(test)]
    pub(crate) fn newest(&self, stream: &str) -> Option<u64> {
        self.0.shared.origins().newest(stream)
    }

    /// Whether this buffer holds or has held what came from there: a stream's batch up to that position or a later one,
    /// or a batch with that once id, of which it remembers the last 100,000.
    pub fn has(&self, origin: &Origin) -> bool {
        let origins = self.0.shared.origins();
        match origin {
            Origin::None => false,
            Origin::Stream { stream, upto } => origins.newest(stream).is_some_and(|newest| newest >= *upto),
            Origin::Once(id) => origins.seen(id),
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Buffer").field(&self.0.shared.config.id).finish()
    }
}
