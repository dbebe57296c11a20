//! `opentelemetry`: sends events as log records by the OpenTelemetry protocol, over HTTP (protobuf) or gRPC. Parameters are those
//! of fluent-plugin-opentelemetry, and some of its own.
//!
//! The protocol knows no request again: after a lost answer records are there twice. What a server says of records that it has
//! not taken (`partial_success`) must not be sent again by the protocol's own rule; it is counted and logged.

mod params;
mod rpc;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap};
use url::Url;

pub use self::params::OpentelemetryParams;
use self::rpc::{Called, Rpc};

use super::service::{Fate, Pieces, Row, Sender, Web};
use crate::buffer::{Block, Chunk};
use crate::config::Diagnostic;
use crate::event::{Arena, Entry, Record};
use crate::net::http::Answer;
use crate::net::otlp::{Partial, Placed, Status, partial_of, partial_of_json, request, write_record};
use crate::plugin::web::{excerpt, shown};
use crate::plugin::{BufferDefaults, BuildContext, Configure, Inject, InputError, Output, Stop, WriteError};

/// Records and bytes of one request. Servers over gRPC take 4 MiB by default, and pass on what came by HTTP so.
const MAX_RECORDS: usize = 10_000;
/// See `MAX_RECORDS`.
const MAX_BYTES: usize = 3 << 20;

/// What becomes of an event.
struct Shape {
    body: String,
    severity: Option<String>,
    resource: Vec<(String, String)>,
    inject: Option<Inject>,
}

/// OTLP over HTTP.
struct HttpWire {
    web: Web,
    url: Url,
    headers: HeaderMap,
    retryable: Vec<u16>,
    reject_errors: bool,
}

/// How requests are sent.
enum Wire {
    Http(HttpWire),
    Grpc(Rpc),
}

/// The output.
pub struct Opentelemetry {
    wire: Wire,
    shape: Shape,
    pieces: Pieces,
    rejected: AtomicU64,
}

impl Configure for Opentelemetry {
    type Config = OpentelemetryParams;

    fn new(params: OpentelemetryParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, keys: &["tag"], ..BufferDefaults::default() });
        Ok(Opentelemetry {
            wire: params.wire(cx)?,
            shape: params.shape(cx)?,
            pieces: Pieces::new(MAX_RECORDS, MAX_BYTES),
            rejected: AtomicU64::new(0),
        })
    }
}

impl Output for Opentelemetry {
    /// A server that is not there keeps nothing from starting.
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        match &self.wire {
            Wire::Http(http) => Ok(http.web.open()?),
            Wire::Grpc(rpc) => Ok(rpc.open()?),
        }
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        self.pieces.deliver(self, chunk).await
    }

    async fn close(&self) {
        match &self.wire {
            Wire::Http(http) => http.web.close(),
            Wire::Grpc(rpc) => rpc.close(),
        }
    }

    fn patience(&self) -> Duration {
        match &self.wire {
            Wire::Http(http) => http.web.patience(),
            Wire::Grpc(rpc) => rpc.patience(),
        }
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("rejected_log_records", self.rejected.load(Relaxed))]
    }
}

impl Sender for Opentelemetry {
    type Body = Placed;

    fn row(&self, block: &Block, entry: &Entry<'_>) -> Result<Option<(Placed, usize)>, String> {
        let arena = Arena::new();
        let mut record =
            Record::decode(entry.record, &arena).map_err(|e| format!("its record can't be read: {e:?}"))?;
        let shape = &self.shape;
        if let Some(inject) = &shape.inject {
            inject.apply(&block.tag, entry.time, &mut record, &arena);
        }
        let severity = shape.severity.as_deref().map(str::as_bytes);
        let placed = write_record(entry.time, &record, shape.body.as_bytes(), severity, &shape.resource);
        let bytes = placed.log.len() + 16;
        Ok(Some((placed, bytes)))
    }

    async fn send(&self, rows: &[Row<Placed>]) -> Result<Fate, WriteError> {
        let body = request(rows.iter().map(|row| &row.body));
        match &self.wire {
            Wire::Http(http) => {
                let answer = http.web.post(&http.url, http.headers.clone(), body).await?;
                match answer.status.is_success() {
                    true => Ok(self.taken(&http.url, http.partial(&answer)?, rows.len())),
                    false => http.refused(&answer),
                }
            }
            Wire::Grpc(rpc) => match rpc.call(body).await? {
                Called::Taken(partial) => Ok(self.taken(rpc.url(), partial, rows.len())),
                Called::Not(fate) => Ok(fate),
            },
        }
    }
}

impl Opentelemetry {
    /// What an answer to a request that was taken says of its records.
    fn taken(&self, url: &Url, Partial { rejected, message }: Partial, count: usize) -> Fate {
        let message = excerpt(&message);
        match rejected {
            0 if message.is_empty() => {}
            0 => tracing::warn!("{url} says: {message}"),
            // All of them, so it is known which.
            n if n >= count as u64 => return Fate::Refused(format!("rejected: {message}")),
            n => {
                self.rejected.fetch_add(n, Relaxed);
                tracing::error!(
                    "{url} has rejected {n} of {count} records, does not say which, and has taken the rest: {message}"
                );
            }
        }
        Fate::Taken
    }
}

impl HttpWire {
    fn partial(&self, answer: &Answer) -> Result<Partial, WriteError> {
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let read = match kind.starts_with("application/json") {
            true => partial_of_json(&answer.body),
            false => partial_of(&answer.body),
        };
        read.map_err(|_| {
            let help = "look at endpoint: this is no answer of an OpenTelemetry server";
            WriteError::Retry(format!("{}. What helps: {help}", shown(answer)))
        })
    }

    fn refused(&self, answer: &Answer) -> Result<Fate, WriteError> {
        let status = answer.status.as_u16();
        let proto =
            answer.headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/x-protobuf"));
        let said = match Status::read(&answer.body) {
            Ok(said) if proto => {
                self.web.pause().ask(said.retry);
                format!("{} {}", answer.status, excerpt(&said.message))
            }
            _ => shown(answer),
        };
        let setup = |help: &str| Err(WriteError::Retry(format!("{said}. What helps: {help}")));
        match status {
            _ if self.retryable.contains(&status) => Err(WriteError::Retry(said)),
            400 => Ok(Fate::Bad(None, said)),
            413 => Ok(Fate::TooLarge(said)),
            401 | 403 => setup("look at headers of <http>, and at <transport>"),
            404 | 405 => setup("look at endpoint: /v1/logs is put behind it"),
            300..=399 => setup("look at endpoint: a redirect is not followed"),
            _ if self.reject_errors => {
                let response = String::from_utf8_lossy(&answer.body).into_owned();
                Err(WriteError::Refused { why: said, response })
            }
            _ => {
                tracing::error!("got error response from '{}' : {said}", self.url);
                Ok(Fate::Taken)
            }
        }
    }
}
