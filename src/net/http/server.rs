//! One connection of an HTTP server.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::timed::{Rule, Timed, Watch};
use super::{MAX_HEAD_BYTES, MAX_HEADERS};
use crate::net::tls::Stream;

/// Read buffer of a connection, at most; it grows only while bodies come fast.
const MAX_READ_BUFFER: usize = 512 * 1024;

/// After an answer that refuses a body, this much of the body is still read and thrown away, so that the sender gets to
/// see the answer instead of a reset (RFC 9112 section 9.6).
const DRAIN_BYTES: u64 = 4 * 1024 * 1024;

/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Waits of a server's connection.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// How long a connection may be idle between two requests, and before the first.
    pub keepalive_timeout: Duration,
    /// How long a request's head may take from its first byte on.
    pub header_timeout: Duration,
    /// How long an answer may wait for the client to read.
    pub write_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        let ten = Duration::from_secs(10);
        ServerLimits { keepalive_timeout: ten, header_timeout: ten, write_timeout: Duration::from_secs(30) }
    }
}

/// An answer of a server.
pub type ServerResponse = Response<Full<Bytes>>;

/// An answer with a body of this type.
pub fn respond(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> ServerResponse {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Serves one connection until the peer ends it, a limit closes it, or `stop` ends: then the request in work is answered
/// and the connection is closed. Requests whose length is stated twice, or whose lines end in a bare line feed, are
/// answered 400 without asking `service`.
pub async fn serve_connection<S, F>(stream: Stream, limits: ServerLimits, stop: impl Future<Output = ()>, service: S)
where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = ServerResponse> + Send,
{
    let watch = Arc::new(Watch::default());
    watch.wait_for_head(limits.keepalive_timeout);
    let least = limits.keepalive_timeout.min(limits.header_timeout);
    let io = Timed::new(stream, watch.clone(), Rule::Head(limits.header_timeout), limits.write_timeout, least);
    let answer = service_fn(|request| {
        watch.rest();
        let ambiguous = watch.is_ambiguous();
        let (watch, answer) = (&watch, (!ambiguous).then(|| service(request)));
        Box::pin(async move {
            let response = match answer {
                Some(answer) => answer.await,
                None => closing(StatusCode::BAD_REQUEST),
            };
            watch.answered(limits.keepalive_timeout, is_last(&response));
            Ok::<_, Infallible>(response)
        })
    });
    let mut connection = http1::Builder::new()
        // A client that has ended its side, or is gone, must not stop a batch on its way into some of its buffers.
        .half_close(true)
        .max_buf_size(MAX_READ_BUFFER)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(io), answer);
    let ended = until_stopped(
        &mut connection,
        stop,
        |connection| Pin::new(connection).graceful_shutdown(),
        |connection, cx| connection.poll_without_shutdown(cx),
    )
    .await;
    let refused = match ended {
        Ok(()) => watch.is_last(),
        Err(e) => {
            // A client may end a connection as it likes; what it sees of an error is the status that hyper has answered.
            tracing::debug!(error = %e, "HTTP connection ended early");
            e.is_parse()
        }
    };
    close(connection.into_parts().io.into_inner(), refused).await;
}

/// Drives a connection to its end, which `shut` brings near once `stop` has ended.
pub(in crate::net) async fn until_stopped<C, T>(
    connection: &mut C,
    stop: impl Future<Output = ()>,
    shut: impl Fn(&mut C),
    poll: impl Fn(&mut C, &mut Context<'_>) -> Poll<T>,
) -> T {
    let mut stop = pin!(stop);
    let mut stopping = false;
    poll_fn(|cx| {
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            shut(connection);
        }
        poll(connection, cx)
    })
    .await
}

fn is_last(response: &ServerResponse) -> bool {
    response.headers().get(CONNECTION).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// An empty answer after which the connection is closed.
pub(super) fn closing(status: StatusCode) -> ServerResponse {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Ends our side. Where a request may not have been read to its end, reads on for a moment: a close with unread bytes
/// would reset the connection and take the answer with it.
async fn close(mut io: Timed<Stream>, refused: bool) {
    let drained = async {
        io.shutdown().await?;
        if !refused {
            return Ok(0);
        }
        let mut rest = io.take(DRAIN_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Neither a time-out nor an error matters: the connection is dropped in any case.
    let _ = tokio::time::timeout(DRAIN_TIME, drained).await;
}
