//! `tcp`: one event per delimited text, over TCP or TLS (lib/fluent/plugin/in_tcp.rb).

use std::sync::Arc;

use serde::Deserialize;

use super::wire::{Plain, Senders, Streams, delimiter, serve_streams, warn_of_blocking_timeout};
use crate::config::{Diagnostic, Size, TimeSpan};
use crate::net::accept::{Options, Peer};
use crate::net::forward::Network;
use crate::net::lines::{Framing, MAX_MESSAGE_BYTES};
use crate::net::tls::{Protocol, ServerTls, Transport};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

/// Parameters of `in_tcp`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct TcpParams {
    /// Tag of the events, where `<extract>` gives none. Required.
    tag: String,
    /// Port to listen on.
    port: u16,
    /// Address to listen on.
    bind: String,
    /// What ends a message.
    delimiter: String,
    /// Longer messages are dropped; without it those over 16 MiB are.
    message_length_limit: Option<Size>,
    /// Field that gets the sender's name.
    #[serde(alias = "source_host_key")]
    source_hostname_key: Option<String>,
    /// Field that gets the sender's address.
    source_address_key: Option<String>,
    /// Whether the sender's name is looked up; else it is the address.
    resolve_hostname: Option<bool>,
    /// Whether the kernel probes silent senders.
    send_keepalive_packet: bool,
    /// No effect here.
    blocking_timeout: Option<TimeSpan>,
    /// Who may send.
    security: Option<Security>,
    /// TLS.
    transport: Transport,
}

impl Default for TcpParams {
    fn default() -> Self {
        TcpParams {
            tag: String::new(),
            port: 5170,
            bind: "0.0.0.0".into(),
            delimiter: "\n".into(),
            message_length_limit: None,
            source_hostname_key: None,
            source_address_key: None,
            resolve_hostname: None,
            send_keepalive_packet: false,
            blocking_timeout: None,
            security: None,
            transport: Transport::default(),
        }
    }
}

/// `<security>`: only the clients named here may send.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Security {
    /// The clients.
    #[serde(rename = "client")]
    clients: Vec<Client>,
}

/// `<client>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Client {
    /// Its address or name.
    host: Option<String>,
    /// Its network, as `10.0.0.0/8`.
    network: Option<String>,
}

impl Security {
    fn check(&self, cx: &BuildContext<'_>) -> Result<(), Diagnostic> {
        if self.clients.is_empty() {
            return Err(cx.fault("security", "<security> needs at least one <client>"));
        }
        self.clients.iter().try_for_each(|client| match (&client.host, &client.network) {
            (Some(_), Some(_)) => Err(cx.fault("security", "both of 'host' and 'network' are specified for client")),
            (None, None) => Err(cx.fault("security", "Either of 'host' and 'network' must be specified for client")),
            (None, Some(network)) if Network::parse(network).is_none() => {
                Err(cx.fault("security", format!("network '{network}' address format is invalid")))
            }
            _ => Ok(()),
        })
    }

    async fn networks(&self) -> Result<Vec<Network>, InputError> {
        let mut networks = Vec::with_capacity(self.clients.len());
        for client in &self.clients {
            if let Some(network) = client.network.as_deref().and_then(Network::parse) {
                networks.push(network);
                continue;
            }
            let host = client.host.as_deref().unwrap_or_default();
            let unknown = || InputError(format!("host '{host}' cannot be resolved"));
            let mut found = tokio::net::lookup_host((host, 0)).await.map_err(|_| unknown())?;
            networks.push(found.next().map(|a| Network::of(a.ip())).ok_or_else(unknown)?);
        }
        Ok(networks)
    }
}

/// The input.
pub struct Tcp {
    params: TcpParams,
    name: String,
    process: Arc<Process>,
    framing: Framing,
    plain: Plain,
    opened: Option<Opened>,
}

struct Opened {
    listener: std::net::TcpListener,
    tls: Option<ServerTls>,
    networks: Option<Vec<Network>>,
}

impl Configure for Tcp {
    type Config = TcpParams;

    fn new(params: TcpParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if params.transport.protocol == Some(Protocol::Udp) {
            return Err(cx.fault("transport", "in_tcp has no udp transport. Use @type udp"));
        }
        warn_of_blocking_timeout(params.blocking_timeout.is_some(), cx);
        if let Some(security) = &params.security {
            security.check(cx)?;
        }
        cx.check_transport(&params.transport)?;
        let framing = Framing::Delimiter(delimiter(&params.delimiter, cx)?);
        let resolves = params.resolve_hostname.unwrap_or(true);
        let senders = Senders::new(params.source_address_key.clone(), params.source_hostname_key.clone(), resolves);
        let plain = Plain::new(params.tag.clone(), senders, cx)?;
        let name = cx.section.id().unwrap_or("tcp").to_owned();
        Ok(Tcp { params, name, process: cx.process.clone(), framing, plain, opened: None })
    }
}

impl Input for Tcp {
    async fn open(&mut self) -> Result<(), InputError> {
        let params = &self.params;
        let networks = match &params.security {
            Some(security) => Some(security.networks().await?),
            None => None,
        };
        let tls = ServerTls::open_if_wanted(&params.transport, &self.process.hostname)?;
        let listener = self.process.sockets.tcp(&params.bind, params.port, None)?;
        tracing::info!("listening tcp socket bind={:?} port={}", params.bind, params.port);
        self.opened = Some(Opened { listener, tls, networks });
        Ok(())
    }

    async fn run(mut self, emit: Emitter, stop: Stop) -> Result<(), InputError> {
        let Some(Opened { listener, tls, networks }) = self.opened.take() else {
            return Err(InputError("in_tcp was not opened".into()));
        };
        let mut options = Options::new(self.name);
        options.tls = tls;
        options.keepalive = self.params.send_keepalive_packet;
        options.receive_buffer = self.params.transport.receive_buffer_size.map(Size::len);
        let streams = Streams {
            handler: self.plain,
            framing: self.framing,
            limit: self.params.message_length_limit.map_or(MAX_MESSAGE_BYTES, Size::len),
            admits: Box::new(move |peer| networks.as_deref().is_none_or(|allowed| is_within(allowed, peer))),
        };
        serve_streams(listener, options, streams, emit, stop).await
    }
}

fn is_within(allowed: &[Network], peer: &Peer) -> bool {
    peer.ip().is_some_and(|ip| allowed.iter().any(|network| network.contains(ip)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::input::forward::testing::Collector;
    use crate::input::wire::testing::{build, faults, shown};
    use crate::plugin::Stopper;

    async fn opened(config: &str) -> (Tcp, std::net::SocketAddr) {
        let mut input: Tcp = build(&format!("@type tcp\nport 0\nbind 127.0.0.1\ntag t\n{config}"));
        input.open().await.unwrap();
        let address = input.opened.as_ref().unwrap().listener.local_addr().unwrap();
        (input, address)
    }

    #[tokio::test]
    async fn messages_end_at_the_delimiter_and_the_tag_may_be_a_field() {
        let config =
            "delimiter \";\"\nsource_address_key a\n<parse>\n@type ltsv\n</parse>\n<extract>\ntag_key k\n</extract>";
        let (input, address) = opened(config).await;
        let (collector, emit) = Collector::emitter();
        let stopper = Stopper::new();
        let running = tokio::spawn(input.run(emit, stopper.listener()));
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(b"k:x\tv:1;v:2;v:un").await.unwrap();
        collector.wait_events(2).await;
        drop(tcp);
        stopper.stop();
        running.await.unwrap().unwrap();
        assert_eq!(shown(&collector), [r#"x {"v":"1","a":"127.0.0.1"}"#, r#"t {"v":"2","a":"127.0.0.1"}"#]);
    }

    #[tokio::test]
    async fn clients_that_are_not_named_are_turned_away() {
        let security =
            "<security>\n<client>\nnetwork 10.0.0.0/8\n</client>\n</security>\n<parse>\n@type none\n</parse>";
        let (input, address) = opened(security).await;
        let (collector, emit) = Collector::emitter();
        let stopper = Stopper::new();
        let running = tokio::spawn(input.run(emit, stopper.listener()));
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let _ = tcp.write_all(b"m\n").await;
        assert_eq!(tcp.read(&mut [0]).await.unwrap_or(0), 0);
        stopper.stop();
        running.await.unwrap().unwrap();
        assert!(shown(&collector).is_empty());
    }

    #[test]
    fn parse_and_tag_are_required() {
        assert!(faults::<Tcp>("@type tcp\ntag t").contains("<parse> section is required"));
        assert!(faults::<Tcp>("@type tcp\n<parse>\n@type none\n</parse>").contains("tag"));
        let both = "@type tcp\ntag t\n<security>\n<client>\n</client>\n</security>\n<parse>\n@type none\n</parse>";
        assert!(faults::<Tcp>(both).contains("Either of 'host' and 'network'"));
    }
}
