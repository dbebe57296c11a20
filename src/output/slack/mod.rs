//! `slack`: messages to a channel by an incoming webhook. Parameters are those of fluent-plugin-slack.
//!
//! A chunk becomes messages, which are the same each time. How many of them Slack has taken is remembered, so that an attempt
//! goes on behind them; a message whose answer was lost comes twice.

mod format;
mod message;
mod params;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

pub use self::params::SlackParams;

use self::message::{Message, Shape};
use super::service::Web;
use crate::buffer::{Chunk, ChunkId};
use crate::config::Diagnostic;
use crate::net::http::Answer;
use crate::plugin::web::shown;
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, InputError, MAX_REFUSED, Output, RefusedEvent, Stop, WriteError,
};

/// Chunks whose progress is remembered between two attempts; when there are more, all is forgotten and messages are sent again.
const MAX_PROGRESS: usize = 10_000;
/// Longest answer that is kept of an event, in bytes.
const MAX_ANSWER: usize = 1024;

/// The output.
pub struct Slack {
    web: Web,
    url: Url,
    shape: Shape,
    progress: Mutex<HashMap<ChunkId, Progress>>,
}

/// How far a chunk has come.
#[derive(Debug, Default)]
struct Progress {
    /// Messages that are settled.
    upto: usize,
    refused: Vec<RefusedEvent>,
}

impl Configure for Slack {
    type Config = SlackParams;

    fn new(params: SlackParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        params.check(cx)?;
        Ok(Slack {
            web: params.web(cx)?,
            url: params.address(cx)?,
            shape: params.shape(cx)?,
            progress: Mutex::default(),
        })
    }
}

impl Output for Slack {
    /// A Slack that is not reached keeps nothing from starting.
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        Ok(self.web.open()?)
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let messages = self.shape.messages(chunk)?;
        let mut progress =
            self.progress.lock().unwrap_or_else(PoisonError::into_inner).remove(&chunk.id()).unwrap_or_default();
        for message in messages.iter().skip(progress.upto) {
            match self.send(message).await {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    let event = |place: &u64| RefusedEvent { place: *place, answer: answer.clone() };
                    progress.refused.extend(message.places.iter().map(event));
                }
                Err(e) => {
                    if matches!(e, WriteError::Retry(_)) {
                        self.keep(chunk.id(), progress);
                    }
                    return Err(e);
                }
            }
            progress.upto += 1;
        }
        let mut refused = progress.refused;
        refused.sort_by_key(|event| event.place);
        match refused.first() {
            None => Ok(()),
            Some(first) if refused.len() > MAX_REFUSED || refused.len() as u64 == u64::from(chunk.count()) => {
                let response = first.answer.clone();
                Err(WriteError::Refused { why: format!("{} events were refused: {response}", refused.len()), response })
            }
            Some(_) => Err(WriteError::Partial(refused)),
        }
    }

    async fn close(&self) {
        self.web.close();
    }

    fn patience(&self) -> Duration {
        self.web.patience()
    }
}

impl Slack {
    fn keep(&self, id: ChunkId, progress: Progress) {
        // Every change under the lock is whole by itself.
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PROGRESS {
            all.clear();
        }
        all.insert(id, progress);
    }

    /// Posts a message; gives the answer of a refusal.
    async fn send(&self, message: &Message) -> Result<Option<String>, WriteError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        let body = message.payload.to_string().into_bytes();
        self.judge(&self.web.post(&self.url, headers, body).await?)
    }

    /// What an answer means (Slack, "Handling errors" of incoming webhooks). The channel of an event is its own affair.
    fn judge(&self, answer: &Answer) -> Result<Option<String>, WriteError> {
        let said = shown(answer);
        let text = String::from_utf8_lossy(&answer.body);
        let setup = |help: &str| Err(WriteError::Retry(format!("{said}. What helps: {help}")));
        let about_channel = text.contains("channel");
        match answer.status.as_u16() {
            200..=299 if text.trim().is_empty() || text.trim() == "ok" || text.contains("\"ok\":true") => Ok(None),
            200..=299 => setup("look at webhook_url: this is no answer of a webhook"),
            400 | 403 | 404 | 410 if about_channel && !self.shape.names_channels() => setup("look at channel"),
            403 | 404 | 410 if !about_channel => setup("look at webhook_url: it is no longer in use"),
            300..=399 => setup("look at webhook_url: a redirect is not followed"),
            429 | 500..=599 => Err(WriteError::Retry(said)),
            _ => Ok(Some(said[..said.floor_char_boundary(MAX_ANSWER)].to_owned())),
        }
    }
}
