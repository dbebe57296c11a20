//! One server: whether it is up, its connections, and sending to it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::balance::Weighted;
use super::detector::Detector;
use super::link::{Connection, Link, LinkError};
use super::pool::Pool;
use super::resolve::{Lookup, Resolver};
use super::send::{Outgoing, SendError, Terms};
use super::server::Server;
use crate::plugin::Stopper;

/// When a server counts as gone and when as back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Whether heartbeats are sent at all; without them a server counts as up for ever.
    pub(super) beats: bool,
    pub(super) interval: Duration,
    pub(super) hard_timeout: Duration,
    /// Suspicion above which it counts as gone; the hard timeout alone decides where there is none.
    pub(super) phi_threshold: Option<f64>,
    /// Signs of life after which it is back.
    pub(super) recover_samples: usize,
}

/// What is the same for all servers of an output.
pub(super) struct Common {
    pub(super) link: Link,
    pub(super) terms: Terms,
    pub(super) watch: Watch,
    pub(super) lookup: Lookup,
    /// How long connections are kept; they are not, where there is none.
    pub(super) keepalive: Option<Option<Duration>>,
    /// The moment from which times are counted.
    pub(super) start: Instant,
}

/// One server.
pub(super) struct Node {
    pub(super) server: Server,
    shown: String,
    common: Arc<Common>,
    resolver: Resolver,
    pool: Option<Pool>,
    state: Mutex<State>,
    /// Ends the node's heartbeats when it is no longer listed.
    pub(super) retired: Stopper,
}

struct State {
    available: bool,
    detector: Detector,
}

/// Why a chunk was not delivered to a server.
#[derive(Debug)]
pub(super) enum NodeError {
    /// The server has not got it: another may be tried.
    NotSent(String),
    /// The server may have it: it is to be asked again, with the same chunk.
    Unacknowledged(String),
}

impl Weighted for Node {
    fn weight(&self) -> u64 {
        self.server.weight.into()
    }

    fn is_standby(&self) -> bool {
        self.server.standby
    }

    fn is_available(&self) -> bool {
        !self.common.watch.beats || self.state().available
    }

    fn name(&self) -> &str {
        &self.shown
    }
}

impl Node {
    pub(super) fn new(server: Server, common: Arc<Common>) -> Arc<Node> {
        let watch = &common.watch;
        let now = common.start.elapsed().as_secs_f64();
        let detector = Detector::new(watch.interval.as_secs_f64(), watch.hard_timeout.as_secs_f64(), now);
        let shown = server.shown();
        tracing::info!("adding forwarding server '{shown}' weight={}", server.weight);
        Arc::new(Node {
            shown,
            resolver: Resolver::new(common.lookup),
            pool: common.keepalive.map(Pool::new),
            state: Mutex::new(State { available: true, detector }),
            retired: Stopper::new(),
            server,
            common,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is of one field or one sample.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> f64 {
        self.common.start.elapsed().as_secs_f64()
    }

    /// The server's address.
    pub(super) async fn address(&self) -> io::Result<SocketAddr> {
        self.resolver.address(self.server.bare_host(), self.server.port).await
    }

    /// Delivers a message. `changed` is set when the server's state changed, so that turns are to be dealt anew.
    pub(super) async fn deliver(&self, message: &Outgoing<'_>, changed: &mut bool) -> Result<(), NodeError> {
        let sent = match self.kept_connection().await {
            // A kept connection may be dead without a sign; that says nothing about the server.
            Some(kept) => match self.deliver_over(kept, message, changed).await {
                Err(NodeError::NotSent(_)) => self.deliver_anew(message, changed).await,
                done => done,
            },
            None => self.deliver_anew(message, changed).await,
        };
        if sent.is_ok() {
            let now = self.now();
            self.state().detector.add(now);
        }
        sent
    }

    async fn kept_connection(&self) -> Option<Connection> {
        match &self.pool {
            Some(pool) => pool.take().await,
            None => None,
        }
    }

    async fn deliver_anew(&self, message: &Outgoing<'_>, changed: &mut bool) -> Result<(), NodeError> {
        match self.connect().await {
            Ok(connection) => self.deliver_over(connection, message, changed).await,
            Err(e) => {
                if let LinkError::Handshake(_) = e {
                    tracing::warn!("{e} node={:?}", self.shown);
                    *changed |= self.disable();
                }
                Err(NodeError::NotSent(format!("{}: {e}", self.shown)))
            }
        }
    }

    async fn deliver_over(
        &self,
        mut connection: Connection,
        message: &Outgoing<'_>,
        changed: &mut bool,
    ) -> Result<(), NodeError> {
        match message.send(&mut connection, &self.common.terms).await {
            Ok(()) => {
                self.put_away(connection).await;
                Ok(())
            }
            Err(SendError::NotSent(e)) => Err(NodeError::NotSent(format!("{}: {e}", self.shown))),
            Err(SendError::Unacknowledged { why, silent }) => {
                tracing::warn!("{why} node={:?}", self.shown);
                if silent {
                    *changed |= self.disable();
                }
                Err(NodeError::Unacknowledged(format!("{}: {why}", self.shown)))
            }
        }
    }

    async fn put_away(&self, mut connection: Connection) {
        use tokio::io::AsyncWriteExt;
        match &self.pool {
            Some(pool) => pool.give(connection),
            None => {
                // All was written; the peer may have closed first.
                let _ = tokio::time::timeout(self.common.terms.send_timeout, connection.stream.shutdown()).await;
            }
        }
    }

    /// A new connection, past its handshakes.
    pub(super) async fn connect(&self) -> Result<Connection, LinkError> {
        let address = self.address().await.map_err(LinkError::Unreachable)?;
        self.common.link.open(&self.server, address).await
    }

    /// Shows that the server lives by connecting to it.
    pub(super) async fn beat_by_connecting(&self) -> Result<(), LinkError> {
        use tokio::io::AsyncWriteExt;
        let mut connection = self.connect().await?;
        // That there was a connection is the sign of life.
        let _ = connection.stream.shutdown().await;
        Ok(())
    }

    /// Takes note of a sign of life. `true` where the server is back.
    pub(super) fn alive(&self) -> bool {
        let now = self.now();
        let mut state = self.state();
        state.detector.add(now);
        if state.available || state.detector.samples() <= self.common.watch.recover_samples {
            return false;
        }
        state.available = true;
        tracing::warn!("recovered forwarding server '{}'", self.shown);
        true
    }

    /// Looks at the time since the last sign of life. `true` where the server is gone now and was not before.
    pub(super) fn tick(&self) -> bool {
        let now = self.now();
        let mut state = self.state();
        let overdue = state.detector.is_overdue(now);
        if !state.available {
            if overdue {
                state.detector.clear();
            }
            return false;
        }
        let phi = state.detector.phi(now);
        let suspected = self.common.watch.phi_threshold.is_some_and(|threshold| phi > threshold);
        if !overdue && !suspected {
            return false;
        }
        tracing::warn!("detached forwarding server '{}' hard_timeout={overdue} phi={phi:.1}", self.shown);
        state.available = false;
        state.detector.clear();
        drop(state);
        self.resolver.forget();
        true
    }

    /// The server is of no use until it shows signs of life. `true` where it counted as up.
    pub(super) fn disable(&self) -> bool {
        std::mem::replace(&mut self.state().available, false) && self.common.watch.beats
    }

    /// Closes connections that were kept too long.
    pub(super) fn purge(&self) {
        if let Some(pool) = &self.pool {
            pool.purge();
        }
    }

    /// Closes all connections that nobody uses.
    pub(super) fn close(&self) {
        if let Some(pool) = &self.pool {
            pool.clear();
        }
    }
}
