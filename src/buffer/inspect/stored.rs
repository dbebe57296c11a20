//! One file of a buffer, read from outside.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::accounts::Look;
use super::{State, Stored};
use crate::buffer::chunk::{Block, Chunk, ChunkFile, Source, plain_entries};
use crate::buffer::disk::ReadDisk;
use crate::buffer::env::{Disk, DiskFile, Env};
use crate::buffer::files::{Folder, Footer, Total, chunk_name, read_footer, read_header};
use crate::buffer::format::{BadHeader, Head, Header};
use crate::buffer::id::ChunkId;
use crate::buffer::journal::Remembered;
use crate::buffer::key::ChunkKey;
use crate::buffer::receipt::Done;
use crate::buffer::walk::{Step, Walk, is_zero};
use crate::event::{Entries, Tag};

/// Why a file can't be looked into.
#[derive(Debug)]
pub enum Unreadable {
    /// It went away meanwhile: delivered, or renamed.
    Gone,
    /// It is no chunk file, or none whose header can be read.
    NoChunk(String),
    /// It is empty: made, and nothing written into it yet.
    Empty,
    /// The system's answer.
    Disk(io::Error),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Gone => f.write_str("it went away meanwhile"),
            Unreadable::NoChunk(why) => f.write_str(why),
            Unreadable::Empty => f.write_str("the file is empty"),
            Unreadable::Disk(e) => e.fmt(f),
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(e: io::Error) -> Unreadable {
        if e.kind() == io::ErrorKind::NotFound { Unreadable::Gone } else { Unreadable::Disk(e) }
    }
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Flaw {
    /// Where it begins.
    pub at: u64,
    /// How many bytes it is about.
    pub len: u64,
    /// How many events, where that is known.
    pub events: Option<u32>,
    /// What is wrong.
    pub reason: String,
}

impl Flaw {
    fn new(at: u64, len: u64, events: Option<u32>, reason: impl Into<String>) -> Flaw {
        Flaw { at, len, events, reason: reason.into() }
    }
}

/// What comes next in a file.
#[derive(Debug)]
pub enum Piece {
    /// Good events.
    Block {
        /// Offset of their frame.
        at: u64,
        /// The events.
        block: Block,
    },
    /// Something that is wrong.
    Flaw(Flaw),
}

/// A file that is open for a look.
pub struct StoredChunk {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: Header,
    start: u64,
    size: u64,
    footer: Option<Footer>,
    header_flaw: Option<Flaw>,
    /// The end may be in the middle of being written.
    grows: bool,
    known: Option<Arc<Remembered>>,
}

impl Stored {
    /// Whether it is still in the directory, under this name or as what its chunk is called once it is sealed.
    pub(super) fn is_there(&self) -> bool {
        let sealed = self.id.map(|id| self.path.with_file_name(chunk_name(id, true)));
        self.path.exists() || sealed.is_some_and(|path| path.exists())
    }

    /// Opens the file for a look.
    pub fn open(&self) -> Result<StoredChunk, Unreadable> {
        let (file, path) = self.open_file()?;
        let size = file.size()?;
        let (header, start, header_flaw) = match self.state {
            State::Piece => (self.fragment()?, 0, None),
            _ => self.header(&*file)?,
        };
        let footer = read_footer(&*file, header.id)?;
        let grows = self.live && footer.is_none();
        // The journal speaks of this directory's frames alone; what is sealed was acknowledged.
        let known = self.known.clone().filter(|_| footer.is_none() && self.letter.is_none());
        Ok(StoredChunk { file, path, header, start, size, footer, header_flaw, grows, known })
    }

    /// A staged chunk may have been sealed since the directory was read.
    fn open_file(&self) -> Result<(Box<dyn DiskFile>, PathBuf), Unreadable> {
        match (ReadDisk.open(&self.path), self.id) {
            (Err(e), Some(id)) if e.kind() == io::ErrorKind::NotFound && self.state == State::Staged => {
                let sealed = self.path.with_file_name(chunk_name(id, true));
                Ok((ReadDisk.open(&sealed)?, sealed))
            }
            (opened, _) => Ok((opened?, self.path.clone())),
        }
    }

    /// What a part of a chunk file is read as: its frames are bound to the chunk's id, and its tag is not known.
    fn fragment(&self) -> Result<Header, Unreadable> {
        let id = self.id.ok_or_else(|| Unreadable::NoChunk("it is not known which chunk it is a part of".into()))?;
        Ok(Header { id, created: 0, key: ChunkKey::default() })
    }

    fn header(&self, file: &dyn DiskFile) -> Result<(Header, u64, Option<Flaw>), Unreadable> {
        let bad = match read_header(file)? {
            Ok((header, len)) => {
                let flaw = header_flaw(file, len)?;
                return Ok((header, len, flaw));
            }
            Err(BadHeader::Empty) => return Err(Unreadable::Empty),
            Err(bad) => bad,
        };
        let footer = self.id.map(|id| read_footer(file, id)).transpose()?.flatten();
        let Some(footer) = footer else { return Err(Unreadable::NoChunk(bad.to_string())) };
        let start = footer.header.encode().len() as u64;
        let flaw = Flaw::new(0, start, None, format!("{bad}; the copy in the footer is good"));
        Ok((footer.header, start, Some(flaw)))
    }
}

/// Whether one of the two copies of a header, together `len` bytes, is damaged.
fn header_flaw(file: &dyn DiskFile, len: u64) -> io::Result<Option<Flaw>> {
    let mut both = vec![0; len as usize];
    let got = crate::buffer::env::read_full(file, &mut both, 0)?;
    let half = both.len() / 2;
    let (first, second) = both.split_at(half);
    if got == both.len() && first == second {
        return Ok(None);
    }
    let first_is_good = Header::decode_one(first).is_ok();
    let (at, which) = if first_is_good { (half as u64, "second") } else { (0, "first") };
    let reason = format!("the {which} copy of the header does not match its checksum; the other is good");
    Ok(Some(Flaw::new(at, half as u64, None, reason)))
}

impl StoredChunk {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The chunk's id.
    pub fn id(&self) -> ChunkId {
        self.header.id
    }

    /// What all its events have in common.
    pub fn key(&self) -> &ChunkKey {
        &self.header.key
    }

    /// When its first event came.
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.header.created.max(0) as u64)
    }

    /// Length of the file when it was opened, in bytes; nothing behind that is looked at.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Events and stored bytes of them as the footer says, without a look at them.
    pub fn told(&self) -> Option<(u64, u64)> {
        self.footer.as_ref().map(|footer| (footer.total.count, footer.total.bytes))
    }

    /// Events and stored bytes of them, by the heads of frames alone.
    ///
    /// Errors: the disk can't be read.
    pub fn count(&self) -> io::Result<(u64, u64)> {
        match self.told() {
            Some(told) => Ok(told),
            None => self.measure().map(|(total, _)| (total.count, total.bytes)),
        }
    }

    /// Everything in the file, in order: good events and what is wrong.
    pub fn pieces(&self) -> Pieces<'_> {
        let walk = Walk::new(self.header.id, self.start, self.end());
        Pieces {
            chunk: self,
            walk,
            total: Total::default(),
            ahead: self.header_flaw.clone(),
            flawed: false,
            ended: false,
        }
    }

    /// The chunk as outputs take it: under its id, without the frames that are damaged. Nothing is set aside when it is
    /// read. Errors: the disk can't be read.
    pub fn to_chunk(&self) -> io::Result<Chunk> {
        let (total, end) = match &self.footer {
            Some(footer) => (footer.total.clone(), footer.at),
            None => self.measure()?,
        };
        let folder = Arc::new(self.folder());
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into();
        Ok(Chunk {
            id: self.header.id,
            key: Arc::new(self.header.key.clone()),
            created: self.header.created,
            bytes: total.bytes,
            count: total.count,
            has_origins: false,
            shares: total.tally.shares(),
            unread: AtomicU64::new(0),
            has_memo: AtomicBool::new(false),
            source: Source::File(ChunkFile { folder, name, start: self.start, end, keeps_damage: false }),
            done: Done::unwatched(),
            damaged: Arc::default(),
        })
    }

    fn folder(&self) -> Folder {
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Folder {
            disk: Arc::new(ReadDisk),
            clock: Env::real().clock,
            output: Arc::from(""),
            dir: dir.to_owned(),
            file_mode: 0,
            dir_mode: 0,
        }
    }

    fn end(&self) -> u64 {
        self.footer.as_ref().map_or(self.size, |footer| footer.at)
    }

    /// What the heads say, and the offset behind the last frame that counts.
    fn measure(&self) -> io::Result<(Total, u64)> {
        self.walk().map(|(look, end)| (look.total, end))
    }

    fn walk(&self) -> io::Result<(Look, u64)> {
        let (mut look, mut end) = (Look::default(), self.start);
        let mut walk = Walk::new(self.header.id, self.start, self.size);
        while let Some(step) = walk.next(&*self.file)? {
            let (at, head) = match step {
                Step::Frame { at, head } => (at, head),
                Step::Damage { at, len } => {
                    look.holes |= at + len < self.size;
                    continue;
                }
            };
            if head.footer || self.refused(&head).is_some() {
                break;
            }
            look.total.add(&head, self.header.key.tag.as_ref());
            look.group = look.group.max(head.group);
            end = at + head.frame_len();
        }
        Ok((look, end))
    }

    /// What the file holds, by the heads of frames alone.
    pub(super) fn look(&self) -> io::Result<Look> {
        match &self.footer {
            Some(footer) => {
                Ok(Look { total: footer.total.clone(), group: footer.group, sealed: true, ..Look::default() })
            }
            None => self.walk().map(|(look, _)| look),
        }
    }

    /// Why a frame does not count: recovery would set it aside.
    fn refused(&self, head: &Head) -> Option<&'static str> {
        self.known.as_ref()?.refused(head)
    }
}

impl fmt::Debug for StoredChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredChunk").field(&self.path).finish()
    }
}

/// The contents of a file.
pub struct Pieces<'a> {
    chunk: &'a StoredChunk,
    walk: Walk,
    total: Total,
    ahead: Option<Flaw>,
    flawed: bool,
    ended: bool,
}

impl Iterator for Pieces<'_> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<io::Result<Piece>> {
        if let Some(flaw) = self.ahead.take() {
            return Some(Ok(Piece::Flaw(flaw)));
        }
        if self.ended {
            return None;
        }
        let next = self.read();
        self.ended |= !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl Pieces<'_> {
    fn read(&mut self) -> io::Result<Option<Piece>> {
        let chunk = self.chunk;
        let Some(step) = self.walk.next(&*chunk.file)? else { return Ok(self.end_flaw().map(Piece::Flaw)) };
        let piece = match step {
            // The end is being written, or cut off again.
            Step::Damage { at, len } if chunk.grows && at + len >= chunk.size => return Ok(None),
            Step::Damage { at, len } => Piece::Flaw(self.damage(at, len)?),
            Step::Frame { at, head } if head.footer => {
                let reason =
                    "the footer does not match its checksum, or is not the end of the file; the events do without it";
                self.ended = true;
                Piece::Flaw(Flaw::new(at, chunk.size - at, None, reason))
            }
            Step::Frame { at, head } => match chunk.refused(&head) {
                Some(why) => {
                    self.ended = true;
                    Piece::Flaw(Flaw::new(at, chunk.size - at, Some(head.count), why))
                }
                None => self.frame(at, &head)?,
            },
        };
        self.flawed |= matches!(piece, Piece::Flaw(_));
        Ok(Some(piece))
    }

    fn frame(&mut self, at: u64, head: &Head) -> io::Result<Piece> {
        self.total.add(head, None);
        let flaw = |reason: String| Ok(Piece::Flaw(Flaw::new(at, head.frame_len(), Some(head.count), reason)));
        let Some(entries) = plain_entries(&mut self.walk, &*self.chunk.file, at, head)? else {
            return flaw("the entries do not match their checksum".into());
        };
        let whole = Entries::new(&entries).take_while(Result::is_ok).count();
        if whole != head.count as usize {
            return flaw(format!("{whole} entries can be read where the head says {}", head.count));
        }
        let key = &self.chunk.header.key;
        let tag = key.tag.clone().or_else(|| head.tag.clone()).unwrap_or_else(|| Tag::from(""));
        Ok(Piece::Block { at, block: Block { tag, entries, count: head.count } })
    }

    fn damage(&self, at: u64, len: u64) -> io::Result<Flaw> {
        let chunk = self.chunk;
        let reason = match (is_zero(&*chunk.file, at, at + len)?, at + len >= chunk.end()) {
            (true, _) => "zeros, as power cuts leave them",
            (false, true) => "bytes that are no whole frame",
            (false, false) => "the head of a frame does not match its checksum",
        };
        Ok(Flaw::new(at, len, None, reason))
    }

    /// What the footer says and the frames do not.
    fn end_flaw(&mut self) -> Option<Flaw> {
        self.ended = true;
        let footer = self.chunk.footer.as_ref()?;
        let (told, found) = ((footer.total.count, footer.total.bytes), (self.total.count, self.total.bytes));
        if self.flawed || told == found {
            return None;
        }
        let reason = format!(
            "the footer tells of {} events in {} bytes, the frames have {} in {}",
            told.0, told.1, found.0, found.1
        );
        Some(Flaw::new(footer.at, self.chunk.size - footer.at, None, reason))
    }
}
