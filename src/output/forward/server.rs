//! Where to send to: one server as the configuration or a discovery file describes it.

use serde::Deserialize;

use crate::config::Secret;

/// Fluentd's port of the forward protocol.
const DEFAULT_PORT: u16 = 24224;

/// Fluentd's default weight.
const DEFAULT_WEIGHT: u32 = 60;

/// `<server>`, or `<service>` of a static discovery.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Server {
    /// Its address or name.
    pub(super) host: String,
    /// What the log calls it; also the name on its certificate where `host` is an address.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// Its port.
    #[serde(default = "default_port")]
    pub(super) port: u16,
    /// In place of the key of `<security>`.
    #[serde(default)]
    pub(super) shared_key: Option<Secret>,
    /// Name for servers that ask for one.
    #[serde(default)]
    pub(super) username: String,
    /// Password that goes with the name.
    #[serde(default)]
    pub(super) password: Secret,
    /// Whether it is used only while others are gone.
    #[serde(default)]
    pub(super) standby: bool,
    /// Its share of the chunks.
    #[serde(default = "default_weight")]
    pub(super) weight: u32,
}

fn default_port() -> u16 {
    DEFAULT_PORT
}

fn default_weight() -> u32 {
    DEFAULT_WEIGHT
}

impl Server {
    /// A server of which only the place is known.
    pub(super) fn at(host: &str, port: u16) -> Server {
        Server {
            host: host.to_owned(),
            name: None,
            port,
            shared_key: None,
            username: String::new(),
            password: Secret::default(),
            standby: false,
            weight: DEFAULT_WEIGHT,
        }
    }

    /// What the log calls it.
    pub(super) fn shown(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}:{}", self.host, self.port))
    }

    /// The host without the brackets of an IPv6 address.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }

    /// The name that its certificate must have.
    pub(super) fn certificate_name(&self) -> &str {
        let is_address = self.bare_host().parse::<std::net::IpAddr>().is_ok();
        match &self.name {
            Some(name) if is_address => name,
            _ => self.bare_host(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_checked_against_the_host_or_the_name_of_an_address() {
        let named = |host: &str| Server { name: Some("log.example".into()), ..Server::at(host, 1) };
        assert_eq!(named("127.0.0.1").certificate_name(), "log.example");
        assert_eq!(named("[::1]").certificate_name(), "log.example");
        assert_eq!(named("other.example").certificate_name(), "other.example");
        assert_eq!(Server::at("127.0.0.1", 1).certificate_name(), "127.0.0.1");
        assert_eq!(Server::at("h", 7).shown(), "h:7");
    }
}
