//! Requests to services.

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use url::Url;

use crate::config::{Diagnostic, Pairs};
use crate::event::{Packing, RecordPath, pack};
use crate::net::http::{Answer, Client, ClientError, ClientOptions, retry_after};
use crate::net::tls::ClientSettings;
use crate::output::object::certificates;
use crate::plugin::WriteError;
use crate::plugin::web::{opened, place};

/// Longest pause that a service may ask for within one write; the engine's schedule does the rest.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause that is believed at all.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// A service's HTTP interface.
pub struct Web {
    options: ClientOptions,
    tls: Option<ClientSettings>,
    ca_directory: Option<PathBuf>,
    gzip: bool,
    client: OnceLock<Client>,
    pause: Pause,
}

impl Web {
    /// Nothing is opened. `gzip`: whether bodies are packed.
    pub fn new(options: ClientOptions, tls: Option<ClientSettings>, gzip: bool) -> Web {
        Web { options, tls, ca_directory: None, gzip, client: OnceLock::new(), pause: Pause::default() }
    }

    /// Trusts the authorities of a directory too.
    pub fn trusting(self, ca_directory: Option<PathBuf>) -> Web {
        Web { ca_directory, ..self }
    }

    /// Reads certificates; called once, before the first request.
    pub fn open(&self) -> std::io::Result<()> {
        let mut settings = self.tls.clone();
        if let (Some(settings), Some(directory)) = (&mut settings, &self.ca_directory) {
            settings.ca_paths.extend(certificates(directory)?);
        }
        // Started once; a second client would only replace an unused one.
        let _ = self.client.set(Client::new(opened(&self.options, settings.as_ref())?));
        Ok(())
    }

    /// Closes what is idle.
    pub fn close(&self) {
        if let Some(client) = self.client.get() {
            client.close();
        }
    }

    /// Posts a body and gives the answer, whatever its status. Waits before it while the service has asked for a pause.
    ///
    /// Errors: no answer, or a pause that is too long to be waited for here.
    pub async fn post(&self, url: &Url, mut headers: HeaderMap, body: Vec<u8>) -> Result<Answer, WriteError> {
        let Some(client) = self.client.get() else {
            return Err(WriteError::Retry("the output was not started".into()));
        };
        self.pause.over().await.map_err(WriteError::Retry)?;
        let body: Bytes = match self.gzip && !body.is_empty() {
            true => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                pack::deflate(&body, Packing::Gzip)?.into()
            }
            false => body.into(),
        };
        match client.send(Method::POST, url, headers, body).await {
            Ok(answer) => {
                if matches!(answer.status.as_u16(), 429 | 503) {
                    self.pause.ask(retry_after(&answer.headers));
                }
                Ok(answer)
            }
            Err(e) => Err(unanswered(url, &e)),
        }
    }

    /// The pause that the service has asked for, for who reads it from bodies.
    pub fn pause(&self) -> &Pause {
        &self.pause
    }

    /// How long one exchange may take.
    pub fn patience(&self) -> Duration {
        patience(&self.options)
    }
}

/// How long one exchange may take, with the pause before it.
pub fn patience(options: &ClientOptions) -> Duration {
    let waits = [options.connect_timeout, options.tls_timeout, options.read_timeout, MAX_PAUSE];
    waits.iter().fold(Duration::from_secs(60), |sum, wait| sum.saturating_add(*wait))
}

/// What follows from there being no answer.
pub fn unanswered(url: &Url, e: &ClientError) -> WriteError {
    match e {
        // What it says holds the path.
        ClientError::Request(_) => {
            WriteError::Reject(format!("{}: the request has an address or a header that can't be sent", place(url)))
        }
        e => WriteError::Retry(format!("{}: {e}", place(url))),
    }
}

/// When a service wants to be left alone.
#[derive(Debug, Default)]
pub struct Pause(Mutex<Option<Instant>>);

impl Pause {
    /// Nothing is sent for so long.
    pub fn ask(&self, time: Option<Duration>) {
        let Some(time) = time else { return };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(time.min(LONGEST_PAUSE));
    }

    /// Waits until it is over.
    ///
    /// Errors: it lasts longer than a write may wait.
    pub async fn over(&self) -> Result<(), String> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if left > MAX_PAUSE {
            return Err(format!("the target has asked to be left alone for {} s more", left.as_secs()));
        }
        if !left.is_zero() {
            tokio::time::sleep(left).await;
        }
        Ok(())
    }
}

/// Names and the fields whose values they get; a name without a field is the field's own.
pub fn fields(pairs: &Pairs) -> Result<Vec<(String, RecordPath)>, Diagnostic> {
    let each = pairs.iter().map(|pair| {
        let field = if pair.text().is_empty() { &pair.name } else { pair.text() };
        let path = RecordPath::parse(field).map_err(|e| Diagnostic::error(e.to_string(), &pair.span))?;
        Ok((pair.name.clone(), path))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use hyper::header::RETRY_AFTER;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_are_kept_and_long_ones_are_left_to_the_engine() {
        let pause = Pause::default();
        pause.over().await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("0.05"));
        pause.ask(retry_after(&headers));
        let began = Instant::now();
        // The clock of tokio stands still but for sleeps; the pause is counted by the machine's.
        pause.over().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
        pause.ask(Some(Duration::from_secs(1_000_000)));
        assert!(pause.over().await.unwrap_err().contains("left alone"));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("Wed, 21 Oct 2026 07:28:00 GMT"));
        assert_eq!(retry_after(&headers), None);
    }
}
