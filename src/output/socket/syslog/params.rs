//! Parameters of `remote_syslog`, and what is wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Place;
use super::header::{Format, Keys, Writer, facility, severity, time};
use crate::config::{Diagnostic, Secret, Size, TimeSpan};
use crate::event::RecordPath;
use crate::net::tls::{ClientSettings, Verify};
use crate::output::socket::params::{Confirm, Probes, Server, Terms, servers};
use crate::plugin::{BuildContext, Template, checked};

/// The port of syslog.
const DEFAULT_PORT: u16 = 514;
/// Least size of a packet: a head and something behind it.
const LEAST_PACKET: u64 = 480;

/// The transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A message is a datagram.
    #[default]
    Udp,
    /// Messages follow each other in a stream.
    Tcp,
}

/// How messages are told apart in a stream (RFC 6587).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Each ends with a newline.
    #[default]
    Newline,
    /// Each begins with its length.
    OctetCounting,
}

/// Parameters of `remote_syslog`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct SyslogParams {
    /// Where to send; placeholders need `allowed_hosts`.
    host: Option<String>,
    /// Its port; 514 by default.
    port: Option<u16>,
    /// Both, as `host:port`; placeholders need `allowed_hosts`.
    host_with_port: Option<String>,
    /// Several servers, in the order in which they are tried.
    #[serde(rename = "server")]
    servers: Vec<Server>,
    /// Hosts that placeholders may come to.
    allowed_hosts: Vec<String>,
    /// Name of the sender; the host's own by default.
    hostname: String,
    /// Facility, by name or number.
    facility: String,
    /// Severity, by name or number.
    severity: String,
    /// Name of the program.
    program: String,
    /// Fields that have these instead, and those of RFC 5424.
    facility_key: Option<String>,
    severity_key: Option<String>,
    hostname_key: Option<String>,
    program_key: Option<String>,
    procid_key: Option<String>,
    msgid_key: Option<String>,
    structured_data_key: Option<String>,
    /// `rfc3164` or `rfc5424`.
    message_format: Format,
    /// `udp` or `tcp`.
    pub protocol: Protocol,
    /// `newline` or `octet_counting`, over TCP.
    pub framing: Framing,
    /// Whether TLS is spoken over TCP.
    tls: bool,
    /// Authorities to trust instead of the system's.
    ca_file: Option<PathBuf>,
    /// OpenSSL's number: 0 checks nothing.
    verify_mode: Option<i64>,
    /// The client's certificate.
    tls_client_cert_path: Option<PathBuf>,
    /// Its private key.
    tls_private_key_path: Option<PathBuf>,
    /// The key's passphrase.
    tls_private_key_passphrase: Option<Secret>,
    /// Largest message, in bytes; longer ones are cut.
    pub packet_size: Size,
    /// How long the target may take nothing.
    timeout: Option<TimeSpan>,
    /// Whether that is an error in the plugin; it always is one here.
    timeout_exception: Option<bool>,
    /// Whether the kernel probes silent connections.
    keep_alive: bool,
    /// Silence before the first probe, in seconds.
    keep_alive_idle: Option<u64>,
    /// Unanswered probes before the connection is given up.
    keep_alive_cnt: Option<u32>,
    /// Pause between probes, in seconds.
    keep_alive_intvl: Option<u64>,
    /// When a chunk counts as delivered over TCP: `none` or `close`.
    confirm: Confirm,
}

impl Default for SyslogParams {
    fn default() -> SyslogParams {
        SyslogParams {
            host: None,
            port: None,
            host_with_port: None,
            servers: Vec::new(),
            allowed_hosts: Vec::new(),
            hostname: String::new(),
            facility: "user".into(),
            severity: "notice".into(),
            program: "fluentd".into(),
            facility_key: None,
            severity_key: None,
            hostname_key: None,
            program_key: None,
            procid_key: None,
            msgid_key: None,
            structured_data_key: None,
            message_format: Format::default(),
            protocol: Protocol::default(),
            framing: Framing::default(),
            tls: false,
            ca_file: None,
            verify_mode: None,
            tls_client_cert_path: None,
            tls_private_key_path: None,
            tls_private_key_passphrase: None,
            packet_size: Size(1024),
            timeout: None,
            timeout_exception: None,
            keep_alive: false,
            keep_alive_idle: None,
            keep_alive_cnt: None,
            keep_alive_intvl: None,
            confirm: Confirm::default(),
        }
    }
}

impl SyslogParams {
    /// What contradicts itself or changes nothing.
    pub fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if self.protocol == Protocol::Udp {
            if self.tls {
                return Err(cx.fault("tls", "TLS is spoken over TCP: add 'protocol tcp'"));
            }
            let names = ["framing", "keep_alive", "keep_alive_idle", "keep_alive_cnt", "keep_alive_intvl", "confirm"];
            names.iter().for_each(|name| cx.without_effect(name, "it is for 'protocol tcp'"));
        }
        if !self.tls {
            let names = ["ca_file", "verify_mode", "tls_client_cert_path"];
            names.iter().for_each(|name| cx.without_effect(name, "TLS is spoken with 'tls true' alone"));
        }
        if !self.keep_alive {
            let names = ["keep_alive_idle", "keep_alive_cnt", "keep_alive_intvl"];
            names.iter().for_each(|name| cx.without_effect(name, "'keep_alive true' turns probes on"));
        }
        cx.without_effect("timeout_exception", "a target that takes nothing for too long is always an error");
        if self.message_format == Format::Rfc3164 {
            let names = ["msgid_key", "structured_data_key"];
            names.iter().for_each(|name| cx.without_effect(name, "only messages of RFC 5424 have it"));
        }
        if self.packet_size.bytes() < LEAST_PACKET {
            return Err(cx.fault("packet_size", format!("packet_size must be {LEAST_PACKET} at least")));
        }
        Ok(())
    }

    pub(super) fn place(&self, cx: &BuildContext<'_>) -> Result<Place, Diagnostic> {
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let (parameter, text) = match (&self.host_with_port, &self.host) {
            (Some(both), None) if self.servers.is_empty() => ("host_with_port", both.clone()),
            (None, Some(host)) if self.servers.is_empty() => ("host", format!("{host}:{port}")),
            (None, None) if !self.servers.is_empty() => {
                return servers(None, None, &self.servers, cx).map(Place::Fixed);
            }
            (None, None) => return Err(cx.fault("host", "host or host_with_port is required")),
            _ => return Err(cx.fault("host", "write one of host, host_with_port and <server>")),
        };
        let template = Template::new(&text, parameter, cx)?;
        if template.is_constant() {
            let server = host_and_port(&text).map_err(|e| cx.fault(parameter, e))?;
            return Ok(Place::Fixed(vec![server]));
        }
        if self.allowed_hosts.is_empty() {
            let remedy = "allowed_hosts is required with placeholders in the host: what events say must not decide who gets \
                          them. List the hosts that may be sent to";
            return Err(cx.fault(parameter, remedy));
        }
        Ok(Place::Named(template, self.allowed_hosts.clone()))
    }

    pub(super) fn writer(&self, cx: &BuildContext<'_>) -> Result<Writer, Diagnostic> {
        let own = &cx.process.hostname;
        let hostname = if self.hostname.is_empty() { own } else { &self.hostname };
        let known = |name: &str, text: &str, number: fn(&str) -> Option<u8>| {
            let template = Template::new(text, name, cx)?;
            match template.is_constant() && number(text).is_none() {
                true => Err(cx.fault(name, format!("{text:?} is no {name} of syslog"))),
                false => Ok(template),
            }
        };
        let path = |name: &str, text: &Option<String>| {
            let parse = |text: &String| RecordPath::parse(text).map_err(|e| cx.fault(name, e.to_string()));
            text.as_ref().map(parse).transpose()
        };
        Ok(Writer {
            format: self.message_format,
            facility: known("facility", &self.facility, facility)?,
            severity: known("severity", &self.severity, severity)?,
            hostname: Template::new(hostname, "hostname", cx)?,
            program: Template::new(&self.program, "program", cx)?,
            keys: Keys {
                facility: path("facility_key", &self.facility_key)?,
                severity: path("severity_key", &self.severity_key)?,
                hostname: path("hostname_key", &self.hostname_key)?,
                program: path("program_key", &self.program_key)?,
                procid: path("procid_key", &self.procid_key)?,
                msgid: path("msgid_key", &self.msgid_key)?,
                data: path("structured_data_key", &self.structured_data_key)?,
            },
            time: time(self.message_format),
        })
    }

    pub(super) fn terms(&self, cx: &BuildContext<'_>) -> Result<Terms, Diagnostic> {
        let probes = Probes { idle: self.keep_alive_idle, interval: self.keep_alive_intvl, count: self.keep_alive_cnt };
        let send_timeout = self.timeout.map_or(Duration::from_secs(60), TimeSpan::duration);
        if send_timeout.is_zero() {
            return Err(cx.fault("timeout", "timeout must be longer than nothing"));
        }
        Ok(Terms {
            connect_timeout: send_timeout.min(Duration::from_secs(10)),
            send_timeout,
            keepalive: true,
            keepalive_timeout: None,
            probes: self.keep_alive.then_some(probes),
            confirm: self.confirm,
            recover_wait: Duration::from_secs(10),
        })
    }

    pub(super) fn tls_settings(&self, cx: &mut BuildContext<'_>) -> Result<Option<ClientSettings>, Diagnostic> {
        if !self.tls {
            return Ok(None);
        }
        let settings = ClientSettings {
            verify: Verify { nothing: self.verify_mode == Some(0), ..Verify::default() },
            ca_paths: self.ca_file.iter().cloned().collect(),
            system_roots: self.ca_file.is_none(),
            cert_path: self.tls_client_cert_path.clone(),
            private_key_path: self.tls_private_key_path.clone(),
            private_key_passphrase: self.tls_private_key_passphrase.clone(),
            ..ClientSettings::default()
        };
        checked(settings, cx).map(Some)
    }
}

/// `host:port`; an address of IPv6 stands in brackets.
pub fn host_and_port(text: &str) -> Result<Server, String> {
    let bad = || format!("{text:?} is no host and port; write them as host:port, an IPv6 address as [::1]:514");
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let port: u16 = port.parse().map_err(|_| bad())?;
    let bare = !host.contains(':') || host.starts_with('[') && host.ends_with(']');
    match host.is_empty() || port == 0 || !bare {
        true => Err(bad()),
        false => Ok(Server { host: host.to_owned(), port }),
    }
}

/// A value of an event as part of a host's name or a port.
pub fn host_part(value: &str) -> Option<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    value.chars().all(good).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        assert_eq!(host_and_port("a.example:514").unwrap(), Server { host: "a.example".into(), port: 514 });
        assert_eq!(host_and_port("[::1]:6514").unwrap().host, "[::1]");
        for bad in ["a", "a:", ":1", "a:0", "::1:514", "a:70000"] {
            assert!(host_and_port(bad).unwrap_err().contains("host:port"), "{bad}");
        }
        assert_eq!(host_part("a/b"), None);
    }
}
