//! One connection of a server, and its answers.

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout_at;

use super::tasks::Tasks;
use super::timeout::deadline;
use super::{code, framed};
use crate::net::http::{MAX_HEAD_BYTES, Rule, Timed, Watch, until_stopped};
use crate::net::tls::Stream;

/// Calls of one connection at a time, those that their client has given up among them.
pub(super) const MAX_CALLS: u32 = 64;
/// Bytes of bodies that a connection may send before they are read, and one call of it.
const WINDOW: u32 = 1 << 20;
/// A silent peer is asked after this time whether it is still there.
const PING_AFTER: Duration = Duration::from_secs(30);
/// It must answer within this time. One that never speaks HTTP/2 is given up after both.
const PING_WAIT: Duration = Duration::from_secs(20);
/// How long an answer may wait for the client to read.
const WRITE_WAIT: Duration = Duration::from_secs(30);

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// What must be escaped in the message of a status; bytes beyond ASCII are in any case.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// An answer.
pub type Served = Response<BoxBody<Bytes, Infallible>>;

fn answer(body: BoxBody<Bytes, Infallible>) -> Served {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert(ACCEPTED, HeaderValue::from_static("identity,gzip,zstd,deflate"));
    response
}

/// The answer to a call that is done.
pub fn succeeded(message: &[u8]) -> Served {
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from(code::OK))]);
    answer(Full::new(framed(message, false)).with_trailers(ready(Some(Ok(trailers)))).boxed())
}

/// The answer to one that is not.
pub fn failed(code: u64, why: &str) -> Served {
    let mut response = answer(Empty::new().boxed());
    response.headers_mut().insert(STATUS, HeaderValue::from(code));
    let why = utf8_percent_encode(why, ESCAPED).to_string();
    if let Ok(why) = HeaderValue::try_from(why) {
        response.headers_mut().insert(MESSAGE, why);
    }
    response
}

/// The answer, or another in its place once its time is over.
async fn in_time(
    answer: oneshot::Receiver<Served>,
    until: Option<Instant>,
) -> Result<Served, oneshot::error::RecvError> {
    let Some(until) = until else { return answer.await };
    let late = || failed(code::DEADLINE_EXCEEDED, "the call was not done within its grpc-timeout");
    timeout_at(until.into(), answer).await.unwrap_or_else(|_| Ok(late()))
}

/// Serves one connection until the peer ends it, a limit closes it, or `stop` ends: then the calls in work are answered and
/// the connection is closed. A call goes on to its end even where its client has gone: a batch must not stop on its way into
/// some of its buffers. Who drops this future cuts the calls off too.
///
/// `service` is told when the client stops waiting, if it has said so. Then the call is answered; its work should give up what it can.
pub async fn serve_connection<S, F>(stream: Stream, stop: impl Future<Output = ()>, service: S)
where
    S: Fn(Request<Incoming>, Option<Instant>) -> F,
    F: Future<Output = Served> + Send + 'static,
{
    let watch = Arc::new(Watch::default());
    let silence = PING_AFTER + PING_WAIT;
    watch.set(silence);
    let io = Timed::new(stream, watch, Rule::Progress(silence, u64::MAX), WRITE_WAIT, PING_WAIT);
    let tasks = Tasks::default();
    let starter = tasks.starter();
    // hyper counts a call no more that its client has given up, and it goes on.
    let places = Arc::new(Semaphore::new(MAX_CALLS as usize));
    let answer = service_fn(|request: Request<Incoming>| {
        let until = deadline(request.headers());
        let (done, answer) = oneshot::channel();
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                let work = service(request, until);
                starter.execute(async move {
                    // Nobody may be waiting any more.
                    let _ = done.send(work.await);
                    drop(place);
                });
            }
            Err(_) => drop(done.send(failed(code::UNAVAILABLE, "too many calls at once"))),
        }
        in_time(answer, until)
    });
    let mut connection = pin!(
        http2::Builder::new(starter.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_CALLS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_WAIT)
            .serve_connection(TokioIo::new(io), answer)
    );
    let ended = until_stopped(
        &mut connection,
        stop,
        |connection| connection.as_mut().graceful_shutdown(),
        |connection, cx| connection.as_mut().poll(cx),
    )
    .await;
    if let Err(e) = ended {
        // A client may end a connection as it likes.
        tracing::debug!(error = %e, "gRPC connection ended early");
    }
    tasks.end().await;
}
