//! Client and server with each other, and frames that are wrong.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use url::Url;

use super::*;
use crate::net::http::{ClientError, ClientOptions};
use crate::net::tls::Stream;

struct Server {
    url: Url,
    stop: Arc<Notify>,
    running: JoinHandle<()>,
}

impl Server {
    /// Serves one connection.
    async fn start<F>(service: impl Fn(Request<Incoming>, Option<Instant>) -> F + Send + Sync + 'static) -> Server
    where
        F: Future<Output = Served> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pkg.Service/Method", listener.local_addr().unwrap()).parse().unwrap();
        let stop = Arc::new(Notify::new());
        let told = stop.clone();
        let running = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            serve_connection(Stream::Plain(tcp), told.notified(), service).await;
        });
        Server { url, stop, running }
    }
}

fn client() -> Client {
    Client::new(ClientOptions { read_timeout: Duration::from_secs(2), ..ClientOptions::default() })
}

async fn echo(request: Request<Incoming>, _: Option<Instant>) -> Served {
    let packed_as = request.headers().get("grpc-encoding").map(|name| name.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    match message_of(body) {
        Ok((message, packed)) if packed == packed_as.is_some() => succeeded(&message),
        Ok(_) => failed(code::INVALID_ARGUMENT, "packed and not packed"),
        Err(why) => failed(code::INVALID_ARGUMENT, why),
    }
}

#[tokio::test]
async fn a_message_goes_there_and_another_comes_back_over_one_connection() {
    let server = Server::start(echo).await;
    let client = client();
    let large = vec![7; 3 << 20];
    for (message, packed) in [(&b""[..], None), (b"hello", None), (b"packed", Some("gzip")), (&large, None)] {
        let call = client.call(&server.url, HeaderMap::new(), message, packed).await;
        // Answers are bounded: 3 MiB are more than a client takes.
        match call {
            Ok(reply) => assert_eq!((reply.code, &reply.message[..]), (code::OK, message)),
            Err(e) => assert!(matches!(e, ClientError::TooLarge(_)) && message.len() > 1 << 20, "{e}"),
        }
    }
    client.close();
    drop(client);
    server.stop.notify_one();
    server.running.await.unwrap();
}

#[tokio::test]
async fn a_status_comes_with_its_reason_whatever_that_holds() {
    let server = Server::start(|_, _| async { failed(code::UNAVAILABLE, "100 % voll: ü\n") }).await;
    let reply = client().call(&server.url, HeaderMap::new(), b"", None).await.unwrap();
    assert_eq!((reply.code, reply.why.as_str()), (code::UNAVAILABLE, "100 % voll: ü\n"));
}

#[tokio::test]
async fn what_is_no_grpc_server_is_told() {
    let plain = |status: u16| {
        move |_: Request<Incoming>, _: Option<Instant>| async move {
            let mut response = Response::new(http_body_util::Empty::new().boxed());
            *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
            response
        }
    };
    for (status, wanted) in [(200, "no grpc-status"), (404, "answers 404")] {
        let server = Server::start(plain(status)).await;
        let e = client().call(&server.url, HeaderMap::new(), b"", None).await.unwrap_err().to_string();
        assert!(e.contains(wanted) && e.contains("is this a gRPC server"), "{e}");
    }
    // One that speaks no HTTP/2, and one that says nothing.
    for words in ["HTTP/1.1 400 Bad Request\r\n\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let silent = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut tcp, words.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
        });
        let client = client();
        let called = tokio::time::timeout(Duration::from_secs(8), client.call(&url, HeaderMap::new(), b"", None));
        assert!(matches!(called.await.unwrap(), Err(ClientError::Broken(_))), "{words:?}");
        silent.abort();
    }
}

#[tokio::test]
async fn a_call_goes_on_where_its_client_has_gone_and_at_a_stop() {
    let (begun, done) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (told, counted) = (begun.clone(), done.clone());
    let service = move |_: Request<Incoming>, _: Option<Instant>| {
        let (told, counted) = (told.clone(), counted.clone());
        async move {
            told.notify_one();
            tokio::time::sleep(Duration::from_millis(300)).await;
            counted.fetch_add(1, SeqCst);
            succeeded(b"")
        }
    };
    let server = Server::start(service.clone()).await;
    let (caller, url) = (client(), server.url.clone());
    let call = tokio::spawn(async move { caller.call(&url, HeaderMap::new(), b"", None).await.is_ok() });
    begun.notified().await;
    call.abort();
    server.running.await.unwrap();
    assert_eq!(done.load(SeqCst), 1);
    let server = Server::start(service).await;
    let (caller, url) = (client(), server.url.clone());
    let call = tokio::spawn(async move { caller.call(&url, HeaderMap::new(), b"", None).await.is_ok() });
    begun.notified().await;
    server.stop.notify_one();
    assert!(call.await.unwrap());
    server.running.await.unwrap();
    assert_eq!(done.load(SeqCst), 2);
}

#[tokio::test]
async fn a_call_is_answered_when_its_time_is_over_and_its_work_is_told_when() {
    let open = Arc::new(Semaphore::new(0));
    let gate = open.clone();
    let server = Server::start(move |_, until| {
        let gate = gate.clone();
        async move {
            assert!(until.is_some_and(|until| until > Instant::now()));
            gate.acquire().await.unwrap().forget();
            succeeded(b"late")
        }
    });
    let server = server.await;
    let hasty = Client::new(ClientOptions { read_timeout: Duration::from_millis(300), ..ClientOptions::default() });
    let began = Instant::now();
    let reply = hasty.call(&server.url, HeaderMap::new(), b"", None).await;
    // Its own patience ends at the same time.
    assert!(reply.is_err() || reply.is_ok_and(|reply| reply.code == code::DEADLINE_EXCEEDED));
    assert!(began.elapsed() < Duration::from_secs(5));
    open.add_permits(1);
    drop(hasty);
    server.running.await.unwrap();
}

/// Calls with this header; the status, or the message of one that was done.
async fn timed(server: &Server, timeout: &'static str) -> String {
    let tcp = TcpStream::connect(("127.0.0.1", server.url.port().unwrap())).await.unwrap();
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::new(http_body_util::Full::new(framed(b"", false)));
    *request.uri_mut() = server.url.as_str().parse().unwrap();
    request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
    let answer = send.send_request(request).await.unwrap();
    match answer.headers().get("grpc-status") {
        Some(status) => status.to_str().unwrap().to_owned(),
        None => {
            String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes()[FRAME_HEAD..].to_vec()).unwrap()
        }
    }
}

#[tokio::test]
async fn a_time_that_can_not_be_read_is_none() {
    let slow = |_, until: Option<Instant>| async move {
        if until.is_some() {
            std::future::pending::<()>().await;
        }
        succeeded(b"done")
    };
    for (timeout, wanted) in [("100m", "4"), ("0S", "4"), ("100 m", "done"), ("123456789S", "done"), ("soon", "done")] {
        let server = Server::start(slow).await;
        assert_eq!(timed(&server, timeout).await, wanted, "{timeout}");
        server.running.abort();
    }
}

#[tokio::test]
async fn the_server_is_told_how_long_the_client_waits() {
    let said = |request: Request<Incoming>, _| async move {
        succeeded(request.headers().get("grpc-timeout").map(|value| value.as_bytes()).unwrap_or_default())
    };
    let server = Server::start(said).await;
    let reply = client().call(&server.url, HeaderMap::new(), b"", None).await.unwrap();
    assert_eq!(&reply.message[..], b"2000m");
}

#[tokio::test]
async fn calls_that_their_client_has_given_up_are_counted_until_they_end() {
    let (begun, open) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (told, gate) = (begun.clone(), open.clone());
    let server = Server::start(move |_, _| {
        let (told, gate) = (told.clone(), gate.clone());
        async move {
            told.notify_one();
            gate.acquire().await.unwrap().forget();
            succeeded(b"")
        }
    });
    let server = server.await;
    let tcp = TcpStream::connect(("127.0.0.1", server.url.port().unwrap())).await.unwrap();
    let shake = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(tcp));
    let (mut send, connection) = shake.await.unwrap();
    let driving = tokio::spawn(connection);
    let request = || {
        let mut request = Request::new(http_body_util::Full::new(framed(b"", false)));
        *request.uri_mut() = server.url.as_str().parse().unwrap();
        request
    };
    for _ in 0..server::MAX_CALLS {
        send.ready().await.unwrap();
        let call = tokio::spawn(send.send_request(request()));
        begun.notified().await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    send.ready().await.unwrap();
    let refused = send.send_request(request()).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "14");
    open.add_permits(server::MAX_CALLS as usize + 1);
    while open.available_permits() != 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    send.ready().await.unwrap();
    assert!(!send.send_request(request()).await.unwrap().headers().contains_key("grpc-status"));
    drop((send, refused));
    server.running.await.unwrap();
    driving.await.unwrap().unwrap();
}

#[test]
fn a_body_is_one_message() {
    let of = |body: &[u8]| message_of(Bytes::copy_from_slice(body));
    assert_eq!(of(&[0, 0, 0, 0, 2, b'a', b'b']).unwrap(), (Bytes::from_static(b"ab"), false));
    assert_eq!(of(&[1, 0, 0, 0, 0]).unwrap(), (Bytes::new(), true));
    for (body, why) in [
        (&b""[..], "no message"),
        (&[0, 0, 0, 0], "no message"),
        (&[0, 0, 0, 0, 3, 1], "not whole"),
        (&[0, 255, 255, 255, 255, 1], "not whole"),
        (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "several messages"),
        (&[2, 0, 0, 0, 0], "malformed"),
    ] {
        assert!(of(body).unwrap_err().contains(why), "{body:?}");
    }
}
