//! Messages that are larger than they look: compressed, declared, nested (checklist 1 to 6, 8).

use std::io::Write;
use std::time::Duration;

use super::harness::{MIB, Suiro, connect, exchange, is_closed, port, post, post_json, size, source, status, to_file};
use super::wire::{entry, event, gzip_zeros, packed, record, refused, send_event, text, zlib_zeros, zstd_zeros};

/// Most growth of memory under any of these, in KiB.
const GROWTH: u64 = 128 * MIB;
const DEEP: usize = 100_000;

fn http() -> (Suiro, u16) {
    let port = port();
    let suiro = Suiro::start(|dir| source("http", port, "") + &to_file(dir));
    // The first request takes what every process needs once.
    assert_eq!(post_json(port, "/first", r#"{"a":1}"#), 200);
    (suiro, port)
}

fn forwarded() -> (Suiro, u16) {
    let port = port();
    let suiro = Suiro::start(|dir| source("forward", port, "") + &to_file(dir));
    send_event(port, "first", "first", "id-first");
    (suiro, port)
}

/// It lives, serves, delivered nothing of the attack, and did not grow.
fn unharmed(suiro: Suiro, before: u64, delivered: usize) {
    let growth = suiro.peak().saturating_sub(before);
    assert!(growth < GROWTH, "grew by {} MiB", growth / MIB);
    suiro.wait_delivered("last");
    assert_eq!(suiro.delivered().len(), delivered, "{:?}", suiro.delivered());
    suiro.end();
}

#[test]
fn compressed_http_bodies_are_cut_at_the_limit_of_their_output() {
    let (suiro, port) = http();
    let before = suiro.rss();
    let mebibytes = size(512, 10_240);
    let member = gzip_zeros(64);
    let bombs = [
        ("gzip", gzip_zeros(mebibytes)),
        ("gzip", member.repeat(mebibytes / 64)),
        ("deflate", zlib_zeros(mebibytes)),
        ("zstd", zstd_zeros(mebibytes, 20)),
        ("zstd", zstd_zeros(64, 20).repeat(mebibytes / 64)),
        ("zstd", zstd_zeros(256, 27)),
    ];
    for (encoding, bomb) in &bombs {
        let headers = format!("Content-Encoding: {encoding}\r\nContent-Type: application/json\r\n");
        let status = post(port, "/bomb", &headers, bomb);
        assert!(matches!(status, 0 | 400 | 413 | 415), "{encoding}: {status}");
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                post(port, "/bomb", "Content-Encoding: gzip\r\nContent-Type: application/json\r\n", &bombs[0].1)
            });
        }
    });
    assert_eq!(post_json(port, "/ok", r#"{"a":"last"}"#), 200);
    unharmed(suiro, before, 2);
}

#[test]
fn compressed_forward_payloads_are_cut_at_the_limit_and_not_acknowledged() {
    let (suiro, port) = forwarded();
    let before = suiro.rss();
    let mebibytes = size(512, 10_240);
    let bombs = [
        ("gzip", gzip_zeros(mebibytes)),
        ("gzip", gzip_zeros(64).repeat(mebibytes / 64)),
        ("zstd", zstd_zeros(mebibytes, 20)),
        ("zstd", zstd_zeros(64, 20).repeat(mebibytes / 64)),
        ("zstd", zstd_zeros(512, 27)),
        ("lz4", b"x".to_vec()),
    ];
    for (compressed, bomb) in &bombs {
        refused(port, &packed(b"bomb", bomb, &[("compressed", compressed), ("chunk", "id-bomb")]));
    }
    send_event(port, "ok", "last", "id-last");
    unharmed(suiro, before, 2);
}

/// The head of a value of 4 Gi elements or bytes.
fn huge(first: u8) -> Vec<u8> {
    let mut head = vec![first, 0xff, 0xff, 0xff, 0xff];
    head.extend((first == 0xc9).then_some(1));
    head
}

#[test]
fn lengths_of_four_gibibytes_take_no_memory() {
    let (forward, http_port) = (port(), port());
    let suiro = Suiro::start(|dir| source("forward", forward, "") + &source("http", http_port, "") + &to_file(dir));
    send_event(forward, "first", "first", "id-first");
    let before = suiro.rss();
    for first in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        let huge = huge(first);
        refused(forward, &huge);
        refused(forward, &[&[0x94][..], &text(b"t"), &[1], &huge].concat());
        let inside = [&[0x81][..], &text(b"k"), &huge].concat();
        let payload = entry(&inside);
        // The payload ends in the middle of an event: there is none to take.
        let _ = exchange(forward, &packed(b"t", &payload, &[("chunk", "id")]), Duration::from_millis(300));
        let status = post(http_port, "/t", "Content-Type: application/msgpack\r\n", &inside);
        assert_eq!(status, 400, "{first:x}");
    }
    send_event(forward, "ok", "last", "id-last");
    unharmed(suiro, before, 2);
}

#[test]
fn deep_nesting_is_refused_wherever_it_stands() {
    let (forward, http_port, tcp, msgpack) = (port(), port(), port(), port());
    let suiro = Suiro::start(|dir| {
        let json = "tag t\n<parse>\n@type json\n</parse>";
        source("forward", forward, "")
            + &source("http", http_port, "")
            + &source("tcp", tcp, json)
            + &source("tcp", msgpack, "tag t\n<parse>\n@type msgpack\n</parse>")
            + "<filter json.**>\n@type parser\nkey_name message\n<parse>\n@type json\n</parse>\n</filter>\n"
            + &to_file(dir)
    });
    send_event(forward, "first", "first", "id-first");
    let before = suiro.rss();
    for container in [&[0x91][..], &[0x81, 0xa1, b'k']] {
        let nest = container.repeat(DEEP);
        refused(forward, &nest);
        refused(forward, &[&[0x94][..], &text(b"t"), &[1, 0x81, 0xa1, b'k'], &nest].concat());
        let inside = entry(&[&[0x81, 0xa1, b'k'][..], &nest, &[0xc0]].concat());
        refused(forward, &packed(b"t", &inside, &[("chunk", "id")]));
        assert_eq!(post(http_port, "/t", "Content-Type: application/msgpack\r\n", &nest), 400);
        exchange(msgpack, &nest, Duration::from_millis(200));
    }
    let json = [format!("{{\"a\":{}", "[".repeat(DEEP)), "{\"a\":".repeat(DEEP), "[".repeat(DEEP)];
    for text in json {
        assert_eq!(post_json(http_port, "/t", &text), 400);
        assert_eq!(post(http_port, "/t", "Content-Type: application/x-ndjson\r\n", text.as_bytes()), 400);
        exchange(tcp, (text.clone() + "\n").as_bytes(), Duration::from_millis(200));
        let opened = text.chars().filter(|c| "[{".contains(*c)).rev();
        let closed: String = opened.map(|c| if c == '[' { ']' } else { '}' }).collect();
        refused(forward, format!("{text}1{closed}").as_bytes());
        // In a record: the event is no JSON and goes to @ERROR, of which there is none.
        send_event(forward, "json", &text, &format!("id-{}", text.len()));
    }
    send_event(forward, "ok", "last", "id-last");
    unharmed(suiro, before, 2);
}

#[test]
fn a_message_that_declares_too_much_is_cut_before_it_arrives() {
    let (open, limited) = (port(), port());
    let suiro = Suiro::start(|dir| {
        source("forward", open, "") + &source("forward", limited, "chunk_size_limit 64m") + &to_file(dir)
    });
    send_event(open, "first", "first", "id-first");
    let before = suiro.rss();
    let mut stream = connect(open);
    stream.write_all(&[&[0x93][..], &text(b"t"), &[0xc6], &(1_u32 << 30).to_be_bytes()].concat()).unwrap();
    let piece = vec![0x80; 1 << 20];
    let sent = (0..300).take_while(|_| stream.write_all(&piece).is_ok()).count();
    assert!(sent < 300, "all was read");
    // Without a length of its own: an array that goes on and on.
    let mut stream = connect(limited);
    stream.write_all(&[0xdd, 0x03, 0xff, 0xff, 0x00]).unwrap();
    let entries = entry(&record(&[("k", "v")])).repeat(50_000);
    let sent = (0..200).take_while(|_| stream.write_all(&entries).is_ok()).count();
    assert!(sent < 200 && is_closed(&mut stream, Duration::from_secs(30)), "{sent}");
    send_event(open, "ok", "last", "id-last");
    unharmed(suiro, before, 2);
}

#[test]
fn bodies_over_the_limit_are_refused_announced_or_not() {
    let (suiro, port) = http();
    let before = suiro.rss();
    let head = "POST /t HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let mut stream = connect(port);
    stream.write_all(format!("{head}Content-Length: 3000000000\r\n\r\n").as_bytes()).unwrap();
    let got = exchange(port, format!("{head}Content-Length: 3000000000\r\n\r\n").as_bytes(), Duration::from_secs(10));
    assert_eq!(status(&got), 413);
    let mut stream = connect(port);
    stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let piece = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let sent = (0..200).take_while(|_| stream.write_all(&piece).is_ok()).count();
    assert!(sent < 60, "{sent} MiB were taken");
    let growth = suiro.peak() - before;
    assert!(growth < 40 * MIB, "grew by {} MiB for a limit of 32", growth / MIB);
    assert_eq!(post_json(port, "/ok", r#"{"a":"last"}"#), 200);
    unharmed(suiro, before, 2);
}

#[test]
fn many_tags_take_bounded_memory() {
    let port = port();
    let suiro = Suiro::start(|dir| {
        let path = dir.display();
        source("forward", port, "")
            + "<match ok>\n@type relabel\n@label @OUT\n</match>\n"
            + &format!(
                "<match **>\n@type file\npath {path}/tags/all\nappend true\n<buffer tag>\n@type memory\n\
                 flush_interval 1h\noverflow_action drop_oldest_chunk\n</buffer>\n</match>\n<label @OUT>\n{}</label>\n",
                to_file(dir)
            )
    });
    send_event(port, "ok", "first", "id-first");
    let before = suiro.rss();
    let mut stream = connect(port);
    for n in 0..size(20_000, 1_000_000) {
        stream.write_all(&packed(format!("tenant.{n}").as_bytes(), &entry(&record(&[("k", "v")])), &[])).unwrap();
    }
    stream.write_all(&event("ok", "last", "id-last")).unwrap();
    suiro.wait_delivered("last");
    let growth = suiro.peak() - before;
    assert!(growth < GROWTH, "grew by {} MiB", growth / MIB);
    drop(suiro);
}
