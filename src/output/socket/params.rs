//! Parameters that the outputs share: where to send, and how connections are made and kept.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::{Diagnostic, Secret, TimeSpan};
use crate::net::tls::{ClientSettings, Verify, Version, Versions};
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum VerifyMode {
    None,
    #[default]
    Peer,
}

/// TLS, with the names that `out_http` has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TlsParams {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Authorities to trust instead of the system's.
    tls_ca_cert_path: Vec<PathBuf>,
    /// The client's certificate.
    tls_client_cert_path: Option<PathBuf>,
    /// Its private key.
    tls_private_key_path: Option<PathBuf>,
    /// The key's passphrase.
    tls_private_key_passphrase: Option<Secret>,
    /// `peer`, or `none` for no check at all.
    tls_verify_mode: VerifyMode,
    /// The one version to speak; by default TLS 1.2 and 1.3.
    tls_version: Option<Version>,
    /// Suites of TLS 1.2, as an OpenSSL cipher string.
    tls_ciphers: Option<String>,
}

impl TlsParams {
    /// Whom to trust and whom to be; `None` where no TLS is spoken.
    pub fn settings(&self, cx: &mut BuildContext<'_>) -> Result<Option<ClientSettings>, Diagnostic> {
        if !self.tls {
            let names = ["tls_ca_cert_path", "tls_client_cert_path", "tls_verify_mode"];
            names.iter().for_each(|name| cx.without_effect(name, "TLS is spoken with 'tls true' alone"));
            return Ok(None);
        }
        let settings = ClientSettings {
            verify: Verify { nothing: self.tls_verify_mode == VerifyMode::None, ..Verify::default() },
            ca_paths: self.tls_ca_cert_path.clone(),
            system_roots: self.tls_ca_cert_path.is_empty(),
            cert_path: self.tls_client_cert_path.clone(),
            private_key_path: self.tls_private_key_path.clone(),
            private_key_passphrase: self.tls_private_key_passphrase.clone(),
            versions: Versions { only: self.tls_version, ..Versions::default() },
            ciphers: self.tls_ciphers.clone(),
            alpn: &[],
        };
        checked(settings, cx).map(Some)
    }
}

/// The settings, once their faults and warnings are told.
pub fn checked(settings: ClientSettings, cx: &mut BuildContext<'_>) -> Result<ClientSettings, Diagnostic> {
    let warnings = settings.check().map_err(|f| cx.fault(f.parameter, f.message))?;
    warnings.into_iter().for_each(|w| cx.warn(w.parameter, w.message));
    Ok(settings)
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
