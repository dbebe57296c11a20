//! `prometheus`: the ledger and the outputs' counts for a Prometheus server to fetch (fluent-plugin-prometheus'
//! `in_prometheus`), and pushed by remote write where `<remote_write>` says so.

mod metrics;
mod presence;
mod remote_write;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;

pub use self::presence::Presence;

use self::remote_write::{Endpoint, Writer};
use crate::config::{Diagnostic, Section};
use crate::net::accept::{self, Listener, Options};
use crate::net::http::{ServerLimits, ServerResponse, is_from_a_page, respond, serve_connection};
use crate::net::tls::{Protocol, ServerTls, Stream, Transport};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

/// Connections at a time; more wait.
const MAX_CONNECTIONS: usize = 32;
/// How long an answer may wait for the client to read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Parameters of `in_prometheus`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct PrometheusParams {
    /// Address to listen on. The plugin's default is 0.0.0.0; here others read the counts only when `bind` says so.
    bind: String,
    /// Port to listen on.
    port: u16,
    /// Path of the metrics.
    metrics_path: String,
    /// Path of the metrics of all workers: one process does the work of all, so they are the same.
    aggregated_metrics_path: String,
    /// TLS.
    transport: Transport,
    /// Where to push what is shown, too.
    remote_write: Vec<Section>,
}

impl Default for PrometheusParams {
    fn default() -> Self {
        PrometheusParams {
            bind: "127.0.0.1".into(),
            port: 24231,
            metrics_path: "/metrics".into(),
            aggregated_metrics_path: "/aggregated_metrics".into(),
            transport: Transport::default(),
            remote_write: Vec::new(),
        }
    }
}

/// The input.
pub struct Prometheus {
    params: PrometheusParams,
    name: String,
    process: Arc<Process>,
    endpoints: Vec<Endpoint>,
    writers: Vec<Writer>,
    opened: Option<(std::net::TcpListener, Option<ServerTls>)>,
}

impl Configure for Prometheus {
    type Config = PrometheusParams;

    fn new(params: PrometheusParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if params.transport.protocol == Some(Protocol::Udp) {
            return Err(cx.fault("transport", "HTTP has no udp transport. Use tcp or tls"));
        }
        for (name, path) in
            [("metrics_path", &params.metrics_path), ("aggregated_metrics_path", &params.aggregated_metrics_path)]
        {
            if !path.starts_with('/') {
                return Err(cx.fault(name, format!("{name} must begin with '/', as \"/metrics\" does")));
            }
        }
        cx.check_transport(&params.transport)?;
        let name = cx.section.id().unwrap_or("prometheus").to_owned();
        let endpoints =
            params.remote_write.iter().map(|section| Endpoint::new(section, cx)).collect::<Result<_, _>>()?;
        Ok(Prometheus { params, name, process: cx.process.clone(), endpoints, writers: Vec::new(), opened: None })
    }
}

impl Input for Prometheus {
    async fn open(&mut self) -> Result<(), InputError> {
        let params = &self.params;
        let tls = ServerTls::open_if_wanted(&params.transport, &self.process.hostname)?;
        for endpoint in std::mem::take(&mut self.endpoints) {
            self.writers.push(Writer::open(endpoint, self.process.clone())?);
        }
        self.opened = Some((self.process.sockets.tcp(&params.bind, params.port, None)?, tls));
        Ok(())
    }

    async fn run(mut self, _emit: Emitter, stop: Stop) -> Result<(), InputError> {
        let Some((listener, tls)) = self.opened.take() else {
            return Err(InputError("in_prometheus was not opened".into()));
        };
        let options = Options { max_connections: MAX_CONNECTIONS, tls, ..Options::new(self.name.clone()) };
        let pushing = join_all(self.writers.into_iter().map(|writer| writer.run(stop.clone())));
        let (told, mut ended) = (stop.clone(), stop);
        let api = Arc::new(Api { process: self.process, params: self.params });
        let handler = move |stream, _| serve(stream, api.clone(), told.clone());
        let serving = accept::serve(Listener::try_from(listener)?, options, async move { ended.wait().await }, handler);
        join(serving, pushing).await;
        Ok(())
    }
}

/// What answers.
struct Api {
    process: Arc<Process>,
    params: PrometheusParams,
}

async fn serve(stream: Stream, api: Arc<Api>, mut stop: Stop) {
    let limits = ServerLimits { write_timeout: WRITE_TIMEOUT, ..ServerLimits::default() };
    let answer = |request: Request<Incoming>| std::future::ready(api.answer(&request));
    serve_connection(stream, limits, async { stop.wait().await }, answer).await;
}

impl Api {
    fn answer(&self, request: &Request<Incoming>) -> ServerResponse {
        let paths = [&self.params.metrics_path, &self.params.aggregated_metrics_path];
        match (request.method(), paths.iter().any(|path| *path == request.uri().path())) {
            _ if is_from_a_page(request.headers()) => plain(StatusCode::FORBIDDEN, "not for web pages\n".into()),
            (&Method::GET, true) => match metrics::text(&self.process) {
                Ok(text) => plain(StatusCode::OK, text),
                Err(e) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
            },
            _ => plain(StatusCode::NOT_FOUND, format!("the metrics are at {}\n", self.params.metrics_path)),
        }
    }
}

fn plain(status: StatusCode, text: String) -> ServerResponse {
    respond(status, HeaderValue::from_static(metrics::CONTENT_TYPE), text)
}
