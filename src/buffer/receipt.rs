//! What an append gives back: how safe the events are now, and when they will be gone for good.

use smallvec::SmallVec;
use tokio::sync::watch;

/// Told once a chunk is out of the buffer's hands: delivered, dropped or set aside.
#[derive(Debug)]
pub(super) struct Done(Option<watch::Sender<bool>>);

impl Done {
    /// Of a chunk that receipts are given for.
    pub(super) fn watched() -> Done {
        Done(Some(watch::Sender::new(false)))
    }

    /// Of a chunk that nobody waits for: one of an earlier run, of which there may be very many.
    pub(super) fn unwatched() -> Done {
        Done(None)
    }

    /// The chunk is out of the buffer's hands.
    pub(super) fn tell(&self) {
        if let Some(done) = &self.0 {
            done.send_replace(true);
        }
    }
}

/// What an append gives back.
#[derive(Clone, Debug)]
#[must_use = "the source may be answered only as far as the receipt goes"]
pub struct Receipt {
    durable: bool,
    chunks: SmallVec<[watch::Receiver<bool>; 1]>,
}

impl Receipt {
    /// For events that need no keeping: they were delivered at once, or meant for nobody.
    pub fn durable() -> Receipt {
        Receipt { durable: true, chunks: SmallVec::new() }
    }

    pub(super) fn new(durable: bool) -> Receipt {
        Receipt { durable, chunks: SmallVec::new() }
    }

    pub(super) fn touch(&mut self, done: &Done) {
        self.chunks.extend(done.0.as_ref().map(watch::Sender::subscribe));
    }

    /// Whether the events survive the end of the process and a power cut.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    /// Waits until every chunk that holds some of the events was delivered, dropped by configuration or set aside.
    /// Gives `false` when the buffer went away first.
    pub async fn delivered(&self) -> bool {
        for chunk in &self.chunks {
            if chunk.clone().wait_for(|done| *done).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Whether there is nothing left to wait for.
    pub fn is_delivered(&self) -> bool {
        self.chunks.iter().all(|done| *done.borrow())
    }

    /// One receipt for events that went two ways.
    pub fn merge(mut self, other: Receipt) -> Receipt {
        self.durable &= other.durable;
        self.chunks.extend(other.chunks);
        self
    }
}
