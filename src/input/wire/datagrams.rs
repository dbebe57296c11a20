//! Messages over UDP: what was read while the last ones were at work is one round, and a round is one batch per tag.

use super::receiver::{Receiver, Round};
use super::{Batches, Handler};
use crate::plugin::{Emitter, InputError, Stop};

/// How datagrams are read.
pub(in crate::input) struct Datagrams<H> {
    /// What becomes of a message.
    pub(in crate::input) handler: H,
    /// Longest message, in bytes; the rest of a longer one is cut off, as in Fluentd.
    pub(in crate::input) limit: usize,
    /// Whether one line end is taken off.
    pub(in crate::input) chomps: bool,
}

/// Reads datagrams until the stop, and then what the kernel still holds.
pub(in crate::input) async fn serve_datagrams<H: Handler>(
    socket: std::net::UdpSocket,
    datagrams: Datagrams<H>,
    emit: Emitter,
    mut stop: Stop,
) -> Result<(), InputError> {
    let receiver = Receiver::start(socket, datagrams.limit)?;
    let (mut round, mut batches, mut told) = (Round::default(), Batches::default(), false);
    loop {
        let next = receiver.next(&mut round);
        let more = match told {
            true => next.await,
            false => match stop.or(next).await {
                Some(more) => more,
                None => {
                    receiver.stop();
                    told = true;
                    continue;
                }
            },
        };
        if !more {
            return Ok(());
        }
        datagrams.handle(&round, &mut batches).await;
        batches.deliver(&emit, &mut stop).await;
    }
}

impl<H: Handler> Datagrams<H> {
    async fn handle(&self, round: &Round, batches: &mut Batches) {
        let mut last = None;
        for (text, ip) in round.messages() {
            let sender = match last.take() {
                Some((known, sender)) if known == ip => sender,
                _ => self.handler.senders().sender(Some(ip)).await,
            };
            let text = if self.chomps { chomped(text) } else { text };
            self.handler.handle(text, &sender, batches);
            last = Some((ip, sender));
        }
    }
}

fn chomped(text: &[u8]) -> &[u8] {
    match text {
        [head @ .., b'\r', b'\n'] | [head @ .., b'\n' | b'\r'] => head,
        _ => text,
    }
}
