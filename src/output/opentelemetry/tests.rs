//! Chunks to a stand-in: what is sent, and what its answers lead to.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;

use super::*;
use crate::event::{BatchBuilder, Packing, json, pack};
use crate::net::grpc::{self, Served};
use crate::net::otlp::{EXPORT, Limits, read_proto};
use crate::net::tls::Stream;
use crate::output::service::testing::{Asked, Reply, Service, chunk, fault, start, told, yes};

fn to(service: &Service, more: &str) -> String {
    format!("<http>\nendpoint http://127.0.0.1:{}\nread_timeout 1\n{more}\n</http>\n", service.port)
}

/// Records of a request, as JSON.
fn records(asked: &Asked) -> Vec<String> {
    records_of(&asked.body)
}

fn records_of(body: &[u8]) -> Vec<String> {
    let mut batch = BatchBuilder::new();
    read_proto(body, &Limits { bytes: 1 << 20 }, &mut batch).unwrap();
    let batch = batch.finish(crate::event::Tag::from("t"));
    let each = batch.entries().map(|entry| {
        let (entry, arena, mut text) = (entry.unwrap(), Arena::new(), Vec::new());
        json::write_record(&Record::decode(entry.record, &arena).unwrap(), &mut text);
        format!("{} {}", entry.time.nanos(), String::from_utf8(text).unwrap())
    });
    each.collect()
}

#[tokio::test]
async fn events_are_log_records() {
    let service = Service::start(|_, _| yes("")).await;
    let parameters = to(&service, "compress gzip\nheaders {\"api-key\":\"k\"}");
    let parameters = format!(
        "{parameters}severity_key level\nresource_attributes {{\"service.name\":\"shop\"}}\n<inject>\ntag_key tag\n</inject>"
    );
    let output: Opentelemetry = start(&parameters).await;
    let own = r#"{"body":"kept","attributes":{"a":1},"resource":{"service.name":"own"}}"#;
    assert_eq!(told(output.write(&chunk("app", &[r#"{"message":"m","level":"error","n":1}"#])).await), "ok");
    let output: Opentelemetry = start(&to(&service, "")).await;
    assert_eq!(told(output.write(&chunk("app", &[own])).await), "ok");
    let asked = service.asked();
    for line in ["post /v1/logs http", "content-type: application/x-protobuf", "api-key: k", "content-encoding: gzip"] {
        assert!(asked[0].head.contains(line), "{line} in {}", asked[0].head);
    }
    let first = "1700000000000000005 {\"severity_number\":17,\"severity_text\":\"error\",\"body\":\"m\",\"attributes\":\
         {\"level\":\"error\",\"n\":1,\"tag\":\"app\"},\"resource\":{\"service.name\":\"shop\"}}";
    assert_eq!(records(&asked[0]), [first]);
    let second =
        "1700000000000000005 {\"body\":\"kept\",\"attributes\":{\"a\":1},\"resource\":{\"service.name\":\"own\"}}";
    assert_eq!(records(&asked[1]), [second]);
}

/// An answer with a body of protobuf.
fn proto(head: &'static str, body: &[u8]) -> Reply {
    Reply::Say(head, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn answers_decide_what_becomes_of_the_chunk() {
    let outcome = async |reply: Reply, more: &str| {
        let service = Service::start(move |_, _| reply.clone()).await;
        let output: Opentelemetry = start(&to(&service, more)).await;
        let outcome = told(output.write(&chunk("t", &[r#"{"message":"a"}"#, r#"{"message":"b"}"#])).await);
        (outcome, output.counts()[0].1)
    };
    let say = |head: &'static str| Reply::Say(head, "said".into());
    for retried in ["429 Too Many Requests", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"] {
        assert!(outcome(say(retried), "").await.0.starts_with("retry"), "{retried}");
    }
    assert!(outcome(say("500 Internal Server Error"), "").await.0.starts_with("refused 500"));
    assert_eq!(outcome(say("500 Internal Server Error"), "error_response_as_unrecoverable false").await.0, "ok");
    assert!(outcome(say("500 Internal Server Error"), "retryable_response_codes 500").await.0.starts_with("retry 500"));
    assert!(outcome(say("400 Bad Request"), "").await.0.starts_with("refused 2 of 2 events were refused: 400"));
    assert!(outcome(say("401 Unauthorized"), "").await.0.contains("What helps"));
    assert!(outcome(say("404 Not Found"), "").await.0.contains("What helps: look at endpoint"));
    assert!(outcome(yes("<html>login</html>"), "").await.0.contains("no answer of an OpenTelemetry server"));
    // One of two: which one is not said, so none is sent again.
    assert_eq!(outcome(proto("200 OK", b"\x0a\x07\x08\x01\x12\x03bad"), "").await, ("ok".into(), 1));
    let json = Reply::Say(
        "200 OK\r\nContent-Type: application/json",
        r#"{"partialSuccess":{"rejectedLogRecords":"1"}}"#.into(),
    );
    assert_eq!(outcome(json, "").await, ("ok".into(), 1));
    let all = outcome(proto("200 OK", b"\x0a\x07\x08\x02\x12\x03bad"), "").await;
    assert_eq!((all.0.as_str(), all.1), ("refused 2 of 2 events were refused: rejected: bad", 0));
    for broken in [Reply::Cut, Reply::Close, Reply::Hang, Reply::Pour] {
        assert!(outcome(broken.clone(), "").await.0.starts_with("retry http://127.0.0.1:"), "{broken:?}");
    }
}

#[tokio::test]
async fn a_record_that_is_refused_is_found() {
    let service = Service::start(|_, asked| match records(asked).iter().any(|record| record.contains("bad")) {
        true => Reply::Say("400 Bad Request", "no".into()),
        false => yes(""),
    });
    let service = service.await;
    let output: Opentelemetry = start(&to(&service, "")).await;
    let all: Vec<String> =
        (0..30).map(|n| format!("{{\"message\":\"{} {n}\"}}", if n == 17 { "bad" } else { "good" })).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(told(output.write(&chunk("t", &all)).await), "partial 17 400 Bad Request no");
    let good = |asked: &Asked| records(asked).into_iter().filter(|record| record.contains("good")).collect::<Vec<_>>();
    let taken: Vec<String> =
        service.asked().iter().filter(|a| !records(a).iter().any(|r| r.contains("bad"))).flat_map(good).collect();
    assert_eq!(taken.len(), 29);
}

#[tokio::test]
async fn the_pause_that_a_server_asks_for_is_kept() {
    let status = Status { code: 14, message: "slow".into(), retry: Some(Duration::from_secs(100)) }.write();
    let reply = proto("503 Service Unavailable\r\nContent-Type: application/x-protobuf", &status);
    let service = Service::start(move |_, _| reply.clone()).await;
    let output: Opentelemetry = start(&to(&service, "")).await;
    let chunk = chunk("t", &["{}"]);
    assert_eq!(told(output.write(&chunk).await), "retry 503 Service Unavailable slow");
    assert!(told(output.write(&chunk).await).contains("left alone"));
    assert_eq!(service.asked().len(), 1);
}

/// A gRPC server that answers each call in the same way, and what it was sent.
async fn rpc(answer: fn() -> Served) -> (u16, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let got: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let seen = got.clone();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let seen = seen.clone();
            let service = move |request: hyper::Request<hyper::body::Incoming>, _| {
                let seen = seen.clone();
                async move {
                    let packed_as = request.headers().get("grpc-encoding").cloned();
                    assert_eq!(request.headers()["api-key"], "k");
                    assert_eq!(request.uri().path(), EXPORT);
                    let (message, packed) =
                        grpc::message_of(request.into_body().collect().await.unwrap().to_bytes()).unwrap();
                    assert_eq!(packed, packed_as.is_some_and(|name| name == "gzip"));
                    let plain = if packed {
                        pack::inflate(&message, Packing::Gzip, 1 << 20).unwrap()
                    } else {
                        message.to_vec()
                    };
                    seen.lock().unwrap().push(plain);
                    answer()
                }
            };
            tokio::spawn(grpc::serve_connection(Stream::Plain(tcp), std::future::pending(), service));
        }
    });
    (port, got)
}

#[tokio::test]
async fn statuses_of_grpc_decide_what_becomes_of_the_chunk() {
    let outcome = async |answer: fn() -> Served, more: &str| {
        let (port, got) = rpc(answer).await;
        let section = format!("<grpc>\nendpoint 127.0.0.1:{port}\nheaders {{\"api-key\":\"k\"}}\n{more}\n</grpc>\n");
        let output: Opentelemetry = start(&section).await;
        let outcome = told(output.write(&chunk("t", &[r#"{"message":"a"}"#, r#"{"message":"b"}"#])).await);
        let got = got.lock().unwrap().iter().map(|body| records_of(body).len()).collect::<Vec<_>>();
        (outcome, output.counts()[0].1, got)
    };
    let taken = || grpc::succeeded(b"");
    assert_eq!(outcome(taken, "").await, ("ok".into(), 0, vec![2]));
    assert_eq!(outcome(taken, "compress gzip").await, ("ok".into(), 0, vec![2]));
    assert_eq!(outcome(|| grpc::succeeded(b"\x0a\x07\x08\x01\x12\x03bad"), "").await, ("ok".into(), 1, vec![2]));
    let busy = outcome(|| grpc::failed(14, "full"), "").await;
    assert!(busy.0.starts_with("retry") && busy.0.contains("status 14 full"), "{busy:?}");
    assert!(outcome(|| grpc::failed(4, "late"), "").await.0.starts_with("retry"));
    assert!(outcome(|| grpc::failed(13, "bug"), "").await.0.starts_with("refused"));
    assert!(outcome(|| grpc::failed(16, "who?"), "").await.0.contains("look at headers"));
    assert!(outcome(|| grpc::failed(12, "what?"), "").await.0.contains("look at endpoint"));
    // Too large: halves are tried, and single records at last.
    let large = outcome(|| grpc::failed(8, "larger than max"), "").await;
    assert_eq!(large.2, [2, 1, 1]);
    let bad = outcome(|| grpc::failed(3, "no"), "").await;
    assert!(bad.0.starts_with("refused 2 of 2"), "{bad:?}");
}

#[test]
fn faults_are_named() {
    assert!(fault::<Opentelemetry>("").contains("Please configure either <http> or <grpc> section."));
    assert!(fault::<Opentelemetry>("<http>\n</http>\n<grpc>\n</grpc>").contains("not both"));
    assert!(fault::<Opentelemetry>("<grpc>\nendpoint ftp://a:1\n</grpc>").contains("endpoint"));
    assert!(fault::<Opentelemetry>("<http>\nendpoint a:1\n</http>").contains("endpoint"));
    assert!(fault::<Opentelemetry>("<http>\ncompress zip\n</http>").contains("zip"));
    assert!(fault::<Opentelemetry>("<http>\n</http>\n<transport tcp>\n</transport>").contains("<transport tls>"));
}
