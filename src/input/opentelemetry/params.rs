//! Parameters of the input `opentelemetry`, and what is wrong with them.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::config::{Diagnostic, Size};
use crate::event::{MAX_TAG_BYTES, Tag};
use crate::net::http::Budget;
use crate::net::tls::Transport;
use crate::plugin::BuildContext;

/// Most bytes of a body, where the configuration says nothing.
const BODY_SIZE_LIMIT: Size = Size::mib(32);
/// Most bytes of a body once it is unpacked, and of the events that come out of it.
const DECOMPRESSION_SIZE_LIMIT: Size = Size::mib(64);
/// Bytes of bodies that all connections may hold together; more where the limits above are larger.
const BODIES_AT_ONCE: usize = 128 << 20;
/// Requests that are read into events at a time: what they come to may be many times their size.
const READING_AT_ONCE: usize = 4;

/// The ports of the protocol.
const HTTP_PORT: u16 = 4318;
const GRPC_PORT: u16 = 4317;

/// `<http>` and `<grpc>`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct DoorParams {
    /// Address to listen on.
    bind: String,
    /// Port to listen on; the protocol has one for each.
    port: Option<u16>,
}

impl Default for DoorParams {
    fn default() -> DoorParams {
        DoorParams { bind: "0.0.0.0".into(), port: None }
    }
}

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Http,
    Grpc,
}

/// Where requests come.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) wire: Wire,
    pub(super) bind: String,
    pub(super) port: u16,
}

/// Parameters of the input `opentelemetry`.
#[derive(Debug, Deserialize)]
pub struct OpentelemetryParams {
    /// The tag of all events; `${type}` is what they are, `logs`.
    tag: String,
    /// OTLP over HTTP.
    http: Option<DoorParams>,
    /// OTLP over gRPC.
    grpc: Option<DoorParams>,
    /// Largest body. A larger one is answered 413.
    #[serde(default = "body_size_limit")]
    body_size_limit: Size,
    /// Largest body once it is unpacked, and the events that it becomes.
    #[serde(default = "decompression_size_limit")]
    decompression_size_limit: Size,
    /// TLS.
    #[serde(default)]
    pub(super) transport: Transport,
}

fn body_size_limit() -> Size {
    BODY_SIZE_LIMIT
}

fn decompression_size_limit() -> Size {
    DECOMPRESSION_SIZE_LIMIT
}

/// What requests are judged by.
pub(super) struct Settings {
    /// What log lines call the input.
    pub(super) name: String,
    pub(super) tag: Tag,
    pub(super) body_limit: usize,
    pub(super) inflate_limit: usize,
    pub(super) budget: Arc<Budget>,
    pub(super) reading: Semaphore,
    places: Vec<Place>,
}

impl Settings {
    /// What a client has to know that does not speak what the port of `wire` does.
    pub(super) fn elsewhere(&self, wire: Wire) -> String {
        let (here, there, section) = match wire {
            Wire::Grpc => ("gRPC (HTTP/2)", "HTTP/1.1", "http"),
            Wire::Http => ("HTTP/1.1", "gRPC (HTTP/2)", "grpc"),
        };
        match self.places.iter().find(|place| place.wire != wire) {
            Some(Place { port, .. }) => format!("this port speaks {here}; OTLP over {there} is at port {port}"),
            None => format!("this port speaks {here}; for OTLP over {there} the input opentelemetry needs <{section}>"),
        }
    }
}

impl OpentelemetryParams {
    pub(super) fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if self.places().is_empty() {
            return Err(cx.fault("http", "Please configure either <http> or <grpc> section, or both."));
        }
        if self.tag.is_empty() || self.tag.len() > MAX_TAG_BYTES {
            return Err(cx.fault("tag", format!("a tag has 1 to {MAX_TAG_BYTES} bytes")));
        }
        if self.body_size_limit.is_empty() || self.decompression_size_limit.is_empty() {
            return Err(cx.fault("body_size_limit", "body_size_limit and decompression_size_limit must be more than 0"));
        }
        cx.check_transport(&self.transport)
    }

    /// Where to listen.
    pub(super) fn places(&self) -> Vec<Place> {
        let place = |door: &Option<DoorParams>, wire, port| {
            door.as_ref().map(|door| Place { wire, bind: door.bind.clone(), port: door.port.unwrap_or(port) })
        };
        let (http, grpc) = (place(&self.http, Wire::Http, HTTP_PORT), place(&self.grpc, Wire::Grpc, GRPC_PORT));
        http.into_iter().chain(grpc).collect()
    }

    /// What to warn of at start: a listener that anybody can reach and send to.
    pub(super) fn exposed(&self, Place { bind, port, .. }: &Place) -> Option<String> {
        let bound: Option<IpAddr> = bind.trim_matches(['[', ']']).parse().ok();
        let reachable = bound.map_or(bind != "localhost", |ip| !ip.is_loopback());
        let guarded = self.transport.is_tls() && self.transport.client_cert_auth;
        (reachable && !guarded).then(|| {
            format!(
                "opentelemetry listens on {bind}:{port} and takes events from anybody who can reach it. \
                 Add <transport tls> with client_cert_auth, or bind 127.0.0.1"
            )
        })
    }

    pub(super) fn settings(&self, name: &str) -> Settings {
        let (body_limit, inflate_limit) = (self.body_size_limit.len(), self.decompression_size_limit.len());
        let least = body_limit.saturating_add(inflate_limit.saturating_mul(2));
        Settings {
            name: name.to_owned(),
            tag: Tag::from(self.tag.replace("${type}", "logs").as_str()),
            body_limit,
            inflate_limit,
            budget: Budget::new(BODIES_AT_ONCE.max(least)),
            reading: Semaphore::new(READING_AT_ONCE),
            places: self.places(),
        }
    }
}
