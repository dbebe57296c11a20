//! One request and its answer (OTLP specification, "OTLP/HTTP" and "OTLP/gRPC").

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};

use super::params::{Settings, Wire};
use crate::event::{Batch, BatchBuilder};
use crate::net::LogGate;
use crate::net::grpc::code::{DEADLINE_EXCEEDED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE, UNIMPLEMENTED};
use crate::net::grpc::{self, FRAME_HEAD, Served};
use crate::net::http::{BodyError, Lease, ServerResponse, decode, read_body, respond};
use crate::net::otlp::{EXPORT, Fault, Limits, Status, read_json, read_proto, success};
use crate::plugin::{EmitError, Emitter};

/// Bodies larger than this many bytes are read into events away from the threads that serve connections.
const READ_HERE: usize = 256 * 1024;
/// At most one log line about refused requests in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Seconds after which a sender that was put off should try again.
const RETRY_SECONDS: u16 = 1;

/// The encoding of a request, and of its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoding {
    Proto,
    Json,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Option<Encoding> {
        match media_type(headers)?.as_str() {
            "application/x-protobuf" => Some(Encoding::Proto),
            "application/json" => Some(Encoding::Json),
            _ => None,
        }
    }

    fn name(self) -> HeaderValue {
        HeaderValue::from_static(if self == Encoding::Json { "application/json" } else { "application/x-protobuf" })
    }
}

/// `Content-Type` without its parameters, in small letters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A refusal before it is sent.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: u64,
    why: String,
    /// The body was not read to its end.
    closing: bool,
}

impl Refusal {
    fn new(status: StatusCode, code: u64, why: impl Into<String>) -> Refusal {
        Refusal { status, code, why: why.into(), closing: false }
    }

    fn closing(self) -> Refusal {
        Refusal { closing: true, ..self }
    }

    fn busy(why: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, why)
    }

    fn into_response(self, encoding: Encoding) -> ServerResponse {
        let body = match encoding {
            Encoding::Json => serde_json::json!({ "code": self.code, "message": self.why }).to_string().into_bytes(),
            Encoding::Proto => Status { code: self.code, message: self.why, retry: None }.write(),
        };
        let mut response = respond(self.status, encoding.name(), body);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        }
        if self.closing {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Answers the requests of one input.
pub(super) struct Service {
    settings: Arc<Settings>,
    emit: Emitter,
    refused: LogGate,
}

impl Service {
    pub(super) fn new(settings: Arc<Settings>, emit: Emitter) -> Service {
        Service { settings, emit, refused: LogGate::new(LOG_INTERVAL) }
    }

    /// Answers one request; 200 means that all of its events are stored.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> ServerResponse {
        let encoding = Encoding::of(request.headers());
        match self.take(request, encoding).await {
            Ok(encoding) => {
                let body = if encoding == Encoding::Json { b"{}".to_vec() } else { success() };
                respond(StatusCode::OK, encoding.name(), body)
            }
            Err(refusal) => {
                self.complain(refusal.status, &refusal.why);
                // Whoever speaks neither reads JSON most easily.
                refusal.into_response(encoding.unwrap_or(Encoding::Json))
            }
        }
    }

    /// Answers one call of gRPC, whose client waits until then; status 0 means that all of its events are stored.
    pub(super) async fn call(&self, request: Request<Incoming>, until: Option<Instant>) -> Served {
        match self.take_call(request, until).await {
            Ok(()) => grpc::succeeded(&success()),
            Err(refusal) => {
                self.complain(format_args!("with gRPC's status {}", refusal.code), &refusal.why);
                grpc::failed(refusal.code, &refusal.why)
            }
        }
    }

    /// Says in the log where a client should have gone that came to the port of `wire`; gives what it is told.
    pub(super) fn turn_away(&self, wire: Wire) -> ServerResponse {
        let why = self.settings.elsewhere(wire);
        if let Some(left_out) = self.refused.pass() {
            tracing::warn!(plugin = self.settings.name, left_out, "a client was turned away: {why}");
        }
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        let mut response = respond(StatusCode::BAD_REQUEST, kind, format!("{why}\n"));
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    fn complain(&self, answer: impl std::fmt::Display, why: &str) {
        if let Some(left_out) = self.refused.pass() {
            let why = why.escape_debug();
            tracing::warn!(plugin = self.settings.name, left_out, "a request was answered {answer}: {why}");
        }
    }

    async fn take_call(&self, request: Request<Incoming>, until: Option<Instant>) -> Result<(), Refusal> {
        let refused = |code, why: &str| Refusal::new(StatusCode::OK, code, why);
        let (head, body) = request.into_parts();
        if head.uri.path() != EXPORT {
            return Err(refused(UNIMPLEMENTED, "logs are taken here; metrics and traces are not"));
        }
        if head.method != Method::POST {
            return Err(refused(UNIMPLEMENTED, "calls are made by POST"));
        }
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if !matches!(media_type(&head.headers).as_deref(), Some("application/grpc" | "application/grpc+proto")) {
            return Err(refused(UNIMPLEMENTED, "unsupported media type, supported: application/grpc"));
        }
        let mut lease = self.settings.budget.lease();
        let whole = self.whole(body, self.settings.body_limit.saturating_add(FRAME_HEAD), &mut lease).await?;
        let (message, packed) = grpc::message_of(whole).map_err(|why| refused(INVALID_ARGUMENT, why))?;
        let name = text("grpc-encoding").filter(|_| packed);
        if packed && !matches!(name, Some("gzip" | "deflate" | "zstd")) {
            return Err(refused(UNIMPLEMENTED, "unknown grpc-encoding, supported: gzip, deflate, zstd"));
        }
        let message = self.plain(message, name, &mut lease).await?;
        self.store(message, Encoding::Proto, lease, until).await
    }

    async fn take(&self, request: Request<Incoming>, encoding: Option<Encoding>) -> Result<Encoding, Refusal> {
        let (head, body) = request.into_parts();
        if head.uri.path() != "/v1/logs" {
            let why = "logs are taken here, at /v1/logs; metrics and traces are not";
            return Err(Refusal::new(StatusCode::NOT_FOUND, UNIMPLEMENTED, why).closing());
        }
        if head.method != Method::POST {
            let why = "logs are sent by POST";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, UNIMPLEMENTED, why).closing());
        }
        let Some(encoding) = encoding else {
            let why = "unsupported media type, supported: application/json, application/x-protobuf";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_ARGUMENT, why).closing());
        };
        let mut lease = self.settings.budget.lease();
        let body = self.whole(body, self.settings.body_limit, &mut lease).await?;
        let name = head.headers.get(CONTENT_ENCODING).and_then(|v| v.to_str().ok());
        let body = self.plain(body, name, &mut lease).await?;
        self.store(body, encoding, lease, None).await.map(|()| encoding)
    }

    async fn store(
        &self,
        body: Bytes,
        encoding: Encoding,
        mut lease: Lease,
        until: Option<Instant>,
    ) -> Result<(), Refusal> {
        let batch = self.events(body, encoding).await?;
        // The batch stands for the body from here on; it may be larger.
        if !lease.grow(batch.bytes().len()) {
            return Err(Refusal::busy(BodyError::Busy.to_string()));
        }
        let is_late = || until.is_some_and(|until| until <= Instant::now());
        let late = |why: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, DEADLINE_EXCEEDED, why);
        if is_late() {
            // It comes again, or not: nobody waits for this one any more.
            return Err(late("the call was not read within its grpc-timeout".into()));
        }
        match self.emit.emit_until(batch, until).await {
            Ok(_) => Ok(()),
            Err(e @ EmitError::Full(_)) if is_late() => Err(late(e.to_string())),
            Err(e @ (EmitError::Full(_) | EmitError::Closed)) => Err(Refusal::busy(e.to_string())),
            Err(e @ EmitError::Refused(_)) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, e.to_string()))
            }
        }
    }

    async fn whole(&self, body: Incoming, limit: usize, lease: &mut Lease) -> Result<Bytes, Refusal> {
        read_body(body, limit, lease).await.map_err(|e| match e {
            BodyError::TooLarge => {
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, RESOURCE_EXHAUSTED, e.to_string()).closing()
            }
            BodyError::Busy => Refusal::busy(e.to_string()).closing(),
            BodyError::TooSlow => Refusal::new(StatusCode::REQUEST_TIMEOUT, UNAVAILABLE, e.to_string()).closing(),
            BodyError::Broken(_) => Refusal::new(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, e.to_string()).closing(),
        })
    }

    /// What a body holds, unpacked where a name says how it is packed.
    async fn plain(&self, body: Bytes, name: Option<&str>, lease: &mut Lease) -> Result<Bytes, Refusal> {
        let packed = body.len();
        let plain = decode(body, name, self.settings.inflate_limit).await;
        let plain = plain.map_err(|e| {
            let why = format!("the body can't be unpacked: {e}");
            Refusal::new(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, why).closing()
        })?;
        if name.is_some() && !lease.grow(plain.len().saturating_sub(packed)) {
            return Err(Refusal::busy(BodyError::Busy.to_string()));
        }
        Ok(plain)
    }

    async fn events(&self, body: Bytes, encoding: Encoding) -> Result<Batch, Refusal> {
        let (tag, limits) = (self.settings.tag.clone(), Limits { bytes: self.settings.inflate_limit });
        let small = body.len() <= READ_HERE;
        let read = move || {
            let mut batch = BatchBuilder::new();
            match encoding {
                Encoding::Proto => read_proto(&body, &limits, &mut batch)?,
                Encoding::Json => read_json(&body, &limits, &mut batch)?,
            }
            Ok(batch.finish(tag))
        };
        let refused = |fault: Fault| match fault {
            Fault::Malformed(_) => Refusal::new(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, fault.to_string()),
            Fault::TooLarge => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, RESOURCE_EXHAUSTED, fault.to_string()),
        };
        // Never closed, so a place is always given.
        let _place = self.settings.reading.acquire().await;
        let events = match small {
            true => read(),
            false => tokio::task::spawn_blocking(read).await.unwrap_or_else(|e| Err(Fault::Malformed(e.to_string()))),
        };
        events.map_err(refused)
    }
}
