//! `http`: events in the bodies of HTTP requests; the tag is the path.
//!
//! A request on its way: `service` judges its head and reads its body, `query` and `form` find its parameters, `events`
//! makes one batch of it, and `service` answers once the batch is stored. One request is one batch and one emit.

mod cors;
mod events;
mod form;
mod params;
mod query;
mod reply;
mod service;
#[cfg(test)]
mod tests;
mod time;

use std::sync::Arc;

use crate::config::Diagnostic;
use crate::net::accept::{Listener, Options, Peer, serve};
use crate::net::http::{ServerLimits, serve_connection};
use crate::net::tls::{ServerTls, Stream};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

#[cfg(any(test, fuzzing))]
pub(crate) use events::take_any;
pub use params::HttpParams;
use params::Settings;
use service::Service;

/// The input.
pub struct Http {
    params: HttpParams,
    settings: Arc<Settings>,
    process: Arc<Process>,
    opened: Option<(std::net::TcpListener, Option<ServerTls>)>,
}

impl Configure for Http {
    type Config = HttpParams;

    fn new(params: HttpParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        params.check(cx)?;
        let settings = Arc::new(Settings::new(&params, cx)?);
        Ok(Http { params, settings, process: cx.process.clone(), opened: None })
    }
}

impl Input for Http {
    const ACKNOWLEDGES: bool = true;

    async fn open(&mut self) -> Result<(), InputError> {
        let params = &self.params;
        let tls = ServerTls::open_if_wanted(&params.transport, &self.process.hostname)?;
        let listener = self.process.sockets.tcp(&params.bind, params.port, params.backlog)?;
        tracing::info!("listening http bind={:?} port={}", params.bind, params.port);
        if let Some(warning) = params.exposed() {
            tracing::warn!("{warning}");
        }
        self.opened = Some((listener, tls));
        Ok(())
    }

    async fn run(mut self, emit: Emitter, mut stop: Stop) -> Result<(), InputError> {
        let Some((listener, tls)) = self.opened.take() else {
            return Err(InputError("in_http was not opened".into()));
        };
        let mut options = Options::new(self.settings.name.clone());
        options.tls = tls;
        options.receive_buffer = self.params.transport.receive_buffer_size.map(|size| size.len());
        let limits = ServerLimits { keepalive_timeout: self.params.keepalive(), ..ServerLimits::default() };
        let service = Arc::new(Service::new(self.settings.clone(), emit));
        let told = stop.clone();
        let handler = move |stream, peer| handle(stream, peer, limits, service.clone(), told.clone());
        serve(Listener::try_from(listener)?, options, async move { stop.wait().await }, handler).await;
        Ok(())
    }
}

async fn handle(stream: Stream, peer: Peer, limits: ServerLimits, service: Arc<Service>, mut stop: Stop) {
    let answer = |request| service.answer(request, peer);
    serve_connection(stream, limits, async { stop.wait().await }, answer).await;
}
