//! Parameters of the output `opentelemetry`, and what is wrong with them.

use std::path::PathBuf;
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::rpc::Rpc;
use super::{HttpWire, Shape, Wire};
use crate::config::{Diagnostic, Pairs, Secret};
use crate::net::http::{ClientOptions, Proxy};
use crate::net::otlp::EXPORT;
use crate::net::tls::{ClientSettings, Verify, Version, Versions};
use crate::output::service::Web;
use crate::plugin::BuildContext;
use crate::plugin::web::{address, by_key};

/// Variables that name a proxy, where the configuration does not.
const PROXY_VARIABLES: [&str; 2] = ["HTTP_PROXY", "http_proxy"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Compress {
    #[default]
    Text,
    Gzip,
}

/// `<http>`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct HttpParams {
    /// Where to send; `/v1/logs` is put behind it.
    endpoint: String,
    /// An HTTP proxy; by default that of `HTTP_PROXY` or `http_proxy`.
    proxy: Option<Secret>,
    /// Whether a chunk that is answered with an error goes to the secondary or is set aside; else it counts as delivered.
    error_response_as_unrecoverable: bool,
    /// Statuses after which it is sent again.
    retryable_response_codes: Vec<u16>,
    /// `text` or `gzip`.
    compress: Compress,
    /// Seconds that the server may say nothing.
    read_timeout: u64,
    /// Seconds that it may take nothing.
    write_timeout: Option<u64>,
    /// Seconds for connecting.
    connect_timeout: u64,
    /// Headers to send.
    headers: Pairs,
}

/// `<grpc>`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct GrpcParams {
    /// Where to send, as HOST:PORT or as a URL; `https://` speaks TLS, and so does any with `<transport tls>`.
    endpoint: String,
    /// `text` or `gzip`.
    compress: Compress,
    /// Seconds that the server may say nothing.
    read_timeout: u64,
    /// Seconds for connecting.
    connect_timeout: u64,
    /// Metadata to send.
    headers: Pairs,
}

impl Default for GrpcParams {
    fn default() -> GrpcParams {
        GrpcParams {
            endpoint: "127.0.0.1:4317".into(),
            compress: Compress::default(),
            read_timeout: 60,
            connect_timeout: 60,
            headers: Pairs::default(),
        }
    }
}

impl Default for HttpParams {
    fn default() -> HttpParams {
        HttpParams {
            endpoint: "http://127.0.0.1:4318".into(),
            proxy: None,
            error_response_as_unrecoverable: true,
            retryable_response_codes: vec![429, 502, 503, 504],
            compress: Compress::default(),
            read_timeout: 60,
            write_timeout: None,
            connect_timeout: 60,
            headers: Pairs::default(),
        }
    }
}

/// `<transport tls>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TransportParams {
    /// `tls`; it follows from the endpoint.
    #[serde(rename = "$arg")]
    protocol: Option<String>,
    /// The client's certificate.
    cert_path: Option<PathBuf>,
    /// Its private key.
    private_key_path: Option<PathBuf>,
    /// The key's passphrase.
    private_key_passphrase: Option<Secret>,
    /// Authorities to trust instead of the system's.
    ca_path: Option<PathBuf>,
    /// Whether the server's certificate is not checked.
    insecure: bool,
    /// The lowest version.
    min_version: Option<Version>,
    /// The highest.
    max_version: Option<Version>,
}

/// Parameters of the output `opentelemetry`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct OpentelemetryParams {
    /// OTLP over HTTP.
    http: Option<HttpParams>,
    /// OTLP over gRPC.
    grpc: Option<GrpcParams>,
    /// TLS.
    transport: TransportParams,
    /// The field that becomes the body; the other ones become attributes.
    body_key: String,
    /// The field with the level.
    severity_key: Option<String>,
    /// Attributes of the resource.
    resource_attributes: Pairs,
}

impl Default for OpentelemetryParams {
    fn default() -> OpentelemetryParams {
        OpentelemetryParams {
            http: None,
            grpc: None,
            transport: TransportParams::default(),
            body_key: "message".into(),
            severity_key: None,
            resource_attributes: Pairs::default(),
        }
    }
}

fn seconds(value: u64) -> Duration {
    Duration::from_secs(value.max(1))
}

impl HttpParams {
    fn address(&self, cx: &BuildContext<'_>) -> Result<Url, Diagnostic> {
        address(&format!("{}/v1/logs", self.endpoint.trim_end_matches('/')), "endpoint", cx)
    }

    fn headers(&self, cx: &BuildContext<'_>) -> Result<HeaderMap, Diagnostic> {
        let mut headers = by_key(&self.headers, "headers", cx)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        Ok(headers)
    }
}

impl OpentelemetryParams {
    /// How requests are sent.
    pub(super) fn wire(&self, cx: &BuildContext<'_>) -> Result<Wire, Diagnostic> {
        match (&self.http, &self.grpc) {
            (Some(http), None) => Ok(Wire::Http(HttpWire {
                web: self.web(http, cx)?,
                url: http.address(cx)?,
                headers: http.headers(cx)?,
                retryable: http.retryable_response_codes.clone(),
                reject_errors: http.error_response_as_unrecoverable,
            })),
            (None, Some(grpc)) => Ok(Wire::Grpc(self.rpc(grpc, cx)?)),
            (Some(_), Some(_)) => Err(cx.fault("grpc", "Please configure either <http> or <grpc> section, not both.")),
            (None, None) => Err(cx.fault("http", "Please configure either <http> or <grpc> section.")),
        }
    }

    fn rpc(&self, grpc: &GrpcParams, cx: &BuildContext<'_>) -> Result<Rpc, Diagnostic> {
        let secure = self.transport.protocol.is_some();
        let place = match grpc.endpoint.contains("://") {
            true => grpc.endpoint.clone(),
            false => format!("{}://{}", if secure { "https" } else { "http" }, grpc.endpoint),
        };
        let url = address(&format!("{}{EXPORT}", place.trim_end_matches('/')), "endpoint", cx)?;
        let tls = ClientSettings { alpn: &["h2"], ..self.tls(cx)? };
        let options = ClientOptions {
            connect_timeout: seconds(grpc.connect_timeout),
            tls_timeout: seconds(grpc.connect_timeout),
            read_timeout: seconds(grpc.read_timeout),
            ..ClientOptions::default()
        };
        let headers = by_key(&grpc.headers, "headers", cx)?;
        let tls = (url.scheme() == "https").then_some(tls);
        Ok(Rpc::new(url, headers, options, tls, grpc.compress == Compress::Gzip))
    }

    fn tls(&self, cx: &BuildContext<'_>) -> Result<ClientSettings, Diagnostic> {
        let transport = &self.transport;
        if transport.protocol.as_deref().is_some_and(|protocol| protocol != "tls") {
            return Err(cx.fault("transport", "<transport> is written <transport tls>"));
        }
        let settings = ClientSettings {
            verify: Verify { nothing: transport.insecure, ..Verify::default() },
            ca_paths: transport.ca_path.iter().cloned().collect(),
            system_roots: transport.ca_path.is_none(),
            cert_path: transport.cert_path.clone(),
            private_key_path: transport.private_key_path.clone(),
            private_key_passphrase: transport.private_key_passphrase.clone(),
            versions: Versions {
                only: None,
                min: transport.min_version.or(transport.max_version.map(|_| Version::Tls12)),
                max: transport.max_version.or(transport.min_version.map(|_| Version::Tls13)),
            },
            ciphers: None,
            alpn: &[],
        };
        settings.check().map_err(|f| cx.fault("transport", f.message))?;
        Ok(settings)
    }

    fn web(&self, http: &HttpParams, cx: &BuildContext<'_>) -> Result<Web, Diagnostic> {
        let settings = self.tls(cx)?;
        let proxy = match &http.proxy {
            Some(proxy) => Some(proxy.expose().to_owned()),
            None => PROXY_VARIABLES.iter().find_map(|name| std::env::var(name).ok()),
        };
        let proxy = proxy.filter(|p| !p.is_empty()).map(|p| Proxy::parse(&p)).transpose();
        let options = ClientOptions {
            connect_timeout: seconds(http.connect_timeout),
            tls_timeout: seconds(http.connect_timeout),
            // One wait stands for both ways.
            read_timeout: seconds(http.read_timeout.max(http.write_timeout.unwrap_or(0))),
            proxy: proxy.map_err(|e| cx.fault("http", e))?,
            ..ClientOptions::default()
        };
        let tls = http.endpoint.starts_with("https://");
        Ok(Web::new(options, tls.then_some(settings), http.compress == Compress::Gzip))
    }

    pub(super) fn shape(&self, cx: &mut BuildContext<'_>) -> Result<Shape, Diagnostic> {
        let resource = self.resource_attributes.iter().map(|pair| (pair.name.clone(), pair.text().to_owned()));
        Ok(Shape {
            body: self.body_key.clone(),
            severity: self.severity_key.clone(),
            resource: resource.collect(),
            inject: cx.inject()?,
        })
    }
}
