//! Targets that misbehave: answers without end, redirects (checklist 16, 37, 38).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::harness::{MIB, PATIENCE, Suiro, port, post_json, source, wait_for};

/// A target whose answer `serve` writes; counts its connections.
fn target(serve: impl Fn(&mut TcpStream) + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            // A forward client that expects a greeting sends nothing first.
            stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let _ = stream.read(&mut [0; 65_536]);
            serve(&mut stream);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, count)
}

fn sending(http: u16, sink: u16, kind: &str) -> String {
    let to = match kind {
        "http" => format!(
            "@type http\nendpoint http://127.0.0.1:{sink}/x\nread_timeout 5\n<auth>\nmethod basic\nusername u\npassword secret-of-sink\n</auth>"
        ),
        _ => format!(
            "@type forward\nrequire_ack_response true\nack_response_timeout 5\nsend_timeout 5\n<server>\nhost 127.0.0.1\nport {sink}\n</server>\n<security>\nself_hostname c\nshared_key k\n</security>"
        ),
    };
    source("http", http, "")
        + &format!(
            "<match **>\n{to}\n<buffer>\n@type memory\nflush_mode immediate\nretry_wait 0.1\nretry_max_interval 0.2\n</buffer>\n</match>\n"
        )
}

/// Writes pieces until the other side has enough, or so many were taken.
fn endless(stream: &mut TcpStream, head: &str, piece: &[u8]) {
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    let taken = (0..400).take_while(|_| stream.write_all(piece).is_ok()).count();
    assert!(taken < 400, "all of it was read");
}

#[test]
fn answers_without_end_are_cut_and_sent_again() {
    let (body, chunk) = (vec![b'x'; 1 << 20], [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat());
    let headers = "X-Header: value\r\n".repeat(1 << 16);
    let attacks: [(&str, &str, Vec<u8>); 7] = [
        ("http", "HTTP/1.1 200 OK\r\n\r\n", body.clone()),
        ("http", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", body.clone()),
        ("http", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk),
        ("http", "HTTP/1.1 200 OK\r\n", headers.into_bytes()),
        ("http", "HTTP/1.1 200 ", body.clone()),
        ("http", "", "HTTP/1.1 100 Continue\r\n\r\n".repeat(1 << 15).into_bytes()),
        ("forward", "", vec![0x92; 1 << 20]),
    ];
    for (kind, head, piece) in attacks {
        let (sink, tries) = target(move |stream| endless(stream, head, &piece));
        let http = port();
        let suiro = Suiro::start(|_| sending(http, sink, kind));
        let before = suiro.rss();
        assert_eq!(post_json(http, "/t", r#"{"a":1}"#), 200);
        wait_for(&format!("another try: {kind} {head}"), || (tries.load(Ordering::SeqCst) >= 2).then_some(()));
        let growth = suiro.peak().saturating_sub(before);
        assert!(growth < 32 * MIB, "{head}: grew by {} MiB", growth / MIB);
        wait_for("a log line", || suiro.log().contains("failed to flush the buffer").then_some(()));
        assert!(suiro.log().len() < 64 << 10);
        drop(suiro);
    }
}

#[test]
fn redirects_are_not_followed() {
    let (elsewhere, visits) = target(|_| {});
    for code in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {code} Moved\r\nLocation: http://127.0.0.1:{elsewhere}/y\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let (sink, tries) = target(move |stream| drop(stream.write_all(answer.as_bytes())));
        let http = port();
        let suiro = Suiro::start(|_| sending(http, sink, "http"));
        assert_eq!(post_json(http, "/t", r#"{"a":1}"#), 200);
        wait_for("a try", || (tries.load(Ordering::SeqCst) >= 1).then_some(()));
        wait_for("its end", || suiro.log().contains(&code.to_string()).then_some(()));
        assert!(!suiro.log().contains("secret-of-sink"));
        drop(suiro);
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[test]
fn the_host_of_an_endpoint_is_the_operators_alone() {
    let dir = tempfile::tempdir().unwrap();
    for endpoint in [
        "http://${tag}/x",
        "http://${tag}.example/x",
        "http://a.example:80${tag}/x",
        "http://a@${tag}/x",
        "https://%Y.example/",
        "${tag}",
        "http://${tag}",
    ] {
        let path = dir.path().join("c.conf");
        let config = format!(
            "<match **>\n@type http\nendpoint {endpoint}\n<buffer tag,time>\ntimekey 60\n</buffer>\n</match>\n"
        );
        std::fs::write(&path, config).unwrap();
        let checked = crate::daemon::suiro().arg("check").arg(&path).output().unwrap();
        assert_eq!(checked.status.code(), Some(1), "{endpoint}: {}", crate::daemon::text(&checked));
    }
}
