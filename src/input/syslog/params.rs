//! Parameters of `in_syslog`.

use serde::Deserialize;

use crate::config::{Diagnostic, Size, TimeSpan};
use crate::input::wire::{Senders, warn_of_blocking_timeout};
use crate::net::tls::{Protocol, Transport};
use crate::plugin::BuildContext;

/// How messages are told apart in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Frames {
    /// By `delimiter`.
    #[default]
    Traditional,
    /// By their length in front (RFC 6587).
    OctetCount,
}

/// Parameters of `in_syslog`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct SyslogParams {
    /// First part of the tag; facility and severity follow. Required.
    pub(super) tag: String,
    /// Port to listen on.
    pub(super) port: u16,
    /// Address to listen on.
    pub(super) bind: String,
    /// Old form of `<transport>`: `udp` or `tcp`.
    protocol_type: Option<Protocol>,
    /// `traditional` (by `delimiter`) or `octet_count`, for TCP and TLS.
    pub(super) frame_type: Frames,
    /// What ends a message of a traditional frame.
    pub(super) delimiter: String,
    /// Old form of `source_address_key`.
    include_source_host: bool,
    /// Field of `include_source_host`.
    source_host_key: String,
    /// Whether messages that can't be read become events with the tag `TAG.unmatched`.
    pub(super) emit_unmatched_lines: bool,
    /// Field that gets the sender's name.
    source_hostname_key: Option<String>,
    /// Whether the sender's name is looked up; it is, with `source_hostname_key`.
    resolve_hostname: Option<bool>,
    /// Field that gets the sender's address.
    source_address_key: Option<String>,
    /// Whether the kernel probes silent senders, for TCP and TLS.
    pub(super) send_keepalive_packet: bool,
    /// Field that gets the severity's name.
    #[serde(alias = "priority_key")]
    pub(super) severity_key: Option<String>,
    /// Field that gets the facility's name.
    pub(super) facility_key: Option<String>,
    /// A longer datagram is cut off. In a stream messages may have up to 16 MiB, or this where it is more.
    pub(super) message_length_limit: Size,
    /// No effect here.
    blocking_timeout: Option<TimeSpan>,
    /// `udp`, `tcp` or `tls`.
    pub(super) transport: Transport,
}

impl Default for SyslogParams {
    fn default() -> Self {
        SyslogParams {
            tag: String::new(),
            port: 5140,
            bind: "0.0.0.0".into(),
            protocol_type: None,
            frame_type: Frames::default(),
            delimiter: "\n".into(),
            include_source_host: false,
            source_host_key: "source_host".into(),
            emit_unmatched_lines: false,
            source_hostname_key: None,
            resolve_hostname: None,
            source_address_key: None,
            send_keepalive_packet: false,
            severity_key: None,
            facility_key: None,
            message_length_limit: Size(2048),
            blocking_timeout: None,
            transport: Transport::default(),
        }
    }
}

impl SyslogParams {
    /// Looks at the parameters together; the first fault, and warnings to the context.
    pub(super) fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if self.tag.is_empty() {
            return Err(cx.fault("tag", "'tag' parameter is required"));
        }
        if self.protocol_type == Some(Protocol::Tls) {
            return Err(cx.fault("protocol_type", "protocol_type has no tls. Use <transport tls>"));
        }
        if self.include_source_host && self.source_address_key.is_some() {
            return Err(cx.fault("include_source_host", "specify either source_address_key or include_source_host"));
        }
        if self.source_hostname_key.is_some() && self.resolve_hostname == Some(false) {
            return Err(cx.fault("resolve_hostname", "resolve_hostname must be true with source_hostname_key"));
        }
        if self.send_keepalive_packet && self.is_udp() {
            return Err(cx.fault("send_keepalive_packet", "send_keepalive_packet is available for tcp/tls"));
        }
        self.warn(cx);
        cx.check_transport(&self.transport)
    }

    fn warn(&self, cx: &mut BuildContext<'_>) {
        warn_of_blocking_timeout(self.blocking_timeout.is_some(), cx);
        if cx.section.has("priority_key") {
            cx.warn("priority_key", "priority_key is deprecated. Use severity_key instead");
        }
        if self.frame_type == Frames::OctetCount && self.is_udp() {
            cx.warn("frame_type", "frame_type has no effect on udp, where a datagram is a message");
        }
    }

    /// The protocol in force.
    fn chosen(&self) -> Protocol {
        self.protocol_type.or(self.transport.protocol).unwrap_or(Protocol::Udp)
    }

    /// Whether messages come as datagrams.
    pub(super) fn is_udp(&self) -> bool {
        self.chosen() == Protocol::Udp
    }

    /// Whether connections speak TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.chosen() == Protocol::Tls
    }

    /// The protocol's name.
    pub(super) fn protocol(&self) -> &'static str {
        match self.chosen() {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Tls => "tls",
        }
    }

    /// Which fields tell who sent a message.
    pub(super) fn senders(&self) -> Senders {
        let old = self.include_source_host.then(|| self.source_host_key.clone());
        let address = self.source_address_key.clone().or(old);
        Senders::new(address, self.source_hostname_key.clone(), true)
    }
}
