//! The way in: what an input calls, and what it learns in return.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use crate::buffer::{Origin, Receipt};
use crate::event::Batch;

/// A boxed future, for the few places where types are erased.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a batch was not taken. Nothing of it is kept where a buffer refused it, so the caller may send it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// No room now: a buffer is full, or its disk is. Try again later (HTTP: 503 with Retry-After; forward: no ack).
    Full(String),
    /// It will never be taken as it is (an event over every limit). Trying again is of no use.
    Refused(String),
    /// The daemon is stopping.
    Closed,
}

impl std::fmt::Display for EmitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EmitError::Full(why) => write!(f, "no room: {why}"),
            EmitError::Refused(why) => write!(f, "refused: {why}"),
            EmitError::Closed => f.write_str("stopping"),
        }
    }
}

impl std::error::Error for EmitError {}

/// What stands behind an [`Emitter`]: the engine's router, or a test's collector.
pub trait Route: Send + Sync {
    /// Routes, filters and stores one batch. Ends once the batch is `stored` in every buffer it went to.
    fn route(&self, batch: Batch, origin: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>>;

    /// See [`Emitter::emit_until`]. Only buffers wait for room.
    fn route_until(&self, batch: Batch, origin: Origin, until: Instant) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        let _ = until;
        self.route(batch, origin)
    }

    /// Hands an event that could not be read or changed to the `@ERROR` label, or to the log where there is none.
    fn fail(&self, events: Batch, reason: &str) -> BoxFuture<'_, ()>;

    /// See [`Emitter::give_to_errors`]. Only the engine's routes have a label for that.
    fn give_to_errors(&self, events: Batch, origin: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        let _ = (events, origin);
        Box::pin(async { Err(EmitError::Refused("there is no <label @ERROR> here".into())) })
    }

    /// See [`Emitter::held`].
    fn held(&self, stream: &str) -> Vec<u64>;

    /// Whether the batch known by `once` was taken before.
    fn seen(&self, once: &[u8]) -> bool;

    /// Runs what an input has to do after it ended, while buffers are emptied; see [`Emitter::linger`]. The engine
    /// overrides it to join the work at the end of a stop.
    fn linger(&self, work: BoxFuture<'static, ()>) {
        tokio::spawn(work);
    }
}

/// Takes batches from one input. Cloning is cheap; several tasks of one input may emit at once.
#[derive(Clone)]
pub struct Emitter(Arc<dyn Route>);

impl Emitter {
    /// Over a route.
    pub fn new(route: Arc<dyn Route>) -> Emitter {
        Emitter(route)
    }

    /// Emits a batch. When this returns `Ok` the batch is stored in every buffer it was routed to: in a file buffer it is
    /// synced to disk, in a memory buffer it is admitted. The source may be answered now; a source that keeps a
    /// position waits for [`Receipt::delivered`] where the receipt is not durable.
    pub async fn emit(&self, batch: Batch) -> Result<Receipt, EmitError> {
        self.emit_from(batch, Origin::None).await
    }

    /// As [`emit`](Emitter::emit) for a sender that waits until then: no buffer is waited for any longer that has no room. What is
    /// being stored is waited for all the same, so that nothing is under way any more when the sender comes again.
    pub async fn emit_until(&self, batch: Batch, until: Option<Instant>) -> Result<Receipt, EmitError> {
        match until {
            Some(until) if !batch.is_empty() => self.0.route_until(batch, Origin::None, until).await,
            _ => self.emit(batch).await,
        }
    }

    /// As [`emit`](Emitter::emit), stamped with where the batch came from, so that it is known again after a crash.
    pub async fn emit_from(&self, batch: Batch, origin: Origin) -> Result<Receipt, EmitError> {
        if batch.is_empty() {
            return Ok(Receipt::durable());
        }
        self.0.route(batch, origin).await
    }

    /// Hands events that are broken for `reason` to `@ERROR`.
    pub async fn fail(&self, events: Batch, reason: &str) {
        self.0.fail(events, reason).await;
    }

    /// As [`emit_from`](Emitter::emit_from), into the `@ERROR` label.
    ///
    /// Errors: [`EmitError::Refused`] also where there is no such label.
    pub async fn give_to_errors(&self, events: Batch, origin: Origin) -> Result<Receipt, EmitError> {
        self.0.give_to_errors(events, origin).await
    }

    /// The positions of `stream` up to which buffers behind hold it or have delivered it, in order. A batch that is emitted
    /// again is passed over by the buffers that have it. So a source goes on from its own position, lets a batch end at
    /// each of these, and every buffer gets what it lacks and nothing twice.
    pub fn held(&self, stream: &str) -> Vec<u64> {
        self.0.held(stream)
    }

    /// Whether the batch known by `once` was taken before.
    pub fn seen(&self, once: &[u8]) -> bool {
        self.0.seen(once)
    }

    /// Goes on with `work` after the input has ended: a position that waits for the delivery of what memory buffers hold,
    /// which a stop brings about only once inputs have ended. The work ends by itself when the buffers are closed.
    pub fn linger(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.linger(Box::pin(work));
    }
}
