//! The thread that owns a file buffer's directory: every write, sync and removal happens here.
//!
//! Group commit: requests that arrive while a sync runs are written together afterwards, synced once per touched file,
//! and answered together. Nothing is answered before its sync. When a write fails, everything that the group wrote is cut
//! off again and each request is tried alone; when a sync fails, that file is never written again (its synced part stays a
//! chunk) and the data goes to a new one.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

use super::buffer::{BufferError, Shared};
use super::chunk::FileData;
use super::env::DiskFile;
use super::frame::{self, Frame};
use super::id::ChunkId;
use super::key::ChunkKey;
use super::origin::Origin;
use super::receipt::{Fate, Receipt};
use super::setaside;
use super::state::{Staged, StagedFile};

/// Requests that share one sync, at most.
const MAX_GROUP: usize = 4096;
/// Bytes that share one sync, at most; more are written in the next group.
const MAX_GROUP_BYTES: usize = 32 << 20;
/// Size of the journal of delivered origins at which it is written anew.
const MAX_JOURNAL: u64 = 16 << 20;
/// Name of that journal.
pub const JOURNAL: &str = "origins.log";

/// An append that waits for its sync.
pub struct Append {
    /// Frames by chunk key.
    pub frames: Vec<(ChunkKey, Frame)>,
    /// Where the batch came from.
    pub origin: Origin,
    /// Gets the answer.
    pub reply: oneshot::Sender<Result<Receipt, BufferError>>,
}

impl Append {
    fn bytes(&self) -> usize {
        self.frames.iter().map(|(_, f)| f.entries.len()).sum()
    }
}

/// What the thread is asked for.
pub enum Request {
    /// Store a batch.
    Append(Append),
    /// A chunk was delivered: note its origins, remove its file.
    Remove(PathBuf, Vec<Origin>),
    /// A chunk is given up: note its origins, move its file to the backup directory.
    SetAside(PathBuf, Vec<Origin>, String),
    /// Finish what is asked so far and end.
    Stop(oneshot::Sender<()>),
}

/// Starts the thread.
pub fn spawn(shared: Arc<Shared>, dir: PathBuf, journal: Journal) -> io::Result<Sender<Request>> {
    let (sender, requests) = channel();
    let name = format!("buffer {}", shared.config.id);
    let name: String = name.chars().filter(|c| *c != '\0').take(15).collect();
    let mut owner = Owner { shared, dir, journal, sealed_by_failure: HashSet::new() };
    std::thread::Builder::new().name(name).spawn(move || owner.run(&requests))?;
    Ok(sender)
}

struct Owner {
    shared: Arc<Shared>,
    dir: PathBuf,
    journal: Journal,
    /// Chunks whose sync failed in this group.
    sealed_by_failure: HashSet<ChunkId>,
}

/// A file that a group writes to.
struct Touched {
    key: ChunkKey,
    file: StagedFile,
    pending: Vec<u8>,
    bytes: u64,
    count: u32,
    fate: Arc<Fate>,
    origins: Vec<Origin>,
    is_new: bool,
}

impl Owner {
    fn run(&mut self, requests: &Receiver<Request>) {
        let mut stopped = None;
        while stopped.is_none()
            && let Ok(first) = requests.recv()
        {
            let (mut group, mut bytes) = (Vec::new(), 0);
            let mut next = Some(first);
            while let Some(request) = next.take() {
                match request {
                    Request::Append(append) => {
                        bytes += append.bytes();
                        group.push(append);
                    }
                    Request::Remove(path, origins) => self.remove(&path, &origins),
                    Request::SetAside(path, origins, reason) => self.set_aside(&path, &origins, &reason),
                    Request::Stop(reply) => stopped = Some(reply),
                }
                if stopped.is_none() && group.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
                    next = requests.try_recv().ok();
                }
            }
            self.appends(group);
        }
        if let Some(reply) = stopped {
            // Nobody may be waiting any more.
            let _ = reply.send(());
        }
    }

    fn appends(&mut self, group: Vec<Append>) {
        if group.is_empty() {
            return;
        }
        match self.store(&group) {
            Ok(receipts) => {
                for (append, receipt) in group.into_iter().zip(receipts) {
                    self.answer(append, Ok(receipt));
                }
            }
            Err(_) if group.len() > 1 => group.into_iter().for_each(|append| self.appends(vec![append])),
            Err(_) => {
                // A file whose sync failed is out of use by now: the second attempt goes to a new one.
                for append in group {
                    let result = self.store(std::slice::from_ref(&append));
                    let result = result.map(|mut r| r.pop().unwrap_or_else(Receipt::durable));
                    self.answer(append, result.map_err(|e| BufferError::Disk(e.to_string())));
                }
            }
        }
    }

    fn answer(&self, append: Append, result: Result<Receipt, BufferError>) {
        if result.is_err() {
            self.shared.release(append.bytes() as u64);
        }
        // A caller that went away has no use for the answer; the data is stored all the same.
        let _ = append.reply.send(result);
    }

    /// Writes and syncs a group; all of it or nothing.
    fn store(&mut self, group: &[Append]) -> io::Result<Vec<Receipt>> {
        let mut touched: HashMap<ChunkId, Touched> = HashMap::new();
        let mut order = Vec::new();
        let written = self.collect(group, &mut touched, &mut order).and_then(|receipts| {
            for id in &order {
                if let Some(t) = touched.get(id) {
                    self.write(*id, t)?;
                }
            }
            if touched.values().any(|t| t.is_new) {
                self.shared.env.disk.sync_dir(&self.dir)?;
            }
            Ok(receipts)
        });
        match &written {
            Ok(_) => self.publish(touched),
            Err(e) => self.undo(touched, e),
        }
        written
    }

    fn collect(
        &self,
        group: &[Append],
        touched: &mut HashMap<ChunkId, Touched>,
        order: &mut Vec<ChunkId>,
    ) -> io::Result<Vec<Receipt>> {
        let mut receipts = Vec::with_capacity(group.len());
        for append in group {
            let mut fates = Vec::new();
            for (key, frame) in &append.frames {
                let id = self.place(key, frame, touched, order)?;
                let Some(t) = touched.get_mut(&id) else { continue };
                frame::put_frame(&mut t.pending, frame, self.shared.config.compress)?;
                t.bytes += frame.entries.len() as u64;
                t.count += frame.count;
                t.origins.push(append.origin.clone());
                fates.push(t.fate.clone());
            }
            receipts.push(Receipt::of(true, fates));
        }
        Ok(receipts)
    }

    /// The chunk that a frame goes to: the staged one of its key while it has room, else a new one.
    fn place(
        &self,
        key: &ChunkKey,
        frame: &Frame,
        touched: &mut HashMap<ChunkId, Touched>,
        order: &mut Vec<ChunkId>,
    ) -> io::Result<ChunkId> {
        let config = &self.shared.config;
        let fits = |bytes: u64, count: u32| {
            bytes + frame.entries.len() as u64 <= config.chunk_limit_size
                && config.chunk_limit_records.is_none_or(|limit| u64::from(count + frame.count) <= limit)
        };
        let mut state = self.shared.state();
        if let Some(staged) = state.staged.get_mut(key)
            && let Some(file) = staged.file.clone()
        {
            let more = touched.get(&staged.id).map_or((0, 0), |t| (t.bytes, t.count));
            if fits(staged.bytes + more.0, staged.count + more.1) || staged.count + more.1 == 0 {
                staged.writing = true;
                let id = staged.id;
                if !touched.contains_key(&id) {
                    order.push(id);
                    touched.insert(id, Touched::of(key, staged, file));
                }
                return Ok(id);
            }
            self.shared.retire(&mut state, key);
        }
        drop(state);
        let (id, new) = self.create(key)?;
        order.push(id);
        touched.insert(id, new);
        Ok(id)
    }

    fn create(&self, key: &ChunkKey) -> io::Result<(ChunkId, Touched)> {
        let (env, config) = (&self.shared.env, &self.shared.config);
        let created = (env.now)();
        let id = ChunkId::new(created, (env.random)());
        let path = self.dir.join(format!("buffer.{id}.chunk"));
        let file = env.disk.create(&path, config.file_mode)?;
        let header = frame::put_header(&frame::FileHeader { id, created, key: key.clone() });
        if let Err(e) = file.write_at(&header, 0) {
            // Nothing is in it; what can't be removed is found empty at the next start.
            let _ = env.disk.remove(&path);
            return Err(e);
        }
        let data = FileData { env: env.clone(), path, backup: config.backup_dir.clone() };
        let mut staged = Staged::new(id, created);
        let file = StagedFile { file, data, len: header.len() as u64 };
        staged.file = Some(file.clone());
        staged.writing = true;
        let mut touched = Touched::of(key, &staged, file);
        touched.is_new = true;
        self.shared.state().staged.insert(key.clone(), staged);
        Ok((id, touched))
    }

    fn write(&mut self, id: ChunkId, t: &Touched) -> io::Result<()> {
        t.file.file.write_at(&t.pending, t.file.len)?;
        self.shared.syncs.fetch_add(1, Relaxed);
        if let Err(e) = t.file.file.sync() {
            self.sealed_by_failure.insert(id);
            return Err(e);
        }
        Ok(())
    }

    fn publish(&mut self, touched: HashMap<ChunkId, Touched>) {
        let mut state = self.shared.state();
        for (id, t) in touched {
            for origin in &t.origins {
                state.origins.note(origin);
            }
            let grow = |staged: &mut Staged| {
                staged.writing = false;
                staged.bytes += t.bytes;
                staged.count += t.count;
                t.origins.iter().for_each(|o| staged.note(o));
                if let Some(file) = &mut staged.file {
                    file.len += t.pending.len() as u64;
                }
            };
            self.shared.settle(&mut state, &t.key, id, grow);
        }
        drop(state);
        self.shared.ready.notify_waiters();
    }

    /// Cuts off what a failed group wrote. Files that were new and hold nothing are removed.
    fn undo(&mut self, touched: HashMap<ChunkId, Touched>, e: &io::Error) {
        tracing::error!("buffer \"{}\": can't write {}: {e}", self.shared.config.id, self.dir.display());
        for (id, t) in touched {
            if let Err(e) = t.file.file.set_len(t.file.len) {
                tracing::error!("can't cut {}: {e}", t.file.data.path.display());
            }
            let broken = self.sealed_by_failure.remove(&id) || t.is_new;
            let empty = self.shared.abandon(&t.key, id, broken);
            if empty {
                // It is found empty at the next start where this fails.
                let _ = self.shared.env.disk.remove(&t.file.data.path);
            }
        }
    }

    fn remove(&mut self, path: &Path, origins: &[Origin]) {
        if !self.note(origins) {
            return;
        }
        if let Err(e) = self.shared.env.disk.remove(path) {
            tracing::error!("can't remove the delivered chunk {}: {e}", path.display());
        }
    }

    fn set_aside(&mut self, path: &Path, origins: &[Origin], reason: &str) {
        if !self.note(origins) {
            return;
        }
        if let Err(e) = setaside::relocate(&self.shared.env, path, &self.shared.config.backup_dir, reason) {
            tracing::error!("can't set {} aside, it stays where it is: {e}", path.display());
        }
    }

    /// Without its origins noted a chunk is not removed: it would come again, but never be lost.
    fn note(&mut self, origins: &[Origin]) -> bool {
        let noted = self.journal.add(origins).and_then(|()| self.journal.compact_when_large(&self.shared));
        if let Err(e) = &noted {
            tracing::error!("can't note delivered origins: {e}; the chunk stays in the buffer until the next start");
        }
        noted.is_ok()
    }
}

impl Touched {
    fn of(key: &ChunkKey, staged: &Staged, file: StagedFile) -> Touched {
        Touched {
            key: key.clone(),
            file,
            pending: Vec::new(),
            bytes: 0,
            count: 0,
            fate: staged.fate.clone(),
            origins: Vec::new(),
            is_new: false,
        }
    }
}

/// The journal of delivered origins: frames without entries, synced before a chunk's file is removed.
pub struct Journal {
    dir: PathBuf,
    mode: u32,
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl Journal {
    /// Opens the journal and hands every origin in it to `each`.
    pub fn open(env: &super::Env, dir: &Path, mode: u32, mut each: impl FnMut(Origin)) -> io::Result<Journal> {
        let path = dir.join(JOURNAL);
        let file = match env.disk.open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let file = env.disk.create(&path, mode)?;
                env.disk.sync_dir(dir)?;
                file
            }
            Err(e) => return Err(e),
        };
        let mut bytes = vec![0; usize::try_from(file.len()?.min(4 * MAX_JOURNAL)).unwrap_or(0)];
        let got = file.read_at(&mut bytes, 0)?;
        let mut at = 0;
        while let Some(head) = frame::frame_head(&bytes[at..got]) {
            let end = at + frame::FRAME_HEAD + head.len;
            let body = &bytes[(at + frame::FRAME_HEAD).min(got)..end.min(got)];
            if !frame::is_whole(&bytes[at..(at + frame::FRAME_HEAD).min(got)], body) {
                break;
            }
            each(frame::origin_of(&head, body));
            at = end;
        }
        // What follows a torn entry was never relied upon: its chunk's file was not removed.
        file.set_len(at as u64)?;
        Ok(Journal { dir: dir.to_owned(), mode, file, len: at as u64 })
    }

    fn add(&mut self, origins: &[Origin]) -> io::Result<()> {
        let mut out = Vec::new();
        for origin in origins.iter().filter(|o| **o != Origin::None) {
            put_origin(&mut out, origin)?;
        }
        if out.is_empty() {
            return Ok(());
        }
        self.file.write_at(&out, self.len)?;
        self.file.sync()?;
        self.len += out.len() as u64;
        Ok(())
    }

    fn compact_when_large(&mut self, shared: &Shared) -> io::Result<()> {
        if self.len < MAX_JOURNAL {
            return Ok(());
        }
        let mut out = Vec::new();
        for origin in shared.state().origins.all() {
            put_origin(&mut out, &origin)?;
        }
        let disk = &shared.env.disk;
        let fresh = self.dir.join("origins.new");
        // A former attempt may have left it.
        let _ = disk.remove(&fresh);
        let file = disk.create(&fresh, self.mode)?;
        file.write_at(&out, 0)?;
        file.sync()?;
        disk.rename(&fresh, &self.dir.join(JOURNAL))?;
        disk.sync_dir(&self.dir)?;
        (self.file, self.len) = (file, out.len() as u64);
        Ok(())
    }
}

fn put_origin(out: &mut Vec<u8>, origin: &Origin) -> io::Result<()> {
    let frame = Frame { origin: origin.clone(), tag: None, count: 0, entries: bytes::Bytes::new() };
    frame::put_frame(out, &frame, crate::event::Packing::Plain)
}
