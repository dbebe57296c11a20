//! Parameters that the outputs share: where to send, and how connections are made and kept.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{Diagnostic, TimeSpan};
use crate::plugin::BuildContext;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Server {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// When a chunk sent over TCP counts as delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confirm {
    /// Its bytes are with the kernel, and the connection stands.
    #[default]
    None,
    /// The target has closed the connection after suiro has: it has read everything.
    Close,
}

/// Probes of the kernel over a silent connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// Silence before the first, in seconds.
    pub idle: Option<u64>,
    /// Pause between two, in seconds.
    pub interval: Option<u64>,
    /// How many go unanswered before the connection is given up.
    pub count: Option<u32>,
}

/// How connections are made and kept.
#[derive(Clone, Debug)]
pub struct Terms {
    /// How long connecting may take, and the TLS handshake, each.
    pub connect_timeout: Duration,
    /// How long the target may take nothing, or leave what it was sent without its kernel's receipt.
    pub send_timeout: Duration,
    /// Whether a connection is used for more than one chunk.
    pub keepalive: bool,
    /// How long it is kept while nothing is sent.
    pub keepalive_timeout: Option<Duration>,
    /// Whether the kernel probes it.
    pub probes: Option<Probes>,
    /// When a chunk counts as delivered.
    pub confirm: Confirm,
    /// How long a server that failed is passed over while another does not.
    pub recover_wait: Duration,
}

/// How connections are made and kept, as parameters.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct TermsParams {
    /// How long connecting may take.
    pub connect_timeout: TimeSpan,
    /// How long the target may take nothing.
    pub send_timeout: TimeSpan,
    /// Whether a connection is used for more than one chunk.
    pub keepalive: bool,
    /// How long a connection is kept while nothing is sent.
    pub keepalive_timeout: Option<TimeSpan>,
    /// Whether the kernel looks if a silent target is still there.
    pub send_keepalive_packet: bool,
    /// `none` or `close`.
    pub confirm: Confirm,
    /// How long a server that failed is passed over.
    pub recover_wait: TimeSpan,
}

impl Default for TermsParams {
    fn default() -> TermsParams {
        TermsParams {
            connect_timeout: TimeSpan::secs(10.0),
            send_timeout: TimeSpan::secs(60.0),
            keepalive: true,
            keepalive_timeout: None,
            send_keepalive_packet: true,
            confirm: Confirm::None,
            recover_wait: TimeSpan::secs(10.0),
        }
    }
}

impl TermsParams {
    /// What they come to.
    ///
    /// Errors: waits of no time.
    pub fn terms(&self, cx: &BuildContext<'_>) -> Result<Terms, Diagnostic> {
        for (name, time) in [("connect_timeout", self.connect_timeout), ("send_timeout", self.send_timeout)] {
            if time.duration().is_zero() {
                return Err(cx.fault(name, format!("{name} must be longer than nothing")));
            }
        }
        Ok(Terms {
            connect_timeout: self.connect_timeout.duration(),
            send_timeout: self.send_timeout.duration(),
            keepalive: self.keepalive,
            keepalive_timeout: self.keepalive_timeout.map(TimeSpan::duration),
            probes: self.send_keepalive_packet.then(Probes::default),
            confirm: self.confirm,
            recover_wait: self.recover_wait.duration(),
        })
    }
}

/// Servers from `host` and `port`, or from `<server>` sections, in order.
pub fn servers(
    host: Option<&str>,
    port: Option<u16>,
    sections: &[Server],
    cx: &BuildContext<'_>,
) -> Result<Vec<Server>, Diagnostic> {
    let servers = match (host, sections.is_empty()) {
        (Some(_), false) => return Err(cx.fault("host", "'host' and <server> are both given; write one of them")),
        (None, true) => return Err(cx.fault("host", "'host' parameter is required, or a <server> section")),
        (None, false) => sections.to_vec(),
        (Some(host), true) => {
            let port = port.ok_or_else(|| cx.fault("port", "'port' parameter is required"))?;
            vec![Server { host: host.to_owned(), port }]
        }
    };
    match servers.iter().find(|server| server.port == 0 || server.host.is_empty()) {
        Some(server) => Err(cx.fault("host", format!("{server}: host and port of a target can't be empty or 0"))),
        None => Ok(servers),
    }
}
