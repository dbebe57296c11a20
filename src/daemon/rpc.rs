//! The control API of `<system> rpc_endpoint`: Fluentd's paths, by GET.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::Command;
use crate::config::{Section, Settings, looks_secret};
use crate::net::Sockets;
use crate::plugin::Stop;

/// Connections at once; more wait.
const MAX_CONNECTIONS: usize = 32;
/// Time for a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request head, in bytes.
const MAX_HEAD: usize = 16 << 10;

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
    let api = Arc::new(Api { commands, dump });
    Ok(Some(tokio::spawn(accept(listener, api, stop))))
}

struct Api {
    commands: mpsc::Sender<Command>,
    dump: Option<String>,
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
    let service = service_fn(|request: Request<Incoming>| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(&request)) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD);
    // A client that breaks off needs no word.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

impl Api {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
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

    fn send(&self, command: Command) -> Response<Full<Bytes>> {
        match self.commands.try_send(command) {
            Ok(()) => ok(),
            Err(_) => json(StatusCode::SERVICE_UNAVAILABLE, r#"{"ok":false,"message":"busy"}"#.into()),
        }
    }

    fn get_dump(&self) -> Response<Full<Bytes>> {
        match &self.dump {
            Some(text) => json(StatusCode::OK, serde_json::json!({ "ok": true, "conf": text }).to_string()),
            None => json(StatusCode::NOT_FOUND, r#"{"ok":false,"message":"set enable_get_dump in <system>"}"#.into()),
        }
    }
}

fn ok() -> Response<Full<Bytes>> {
    json(StatusCode::OK, r#"{"ok":true}"#.into())
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}
