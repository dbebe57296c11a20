//! Parameters of `in_http`, what is wrong with them, and what requests are judged by.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::cors::Cors;
use super::time::RecordTime;
use crate::config::{Diagnostic, Size, TimeSpan};
use crate::net::http::Budget;
use crate::net::tls::Transport;
use crate::plugin::{BuildContext, Parser};

/// Fluentd's port of `in_http`.
const DEFAULT_PORT: u16 = 9880;

/// Most bytes of a body, where the configuration says nothing: Fluentd's.
const BODY_SIZE_LIMIT: Size = Size::mib(32);

/// Most bytes that a compressed body may have when inflated, where the configuration says nothing.
const DECOMPRESSION_SIZE_LIMIT: Size = Size::mib(64);

/// Bytes of bodies that all connections may hold together; more where the limits above are larger.
const BODIES_AT_ONCE: usize = 128 << 20;

/// Shortest time that an idle connection is kept: a shorter one would cut connections before their first request.
const LEAST_KEEPALIVE: Duration = Duration::from_secs(1);

/// Parameters of `in_http`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct HttpParams {
    /// Port to listen on.
    pub(super) port: u16,
    /// Address to listen on.
    pub(super) bind: String,
    /// Largest body. A larger one is answered 413.
    body_size_limit: Size,
    /// Largest body once it is decompressed. A larger one is answered 400.
    decompression_size_limit: Size,
    /// How long an idle connection is kept.
    keepalive_timeout: TimeSpan,
    /// Length of the kernel's queue of connections that are not accepted yet.
    pub(super) backlog: Option<i32>,
    /// Put the request's headers into each record, as `HTTP_...`.
    add_http_headers: bool,
    /// Put the sender's address into each record, as `REMOTE_ADDR`.
    add_remote_addr: bool,
    /// Put the parameters of the URL into each record, as `QUERY_...`.
    add_query_params: bool,
    /// Put before the tag, with a dot.
    add_tag_prefix: Option<String>,
    /// Time that Fluentd's event loop waits; there is no such loop here.
    blocking_timeout: Option<TimeSpan>,
    /// Origins of web pages that may send: exact, with one `*` for a part, or `*` for all.
    cors_allow_origins: Option<Vec<String>>,
    /// Whether such pages may send credentials.
    cors_allow_credentials: bool,
    /// Answer with a transparent image of one pixel.
    respond_with_empty_img: bool,
    /// Answer 204 instead of 200.
    use_204_response: bool,
    /// Log requests that are refused.
    dump_error_log: bool,
    /// Answer 400 where Fluentd answers 200 and drops what it can't read: broken JSON, an empty body, events that are no
    /// objects. suiro's own.
    strict: bool,
    /// TLS.
    pub(super) transport: Transport,
}

impl Default for HttpParams {
    fn default() -> Self {
        HttpParams {
            port: DEFAULT_PORT,
            bind: "0.0.0.0".into(),
            body_size_limit: BODY_SIZE_LIMIT,
            decompression_size_limit: DECOMPRESSION_SIZE_LIMIT,
            keepalive_timeout: TimeSpan::secs(10.0),
            backlog: None,
            add_http_headers: false,
            add_remote_addr: false,
            add_query_params: false,
            add_tag_prefix: None,
            blocking_timeout: None,
            cors_allow_origins: None,
            cors_allow_credentials: false,
            respond_with_empty_img: false,
            use_204_response: false,
            dump_error_log: true,
            strict: false,
            transport: Transport::default(),
        }
    }
}

impl HttpParams {
    /// Looks at the parameters together; the first fault, and warnings to the context.
    pub(super) fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        let any = self.cors_allow_origins.as_ref().is_none_or(|origins| origins.iter().any(|o| o == "*"));
        if self.cors_allow_credentials && any {
            return Err(
                cx.fault("cors_allow_credentials", "Cannot enable cors_allow_credentials without specific origins")
            );
        }
        if self.add_tag_prefix.as_deref() == Some("") {
            return Err(cx.fault("add_tag_prefix", "'add_tag_prefix' parameter must not be empty"));
        }
        if self.blocking_timeout.is_some() {
            let why = "blocking_timeout tunes Fluentd's event loop and has no effect here; take it out";
            cx.warn("blocking_timeout", why);
        }
        cx.check_transport(&self.transport)
    }

    /// How long an idle connection is kept.
    pub(super) fn keepalive(&self) -> Duration {
        self.keepalive_timeout.duration().max(LEAST_KEEPALIVE)
    }

    /// What to warn of at start: a listener that anybody can reach and send to.
    pub(super) fn exposed(&self) -> Option<String> {
        let bound: Option<IpAddr> = self.bind.trim_matches(['[', ']']).parse().ok();
        let reachable = bound.map_or(self.bind != "localhost", |ip| !ip.is_loopback());
        let guarded = self.transport.is_tls() && self.transport.client_cert_auth;
        (reachable && !guarded).then(|| {
            let (bind, port) = (&self.bind, self.port);
            format!(
                "in_http listens on {bind}:{port} and takes events from anybody who can reach it. \
                 Add <transport tls> with client_cert_auth, or bind 127.0.0.1"
            )
        })
    }
}

/// How bodies become events.
pub(super) enum Reading {
    /// By the content type; `<parse> @type in_http`, the default.
    Default(RecordTime),
    /// By a parser, whatever the content type says.
    Parser(Arc<dyn Parser>, String),
}

/// What requests are judged by.
pub(super) struct Settings {
    /// What log lines call the input.
    pub(super) name: String,
    pub(super) reading: Reading,
    pub(super) cors: Cors,
    pub(super) body_limit: usize,
    pub(super) inflate_limit: usize,
    pub(super) budget: Arc<Budget>,
    pub(super) add_http_headers: bool,
    pub(super) add_remote_addr: bool,
    pub(super) add_query_params: bool,
    pub(super) add_tag_prefix: Option<String>,
    pub(super) respond_with_empty_img: bool,
    pub(super) use_204_response: bool,
    pub(super) dump_error_log: bool,
    pub(super) strict: bool,
}

impl Settings {
    pub(super) fn new(params: &HttpParams, cx: &mut BuildContext<'_>) -> Result<Settings, Diagnostic> {
        let (body_limit, inflate_limit) = (params.body_size_limit.len(), params.decompression_size_limit.len());
        let budget = BODIES_AT_ONCE.max(body_limit.saturating_add(inflate_limit));
        Ok(Settings {
            name: cx.section.id().unwrap_or("http").to_owned(),
            reading: reading(cx)?,
            cors: Cors::new(params.cors_allow_origins.clone(), params.cors_allow_credentials),
            body_limit,
            inflate_limit,
            budget: Budget::new(budget),
            add_http_headers: params.add_http_headers,
            add_remote_addr: params.add_remote_addr,
            add_query_params: params.add_query_params,
            add_tag_prefix: params.add_tag_prefix.clone(),
            respond_with_empty_img: params.respond_with_empty_img,
            use_204_response: params.use_204_response,
            dump_error_log: params.dump_error_log,
            strict: params.strict,
        })
    }
}

fn reading(cx: &mut BuildContext<'_>) -> Result<Reading, Diagnostic> {
    let parse = cx.section.child("parse");
    match parse.and_then(|section| section.plugin_type()) {
        None | Some("in_http" | "default") => RecordTime::build(parse, cx).map(Reading::Default),
        Some(kind) => Ok(Reading::Parser(cx.parser(None)?, kind.to_owned())),
    }
}
