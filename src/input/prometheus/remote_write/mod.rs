//! `<remote_write>`: pushes the metrics to a server that takes Prometheus' remote write, where none comes to scrape.
//!
//! Counts go on growing, so what could not be sent is not kept: the values that are due next say it too. An endpoint that is
//! dead costs one request in memory and a line of the log now and then.

mod message;
mod params;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap};
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

pub(super) use self::params::RemoteParams;

use crate::config::{Diagnostic, Section};
use crate::net::LogGate;
use crate::net::http::{Answer, Client, ClientError, ClientOptions, retry_after};
use crate::net::tls::ClientSettings;
use crate::plugin::web::{Token, opened, place, shown};
use crate::plugin::{BuildContext, Process, Stop};

/// Wait before the same values are sent again: the first, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Longest time that an endpoint is left alone because it has asked for that.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// How long a stop waits for the last values to be taken.
const PARTING: Duration = Duration::from_secs(2);
/// At most one log line about an endpoint's refusals in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Where and how to push.
pub(super) struct Endpoint {
    url: Url,
    interval: Duration,
    timeout: Duration,
    labels: Vec<(String, String)>,
    headers: HeaderMap,
    token: Option<Token>,
    options: ClientOptions,
    tls: Option<ClientSettings>,
}

impl Endpoint {
    /// From its section.
    pub(super) fn new(section: &Section, cx: &mut BuildContext<'_>) -> Result<Endpoint, Diagnostic> {
        cx.within(section, RemoteParams::endpoint)
    }
}

/// Pushes to one endpoint.
pub(super) struct Writer {
    endpoint: Endpoint,
    process: Arc<Process>,
    client: Client,
    gate: LogGate,
    /// The endpoint has asked to be left alone until then.
    rest: Instant,
    /// The log says last that it does not take values.
    is_failing: bool,
}

/// What became of a request.
#[derive(Debug)]
enum Fate {
    Taken,
    /// It will never be taken; why.
    Refused(String),
    /// It may be taken later; why not now, and how long the endpoint wants to be left alone.
    Again(String, Option<Duration>),
}

impl Writer {
    /// Reads certificates.
    pub(super) fn open(endpoint: Endpoint, process: Arc<Process>) -> io::Result<Writer> {
        let client = Client::new(opened(&endpoint.options, endpoint.tls.as_ref())?);
        let gate = LogGate::new(LOG_INTERVAL);
        Ok(Writer { endpoint, process, client, gate, rest: Instant::now(), is_failing: false })
    }

    /// Pushes every interval until told to stop, and once more then.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut due = Instant::now() + self.endpoint.interval;
        loop {
            if stop.or(sleep_until(due.max(self.rest))).await.is_none() {
                break;
            }
            due = Instant::now() + self.endpoint.interval;
            if stop.or(self.push(due)).await.is_none() {
                break;
            }
        }
        if Instant::now() >= self.rest && timeout(PARTING, self.push(Instant::now())).await.is_err() {
            self.complain(&format!("the last values were not taken within {PARTING:?}"));
        }
    }

    /// Sends the present values until they are taken or refused, or the next are due.
    async fn push(&mut self, until: Instant) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let requests = match message::requests(&self.process, &self.endpoint.labels, at) {
            Ok(requests) => requests,
            Err(e) => return self.complain(&e.to_string()),
        };
        for request in requests {
            if !self.deliver(&request, until).await {
                return;
            }
        }
    }

    /// Sends a request until it is taken or refused, or the next values are due; whether the endpoint takes more.
    async fn deliver(&mut self, request: &Bytes, until: Instant) -> bool {
        let mut wait = FIRST_WAIT;
        loop {
            match self.send(request.clone()).await {
                Fate::Taken => {
                    self.rejoice();
                    return true;
                }
                Fate::Refused(why) => {
                    self.complain(&format!("{why}; these values are not sent again"));
                    return true;
                }
                Fate::Again(why, asked) => {
                    self.complain(&format!("{why}; tried again, with newer values once they are due"));
                    let now = Instant::now();
                    self.rest = now + asked.unwrap_or_default().min(LONGEST_REST);
                    let again = self.rest.max(now + wait);
                    if again >= until {
                        return false;
                    }
                    sleep_until(again).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    async fn send(&self, request: Bytes) -> Fate {
        let Endpoint { url, headers, token, .. } = &self.endpoint;
        let mut headers = headers.clone();
        match token.as_ref().map(Token::read).transpose() {
            Ok(token) => headers.extend(token.map(|token| (AUTHORIZATION, token))),
            Err(why) => return Fate::Again(why, None),
        }
        match timeout(self.endpoint.timeout, self.client.send(Method::POST, url, headers, request)).await {
            Ok(outcome) => judge(outcome),
            Err(_) => Fate::Again(format!("no answer within {:?}", self.endpoint.timeout), None),
        }
    }

    fn complain(&mut self, why: &str) {
        if let Some(left_out) = self.gate.pass() {
            self.is_failing = true;
            tracing::warn!(left_out, "remote_write to {}: {why}", place(&self.endpoint.url));
        }
    }

    fn rejoice(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("remote_write to {}: values are taken again", place(&self.endpoint.url));
        }
    }
}

/// What an answer means by the protocol: 5xx and 429 are tried again, others are not.
fn judge(outcome: Result<Answer, ClientError>) -> Fate {
    let answer = match outcome {
        Ok(answer) => answer,
        // What it says holds the path.
        Err(ClientError::Request(_)) => {
            return Fate::Refused("the request has an address or a header that can't be sent".into());
        }
        Err(e) => return Fate::Again(e.to_string(), None),
    };
    let said = shown(&answer);
    let help = match answer.status.as_u16() {
        200..=299 => return Fate::Taken,
        429 | 500..=599 => return Fate::Again(said, retry_after(&answer.headers)),
        401 | 403 => "look at username and password, bearer_token_file, headers",
        404 | 405 => {
            "look at url: nothing is put behind it, and Prometheus takes values only with --web.enable-remote-write-receiver"
        }
        300..=399 => "look at url: a redirect is not followed",
        _ => return Fate::Refused(said),
    };
    Fate::Refused(format!("{said}. What helps: {help}"))
}
