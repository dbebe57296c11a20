//! `<service_discovery> @type srv`: servers by the SRV records of a name (lib/fluent/plugin/sd_srv.rb).

use std::io;
use std::time::Duration;

use serde::Deserialize;

use super::server::Server;
use crate::config::{Diagnostic, Secret, Section};
use crate::net::dns::{NameServers, Service};
use crate::plugin::BuildContext;

/// Parameters of `srv`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct SrvParams {
    /// The service, without its underscore. Required.
    service: String,
    /// The protocol, without its underscore.
    proto: String,
    /// The domain. Required.
    hostname: String,
    /// The name server to ask, as `host` or `host:port`; without one, those of the system.
    dns_server_host: Option<String>,
    /// Seconds between questions.
    interval: u64,
    /// Whether the targets' addresses are asked for too, at the same name server.
    dns_lookup: bool,
    /// Key of every server, in place of that of `<security>`.
    shared_key: Option<Secret>,
    /// Name for servers that ask for one.
    username: String,
    /// Password that goes with the name.
    password: Secret,
}

impl Default for SrvParams {
    fn default() -> Self {
        SrvParams {
            service: String::new(),
            proto: "tcp".into(),
            hostname: String::new(),
            dns_server_host: None,
            interval: 60,
            dns_lookup: true,
            shared_key: None,
            username: String::new(),
            password: Secret::default(),
        }
    }
}

/// A name whose SRV records list servers.
#[derive(Clone, Debug)]
pub(super) struct Srv {
    name: String,
    own: Option<String>,
    /// Time between questions.
    pub(super) interval: Duration,
    looks_up: bool,
    shared_key: Option<Secret>,
    username: String,
    password: Secret,
}

impl Srv {
    /// Of a `<service_discovery>` section.
    pub(super) fn new(section: &Section, cx: &mut BuildContext<'_>) -> Result<Srv, Diagnostic> {
        let params: SrvParams = cx.child(section)?;
        for (name, text) in [("service", &params.service), ("hostname", &params.hostname)] {
            if text.is_empty() {
                return Err(Diagnostic::error(format!("'{name}' parameter is required"), section.span_of(name)));
            }
        }
        if params.interval == 0 {
            return Err(Diagnostic::error("interval must be more than 0", section.span_of("interval")));
        }
        Ok(Srv {
            name: format!("_{}._{}.{}", params.service, params.proto, params.hostname),
            own: params.dns_server_host,
            interval: Duration::from_secs(params.interval),
            looks_up: params.dns_lookup,
            shared_key: params.shared_key,
            username: params.username,
            password: params.password,
        })
    }

    /// For tests: a name at a name server.
    #[cfg(test)]
    pub(super) fn at(name: &str, own: &str) -> Srv {
        Srv {
            name: name.to_owned(),
            own: Some(own.to_owned()),
            interval: Duration::from_secs(60),
            looks_up: true,
            shared_key: None,
            username: String::new(),
            password: Secret::default(),
        }
    }

    /// The servers listed now, by priority.
    ///
    /// Errors: the name, and why it can't be asked for.
    pub(super) async fn servers(&self) -> Result<Vec<Server>, String> {
        self.ask().await.map_err(|e| format!("{}: {e}", self.name))
    }

    async fn ask(&self) -> io::Result<Vec<Server>> {
        let asked = NameServers::new(self.own.as_deref()).await?;
        let mut servers = Vec::new();
        for service in asked.services(&self.name).await? {
            let host = match self.looks_up {
                true => asked.address(&service.target).await?.to_string(),
                false => service.target.clone(),
            };
            servers.push(self.server(&host, service));
        }
        Ok(servers)
    }

    fn server(&self, host: &str, service: Service) -> Server {
        Server {
            name: Some(service.target),
            // A weight of 0 means a small share (RFC 2782), and here none at all.
            weight: u32::from(service.weight).max(1),
            shared_key: self.shared_key.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            ..Server::at(host, service.port)
        }
    }
}
