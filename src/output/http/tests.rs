//! Chunks against raw sockets and against the server's side.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::buffer::ChunkKey;
use crate::config::Diagnostics;
use crate::event::{Batch, BatchBuilder, EventTime, Record, Tag, Value};
use crate::output::service::testing::{Service, configured, yes};
use crate::plugin::Stopper;

fn build(parameters: &str) -> Result<(Http, Diagnostics), Diagnostics> {
    let text = format!("<match **>\n@type http\n{parameters}\n</match>\n");
    configured(&text, false)
}

fn fault(parameters: &str) -> String {
    build(parameters).err().unwrap_or_else(|| panic!("no fault in {parameters}")).render()
}

fn batch(tag: &str, numbers: &[i64]) -> Batch {
    let mut builder = BatchBuilder::new();
    for n in numbers {
        let mut record = Record::new();
        record.set(b"n", Value::Int(*n));
        builder.push(EventTime::from_secs(*n), &record);
    }
    builder.finish(Tag::from(tag))
}

/// A chunk under a tag.
fn chunk(tag: &str, numbers: &[i64]) -> Chunk {
    let key = ChunkKey { tag: Some(Tag::from(tag)), ..ChunkKey::default() };
    Chunk::of(key, &batch(tag, numbers))
}

/// A target with fixed answers, each on a connection of its own; gives the requests, whole.
async fn target(answers: &'static [&'static str]) -> (SocketAddr, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut seen = Vec::new();
        for answer in answers {
            let mut tcp = listener.accept().await.unwrap().0;
            let mut got = Vec::new();
            while !is_whole(&got) && tcp.read_buf(&mut got).await.unwrap() > 0 {}
            seen.push(got);
            tcp.write_all(answer.as_bytes()).await.unwrap();
        }
        seen
    });
    (address, serving)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
    request.len() >= head.len() + 4 + length
}

async fn send(parameters: &str, chunk: &Chunk) -> Result<(), WriteError> {
    let (output, _) = build(parameters).unwrap_or_else(|faults| panic!("{}", faults.render()));
    output.start(Stopper::new().listener()).await.unwrap();
    let outcome = output.write(chunk).await;
    output.close().await;
    outcome
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What one request with these parameters looks like; `{}` is the target's address.
async fn request_of(parameters: &str, chunk: &Chunk) -> (String, Vec<u8>) {
    let (address, serving) = target(&[OK]).await;
    send(&parameters.replace("{}", &address.to_string()), chunk).await.unwrap();
    let request = serving.await.unwrap().remove(0);
    let end = memchr::memmem::find(&request, b"\r\n\r\n").unwrap();
    let head = String::from_utf8(request[..end].to_vec()).unwrap().replace(&address.to_string(), "ADDRESS");
    (head.to_ascii_lowercase(), request[end + 4..].to_vec())
}

#[tokio::test]
async fn a_chunk_is_one_request_with_a_line_for_each_event() {
    let (head, body) = request_of("endpoint http://{}/api", &chunk("t", &[1, 2])).await;
    assert!(head.starts_with("post /api http/1.1\r\n") && head.contains("host: address\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-ndjson"));
    assert_eq!(body, b"{\"n\":1}\n{\"n\":2}\n");
}

#[tokio::test]
async fn the_request_is_as_configured() {
    let parameters = "endpoint http://{}/${tag}/${tag[1]}?x=1\nhttp_method put\njson_array true\n\
        headers {\"X-A\":\"a\"}\nheaders_from_placeholders {\"X-Tag\":\"<${tag}>\",\"Idempotency-Key\":\"${chunk_id}\"}\n\
        <auth>\nmethod basic\nusername u\npassword p\n</auth>\n<buffer tag>\n</buffer>";
    let chunk = chunk("app.lo g/x", &[1, 2]);
    let (head, body) = request_of(parameters, &chunk).await;
    assert!(head.starts_with("put /app.lo%20g/x/lo%20g/x?x=1 http/1.1\r\n"), "{head}");
    for line in ["x-a: a", "x-tag: <app.lo g/x>", "authorization: basic dtpw", "content-type: application/json"] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(head.contains(&format!("idempotency-key: {}", chunk.id())));
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body, serde_json::json!([{"n": 1}, {"n": 2}]));
}

#[tokio::test]
async fn bodies_are_packed_and_formatted() {
    let (head, body) = request_of("endpoint http://{}/\ncompress gzip", &chunk("t", &[1])).await;
    assert!(head.contains("content-encoding: gzip"));
    assert_eq!(pack::inflate(&body, Packing::Gzip, 100).unwrap(), b"{\"n\":1}\n");
    let csv = "endpoint http://{}/\n<format>\n@type csv\nfields n\n</format>\n<inject>\ntag_key t\n</inject>";
    let (head, body) = request_of(csv, &chunk("t", &[1])).await;
    assert!(head.contains("content-type: text/csv") && body == b"\"1\"\n", "{body:?}");
}

#[tokio::test]
async fn answers_decide_what_becomes_of_the_chunk() {
    const ERROR: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 8\r\n\r\nno\x1b[31m\n";
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    const MANY: &str = "HTTP/1.1 429 Many\r\nContent-Length: 0\r\n\r\n";
    const MOVED: &str = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
    let send = async |answers: &'static [&'static str], more: &str| {
        let (address, _) = target(answers).await;
        match send(&format!("endpoint http://{address}/\n{more}"), &chunk("t", &[1])).await {
            Ok(()) => "ok".to_owned(),
            Err(WriteError::Retry(why)) => format!("retry {why}"),
            Err(other) => format!("reject {other}"),
        }
    };
    assert_eq!(send(&["HTTP/1.1 204 No Content\r\n\r\n"], "").await, "ok");
    assert_eq!(send(&[ERROR], "").await, "reject 400 Bad Request no\\u{1b}[31m");
    assert_eq!(send(&[ERROR], "error_response_as_unrecoverable false").await, "ok");
    assert!(send(&[BUSY], "").await.starts_with("retry 503"));
    assert!(send(&[BUSY], "retryable_response_codes 429").await.starts_with("reject 503"));
    assert!(send(&[MANY], "retryable_response_codes [429,503]").await.starts_with("retry 429"));
    assert!(send(&[MOVED], "").await.starts_with("reject 302"));
    assert!(send(&[CUT], "").await.starts_with("retry no whole answer"));
    assert!(send(&[""], "").await.starts_with("retry"));
}

#[tokio::test]
async fn a_target_that_is_not_there_is_tried_again() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = send(&format!("endpoint http://{address}/"), &chunk("t", &[1])).await;
    assert!(matches!(outcome, Err(WriteError::Retry(why)) if why.contains(&address.to_string())));
}

#[tokio::test]
async fn a_connection_is_used_again_only_where_asked_for() {
    let (address, serving) = target(&[OK, OK]).await;
    let parameters = format!("endpoint http://{address}/\nreuse_connections true");
    let (output, _) = build(&parameters).unwrap();
    output.start(Stopper::new().listener()).await.unwrap();
    // The target closes after each answer, so a stale connection is met and replaced.
    output.write(&chunk("t", &[1])).await.unwrap();
    output.write(&chunk("t", &[2])).await.unwrap();
    let requests = serving.await.unwrap();
    assert!(requests.iter().all(|r| !String::from_utf8_lossy(r).to_ascii_lowercase().contains("connection: close")));
}

#[tokio::test]
async fn hosts_come_from_the_operator_only() {
    assert!(fault("endpoint http://${tag}/x\n<buffer tag>\n</buffer>").contains("allowed_hosts"));
    assert!(fault("endpoint http://h:${tag}/x\n<buffer tag>\n</buffer>").contains("allowed_hosts"));
    assert!(fault("endpoint ${tag}/x\n<buffer tag>\n</buffer>").contains("http://"));
    let (address, serving) = target(&[OK]).await;
    let port = address.port();
    let parameters = format!("endpoint http://${{tag}}:{port}/\nallowed_hosts 127.0.0.1\n<buffer tag>\n</buffer>");
    send(&parameters, &chunk("127.0.0.1", &[1])).await.unwrap();
    serving.await.unwrap();
    let evil = send(&parameters, &chunk("evil.example", &[1])).await;
    assert!(matches!(evil, Err(WriteError::Reject(why)) if why.contains("Not allowed host")));
}

#[tokio::test]
async fn values_that_lead_elsewhere_are_rejected() {
    let parameters = "endpoint http://127.0.0.1:1/a/${tag}\n<buffer tag>\n</buffer>";
    for tag in ["../b", "a\nb", ".."] {
        assert!(matches!(send(parameters, &chunk(tag, &[1])).await, Err(WriteError::Reject(_))), "{tag:?}");
    }
}

#[test]
fn faults_are_named() {
    assert!(fault("endpoint ftp://h/").contains("http://"));
    assert!(fault("endpoint http:///x").contains("endpoint"));
    assert!(fault("endpoint http://h/${tag}").contains("chunk key 'tag' is not configured"));
    assert!(
        fault("endpoint http://h/\njson_array true\n<format>\n@type csv\nfields a\n</format>").contains("json_array")
    );
    assert!(fault("endpoint http://h/\nhttp_method get").contains("get"));
    assert!(fault("endpoint http://h/\nheaders {\"a b\":\"c\"}").contains("a b"));
    assert!(fault("endpoint http://h/\nproxy socks5://u:canary@p").contains("http://host:port"));
    let shown = fault("endpoint http://h/\nproxy socks5://u:canary@p");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(fault("endpoint https://h/\ntls_version TLSv1_1").contains("TLSv1_2"));
    assert!(fault("endpoint http://h/\n<auth>\nmethod aws_sigv4\n</auth>").contains("aws_service"));
    assert!(fault("json_array true").contains("endpoint"));
}

#[tokio::test]
async fn https_targets_are_checked_unless_told_otherwise() {
    let service = Service::start_secure(|_, _| yes("")).await;
    let port = service.port;
    let endpoint = format!("endpoint https://localhost:{port}/");
    if let Ok(()) = send(&endpoint, &chunk("t", &[1])).await {
        panic!("a self-signed certificate was trusted");
    }
    send(&format!("{endpoint}\ntls_verify_mode none"), &chunk("t", &[1])).await.unwrap();
    assert_eq!(service.asked().len(), 1);
}
