//! `forward`: chunks to other Fluentds, Fluent Bits and suiros.
//!
//! A chunk on its way: `payload` measures it, `balance` says whose turn it is, `node` finds a connection (`pool`, `link`),
//! `send` writes it and waits for the acknowledgement. Beside that, `cluster` watches over the servers (`detector`) and
//! over who is one (`discovery`).

mod balance;
mod cluster;
mod detector;
mod discovery;
mod link;
mod node;
mod params;
mod payload;
mod pool;
mod resolve;
mod send;
mod server;
mod srv;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinHandle;
use tracing::Instrument;

use self::cluster::{Beat, Cluster};
use self::discovery::Discovery;
pub use self::params::ForwardParams;
use self::payload::{Payload, Shape};
use self::send::{Outgoing, Terms};
use crate::buffer::Chunk;
use crate::config::Diagnostic;
use crate::net::dial::{Dial, Tcp};
use crate::plugin::{BufferDefaults, BuildContext, Configure, InputError, Output, Stop, WriteError};

/// The output.
pub struct Forward {
    params: ForwardParams,
    discovery: Discovery,
    terms: Terms,
    shape: Shape,
    dial: Arc<dyn Dial>,
    /// The servers, once started.
    cluster: OnceLock<Arc<Cluster>>,
    watching: Mutex<Option<JoinHandle<()>>>,
}

impl Configure for Forward {
    type Config = ForwardParams;

    fn new(params: ForwardParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, keys: &["tag"], ..BufferDefaults::default() });
        if !cx.chunk_keys().iter().any(|key| key == "tag") {
            return Err(cx.fault("buffer", "buffer chunk key must include 'tag' for forward output"));
        }
        params.check(cx)?;
        let discovery = params.discovery(cx)?;
        Ok(Forward::of(params, discovery))
    }
}

impl Output for Forward {
    async fn start(&self, stop: Stop) -> Result<(), InputError> {
        let seed = getrandom::u64().map_err(std::io::Error::other)?;
        let cluster =
            Arc::new(Cluster::new(Arc::new(self.params.common(self.dial.clone())?), self.params.beat(), seed));
        let servers = self.discovery.servers().await.map_err(InputError)?;
        cluster.set_servers(&servers);
        self.look_up(&cluster).await?;
        if self.params.verifies_connections() {
            for node in cluster.nodes() {
                let verified = node.connect().await;
                verified.map_err(|e| InputError(format!("forward's connection setting error: {e}")))?;
            }
        }
        let watching = tokio::spawn(cluster.clone().watch(self.discovery.clone(), stop).in_current_span());
        *self.watching.lock().unwrap_or_else(PoisonError::into_inner) = Some(watching);
        // Started once only.
        let _ = self.cluster.set(cluster);
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let Some(cluster) = self.cluster.get() else {
            return Err(WriteError::Retry("forward output is not started".into()));
        };
        let Some(tag) = &chunk.key().tag else {
            return Err(WriteError::Reject("the chunk has no tag: its buffer has no chunk key 'tag'".into()));
        };
        let payload = Payload::of(chunk, self.shape).await?;
        if payload.count == 0 {
            return Ok(());
        }
        let id = STANDARD.encode(chunk.id().0);
        let Some(message) = Outgoing::new(tag, &payload, id, &self.terms) else {
            let bytes = payload.len;
            return Err(WriteError::Reject(format!(
                "{bytes} bytes are too many for one message; lower chunk_limit_size"
            )));
        };
        cluster.deliver(chunk.id(), &message).await.map_err(WriteError::Retry)
    }

    async fn close(&self) {
        let watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watching) = watching
            && let Err(e) = watching.await
        {
            tracing::error!("watching over the servers ended badly: {e}");
        }
        if let Some(cluster) = self.cluster.get() {
            cluster.close();
        }
    }

    fn patience(&self) -> Duration {
        self.params.patience()
    }
}

impl Forward {
    fn of(params: ForwardParams, discovery: Discovery) -> Forward {
        let (terms, shape) = (params.terms(), params.shape());
        let dial = Arc::new(Tcp);
        Forward { params, discovery, terms, shape, dial, cluster: OnceLock::new(), watching: Mutex::default() }
    }

    /// Looks every server's name up, so that a wrong one is found at the start.
    async fn look_up(&self, cluster: &Cluster) -> Result<(), InputError> {
        if self.params.beat() == Beat::None {
            return Ok(());
        }
        for node in cluster.nodes() {
            let Err(e) = node.address().await else { continue };
            if !self.params.ignores_network_errors() {
                return Err(InputError(format!("forward output: {e}. See ignore_network_errors_at_startup")));
            }
            tracing::warn!("failed to resolve node name when configured: {e}");
            node.disable();
        }
        cluster.rebuild();
        Ok(())
    }
}
