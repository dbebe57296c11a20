//! What an append gives back: proof that a batch is stored, and a way to wait until it is delivered.

use std::sync::Arc;

use smallvec::SmallVec;
use tokio::sync::watch;

/// The end of a chunk, which receipts wait for.
#[derive(Debug)]
pub(super) struct Fate(watch::Sender<bool>);

impl Fate {
    pub fn new() -> Arc<Fate> {
        Arc::new(Fate(watch::channel(false).0))
    }

    /// The chunk was delivered, dropped or set aside.
    pub fn ended(&self) {
        self.0.send_replace(true);
    }

    fn is_ended(&self) -> bool {
        *self.0.borrow()
    }

    async fn wait(&self) {
        // The sender lives as long as this fate, so the wait can only end well.
        let _ = self.0.subscribe().wait_for(|ended| *ended).await;
    }
}

/// Proof that a batch is stored.
#[derive(Clone, Debug)]
pub struct Receipt {
    durable: bool,
    fates: SmallVec<[Arc<Fate>; 1]>,
}

impl Receipt {
    /// Of something that needs no more care: it is delivered, or there was nothing to store.
    pub fn durable() -> Receipt {
        Receipt { durable: true, fates: SmallVec::new() }
    }

    pub(super) fn of(durable: bool, fates: impl IntoIterator<Item = Arc<Fate>>) -> Receipt {
        Receipt { durable, fates: fates.into_iter().collect() }
    }

    /// Whether it is safe even if the process ends now.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// Whether every chunk that holds a part has ended.
    pub fn is_delivered(&self) -> bool {
        self.fates.iter().all(|f| f.is_ended())
    }

    /// Waits until every chunk that holds a part was delivered, dropped or set aside.
    pub async fn delivered(&self) {
        for fate in &self.fates {
            fate.wait().await;
        }
    }

    /// Both.
    pub fn merge(mut self, other: Receipt) -> Receipt {
        self.durable &= other.durable;
        self.fates.extend(other.fates);
        self
    }
}
