//! What all connections of one input share.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::budget::Budget;
use super::complaints::Complaints;
use super::turns::Turns;
use crate::net::forward::{Gate, Rules};
use crate::plugin::{Emitter, Stop};

/// Largest message where the configuration has no `chunk_size_limit`: the largest chunk of a Fluentd file buffer, 256 MiB,
/// and what is around it.
pub(crate) const MAX_MESSAGE_BYTES: usize = 257 * 1024 * 1024;

/// Payloads inflated at once over all connections of an input; each takes 16 MiB before it is known to be no bomb.
const INFLATED_AT_ONCE: usize = 2;

/// How an input treats what it receives.
pub(crate) struct Settings {
    /// Which events are valid.
    pub(crate) rules: Rules,
    /// In place of each message's tag.
    pub(crate) tag: Option<String>,
    /// Put before the tag, with a dot.
    pub(crate) add_tag_prefix: Option<String>,
    /// Largest message, in bytes.
    pub(crate) message_limit: usize,
    /// Messages above are warned of, in bytes.
    pub(crate) warn_limit: Option<usize>,
    /// Most bytes that a compressed payload may have when inflated.
    pub(crate) inflate_limit: usize,
    /// Field that gets the peer's address.
    pub(crate) address_key: Option<String>,
    /// Field that gets the peer's name.
    pub(crate) hostname_key: Option<String>,
    /// Whether a connection ends after one message.
    pub(crate) deny_keepalive: bool,
    /// Who may send; anybody, where there is none.
    pub(crate) gate: Option<Gate>,
}

/// What all connections of one input share.
pub(crate) struct Shared {
    pub(super) settings: Settings,
    pub(super) emit: Emitter,
    pub(super) stop: Stop,
    pub(super) budget: Budget,
    pub(super) turns: Turns,
    pub(super) complaints: Complaints,
    pub(super) inflating: Semaphore,
}

impl Shared {
    /// For one input.
    pub(crate) fn new(settings: Settings, emit: Emitter, stop: Stop) -> Arc<Shared> {
        Arc::new(Shared {
            settings,
            emit,
            stop,
            budget: Budget::new(),
            turns: Turns::default(),
            complaints: Complaints::new(),
            inflating: Semaphore::new(INFLATED_AT_ONCE),
        })
    }
}

/// The other end of a connection.
pub(crate) struct Peer {
    /// Its address; a local socket has none.
    pub(super) address: Option<IpAddr>,
    /// Its name, or its address where names are not looked up; for the log and for `source_hostname_key`.
    pub(super) host: String,
    /// Fields that every event from it gets.
    pub(super) fields: Option<Arc<[(String, String)]>>,
}

impl Peer {
    /// A peer at `address`, called `host`.
    pub(crate) fn new(address: IpAddr, host: String, settings: &Settings) -> Peer {
        let shown = address.to_canonical().to_string();
        let field = |key: &Option<String>, value: &str| key.clone().map(|key| (key, value.to_owned()));
        let fields = [field(&settings.address_key, &shown), field(&settings.hostname_key, &host)];
        let fields: Vec<_> = fields.into_iter().flatten().collect();
        Peer { address: Some(address), host, fields: (!fields.is_empty()).then(|| fields.into()) }
    }

    /// A peer on a local socket.
    pub(crate) fn local() -> Peer {
        Peer { address: None, host: "a local socket".into(), fields: None }
    }
}
