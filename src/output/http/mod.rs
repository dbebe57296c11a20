//! `http`: sends chunks as the bodies of HTTP requests, one chunk a request.
//!
//! A chunk is delivered when the target has answered 2xx, whole. To let the target tell a chunk that comes again, send its
//! id: `headers_from_placeholders {"Idempotency-Key":"${chunk_id}"}`.

mod auth;
mod endpoint;
mod params;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use self::auth::Auth;
use self::endpoint::Endpoint;
pub use self::params::HttpParams;
use crate::buffer::Chunk;
use crate::config::Diagnostic;
use crate::event::{Packing, pack};
use crate::net::http::{Answer, Client, ClientError, ClientOptions};
use crate::net::tls::{ClientSettings, ClientTls};
use crate::plugin::{BufferDefaults, BuildContext, Configure, InputError, Output, Render, Stop, Template, WriteError};

/// How much of an answer's body goes into a log line, in characters.
const SHOWN_CHARS: usize = 500;

/// Longer than the waits of one exchange together, for what is sent in between.
const SENDING_TIME: Duration = Duration::from_secs(60);

/// The output.
pub struct Http {
    name: String,
    endpoint: Endpoint,
    method: Method,
    headers: HeaderMap,
    templates: Vec<(HeaderName, Template)>,
    render: Render,
    json_array: bool,
    gzip: bool,
    auth: Option<Auth>,
    retryable: Vec<u16>,
    reject_errors: bool,
    tls: Option<ClientSettings>,
    options: ClientOptions,
    client: OnceLock<Client>,
}

impl Configure for Http {
    type Config = HttpParams;

    fn new(params: HttpParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        let endpoint = Endpoint::new(&params, cx)?;
        let content_type = params.content_type(cx)?;
        let mut headers = params.headers(cx)?;
        headers.insert(CONTENT_TYPE, content_type);
        if params.gzip() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Http {
            name: cx.section.id().unwrap_or("http").to_owned(),
            method: params.method(),
            headers,
            templates: params.templates(cx)?,
            render: cx.render("json")?,
            json_array: params.json_array,
            gzip: params.gzip(),
            auth: params.auth.as_ref().map(|auth| Auth::new(auth, cx)).transpose()?,
            retryable: params.retryable(),
            reject_errors: params.error_response_as_unrecoverable,
            tls: params.tls(endpoint.is_tls(), cx)?,
            options: params.client(cx)?,
            client: OnceLock::new(),
            endpoint,
        })
    }
}

impl Http {
    fn body(&self, chunk: &Chunk) -> Result<Bytes, WriteError> {
        let mut body = Vec::new();
        if self.json_array {
            body.push(b'[');
        }
        for block in chunk.blocks() {
            let block = block?;
            match self.json_array {
                true => self.render.texts(&block, |text| {
                    body.extend_from_slice(text);
                    body.push(b',');
                }),
                false => self.render.block(&block, &mut body),
            }
        }
        if self.json_array {
            // In place of the last comma, where there is one.
            body.truncate(body.len().saturating_sub(1).max(1));
            body.push(b']');
        }
        let body = if self.gzip { pack::deflate(&body, Packing::Gzip)? } else { body };
        Ok(body.into())
    }

    fn headers(&self, chunk: &Chunk) -> Result<HeaderMap, WriteError> {
        let mut headers = self.headers.clone();
        for (name, template) in &self.templates {
            let text = template.expand(chunk, header_part).map_err(WriteError::Reject)?;
            let value = HeaderValue::try_from(text).map_err(|e| WriteError::Reject(format!("header {name}: {e}")))?;
            headers.insert(name.clone(), value);
        }
        Ok(headers)
    }

    /// What an answer means for the chunk.
    fn judge(&self, answer: &Answer) -> Result<(), WriteError> {
        let (status, body) = (answer.status, shown(&answer.body));
        if status.is_success() {
            tracing::debug!(plugin = self.name, %status, "{body}");
            return Ok(());
        }
        let what = format!("{status} {body}");
        if self.retryable.contains(&status.as_u16()) {
            return Err(WriteError::Retry(what));
        }
        if self.reject_errors {
            let response = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(WriteError::Refused { why: what, response });
        }
        let (method, endpoint) = (&self.method, self.endpoint.source());
        tracing::error!(plugin = self.name, "got error response from '{method} {endpoint}' : {what}");
        Ok(())
    }
}

impl Output for Http {
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        let mut options = self.options.clone();
        if let Some(settings) = &self.tls {
            if settings.verify.nothing {
                tracing::warn!(
                    plugin = self.name,
                    "tls_verify_mode none: the target's certificate is not checked at all"
                );
            }
            options.tls = Some(ClientTls::open(settings)?);
        }
        if let Some(auth) = &self.auth {
            auth.check().map_err(InputError)?;
        }
        // Started once; a second client would only replace an unused one.
        let _ = self.client.set(Client::new(options));
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let Some(client) = self.client.get() else { return Err(WriteError::Retry("out_http was not started".into())) };
        let url = self.endpoint.url(chunk).map_err(WriteError::Reject)?;
        let mut headers = self.headers(chunk)?;
        let body = self.body(chunk)?;
        if let Some(auth) = &self.auth {
            auth.apply(&self.method, &url, &mut headers, &body).map_err(WriteError::Retry)?;
        }
        match client.send(self.method.clone(), &url, headers, body).await {
            Ok(answer) => self.judge(&answer),
            Err(e @ ClientError::Request(_)) => Err(WriteError::Reject(e.to_string())),
            Err(e) => Err(WriteError::Retry(e.to_string())),
        }
    }

    async fn close(&self) {
        if let Some(client) = self.client.get() {
            client.close();
        }
    }

    fn patience(&self) -> Duration {
        let waits = [self.options.connect_timeout, self.options.tls_timeout, self.options.read_timeout, SENDING_TIME];
        waits.iter().fold(Duration::ZERO, |sum, wait| sum.saturating_add(*wait))
    }
}

/// The beginning of an answer's body, escaped for the log.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.trim().chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect()
}

/// For a header's value: no line breaks and no other control characters.
fn header_part(value: &str) -> Option<String> {
    (!value.chars().any(char::is_control)).then(|| value.to_owned())
}
