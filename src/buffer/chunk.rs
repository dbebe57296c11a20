//! A sealed chunk: its bytes never change again, and it is read in blocks of bounded size.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use tracing::error;

use super::config::MAX_INFLATED_BATCH;
use super::env::{DiskFile, Env};
use super::files::Folder;
use super::format::Head;
use super::id::{ChunkId, IdSource};
use super::key::ChunkKey;
use super::ledger::Shares;
use super::letter::{Cause, Note};
use super::receipt::Done;
use super::split::Frame;
use super::walk::{Step, Walk};
use crate::event::pack::{self, InflateError};
use crate::event::{Batch, Packing, Tag};

/// Small frames are gathered into blocks of up to this many bytes.
const GATHER: usize = 256 << 10;

/// Events that go to a target as one piece of work. Id, key and bytes never change.
pub struct Chunk {
    pub(super) id: ChunkId,
    pub(super) key: Arc<ChunkKey>,
    /// Microseconds since the epoch.
    pub(super) created: i64,
    pub(super) bytes: u64,
    pub(super) count: u64,
    /// Whether any frame has an origin that must be remembered.
    pub(super) has_origins: bool,
    /// Events by account of the ledger.
    pub(super) shares: Shares,
    /// Events that the last reading to the end did not find.
    pub(super) unread: AtomicU64,
    /// An output has written something down about it.
    pub(super) has_memo: AtomicBool,
    pub(super) source: Source,
    pub(super) done: Done,
    /// Frames that were found damaged while reading.
    pub(super) damaged: Arc<AtomicU64>,
}

/// Where a chunk's bytes are.
pub(super) enum Source {
    Memory(Frames),
    File(ChunkFile),
}

/// The frames of a chunk in memory, until they are given up.
pub(super) struct Frames(Mutex<Option<Arc<Vec<Frame>>>>);

impl Frames {
    pub(super) fn new(frames: Vec<Frame>) -> Frames {
        Frames(Mutex::new(Some(Arc::new(frames))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Vec<Frame>>>> {
        // Every change under the lock is whole by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None once they are given up.
    pub(super) fn get(&self) -> Option<Arc<Vec<Frame>>> {
        self.lock().clone()
    }
}

/// A chunk's file and the part of it that was acknowledged.
pub(super) struct ChunkFile {
    pub(super) folder: Arc<Folder>,
    /// Its name there.
    pub(super) name: Box<str>,
    /// Offset of the first frame.
    pub(super) start: u64,
    /// Offset behind the last acknowledged frame.
    pub(super) end: u64,
    /// Damaged bytes are set aside. Who only looks on from outside passes over them.
    pub(super) keeps_damage: bool,
}

impl ChunkFile {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path(&self.name)
    }

    pub(super) fn open(&self) -> io::Result<Box<dyn DiskFile>> {
        self.folder.disk.open(&self.path())
    }
}

/// Some of a chunk's events under one tag.
#[derive(Clone, Debug)]
pub struct Block {
    /// Their tag.
    pub tag: Tag,
    /// Plain entries. At most [`MAX_FRAME`](super::MAX_FRAME) bytes, unless it is a single larger entry.
    pub entries: Bytes,
    /// Number of entries.
    pub count: u32,
}

impl Chunk {
    /// A chunk that was never in a buffer, keyed by the batch's tag: for outputs that write as events come.
    pub fn direct(batch: &Batch) -> Chunk {
        Chunk::of(ChunkKey { tag: Some(batch.tag.clone()), ..ChunkKey::default() }, batch)
    }

    /// A chunk that was never in a buffer: one block with all events of a batch.
    pub fn of(key: ChunkKey, batch: &Batch) -> Chunk {
        let env = Env::real();
        let created = env.clock.wall_micros();
        let (payload, count) = (batch.bytes().clone(), batch.len());
        let bytes = payload.len() as u64;
        let plain = if batch.packing() == Packing::Plain { bytes as usize } else { MAX_INFLATED_BATCH };
        let frame = Frame {
            payload,
            plain: u32::try_from(plain).unwrap_or(u32::MAX),
            count,
            packing: batch.packing(),
            // As in a memory buffer: who writes it to a disk sums it.
            crc: 0,
            tag: Some(batch.tag.clone()),
        };
        Chunk {
            id: IdSource::default().next(created, (env.random.next(), env.random.next())),
            key: Arc::new(key),
            created,
            bytes,
            count: u64::from(count),
            has_origins: false,
            shares: Shares::default(),
            unread: AtomicU64::new(0),
            has_memo: AtomicBool::new(false),
            source: Source::Memory(Frames::new(vec![frame])),
            done: Done::unwatched(),
            damaged: Arc::default(),
        }
    }

    /// The chunk's id: the same over restarts, never used twice.
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// The same events under an id that they had before.
    pub fn with_id(self, id: ChunkId) -> Chunk {
        Chunk { id, ..self }
    }

    /// Damaged frames that were found while reading chunks of its buffer.
    pub fn damaged(&self) -> u64 {
        self.damaged.load(Relaxed)
    }

    /// What all its events have in common.
    pub fn key(&self) -> &ChunkKey {
        &self.key
    }

    /// When its first event came.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.created.max(0) as u64)
    }

    /// Bytes of entries as stored (packed, if the buffer packs).
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of events.
    pub fn count(&self) -> u32 {
        u32::try_from(self.count).unwrap_or(u32::MAX)
    }

    /// The events, block by block, in the order they came. Reads the disk in the calling thread, about 1 MiB at a time.
    ///
    /// A damaged frame is set aside, logged and counted, and the blocks behind it follow. Errors: the disk can't be
    /// read, or damage can't be set aside; the chunk is then to be given back.
    pub fn blocks(&self) -> Blocks<'_> {
        let state = match &self.source {
            Source::Memory(frames) => State::Memory(frames.get(), 0),
            Source::File(file) => State::Unopened(file),
        };
        Blocks { chunk: self, state, ahead: None, given: 0 }
    }

    /// Gives up what is held in memory; gives whether there was anything.
    pub(super) fn give_up(&self) -> bool {
        matches!(&self.source, Source::Memory(frames) if frames.lock().take().is_some())
    }

    /// Whether its bytes are no longer held.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(&self.source, Source::Memory(frames) if frames.lock().is_none())
    }

    fn block(&self, head_tag: Option<&Tag>, entries: Bytes, count: u32) -> Block {
        let tag = self.key.tag.as_ref().or(head_tag).cloned().unwrap_or_else(|| Tag::from(""));
        Block { tag, entries, count }
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Chunk");
        debug.field("id", &self.id).field("key", &self.key);
        debug.field("bytes", &self.bytes).field("count", &self.count).finish()
    }
}

/// The blocks of a chunk.
pub struct Blocks<'a> {
    chunk: &'a Chunk,
    state: State<'a>,
    /// What was read behind the block that was given last.
    ahead: Option<io::Result<Block>>,
    /// Events so far.
    given: u64,
}

enum State<'a> {
    /// The frames, and how many of them were given.
    Memory(Option<Arc<Vec<Frame>>>, usize),
    Unopened(&'a ChunkFile),
    Open(&'a ChunkFile, Box<dyn DiskFile>, Walk),
    Ended,
}

impl Iterator for Blocks<'_> {
    type Item = io::Result<Block>;

    fn next(&mut self) -> Option<io::Result<Block>> {
        match self.ahead.take().or_else(|| self.read())? {
            Ok(first) => Some(Ok(self.gather(first))),
            Err(e) => Some(Err(e)),
        }
    }
}

impl Blocks<'_> {
    fn read(&mut self) -> Option<io::Result<Block>> {
        let result = self.step();
        match &result {
            Ok(Some(block)) => self.given += u64::from(block.count),
            Ok(None) => self.chunk.unread.store(self.chunk.count.saturating_sub(self.given), Relaxed),
            Err(_) => self.state = State::Ended,
        }
        result.transpose()
    }

    /// Small frames are given together: what a target does per block is then done rarely.
    fn gather(&mut self, first: Block) -> Block {
        if first.entries.len() >= GATHER {
            return first;
        }
        let mut gathered: Option<BytesMut> = None;
        let Block { tag, entries, mut count } = first;
        loop {
            let held = gathered.as_ref().map_or(entries.len(), BytesMut::len);
            match self.read() {
                Some(Ok(next)) if next.tag == tag && held + next.entries.len() <= GATHER => {
                    let all = gathered.get_or_insert_with(|| BytesMut::from(&entries[..]));
                    all.extend_from_slice(&next.entries);
                    count += next.count;
                }
                other => {
                    self.ahead = other;
                    return Block { tag, entries: gathered.map_or(entries, BytesMut::freeze), count };
                }
            }
        }
    }
}

impl Blocks<'_> {
    fn step(&mut self) -> io::Result<Option<Block>> {
        if let State::Unopened(file) = self.state {
            let open = file.open()?;
            self.state = State::Open(file, open, Walk::new(self.chunk.id, file.start, file.end));
        }
        match &mut self.state {
            State::Memory(None, _) => Err(io::Error::other("its events were given up once they were written")),
            State::Memory(Some(frames), next) => {
                let frame = frames.get(*next);
                *next += 1;
                frame.map(|frame| memory_block(self.chunk, frame)).transpose()
            }
            State::Open(file, open, walk) => file_block(self.chunk, file, &**open, walk),
            State::Unopened(_) | State::Ended => Ok(None),
        }
    }
}

fn memory_block(chunk: &Chunk, frame: &Frame) -> io::Result<Block> {
    let entries = unpack(frame.payload.clone(), frame.packing, frame.plain).map_err(io::Error::other)?;
    Ok(chunk.block(frame.tag.as_ref(), entries, frame.count))
}

fn unpack(payload: Bytes, packing: Packing, plain: u32) -> Result<Bytes, InflateError> {
    if packing == Packing::Plain {
        return Ok(payload);
    }
    pack::inflate(&payload, packing, plain as usize).map(Bytes::from)
}

fn file_block(chunk: &Chunk, file: &ChunkFile, open: &dyn DiskFile, walk: &mut Walk) -> io::Result<Option<Block>> {
    while let Some(step) = walk.next(open)? {
        match step {
            Step::Frame { head, .. } if head.footer => {}
            Step::Frame { at, head } => match plain_entries(walk, open, at, &head)? {
                Some(entries) => return Ok(Some(chunk.block(head.tag.as_ref(), entries, head.count))),
                None => damaged(chunk, file, open, at, head.frame_len(), Some(head.count))?,
            },
            Step::Damage { at, len } => damaged(chunk, file, open, at, len, None)?,
        }
    }
    Ok(None)
}

/// The entries of a frame, unpacked; nothing if they are damaged.
pub(super) fn plain_entries(walk: &mut Walk, open: &dyn DiskFile, at: u64, head: &Head) -> io::Result<Option<Bytes>> {
    let stored = walk.entries(open, at, head)?;
    Ok(stored.and_then(|stored| unpack(stored, head.packing, head.plain).ok()))
}

fn damaged(
    chunk: &Chunk,
    file: &ChunkFile,
    open: &dyn DiskFile,
    at: u64,
    len: u64,
    count: Option<u32>,
) -> io::Result<()> {
    if !file.keeps_damage {
        chunk.damaged.fetch_add(1, Relaxed);
        return Ok(());
    }
    let name = format!("{}.{at}.damaged", chunk.id);
    let events = count.map_or("an unknown number of".to_owned(), |n| n.to_string());
    let path = file.path();
    let reason = format!(
        "{}: {len} bytes at offset {at} with {events} events do not match their checksum; the events around them are good",
        path.display()
    );
    let aside = file.folder.aside();
    let note = Note::new(Cause::Damaged, reason.as_str()).chunk(Some(chunk.id)).events(count.map(u64::from));
    if aside.copy(open, at, len, &name, &note.from(path, Some(at)))? {
        chunk.damaged.fetch_add(1, Relaxed);
        error!("{reason}. The bytes are in {}", aside.dir.join(&name).display());
    }
    Ok(())
}
