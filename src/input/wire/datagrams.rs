//! Messages over UDP: all that is there is read in one round, and a round is one batch per tag.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::net::UdpSocket;

use super::{Batches, Handler, log_gate};
use crate::net::LogGate;
use crate::plugin::{Emitter, InputError, Stop};

/// Most datagrams and bytes of a round: what is lost at a crash, and what a batch may hold.
const MAX_ROUND_DATAGRAMS: usize = 4096;
const MAX_ROUND_BYTES: usize = 4 * 1024 * 1024;

/// How long the stop looks for datagrams that wait.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// Largest payload of UDP, in bytes.
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// How datagrams are read.
pub(in crate::input) struct Datagrams<H> {
    /// What becomes of a message.
    pub(in crate::input) handler: H,
    /// Longest message, in bytes; the rest of a longer one is cut off, as in Fluentd.
    pub(in crate::input) limit: usize,
    /// Whether one line end is taken off.
    pub(in crate::input) chomps: bool,
}

/// What one round read.
#[derive(Default)]
struct Round {
    bytes: Vec<u8>,
    /// Where each message ends in `bytes`, and its sender.
    ends: Vec<(usize, IpAddr)>,
}

/// Reads datagrams until the stop, and then what the kernel still holds.
pub(in crate::input) async fn serve_datagrams<H: Handler>(
    socket: std::net::UdpSocket,
    datagrams: Datagrams<H>,
    emit: Emitter,
    mut stop: Stop,
) -> Result<(), InputError> {
    let socket = UdpSocket::from_std(socket)?;
    let gate = log_gate();
    let mut space = vec![0; datagrams.limit.clamp(1, MAX_DATAGRAM_BYTES) + 1];
    let (mut round, mut batches) = (Round::default(), Batches::default());
    loop {
        let stopped = match stop.or(socket.readable()).await {
            Some(ready) => ready.map(|()| false)?,
            None => {
                // Only the runtime knows whether something waits; where nothing does it would never say so.
                let _ = tokio::time::timeout(LAST_LOOK, socket.readable()).await;
                true
            }
        };
        round.fill(&socket, &mut space, &gate);
        round.handle(&datagrams, &mut batches).await;
        batches.deliver(&emit, &mut stop).await;
        if stopped {
            return Ok(());
        }
    }
}

impl Round {
    fn fill(&mut self, socket: &UdpSocket, space: &mut [u8], gate: &LogGate) {
        self.bytes.clear();
        self.ends.clear();
        let limit = space.len() - 1;
        while self.ends.len() < MAX_ROUND_DATAGRAMS && self.bytes.len() < MAX_ROUND_BYTES {
            match socket.try_recv_from(space) {
                Ok((size, from)) => {
                    self.bytes.extend_from_slice(&space[..size.min(limit)]);
                    self.ends.push((self.bytes.len(), from.ip()));
                    if size > limit
                        && let Some(left_out) = gate.pass()
                    {
                        tracing::warn!(%from, limit, left_out, "a datagram is larger than 'message_length_limit', its end is cut off");
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // What an earlier answer of the network left on the socket; the next read goes on.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    if let Some(left_out) = gate.pass() {
                        tracing::error!(error = %e, left_out, "unexpected error on reading a datagram");
                    }
                    return;
                }
            }
        }
    }

    async fn handle<H: Handler>(&self, datagrams: &Datagrams<H>, batches: &mut Batches) {
        let mut start = 0;
        let mut last = None;
        for (end, ip) in &self.ends {
            let sender = match last.take() {
                Some((known, sender)) if known == *ip => sender,
                _ => datagrams.handler.senders().sender(Some(*ip)).await,
            };
            let text = &self.bytes[start..*end];
            let text = if datagrams.chomps { chomped(text) } else { text };
            datagrams.handler.handle(text, &sender, batches);
            (start, last) = (*end, Some((*ip, sender)));
        }
    }
}

fn chomped(text: &[u8]) -> &[u8] {
    match text {
        [head @ .., b'\r', b'\n'] | [head @ .., b'\n' | b'\r'] => head,
        _ => text,
    }
}
