//! Parameters of `<remote_write>`, and what is wrong with them.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::Endpoint;
use crate::config::{Diagnostic, Pairs, Secret, TimeSpan};
use crate::net::http::{ClientOptions, Proxy};
use crate::plugin::web::{LoginParams, address, by_key};
use crate::plugin::{BuildContext, TlsParams};

/// Time between two pushes, in seconds: what Prometheus servers commonly scrape in.
const INTERVAL: f64 = 15.0;
/// Shortest time between two pushes.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// How long an exchange may take, in seconds.
const TIMEOUT: f64 = 10.0;
/// The label `job` where nothing else is said.
const JOB: &str = "suiro";

/// `<remote_write>`
#[derive(Debug, Deserialize)]
pub struct RemoteParams {
    /// Where to push, whole: `http://host:9090/api/v1/write`.
    url: String,
    /// Time between two pushes.
    #[serde(default = "interval")]
    interval: TimeSpan,
    /// How long one may take.
    #[serde(default = "timeout")]
    timeout: TimeSpan,
    /// Labels that all series get. By default `instance` is the host's name and `job` is `suiro`; one without a value is not sent.
    #[serde(default)]
    labels: Pairs,
    /// Headers to send.
    #[serde(default)]
    headers: Pairs,
    /// A proxy for everything.
    proxy: Option<Secret>,
    /// How to log in.
    #[serde(rename = "$same_login")]
    login: LoginParams,
    /// Whom to trust and whom to be.
    #[serde(rename = "$same_tls")]
    tls: TlsParams,
}

fn interval() -> TimeSpan {
    TimeSpan::secs(INTERVAL)
}

fn timeout() -> TimeSpan {
    TimeSpan::secs(TIMEOUT)
}

impl RemoteParams {
    /// Where and how to push. Nothing is opened.
    pub(super) fn endpoint(self, cx: &mut BuildContext<'_>) -> Result<Endpoint, Diagnostic> {
        let (url, interval, timeout) =
            (address(&self.url, "url", cx)?, self.interval.duration(), self.timeout.duration());
        if interval < LEAST_INTERVAL {
            return Err(cx.fault("interval", format!("interval must be {LEAST_INTERVAL:?} or more")));
        }
        if timeout.is_zero() {
            return Err(cx.fault("timeout", "timeout must be more than 0"));
        }
        let mut headers = by_key(&self.headers, "headers", cx)?;
        headers.extend(fixed());
        let token = self.login.prove(&mut headers, cx)?;
        let plain = (url.scheme() == "http").then_some("url is not https");
        let proxy = self.proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose();
        let options = ClientOptions {
            connect_timeout: timeout,
            tls_timeout: timeout,
            read_timeout: timeout,
            proxy: proxy.map_err(|e| cx.fault("proxy", e))?,
            ..ClientOptions::default()
        };
        Ok(Endpoint {
            labels: self.labels(cx)?,
            tls: self.tls.settings(plain, cx)?,
            url,
            interval,
            timeout,
            headers,
            token,
            options,
        })
    }

    fn labels(&self, cx: &BuildContext<'_>) -> Result<Vec<(String, String)>, Diagnostic> {
        let defaults = [("instance", cx.process.hostname.as_str()), ("job", JOB)];
        let mut labels = BTreeMap::from(defaults.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for pair in &self.labels {
            if !is_name(&pair.name) {
                let remedy = "write letters, digits and '_', no digit and no '__' at the beginning";
                let why = format!("{:?} can't be the name of a label; {remedy}", pair.name);
                return Err(Diagnostic::error(why, &pair.span));
            }
            labels.insert(pair.name.clone(), pair.text().to_owned());
        }
        labels.retain(|_, value| !value.is_empty());
        Ok(labels.into_iter().collect())
    }
}

/// The headers that the protocol asks for.
fn fixed() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf")),
        (CONTENT_ENCODING, HeaderValue::from_static("snappy")),
        (HeaderName::from_static("x-prometheus-remote-write-version"), HeaderValue::from_static("0.1.0")),
    ])
}

/// Names with two `_` at the beginning are Prometheus' own.
fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(known)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.starts_with("__")
        && !name.is_empty()
}
