//! Messages over TCP or TLS.

use std::sync::Arc;

use super::{Batches, Handler, log_gate};
use crate::net::LogGate;
use crate::net::accept::{self, Listener, Options, Peer};
use crate::net::lines::{Frame, Framing, Lines};
use crate::net::tls::Stream;
use crate::plugin::{Emitter, InputError, Stop};

/// How connections are read.
pub(in crate::input) struct Streams<H> {
    /// What becomes of a message.
    pub(in crate::input) handler: H,
    /// How messages are told apart.
    pub(in crate::input) framing: Framing,
    /// Longest message, in bytes.
    pub(in crate::input) limit: usize,
    /// Whether a peer may send; `true` for all.
    pub(in crate::input) admits: Box<dyn Fn(&Peer) -> bool + Send + Sync>,
}

/// Reads connections until the stop.
pub(in crate::input) async fn serve_streams<H: Handler>(
    listener: std::net::TcpListener,
    options: Options,
    streams: Streams<H>,
    emit: Emitter,
    stop: Stop,
) -> Result<(), InputError> {
    let streams = Arc::new((streams, log_gate()));
    let told = stop.clone();
    let handler = move |stream, peer| {
        let (streams, emit, stop) = (streams.clone(), emit.clone(), told.clone());
        async move { read(stream, peer, &streams.0, &streams.1, emit, stop).await }
    };
    let mut stop = stop;
    accept::serve(Listener::try_from(listener)?, options, async move { stop.wait().await }, handler).await;
    Ok(())
}

async fn read<H: Handler>(
    mut stream: Stream,
    peer: Peer,
    streams: &Streams<H>,
    gate: &LogGate,
    emit: Emitter,
    mut stop: Stop,
) {
    if !(streams.admits)(&peer) {
        if let Some(left_out) = gate.pass() {
            let address = peer.ip().map(|ip| ip.to_string()).unwrap_or_default();
            tracing::warn!(left_out, "anonymous client '{address}' denied");
        }
        return;
    }
    let sender = streams.handler.senders().sender(peer.ip()).await;
    let mut lines = Lines::new(&streams.framing, streams.limit);
    let mut batches = Batches::default();
    while let Some(outcome) = stop.or(lines.read(&mut stream)).await {
        match outcome {
            Ok(0) => break,
            Ok(_) => {}
            Err(e) => {
                tracing::debug!(%peer, error = %e, "connection lost");
                break;
            }
        }
        let drained = lines.drain(|frame| match frame {
            Frame::Message(text) => streams.handler.handle(text, &sender, &mut batches),
            Frame::TooLong { size, head } => too_long(streams.limit, size, head, gate),
        });
        batches.deliver(&emit, &mut stop).await;
        if let Err(e) = drained {
            tracing::warn!(%peer, "{e}; closing the connection");
            return;
        }
    }
    if lines.unfinished() > 0
        && let Some(left_out) = gate.pass()
    {
        let bytes = lines.unfinished();
        tracing::info!(%peer, bytes, left_out, "the connection ended within a message, which is dropped");
    }
}

fn too_long(limit: usize, size: usize, head: &[u8], gate: &LogGate) {
    if let Some(left_out) = gate.pass() {
        let head = String::from_utf8_lossy(head);
        tracing::warn!(
            limit,
            size,
            ?head,
            left_out,
            "The received data is larger than 'message_length_limit', dropped:"
        );
    }
}
