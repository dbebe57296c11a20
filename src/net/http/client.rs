//! A small HTTP client with a pool of idle connections.
//!
//! No tasks: whoever sends a request drives its connection, and an idle one is only kept. Nothing is followed (redirects)
//! and nothing is sent twice once a byte of it has left: whether to send again is the engine's decision.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use url::Url;

use super::proxy::Proxy;
use super::timed::{MAX_EXCHANGE_BYTES, Rule, Timed, Watch};
use super::{MAX_HEAD_BYTES, MAX_HEADERS};
use crate::net::tls::{ClientTls, Stream};

/// Largest body of an answer, in bytes, where a client is not told another.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Idle connections that are kept for each target.
const MAX_IDLE: usize = 16;

/// How long an idle connection is kept. Servers close theirs after 5 to 75 s; a connection that the server has closed is
/// noticed before it is used.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Longest exchange as a whole, against a target that always sends one more byte.
const MAX_EXCHANGE: Duration = Duration::from_secs(600);

/// What a client may do and how long it waits.
#[derive(Clone)]
pub struct ClientOptions {
    /// How long looking up the name and connecting may take, together.
    pub connect_timeout: Duration,
    /// How long the TLS handshake may take.
    pub tls_timeout: Duration,
    /// How long the target may neither take nor send a byte.
    pub read_timeout: Duration,
    /// Whom to trust; needed for `https`.
    pub tls: Option<ClientTls>,
    /// A proxy for everything.
    pub proxy: Option<Proxy>,
    /// Whether connections are kept and used again.
    pub reuse: bool,
    /// Largest body of an answer, in bytes.
    pub largest_answer: usize,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        let minute = Duration::from_secs(60);
        ClientOptions {
            connect_timeout: minute,
            tls_timeout: minute,
            read_timeout: minute,
            tls: None,
            proxy: None,
            reuse: true,
            largest_answer: MAX_ANSWER_BYTES,
        }
    }
}

/// What a target has answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

/// Why there is no answer. In every case the request may be sent again later, and in every case but
/// [`Request`](ClientError::Request) and [`Connect`](ClientError::Connect) the target may have acted on it.
#[derive(Debug)]
pub enum ClientError {
    /// The request can't be sent: its URL or a header is not valid.
    Request(String),
    /// No connection: unknown name, refused, time-out, TLS.
    Connect(io::Error),
    /// The connection broke, or the target took too long.
    Broken(String),
    /// The answer's body is larger than so many bytes.
    TooLarge(usize),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientError::Request(why) => f.write_str(why),
            ClientError::Connect(e) => write!(f, "can't connect: {e}"),
            ClientError::Broken(why) => write!(f, "no whole answer: {why}"),
            ClientError::TooLarge(most) => write!(f, "the answer is larger than {most} bytes"),
        }
    }
}

impl std::error::Error for ClientError {}

/// Takes an answer's body piece by piece, with its status. An error ends the exchange.
pub type Each<'e> = &'e mut (dyn FnMut(StatusCode, Bytes) -> Result<(), ClientError> + Send);

type Io = TokioIo<Timed<Stream>>;

/// A connection; none once it has ended.
type Drive = Option<Connection<Io, Full<Bytes>>>;

/// A connection and the way to send on it.
struct Line {
    send: SendRequest<Full<Bytes>>,
    drive: Drive,
    watch: Arc<Watch>,
    since: Instant,
}

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Target {
    tls: bool,
    host: String,
    port: u16,
}

/// The client. Shared by reference: it may send many requests at once.
pub struct Client {
    options: ClientOptions,
    idle: Mutex<HashMap<Target, Vec<Line>>>,
}

impl Client {
    /// A client with no connection yet.
    pub fn new(options: ClientOptions) -> Client {
        Client { options, idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Target, Vec<Line>>> {
        // The map holds whole connections only; a panic elsewhere leaves none half in it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request and reads its whole answer. `Host`, `User-Agent` and the length are filled in.
    ///
    /// Errors: see [`ClientError`]. A connection that turns out to have been closed before anything was sent on it is
    /// replaced without an error.
    pub async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let mut whole = BytesMut::new();
        let mut keep = |_, piece: Bytes| {
            whole.extend_from_slice(&piece);
            Ok(())
        };
        let (status, headers) = self.send_each(method, url, headers, body, &mut keep).await?;
        Ok(Answer { status, headers, body: whole.freeze() })
    }

    /// As [`send`](Self::send), where the answer's body is given to `each` as it comes; gives its status and headers once it
    /// has come to its end. Before an error `each` may have had a part of it.
    pub async fn send_each(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        each: Each<'_>,
    ) -> Result<(StatusCode, HeaderMap), ClientError> {
        let target = target_of(url)?;
        let mut request = self.request(method, url, &target, headers, body)?;
        while let Some(mut line) = self.take_idle(&target) {
            if !settle(&mut line).await {
                continue;
            }
            match self.exchange(line, request, &target, each).await {
                Outcome::Done(answer) => return answer,
                Outcome::NotSent(again) => request = *again,
            }
        }
        let line = self.connect(&target).await.map_err(ClientError::Connect)?;
        match self.exchange(line, request, &target, each).await {
            Outcome::Done(answer) => answer,
            Outcome::NotSent(_) => Err(ClientError::Broken("the connection was closed at once".into())),
        }
    }

    /// Closes what is idle.
    pub fn close(&self) {
        self.idle().clear();
    }

    fn take_idle(&self, target: &Target) -> Option<Line> {
        let mut idle = self.idle();
        let lines = idle.get_mut(target)?;
        lines.retain(|l| l.since.elapsed() < IDLE_TIME);
        lines.pop()
    }

    fn keep(&self, target: &Target, mut line: Line) {
        line.watch.rest();
        line.since = Instant::now();
        let mut idle = self.idle();
        // Targets come from templates: forget those that nobody asks for any more.
        idle.retain(|_, lines| {
            lines.retain(|l| l.since.elapsed() < IDLE_TIME);
            !lines.is_empty()
        });
        let lines = idle.entry(target.clone()).or_default();
        if lines.len() < MAX_IDLE {
            lines.push(line);
        }
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        target: &Target,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let plain_proxy = self.options.proxy.as_ref().filter(|_| !target.tls);
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let uri = match plain_proxy {
            Some(_) => format!("http://{}{path}", authority(url)),
            None => path.to_owned(),
        };
        let invalid = |e: &dyn std::fmt::Display| ClientError::Request(format!("can't send to {path:?}: {e}"));
        let uri: Uri = uri.parse().map_err(|e| invalid(&e))?;
        let host = HeaderValue::try_from(authority(url)).map_err(|e| invalid(&e))?;
        headers.entry(HOST).or_insert(host);
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let agent = HeaderValue::from_static(concat!("suiro/", env!("CARGO_PKG_VERSION")));
        headers.entry(USER_AGENT).or_insert(agent);
        if !self.options.reuse {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(value) = plain_proxy.and_then(|p| p.authorization.as_ref()) {
            let value = HeaderValue::try_from(value.expose()).map_err(|e| invalid(&e))?;
            headers.insert(PROXY_AUTHORIZATION, value);
        }
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
        Ok(request)
    }

    /// A connection to where a URL leads, with nothing spoken on it but TLS where the URL says so.
    pub(in crate::net) async fn stream(&self, url: &Url) -> io::Result<Stream> {
        self.dial(&target_of(url).map_err(io::Error::other)?).await
    }

    async fn dial(&self, target: &Target) -> io::Result<Stream> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "connecting took too long");
        let mut tcp = timeout(self.options.connect_timeout, self.reach(target)).await.map_err(late)??;
        // Only tunes the connection; one that is already gone says so when it is used.
        let _ = tcp.set_nodelay(true);
        Ok(if target.tls {
            if let Some(proxy) = &self.options.proxy {
                let authority = format!("{}:{}", target.host, target.port);
                let tunnel = proxy.tunnel(&mut tcp, &authority);
                timeout(self.options.connect_timeout, tunnel).await.map_err(late)??;
            }
            let tls = self.options.tls.as_ref().ok_or_else(|| io::Error::other("TLS is not set up"))?;
            tls.connect(&target.host, tcp, self.options.tls_timeout).await?
        } else {
            Stream::Plain(tcp)
        })
    }

    async fn connect(&self, target: &Target) -> io::Result<Line> {
        let stream = self.dial(target).await?;
        let watch = Arc::new(Watch::default());
        watch.set(self.options.read_timeout);
        let wait = self.options.read_timeout;
        let rule = Rule::Progress(wait, MAX_EXCHANGE_BYTES.max(2 * self.options.largest_answer as u64));
        let io = TokioIo::new(Timed::new(stream, watch.clone(), rule, wait, wait));
        let handshake = http1::Builder::new()
            .max_header_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .max_buf_size(4 * MAX_HEAD_BYTES)
            .handshake(io);
        let (send, drive) = handshake.await.map_err(io::Error::other)?;
        Ok(Line { send, drive: Some(drive), watch, since: Instant::now() })
    }

    async fn reach(&self, target: &Target) -> io::Result<TcpStream> {
        let (host, port) = match &self.options.proxy {
            Some(proxy) => (proxy.host.as_str(), proxy.port),
            None => (target.host.as_str(), target.port),
        };
        let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
        tcp.map_err(|e| io::Error::new(e.kind(), format!("{host}:{port}: {e}")))
    }

    async fn exchange(
        &self,
        mut line: Line,
        request: Request<Full<Bytes>>,
        target: &Target,
        each: Each<'_>,
    ) -> Outcome {
        line.watch.begin(self.options.read_timeout);
        let late = || Outcome::Done(Err(ClientError::Broken("the target took too long".into())));
        let until = Instant::now() + MAX_EXCHANGE;
        let send = line.send.try_send_request(request);
        let head = match tokio::time::timeout_at(until, drive(&mut line.drive, send)).await {
            Err(_) => return late(),
            Ok(Ok(head)) => head,
            Ok(Err(mut e)) => {
                return match e.take_message() {
                    Some(request) => Outcome::NotSent(Box::new(request)),
                    None => Outcome::Done(Err(broken(&e.into_error()))),
                };
            }
        };
        let (head, body) = head.into_parts();
        let mut each = |piece| each(head.status, piece);
        let read = read_answer(body, self.options.largest_answer, &mut each);
        match tokio::time::timeout_at(until, drive(&mut line.drive, read)).await {
            Err(_) => return late(),
            Ok(Err(e)) => return Outcome::Done(Err(e)),
            Ok(Ok(())) => {}
        }
        if self.options.reuse && settle(&mut line).await {
            self.keep(target, line);
        }
        Outcome::Done(Ok((head.status, head.headers)))
    }
}

enum Outcome {
    Done(Result<(StatusCode, HeaderMap), ClientError>),
    NotSent(Box<Request<Full<Bytes>>>),
}

pub(in crate::net) fn broken(e: &hyper::Error) -> ClientError {
    use std::error::Error;
    let cause = e.source().map(|s| format!(": {s}")).unwrap_or_default();
    ClientError::Broken(format!("{e}{cause}"))
}

/// `Retry-After` in seconds; a date is taken for no word at all.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Lets a connection between two requests see what has happened to it; whether it can be used again.
async fn settle(line: &mut Line) -> bool {
    drive(&mut line.drive, std::future::ready(())).await;
    line.drive.is_some() && line.send.is_ready() && !line.send.is_closed()
}

/// Runs `work`, which waits for something on the connection, and the connection beside it. One that has ended is dropped:
/// only then does a request that it has not taken come back.
async fn drive<T>(connection: &mut Drive, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        // The connection goes first: one that the target has closed says so before anything is sent on it. An error of
        // it reaches the work as well.
        advance(connection, cx);
        match work.as_mut().poll(cx) {
            Poll::Pending if connection.is_some() => {
                // The work may have given the connection something to do.
                advance(connection, cx);
                work.as_mut().poll(cx)
            }
            polled => polled,
        }
    })
    .await
}

fn advance(connection: &mut Drive, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|c| std::pin::Pin::new(c).poll(cx).is_ready()) {
        *connection = None;
    }
}

async fn read_answer(
    mut body: Incoming,
    most: usize,
    each: &mut (dyn FnMut(Bytes) -> Result<(), ClientError> + Send),
) -> Result<(), ClientError> {
    if body.size_hint().lower() > most as u64 {
        return Err(ClientError::TooLarge(most));
    }
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|e| broken(&e))?.into_data() else { continue };
        size += piece.len();
        if size > most {
            return Err(ClientError::TooLarge(most));
        }
        each(piece)?;
    }
    Ok(())
}

fn target_of(url: &Url) -> Result<Target, ClientError> {
    let unusable = || ClientError::Request(format!("can't send to a URL of the scheme '{}'", url.scheme()));
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(unusable()),
    };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Err(unusable()) };
    Ok(Target { tls, host: host.to_owned(), port })
}

/// The host, and the port where it is not the scheme's own.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
