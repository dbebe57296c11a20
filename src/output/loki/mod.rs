//! `loki`: pushes events to Grafana Loki. Parameters are those of fluent-plugin-grafana-loki, and some of its own.
//!
//! Loki takes an entry that it has (same labels, time and line) as the one that it has. Whatever is sent again, after a lost
//! answer or while an entry at fault is looked for, is therefore the same each time: labels, times and lines are functions of
//! the chunk alone.

mod params;
mod row;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

pub use self::params::LokiParams;

use self::row::{Line, Shape, text};
use super::service::{Fate, Pieces, Row, Sender, Web};
use crate::buffer::{Block, Chunk};
use crate::config::Diagnostic;
use crate::event::Entry;
use crate::net::http::Answer;
use crate::plugin::web::{Token, header, shown};
use crate::plugin::{BufferDefaults, BuildContext, Configure, InputError, Output, Stop, Template, WriteError};

/// Entries and bytes of one push. Loki's own parts pass on 4 MiB at a time, its limits of pace count in that size too.
const MAX_ENTRIES: usize = 50_000;
/// See `MAX_ENTRIES`.
const MAX_BYTES: usize = 3 << 20;

/// The output.
pub struct Loki {
    web: Web,
    url: Url,
    headers: HeaderMap,
    token: Option<Token>,
    tenant: Option<Template>,
    shape: Shape,
    threads: u64,
    pieces: Pieces,
}

impl Configure for Loki {
    type Config = LokiParams;

    fn new(params: LokiParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        let shape = params.shape(cx)?;
        let (headers, token) = params.headers(cx)?;
        Ok(Loki {
            web: params.web(cx)?,
            url: params.address(cx)?,
            headers,
            token,
            tenant: params.tenant.as_deref().map(|text| Template::new(text, "tenant", cx)).transpose()?,
            threads: params.threads(cx),
            shape,
            pieces: Pieces::new(MAX_ENTRIES, MAX_BYTES),
        })
    }
}

impl Output for Loki {
    /// A Loki that is not there keeps nothing from starting.
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        if let Some(token) = &self.token {
            token.read().map_err(InputError)?;
        }
        Ok(self.web.open()?)
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let mut headers = self.headers.clone();
        if let Some(tenant) = &self.tenant {
            let keep = |value: &str| (!value.chars().any(char::is_control)).then(|| value.to_owned());
            let tenant = tenant.expand(chunk, keep).map_err(WriteError::Reject)?;
            headers.insert("x-scope-orgid", header(&tenant).map_err(|e| WriteError::Reject(format!("tenant {e}")))?);
        }
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.read().map_err(WriteError::Retry)?);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // A number of the chunk's own stands for the thread: a chunk that is sent again must get the same labels.
        let id = chunk.id().0;
        let thread = (self.threads > 1).then(|| format!("flush_thread_{}", u64::from(id[id.len() - 1]) % self.threads));
        self.pieces.deliver(&Push { loki: self, headers, thread }, chunk).await
    }

    async fn close(&self) {
        self.web.close();
    }

    fn patience(&self) -> Duration {
        self.web.patience()
    }
}

/// The pushes of a chunk.
struct Push<'l> {
    loki: &'l Loki,
    headers: HeaderMap,
    thread: Option<String>,
}

impl Sender for Push<'_> {
    type Body = Line;

    fn row(&self, block: &Block, entry: &Entry<'_>) -> Result<Option<(Line, usize)>, String> {
        let line = self.loki.shape.line(&block.tag, entry, self.thread.as_deref())?;
        let bytes = line.bytes();
        Ok(Some((line, bytes)))
    }

    async fn send(&self, rows: &[Row<Line>]) -> Result<Fate, WriteError> {
        judge(&self.loki.web.post(&self.loki.url, self.headers.clone(), body(rows)).await?)
    }
}

/// Rows as streams: those of one set of labels together, by time.
fn body(rows: &[Row<Line>]) -> Vec<u8> {
    let (mut streams, mut known): (Vec<Vec<&Line>>, HashMap<&[u8], usize>) = Default::default();
    for row in rows {
        let at = *known.entry(&row.body.labels).or_insert_with(|| {
            streams.push(Vec::new());
            streams.len() - 1
        });
        streams[at].push(&row.body);
    }
    let mut out = b"{\"streams\":[".to_vec();
    for (n, mut lines) in streams.into_iter().enumerate() {
        lines.sort_by_key(|line| line.time);
        out.extend_from_slice(if n == 0 { b"{\"stream\":" } else { b",{\"stream\":" });
        out.extend_from_slice(&lines[0].labels);
        out.extend_from_slice(b",\"values\":[");
        for (n, line) in lines.iter().enumerate() {
            out.extend_from_slice(if n == 0 { b"[\"" } else { b",[\"" });
            out.extend_from_slice(itoa::Buffer::new().format(line.time).as_bytes());
            out.extend_from_slice(b"\",");
            text(&line.text, &mut out);
            if !line.metadata.is_empty() {
                out.push(b',');
                out.extend_from_slice(&line.metadata);
            }
            out.push(b']');
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
    out
}

/// What an answer means. With a 400, Loki has taken all entries but those at fault, and names some of them in words; which they
/// are is found by halves, since it takes the others a second time without harm.
fn judge(answer: &Answer) -> Result<Fate, WriteError> {
    let said = shown(answer);
    let setup = |help: &str| Err(WriteError::Retry(format!("{said}. What helps: {help}")));
    match answer.status.as_u16() {
        200..=299 => Ok(Fate::Taken),
        413 => Ok(Fate::TooLarge(said)),
        401 | 403 => setup("look at username and password, bearer_token_file, tenant"),
        404 | 405 => setup("look at url: /loki/api/v1/push is put behind it"),
        300..=399 => setup("look at url: a redirect is not followed"),
        407 | 408 | 425 | 429 | 500..=599 => Err(WriteError::Retry(said)),
        _ => Ok(Fate::Bad(None, said)),
    }
}
