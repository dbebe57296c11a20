//! Syncs of files that chunks were written to, behind the writers' back: the disk works on what was written while more is
//! written, and one sync answers for every chunk that a file got before it began.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::buffer::ChunkId;
use crate::plugin::Settling;

/// Most bytes that were written and not synced: what a stop waits for, and what a power cut makes a source send again.
const MAX_UNSYNCED_BYTES: usize = 512 << 20;
/// Bytes for one permit.
const PERMIT_BYTES: usize = 64 << 10;
/// Files that are synced at once.
const MAX_SYNCING: usize = 4;

/// A file that was written to.
pub struct Unsynced {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// Where a new file's name is.
    pub(super) directory: Option<File>,
    /// Bytes written.
    pub(super) bytes: usize,
}

/// See the module's description.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    files: HashMap<PathBuf, Waiting>,
    /// Threads that sync.
    running: usize,
    /// Of chunks that nobody has asked for yet.
    answers: HashMap<ChunkId, Settling>,
}

/// A file to be synced, and who waits for it.
struct Waiting {
    file: Arc<File>,
    directory: Option<File>,
    chunks: Vec<(oneshot::Sender<io::Result<()>>, OwnedSemaphorePermit)>,
}

impl Default for Syncer {
    fn default() -> Syncer {
        let room = Arc::new(Semaphore::new(MAX_UNSYNCED_BYTES / PERMIT_BYTES));
        Syncer { shared: Arc::default(), room }
    }
}

impl Syncer {
    /// Waits while too much is not synced yet, then lets a file be synced for a chunk.
    pub(super) async fn push(&self, chunk: ChunkId, written: Unsynced) -> io::Result<()> {
        let permits = written.bytes.div_ceil(PERMIT_BYTES).clamp(1, MAX_UNSYNCED_BYTES / PERMIT_BYTES);
        let room = self.room.clone().acquire_many_owned(permits as u32).await.map_err(io::Error::other)?;
        let (answer, settling) = oneshot::channel();
        let Unsynced { path, file, directory, .. } = written;
        let mut state = self.shared.state();
        state.answers.insert(chunk, settling);
        let waiting = state.files.entry(path).or_insert_with(|| Waiting { file, directory: None, chunks: Vec::new() });
        waiting.directory = directory.or(waiting.directory.take());
        waiting.chunks.push((answer, room));
        if state.running < MAX_SYNCING {
            state.running += 1;
            let shared = self.shared.clone();
            tokio::task::spawn_blocking(move || shared.run());
        }
        Ok(())
    }

    /// What becomes of a chunk that was pushed.
    pub(super) fn take(&self, chunk: ChunkId) -> Option<Settling> {
        self.shared.state().answers.remove(&chunk)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some(Waiting { file, directory, chunks }) = self.next() {
            let synced = file.sync_data().and_then(|()| directory.map_or(Ok(()), |d| d.sync_all()));
            for (answer, _room) in chunks {
                let result = synced.as_ref().map_err(|e| io::Error::new(e.kind(), e.to_string()));
                // Whoever waited has gone: the chunk is not forgotten, and comes again.
                let _ = answer.send(result.copied());
            }
        }
    }

    fn next(&self) -> Option<Waiting> {
        let mut state = self.state();
        let path = state.files.keys().next().cloned();
        let waiting = path.and_then(|path| state.files.remove(&path));
        if waiting.is_none() {
            state.running -= 1;
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::buffer::Chunk;
    use crate::event::{BatchBuilder, Tag};

    fn id() -> ChunkId {
        Chunk::direct(&BatchBuilder::new().finish(Tag::from("t"))).id()
    }

    fn unsynced(path: &str, file: File) -> Unsynced {
        Unsynced { path: path.into(), file: Arc::new(file), directory: None, bytes: 1 }
    }

    #[tokio::test]
    async fn every_chunk_of_a_file_gets_its_answer_once() {
        let dir = tempfile::tempdir().unwrap();
        let syncer = Syncer::default();
        let ids: Vec<ChunkId> = (0..50).map(|_| id()).collect();
        for (n, id) in ids.iter().enumerate() {
            let path = dir.path().join(format!("{}", n % 7));
            let file = File::options().create(true).append(true).open(&path).unwrap();
            syncer.push(*id, unsynced(path.to_str().unwrap(), file)).await.unwrap();
        }
        for id in &ids {
            syncer.take(*id).unwrap().await.unwrap().unwrap();
            assert!(syncer.take(*id).is_none());
        }
        // Room is given back behind the answers.
        let all = MAX_UNSYNCED_BYTES / PERMIT_BYTES;
        let given_back = async {
            while syncer.room.available_permits() != all {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), given_back).await.unwrap();
    }

    #[tokio::test]
    async fn a_failed_sync_is_told_to_all_that_wait_for_it() {
        let syncer = Syncer::default();
        let (first, second) = (id(), id());
        for id in [first, second] {
            // A pipe can't be synced.
            let (_end, pipe) = io::pipe().unwrap();
            let file = File::from(std::os::fd::OwnedFd::from(pipe));
            syncer.push(id, unsynced("pipe", file)).await.unwrap();
        }
        for id in [first, second] {
            let e = syncer.take(id).unwrap().await.unwrap().unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
