//! What stands behind each input's emitter: the graph in force, and a second try when a reload swapped it meanwhile.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use super::books::Books;
use super::graph::{Graph, ROOT, Source};
use crate::buffer::{Origin, Receipt};
use crate::event::{Batch, Tag};
use crate::plugin::{BoxFuture, EmitError, Route};

/// Time between two lines about refused emits, where `emit_error_log_interval` says nothing.
const EMIT_ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Longest wait of a batch for a reload whose old outputs are closed and whose new ones are not open yet. Clients wait for
/// their answers meanwhile, and have time limits of their own.
const RELOAD_WAIT: Duration = Duration::from_secs(10);

/// Lets something through once in a time.
#[derive(Default)]
struct Pause {
    length: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pause {
    fn pass(&self) -> bool {
        let (now, mut next) = (Instant::now(), self.next.lock().unwrap_or_else(PoisonError::into_inner));
        let passes = next.is_none_or(|next| now >= next);
        if passes {
            *next = now.checked_add(self.length);
        }
        passes
    }
}

/// The graph in force, and what inputs left to do behind them.
#[derive(Default)]
pub struct Router {
    graph: ArcSwap<Graph>,
    lingering: Mutex<JoinSet<()>>,
    emit_errors: Pause,
    /// The accounts of what reaches no buffer, through every reload.
    pub books: Arc<Books>,
    /// A reload is exchanging outputs.
    exchanging: watch::Sender<bool>,
}

/// As long as it is there a reload is exchanging outputs: batches for one that is closed wait.
pub struct Exchange(Arc<Router>);

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.exchanging.send_replace(false);
    }
}

impl Router {
    /// A router that goes on with these books, and whose complaints about refused emits are at least `pause` apart.
    pub fn new(pause: Option<Duration>, books: Books) -> Router {
        Router {
            books: Arc::new(books),
            emit_errors: Pause { length: pause.unwrap_or(EMIT_ERROR_PAUSE), next: Mutex::default() },
            ..Router::default()
        }
    }

    /// The graph in force now.
    pub fn graph(&self) -> Arc<Graph> {
        self.graph.load_full()
    }

    /// Puts another graph in force: the one pointer that a reload swaps.
    pub fn swap(&self, mut graph: Graph) {
        graph.books = self.books.clone();
        self.graph.store(Arc::new(graph));
    }

    /// From now on, until what it gives is dropped, outputs are exchanged.
    pub fn exchange(self: &Arc<Router>) -> Exchange {
        self.exchanging.send_replace(true);
        Exchange(self.clone())
    }

    /// Waits for the end of an exchange of outputs. Gives whether there was one, and it ended in time.
    async fn exchanged(&self) -> bool {
        let mut exchanging = self.exchanging.subscribe();
        if !*exchanging.borrow_and_update() {
            return false;
        }
        timeout(RELOAD_WAIT, exchanging.wait_for(|going_on| !going_on)).await.is_ok()
    }

    /// What inputs left to do, for the engine to join.
    pub fn take_lingering(&self) -> JoinSet<()> {
        std::mem::take(&mut self.lingering.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The way from one input into the graph.
pub struct InputRoute {
    /// The router.
    pub router: Arc<Router>,
    /// `@id` of the input.
    pub input: Arc<str>,
    /// `@label` of the input.
    pub label: Option<String>,
    /// What the input has emitted.
    pub stats: Arc<InputStats>,
    /// Whether batches wait for a reload that exchanges outputs. Not those of an output that gives events out again: the
    /// reload may be waiting for it.
    pub waits: bool,
}

/// What an input has emitted.
#[derive(Debug, Default)]
pub struct InputStats {
    /// Events.
    pub records: AtomicU64,
    /// Bytes of entries.
    pub bytes: AtomicU64,
    /// Batches that were refused.
    pub refused: AtomicU64,
}

impl InputRoute {
    fn entry(&self, graph: &Graph) -> usize {
        // A label that a reload took away was refused there; what is still on its way goes to the top level.
        graph.entry(self.label.as_deref()).unwrap_or(ROOT)
    }

    fn complain(&self, tag: &Tag, e: &EmitError) {
        if *e != EmitError::Closed && self.router.emit_errors.pass() {
            warn!("emit transaction failed: error={:?} tag=\"{}\"", e.to_string(), tag.escape_debug());
        }
    }

    fn source(&self, origin: Origin, until: Option<Instant>) -> Source {
        Source { origin, input: self.input.clone(), until }
    }

    /// Delivers a batch and counts it.
    async fn take(&self, batch: Batch, from: Source) -> Result<Receipt, EmitError> {
        let result = loop {
            let graph = self.router.graph();
            let result = graph.deliver(self.entry(&graph), batch.clone(), &from, 0).await;
            // A sink of the old graph was closed under us: the new one has its buffer.
            if !matches!(result, Err(EmitError::Closed)) || !self.is_replaced(&graph).await {
                break result;
            }
        };
        match &result {
            Ok(_) => {
                self.stats.records.fetch_add(u64::from(batch.len()), Relaxed);
                self.stats.bytes.fetch_add(batch.bytes().len() as u64, Relaxed);
            }
            Err(e) => {
                self.stats.refused.fetch_add(1, Relaxed);
                self.complain(&batch.tag, e);
            }
        }
        result
    }

    /// Whether another graph is in force, or will be in a moment.
    async fn is_replaced(&self, graph: &Arc<Graph>) -> bool {
        let exchanged = self.waits && self.router.exchanged().await;
        exchanged || !Arc::ptr_eq(graph, &self.router.graph())
    }
}

impl Route for InputRoute {
    fn route(&self, batch: Batch, origin: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        Box::pin(self.take(batch, self.source(origin, None)))
    }

    fn route_until(&self, batch: Batch, origin: Origin, until: Instant) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        Box::pin(self.take(batch, self.source(origin, Some(until))))
    }

    fn fail(&self, events: Batch, reason: &str) -> BoxFuture<'_, ()> {
        let reason = reason.to_owned();
        Box::pin(async move { self.router.graph().error_event(events, &reason, &self.input, 0).await })
    }

    fn give_to_errors(&self, events: Batch, origin: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        let from = self.source(origin, None);
        Box::pin(async move { self.router.graph().deliver_to_errors(events, &from).await })
    }

    fn held(&self, stream: &str) -> Vec<u64> {
        self.router.graph().held(stream)
    }

    fn linger(&self, work: BoxFuture<'static, ()>) {
        let mut lingering = self.router.lingering.lock().unwrap_or_else(PoisonError::into_inner);
        while lingering.try_join_next().is_some() {}
        lingering.spawn(work);
    }

    fn seen(&self, _once: &[u8]) -> bool {
        // Which stores a batch goes to is known only once it is routed: each of them passes over what it has.
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_lets_one_through_and_then_waits() {
        let long = Pause { length: Duration::from_secs(3600), next: Mutex::default() };
        assert_eq!([long.pass(), long.pass()], [true, false]);
        let none = Pause::default();
        assert_eq!([none.pass(), none.pass()], [true, true]);
    }
}
