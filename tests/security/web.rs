//! HTTP as it should not be: heads, lengths, smuggling, web pages, the monitor (checklist 7, 9, 20, 39, 40, 43).

use std::io::Write;
use std::time::Duration;

use super::harness::{MIB, Suiro, answer, connect, exchange, get, port, post, post_json, source, status, to_file};
use super::wire::send_event;

const WAIT: Duration = Duration::from_secs(3);

fn http(more: &str) -> (Suiro, u16) {
    let port = port();
    let suiro = Suiro::start(|dir| source("http", port, more) + &to_file(dir));
    (suiro, port)
}

#[test]
fn heads_without_measure_are_refused_in_flat_memory() {
    let (suiro, port) = http("");
    assert_eq!(post_json(port, "/t", r#"{"a":"first"}"#), 200);
    let before = suiro.rss();
    let heads = [
        format!("POST /t HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(8 << 20)),
        format!("POST /t HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(200_000)),
        format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(4 << 20)),
        "x".repeat(4 << 20),
        "\r\n".repeat(1 << 20),
    ];
    for head in heads {
        let status = status(&exchange(port, head.as_bytes(), WAIT));
        assert!(matches!(status, 0 | 400 | 414 | 431), "{status}: {}", &head[..20]);
    }
    let growth = suiro.peak() - before;
    assert!(growth < 16 * MIB, "grew by {} MiB", growth / MIB);
    assert_eq!(post_json(port, "/t", r#"{"a":"last"}"#), 200);
    suiro.end();
}

/// Sends a request that hides another; gives the statuses of all answers.
fn smuggled(port: u16, head: &str, body: &str) -> Vec<u16> {
    let hidden = "POST /hidden HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"a\":\"hid\"}\n";
    let mut stream = connect(port);
    let _ = stream.write_all(
        format!("POST /t HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n{body}{hidden}").as_bytes(),
    );
    let got = String::from_utf8_lossy(&answer(&mut stream, Duration::from_millis(700))).into_owned();
    got.split("HTTP/1.1 ").skip(1).map(|a| status(format!("HTTP/1.1 {a}").as_bytes())).collect()
}

#[test]
fn lengths_that_are_none_are_refused() {
    let (suiro, port) = http("");
    for length in [
        "-1",
        "18446744073709551616",
        "99999999999999999999999",
        "0x10",
        "+5",
        "5 ",
        "1,1",
        "5, 6",
        "",
        "abc",
        "1e3",
        "5;",
        "\u{661}",
    ] {
        // White space around a value is no part of it.
        let well = length.trim() == "5";
        let statuses = smuggled(port, &format!("Content-Length: {length}\r\n"), "{\"a\"");
        assert!(well || statuses.iter().all(|s| *s == 400), "{length:?}: {statuses:?}");
    }
    let request = b"POST /zero HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // Nothing in it is no event: taken, as Fluentd takes it.
    assert_eq!(status(&exchange(port, request, WAIT)), 200);
    assert_eq!(post_json(port, "/t", r#"{"a":"last"}"#), 200);
    suiro.wait_delivered("last");
    suiro.end();
}

#[test]
fn a_request_within_a_request_is_never_run() {
    let (suiro, port) = http("");
    let heads = [
        ("Content-Length: 0\r\nContent-Length: 10\r\n", ""),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("Content-Length : 0\r\n", ""),
        ("Transfer-Encoding:\n chunked\r\n", "0\r\n\r\n"),
        ("X: y\n\n", ""),
        ("X: a\r\n folded\r\nContent-Length: 0\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "0;ext\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "-1\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "ffffffffffffffff1\r\n\r\n"),
        ("Content-Length: 0\0\r\n", ""),
    ];
    for (head, body) in heads {
        let statuses = smuggled(port, head, body);
        assert!(statuses.len() <= 1 && statuses.iter().all(|s| *s == 400), "{head:?}: {statuses:?}");
    }
    let bare = b"POST /t HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 7\n\n{\"a\":1}";
    assert!(matches!(status(&exchange(port, bare, WAIT)), 0 | 400));
    assert_eq!(post_json(port, "/t", r#"{"a":"last"}"#), 200);
    suiro.wait_delivered("last");
    assert_eq!(suiro.delivered().len(), 1, "{:?}", suiro.delivered());
    suiro.end();
}

#[test]
fn web_pages_may_send_only_from_listed_origins() {
    let (suiro, open) = http("");
    for kind in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "TEXT/PLAIN; a=b"]
    {
        let headers = format!("Origin: http://evil.example\r\nContent-Type: {kind}\r\n");
        assert_eq!(post(open, "/t?json=%7B%22a%22%3A%22bad%22%7D", &headers, b"json={\"a\":\"bad\"}"), 403, "{kind}");
    }
    assert_eq!(post(open, "/t?json=%7B%22a%22%3A%22bad%22%7D", "Origin: null\r\n", b""), 403);
    let preflight =
        "OPTIONS /t HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    assert_eq!(status(&exchange(open, preflight.as_bytes(), WAIT)), 403);
    suiro.end();

    let (suiro, listed) = http("cors_allow_origins [\"http://good.example\"]");
    let json = |origin: &str| {
        post(listed, "/t", &format!("Origin: {origin}\r\nContent-Type: application/json\r\n"), b"{\"a\":1}")
    };
    assert_eq!([json("http://evil.example"), json("http://good.example.evil"), json("null"), json("")], [403; 4]);
    assert_eq!(json("http://good.example"), 200);
    suiro.end();
}

#[test]
fn the_monitor_answers_odd_questions_and_shows_no_secrets() {
    let (monitor, forward, dead) = (port(), port(), port());
    let suiro = Suiro::start(|dir| {
        let path = dir.display();
        source("monitor_agent", monitor, "")
            + &source("forward", forward, "<security>\nself_hostname s\nshared_key canary-key\n</security>")
            + &source("http", dead, "")
            + &format!(
                "<match **>\n@type http\n@id sink\nendpoint http://user:canary-url@127.0.0.1:1/x\nheaders {{\"Authorization\":\"Bearer canary-header\",\"X-Api-Key\":\"canary-api\"}}\n<auth>\nmethod basic\nusername u\npassword canary-password\n</auth>\n<buffer tag>\n@type file\npath {path}/buffer\nflush_mode immediate\n</buffer>\n</match>\n"
            )
    });
    assert_eq!(post_json(dead, "/tenant.secret-tag", r#"{"a":"secret-payload"}"#), 200);
    super::harness::wait_for("a failure", || suiro.log().contains("failed to flush").then_some(()));
    let odd = [
        "/api/plugins?debug=1&with_ivars=[1]",
        "/api/plugins.json?tag[]=1&@type=%00%ff",
        "/api/plugins.json?id=../../etc/passwd",
        "/api/plugins.json?with_config=true&with_retry=true&debug=1",
        "/api/config.json",
        "/api/config.json?debug=1",
        "/api/config",
        "/api/plugins",
        "/api/../../etc/passwd",
        "//",
        "/api/v1/traces",
        "/api/plugins.json?@id=sink&with_retry=yes",
        "/?inputs=[1]",
        "/healthz?%",
    ];
    for path in odd {
        let body = get(monitor, path);
        for secret in ["canary", "secret-payload", "secret-tag"] {
            assert!(!body.contains(secret), "{path} shows {secret}: {body}");
        }
    }
    let body = r#"{"inputs":[1],"outputs":{"a":[]}}"#;
    for path in ["/api/v1/traces", "/api/plugins.json", "/api/config.json"] {
        let status = post_json(monitor, path, body);
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    assert!(get(monitor, "/healthz").contains("ok"));
    suiro.end();
}

#[test]
fn clients_that_read_no_answer_do_not_lock_the_monitor() {
    let monitor = port();
    let suiro = Suiro::start(|dir| source("monitor_agent", monitor, "") + &to_file(dir));
    let asked = "GET /api/plugins.json?debug=1 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20_000);
    let mut deaf = Vec::new();
    for _ in 0..32 {
        let mut stream = connect(monitor);
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(asked.as_bytes());
        deaf.push(stream);
    }
    // Each is given up once it has read nothing for a while.
    let answered = std::thread::spawn(move || {
        let mut stream = connect(monitor);
        stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        answer(&mut stream, Duration::from_secs(50))
    });
    assert!(String::from_utf8_lossy(&answered.join().unwrap()).contains("ok"));
    drop(deaf);
    suiro.end();
}

#[test]
fn the_control_api_does_not_listen_to_web_pages() {
    let (rpc, forward) = (port(), port());
    let suiro = Suiro::start(|dir| {
        format!("<system>\nrpc_endpoint 127.0.0.1:{rpc}\nenable_get_dump true\n</system>\n")
            + &source("forward", forward, "")
            + &to_file(dir)
    });
    let ask = |more: &str| {
        let request = format!("GET /api/processes.interruptWorkers HTTP/1.1\r\n{more}Connection: close\r\n\r\n");
        status(&exchange(rpc, request.as_bytes(), WAIT))
    };
    assert_eq!(ask("Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n"), 403);
    assert_eq!(ask("Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(ask("Host: rebound.evil.example:24444\r\n"), 403);
    assert!(get(rpc, "/api/plugins.flushBuffers").contains("ok"));
    send_event(forward, "t", "last", "id-last");
    suiro.wait_delivered("last");
    suiro.end();
}
