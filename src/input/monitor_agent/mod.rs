//! `monitor_agent`: the running plugins over HTTP, and as events (lib/fluent/plugin/in_monitor_agent.rb).

mod http;
mod query;
mod rows;
mod text;

use std::sync::Arc;

use serde::Deserialize;

use self::http::Api;
use self::query::Shown;
use super::wire::deliver;
use crate::config::{Diagnostic, TimeSpan};
use crate::event::{Arena, BatchBuilder, EventTime, Tag};
use crate::net::accept::{self, Listener, Options};
use crate::net::tls::{Protocol, ServerTls, Transport};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

/// Connections at a time; more wait.
const MAX_CONNECTIONS: usize = 32;

/// Parameters of `in_monitor_agent`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct MonitorParams {
    /// Address to listen on. Fluentd's default is 0.0.0.0, which shows the configuration to anybody who can reach the
    /// host; here others see it only when `bind` says so.
    bind: String,
    /// Port to listen on, of the first worker; the next ones follow.
    port: u16,
    /// Tag of events about the plugins. Without it there are none.
    tag: Option<String>,
    /// Time between those events.
    emit_interval: TimeSpan,
    /// Whether plugins are shown with their parameters. Secrets are masked.
    include_config: bool,
    /// Whether outputs are shown with their retries.
    include_retry: bool,
    /// Whether `?debug=1` gives indented JSON. Fluentd's instance variables do not exist here.
    include_debug_info: bool,
    /// TLS.
    transport: Transport,
}

impl Default for MonitorParams {
    fn default() -> Self {
        MonitorParams {
            bind: "127.0.0.1".into(),
            port: 24220,
            tag: None,
            emit_interval: TimeSpan::secs(60.0),
            include_config: false,
            include_retry: false,
            include_debug_info: true,
            transport: Transport::default(),
        }
    }
}

/// The input.
pub struct MonitorAgent {
    params: MonitorParams,
    name: String,
    process: Arc<Process>,
    opened: Option<(std::net::TcpListener, Option<ServerTls>)>,
}

impl Configure for MonitorAgent {
    type Config = MonitorParams;

    fn new(params: MonitorParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if params.transport.protocol == Some(Protocol::Udp) {
            return Err(cx.fault("transport", "HTTP has no udp transport. Use tcp or tls"));
        }
        if params.tag.is_some() && params.emit_interval.duration().is_zero() {
            return Err(cx.fault("emit_interval", "emit_interval must be more than 0"));
        }
        cx.check_transport(&params.transport)?;
        let name = cx.section.id().unwrap_or("monitor_agent").to_owned();
        Ok(MonitorAgent { params, name, process: cx.process.clone(), opened: None })
    }
}

impl Input for MonitorAgent {
    async fn open(&mut self) -> Result<(), InputError> {
        let params = &self.params;
        let tls = ServerTls::open_if_wanted(&params.transport, &self.process.hostname)?;
        // Port 0 is for tests.
        let worker = if params.port == 0 { 0 } else { u16::try_from(self.process.worker_id).unwrap_or(0) };
        let port = params.port.saturating_add(worker);
        self.opened = Some((self.process.sockets.tcp(&params.bind, port, None)?, tls));
        tracing::debug!("listening monitoring http server on http://{}:{port}/api/plugins", params.bind);
        Ok(())
    }

    async fn run(mut self, emit: Emitter, stop: Stop) -> Result<(), InputError> {
        let Some((listener, tls)) = self.opened.take() else {
            return Err(InputError("in_monitor_agent was not opened".into()));
        };
        let shown = Shown {
            config: self.params.include_config,
            retry: self.params.include_retry,
            debug: self.params.include_debug_info,
        };
        let api = Arc::new(Api { process: self.process.clone(), shown });
        let options = Options { max_connections: MAX_CONNECTIONS, tls, ..Options::new(self.name.clone()) };
        let (told, mut ended) = (stop.clone(), stop.clone());
        let handler = move |stream, _| http::serve(stream, api.clone(), told.clone());
        let serving = accept::serve(Listener::try_from(listener)?, options, async move { ended.wait().await }, handler);
        tokio::join!(serving, self.emit(emit, stop));
        Ok(())
    }
}

impl MonitorAgent {
    async fn emit(&self, emit: Emitter, mut stop: Stop) {
        let Some(tag) = self.params.tag.as_deref().map(Tag::from) else { return };
        let every = self.params.emit_interval.duration();
        while stop.or(tokio::time::sleep(every)).await.is_some() {
            let (arena, now) = (Arena::new(), EventTime::now());
            let mut builder = BatchBuilder::new();
            let views = self.process.inspect().map(|view| view.plugins()).unwrap_or_default();
            views.iter().for_each(|view| builder.push(now, &rows::row(view, Shown::default(), &arena)));
            deliver(builder.finish(tag.clone()), &emit, &mut stop).await;
        }
    }
}

#[cfg(test)]
mod tests;
