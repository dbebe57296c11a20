//! `opentelemetry`: logs by the OpenTelemetry protocol, over HTTP (protobuf and JSON). Parameters are those of
//! fluent-plugin-opentelemetry.
//!
//! Each log record becomes an event, with its resource and scope in it. A request is answered once all of its events are
//! stored: one request is one batch and one emit.

mod params;
mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::config::Diagnostic;
use crate::net::accept::{Listener, Options, Peer, serve};
use crate::net::http::{ServerLimits, serve_connection};
use crate::net::tls::{ServerTls, Stream};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

pub use params::OpentelemetryParams;
use params::Settings;
use service::Service;

/// The input.
pub struct Opentelemetry {
    params: OpentelemetryParams,
    settings: Arc<Settings>,
    process: Arc<Process>,
    opened: Option<(std::net::TcpListener, Option<ServerTls>)>,
}

impl Configure for Opentelemetry {
    type Config = OpentelemetryParams;

    fn new(params: OpentelemetryParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        params.check(cx)?;
        let settings = Arc::new(params.settings(cx.section.id().unwrap_or("opentelemetry")));
        Ok(Opentelemetry { params, settings, process: cx.process.clone(), opened: None })
    }
}

impl Input for Opentelemetry {
    const ACKNOWLEDGES: bool = true;

    async fn open(&mut self) -> Result<(), InputError> {
        let (http, transport) = (self.params.http(), &self.params.transport);
        let tls = match transport.is_tls() {
            true => Some(ServerTls::open(transport, &self.process.hostname)?),
            false => None,
        };
        let listener = self.process.sockets.tcp(&http.bind, http.port, None)?;
        tracing::info!("listening opentelemetry http bind={:?} port={}", http.bind, http.port);
        if let Some(warning) = self.params.exposed() {
            tracing::warn!("{warning}");
        }
        self.opened = Some((listener, tls));
        Ok(())
    }

    async fn run(mut self, emit: Emitter, mut stop: Stop) -> Result<(), InputError> {
        let Some((listener, tls)) = self.opened.take() else {
            return Err(InputError("opentelemetry was not opened".into()));
        };
        let mut options = Options::new(self.settings.name.clone());
        options.tls = tls;
        let service = Arc::new(Service::new(self.settings.clone(), emit));
        let told = stop.clone();
        let handler = move |stream, _: Peer| handle(stream, service.clone(), told.clone());
        serve(Listener::try_from(listener)?, options, async move { stop.wait().await }, handler).await;
        Ok(())
    }
}

async fn handle(stream: Stream, service: Arc<Service>, mut stop: Stop) {
    let answer = |request| service.answer(request);
    serve_connection(stream, ServerLimits::default(), async { stop.wait().await }, answer).await;
}
