//! `udp`: one event per datagram (lib/fluent/plugin/in_udp.rb).

use std::sync::Arc;

use serde::Deserialize;

use super::wire::{Datagrams, Plain, Senders, serve_datagrams, warn_of_blocking_timeout};
use crate::config::{Diagnostic, Size, TimeSpan};
use crate::net::tls::{Protocol, Transport};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

/// The kernel's buffer of datagrams that are not read yet, where the configuration says nothing.
pub(super) const RECEIVE_BUFFER: Size = Size::mib(8);

/// Parameters of `in_udp`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct UdpParams {
    /// Tag of the events, where `<extract>` gives none. Required.
    tag: String,
    /// Port to listen on.
    port: u16,
    /// Address to listen on.
    bind: String,
    /// What is longer is cut off.
    #[serde(alias = "body_size_limit")]
    message_length_limit: Size,
    /// Whether a line end at the end of a datagram is taken off.
    remove_newline: bool,
    /// Field that gets the sender's name.
    #[serde(alias = "source_host_key")]
    source_hostname_key: Option<String>,
    /// Field that gets the sender's address.
    source_address_key: Option<String>,
    /// Whether the sender's name is looked up; else it is the address.
    resolve_hostname: Option<bool>,
    /// Receive buffer of the socket in the kernel; 8 MiB where not set. `net.core.rmem_max` caps it where suiro
    /// has not CAP_NET_ADMIN.
    receive_buffer_size: Option<Size>,
    /// No effect here.
    blocking_timeout: Option<TimeSpan>,
    /// `<transport udp>`, for its `receive_buffer_size`.
    transport: Transport,
}

impl Default for UdpParams {
    fn default() -> Self {
        UdpParams {
            tag: String::new(),
            port: 5160,
            bind: "0.0.0.0".into(),
            message_length_limit: Size(4096),
            remove_newline: true,
            source_hostname_key: None,
            source_address_key: None,
            resolve_hostname: None,
            receive_buffer_size: None,
            blocking_timeout: None,
            transport: Transport::default(),
        }
    }
}

/// The input.
pub struct Udp {
    params: UdpParams,
    process: Arc<Process>,
    plain: Plain,
    socket: Option<std::net::UdpSocket>,
}

impl Configure for Udp {
    type Config = UdpParams;

    fn new(params: UdpParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if !matches!(params.transport.protocol, None | Some(Protocol::Udp)) {
            return Err(cx.fault("transport", "in_udp has only the udp transport. Use @type tcp for tcp and tls"));
        }
        warn_of_blocking_timeout(params.blocking_timeout.is_some(), cx);
        let resolves = params.resolve_hostname.unwrap_or(true);
        let senders = Senders::new(params.source_address_key.clone(), params.source_hostname_key.clone(), resolves);
        let plain = Plain::new(params.tag.clone(), senders, cx)?;
        Ok(Udp { params, process: cx.process.clone(), plain, socket: None })
    }
}

impl Input for Udp {
    async fn open(&mut self) -> Result<(), InputError> {
        let params = &self.params;
        let buffer = params.receive_buffer_size.or(params.transport.receive_buffer_size).unwrap_or(RECEIVE_BUFFER);
        self.socket = Some(self.process.sockets.udp(&params.bind, params.port, Some(buffer.len()))?);
        tracing::info!("listening udp socket bind={:?} port={}", params.bind, params.port);
        Ok(())
    }

    async fn run(self, emit: Emitter, stop: Stop) -> Result<(), InputError> {
        let socket = self.socket.ok_or_else(|| InputError("in_udp was not opened".into()))?;
        let limit = self.params.message_length_limit.len();
        let datagrams = Datagrams { handler: self.plain, limit, chomps: self.params.remove_newline };
        serve_datagrams(socket, datagrams, emit, stop).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::input::forward::testing::Collector;
    use crate::input::wire::testing::{build, shown};
    use crate::plugin::Stopper;

    #[tokio::test]
    async fn a_datagram_is_a_message_and_what_waits_at_the_stop_is_read() {
        let config = "@type udp\nport 0\nbind 127.0.0.1\ntag u\nmessage_length_limit 5\n<parse>\n@type none\n</parse>";
        let mut input: Udp = build(config);
        input.open().await.unwrap();
        let address = input.socket.as_ref().unwrap().local_addr().unwrap();
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for text in ["a\nb\n", "123456", ""] {
            socket.send_to(text.as_bytes(), address).await.unwrap();
        }
        let (collector, emit) = Collector::emitter();
        let stopper = Stopper::new();
        stopper.stop();
        input.run(emit, stopper.listener()).await.unwrap();
        let expected = [r#"u {"message":"a\nb"}"#, r#"u {"message":"12345"}"#, r#"u {"message":""}"#];
        assert_eq!(shown(&collector), expected);
    }
}
