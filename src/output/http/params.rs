//! Parameters of `out_http`, and what is wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::auth::AuthParams;
use crate::config::{Diagnostic, Pairs, Secret};
use crate::net::http::{ClientOptions, Proxy};
use crate::net::tls::{ClientSettings, Verify, Version, Versions};
use crate::plugin::{BuildContext, Template, VerifyMode};

/// Ruby's wait for connections and answers, in seconds, where the configuration says nothing.
const DEFAULT_TIMEOUT: u64 = 60;

/// Fluentd's status that is tried again, where the configuration says nothing.
const RETRYABLE: u16 = 503;

/// Variables that name a proxy, where the configuration does not.
const PROXY_VARIABLES: [&str; 2] = ["HTTP_PROXY", "http_proxy"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HttpMethod {
    Put,
    #[default]
    Post,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Compress {
    #[default]
    Text,
    Gzip,
}

/// Parameters of `out_http`.
#[derive(Debug, Deserialize)]
pub struct HttpParams {
    /// Where to send; placeholders may stand behind the host.
    pub(super) endpoint: String,
    /// `put` or `post`.
    #[serde(default)]
    http_method: HttpMethod,
    /// An HTTP proxy, as `http://user:password@host:port`; by default that of `HTTP_PROXY` or `http_proxy`.
    proxy: Option<Secret>,
    /// Type of the body; by default that of the formatter.
    content_type: Option<String>,
    /// Send one JSON array instead of a line for each event.
    #[serde(default)]
    pub(super) json_array: bool,
    /// Headers to send.
    #[serde(default)]
    headers: Pairs,
    /// Headers to send, with placeholders.
    #[serde(default)]
    headers_from_placeholders: Pairs,
    /// `text` or `gzip`.
    #[serde(default)]
    compress: Compress,
    /// Hosts that a placeholder in the host part may come to.
    #[serde(default)]
    pub(super) allowed_hosts: Vec<String>,
    /// Seconds for connecting.
    open_timeout: Option<u64>,
    /// Seconds that the target may be silent.
    read_timeout: Option<u64>,
    /// Seconds for the TLS handshake.
    ssl_timeout: Option<u64>,
    /// Whether connections are kept and used again.
    #[serde(default)]
    reuse_connections: bool,
    /// Authorities to trust instead of the system's.
    tls_ca_cert_path: Option<PathBuf>,
    /// The client's certificate.
    tls_client_cert_path: Option<PathBuf>,
    /// Its private key.
    tls_private_key_path: Option<PathBuf>,
    /// The key's passphrase.
    tls_private_key_passphrase: Option<Secret>,
    /// `peer`, or `none` for no check at all.
    #[serde(default)]
    tls_verify_mode: VerifyMode,
    /// The one version to speak; by default TLS 1.2 and 1.3.
    tls_version: Option<Version>,
    /// Suites of TLS 1.2, as an OpenSSL cipher string.
    tls_ciphers: Option<String>,
    /// Whether a chunk that is answered with an error goes to the secondary or is set aside; else it counts as delivered,
    /// and the error is logged.
    #[serde(default = "yes")]
    pub(super) error_response_as_unrecoverable: bool,
    /// Statuses after which a chunk is sent again.
    retryable_response_codes: Option<Vec<u16>>,
    /// How to prove who is sending.
    pub(super) auth: Option<AuthParams>,
}

fn yes() -> bool {
    true
}

impl HttpParams {
    pub(super) fn method(&self) -> Method {
        match self.http_method {
            HttpMethod::Put => Method::PUT,
            HttpMethod::Post => Method::POST,
        }
    }

    pub(super) fn gzip(&self) -> bool {
        self.compress == Compress::Gzip
    }

    pub(super) fn retryable(&self) -> Vec<u16> {
        self.retryable_response_codes.clone().unwrap_or_else(|| vec![RETRYABLE])
    }

    /// The type of the body, by the formatter where nothing is said.
    pub(super) fn content_type(&self, cx: &BuildContext<'_>) -> Result<HeaderValue, Diagnostic> {
        let format = cx.section.child("format").and_then(|f| f.plugin_type()).unwrap_or("json");
        if self.json_array && format != "json" {
            return Err(cx.fault("json_array", "json_array option could be used with json formatter only"));
        }
        if let Some(text) = &self.content_type {
            return HeaderValue::try_from(text).map_err(|e| cx.fault("content_type", e.to_string()));
        }
        let by_format = match format {
            "json" if self.json_array => "application/json",
            "json" => "application/x-ndjson",
            "csv" => "text/csv",
            "tsv" | "ltsv" => "text/tab-separated-values",
            "msgpack" => "application/x-msgpack",
            "out_file" | "single_value" | "stdout" | "hash" => "text/plain",
            _ => {
                let remedy = "can't determine Content-Type from formatter type. Set content_type parameter explicitly";
                return Err(cx.fault("content_type", remedy));
            }
        };
        Ok(HeaderValue::from_static(by_format))
    }

    pub(super) fn headers(&self, cx: &BuildContext<'_>) -> Result<HeaderMap, Diagnostic> {
        let mut headers = HeaderMap::new();
        for pair in &self.headers {
            let name = header_name(&pair.name, "headers", cx)?;
            let value = HeaderValue::try_from(pair.text());
            headers.insert(name, value.map_err(|e| cx.fault("headers", format!("header {:?}: {e}", pair.name)))?);
        }
        Ok(headers)
    }

    pub(super) fn templates(&self, cx: &BuildContext<'_>) -> Result<Vec<(HeaderName, Template)>, Diagnostic> {
        let parameter = "headers_from_placeholders";
        let each = self
            .headers_from_placeholders
            .iter()
            .map(|pair| Ok((header_name(&pair.name, parameter, cx)?, Template::new(pair.text(), parameter, cx)?)));
        each.collect()
    }

    /// Whom to trust and whom to be; `None` for a plain endpoint.
    pub(super) fn tls(&self, tls: bool, cx: &mut BuildContext<'_>) -> Result<Option<ClientSettings>, Diagnostic> {
        let settings = ClientSettings {
            verify: Verify { nothing: self.tls_verify_mode == VerifyMode::None, ..Verify::default() },
            ca_paths: self.tls_ca_cert_path.iter().cloned().collect(),
            system_roots: self.tls_ca_cert_path.is_none(),
            cert_path: self.tls_client_cert_path.clone(),
            private_key_path: self.tls_private_key_path.clone(),
            private_key_passphrase: self.tls_private_key_passphrase.clone(),
            versions: Versions { only: self.tls_version, ..Versions::default() },
            ciphers: self.tls_ciphers.clone(),
            alpn: &[],
        };
        let warnings = settings.check().map_err(|f| cx.fault(f.parameter, f.message))?;
        warnings.into_iter().for_each(|w| cx.warn(w.parameter, w.message));
        Ok(tls.then_some(settings))
    }

    /// Waits, proxy and reuse; TLS is added at the start.
    pub(super) fn client(&self, cx: &BuildContext<'_>) -> Result<ClientOptions, Diagnostic> {
        let seconds = |value: Option<u64>| Duration::from_secs(value.unwrap_or(DEFAULT_TIMEOUT).max(1));
        let proxy = match &self.proxy {
            Some(proxy) => Some(proxy.expose().to_owned()),
            None => PROXY_VARIABLES.iter().find_map(|name| std::env::var(name).ok()),
        };
        let proxy = proxy.filter(|p| !p.is_empty()).map(|p| Proxy::parse(&p)).transpose();
        Ok(ClientOptions {
            connect_timeout: seconds(self.open_timeout),
            tls_timeout: seconds(self.ssl_timeout),
            read_timeout: seconds(self.read_timeout),
            tls: None,
            proxy: proxy.map_err(|e| cx.fault("proxy", e))?,
            reuse: self.reuse_connections,
            ..ClientOptions::default()
        })
    }
}

fn header_name(name: &str, parameter: &str, cx: &BuildContext<'_>) -> Result<HeaderName, Diagnostic> {
    HeaderName::try_from(name).map_err(|_| cx.fault(parameter, format!("{name:?} can't be the name of a header")))
}
