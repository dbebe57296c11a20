//! `copy`: one batch to several stores, side by side, so that an acknowledgement costs the slowest store's sync and not the
//! sum of them all.
//!
//! Stores are begun in the order of the configuration. One that refuses at once, as a full buffer does, keeps those behind it
//! from being begun; whatever was begun is waited for, so that nothing is under way any more when the sender hears of a failure
//! and comes again. A store with `ignore_if_prev_success` waits for the one before it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tracing::error;

use super::graph::{Graph, Source};
use super::pipeline::Store;
use crate::buffer::Receipt;
use crate::event::Batch;
use crate::plugin::EmitError;

/// Stores of one `copy` that take a batch at the same time; those behind them begin as these end.
const MAX_STORES_AT_ONCE: usize = 64;

/// What a store, or several of them, said.
type Stored = Result<Receipt, EmitError>;

impl Graph {
    /// Sends a batch to every store. Ends once it is in all of them, or one of them failed and no other is busy with it.
    pub(super) async fn copy(&self, stores: &[Store], batch: &Batch, from: &Source, depth: usize) -> Stored {
        let mut heads = (0..stores.len()).filter(|at| *at == 0 || !stores[*at].only_if_previous_failed).peekable();
        let chains = std::iter::from_fn(move || {
            let head = heads.next()?;
            let end = heads.peek().copied().unwrap_or(stores.len());
            Some(self.one_after_the_other(&stores[head..end], batch, from, depth))
        });
        side_by_side(chains, MAX_STORES_AT_ONCE).await
    }

    /// Sends a batch to a store, and to those behind it that are there for its failure.
    async fn one_after_the_other(&self, stores: &[Store], batch: &Batch, from: &Source, depth: usize) -> Stored {
        let mut receipt = Receipt::durable();
        for store in stores {
            // Behind labels several ways may lead to one buffer, which is to take a copy from each.
            let branch = store.way.as_ref().map(|way| Source { origin: from.origin.branch(way), ..from.clone() });
            match self.send(&store.target, batch.clone(), branch.as_ref().unwrap_or(from), depth).await {
                Ok(stored) => {
                    receipt = receipt.merge(stored);
                    break;
                }
                Err(e) if store.ignore_error => {
                    error!("ignore emit error in copy: tag=\"{}\" error=\"{e}\"", batch.tag.escape_debug());
                }
                Err(e) => return Err(e),
            }
        }
        Ok(receipt)
    }
}

/// Runs stores at the same time, `most` at once, begun in order until one fails. Ends once all that was begun has ended; of
/// several failures the one of the earliest store counts.
pub(super) async fn side_by_side<F: Future<Output = Stored>>(stores: impl Iterator<Item = F>, most: usize) -> Stored {
    let mut stores = stores.enumerate();
    let mut race = Race { running: Vec::new(), receipt: Receipt::durable(), failed: None };
    poll_fn(|cx| {
        race.poll(cx);
        while race.failed.is_none() && race.running.len() < most {
            let Some((at, store)) = stores.next() else { break };
            race.begin(at, store, cx);
        }
        if race.running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    race.failed.map_or(Ok(race.receipt), |(_, e)| Err(e))
}

/// Stores that were begun, and what the others said.
struct Race<F> {
    running: Vec<(usize, Pin<Box<F>>)>,
    receipt: Receipt,
    failed: Option<(usize, EmitError)>,
}

impl<F: Future<Output = Stored>> Race<F> {
    fn begin(&mut self, at: usize, store: F, cx: &mut Context<'_>) {
        let mut store = Box::pin(store);
        match store.as_mut().poll(cx) {
            Poll::Ready(said) => self.heard(at, said),
            Poll::Pending => self.running.push((at, store)),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        for (at, mut store) in std::mem::take(&mut self.running) {
            match store.as_mut().poll(cx) {
                Poll::Ready(said) => self.heard(at, said),
                Poll::Pending => self.running.push((at, store)),
            }
        }
    }

    fn heard(&mut self, at: usize, said: Stored) {
        match said {
            Ok(stored) => self.receipt = std::mem::replace(&mut self.receipt, Receipt::durable()).merge(stored),
            Err(e) if self.failed.as_ref().is_none_or(|(earliest, _)| at < *earliest) => self.failed = Some((at, e)),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::RefCell;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    fn full(why: &str) -> Stored {
        Err(EmitError::Full(why.into()))
    }

    /// Stores that take so many milliseconds each and then say something; gives what came of it, when, and what was begun and ended.
    async fn run(stores: &[(u64, Stored)], most: usize) -> (Stored, Duration, Vec<String>) {
        let (log, started) = (RefCell::new(Vec::new()), Instant::now());
        let stores = stores.iter().enumerate().map(|(at, (pause, said))| {
            let log = &log;
            async move {
                log.borrow_mut().push(format!("begin {at}"));
                if *pause > 0 {
                    sleep(Duration::from_millis(*pause)).await;
                }
                log.borrow_mut().push(format!("end {at}"));
                said.clone()
            }
        });
        let said = side_by_side(stores, most).await;
        (said, started.elapsed(), log.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn several_take_as_long_as_the_slowest() {
        let ok = || Ok(Receipt::durable());
        let (said, time, log) = run(&[(30, ok()), (10, ok()), (20, ok())], 8).await;
        assert!(said.is_ok());
        assert_eq!(time.as_millis(), 30);
        assert_eq!(log, ["begin 0", "begin 1", "begin 2", "end 1", "end 2", "end 0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_at_once() {
        let ok = || Ok(Receipt::durable());
        let (said, time, log) = run(&[(30, ok()), (10, ok()), (20, ok()), (0, ok())], 2).await;
        assert!(said.is_ok());
        assert_eq!(time.as_millis(), 30);
        assert_eq!(log[..4], ["begin 0", "begin 1", "end 1", "begin 2"]);
        assert_eq!(log.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_at_once_keeps_those_behind_it_from_beginning_and_waits_for_those_before() {
        let ok = || Ok(Receipt::durable());
        let (said, time, log) = run(&[(30, ok()), (0, full("second")), (10, ok())], 8).await;
        assert_eq!(said.unwrap_err(), EmitError::Full("second".into()));
        assert_eq!(time.as_millis(), 30);
        assert_eq!(log, ["begin 0", "begin 1", "end 1", "end 0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_failures_the_earliest_stores_counts_once_all_have_ended() {
        let (said, time, _) = run(&[(20, full("first")), (10, full("second")), (30, Ok(Receipt::durable()))], 8).await;
        assert_eq!(said.unwrap_err(), EmitError::Full("first".into()));
        assert_eq!(time.as_millis(), 30);
    }
}
