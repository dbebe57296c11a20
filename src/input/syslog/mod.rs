//! `syslog`: messages of syslog daemons over UDP, TCP or TLS (lib/fluent/plugin/in_syslog.rb).

mod messages;
mod params;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::messages::Messages;
use self::params::{Frames, SyslogParams};
use super::udp::RECEIVE_BUFFER;
use super::wire::{Datagrams, Streams, delimiter, serve_datagrams, serve_streams};
use crate::config::{Diagnostic, Size};
use crate::net::accept::Options;
use crate::net::lines::{Framing, MAX_MESSAGE_BYTES};
use crate::net::tls::ServerTls;
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

/// The input.
pub struct Syslog {
    params: SyslogParams,
    name: String,
    process: Arc<Process>,
    framing: Framing,
    messages: Messages,
    opened: Option<Opened>,
}

enum Opened {
    Udp(std::net::UdpSocket),
    Tcp(std::net::TcpListener, Option<ServerTls>),
}

impl Configure for Syslog {
    type Config = SyslogParams;

    fn new(params: SyslogParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        params.check(cx)?;
        let framing = match params.frame_type {
            Frames::Traditional => Framing::Delimiter(delimiter(&params.delimiter, cx)?),
            Frames::OctetCount => Framing::OctetCount,
        };
        let messages = Messages::new(&params, cx)?;
        let name = cx.section.id().unwrap_or("syslog").to_owned();
        Ok(Syslog { params, name, process: cx.process.clone(), framing, messages, opened: None })
    }
}

impl Input for Syslog {
    async fn open(&mut self) -> Result<(), InputError> {
        let (params, sockets) = (&self.params, &self.process.sockets);
        let opened = if params.is_udp() {
            let buffer = params.transport.receive_buffer_size.unwrap_or(RECEIVE_BUFFER);
            Opened::Udp(sockets.udp(&params.bind, params.port, Some(buffer.len()))?)
        } else {
            let tls = match params.is_tls() {
                true => Some(ServerTls::open(&params.transport, &self.process.hostname)?),
                false => None,
            };
            Opened::Tcp(sockets.tcp(&params.bind, params.port, None)?, tls)
        };
        tracing::info!("listening syslog socket on {}:{} with {}", params.bind, params.port, params.protocol());
        self.opened = Some(opened);
        Ok(())
    }

    async fn run(self, emit: Emitter, stop: Stop) -> Result<(), InputError> {
        let handler = self.messages;
        match self.opened {
            Some(Opened::Udp(socket)) => {
                let limit = self.params.message_length_limit.len();
                serve_datagrams(socket, Datagrams { handler, limit, chomps: true }, emit, stop).await
            }
            Some(Opened::Tcp(listener, tls)) => {
                let mut options = Options::new(self.name);
                options.tls = tls;
                options.keepalive = self.params.send_keepalive_packet;
                options.receive_buffer = self.params.transport.receive_buffer_size.map(Size::len);
                let limit = self.params.message_length_limit.len().max(MAX_MESSAGE_BYTES);
                let streams = Streams { handler, framing: self.framing, limit, admits: Box::new(|_| true) };
                serve_streams(listener, options, streams, emit, stop).await
            }
            None => Err(InputError("in_syslog was not opened".into())),
        }
    }
}

#[cfg(test)]
impl Syslog {
    /// The address that was given, for port 0.
    fn local_addr(&self) -> std::net::SocketAddr {
        let address = match &self.opened {
            Some(Opened::Udp(socket)) => socket.local_addr().ok(),
            Some(Opened::Tcp(listener, _)) => listener.local_addr().ok(),
            None => None,
        };
        address.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())
    }
}
