//! All servers of an output: whom to send a chunk to, their heartbeats, and those that come and go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};
use tracing::Instrument;

use super::balance::{Balancer, Weighted};
use super::discovery::Discovery;
use super::link::LinkError;
use super::node::{Common, Node, NodeError};
use super::send::Outgoing;
use super::server::Server;
use crate::buffer::ChunkId;
use crate::plugin::Stop;

/// How often discovery files are looked at, and kept connections for age.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Chunks remembered whose last server may have them.
const MAX_UNACKNOWLEDGED: usize = 4096;

/// How a server shows that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// A connection can be made.
    Connect,
    /// It answers a datagram.
    Udp,
    /// It need not.
    None,
}

/// The servers.
pub(super) struct Cluster {
    common: Arc<Common>,
    beat: Beat,
    nodes: Mutex<Vec<Arc<Node>>>,
    balancer: Balancer<Node>,
    /// Which server has a chunk that it did not acknowledge: it alone can tell that it comes again.
    unacknowledged: Mutex<HashMap<ChunkId, Arc<Node>>>,
}

impl Cluster {
    pub(super) fn new(common: Arc<Common>, beat: Beat, seed: u64) -> Cluster {
        Cluster {
            common,
            beat,
            nodes: Mutex::default(),
            balancer: Balancer::new(seed),
            unacknowledged: Mutex::default(),
        }
    }

    /// The servers now.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the servers as listed: new ones come in, those not listed any more go out, the others stay as they are.
    /// Gives those that came in.
    pub(super) fn set_servers(&self, servers: &[Server]) -> Vec<Arc<Node>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut came = Vec::new();
        let mut next: Vec<Arc<Node>> = Vec::with_capacity(servers.len());
        for server in servers {
            if next.iter().any(|n| n.server == *server) {
                continue;
            }
            let known = nodes.iter().find(|n| n.server == *server).cloned();
            next.push(known.unwrap_or_else(|| {
                let node = Node::new(server.clone(), self.common.clone());
                came.push(node.clone());
                node
            }));
        }
        for gone in nodes.iter().filter(|n| !next.iter().any(|kept| Arc::ptr_eq(kept, n))) {
            tracing::info!("Service out: name={:?}", gone.name());
            gone.retired.stop();
            gone.close();
        }
        *nodes = next;
        drop(nodes);
        self.rebuild();
        came
    }

    pub(super) fn rebuild(&self) {
        self.balancer.rebuild(&self.nodes());
    }

    fn unacknowledged(&self) -> MutexGuard<'_, HashMap<ChunkId, Arc<Node>>> {
        // Every change is one insert or remove.
        self.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers a message to the server whose turn it is, or the next that takes it.
    ///
    /// Errors: nobody took it, or a server may have it and did not say so; try again later.
    pub(super) async fn deliver(&self, id: ChunkId, message: &Outgoing<'_>) -> Result<(), String> {
        let mut order = self.balancer.order();
        let asked_before = self.unacknowledged().get(&id).cloned();
        if let Some(node) = asked_before.filter(|n| n.is_available() && !n.retired.listener().is_stopped()) {
            order.retain(|n| !Arc::ptr_eq(n, &node));
            order.insert(0, node);
        }
        let mut error = "no nodes are available".to_owned();
        for node in order {
            let mut changed = false;
            let done = node.deliver(message, &mut changed).await;
            if changed {
                self.rebuild();
            }
            match done {
                Ok(()) => {
                    self.unacknowledged().remove(&id);
                    return Ok(());
                }
                Err(NodeError::Unacknowledged(why)) => {
                    self.remember(id, node);
                    return Err(why);
                }
                Err(NodeError::NotSent(why)) => error = why,
            }
        }
        Err(error)
    }

    fn remember(&self, id: ChunkId, node: Arc<Node>) {
        let mut unacknowledged = self.unacknowledged();
        if unacknowledged.len() < MAX_UNACKNOWLEDGED || unacknowledged.contains_key(&id) {
            unacknowledged.insert(id, node);
        }
    }

    /// Keeps watch over the servers until told to stop; all tasks are joined then.
    pub(super) async fn watch(self: Arc<Self>, discovery: Discovery, mut stop: Stop) {
        let mut beats = JoinSet::new();
        for node in self.nodes() {
            self.clone().watch_node(node, &mut beats, &stop);
        }
        let mut listed = discovery.watcher();
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.or(look.tick()).await.is_some() {
            self.nodes().iter().for_each(|n| n.purge());
            if let Some(servers) = listed.changed().await {
                for node in self.set_servers(&servers) {
                    tracing::info!("Service in: name={:?}", node.name());
                    self.clone().watch_node(node, &mut beats, &stop);
                }
            }
            // Beats of servers that went.
            while beats.try_join_next().is_some() {}
        }
        while beats.join_next().await.is_some() {}
    }

    /// Closes connections that nobody uses.
    pub(super) fn close(&self) {
        self.nodes().iter().for_each(|n| n.close());
    }

    fn watch_node(self: Arc<Self>, node: Arc<Node>, beats: &mut JoinSet<()>, stop: &Stop) {
        let (mut stop, mut retired) = (stop.clone(), node.retired.listener());
        if self.beat == Beat::None {
            return;
        }
        let watched = async move {
            let beating = async {
                match self.beat {
                    Beat::Udp => self.beat_by_udp(&node).await,
                    _ => self.beat_by_connecting(&node).await,
                }
            };
            stop.or(retired.or(beating)).await;
        };
        beats.spawn(watched.in_current_span());
    }

    async fn beat_by_connecting(&self, node: &Node) {
        let mut beat = interval(self.common.watch.interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            // A connection that hangs must not keep the clock from being looked at.
            let connecting = timeout(self.common.watch.hard_timeout, node.beat_by_connecting());
            let pause = self.common.watch.interval;
            let mut looks = interval_at(Instant::now() + pause, pause);
            let mut connecting = std::pin::pin!(connecting);
            let came = loop {
                tokio::select! {
                    came = &mut connecting => break came,
                    _ = looks.tick() => self.note(node.tick()),
                }
            };
            match came {
                Ok(Ok(())) => self.note(node.alive()),
                Ok(Err(LinkError::Handshake(why))) => {
                    // It is there and does not let this side in: no chunk would go through either.
                    if node.disable() {
                        tracing::warn!("heartbeat refused: {why} node={:?}", node.name());
                        self.rebuild();
                    }
                }
                Ok(Err(e)) => tracing::debug!("failed to send heartbeat node={:?} error={e}", node.name()),
                Err(_) => tracing::debug!("heartbeat timed out node={:?}", node.name()),
            }
            self.note(node.tick());
        }
    }

    async fn beat_by_udp(&self, node: &Node) {
        let pause = self.common.watch.interval;
        loop {
            match timeout(pause, self.exchange_datagrams(node)).await {
                Ok(Err(e)) => {
                    tracing::debug!("failed to send heartbeat packet node={:?} error={e}", node.name());
                    tokio::time::sleep(pause).await;
                }
                Ok(Ok(())) => tokio::time::sleep(pause).await,
                Err(_) => {}
            }
            self.note(node.tick());
        }
    }

    async fn exchange_datagrams(&self, node: &Node) -> std::io::Result<()> {
        let address = node.address().await?;
        let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(own).await?;
        // Only the server itself can answer on a connected socket.
        socket.connect(address).await?;
        socket.send(&[0]).await?;
        socket.recv(&mut [0; 8]).await?;
        self.note(node.alive());
        Ok(())
    }

    fn note(&self, changed: bool) {
        if changed {
            self.rebuild();
        }
    }
}
