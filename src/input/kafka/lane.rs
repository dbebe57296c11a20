//! One partition on its way into custody: its batches one after the other, and how far they are safe.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::read::{Made, Raw, Reading};
use crate::buffer::{Origin, Receipt};
use crate::plugin::{EmitError, Emitter, Stop};

/// Waits between attempts while a buffer has no room: the first and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Batches that a memory buffer holds and that are not delivered yet.
const MAX_WAITING: usize = 1000;

/// What is handed to a lane.
pub struct Piece {
    /// Messages in order.
    pub raws: Vec<Raw>,
    /// Their bytes.
    pub size: usize,
}

/// What the reader and the lane both know.
#[derive(Debug, Default)]
pub struct LaneState {
    /// Bytes that were handed over and are not in custody.
    pub waiting: AtomicUsize,
    /// The position up to which everything may be committed.
    pub done: AtomicI64,
    /// Others read the partition from now on: what was not emitted is theirs.
    pub is_given_up: AtomicBool,
}

/// A partition's task.
pub struct Lane {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The stream that buffers know it as.
    pub stream: Arc<str>,
    /// Positions of buffers behind, in order.
    pub cuts: VecDeque<i64>,
    /// See [`LaneState`].
    pub state: Arc<LaneState>,
    /// Bytes of all lanes that wait.
    pub budget: Arc<AtomicUsize>,
    /// How messages are read.
    pub reading: Arc<Reading>,
    /// The way in.
    pub emit: Emitter,
    /// Told to stop.
    pub stop: Stop,
}

impl Lane {
    /// Runs until nothing more comes, and what was emitted is safe.
    pub async fn run(mut self, mut pieces: UnboundedReceiver<Piece>) {
        let mut waiting: VecDeque<(i64, Receipt)> = VecDeque::new();
        loop {
            let piece = tokio::select! {
                biased;
                true = delivered(&waiting), if !waiting.is_empty() => {
                    self.settle(&mut waiting);
                    continue;
                }
                piece = pieces.recv(), if waiting.len() < MAX_WAITING => piece,
                else => None,
            };
            let Some(piece) = piece else { break };
            self.take(&piece, &mut waiting).await;
            self.state.waiting.fetch_sub(piece.size, SeqCst);
            self.budget.fetch_sub(piece.size, SeqCst);
            self.settle(&mut waiting);
        }
        while !waiting.is_empty() && delivered(&waiting).await {
            self.settle(&mut waiting);
        }
    }

    fn is_over(&self) -> bool {
        self.state.is_given_up.load(SeqCst) || self.stop.is_stopped()
    }

    /// Moves the position behind what is safe.
    fn settle(&self, waiting: &mut VecDeque<(i64, Receipt)>) {
        while let Some((upto, _)) = waiting.pop_front_if(|(_, receipt)| receipt.is_durable() || receipt.is_delivered())
        {
            self.state.done.store(upto, SeqCst);
        }
    }

    async fn take(&mut self, piece: &Piece, waiting: &mut VecDeque<(i64, Receipt)>) {
        if self.is_over() {
            return;
        }
        let place = (&*self.topic, self.partition);
        let made = self.reading.batches(place, &piece.raws, &mut self.cuts, false);
        for one in made {
            let events = one.events.len();
            match self.store(&one).await {
                Some(Ok(receipt)) => waiting.push_back((one.upto, receipt)),
                // Perhaps one event alone is too large.
                Some(Err(why)) if one.range.1 - one.range.0 > 1 => {
                    tracing::warn!(
                        "{events} events of {}/{} were refused ({why}); they are sent one by one",
                        self.topic,
                        self.partition
                    );
                    if !self.one_by_one(&piece.raws[one.range.0..one.range.1], waiting).await {
                        return;
                    }
                }
                Some(Err(why)) => waiting.push_back((one.upto, self.lose(&one, &why).await)),
                None => return,
            }
            self.settle(waiting);
        }
    }

    /// Whether it may go on.
    async fn one_by_one(&mut self, raws: &[Raw], waiting: &mut VecDeque<(i64, Receipt)>) -> bool {
        let place = (&*self.topic, self.partition);
        for one in self.reading.batches(place, raws, &mut VecDeque::new(), true) {
            let receipt = match self.store(&Made { unread: None, ..one.clone() }).await {
                Some(Ok(receipt)) => receipt,
                Some(Err(why)) => self.lose(&one, &why).await,
                None => return false,
            };
            waiting.push_back((one.upto, receipt));
        }
        true
    }

    async fn lose(&self, one: &Made, why: &str) -> Receipt {
        let before = one.upto;
        tracing::error!("an event of {}/{} before offset {before} is left out: {why}", self.topic, self.partition);
        self.emit.fail(one.events.clone(), why).await;
        Receipt::durable()
    }

    /// Emits a batch. `None` where the partition is not ours any more, or suiro stops; else the receipt, or why it is refused.
    async fn store(&self, made: &Made) -> Option<Result<Receipt, String>> {
        if let Some((messages, why)) = &made.unread {
            self.emit.fail(messages.clone(), why).await;
        }
        let upto = u64::try_from(made.upto).unwrap_or(0);
        let origin = Origin::Stream { stream: self.stream.clone(), upto };
        let mut wait = FIRST_WAIT;
        while !self.is_over() {
            match self.emit.emit_from(made.events.clone(), origin.clone()).await {
                Ok(receipt) => return Some(Ok(receipt)),
                Err(EmitError::Refused(why)) => return Some(Err(why)),
                Err(EmitError::Full(why)) => tracing::debug!(%why, "no room, waiting"),
                Err(EmitError::Closed) => {}
            }
            let _ = self.stop.clone().or(tokio::time::sleep(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        None
    }
}

/// Waits for the oldest batch.
async fn delivered(waiting: &VecDeque<(i64, Receipt)>) -> bool {
    match waiting.front() {
        Some((_, receipt)) => receipt.is_durable() || receipt.delivered().await,
        None => false,
    }
}
