//! Both sides against each other and against raw sockets.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use url::Url;

use super::*;
use crate::event::Packing;
use crate::event::pack::deflate;
use crate::net::accept::{Listener, Options, serve};

const LIMIT: usize = 1000;
/// Room for one body at its limit.
const BUDGET: usize = LIMIT;

/// A server that answers with the body it was sent, and counts requests.
struct Echo {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _stopper: oneshot::Sender<()>,
}

async fn echo_service(request: Request<Incoming>, requests: Arc<AtomicUsize>) -> ServerResponse {
    requests.fetch_add(1, SeqCst);
    let encoding = request.headers().get(CONTENT_ENCODING).map(|v| v.to_str().unwrap().to_owned());
    let body = match read_body(request.into_body(), LIMIT, &mut Budget::new(BUDGET).lease()).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return server::closing(StatusCode::PAYLOAD_TOO_LARGE),
        Err(BodyError::Busy) => return server::closing(StatusCode::SERVICE_UNAVAILABLE),
        Err(BodyError::TooSlow) => return server::closing(StatusCode::REQUEST_TIMEOUT),
        Err(BodyError::Broken(_)) => return server::closing(StatusCode::BAD_REQUEST),
    };
    match decode(body, encoding.as_deref(), LIMIT).await {
        Ok(body) => Response::new(Full::new(body)),
        Err(_) => server::closing(StatusCode::BAD_REQUEST),
    }
}

async fn echo_with(limits: ServerLimits) -> Echo {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let (stopper, stop) = oneshot::channel::<()>();
    let handler = move |stream, _| {
        let counted = counted.clone();
        async move {
            let service = |request| echo_service(request, counted.clone());
            serve_connection(stream, limits, std::future::pending(), service).await;
        }
    };
    tokio::spawn(serve(Listener::Tcp(listener), Options::new("echo"), async { drop(stop.await) }, handler));
    Echo { address, requests, _stopper: stopper }
}

async fn echo() -> Echo {
    echo_with(ServerLimits::default()).await
}

/// Sends bytes on a connection of their own and reads until the server closes or is silent for a while.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    // The server may close before it has read everything.
    let _ = tcp.write_all(bytes).await;
    let mut got = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), tcp.read_to_end(&mut got)).await;
    String::from_utf8_lossy(&got).into_owned()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes()
}

#[tokio::test]
async fn a_body_comes_back() {
    let echo = echo().await;
    let answer = raw(echo.address, &post("Content-Length: 3\r\n", "abc")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("abc"), "{answer}");
    let answer = raw(echo.address, &post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).await;
    assert!(answer.ends_with("abcde"), "{answer}");
}

#[tokio::test]
async fn heads_that_can_be_read_in_two_ways_are_refused_and_nothing_behind_them_is_run() {
    let echo = echo().await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let cases: &[(&str, &str)] = &[
        ("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
        ("Content-Length: 3, 3\r\n", "abc"),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("Content-Length : 3\r\n", "abc"),
        ("X: a\nContent-Length: 3\r\n", "abc"),
        ("X: a\r\n b\r\nContent-Length: 3\r\n", "abc"),
        ("Content-Length: -1\r\n", ""),
        ("Content-Length: +3\r\n", "abc"),
        ("Content-Length: 0x3\r\n", "abc"),
        ("Content-Length: 18446744073709551616\r\n", "abc"),
        ("Content-Length: \r\n", "abc"),
        ("Content-Length: 3 4\r\n", "abc"),
    ];
    for (headers, body) in cases {
        let before = echo.requests.load(SeqCst);
        let request = [post(headers, body).replace_close(), hidden.as_bytes().to_vec()].concat();
        let answer = raw(echo.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{headers:?}: {answer}");
        assert_eq!(echo.requests.load(SeqCst), before, "{headers:?}");
    }
    assert!(raw(echo.address, &post("Content-Length: 0\r\n", "")).await.starts_with("HTTP/1.1 200"));
}

trait ReplaceClose {
    fn replace_close(self) -> Vec<u8>;
}

impl ReplaceClose for Vec<u8> {
    /// Without the wish to close, so that a request behind this one would be run.
    fn replace_close(self) -> Vec<u8> {
        String::from_utf8(self).unwrap().replace("Connection: close\r\n", "").into_bytes()
    }
}

#[tokio::test]
async fn heads_have_a_limit() {
    let echo = echo().await;
    let long = format!("X: {}\r\n", "a".repeat(8 << 20));
    assert!(raw(echo.address, &post(&long, "")).await.starts_with("HTTP/1.1 431"));
    let many = "X: y\r\n".repeat(10_000);
    assert!(raw(echo.address, &post(&many, "")).await.starts_with("HTTP/1.1 431"));
    let line = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(4 << 20));
    let answer = raw(echo.address, line.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414") || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let fits = format!("X: {}\r\n", "a".repeat(30_000));
    assert!(raw(echo.address, &post(&fits, "")).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn bodies_over_the_limit_are_answered_413_and_cut() {
    let echo = echo().await;
    let large = "a".repeat(3 << 20);
    let announced = post(&format!("Content-Length: {}\r\n", large.len()), &large).replace_close();
    let answer = raw(echo.address, &announced).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let chunk = format!("{:x}\r\n{large}\r\n", large.len());
    let answer = raw(echo.address, &post("Transfer-Encoding: chunked\r\n", &chunk).replace_close()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let exact = "a".repeat(LIMIT);
    let answer = raw(echo.address, &post(&format!("Content-Length: {LIMIT}\r\n"), &exact)).await;
    assert!(answer.ends_with(&exact), "{answer}");
}

#[tokio::test]
async fn packed_bodies_are_unpacked_within_the_limit() {
    let echo = echo().await;
    let send = async |encoding: &str, body: Vec<u8>| {
        let head = format!("Content-Encoding: {encoding}\r\nContent-Length: {}\r\n", body.len());
        raw(echo.address, &[post(&head, ""), body].concat()).await
    };
    assert!(send("gzip", deflate(b"hello", Packing::Gzip).unwrap()).await.ends_with("hello"));
    assert!(send("zstd", deflate(b"hello", Packing::Zstd).unwrap()).await.ends_with("hello"));
    assert!(send("utf-8", b"hello".to_vec()).await.ends_with("hello"));
    assert!(send("br", b"hello".to_vec()).await.starts_with("HTTP/1.1 400"));
    assert!(send("gzip", b"hello".to_vec()).await.starts_with("HTTP/1.1 400"));
    let bomb = deflate(&vec![0; LIMIT * 200], Packing::Gzip).unwrap();
    assert!(send("gzip", bomb).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed_and_the_others_served() {
    let short = Duration::from_millis(150);
    let limits = ServerLimits { keepalive_timeout: short, header_timeout: short, ..ServerLimits::default() };
    let echo = echo_with(limits).await;
    let mut idle = TcpStream::connect(echo.address).await.unwrap();
    let mut slow = TcpStream::connect(echo.address).await.unwrap();
    slow.write_all(b"GET / HT").await.unwrap();
    assert!(raw(echo.address, &post("", "")).await.starts_with("HTTP/1.1 200"));
    // Drips go on and do not help.
    let dripping = async {
        while slow.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), dripping).await.unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    let mut kept = TcpStream::connect(echo.address).await.unwrap();
    for _ in 0..3 {
        kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(kept.read(&mut [0; 1000]).await.unwrap() > 0);
    }
    assert_eq!(kept.read(&mut [0; 1000]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stop_answers_the_request_in_work_and_ends_idle_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let stream = crate::net::tls::Stream::Plain(listener.accept().await.unwrap().0);
    let (stopper, stop) = oneshot::channel::<()>();
    let (entered, entry) = oneshot::channel::<()>();
    let entered = std::sync::Mutex::new(Some(entered));
    let (go, may_go) = oneshot::channel::<()>();
    let may_go = std::sync::Mutex::new(Some(may_go));
    let serving = tokio::spawn(async move {
        let service = |_| {
            entered.lock().unwrap().take().unwrap().send(()).unwrap();
            let may_go = may_go.lock().unwrap().take().unwrap();
            async { may_go.await.map(|()| Response::new(Full::default())).unwrap() }
        };
        serve_connection(stream, ServerLimits::default(), async { drop(stop.await) }, service).await;
    });
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    entry.await.unwrap();
    stopper.send(()).unwrap();
    go.send(()).unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert!(got.starts_with("HTTP/1.1 200"));
    serving.await.unwrap();
}

fn url(address: SocketAddr, path: &str) -> Url {
    Url::parse(&format!("http://{address}{path}")).unwrap()
}

async fn fetch(client: &Client, address: SocketAddr, body: &'static str) -> Result<Answer, ClientError> {
    client.send(Method::POST, &url(address, "/p?q=1"), HeaderMap::new(), Bytes::from(body)).await
}

#[tokio::test]
async fn connections_are_used_again_when_asked_for() {
    let echo = echo().await;
    for reuse in [true, false] {
        let client = Client::new(ClientOptions { reuse, ..ClientOptions::default() });
        for _ in 0..3 {
            let answer = fetch(&client, echo.address, "abc").await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, b"abc" as &[u8]));
        }
        client.close();
    }
}

/// A server of fixed answers, one connection each; gives what it was sent.
async fn scripted(answers: Vec<&'static [u8]>) -> (SocketAddr, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut seen = Vec::new();
        for answer in answers {
            let mut tcp = listener.accept().await.unwrap().0;
            let mut got = vec![0; 10_000];
            let n = tcp.read(&mut got).await.unwrap();
            seen.push(String::from_utf8_lossy(&got[..n]).into_owned());
            let _ = tcp.write_all(answer).await;
            drop(tcp);
        }
        seen
    });
    (address, serving)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_that_the_target_closed_is_replaced_without_an_error() {
    let (address, serving) = scripted(vec![OK, OK, OK]).await;
    let client = Client::new(ClientOptions::default());
    for _ in 0..3 {
        assert_eq!(fetch(&client, address, "abc").await.unwrap().body, "ok");
        // The target has closed; let the news arrive.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(serving.await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_kept_connection_that_the_target_closes_later_is_replaced_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        for _ in 0..3 {
            let mut tcp = listener.accept().await.unwrap().0;
            assert!(tcp.read(&mut [0; 10_000]).await.unwrap() > 0);
            tcp.write_all(OK).await.unwrap();
            // By now the client has put the connection by.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let client = Client::new(ClientOptions::default());
    for _ in 0..3 {
        let fetched = tokio::time::timeout(Duration::from_secs(10), fetch(&client, address, "abc"));
        assert_eq!(fetched.await.unwrap().unwrap().body, "ok");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    serving.await.unwrap();
}

#[tokio::test]
async fn answers_that_are_cut_off_or_missing_are_errors() {
    for answer in [
        b"" as &[u8],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"SSH-2.0-x\r\n",
    ] {
        let (address, _) = scripted(vec![answer]).await;
        let outcome = fetch(&Client::new(ClientOptions::default()), address, "abc").await;
        assert!(matches!(outcome, Err(ClientError::Broken(_))), "{answer:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn endless_answers_are_cut() {
    let body = b"HTTP/1.1 200 OK\r\n\r\n".iter().copied().chain(std::iter::repeat_n(b'a', 3 << 20)).collect::<Vec<_>>();
    let (address, _) = scripted(vec![body.leak()]).await;
    let outcome = fetch(&Client::new(ClientOptions::default()), address, "").await;
    assert!(matches!(outcome, Err(ClientError::TooLarge(_))), "{outcome:?}");
    let head = b"HTTP/1.1 200 OK\r\n".iter().copied().chain(b"X: y\r\n".repeat(1 << 18)).collect::<Vec<_>>();
    let (address, _) = scripted(vec![head.leak()]).await;
    let outcome = fetch(&Client::new(ClientOptions::default()), address, "").await;
    assert!(matches!(outcome, Err(ClientError::Broken(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_silent_target_is_given_up_and_a_redirect_is_not_followed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(ClientOptions { read_timeout: Duration::from_millis(100), ..ClientOptions::default() });
    let outcome = fetch(&client, listener.local_addr().unwrap(), "abc").await;
    assert!(matches!(outcome, Err(ClientError::Broken(_))), "{outcome:?}");
    let moved = b"HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    let (address, _) = scripted(vec![moved]).await;
    assert_eq!(fetch(&client, address, "abc").await.unwrap().status, 307);
    drop(listener);
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(matches!(fetch(&client, refused, "abc").await, Err(ClientError::Connect(_))));
}

#[tokio::test]
async fn a_proxy_sees_the_whole_url_and_its_credentials() {
    let (address, serving) = scripted(vec![OK]).await;
    let proxy = Proxy::parse(&format!("http://u:p@{address}")).unwrap();
    let client = Client::new(ClientOptions { proxy: Some(proxy), ..ClientOptions::default() });
    let target = Url::parse("http://target.example:81/a?b#c").unwrap();
    let answer = client.send(Method::PUT, &target, HeaderMap::new(), Bytes::from("x")).await.unwrap();
    assert_eq!(answer.body, "ok");
    let seen = serving.await.unwrap().remove(0).to_ascii_lowercase();
    assert!(seen.starts_with("put http://target.example:81/a?b http/1.1\r\n"), "{seen}");
    assert!(seen.contains("host: target.example:81\r\n") && seen.contains("proxy-authorization: basic dtpw\r\n"));
}

#[tokio::test]
async fn https_goes_through_a_tunnel() {
    let transport = crate::net::tls::Transport {
        protocol: Some(crate::net::tls::Protocol::Tls),
        insecure: true,
        ..Default::default()
    };
    let tls = crate::net::tls::ServerTls::open(&transport, "target.example").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut tcp = listener.accept().await.unwrap().0;
        let mut got = vec![0; 1000];
        let n = tcp.read(&mut got).await.unwrap();
        assert!(got[..n].starts_with(b"CONNECT target.example:443 HTTP/1.1\r\n"));
        tcp.write_all(b"HTTP/1.1 200 Established\r\nX: y\r\n\r\n").await.unwrap();
        let stream = tls.accept(tcp).await.unwrap();
        let service = |request: Request<Incoming>| async move {
            let body = read_body(request.into_body(), LIMIT, &mut Budget::new(BUDGET).lease()).await.unwrap();
            Response::new(Full::new(body))
        };
        serve_connection(stream, ServerLimits::default(), std::future::pending(), service).await;
    });
    let verify = crate::net::tls::Verify { self_signed: true, ..Default::default() };
    let settings = crate::net::tls::ClientSettings { verify, ..Default::default() };
    let options = ClientOptions {
        tls: Some(crate::net::tls::ClientTls::open(&settings).unwrap()),
        proxy: Some(Proxy::parse(&format!("http://{address}")).unwrap()),
        ..ClientOptions::default()
    };
    let client = Client::new(options);
    let target = Url::parse("https://target.example/x").unwrap();
    for _ in 0..2 {
        let answer = client.send(Method::POST, &target, HeaderMap::new(), Bytes::from("over tls")).await.unwrap();
        assert_eq!(answer.body, "over tls");
    }
    client.close();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let (address, _) = scripted(vec![b"HTTP/1.1 407 Auth\r\n\r\n"]).await;
    let settings = crate::net::tls::ClientSettings {
        verify: crate::net::tls::Verify { nothing: true, ..Default::default() },
        ..Default::default()
    };
    let options = ClientOptions {
        tls: Some(crate::net::tls::ClientTls::open(&settings).unwrap()),
        proxy: Some(Proxy::parse(&format!("http://{address}")).unwrap()),
        ..ClientOptions::default()
    };
    let target = Url::parse("https://target.example/x").unwrap();
    let outcome = Client::new(options).send(Method::POST, &target, HeaderMap::new(), Bytes::new()).await;
    assert!(outcome.unwrap_err().to_string().contains("407"));
}

#[test]
fn a_budget_is_given_back() {
    let budget = Budget::new(10);
    let mut first = budget.lease();
    assert!(first.grow(4) && first.grow(6) && !budget.lease().grow(1));
    drop(first);
    assert!(budget.lease().grow(10));
}
