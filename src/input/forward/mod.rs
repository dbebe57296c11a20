//! `forward`: events from Fluentd, Fluent Bit and their loggers, over TCP or TLS.
//!
//! A message on its way: `connection` reads it, `intake` checks its tag, `judge` its events, `deliver` stores it, and then,
//! and only then, `connection` sends its acknowledgement. What may wait on the way is bounded by `queue` and `budget`.

mod budget;
mod complaints;
mod connection;
mod deliver;
mod heartbeat;
mod intake;
mod judge;
mod params;
mod queue;
mod shared;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod turns;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;

pub(crate) use self::connection::serve as serve_connection;
pub use self::params::ForwardParams;
pub(crate) use self::shared::{MAX_MESSAGE_BYTES, Peer, Settings, Shared};
use crate::config::Diagnostic;
use crate::net::accept::{self, Listener, Options};
use crate::net::hostname;
use crate::net::tls::{ServerTls, Stream};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

/// The input.
pub struct Forward {
    params: ForwardParams,
    name: String,
    process: Arc<Process>,
    opened: Option<Opened>,
}

/// What is there once the input is open.
struct Opened {
    listener: std::net::TcpListener,
    heartbeats: std::net::UdpSocket,
    tls: Option<ServerTls>,
    settings: Settings,
}

impl Configure for Forward {
    type Config = ForwardParams;

    fn new(params: ForwardParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        params.check(cx)?;
        let name = cx.section.id().unwrap_or("forward").to_owned();
        Ok(Forward { params, name, process: cx.process.clone(), opened: None })
    }
}

impl Input for Forward {
    const ACKNOWLEDGES: bool = true;

    async fn open(&mut self) -> Result<(), InputError> {
        let params = &self.params;
        let gate = match &params.security {
            Some(security) => Some(security.gate().await.map_err(InputError)?),
            None => None,
        };
        let tls = ServerTls::open_if_wanted(&params.transport, &self.process.hostname)?;
        let listener = self.process.sockets.tcp(&params.bind, params.port, params.backlog)?;
        // Port 0 is for tests: heartbeats then come to the port that was given.
        let port = listener.local_addr()?.port();
        let heartbeats = self.process.sockets.udp(&params.bind, port, None)?;
        tracing::info!("listening port port={port} bind={:?}", params.bind);
        if let Some(warning) = params.exposed() {
            tracing::warn!("{warning}");
        }
        self.opened = Some(Opened { listener, heartbeats, tls, settings: params.settings(gate) });
        Ok(())
    }

    async fn run(mut self, emit: Emitter, stop: Stop) -> Result<(), InputError> {
        let Some(Opened { listener, heartbeats, tls, settings }) = self.opened.take() else {
            return Err(InputError("in_forward was not opened".into()));
        };
        let mut options = Options::new(self.name.clone());
        options.tls = tls;
        options.keepalive = self.params.send_keepalive_packet;
        options.receive_buffer = self.params.transport.receive_buffer_size.map(|size| size.len());
        let shared = Shared::new(settings, emit, stop.clone());
        let resolves = self.params.resolves();
        let handler = move |stream, peer| handle(stream, peer, shared.clone(), resolves);
        let mut told = stop.clone();
        let accepting =
            accept::serve(Listener::try_from(listener)?, options, async move { told.wait().await }, handler);
        let heartbeats = heartbeat::answer(UdpSocket::from_std(heartbeats)?, stop);
        tokio::join!(accepting, heartbeats);
        Ok(())
    }
}

async fn handle(stream: Stream, peer: accept::Peer, shared: Arc<Shared>, resolves: bool) {
    let peer = match peer {
        accept::Peer::Tcp(address) => named(address, &shared.settings, resolves).await,
        accept::Peer::Local => Peer::local(),
    };
    serve_connection(stream, peer, shared).await;
}

async fn named(address: SocketAddr, settings: &Settings, resolves: bool) -> Peer {
    let ip = address.ip().to_canonical();
    let host = if resolves { hostname::of(ip).await } else { ip.to_string() };
    Peer::new(ip, host, settings)
}

#[cfg(test)]
impl Forward {
    /// The address that was given, for port 0.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.opened.as_ref()?.listener.local_addr().ok()
    }
}
