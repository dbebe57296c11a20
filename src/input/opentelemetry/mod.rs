//! `opentelemetry`: logs by the OpenTelemetry protocol, over HTTP (protobuf and JSON) and over gRPC. Parameters are those of
//! fluent-plugin-opentelemetry.
//!
//! Each log record becomes an event, with its resource and scope in it. A request is answered once all of its events are
//! stored: one request is one batch and one emit.

mod params;
mod service;
#[cfg(test)]
mod tests;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;

use crate::config::Diagnostic;
use crate::net::accept::{Listener, Options, Peer, serve};
use crate::net::http::First;
use crate::net::tls::{ServerTls, Stream};
use crate::net::{grpc, http};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

pub use params::OpentelemetryParams;
use params::{Settings, Wire};
use service::Service;

/// How long a connection may say nothing at its beginning.
const SILENCE: Duration = Duration::from_secs(10);

/// The input.
pub struct Opentelemetry {
    params: OpentelemetryParams,
    settings: Arc<Settings>,
    process: Arc<Process>,
    opened: Vec<Door>,
}

/// A port that is bound.
struct Door {
    wire: Wire,
    listener: std::net::TcpListener,
    tls: Option<ServerTls>,
}

impl Configure for Opentelemetry {
    type Config = OpentelemetryParams;

    fn new(params: OpentelemetryParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        params.check(cx)?;
        let settings = Arc::new(params.settings(cx.section.id().unwrap_or("opentelemetry")));
        Ok(Opentelemetry { params, settings, process: cx.process.clone(), opened: Vec::new() })
    }
}

impl Input for Opentelemetry {
    const ACKNOWLEDGES: bool = true;

    async fn open(&mut self) -> Result<(), InputError> {
        let transport = &self.params.transport;
        for place in self.params.places() {
            let (name, alpn): (_, &[&str]) = match place.wire {
                Wire::Http => ("http", &[]),
                Wire::Grpc => ("grpc", &["h2"]),
            };
            let tls = match transport.is_tls() {
                true => Some(ServerTls::open_for(alpn, transport, &self.process.hostname)?),
                false => None,
            };
            let listener = self.process.sockets.tcp(&place.bind, place.port, None)?;
            tracing::info!("listening opentelemetry {name} bind={:?} port={}", place.bind, place.port);
            if let Some(warning) = self.params.exposed(&place) {
                tracing::warn!("{warning}");
            }
            self.opened.push(Door { wire: place.wire, listener, tls });
        }
        Ok(())
    }

    async fn run(mut self, emit: Emitter, stop: Stop) -> Result<(), InputError> {
        let service = Arc::new(Service::new(self.settings.clone(), emit));
        let doors = std::mem::take(&mut self.opened);
        if doors.is_empty() {
            return Err(InputError("opentelemetry was not opened".into()));
        }
        try_join_all(doors.into_iter().map(|door| self.stand_at(door, service.clone(), stop.clone()))).await?;
        Ok(())
    }
}

impl Opentelemetry {
    /// Serves what comes to one port.
    async fn stand_at(&self, door: Door, service: Arc<Service>, mut stop: Stop) -> Result<(), InputError> {
        let mut options = Options::new(self.settings.name.clone());
        options.tls = door.tls;
        let (listener, told, wire) = (Listener::try_from(door.listener)?, stop.clone(), door.wire);
        let handler = move |stream, _: Peer| handle(wire, stream, service.clone(), told.clone());
        serve(listener, options, async move { stop.wait().await }, handler).await;
        Ok(())
    }
}

async fn handle(wire: Wire, stream: Stream, service: Arc<Service>, mut stop: Stop) {
    let Some(Some(first)) = stop.or(First::of(&stream, SILENCE)).await else { return };
    let stopped = async { stop.wait().await };
    match (wire, first) {
        (Wire::Grpc, First::One) => {
            let answer = |_| ready(service.turn_away(wire));
            http::serve_connection(stream, http::ServerLimits::default(), stopped, answer).await;
        }
        // What HTTP/1.1 says to such a client, it takes for a broken connection.
        (Wire::Http, First::Two) => drop(service.turn_away(wire)),
        (Wire::Http, _) => {
            let answer = |request| service.answer(request);
            http::serve_connection(stream, http::ServerLimits::default(), stopped, answer).await;
        }
        (Wire::Grpc, _) => {
            let answer = |request, until| {
                let service = service.clone();
                async move { service.call(request, until).await }
            };
            grpc::serve_connection(stream, stopped, answer).await;
        }
    }
}
