//! Clients that take their time, and very many of them (checklist 10 to 12).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::harness::{
    MIB, Suiro, connect, is_closed, port, post_json, raise_descriptor_limit, size, source, to_file, wait_for,
};

/// How fast somebody else must be served throughout.
const SERVED: Duration = Duration::from_secs(5);

fn served(port: u16, text: &str) {
    let begun = Instant::now();
    assert_eq!(post_json(port, "/served", &format!(r#"{{"a":"{text}"}}"#)), 200);
    assert!(begun.elapsed() < SERVED, "took {:?}", begun.elapsed());
}

/// Whether the connection still stands, without waiting.
fn stands(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    loop {
        match stream.read(&mut [0; 1024]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(e) => return e.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn drips_of_heads_and_bodies_are_cut_while_others_are_served() {
    let port = port();
    let suiro = Suiro::start(|dir| source("http", port, "") + &to_file(dir));
    raise_descriptor_limit();
    let mut heads: Vec<TcpStream> = (0..500).map(|_| connect(port)).collect();
    let mut bodies: Vec<TcpStream> = (0..500).map(|_| connect(port)).collect();
    let begun = Instant::now();
    for stream in &mut heads {
        stream.write_all(b"POST /t HTTP/1.1\r\n").unwrap();
    }
    for stream in &mut bodies {
        stream
            .write_all(
                b"POST /t HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
            )
            .unwrap();
    }
    let limit = Duration::from_secs(size(13, 60));
    while begun.elapsed() < limit {
        for stream in heads.iter_mut().chain(&mut bodies) {
            // Those that were cut can't be written to.
            let _ = stream.write_all(b"a");
        }
        served(port, "x");
        std::thread::sleep(Duration::from_millis(900));
        if begun.elapsed() > Duration::from_secs(12) {
            assert_eq!(heads.iter_mut().filter_map(|s| stands(s).then_some(())).count(), 0, "heads still drip");
        }
    }
    if size(false, true) {
        assert_eq!(bodies.iter_mut().filter_map(|s| stands(s).then_some(())).count(), 0, "bodies still drip");
    }
    drop((heads, bodies));
    suiro.end();
}

#[test]
fn thousands_of_idle_connections_cost_little_each() {
    let (http, forward) = (port(), port());
    let suiro = Suiro::start(|dir| {
        source("http", http, "keepalive_timeout 300") + &source("forward", forward, "") + &to_file(dir)
    });
    raise_descriptor_limit();
    served(http, "first");
    let before = suiro.rss();
    let many = size(2_000, 10_000);
    let idle: Vec<TcpStream> = (0..many).map(|n| connect(if n % 2 == 0 { http } else { forward })).collect();
    served(http, "meanwhile");
    let each = (suiro.rss() - before) / many;
    assert!(each < 40, "{each} KiB each");
    drop(idle);
    suiro.end();
}

#[test]
fn half_handshakes_hold_nobody_up_and_are_ended() {
    let (tls, plain) = (port(), port());
    let suiro = Suiro::start(|dir| {
        source("http", tls, "<transport tls>\ninsecure true\n</transport>") + &source("http", plain, "") + &to_file(dir)
    });
    let mut half: Vec<TcpStream> = (0..200).map(|_| connect(tls)).collect();
    for stream in half.iter_mut().step_by(2) {
        // The beginning of a ClientHello.
        stream.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    }
    served(plain, "x");
    super::tls::post_over_tls(tls, "over tls");
    suiro.wait_delivered("over tls");
    assert!(is_closed(&mut half[0], Duration::from_secs(12)) && is_closed(&mut half[1], Duration::from_secs(2)));
    suiro.end();
}

#[test]
fn without_descriptors_it_waits_and_recovers() {
    let (http, forward) = (port(), port());
    let suiro = Suiro::start_by("ulimit -n 64", |dir| {
        let path = dir.display();
        source("http", http, "keepalive_timeout 300")
            + &source("forward", forward, "")
            + &format!(
                "<match **>\n@type file\npath {path}/out/events\nappend true\n<format>\n@type json\n</format>\n\
                 <buffer tag>\n@type file\npath {path}/buffer\nflush_mode immediate\n</buffer>\n</match>\n"
            )
    });
    // One connection from before the flood, whose events must still find a file.
    let mut early = connect(http);
    let body = r#"{"a":"early"}"#;
    let request = format!(
        "POST /t HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    early.write_all(request.as_bytes()).unwrap();
    assert!(early.read(&mut [0; 1024]).unwrap() > 0);
    let flood: Vec<TcpStream> = (0..300).map(|n| connect(if n % 2 == 0 { http } else { forward })).collect();
    let cpu = suiro.cpu();
    std::thread::sleep(Duration::from_secs(2));
    let used = suiro.cpu() - cpu;
    assert!(used < Duration::from_millis(400), "{used:?} in 2 s");
    early.write_all(request.as_bytes()).unwrap();
    assert!(early.read(&mut [0; 1024]).unwrap() > 0);
    wait_for("both", || (suiro.delivered().len() >= 2).then_some(()));
    assert!(suiro.rss() < 256 * MIB);
    drop(flood);
    served(http, "later");
    suiro.wait_delivered("later");
    suiro.end();
}
