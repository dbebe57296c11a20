//! A small client: a call has a connection for itself while it lasts.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::rt::Executor;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::tasks::Tasks;
use super::timeout::{TIMEOUT, written};
use super::{code, framed, message_of};
use crate::net::http::{self, ClientError, ClientOptions, MAX_EXCHANGE_BYTES, MAX_HEAD_BYTES, Rule, Timed, Watch};

/// Connections that are kept.
const MAX_IDLE: usize = 16;
/// How long one is kept.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// Longest call as a whole.
const MAX_CALL: Duration = Duration::from_secs(600);
/// Bytes that a server may send before they are read.
const WINDOW: u32 = 1 << 20;

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// What a server has answered.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Its status, one of [`code`].
    pub code: u64,
    /// What it says of it, for people.
    pub why: String,
    /// `google.rpc.Status`, where it says more.
    pub details: Vec<u8>,
    /// The message.
    pub message: Bytes,
}

struct Line {
    send: SendRequest<Full<Bytes>>,
    watch: Arc<Watch>,
    since: Instant,
    /// What drives the connection; cut off with it.
    _tasks: Tasks,
}

/// The client. Shared by reference: it may make many calls at once.
pub struct Client {
    options: ClientOptions,
    dial: http::Client,
    idle: Mutex<Vec<Line>>,
}

impl Client {
    /// A client with no connection yet. Of the options `reuse` has no effect.
    pub fn new(options: ClientOptions) -> Client {
        Client { dial: http::Client::new(options.clone()), options, idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Line>> {
        // It holds whole connections only.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the method at `url` with a message; `packed` names how that is packed. The server is told that the call is to end
    /// within `read_timeout`.
    ///
    /// Errors: no answer, or none of gRPC. The server may have acted on the call in any case but [`ClientError::Request`] and
    /// [`ClientError::Connect`].
    pub async fn call(
        &self,
        url: &Url,
        mut headers: HeaderMap,
        message: &[u8],
        packed: Option<&'static str>,
    ) -> Result<Reply, ClientError> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("suiro/", env!("CARGO_PKG_VERSION"))));
        headers.insert(TIMEOUT, written(self.options.read_timeout));
        if let Some(name) = packed {
            headers.insert(ENCODING, HeaderValue::from_static(name));
        }
        let mut request = Request::new(Full::new(framed(message, packed.is_some())));
        let uri =
            url.as_str().parse().map_err(|e| ClientError::Request(format!("can't call {:?}: {e}", url.path())))?;
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (Method::POST, uri, headers);
        let until = Instant::now() + MAX_CALL;
        let late = |_| ClientError::Broken("the target took too long".into());
        let mut line = match self.take_idle().await {
            Some(line) => line,
            None => self.connect(url).await.map_err(ClientError::Connect)?,
        };
        line.watch.begin(self.options.read_timeout);
        let answer = timeout_at(until, line.send.send_request(request)).await.map_err(late)?;
        let reply = timeout_at(until, self.read(answer.map_err(|e| http::broken(&e))?)).await.map_err(late)??;
        line.watch.rest();
        line.since = Instant::now();
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE && !line.send.is_closed() {
            idle.push(line);
        }
        Ok(reply)
    }

    /// Closes what is idle.
    pub fn close(&self) {
        self.idle().clear();
    }

    async fn take_idle(&self) -> Option<Line> {
        loop {
            let mut line = {
                let mut idle = self.idle();
                idle.retain(|line| line.since.elapsed() < IDLE_TIME && !line.send.is_closed());
                idle.pop()?
            };
            if line.send.ready().await.is_ok() {
                return Some(line);
            }
        }
    }

    async fn connect(&self, url: &Url) -> io::Result<Line> {
        let stream = self.dial.stream(url).await?;
        let watch = Arc::new(Watch::default());
        let wait = self.options.read_timeout;
        watch.set(wait);
        let rule = Rule::Progress(wait, MAX_EXCHANGE_BYTES);
        let io = TokioIo::new(Timed::new(stream, watch.clone(), rule, wait, wait));
        let tasks = Tasks::default();
        let handshake = http2::Builder::new(tasks.starter())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .handshake(io);
        let (send, drive) = handshake.await.map_err(io::Error::other)?;
        tasks.starter().execute(async move {
            // Whoever waits for an answer hears of an error too.
            let _ = drive.await;
        });
        Ok(Line { send, watch, since: Instant::now(), _tasks: tasks })
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Reply, ClientError> {
        let (head, mut body) = answer.into_parts();
        if !head.status.is_success() {
            return Err(ClientError::Broken(format!("it answers {}: is this a gRPC server?", head.status)));
        }
        let (mut whole, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.map_err(|e| http::broken(&e))?.into_data() {
                Ok(piece) if whole.len() + piece.len() > self.options.largest_answer => {
                    return Err(ClientError::TooLarge(self.options.largest_answer));
                }
                Ok(piece) => whole.extend_from_slice(&piece),
                Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
            }
        }
        // Without a message there is one head, and the status in it.
        let said = trailers.as_ref().unwrap_or(&head.headers);
        let text = |name: &str| said.get(name).and_then(|value| value.to_str().ok());
        let Some(code) = text("grpc-status").and_then(|code| code.parse().ok()) else {
            return Err(ClientError::Broken("there is no grpc-status in the answer: is this a gRPC server?".into()));
        };
        let why = percent_encoding::percent_decode_str(text("grpc-message").unwrap_or_default());
        let details = text("grpc-status-details-bin").and_then(|text| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()
        });
        let reply = Reply {
            code,
            why: why.decode_utf8_lossy().into_owned(),
            details: details.unwrap_or_default(),
            message: Bytes::new(),
        };
        if code != code::OK {
            return Ok(reply);
        }
        match message_of(whole.freeze()) {
            Ok((message, false)) => Ok(Reply { message, ..reply }),
            // No encoding was offered.
            Ok((_, true)) => Err(ClientError::Broken("the answer is packed".into())),
            Err(why) => Err(ClientError::Broken(format!("in the answer: {why}"))),
        }
    }
}
