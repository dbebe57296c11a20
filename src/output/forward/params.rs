//! Parameters of `out_forward`, and what is wrong with them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::cluster::Beat;
use super::discovery::Discovery;
use super::link::Link;
use super::node::{Common, Watch};
use super::payload::Shape;
use super::resolve::Lookup;
use super::send::Terms;
use super::server::Server;
use super::srv::Srv;
use crate::config::{Diagnostic, Secret, Section, Size, TimeSpan};
use crate::event::Packing;
use crate::net::dial::Dial;
use crate::net::tls::{ClientSettings, ClientTls, Verify, Version, Versions};
use crate::plugin::{BuildContext, unknown_type};

/// Fluentd's default path of a discovery file.
const DEFAULT_DISCOVERY_PATH: &str = "/etc/fluent/sd.yaml";

/// The transport protocol.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// How a server shows that it lives.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Heartbeat {
    /// A connection over the transport can be made.
    #[default]
    Transport,
    /// The same, under its old name.
    Tcp,
    /// It answers a datagram.
    Udp,
    /// It need not.
    None,
}

/// How entries are compressed on their way.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// Not at all.
    #[default]
    Text,
    /// gzip
    Gzip,
    /// zstd; servers know it from Fluentd 1.19 on.
    Zstd,
}

/// `<security>`
#[derive(Debug, Deserialize)]
pub struct SecurityParams {
    /// The name that this side tells servers; theirs must differ.
    pub(super) self_hostname: String,
    /// The key that both sides must know.
    pub(super) shared_key: Secret,
}

/// Parameters of `out_forward`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ForwardParams {
    /// `tcp` or `tls`.
    pub(super) transport: Transport,
    /// How long writing may make no progress.
    pub(super) send_timeout: TimeSpan,
    /// How long connecting may take.
    pub(super) connect_timeout: Option<TimeSpan>,
    /// `transport`, `udp` or `none`.
    pub(super) heartbeat_type: Heartbeat,
    /// Time between heartbeats.
    pub(super) heartbeat_interval: TimeSpan,
    /// How long a server must show signs of life before it is used again.
    pub(super) recover_wait: TimeSpan,
    /// Time without a sign of life after which a server counts as gone; also how long a handshake may take.
    pub(super) hard_timeout: TimeSpan,
    /// Suspicion above which a server counts as gone.
    pub(super) phi_threshold: i64,
    /// Whether suspicion counts.
    pub(super) phi_failure_detector: bool,
    /// Whether servers must acknowledge each chunk.
    pub(super) require_ack_response: bool,
    /// How long to wait for that.
    pub(super) ack_response_timeout: TimeSpan,
    /// Fluentd's pause between reads; reads wait for bytes here.
    pub(super) read_interval_msec: Option<i64>,
    /// Bytes per read in Fluentd; has no effect here.
    pub(super) read_length: Option<Size>,
    /// How long an address is used before it is looked up again; 0 looks it up each time.
    pub(super) expire_dns_cache: Option<TimeSpan>,
    /// Whether one of a name's addresses is taken by chance.
    pub(super) dns_round_robin: bool,
    /// Whether the start goes on when a server's name has no address.
    pub(super) ignore_network_errors_at_startup: bool,
    /// Whether the start fails when a server can't be connected to.
    pub(super) verify_connection_at_startup: bool,
    /// `text`, `gzip` or `zstd`.
    pub(super) compress: Compress,
    /// Whether times are sent as whole seconds, for servers before Fluentd 0.14.
    pub(super) time_as_integer: bool,
    /// The one version of TLS to speak.
    pub(super) tls_version: Option<Version>,
    /// Suites of TLS 1.2, as an OpenSSL cipher string.
    pub(super) tls_ciphers: Option<String>,
    /// Whether certificates are not checked at all.
    pub(super) tls_insecure_mode: bool,
    /// Whether a certificate that is signed by itself will do.
    pub(super) tls_allow_self_signed_cert: bool,
    /// Whether the name on the certificate is checked.
    pub(super) tls_verify_hostname: bool,
    /// Authorities that are trusted beside those of the system.
    pub(super) tls_ca_cert_path: Vec<PathBuf>,
    /// The same, under its old name.
    pub(super) tls_cert_path: Vec<PathBuf>,
    /// Own certificate.
    pub(super) tls_client_cert_path: Option<PathBuf>,
    /// Its key.
    pub(super) tls_client_private_key_path: Option<PathBuf>,
    /// Passphrase of the key.
    pub(super) tls_client_private_key_passphrase: Option<Secret>,
    /// Windows only.
    pub(super) tls_cert_thumbprint: Option<String>,
    /// Windows only.
    pub(super) tls_cert_logical_store_name: Option<String>,
    /// Windows only.
    pub(super) tls_cert_use_enterprise_store: Option<bool>,
    /// Whether connections are used for more than one chunk.
    pub(super) keepalive: bool,
    /// How long a connection may be kept unused.
    pub(super) keepalive_timeout: Option<TimeSpan>,
    /// Whether the kernel probes silent connections.
    pub(super) send_keepalive_packet: bool,
    /// Handshake with a shared key.
    pub(super) security: Option<SecurityParams>,
    /// Where to send to.
    #[serde(rename = "server")]
    pub(super) servers: Vec<Server>,
    /// More places that list servers.
    #[serde(rename = "service_discovery")]
    pub(super) discoveries: Vec<Section>,
    /// Obsolete.
    pub(super) host: Option<String>,
    /// Obsolete.
    pub(super) port: Option<u16>,
}

impl Default for ForwardParams {
    fn default() -> Self {
        ForwardParams {
            transport: Transport::Tcp,
            send_timeout: TimeSpan::secs(60.0),
            connect_timeout: None,
            heartbeat_type: Heartbeat::Transport,
            heartbeat_interval: TimeSpan::secs(1.0),
            recover_wait: TimeSpan::secs(10.0),
            hard_timeout: TimeSpan::secs(60.0),
            phi_threshold: 16,
            phi_failure_detector: true,
            require_ack_response: false,
            ack_response_timeout: TimeSpan::secs(190.0),
            read_interval_msec: None,
            read_length: None,
            expire_dns_cache: None,
            dns_round_robin: false,
            ignore_network_errors_at_startup: false,
            verify_connection_at_startup: false,
            compress: Compress::Text,
            time_as_integer: false,
            tls_version: None,
            tls_ciphers: None,
            tls_insecure_mode: false,
            tls_allow_self_signed_cert: false,
            tls_verify_hostname: true,
            tls_ca_cert_path: Vec::new(),
            tls_cert_path: Vec::new(),
            tls_client_cert_path: None,
            tls_client_private_key_path: None,
            tls_client_private_key_passphrase: None,
            tls_cert_thumbprint: None,
            tls_cert_logical_store_name: None,
            tls_cert_use_enterprise_store: None,
            keepalive: false,
            keepalive_timeout: None,
            send_keepalive_packet: false,
            security: None,
            servers: Vec::new(),
            discoveries: Vec::new(),
            host: None,
            port: None,
        }
    }
}

/// `<service_discovery> @type static`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StaticParams {
    /// The servers.
    #[serde(rename = "service")]
    services: Vec<Server>,
}

/// `<service_discovery> @type file`
#[derive(Debug, Deserialize)]
#[serde(default)]
struct FileParams {
    /// A YAML or JSON file with a list of servers.
    path: PathBuf,
    /// Encoding of the file; UTF-8.
    conf_encoding: String,
}

impl Default for FileParams {
    fn default() -> Self {
        let path =
            std::env::var_os("DEFAULT_SD_FILE_PATH").map_or_else(|| DEFAULT_DISCOVERY_PATH.into(), PathBuf::from);
        FileParams { path, conf_encoding: "utf-8".into() }
    }
}

impl ForwardParams {
    /// Looks at the parameters together; the first fault, and warnings to the context.
    pub(super) fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        self.check_refused(cx)?;
        if self.dns_round_robin && self.heartbeat_type == Heartbeat::Udp {
            let why = "forward output heartbeat type must be 'transport' or 'none' to use dns_round_robin option";
            return Err(cx.fault("heartbeat_type", why));
        }
        if self.send_keepalive_packet && !self.keepalive {
            let why =
                "'send_keepalive_packet' is enabled but 'keepalive' is not. Enable 'keepalive' to use TCP keepalive.";
            return Err(cx.fault("send_keepalive_packet", why));
        }
        if self.ack_response_timeout.seconds() < 1.0 {
            return Err(cx.fault("ack_response_timeout", "ack_response_timeout must be a positive integer"));
        }
        for (name, time) in [("heartbeat_interval", self.heartbeat_interval), ("send_timeout", self.send_timeout)] {
            if time.duration().is_zero() {
                return Err(cx.fault(name, format!("{name} must be more than 0")));
            }
        }
        if self.transport == Transport::Tls {
            self.check_tls(cx)?;
        }
        self.warn_of_oddities(cx);
        Ok(())
    }

    fn check_refused(&self, cx: &BuildContext<'_>) -> Result<(), Diagnostic> {
        let obsolete = [("host", self.host.is_some()), ("port", self.port.is_some())];
        if let Some((name, _)) = obsolete.iter().find(|(_, set)| *set) {
            return Err(cx.fault(name, format!("'{name}' is obsolete: use <server> section instead")));
        }
        let windows = [
            ("tls_cert_thumbprint", self.tls_cert_thumbprint.is_some()),
            ("tls_cert_logical_store_name", self.tls_cert_logical_store_name.is_some()),
        ];
        match windows.iter().find(|(_, set)| *set) {
            Some((name, _)) => {
                Err(cx.fault(name, format!("{name} is for Windows' certificate store only. Use tls_ca_cert_path")))
            }
            None => Ok(()),
        }
    }

    fn check_tls(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        for path in self.ca_paths() {
            if !path.exists() {
                let name = if self.tls_cert_path.is_empty() { "tls_ca_cert_path" } else { "tls_cert_path" };
                return Err(cx.fault(name, format!("specified cert path does not exist:{}", path.display())));
            }
        }
        let warnings = self.tls_settings().check().map_err(|f| cx.fault(f.parameter, f.message))?;
        warnings.into_iter().for_each(|w| cx.warn(w.parameter, w.message));
        if self.tls_insecure_mode {
            cx.warn("tls_insecure_mode", "TLS transport is configured in insecure way");
        }
        Ok(())
    }

    fn warn_of_oddities(&self, cx: &mut BuildContext<'_>) {
        if self.heartbeat_type == Heartbeat::Tcp {
            cx.warn("heartbeat_type", "'heartbeat_type tcp' is deprecated. use 'transport' instead.");
        }
        if self.keepalive_timeout.is_some() && !self.keepalive {
            let why = "The value of keepalive_timeout is ignored. if you want to use keepalive, please add `keepalive true` to your conf.";
            cx.warn("keepalive_timeout", why);
        }
        if self.time_as_integer {
            cx.warn("time_as_integer", "time_as_integer is deprecated: the fraction of each second is lost");
        }
        let idle =
            [("read_interval_msec", self.read_interval_msec.is_some()), ("read_length", self.read_length.is_some())];
        for (name, _) in idle.iter().filter(|(_, set)| *set) {
            cx.warn(name, format!("{name} tunes Fluentd's way of reading and has no effect here; take it out"));
        }
        if self.tls_cert_use_enterprise_store.is_some() {
            cx.warn(
                "tls_cert_use_enterprise_store",
                "tls_cert_use_enterprise_store is for Windows only and has no effect",
            );
        }
    }

    /// Where servers are listed.
    pub(super) fn discovery(&self, cx: &mut BuildContext<'_>) -> Result<Discovery, Diagnostic> {
        let mut discovery = Discovery { fixed: self.servers.clone(), ..Discovery::default() };
        for section in &self.discoveries {
            match section.plugin_type() {
                Some("static") => {
                    discovery.fixed.extend(cx.child::<StaticParams>(section)?.services);
                }
                Some("file") => discovery.files.push(file(section, cx)?),
                Some("srv") => discovery.names.push(Srv::new(section, cx)?),
                Some(other) => {
                    return Err(unknown_type(other, "sd", ["static", "file", "srv"].into_iter(), section));
                }
                None => return Err(Diagnostic::error("<service_discovery> with '@type' is required", &section.span)),
            }
        }
        if discovery.fixed.is_empty() && discovery.files.is_empty() && discovery.names.is_empty() {
            let why =
                "forward output plugin requires at least one node is required. Add <server> or <service_discovery>";
            return Err(cx.fault("server", why));
        }
        Ok(discovery)
    }

    fn ca_paths(&self) -> &[PathBuf] {
        if self.tls_cert_path.is_empty() { &self.tls_ca_cert_path } else { &self.tls_cert_path }
    }

    fn tls_settings(&self) -> ClientSettings {
        ClientSettings {
            verify: Verify {
                nothing: self.tls_insecure_mode,
                any_name: !self.tls_verify_hostname,
                self_signed: self.tls_allow_self_signed_cert,
            },
            ca_paths: self.ca_paths().to_vec(),
            system_roots: true,
            cert_path: self.tls_client_cert_path.clone(),
            private_key_path: self.tls_client_private_key_path.clone(),
            private_key_passphrase: self.tls_client_private_key_passphrase.clone(),
            versions: Versions { only: self.tls_version, min: None, max: None },
            ciphers: self.tls_ciphers.clone(),
            alpn: &[],
        }
    }

    /// What is the same for all servers. Reads certificates.
    ///
    /// Errors: certificates that can't be read.
    pub(super) fn common(&self, dial: Arc<dyn Dial>) -> std::io::Result<Common> {
        let tls = match self.transport {
            Transport::Tcp => None,
            Transport::Tls => Some(ClientTls::open(&self.tls_settings())?),
        };
        let security = self.security.as_ref();
        let link = Link {
            dial,
            tls,
            connect_timeout: self.connect_timeout.map(TimeSpan::duration),
            handshake_timeout: self.hard_timeout.duration(),
            security: security.map(|s| (s.self_hostname.clone(), s.shared_key.expose().to_owned())),
            probes: self.send_keepalive_packet,
        };
        Ok(Common {
            link,
            terms: self.terms(),
            watch: self.watch(),
            lookup: Lookup { expire: self.expire_dns_cache.map(TimeSpan::duration), round_robin: self.dns_round_robin },
            keepalive: self.keepalive.then(|| self.keepalive_timeout.map(TimeSpan::duration)),
            start: Instant::now(),
        })
    }

    /// How chunks are sent.
    pub(super) fn terms(&self) -> Terms {
        let ack_timeout = self.require_ack_response.then(|| self.ack_response_timeout.duration());
        Terms { send_timeout: self.send_timeout.duration(), ack_timeout, packing: self.shape().packing }
    }

    fn watch(&self) -> Watch {
        Watch {
            beats: self.beat() != Beat::None,
            interval: self.heartbeat_interval.duration(),
            hard_timeout: self.hard_timeout.duration(),
            phi_threshold: self.phi_failure_detector.then_some(self.phi_threshold as f64),
            recover_samples: (self.recover_wait.seconds() / self.heartbeat_interval.seconds()).max(0.0) as usize,
        }
    }

    /// What is done to entries.
    pub(super) fn shape(&self) -> Shape {
        let packing = match self.compress {
            Compress::Text => Packing::Plain,
            Compress::Gzip => Packing::Gzip,
            Compress::Zstd => Packing::Zstd,
        };
        Shape { packing, time_as_integer: self.time_as_integer }
    }

    /// How servers show that they live.
    pub(super) fn beat(&self) -> Beat {
        match self.heartbeat_type {
            Heartbeat::Transport | Heartbeat::Tcp => Beat::Connect,
            Heartbeat::Udp => Beat::Udp,
            Heartbeat::None => Beat::None,
        }
    }

    /// Whether the start goes on without the network.
    pub(super) fn ignores_network_errors(&self) -> bool {
        self.ignore_network_errors_at_startup
    }

    /// Whether the start needs a connection to each server.
    pub(super) fn verifies_connections(&self) -> bool {
        self.verify_connection_at_startup
    }

    /// How long one write may take.
    pub(super) fn patience(&self) -> Duration {
        let answer = if self.require_ack_response { self.ack_response_timeout.duration() } else { Duration::ZERO };
        self.send_timeout.duration().saturating_add(answer)
    }
}

fn file(section: &Section, cx: &mut BuildContext<'_>) -> Result<PathBuf, Diagnostic> {
    let params = cx.child::<FileParams>(section)?;
    if !matches!(params.conf_encoding.to_ascii_lowercase().as_str(), "utf-8" | "utf8") {
        let why = "discovery files must be UTF-8; conf_encoding takes no other encoding";
        return Err(Diagnostic::error(why, section.span_of("conf_encoding")));
    }
    Ok(params.path)
}
