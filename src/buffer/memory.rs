//! Setting aside what is in no file: chunks of a memory buffer, and events that no chunk may hold. They become chunk files
//! like those of a file buffer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::aside::Aside;
use super::chunk::{Chunk, Source};
use super::files::Framed;
use super::format::{Header, MAX_TAG, encode_origin};
use super::id::ChunkId;
use super::key::ChunkKey;
use super::ledger::Fate;
use super::letter::{Note, Refusal};
use super::origin::Origin;
use super::removal::settled;
use super::shared::Shared;
use super::split::Frame;
use crate::event::{Batch, Tag};

/// Writes a chunk into the backup directory and forgets it; in a thread of its own, because the caller is async. The
/// receiver ends with it.
pub(super) fn set_aside(shared: Arc<Shared>, chunk: Arc<Chunk>, refusal: Refusal) -> oneshot::Receiver<()> {
    let (ended, done) = oneshot::channel();
    let (spare, kept) = (shared.clone(), chunk.clone());
    let work = move || {
        let settled = settled(&shared, &chunk, Fate::SetAside(refusal.cause), None);
        let result = write(&shared, &chunk, refusal).map(drop);
        if shared.set_aside(&chunk, result) {
            shared.ledger().settle(&settled);
            shared.forget(&chunk);
            chunk.done.tell();
        }
        drop(ended);
    };
    if let Err(e) = spawn(work) {
        spare.set_aside(&kept, Err(e));
    }
    done
}

/// Writes events that never were in a chunk into the backup directory. The same events with the same origin are kept
/// once. Gives the file.
pub(super) async fn keep(
    shared: Arc<Shared>,
    events: &Batch,
    origin: &Origin,
    refusal: Refusal,
) -> io::Result<PathBuf> {
    let key = ChunkKey { tag: Some(short(&events.tag)), ..ChunkKey::default() };
    let mut chunk = Chunk::of(key, events);
    if let Some(id) = id_of(events, origin) {
        chunk.id = id;
    }
    let (answer, done) = oneshot::channel();
    spawn(move || {
        // Whoever waits has gone: the events are kept all the same.
        let _ = answer.send(write(&shared, &chunk, refusal));
    })?;
    done.await.unwrap_or_else(|_| Err(io::Error::other("the thread that sets aside failed")))
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("buf aside".to_owned()).spawn(work).map(drop)
}

/// A tag of such a length may be what is wrong with the events; the reason has its length.
fn short(tag: &Tag) -> Tag {
    Tag::from(&tag[..tag.floor_char_boundary(MAX_TAG)])
}

fn id_of(events: &Batch, origin: &Origin) -> Option<ChunkId> {
    if *origin == Origin::None {
        return None;
    }
    let mut from = Vec::new();
    encode_origin(&origin.bounded(), &mut from);
    let digest = Sha256::new().chain_update(from).chain_update(&*events.tag).chain_update(events.bytes()).finalize();
    digest.first_chunk().copied().map(ChunkId)
}

fn write(shared: &Shared, chunk: &Chunk, refusal: Refusal) -> io::Result<PathBuf> {
    let config = &shared.config;
    let name = format!("{}.chunk", chunk.id);
    let aside = Aside {
        disk: shared.env.disk.clone(),
        clock: shared.env.clock.clone(),
        dir: config.backup_dir.clone(),
        file_mode: config.file_mode,
        dir_mode: config.dir_mode,
        output: Arc::from(config.id.as_str()),
    };
    let path = aside.dir.join(&name);
    let Source::Memory(held) = &chunk.source else { return Ok(path) };
    if aside.holds(&name) {
        return Ok(path);
    }
    let frames = held.get().ok_or_else(|| io::Error::other("its events were given up once they were written"))?;
    let header = Header { id: chunk.id, created: chunk.created, key: (*chunk.key).clone() }.encode();
    let framed: Vec<(Vec<u8>, &Frame)> = frames.iter().map(|frame| (head(chunk.id, frame), frame)).collect();
    let len = framed.iter().map(|(head, frame)| head.len() + frame.payload.len()).sum::<usize>() + header.len();
    let note = Note::of(refusal).chunk(Some(chunk.id)).events(Some(chunk.count));
    aside.write(&name, len as u64, &note, |file| {
        file.append(&[&header])?;
        framed.iter().try_for_each(|(head, frame)| file.append(&[head, &frame.payload]))
    })?;
    Ok(path)
}

fn head(id: ChunkId, frame: &Frame) -> Vec<u8> {
    // In memory nothing was summed.
    let frame = Frame { crc: crc32c::crc32c(&frame.payload), ..frame.clone() };
    let mut head = Vec::new();
    Framed { frame, origin: Origin::None, partial: false, entered: None }.head(0).encode(id, &mut head);
    head
}
