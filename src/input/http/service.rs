//! One request and its answer.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_ENCODING, EXPECT, HeaderMap, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Version};

use super::events::{self, Taken};
use super::params::Settings;
use super::reply::Reply;
use crate::buffer::Origin;
use crate::event::Tag;
use crate::net::LogGate;
use crate::net::accept::Peer;
use crate::net::http::{BodyError, Lease, ServerResponse, decode, read_body};
use crate::plugin::{EmitError, Emitter};

/// The header by which a sender names a request that it may send again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Longest such name, in bytes.
const MAX_KEY_BYTES: usize = 256;

/// Bodies larger than this many bytes are read away from the threads that serve connections.
const PARSE_HERE: usize = 1024 * 1024;

/// At most one log line of a kind in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Answers the requests of one input.
pub(super) struct Service {
    settings: Arc<Settings>,
    emit: Emitter,
    /// Names of requests that are being stored.
    storing: Mutex<HashSet<Bytes>>,
    refused: LogGate,
    dropped: LogGate,
    failed: LogGate,
}

impl Service {
    pub(super) fn new(settings: Arc<Settings>, emit: Emitter) -> Service {
        let gate = || LogGate::new(LOG_INTERVAL);
        Service { settings, emit, storing: Mutex::default(), refused: gate(), dropped: gate(), failed: gate() }
    }

    /// Answers one request; a 2xx answer means that its events are stored.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: Peer) -> ServerResponse {
        let (head, body) = request.into_parts();
        let keep_alive = keep_alive(&head);
        let cors = head.headers.get(ORIGIN).cloned();
        let outcome = self.respond(head, body, peer).await;
        let mut reply = outcome.unwrap_or_else(|refused| refused);
        if let (Some(origin), false) = (cors, reply.status == StatusCode::FORBIDDEN) {
            let request = HeaderMap::from_iter([(ORIGIN, origin)]);
            self.settings.cors.allow(&request, &mut reply.headers);
        }
        reply.into_response(keep_alive)
    }

    async fn respond(&self, head: Parts, body: Incoming, peer: Peer) -> Result<Reply, Reply> {
        match head.headers.get(EXPECT) {
            Some(expected) if !expected.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
                return Err(Reply::empty(StatusCode::EXPECTATION_FAILED).closing());
            }
            _ => {}
        }
        if head.method == Method::GET {
            // Load balancers ask so whether anybody is there.
            return Ok(Reply::empty(StatusCode::OK).closing());
        }
        if head.method == Method::OPTIONS {
            return Ok(self.settings.cors.preflight(&head.headers));
        }
        if !self.settings.cors.admits(&head.headers) {
            let origin = head.headers.get(ORIGIN);
            self.complain(&self.refused, &format!("a web page that is not in cors_allow_origins sends: {origin:?}"));
            return Err(Reply::empty(StatusCode::FORBIDDEN).closing());
        }
        let mut lease = self.settings.budget.lease();
        let body = self.read(&head, body, &mut lease).await?;
        let tag = events::tag_of(head.uri.path(), self.settings.add_tag_prefix.as_deref());
        let tag = tag.map_err(|why| self.bad_request(&why))?;
        let key = once_key(&head.headers, &tag).map_err(|why| self.bad_request(&why))?;
        let taken = self.take(head, peer, body).await.map_err(|why| self.bad_request(&why))?;
        drop(lease);
        if let Some(why) = &taken.why {
            if self.settings.strict {
                return Err(self.bad_request(&format!("{} events are invalid: {why}", taken.dropped)));
            }
            self.note_dropped(why, taken.dropped, &tag);
        }
        self.store(taken, tag, key).await
    }

    async fn read(&self, head: &Parts, body: Incoming, lease: &mut Lease) -> Result<Bytes, Reply> {
        let body = read_body(body, self.settings.body_limit, lease).await.map_err(|e| match e {
            BodyError::TooLarge => Reply::too_large(),
            BodyError::Busy => Reply::later(&e.to_string()).closing(),
            BodyError::TooSlow => Reply::refusal(StatusCode::REQUEST_TIMEOUT, &e.to_string()).closing(),
            BodyError::Broken(_) => Reply::refusal(StatusCode::BAD_REQUEST, &e.to_string()).closing(),
        })?;
        let encoding = head.headers.get(CONTENT_ENCODING).and_then(|v| v.to_str().ok());
        let packed = body.len();
        let plain = decode(body, encoding, self.settings.inflate_limit).await.map_err(|e| {
            self.complain(&self.refused, &format!("fails to decode payload: {e}"));
            Reply::empty(StatusCode::BAD_REQUEST).closing()
        })?;
        if encoding.is_some() && !lease.grow(plain.len().saturating_sub(packed)) {
            return Err(Reply::later(&BodyError::Busy.to_string()).closing());
        }
        Ok(plain)
    }

    async fn take(&self, head: Parts, peer: Peer, body: Bytes) -> Result<Taken, String> {
        let peer = peer.ip().map(|ip| ip.to_string());
        if body.len() <= PARSE_HERE {
            return events::take(&self.settings, &head, peer.as_deref(), &body);
        }
        let settings = self.settings.clone();
        let taken = tokio::task::spawn_blocking(move || events::take(&settings, &head, peer.as_deref(), &body));
        taken.await.unwrap_or_else(|e| Err(e.to_string()))
    }

    /// Fluentd has a line at debug level for each of them.
    fn note_dropped(&self, why: &str, dropped: u32, tag: &Tag) {
        if let Some(left_out) = self.dropped.pass() {
            let plugin = &self.settings.name;
            tracing::warn!(plugin, ?tag, dropped, error = why, left_out, "incoming event is invalid and was dropped");
        }
    }

    async fn store(&self, mut taken: Taken, tag: Tag, key: Option<Bytes>) -> Result<Reply, Reply> {
        let _storing = match &key {
            Some(key) if self.emit.seen(key) => return Ok(self.success()),
            Some(key) => Some(Storing::begin(&self.storing, key.clone()).ok_or_else(|| {
                Reply::refusal(StatusCode::CONFLICT, "a request with the same idempotency key is being stored")
            })?),
            None => None,
        };
        if taken.events.is_empty() {
            return Ok(self.success());
        }
        let origin = key.map_or(Origin::None, Origin::Once);
        match self.emit.emit_from(taken.events.finish(tag), origin).await {
            Ok(_) => Ok(self.success()),
            Err(e) => Err(self.not_stored(&e)),
        }
    }

    fn success(&self) -> Reply {
        match (self.settings.respond_with_empty_img, self.settings.use_204_response) {
            (true, _) => Reply::pixel(),
            (_, true) => Reply::empty(StatusCode::NO_CONTENT),
            _ => Reply::empty(StatusCode::OK),
        }
    }

    fn not_stored(&self, e: &EmitError) -> Reply {
        self.complain(&self.failed, &format!("failed to emit data: {e}"));
        match e {
            EmitError::Full(_) | EmitError::Closed => Reply::later(&e.to_string()),
            EmitError::Refused(_) => Reply::refusal(StatusCode::BAD_REQUEST, &e.to_string()),
        }
    }

    fn bad_request(&self, why: &str) -> Reply {
        self.complain(&self.refused, &format!("failed to process request: {why}"));
        Reply::refusal(StatusCode::BAD_REQUEST, why)
    }

    /// Logs what is wrong with a request; client bytes in `what` are escaped.
    fn complain(&self, gate: &LogGate, what: &str) {
        if !self.settings.dump_error_log {
            return;
        }
        if let Some(left_out) = gate.pass() {
            tracing::error!(plugin = self.settings.name, left_out, "{}", what.escape_debug());
        }
    }
}

/// What the request asks for (RFC 9112 section 9.3).
fn keep_alive(head: &Parts) -> bool {
    let mut options =
        head.headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    match head.version {
        Version::HTTP_11 => !options.any(|o| o.trim().eq_ignore_ascii_case("close")),
        _ => options.any(|o| o.trim().eq_ignore_ascii_case("keep-alive")),
    }
}

/// The name under which a request is remembered: the sender's key, and the tag, for keys are made per address.
fn once_key(headers: &HeaderMap, tag: &Tag) -> Result<Option<Bytes>, String> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match key.as_bytes() {
        [] => Ok(None),
        long if long.len() > MAX_KEY_BYTES => Err(format!("the idempotency key is longer than {MAX_KEY_BYTES} bytes")),
        key => Ok(Some([b"http\n", tag.as_bytes(), b"\n", key].concat().into())),
    }
}

/// A request that is being stored; dropped, it is no more.
struct Storing<'s> {
    all: &'s Mutex<HashSet<Bytes>>,
    key: Bytes,
}

impl<'s> Storing<'s> {
    /// `None` where one of the same name is being stored.
    fn begin(all: &'s Mutex<HashSet<Bytes>>, key: Bytes) -> Option<Storing<'s>> {
        let begun = all.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        begun.then_some(Storing { all, key })
    }
}

impl Drop for Storing<'_> {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
