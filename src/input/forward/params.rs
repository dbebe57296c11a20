//! Parameters of `in_forward`, and what is wrong with them.

use std::net::IpAddr;

use serde::Deserialize;

use super::shared::{MAX_MESSAGE_BYTES, Settings};
use crate::config::{Diagnostic, Secret, Size, TimeSpan};
use crate::net::forward::{Client, Gate, Network, Rules, User};
use crate::net::tls::Transport;
use crate::plugin::BuildContext;

/// Fluentd's port of the forward protocol.
const DEFAULT_PORT: u16 = 24224;

/// Most bytes that a compressed payload may have when inflated, where the configuration says nothing: Fluentd's.
const DECOMPRESSION_SIZE_LIMIT: Size = Size::mib(256);

/// Parameters of `in_forward`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ForwardParams {
    /// Port to listen on, TCP for events and UDP for heartbeats.
    pub(super) port: u16,
    /// Address to listen on.
    pub(super) bind: String,
    /// Length of the kernel's queue of connections that are not accepted yet.
    pub(super) backlog: Option<i32>,
    /// Has no effect: connections are closed in order, never reset, so that no acknowledgement is lost.
    pub(super) linger_timeout: Option<i64>,
    /// Time that Fluentd's event loop waits; there is no such loop here.
    pub(super) blocking_timeout: Option<TimeSpan>,
    /// Whether names of senders are looked up.
    pub(super) resolve_hostname: Option<bool>,
    /// Whether a connection ends after one message.
    pub(super) deny_keepalive: bool,
    /// Whether the kernel probes silent senders.
    pub(super) send_keepalive_packet: bool,
    /// Larger messages are warned of.
    pub(super) chunk_size_warn_limit: Option<Size>,
    /// Larger messages end the connection and are not acknowledged; 257 MiB where not set.
    pub(super) chunk_size_limit: Option<Size>,
    /// Most bytes that a compressed message may have when inflated.
    pub(super) decompression_size_limit: Size,
    /// Whether events that are not valid are left out and the rest of their message kept; else the message is refused.
    pub(super) skip_invalid_event: bool,
    /// Field that gets the sender's address.
    pub(super) source_address_key: Option<String>,
    /// Field that gets the sender's name.
    pub(super) source_hostname_key: Option<String>,
    /// In place of the sender's tag.
    pub(super) tag: Option<String>,
    /// Put before the tag, with a dot.
    pub(super) add_tag_prefix: Option<String>,
    /// Who may send.
    pub(super) security: Option<SecurityParams>,
    /// TLS.
    pub(super) transport: Transport,
}

impl Default for ForwardParams {
    fn default() -> Self {
        ForwardParams {
            port: DEFAULT_PORT,
            bind: "0.0.0.0".into(),
            backlog: None,
            linger_timeout: None,
            blocking_timeout: None,
            resolve_hostname: None,
            deny_keepalive: false,
            send_keepalive_packet: false,
            chunk_size_warn_limit: None,
            chunk_size_limit: None,
            decompression_size_limit: DECOMPRESSION_SIZE_LIMIT,
            skip_invalid_event: true,
            source_address_key: None,
            source_hostname_key: None,
            tag: None,
            add_tag_prefix: None,
            security: None,
            transport: Transport::default(),
        }
    }
}

/// `<security>`: who may send.
#[derive(Debug, Deserialize)]
pub struct SecurityParams {
    /// The name that this side tells its clients; theirs must differ.
    pub(super) self_hostname: String,
    /// The key that clients must know.
    pub(super) shared_key: Secret,
    /// Whether clients must give a name and password as well.
    #[serde(default)]
    pub(super) user_auth: bool,
    /// Whether sources that no `<client>` describes may send.
    #[serde(default = "yes")]
    pub(super) allow_anonymous_source: bool,
    /// Names and passwords.
    #[serde(default, rename = "user")]
    pub(super) users: Vec<UserParams>,
    /// Sources with rules of their own.
    #[serde(default, rename = "client")]
    pub(super) clients: Vec<ClientParams>,
}

fn yes() -> bool {
    true
}

/// `<user>`
#[derive(Debug, Deserialize)]
pub struct UserParams {
    /// The name.
    pub(super) username: String,
    /// The password.
    pub(super) password: Secret,
}

/// `<client>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClientParams {
    /// Its address or name.
    pub(super) host: Option<String>,
    /// Its network, as `10.0.0.0/8`.
    pub(super) network: Option<String>,
    /// In place of the key of `<security>`.
    pub(super) shared_key: Option<Secret>,
    /// The users that may come from there; all, where there is none.
    pub(super) users: Vec<String>,
}

impl ForwardParams {
    /// Looks at the parameters together; the first fault, and warnings to the context.
    pub(super) fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        for (name, value) in [("tag", &self.tag), ("add_tag_prefix", &self.add_tag_prefix)] {
            if value.as_deref() == Some("") {
                return Err(cx.fault(name, format!("'{name}' parameter must not be empty")));
            }
        }
        if self.source_hostname_key.is_some() && self.resolve_hostname == Some(false) {
            return Err(cx.fault("resolve_hostname", "resolve_hostname must be true with source_hostname_key"));
        }
        if self.send_keepalive_packet && self.deny_keepalive {
            let why = "both 'send_keepalive_packet' and 'deny_keepalive' cannot be set to true";
            return Err(cx.fault("send_keepalive_packet", why));
        }
        if self.linger_timeout.is_some() {
            let why = "linger_timeout has no effect here: connections are closed in order, so that no answer is lost";
            cx.warn("linger_timeout", why);
        }
        if self.blocking_timeout.is_some() {
            cx.warn(
                "blocking_timeout",
                "blocking_timeout tunes Fluentd's event loop and has no effect here; take it out",
            );
        }
        if let Some(security) = &self.security {
            security.check(cx)?;
        }
        cx.check_transport(&self.transport)
    }

    /// Whether names of senders are to be looked up.
    pub(super) fn resolves(&self) -> bool {
        self.resolve_hostname.unwrap_or(self.source_hostname_key.is_some())
    }

    /// How connections treat what they receive. Gates need names looked up, see [`SecurityParams::gate`].
    pub(super) fn settings(&self, gate: Option<Gate>) -> Settings {
        Settings {
            rules: Rules { skip_invalid: self.skip_invalid_event, any_time: !self.skip_invalid_event },
            tag: self.tag.clone(),
            add_tag_prefix: self.add_tag_prefix.clone(),
            message_limit: self.chunk_size_limit.map_or(MAX_MESSAGE_BYTES, Size::len),
            warn_limit: self.chunk_size_warn_limit.map(Size::len),
            inflate_limit: self.decompression_size_limit.len(),
            address_key: self.source_address_key.clone(),
            hostname_key: self.source_hostname_key.clone(),
            deny_keepalive: self.deny_keepalive,
            gate,
        }
    }

    /// What to warn of at start: a listener that anybody can reach and send to.
    pub(super) fn exposed(&self) -> Option<String> {
        let bound: Option<IpAddr> = self.bind.trim_matches(['[', ']']).parse().ok();
        let reachable = bound.map_or(self.bind != "localhost", |ip| !ip.is_loopback());
        let guarded = self.security.is_some() || self.transport.is_tls() && self.transport.client_cert_auth;
        (reachable && !guarded).then(|| {
            let (bind, port) = (&self.bind, self.port);
            format!(
                "in_forward listens on {bind}:{port} and takes events from anybody who can reach it. \
                 Add <security>, <transport tls> with client_cert_auth, or bind 127.0.0.1"
            )
        })
    }
}

impl SecurityParams {
    fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if self.shared_key.expose().is_empty() {
            return Err(cx.fault("security", "<security> needs a shared_key that is not empty"));
        }
        if self.user_auth && self.users.is_empty() {
            return Err(cx.fault("security", "<user> sections required if user_auth enabled"));
        }
        if !self.allow_anonymous_source && self.clients.is_empty() {
            return Err(cx.fault("security", "<client> sections required if allow_anonymous_source disabled"));
        }
        if !self.users.is_empty() && !self.user_auth {
            cx.warn("security", "<user> sections have no effect without 'user_auth true': passwords are not checked");
        }
        self.clients.iter().try_for_each(|c| c.check(cx))
    }

    /// Who is let in; names of hosts are looked up.
    ///
    /// Errors: a host that has no address.
    pub(super) async fn gate(&self) -> Result<Gate, String> {
        let mut clients = Vec::with_capacity(self.clients.len());
        for client in &self.clients {
            clients.push(Client {
                network: client.network().await?,
                shared_key: client.shared_key.as_ref().map(|k| k.expose().to_owned()),
                users: client.users.clone(),
            });
        }
        let user = |u: &UserParams| User { username: u.username.clone(), password: u.password.expose().to_owned() };
        Ok(Gate {
            self_hostname: self.self_hostname.clone(),
            shared_key: self.shared_key.expose().to_owned(),
            user_auth: self.user_auth,
            users: self.users.iter().map(user).collect(),
            allow_anonymous_source: self.allow_anonymous_source,
            clients,
        })
    }
}

impl ClientParams {
    fn check(&self, cx: &BuildContext<'_>) -> Result<(), Diagnostic> {
        match (&self.host, &self.network) {
            (Some(_), Some(_)) => Err(cx.fault("security", "both of 'host' and 'network' are specified for client")),
            (None, None) => Err(cx.fault("security", "Either of 'host' and 'network' must be specified for client")),
            (None, Some(network)) if Network::parse(network).is_none() => {
                Err(cx.fault("security", format!("network '{network}' address format is invalid")))
            }
            _ => Ok(()),
        }
    }

    async fn network(&self) -> Result<Network, String> {
        if let Some(network) = &self.network {
            return Network::parse(network).ok_or_else(|| format!("network '{network}' address format is invalid"));
        }
        let host = self.host.as_deref().unwrap_or_default();
        let unknown = || format!("host '{host}' cannot be resolved");
        let mut addresses = tokio::net::lookup_host((host, 0)).await.map_err(|_| unknown())?;
        addresses.next().map(|a| Network::of(a.ip())).ok_or_else(unknown)
    }
}
