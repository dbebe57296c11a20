//! Requests over real connections, and what of them is emitted.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{Diagnostics, LoadOptions, load_text};
use crate::event::pack::deflate;
use crate::event::{Arena, EventTime, Packing, Record, json};
use crate::input::forward::testing::Collector;
use crate::plugin::testing::process;
use crate::plugin::{EmitError, Registry, Stopper};
use crate::{filter, formatter, input, output, parser};

static REGISTRY: Registry = Registry {
    inputs: input::INPUTS,
    filters: filter::FILTERS,
    outputs: output::OUTPUTS,
    parsers: parser::PARSERS,
    formatters: formatter::FORMATTERS,
};

/// The input of a configuration; `parameters` go into its section.
fn build(parameters: &str) -> Result<Http, Diagnostics> {
    let text = format!("<source>\n@type http\nbind 127.0.0.1\nport 0\n{parameters}\n</source>\n");
    let loaded = load_text("test.conf", &text, &LoadOptions::new(crate::config::Surroundings::default()))?;
    let (process, mut faults) = (process(false), Diagnostics::new());
    let section = loaded.root.child("source").unwrap();
    let built = BuildContext::new(section, &process, &REGISTRY, &mut faults).configure::<Http>();
    built.ok_or(faults)
}

struct Server {
    address: SocketAddr,
    got: Arc<Collector>,
    stopper: Stopper,
    running: JoinHandle<Result<(), InputError>>,
}

impl Server {
    async fn start(parameters: &str) -> Server {
        let mut http = build(parameters).unwrap_or_else(|faults| panic!("{}", faults.render()));
        http.open().await.unwrap();
        let address = http.opened.as_ref().unwrap().0.local_addr().unwrap();
        let (got, emit) = Collector::emitter();
        let stopper = Stopper::new();
        let running = tokio::spawn(http.run(emit, stopper.listener()));
        Server { address, got, stopper, running }
    }

    /// Sends a request on a connection of its own; gives the whole answer.
    async fn send(&self, request: Vec<u8>) -> Answer {
        let mut tcp = TcpStream::connect(self.address).await.unwrap();
        let _ = tcp.write_all(&request).await;
        let mut got = Vec::new();
        let _ = tcp.read_to_end(&mut got).await;
        Answer(String::from_utf8_lossy(&got).into_owned())
    }

    async fn post(&self, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(request("POST", path, headers, body.as_ref())).await
    }

    async fn json(&self, path: &str, body: &str) -> Answer {
        self.post(path, "Content-Type: application/json\r\n", body).await
    }

    /// Every event so far: `tag seconds.nanoseconds {json}`, the time `NOW` where it is the test's own.
    fn events(&self) -> Vec<String> {
        let state = self.got.state();
        let mut lines = Vec::new();
        for batch in &state.batches {
            for entry in batch.entries().map(Result::unwrap) {
                let (arena, mut text) = (Arena::new(), Vec::new());
                json::write_record(&Record::decode(entry.record, &arena).unwrap(), &mut text);
                let recent = (entry.time.nanos() - EventTime::now().nanos()).abs() < 60_000_000_000;
                let mut line = format!("{} ", batch.tag);
                match recent {
                    true => line.push_str("NOW"),
                    false => write!(line, "{}.{:09}", entry.time.secs(), entry.time.subsec_nanos()).unwrap(),
                }
                lines.push(format!("{line} {}", String::from_utf8(text).unwrap()));
            }
        }
        lines
    }
}

struct Answer(String);

impl Answer {
    fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    fn has(&self, header: &str) -> bool {
        let head = self.0.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
        head.split("\r\n").any(|line| line == header.to_ascii_lowercase())
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

#[tokio::test]
async fn json_bodies_become_events_under_the_path() {
    let server = Server::start("").await;
    for (path, body) in [
        ("/app.log", r#"{"a":1,"s":"é"}"#),
        ("/app.log?time=1704067200", r#"{"a":2}"#),
        ("/app.log?time=1704067200.5", r#"{"a":3}"#),
        ("/app.log?time=1704067201", r#"[{"a":4},{"a":5}]"#),
        ("/a/b/c/?time=1704067202", r#"{"slashes":"to dots"}"#),
        ("/app.log?time=1704067203", r#"{"time":1704000000,"a":6}"#),
        ("/app.log", r#"{"time":1704000000.25,"a":7}"#),
        ("/app.log", r#"{"time":null,"a":8}"#),
        ("/app.log?time=1704067204", "[]"),
        ("/tag%20sp?time=0", r#"{"enc":1}"#),
    ] {
        let answer = server.json(path, body).await;
        assert_eq!((answer.status(), answer.body()), (200, ""), "{body}");
        assert!(answer.has("content-type: text/plain"));
    }
    let put = request("PUT", "/p?time=1", "Content-Type: application/json; charset=utf-8\r\n", b"{\"put\":1}");
    assert_eq!(server.send(put).await.status(), 200);
    assert_eq!(
        server.events(),
        [
            r#"app.log NOW {"a":1,"s":"é"}"#,
            r#"app.log 1704067200.000000000 {"a":2}"#,
            r#"app.log 1704067200.500000000 {"a":3}"#,
            r#"app.log 1704067201.000000000 {"a":4}"#,
            r#"app.log 1704067201.000000000 {"a":5}"#,
            r#"a.b.c 1704067202.000000000 {"slashes":"to dots"}"#,
            r#"app.log 1704067203.000000000 {"time":1704000000,"a":6}"#,
            r#"app.log 1704000000.250000000 {"a":7}"#,
            r#"app.log NOW {"a":8}"#,
            r#"tag%20sp NOW {"enc":1}"#,
            r#"p 1.000000000 {"put":1}"#,
        ]
    );
    assert_eq!(server.got.state().batches.len(), 10, "one request, one batch");
}

#[tokio::test]
async fn forms_and_multipart_bodies_carry_events() {
    let server = Server::start("").await;
    let multipart = "Content-Type: multipart/form-data; boundary=XX\r\n";
    let part = "--XX\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{\"a\":6}\r\n--XX--\r\n";
    for (path, headers, body, status) in [
        ("/f", FORM, "json=%7B%22a%22%3A1%7D&time=1704067200", 200),
        ("/f?time=1", FORM, "json=%5B%7B%22a%22%3A2%7D%2C%7B%22a%22%3A3%7D%5D", 200),
        ("/f?time=2", FORM, "msgpack=%81%A1a%04", 200),
        ("/f?time=3&json=%7B%22a%22%3A5%7D", "", "", 200),
        ("/f?time=4", multipart, part, 200),
        ("/f?time=5", "", "json={\"a\":7}", 400),
        ("/f?time=6", "Content-Type: text/plain\r\n", "{\"a\":8}", 400),
        ("/f?time=7", FORM, "ndjson=%7B%22a%22%3A9%7D%0D%0A%7B%22a%22%3A10%7D", 200),
        ("/f", FORM, "other=1", 400),
    ] {
        let answer = server.post(path, headers, body).await;
        assert_eq!(answer.status(), status, "{path} {body}");
        if status == 400 {
            assert_eq!(answer.body(), "400 Bad Request\n'json', 'ndjson' or 'msgpack' parameter is required\n");
        }
    }
    let times: Vec<String> = server.events().iter().map(|e| e.replace(".000000000", "")).collect();
    let expected = [(1_704_067_200, 1), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (7, 9), (7, 10)];
    assert_eq!(times, expected.map(|(time, a)| format!("f {time} {{\"a\":{a}}}")));
}

#[tokio::test]
async fn other_content_types_are_known_by_their_beginning() {
    let server = Server::start("").await;
    let send = async |kind: &str, body: &[u8]| {
        server.post("/t?time=1", &format!("Content-Type: {kind}\r\n"), body).await.status()
    };
    assert_eq!(send("application/msgpack", b"\x81\xa1a\x01").await, 200);
    assert_eq!(send("application/msgpack", b"\x92\x81\xa1a\x02\x81\xa1a\x03\x07\x81\xa1a\x04").await, 200);
    assert_eq!(send("application/msgpack", b"\x81\xa1").await, 400);
    assert_eq!(send("application/msgpack", b"\xc1").await, 400);
    assert_eq!(send("application/x-ndjson", b"{\"a\":5}\r\nbad\n\n[{\"a\":6}, {\"a\":}]\n{\"a\":7}").await, 200);
    assert_eq!(send("application/csp-report", b"{\"a\":8}").await, 200);
    assert_eq!(send("application/vnd.x+json", b"{\"a\":9}").await, 400);
    let a: Vec<String> = server.events().iter().map(|e| e.rsplit(':').next().unwrap().replace('}', "")).collect();
    assert_eq!(a, ["1", "2", "3", "4", "5", "7", "8"]);
}

#[tokio::test]
async fn get_is_answered_and_emits_nothing() {
    let server = Server::start("").await;
    let answer = server.send(request("GET", "/f?json=%7B%22get%22%3A1%7D", "", b"")).await;
    assert_eq!((answer.status(), answer.body()), (200, ""));
    assert!(answer.has("content-type: text/plain"));
    assert!(server.events().is_empty());
}

#[tokio::test]
async fn what_is_no_event_is_dropped_with_200_or_refused_where_strict() {
    let cases = ["{", "", "\"str\"", "null", "1", "[1,2]", "[{\"a\":1}", "{\"a\":1} x"];
    for (parameters, status) in [("", 200), ("strict true", 400)] {
        let server = Server::start(parameters).await;
        for body in cases {
            assert_eq!(server.json("/d", body).await.status(), status, "{parameters} {body}");
        }
        assert!(server.events().is_empty());
        assert_eq!(server.json("/d?time=1", "[1,{\"a\":2},[{}]]").await.status(), status);
        assert_eq!(server.events().len(), usize::from(status == 200));
        assert_eq!(server.json("/d?time=1", "[]").await.status(), 200);
    }
}

#[tokio::test]
async fn times_that_are_none_refuse_the_request() {
    let server = Server::start("").await;
    let answer = server.json("/t", r#"[{"a":1},{"time":"2024-01-01"}]"#).await;
    assert_eq!(answer.body(), "400 Bad Request\ncan't convert String into an exact number\n");
    for time in ["true", "[]", "{}"] {
        assert_eq!(server.json("/t", &format!("{{\"time\":{time}}}")).await.status(), 400);
    }
    assert!(server.events().is_empty());
    let server =
        Server::start("<parse>\ntime_key t\nkeep_time_key true\ntime_format %Y-%m-%d\nutc true\n</parse>").await;
    assert_eq!(server.json("/t", r#"{"t":"2024-01-01","time":"x"}"#).await.status(), 200);
    assert_eq!(server.json("/t", r#"{"t":"nonsense"}"#).await.status(), 400);
    assert_eq!(server.events(), [r#"t 1704067200.000000000 {"t":"2024-01-01","time":"x"}"#]);
}

#[tokio::test]
async fn a_configured_parser_reads_every_body() {
    let server = Server::start("<parse>\n@type regexp\nexpression /^(?<k>\\w+)=(?<v>\\w+)$/\n</parse>").await;
    assert_eq!(server.post("/p?time=1", "Content-Type: text/plain\r\n", "key=value").await.status(), 200);
    assert_eq!(server.post("/p?time=1", FORM, "no match").await.status(), 200);
    assert_eq!(server.events(), [r#"p 1.000000000 {"k":"key","v":"value"}"#]);
    let server = Server::start("<parse>\n@type json\n</parse>").await;
    for body in [r#"{"time":5,"a":1}"#, r#"[{"a":2},3,{"time":7,"a":4}]"#, r#"[{"a":5},"#] {
        assert_eq!(server.post("/j", "Content-Type: a/b\r\n", body).await.status(), 200);
    }
    let expected = [r#"j 5.000000000 {"a":1}"#, r#"j NOW {"a":2}"#, r#"j 7.000000000 {"a":4}"#];
    assert_eq!(server.events(), expected);
}

#[tokio::test]
async fn requests_add_to_their_records_what_is_asked_for() {
    let all = "add_http_headers true\nadd_remote_addr true\nadd_query_params true\nadd_tag_prefix pre";
    let server = Server::start(all).await;
    let headers = "Content-Type: application/json\r\nX-My-Header: v1\r\nX-Two: a\r\nX-Two: b\r\n";
    server.post("/h?time=1&x=1&long-name=v%20w&HTTP_Q=q", headers, "{\"a\":1,\"REMOTE_ADDR\":0}").await;
    server.post("/h?time=2", "Content-Type: application/json\r\nX-Forwarded-For: 10.1.2.3, 10.4.5.6\r\n", "[{}]").await;
    assert_eq!(
        server.events(),
        [
            r#"pre.h 1.000000000 {"a":1,"REMOTE_ADDR":"127.0.0.1","HTTP_Q":"q","HTTP_HOST":"h.example","HTTP_CONNECTION":"close","HTTP_CONTENT_LENGTH":"23","HTTP_CONTENT_TYPE":"application/json","HTTP_X_MY_HEADER":"v1","HTTP_X_TWO":["a","b"],"QUERY_TIME":"1","QUERY_X":"1","QUERY_LONG_NAME":"v w","QUERY_HTTP_Q":"q"}"#,
            r#"pre.h 2.000000000 {"HTTP_HOST":"h.example","HTTP_CONNECTION":"close","HTTP_CONTENT_LENGTH":"4","HTTP_CONTENT_TYPE":"application/json","HTTP_X_FORWARDED_FOR":"10.1.2.3, 10.4.5.6","QUERY_TIME":"2","REMOTE_ADDR":"10.1.2.3"}"#,
        ]
    );
}

#[tokio::test]
async fn answers_have_the_configured_form() {
    let server = Server::start("use_204_response true").await;
    let answer = server.json("/i", "{\"a\":2}").await;
    assert_eq!((answer.status(), answer.body()), (204, ""));
    assert!(answer.has("content-type: text/plain"));
    let server = Server::start("respond_with_empty_img true").await;
    let answer = server.json("/i", "{\"a\":2}").await;
    assert!(answer.has("content-type: image/gif; charset=utf-8") && answer.body().starts_with("GIF89a"));
    let expect = server.send(request("POST", "/", "Expect: something\r\n", b"")).await;
    assert_eq!(expect.status(), 417);
}

#[tokio::test]
async fn pages_may_send_as_far_as_their_origin_is_listed() {
    let ask = |origin: &str, method: &str| {
        let headers = format!("Origin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n");
        request("OPTIONS", "/c", &format!("{headers}Access-Control-Request-Headers: X-A\r\n"), b"")
    };
    let json = |origin: &str| format!("Content-Type: application/json\r\nOrigin: {origin}\r\n");
    let closed = Server::start("").await;
    assert_eq!(closed.send(ask("http://a.example", "POST")).await.status(), 403);
    assert_eq!(closed.post("/c", &json("http://a.example"), "{}").await.status(), 200);
    let simple = format!("{FORM}Origin: http://a.example\r\n");
    assert_eq!(closed.post("/c", &simple, "json={}").await.status(), 403);
    let any = Server::start("cors_allow_origins [\"*\"]").await;
    let answer = any.send(ask("http://ok.example", "POST")).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.has("access-control-allow-methods: POST") && answer.has("access-control-allow-headers: x-a"));
    assert!(answer.has("access-control-allow-origin: *") && answer.has("content-type: text/plain"));
    assert!(any.post("/c", &json("http://any.example"), "{}").await.has("access-control-allow-origin: *"));
    assert_eq!(any.send(ask("http://ok.example", "PUT")).await.status(), 403);
    let some = Server::start("cors_allow_origins [\"http://*.a.example\"]\ncors_allow_credentials true").await;
    let answer = some.send(ask("http://x.a.example", "POST")).await;
    assert!(answer.has("access-control-allow-origin: http://x.a.example"));
    assert!(answer.has("access-control-allow-credentials: true"));
    assert_eq!(some.send(ask("http://b.example", "POST")).await.status(), 403);
    assert_eq!(some.post("/c", &json("http://b.example"), "{}").await.status(), 403);
    assert_eq!(some.post("/c", "Content-Type: application/json\r\n", "{}").await.status(), 200);
    assert!(build("cors_allow_origins [\"*\"]\ncors_allow_credentials true").is_err());
    assert!(build("cors_allow_credentials true").is_err());
}

#[tokio::test]
async fn bodies_are_unpacked_and_limits_hold() {
    let server = Server::start("body_size_limit 1k\ndecompression_size_limit 10k").await;
    let packed = |encoding: &str| format!("Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n");
    let gzip = deflate(b"{\"a\":1}", Packing::Gzip).unwrap();
    assert_eq!(server.post("/g?time=1", &packed("gzip"), &gzip).await.status(), 200);
    assert_eq!(server.post("/g?time=1", &packed("gzip"), b"{\"a\":1}").await.status(), 400);
    let bomb = deflate(&vec![b' '; 100_000], Packing::Gzip).unwrap();
    assert_eq!(server.post("/g?time=1", &packed("gzip"), &bomb).await.status(), 400);
    let zstd = deflate(b"{\"a\":2}", Packing::Zstd).unwrap();
    assert_eq!(server.post("/g?time=1", &packed("zstd"), &zstd).await.status(), 200);
    let answer = server.json("/g", &" ".repeat(1025)).await;
    assert_eq!((answer.status(), answer.body()), (413, "Too large"));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    assert_eq!(server.json("/g", &format!("{{\"a\":{}", &deep[..900])).await.status(), 400);
    assert_eq!(server.json(&format!("/{}", "t".repeat(1025)), "{}").await.status(), 400);
    assert_eq!(server.events().len(), 2);
}

#[tokio::test]
async fn a_full_buffer_puts_the_sender_off() {
    let server = Server::start("").await;
    server.got.refuse([EmitError::Full("buffer space has too many data".into())]);
    let answer = server.json("/f", "{\"a\":1}").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.has("retry-after: 1"));
    server.got.refuse([EmitError::Refused("too large".into())]);
    assert_eq!(server.json("/f", "{\"a\":1}").await.status(), 400);
    assert!(server.events().is_empty());
    assert_eq!(server.json("/f", "{\"a\":1}").await.status(), 200);
}

#[tokio::test]
async fn a_repeated_request_is_answered_and_not_stored_again() {
    let server = Server::start("").await;
    let headers = "Content-Type: application/json\r\nIdempotency-Key: k1\r\n";
    server.got.refuse([EmitError::Full("x".into())]);
    assert_eq!(server.post("/r", headers, "{\"a\":1}").await.status(), 503);
    for _ in 0..3 {
        assert_eq!(server.post("/r", headers, "{\"a\":1}").await.status(), 200);
    }
    assert_eq!(server.events().len(), 1);
    assert_eq!(server.post("/other", headers, "{\"a\":1}").await.status(), 200);
    assert_eq!(server.events().len(), 2);
    let long = format!("Idempotency-Key: {}\r\nContent-Type: application/json\r\n", "k".repeat(300));
    assert_eq!(server.post("/r", &long, "{}").await.status(), 400);
}

#[tokio::test]
async fn the_same_request_twice_at_a_time_is_stored_once() {
    let server = Server::start("").await;
    server.got.shut(true);
    let headers = "Content-Type: application/json\r\nIdempotency-Key: k1\r\n";
    let (first, second) = tokio::join!(server.post("/r", headers, "{\"a\":1}"), async {
        // Whichever comes first waits in the route; the other must not wait for it.
        let answer = server.post("/r", headers, "{\"a\":1}").await;
        server.got.shut(false);
        answer
    });
    let mut statuses = [first.status(), second.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(server.events().len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_its_batch() {
    let server = Server::start("").await;
    server.got.shut(true);
    for half in [true, false] {
        let mut tcp = TcpStream::connect(server.address).await.unwrap();
        tcp.write_all(&request("POST", "/g", "Content-Type: application/json\r\n", b"{\"a\":1}")).await.unwrap();
        tcp.shutdown().await.unwrap();
        if half {
            server.got.shut(false);
            let mut got = String::new();
            tcp.read_to_string(&mut got).await.unwrap();
            assert_eq!(Answer(got).status(), 200);
            server.got.shut(true);
        }
    }
    // Gives the server the time to see that the second client is gone.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    server.got.shut(false);
    server.got.wait_events(2).await;
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_a_stop_ends_it() {
    let server = Server::start("").await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        let keep =
            String::from_utf8(request("POST", "/k", "Content-Type: application/json\r\n", b"{\"a\":1}")).unwrap();
        tcp.write_all(keep.replace("Connection: close\r\n", "").as_bytes()).await.unwrap();
        let mut got = [0; 1000];
        let n = tcp.read(&mut got).await.unwrap();
        let answer = Answer(String::from_utf8_lossy(&got[..n]).into_owned());
        assert!(answer.has("connection: keep-alive") && answer.status() == 200);
    }
    server.stopper.stop();
    assert_eq!(tcp.read(&mut [0; 10]).await.unwrap(), 0);
    server.running.await.unwrap().unwrap();
    assert_eq!(server.got.state().batches.len(), 3);
}

#[tokio::test]
async fn tls_is_spoken_where_asked_for() {
    let server = Server::start("<transport tls>\ninsecure true\n</transport>").await;
    let verify = crate::net::tls::Verify { nothing: true, ..Default::default() };
    let settings = crate::net::tls::ClientSettings { verify, ..Default::default() };
    let client = crate::net::tls::ClientTls::open(&settings).unwrap();
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let mut tls = client.connect("localhost", tcp, crate::net::tls::HANDSHAKE_TIMEOUT).await.unwrap();
    let post = request("POST", "/s?time=1", "Content-Type: application/json\r\n", b"{\"a\":1}");
    tls.write_all(&post).await.unwrap();
    let mut got = Vec::new();
    let _ = tls.read_to_end(&mut got).await;
    assert_eq!(Answer(String::from_utf8_lossy(&got).into_owned()).status(), 200);
    assert_eq!(server.events(), [r#"s 1.000000000 {"a":1}"#]);
    assert_eq!(server.json("/s", "{\"a\":2}").await.status(), 0, "plain text on a TLS port");
    assert!(build("<transport tls>\n</transport>").is_err());
}
