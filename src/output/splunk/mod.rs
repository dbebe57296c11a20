//! `splunk_hec`: sends events to Splunk's HTTP Event Collector. Parameters are those of fluent-plugin-splunk-hec, and
//! indexer acknowledgement as fluent-plugin-splunk-enterprise has it.
//!
//! The collector knows no request again. Without `use_ack` a chunk counts as delivered when it has answered, which it does
//! before anything is on a disk; with it, when the indexers have said of each request that they have it.

mod params;
mod row;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use url::Url;

pub use self::params::SplunkParams;

use self::row::{Event, Shape};
use super::service::{Fate, Pieces, Row, Sender, Web};
use crate::buffer::{Block, Chunk};
use crate::config::Diagnostic;
use crate::event::{Entry, hex};
use crate::net::http::Answer;
use crate::plugin::web::shown;
use crate::plugin::{BufferDefaults, BuildContext, Configure, InputError, Output, Stop, WriteError};

/// Events and bytes of one request. Splunk Cloud advises against more than 1 MiB.
const MAX_EVENTS: usize = 10_000;
/// See `MAX_EVENTS`.
const MAX_BYTES: usize = 1 << 20;

/// Codes of answers that an event is to blame for: no data, invalid format, no event, an empty one, fields that can't be
/// indexed, a metric that is none (Splunk, "HTTP Event Collector error codes").
const EVENT_CODES: &[u64] = &[5, 6, 12, 13, 15, 16];
/// An index that the token may not use, or that there is not.
const INCORRECT_INDEX: u64 = 7;
/// Codes that go away when somebody changes the configuration, and what helps.
const SETUP_CODES: &[(u64, &str)] = &[
    (1, "look at hec_token: the token is disabled"),
    (2, "look at hec_token"),
    (3, "look at hec_token"),
    (4, "look at hec_token: Splunk does not know it"),
    (INCORRECT_INDEX, "look at index: the token may not use it, or there is none of this name"),
    (10, "set use_ack true: the token wants a channel"),
    (11, "look at channel: it must be a GUID"),
    (14, "turn indexer acknowledgement on for the token, or use_ack off"),
];

/// How requests are acknowledged.
struct Acks {
    url: Url,
    interval: Duration,
    timeout: Duration,
}

/// The output.
pub struct Splunk {
    web: Web,
    url: Url,
    headers: HeaderMap,
    shape: Shape,
    acks: Option<Acks>,
    /// Whether what is refused is set aside; else it is tried again.
    consumes: bool,
    pieces: Pieces,
}

impl Configure for Splunk {
    type Config = SplunkParams;

    fn new(params: SplunkParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        params.check(cx)?;
        let acks = params.acks(cx)?;
        let pieces = Pieces::new(MAX_EVENTS, MAX_BYTES);
        Ok(Splunk {
            web: params.web(cx)?,
            url: params.address(&params.hec_endpoint, cx)?,
            headers: params.headers(acks.is_some(), cx)?,
            shape: params.shape(cx)?,
            // What was sent and not acknowledged must be sent again, so nothing is remembered of a chunk that failed.
            pieces: if acks.is_some() { pieces.forgetful() } else { pieces },
            acks,
            consumes: params.consume_chunk_on_4xx_errors,
        })
    }
}

impl Output for Splunk {
    /// A collector that is not there keeps nothing from starting.
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        Ok(self.web.open()?)
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let load = Load { splunk: self, waiting: Mutex::default() };
        let outcome = self.pieces.deliver(&load, chunk).await;
        if matches!(outcome, Ok(()) | Err(WriteError::Partial(_))) {
            load.acknowledged().await?;
        }
        outcome
    }

    async fn close(&self) {
        self.web.close();
    }

    fn patience(&self) -> Duration {
        self.web.patience().saturating_add(self.acks.as_ref().map_or(Duration::ZERO, |acks| acks.timeout))
    }
}

/// An answer of the collector.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    code: Option<u64>,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<usize>,
    #[serde(rename = "ackId")]
    ack: Option<u64>,
}

/// A chunk on its way.
struct Load<'s> {
    splunk: &'s Splunk,
    /// Requests that are not acknowledged yet.
    waiting: Mutex<Vec<u64>>,
}

impl Sender for Load<'_> {
    type Body = Event;

    fn row(&self, block: &Block, entry: &Entry<'_>) -> Result<Option<(Event, usize)>, String> {
        let event = self.splunk.shape.event(&block.tag, entry)?;
        Ok(event.map(|event| {
            let bytes = event.text.len();
            (event, bytes)
        }))
    }

    async fn send(&self, rows: &[Row<Event>]) -> Result<Fate, WriteError> {
        let body: Vec<u8> = rows.iter().flat_map(|row| row.body.text.iter().copied()).collect();
        let answer = self.splunk.web.post(&self.splunk.url, self.splunk.headers.clone(), body).await?;
        self.judge(&answer, rows)
    }
}

impl Load<'_> {
    fn judge(&self, answer: &Answer, rows: &[Row<Event>]) -> Result<Fate, WriteError> {
        let told = shown(answer);
        let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
        let status = answer.status.as_u16();
        let setup = |help: &str| Err(WriteError::Retry(format!("{told}. What helps: {help}")));
        if answer.status.is_success() {
            return match (said.code, said.ack, &self.splunk.acks) {
                (Some(0), Some(ack), Some(_)) => {
                    self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(ack);
                    Ok(Fate::Taken)
                }
                (Some(0), None, Some(_)) => setup("turn indexer acknowledgement on for the token, or use_ack off"),
                (Some(0), _, None) => Ok(Fate::Taken),
                _ => setup("look at hec_host and hec_endpoint: this is no answer of an event collector"),
            };
        }
        // An index that an event names is the event's affair.
        let blamed = |code: u64| EVENT_CODES.contains(&code) || code == INCORRECT_INDEX && self.splunk.shape.indexes();
        if let Some(code) = said.code
            && let Some((_, help)) = SETUP_CODES.iter().find(|(known, _)| *known == code && !blamed(code))
        {
            return setup(help);
        }
        match status {
            300..=399 => setup("look at protocol, hec_host and hec_port: a redirect is not followed"),
            401 | 403 => setup("look at hec_token"),
            404 | 405 => setup("look at hec_endpoint"),
            413 => Ok(Fate::TooLarge(told)),
            400..=499 if !matches!(status, 407 | 408 | 425 | 429) && self.splunk.consumes => {
                Ok(Fate::Bad(said.invalid.map(|number| row_of(rows, number)), told))
            }
            _ => Err(WriteError::Retry(told)),
        }
    }

    /// Waits until the indexers have each request.
    async fn acknowledged(&self) -> Result<(), WriteError> {
        let Some(acks) = &self.splunk.acks else { return Ok(()) };
        let mut waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let until = Instant::now() + acks.timeout;
        let mut last = String::from("none of them is there yet");
        while !waiting.is_empty() {
            if Instant::now() >= until {
                let (left, time) = (waiting.len(), acks.timeout);
                return Err(WriteError::Retry(format!(
                    "{left} requests were not acknowledged by the indexers within {time:?} ({last}); the chunk is sent again"
                )));
            }
            tokio::time::sleep(acks.interval).await;
            let body = json!({ "acks": &waiting }).to_string().into_bytes();
            match self.splunk.web.post(&acks.url, self.splunk.headers.clone(), body).await {
                Ok(answer) if answer.status.is_success() => {
                    let said: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
                    waiting.retain(|id| said["acks"][id.to_string()] != Json::Bool(true));
                }
                Ok(answer) => last = shown(&answer),
                Err(e) => last = e.to_string(),
            }
        }
        Ok(())
    }
}

/// The row that holds the event of a number: a row of metrics holds several.
fn row_of(rows: &[Row<Event>], number: usize) -> usize {
    let mut seen = 0;
    let holds = |row: &Row<Event>| {
        seen += row.body.count;
        number < seen
    };
    rows.iter().position(holds).unwrap_or(rows.len())
}

/// A channel of its own for each start, as a GUID.
fn channel() -> Result<HeaderValue, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| e.to_string())?;
    (bytes[6], bytes[8]) = (bytes[6] & 0x0f | 0x40, bytes[8] & 0x3f | 0x80);
    let hex = hex(&bytes);
    let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    HeaderValue::try_from(text).map_err(|e| e.to_string())
}
