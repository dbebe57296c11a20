//! A sealed chunk, as an output sees it: an id, a key and blocks of entries that never change again.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::env::{DiskFile, Env};
use super::frame::{self, FRAME_HEAD, FRAME_MARK, Frame};
use super::id::ChunkId;
use super::key::ChunkKey;
use super::setaside;
use crate::event::{Batch, EventTime, Tag};

/// Largest size of a compressed frame's entries, in bytes.
const MAX_INFLATED: usize = 1 << 30;
/// Bytes read at once while looking for the next frame behind a bad one.
const RESYNC_BLOCK: usize = 1 << 20;

/// A run of entries under one tag.
#[derive(Clone, Debug)]
pub struct Block {
    /// The events' tag.
    pub tag: Tag,
    /// Plain entries.
    pub entries: Bytes,
    /// Number of events.
    pub count: u32,
}

pub(super) enum Data {
    Memory(Vec<Frame>),
    File(FileData),
}

#[derive(Clone)]
pub(super) struct FileData {
    pub env: Env,
    pub path: PathBuf,
    pub backup: PathBuf,
}

/// A sealed chunk.
pub struct Chunk {
    pub(super) id: ChunkId,
    pub(super) key: ChunkKey,
    pub(super) created: EventTime,
    pub(super) bytes: u64,
    pub(super) count: u32,
    pub(super) data: Data,
}

impl Chunk {
    /// A chunk of one batch that is in no buffer, for outputs that write as events come.
    pub fn direct(batch: &Batch) -> Chunk {
        let frame = Frame { origin: Default::default(), tag: None, count: batch.len(), entries: batch.bytes().clone() };
        Chunk {
            id: ChunkId::new(EventTime::now(), [0; 10]),
            key: ChunkKey { tag: Some(batch.tag.clone()), time: None, fields: Vec::new() },
            created: EventTime::now(),
            bytes: batch.bytes().len() as u64,
            count: batch.len(),
            data: Data::Memory(vec![frame]),
        }
    }

    /// Its id: the same for every attempt, also after a crash.
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// What its events have in common.
    pub fn key(&self) -> &ChunkKey {
        &self.key
    }

    /// When it was created.
    pub fn created(&self) -> EventTime {
        self.created
    }

    /// Size of its entries in bytes; of a chunk found at the start, that of its file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of events.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The blocks in order. Reading a file chunk blocks the thread for the time of a read of one frame. A damaged frame is
    /// passed over after the file was set aside; an error means that the file can't be read now.
    pub fn blocks(&self) -> Blocks<'_> {
        Blocks { chunk: self, at: 0, file: None, damaged: false }
    }

    fn block(&self, frame: Frame) -> Block {
        let tag = frame.tag.or_else(|| self.key.tag.clone()).unwrap_or_else(|| Tag::from(""));
        Block { tag, entries: frame.entries, count: frame.count }
    }
}

/// Walks over a chunk's blocks.
pub struct Blocks<'c> {
    chunk: &'c Chunk,
    at: u64,
    file: Option<Arc<dyn DiskFile>>,
    damaged: bool,
}

impl Iterator for Blocks<'_> {
    type Item = std::io::Result<Block>;

    fn next(&mut self) -> Option<Self::Item> {
        match &self.chunk.data {
            Data::Memory(frames) => {
                let frame = frames.get(self.at as usize)?;
                self.at += 1;
                Some(Ok(self.chunk.block(frame.clone())))
            }
            Data::File(file) => self.read(file).transpose(),
        }
    }
}

impl Blocks<'_> {
    fn read(&mut self, data: &FileData) -> std::io::Result<Option<Block>> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let file = data.env.disk.open(&data.path)?;
                self.at = frames_start(&*file)?;
                self.file.insert(file).clone()
            }
        };
        loop {
            let mut head = [0; FRAME_HEAD];
            let got = file.read_at(&mut head, self.at)?;
            if got == 0 {
                return Ok(None);
            }
            if let Some(frame) = read_frame(&*file, self.at, &head[..got])? {
                self.at += (FRAME_HEAD + frame.1) as u64;
                return Ok(Some(self.chunk.block(frame.0)));
            }
            self.damage(data)?;
            match next_frame(&*file, self.at + 1)? {
                Some(at) => self.at = at,
                None => return Ok(None),
            }
        }
    }

    fn damage(&mut self, data: &FileData) -> std::io::Result<()> {
        if !self.damaged {
            self.damaged = true;
            let reason = format!("a frame at offset {} is damaged; the others were delivered", self.at);
            setaside::copy(&data.env, &data.path, &data.backup, &reason)?;
        }
        Ok(())
    }
}

/// Offset of the first frame.
pub(super) fn frames_start(file: &dyn DiskFile) -> std::io::Result<u64> {
    let mut fixed = [0; frame::FILE_HEAD];
    let got = file.read_at(&mut fixed, 0)?;
    let len = frame::header_len(&fixed[..got]).map_err(std::io::Error::other)?;
    Ok((frame::FILE_HEAD + len) as u64)
}

fn read_frame(file: &dyn DiskFile, at: u64, head: &[u8]) -> std::io::Result<Option<(Frame, usize)>> {
    let Some(parsed) = frame::frame_head(head) else { return Ok(None) };
    // The length is believed only as far as the file goes.
    if at + (FRAME_HEAD + parsed.len) as u64 > file.len()? {
        return Ok(None);
    }
    let mut body = vec![0; parsed.len];
    if file.read_at(&mut body, at + FRAME_HEAD as u64)? < body.len() || !frame::is_whole(head, &body) {
        return Ok(None);
    }
    Ok(frame::open_frame(&parsed, body.into(), MAX_INFLATED).ok().map(|f| (f, parsed.len)))
}

/// The next offset from `at` on where a whole frame begins.
pub(super) fn next_frame(file: &dyn DiskFile, mut at: u64) -> std::io::Result<Option<u64>> {
    let mut block = vec![0; RESYNC_BLOCK];
    loop {
        let got = file.read_at(&mut block, at)?;
        if got < FRAME_HEAD {
            return Ok(None);
        }
        for found in memchr::memmem::find_iter(&block[..got], FRAME_MARK) {
            let start = at + found as u64;
            let mut head = [0; FRAME_HEAD];
            let n = file.read_at(&mut head, start)?;
            if read_frame(file, start, &head[..n])?.is_some() {
                return Ok(Some(start));
            }
        }
        // A mark may lie across the border of two blocks.
        at += (got - (FRAME_MARK.len() - 1)) as u64;
    }
}

