//! The paths.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};

use super::query::{self, Shown, Wanted};
use super::{rows, text};
use crate::event::json::write_record;
use crate::event::{Arena, Record, Value};
use crate::net::http::{ServerLimits, ServerResponse, is_from_a_page, respond, serve_connection};
use crate::net::tls::Stream;
use crate::plugin::{PluginView, Process, Stop, write_ledger};

/// How long an answer may wait for the client to read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What answers.
pub(super) struct Api {
    pub(super) process: Arc<Process>,
    pub(super) shown: Shown,
}

/// Serves one connection until it ends or the stop comes.
pub(super) async fn serve(stream: Stream, api: Arc<Api>, mut stop: Stop) {
    let limits = ServerLimits { write_timeout: WRITE_TIMEOUT, ..ServerLimits::default() };
    let answer = |request: Request<Incoming>| {
        let answer = match is_from_a_page(request.headers()) {
            true => json(StatusCode::FORBIDDEN, br#"{"message":"not for web pages"}"#.to_vec()),
            false => api.answer(request.method(), request.uri().path(), request.uri().query().unwrap_or_default()),
        };
        std::future::ready(answer)
    };
    serve_connection(stream, limits, async { stop.wait().await }, answer).await;
}

impl Api {
    fn answer(&self, method: &Method, path: &str, query: &str) -> ServerResponse {
        let (wanted, shown) = query::read(query, self.shown);
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let pretty = |json: Vec<u8>| if shown.debug { text::indented(&json) } else { json };
        match (method, path) {
            (&Method::GET, "/api/plugins") => self.plugins(&wanted, shown, |rows| plain(text::ltsv(rows))),
            (&Method::GET, "/api/plugins.json") => {
                self.plugins(&wanted, shown, |rows| json(StatusCode::OK, pretty(text::json_list(rows))))
            }
            (&Method::GET, "/api/config") => plain(text::ltsv(&[self.config(&Arena::new())])),
            (&Method::GET, "/api/config.json") => {
                let mut out = Vec::new();
                write_record(&self.config(&Arena::new()), &mut out);
                json(StatusCode::OK, pretty(out))
            }
            (&Method::GET, "/api/ledger.json") => json(StatusCode::OK, self.ledger()),
            (&Method::GET, "/healthz") => plain(b"ok\n".to_vec()),
            _ => json(StatusCode::NOT_FOUND, br#"{"message":"Not found"}"#.to_vec()),
        }
    }

    /// The ledger, as `suiro report` reads it.
    fn ledger(&self) -> Vec<u8> {
        let rows = self.process.inspect().map(|inspect| inspect.ledger()).unwrap_or_default();
        write_ledger(&rows).into_bytes()
    }

    fn plugins<T>(&self, wanted: &Wanted, shown: Shown, render: impl FnOnce(&[Record<'_>]) -> T) -> T {
        let views = self.views(wanted);
        let arena = Arena::new();
        let rows: Vec<Record<'_>> = views.iter().map(|view| rows::row(view, shown, &arena)).collect();
        render(&rows)
    }

    fn views(&self, wanted: &Wanted) -> Vec<PluginView> {
        let Some(inspect) = self.process.inspect() else { return Vec::new() };
        let by_id = |id: &str| inspect.plugins().into_iter().filter(|v| v.id == id).take(1).collect();
        match wanted {
            Wanted::All => inspect.plugins(),
            Wanted::Id(id) => by_id(id),
            Wanted::Tag(tag) => inspect.plugin_for_tag(tag).map(|id| by_id(&id)).unwrap_or_default(),
            Wanted::Type(kind) => inspect.plugins().into_iter().filter(|v| v.kind == *kind).collect(),
        }
    }

    fn config<'a>(&'a self, arena: &'a Arena) -> Record<'a> {
        let mut record = Record::new();
        record.push(b"pid", Value::Int(i64::from(std::process::id())));
        record.push(b"ppid", Value::Int(i64::from(std::os::unix::process::parent_id())));
        record.push(b"version", Value::str(env!("CARGO_PKG_VERSION")));
        if let Some(root_dir) = &self.process.root_dir {
            record.push(b"root_dir", arena.str(root_dir.as_os_str().as_encoded_bytes()));
        }
        record
    }
}

fn plain(body: Vec<u8>) -> ServerResponse {
    respond(StatusCode::OK, HeaderValue::from_static("text/plain"), body)
}

fn json(status: StatusCode, body: Vec<u8>) -> ServerResponse {
    respond(status, HeaderValue::from_static("application/json"), body)
}
