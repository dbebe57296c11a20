//! Requests over real connections, and what of them is emitted.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::event::{Arena, EventTime, Packing, Record, json, pack};
use crate::input::forward::testing::Collector;
use crate::input::wire::testing;
use crate::net::grpc::Client;
use crate::net::http::{ClientError, ClientOptions};
use crate::net::otlp::{Status, request, write_record};
use crate::net::tls::{ClientSettings, ClientTls, Verify};
use crate::plugin::{EmitError, Stopper};

fn build(parameters: &str) -> Opentelemetry {
    testing::build(&format!("@type opentelemetry\n{parameters}"))
}

fn fault(parameters: &str) -> String {
    testing::faults::<Opentelemetry>(&format!("@type opentelemetry\n{parameters}"))
}

struct Server {
    address: SocketAddr,
    grpc: Option<SocketAddr>,
    got: Arc<Collector>,
    stopper: Stopper,
    running: JoinHandle<Result<(), InputError>>,
}

struct Answer(Vec<u8>);

impl Answer {
    fn status(&self) -> u16 {
        String::from_utf8_lossy(&self.0).split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    fn head(&self) -> String {
        let end = memchr::memmem::find(&self.0, b"\r\n\r\n").unwrap();
        String::from_utf8_lossy(&self.0[..end]).to_ascii_lowercase()
    }

    fn body(&self) -> &[u8] {
        &self.0[memchr::memmem::find(&self.0, b"\r\n\r\n").unwrap() + 4..]
    }
}

impl Server {
    async fn start(parameters: &str) -> Server {
        let parameters = format!("tag otel\n<http>\nbind 127.0.0.1\nport 0\n</http>\n{parameters}");
        let mut input = build(&parameters);
        input.open().await.unwrap();
        let addresses: Vec<SocketAddr> = input.opened.iter().map(|d| d.listener.local_addr().unwrap()).collect();
        let (got, emit) = Collector::emitter();
        let stopper = Stopper::new();
        let running = tokio::spawn(input.run(emit, stopper.listener()));
        Server { address: addresses[0], grpc: addresses.get(1).copied(), got, stopper, running }
    }

    /// A call over gRPC; gives the status and what is said of it.
    async fn call(&self, method: &str, message: &[u8], packed: Option<&'static str>) -> (u64, String) {
        self.call_by(ClientOptions::default(), method, message, packed).await.unwrap()
    }

    async fn call_by(
        &self,
        options: ClientOptions,
        method: &str,
        message: &[u8],
        packed: Option<&'static str>,
    ) -> Result<(u64, String), ClientError> {
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/{method}", self.grpc.unwrap()).parse().unwrap();
        let reply = Client::new(options).call(&url, HeaderMap::new(), message, packed).await?;
        Ok((reply.code, reply.why))
    }

    async fn send(&self, head: &str, body: &[u8]) -> Answer {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        let _ = tcp.write_all(&[head.as_bytes(), body].concat()).await;
        let mut got = Vec::new();
        let _ = tcp.read_to_end(&mut got).await;
        Answer(got)
    }

    async fn proto(&self, more: &str, body: &[u8]) -> Answer {
        self.send(&format!("POST /v1/logs HTTP/1.1\r\nContent-Type: application/x-protobuf{more}"), body).await
    }

    async fn json(&self, body: &str) -> Answer {
        self.send("POST /v1/logs HTTP/1.1\r\nContent-Type: application/json; charset=utf-8", body.as_bytes()).await
    }

    fn events(&self) -> Vec<String> {
        let state = self.got.state();
        let mut lines = Vec::new();
        for batch in &state.batches {
            for entry in batch.entries().map(Result::unwrap) {
                let (arena, mut text) = (Arena::new(), Vec::new());
                json::write_record(&Record::decode(entry.record, &arena).unwrap(), &mut text);
                lines.push(format!("{} {} {}", batch.tag, entry.time.secs(), String::from_utf8(text).unwrap()));
            }
        }
        lines
    }

    async fn end(self) {
        self.stopper.stop();
        self.running.await.unwrap().unwrap();
    }
}

/// A request of one record.
fn body(message: &str) -> Vec<u8> {
    let mut record = Record::new();
    record.push(b"message", crate::event::Value::str(message));
    let placed = write_record(EventTime::from_secs(1_700_000_000), &record, b"message", None, &[]);
    request([placed].iter())
}

const JSON: &str =
    r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5000000000","body":{"stringValue":"j"}}]}]}]}"#;

#[tokio::test]
async fn records_are_events_and_the_answer_is_in_the_requests_encoding() {
    let server = Server::start("").await;
    let answer = server.proto("", &body("p")).await;
    assert_eq!((answer.status(), answer.body()), (200, &b""[..]));
    assert!(answer.head().contains("content-type: application/x-protobuf"));
    let packed = pack::deflate(&body("gz"), Packing::Gzip).unwrap();
    assert_eq!(server.proto("\r\nContent-Encoding: gzip", &packed).await.status(), 200);
    let answer = server.json(JSON).await;
    assert_eq!((answer.status(), answer.body()), (200, &b"{}"[..]));
    assert!(answer.head().contains("content-type: application/json"));
    let wanted = [r#"otel 1700000000 {"body":"p"}"#, r#"otel 1700000000 {"body":"gz"}"#, r#"otel 5 {"body":"j"}"#];
    assert_eq!(server.events(), wanted);
    server.end().await;
}

const EXPORT: &str = "opentelemetry.proto.collector.logs.v1.LogsService/Export";
const GRPC: &str = "<grpc>\nbind 127.0.0.1\nport 0\n</grpc>";

#[tokio::test]
async fn calls_over_grpc_are_requests_too() {
    let server = Server::start(&format!("body_size_limit 10k\ndecompression_size_limit 20k\n{GRPC}")).await;
    assert_eq!(server.call(EXPORT, &body("p"), None).await.0, 0);
    for packing in [Packing::Gzip, Packing::Zstd] {
        let (name, packed) = (packing, pack::deflate(&body("packed"), packing).unwrap());
        let name = if name == Packing::Gzip { "gzip" } else { "zstd" };
        assert_eq!(server.call(EXPORT, &packed, Some(name)).await.0, 0, "{name}");
    }
    assert_eq!(server.proto("", &body("h")).await.status(), 200);
    let wanted = ["p", "packed", "packed", "h"].map(|text| format!("otel 1700000000 {{\"body\":\"{text}\"}}"));
    assert_eq!(server.events(), wanted);
    // The last is said first.
    server.got.refuse([EmitError::Refused("too long".into()), EmitError::Full("disk".into())]);
    let refused = server.call(EXPORT, &body("a"), None).await;
    assert!(refused.0 == 14 && refused.1.contains("disk"), "{refused:?}");
    let refused = server.call(EXPORT, &body("a"), None).await;
    assert!(refused.0 == 3 && refused.1.contains("too long"), "{refused:?}");
    assert_eq!(server.call(EXPORT, b"\x0a\xff", None).await.0, 3);
    assert_eq!(server.call(EXPORT, &body("a"), Some("snappy")).await.0, 12);
    assert_eq!(server.call(EXPORT, &body(&"x".repeat(20_000)), None).await.0, 8);
    let bomb = pack::deflate(&vec![0; 1 << 20], Packing::Gzip).unwrap();
    assert_eq!(server.call(EXPORT, &bomb, Some("gzip")).await.0, 3);
    let traces = server.call("opentelemetry.proto.collector.trace.v1.TraceService/Export", b"", None).await;
    assert!(traces.0 == 12 && traces.1.contains("logs are taken here"), "{traces:?}");
    assert_eq!(server.events().len(), wanted.len());
    server.end().await;
}

#[tokio::test]
async fn the_head_of_a_call_says_what_it_is() {
    let server = Server::start(GRPC).await;
    let tcp = TcpStream::connect(server.grpc.unwrap()).await.unwrap();
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    let driving = tokio::spawn(connection);
    let message = body("c");
    let frame = [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat();
    for (method, media, status) in [
        (Method::POST, "Application/gRPC+proto; charset=x", None),
        (Method::POST, "application/json", Some("12")),
        (Method::PUT, "application/grpc", Some("12")),
        (Method::GET, "application/grpc", Some("12")),
    ] {
        let request = Request::builder().method(&method).uri(format!("http://x/{EXPORT}")).header(CONTENT_TYPE, media);
        let request = request.body(Full::new(Bytes::from(frame.clone()))).unwrap();
        let answer = send.send_request(request).await.unwrap();
        assert_eq!(answer.headers().get("grpc-status").map(|s| s.to_str().unwrap()), status, "{method} {media}");
    }
    assert_eq!(server.events().len(), 1);
    drop(send);
    driving.await.unwrap().unwrap();
    server.end().await;
}

#[tokio::test]
async fn a_call_ends_when_its_client_stops_waiting_for_room() {
    let server = Server::start(GRPC).await;
    server.got.shut(true);
    let options = ClientOptions { read_timeout: Duration::from_millis(400), ..ClientOptions::default() };
    let began = std::time::Instant::now();
    let reply = server.call_by(options, EXPORT, &body("a"), None).await;
    // Its own patience ends at the same time.
    assert!(reply.as_ref().map_or(true, |(code, _)| *code == 4), "{reply:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    server.got.shut(false);
    assert_eq!(server.call(EXPORT, &body("b"), None).await.0, 0);
    server.end().await;
}

#[tokio::test]
async fn a_client_at_the_wrong_port_is_told_where_to_go() {
    let mut server = Server::start(GRPC).await;
    let grpc = server.grpc.unwrap();
    // The other way: to the port of HTTP by HTTP/2.
    let url = format!("http://{}/{EXPORT}", server.address).parse().unwrap();
    let astray = Client::new(ClientOptions::default()).call(&url, HeaderMap::new(), &body("a"), None).await;
    assert!(matches!(astray, Err(ClientError::Broken(_) | ClientError::Connect(_))), "{astray:?}");
    let http = std::mem::replace(&mut server.address, grpc);
    for large in [10, 3 << 20] {
        let answer = server.proto("", &body(&"x".repeat(large))).await;
        assert_eq!(answer.status(), 400);
        let said = String::from_utf8_lossy(answer.body()).into_owned();
        assert_eq!(said, "this port speaks gRPC (HTTP/2); OTLP over HTTP/1.1 is at port 0\n");
    }
    assert_eq!(server.send("GET / HTTP/1.1", b"").await.status(), 400);
    server.address = http;
    assert_eq!(server.proto("", &body("a")).await.status(), 200);
    assert_eq!(server.call(EXPORT, &body("b"), None).await.0, 0);
    server.end().await;
    let alone = build("tag a\n<grpc>\nbind 127.0.0.1\n</grpc>");
    assert!(alone.settings.elsewhere(Wire::Grpc).ends_with("needs <http>"));
}

#[tokio::test]
async fn calls_over_tls_choose_http2() {
    let server = Server::start(&format!("{GRPC}\n<transport tls>\ninsecure true\n</transport>")).await;
    let by = async |alpn| {
        let verify = Verify { nothing: true, ..Verify::default() };
        let tls = ClientTls::open(&ClientSettings { verify, alpn, ..ClientSettings::default() }).unwrap();
        server.call_by(ClientOptions { tls: Some(tls), ..ClientOptions::default() }, EXPORT, &body("s"), None).await
    };
    assert_eq!(by(&["h2"]).await.unwrap().0, 0);
    // One that asks for nothing is served too; one that asks for something else is not.
    assert_eq!(by(&[]).await.unwrap().0, 0);
    assert!(matches!(by(&["http/1.1"]).await, Err(ClientError::Connect(_))));
    assert_eq!(server.events().len(), 2);
    server.end().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_stored() {
    let server = Server::start("").await;
    server.got.refuse([EmitError::Full("disk".into()), EmitError::Refused("too long".into()), EmitError::Closed]);
    let answer = server.proto("", &body("a")).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.head().contains("retry-after: 1"));
    assert_eq!(Status::read(answer.body()).unwrap().code, 14);
    let answer = server.json(JSON).await;
    assert_eq!(answer.status(), 400);
    assert!(String::from_utf8_lossy(answer.body()).contains("too long"));
    assert_eq!(server.proto("", &body("a")).await.status(), 503);
    assert_eq!(server.events(), [""; 0]);
    server.end().await;
}

#[tokio::test]
async fn what_is_no_request_for_logs_is_refused_with_the_reason() {
    let server = Server::start("body_size_limit 10k\ndecompression_size_limit 20k").await;
    let answer = server.json("{\"resourceLogs\":[").await;
    assert_eq!(answer.status(), 400);
    let said: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    assert!(said["code"] == 3 && said["message"].as_str().unwrap().contains("no request for logs"), "{said}");
    assert_eq!(server.proto("", b"\x0a\xff").await.status(), 400);
    assert_eq!(server.proto("", &body(&"x".repeat(20_000))).await.status(), 413);
    let bomb = pack::deflate(&vec![0; 1 << 20], Packing::Gzip).unwrap();
    assert!(bomb.len() < 10_000);
    assert_eq!(server.proto("\r\nContent-Encoding: gzip", &bomb).await.status(), 400);
    assert_eq!(server.proto("\r\nContent-Encoding: br", &body("a")).await.status(), 400);
    assert_eq!(server.send("POST /v1/logs HTTP/1.1\r\nContent-Type: text/plain", b"x").await.status(), 415);
    assert_eq!(server.send("POST /v1/traces HTTP/1.1\r\nContent-Type: application/json", b"{}").await.status(), 404);
    assert_eq!(server.send("GET /v1/logs HTTP/1.1", b"").await.status(), 405);
    assert_eq!(server.json(JSON).await.status(), 200);
    server.end().await;
}

#[tokio::test]
async fn a_resource_that_is_repeated_without_end_is_refused() {
    let server = Server::start("decompression_size_limit 1m").await;
    let records = "{},".repeat(10_000);
    let attribute = format!("{{\"key\":\"k\",\"value\":{{\"stringValue\":\"{}\"}}}}", "v".repeat(10_000));
    let text = format!(
        "{{\"resourceLogs\":[{{\"resource\":{{\"attributes\":[{attribute}]}},\"scopeLogs\":[{{\"logRecords\":[{records}{{}}]}}]}}]}}"
    );
    let answer = server.json(&text).await;
    assert_eq!(answer.status(), 413);
    assert!(String::from_utf8_lossy(answer.body()).contains("larger than the limit"));
    server.end().await;
}

#[test]
fn faults_are_named() {
    assert!(fault("tag a").contains("Please configure either <http> or <grpc> section"));
    assert!(fault("<http>\n</http>").contains("tag"));
    assert!(fault("tag a\nbody_size_limit 0\n<http>\n</http>").contains("more than 0"));
    assert!(fault("tag a\n<http>\n</http>\n<transport tls>\n</transport>").contains("cert_path"));
    let both = build("tag a.${type}\n<http>\n</http>\n<grpc>\nbind 127.0.0.1\n</grpc>");
    let exposed: Vec<bool> = both.params.places().iter().map(|place| both.params.exposed(place).is_some()).collect();
    assert_eq!((exposed, &*both.settings.tag), (vec![true, false], "a.logs"));
}
