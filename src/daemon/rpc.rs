//! The control API of `<system> rpc_endpoint`: Fluentd's paths, by GET.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::Command;
use crate::config::{Section, Settings, looks_secret};
use crate::net::Sockets;
use crate::net::http::{ServerLimits, ServerResponse, is_for_loopback, is_from_a_page, respond, serve_connection};
use crate::net::tls::Stream;
use crate::plugin::Stop;

/// Connections at once; more wait.
const MAX_CONNECTIONS: usize = 32;
/// How long an answer may wait for the client to read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the control API where the settings ask for one.
///
/// Errors: an endpoint that is no address or can't be bound.
pub fn start(
    settings: &Settings,
    root: &Section,
    commands: mpsc::Sender<Command>,
    stop: Stop,
) -> Result<Option<JoinHandle<()>>, String> {
    let Some(endpoint) = &settings.rpc_endpoint else { return Ok(None) };
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts.ok_or_else(|| format!("rpc_endpoint {endpoint:?} is not host:port"))?;
    let listener = Sockets::new().tcp(host, port, None).and_then(TcpListener::from_std);
    let listener = listener.map_err(|e| format!("rpc_endpoint: {e}"))?;
    let dump = settings.enable_get_dump.then(|| root.to_fluentd_text(&looks_secret));
    let is_local = listener.local_addr().is_ok_and(|a| a.ip().is_loopback());
    let api = Arc::new(Api { commands, dump, is_local });
    Ok(Some(tokio::spawn(accept(listener, api, stop))))
}

struct Api {
    commands: mpsc::Sender<Command>,
    dump: Option<String>,
    /// Bound to a loopback address: no other name than this host's own can be meant.
    is_local: bool,
}

async fn accept(listener: TcpListener, api: Arc<Api>, mut stop: Stop) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Some(accepted) = stop.or(listener.accept()).await else { break };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let api = api.clone();
        tasks.spawn(async move {
            serve(stream, api).await;
            drop(permit);
        });
        while tasks.try_join_next().is_some() {}
    }
    tasks.shutdown().await;
}

async fn serve(stream: TcpStream, api: Arc<Api>) {
    let limits = ServerLimits { write_timeout: WRITE_TIMEOUT, ..ServerLimits::default() };
    let answer = |request: Request<Incoming>| std::future::ready(api.answer(&request));
    // The stop cuts all connections at once: their answers are made without a wait.
    serve_connection(Stream::Plain(stream), limits, std::future::pending(), answer).await;
}

impl Api {
    fn answer(&self, request: &Request<Incoming>) -> ServerResponse {
        let foreign = self.is_local && !is_for_loopback(request.headers());
        if foreign || is_from_a_page(request.headers()) {
            return json(StatusCode::FORBIDDEN, r#"{"ok":false,"message":"not for web pages"}"#.into());
        }
        if request.method() != Method::GET {
            return json(StatusCode::METHOD_NOT_ALLOWED, r#"{"ok":false,"message":"use GET"}"#.into());
        }
        let commands = HashMap::from([
            ("/api/processes.interruptWorkers", Command::Stop),
            ("/api/processes.killWorkers", Command::Stop),
            ("/api/processes.flushBuffersAndKillWorkers", Command::FlushAndStop),
            ("/api/processes.zeroDowntimeRestart", Command::Reload),
            ("/api/plugins.flushBuffers", Command::Flush),
            ("/api/config.reload", Command::Reload),
            ("/api/config.gracefulReload", Command::Reload),
        ]);
        let path = request.uri().path().trim_end_matches('/');
        match (path, commands.get(path)) {
            (_, Some(command)) => self.send(*command),
            ("/api/config.dump", _) => ok(),
            ("/api/config.getDump", _) => self.get_dump(),
            _ => json(StatusCode::NOT_FOUND, r#"{"ok":false,"message":"not found"}"#.into()),
        }
    }

    fn send(&self, command: Command) -> ServerResponse {
        match self.commands.try_send(command) {
            Ok(()) => ok(),
            Err(_) => json(StatusCode::SERVICE_UNAVAILABLE, r#"{"ok":false,"message":"busy"}"#.into()),
        }
    }

    fn get_dump(&self) -> ServerResponse {
        match &self.dump {
            Some(text) => json(StatusCode::OK, serde_json::json!({ "ok": true, "conf": text }).to_string()),
            None => json(StatusCode::NOT_FOUND, r#"{"ok":false,"message":"set enable_get_dump in <system>"}"#.into()),
        }
    }
}

fn ok() -> ServerResponse {
    json(StatusCode::OK, r#"{"ok":true}"#.into())
}

fn json(status: StatusCode, body: String) -> ServerResponse {
    respond(status, HeaderValue::from_static("application/json"), body)
}
