//! The way of a chunk into a table: its data files first, then one commit that names them and the chunk.
//!
//! A kill in between leaves files that no catalog names: the chunk comes again and is written anew under other names, and what
//! stays over is removed after a time. A kill behind the commit, or a lost answer: the chunk
//! comes again and is found in the catalog. Commits of one process to one table are put together; others are waited for by
//! trying again on top of what they have done.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iceberg::spec::DataFile;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::commit::{Change, prepare};
use super::fault::{Done, Fault};
use super::ids::{Older, holds};
use super::table::{Table, Version};
use crate::buffer::ChunkId;

/// Tries of one commit while others commit, before the chunk is given back for a while.
const MAX_TRIES: u32 = 30;

/// A table that is written to.
pub struct Open {
    /// Where it is.
    pub table: Table,
    /// Chunks of its expired snapshots.
    pub older: Older,
    committing: tokio::sync::Mutex<()>,
    waiting: Mutex<Vec<Waiting>>,
}

/// A chunk's files that wait for a commit.
struct Waiting {
    id: ChunkId,
    files: Vec<DataFile>,
    answer: oneshot::Sender<Result<(), String>>,
}

impl Open {
    /// Nothing is under way.
    pub fn new(table: Table) -> Open {
        Open { table, older: Older::default(), committing: tokio::sync::Mutex::default(), waiting: Mutex::default() }
    }

    /// Whether the table holds a chunk.
    pub async fn holds(&self, version: &Version, id: ChunkId) -> Done<bool> {
        holds(&self.table, version, id, &self.older).await
    }

    /// Puts a chunk's files into the table, with those of other chunks that wait.
    ///
    /// Errors: whether the files are in the table is not known; the chunk must come again.
    pub async fn append(&self, id: ChunkId, files: Vec<DataFile>) -> Done<()> {
        let (answer, mut answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting { id, files, answer });
        let turn = self.committing.lock().await;
        match answered.try_recv() {
            // Who had the turn before has taken these files along.
            Ok(outcome) => return outcome.map_err(Fault),
            Err(TryRecvError::Closed) => return Err(Fault("a commit was given up half-way".into())),
            Err(TryRecvError::Empty) => {}
        }
        let all = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let outcome = self.commit(&all).await.map_err(|fault| fault.0);
        if outcome.is_err() {
            self.table.forget();
        }
        drop(turn);
        for waiting in all {
            // Nobody listens any more where the stop has given a write up.
            let _ = waiting.answer.send(outcome.clone());
        }
        outcome.map_err(Fault)
    }

    async fn commit(&self, all: &[Waiting]) -> Done<()> {
        for tries in 0..MAX_TRIES {
            let version = if tries == 0 { self.table.current().await? } else { self.table.load().await? };
            let gone = || Fault(format!("table {} is not there any more", self.table.name));
            let version: Arc<Version> = version.ok_or_else(gone)?;
            let mut change = Change::default();
            for waiting in all {
                if change.chunks.contains(&waiting.id) || self.holds(&version, waiting.id).await? {
                    continue;
                }
                change.chunks.push(waiting.id);
                change.add.extend(waiting.files.iter().cloned());
            }
            if change.chunks.is_empty() {
                return Ok(());
            }
            let Some(prepared) = prepare(&self.table, &version, &change).await? else { continue };
            if self.table.commit(version.number, prepared.metadata).await?.is_some() {
                return Ok(());
            }
            self.table.discard(&prepared.written).await;
            pause(tries).await?;
        }
        Err(Fault(format!("table {}: others commit all the time, {MAX_TRIES} tries were in vain", self.table.name)))
    }
}

/// Waits a moment, longer each time, and not as long as others do.
pub async fn pause(tries: u32) -> Done<()> {
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|e| Fault(e.to_string()))?;
    let most = 5_u64 << tries.min(7);
    tokio::time::sleep(Duration::from_millis(u64::from(u16::from_le_bytes(random)) % most + 1)).await;
    Ok(())
}
