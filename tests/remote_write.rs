//! Remote write by the real binary: what a server gets is what a scrape shows, and a server that is not there costs nothing.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::{Daemon, check, free_port, text, wait_for};
use crate::databases::{buffer, config, eventually, must_post, post};
use crate::listening::{Listening, request};
use crate::security::harness::get;

/// The number of variable length at the front of `buf`.
fn varint(buf: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = buf.split_first().unwrap();
        *buf = rest;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if *byte < 0x80 {
            return value;
        }
    }
}

/// Fields of a message: their numbers and bytes; those of a number are its eight bytes.
fn fields(mut buf: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !buf.is_empty() {
        let key = varint(&mut buf);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut buf).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            _ => varint(&mut buf) as usize,
        };
        let (bytes, rest) = buf.split_at(length);
        found.push((key >> 3, bytes.to_vec()));
        buf = rest;
    }
    found
}

/// The series of a request as a scrape writes them, without the labels that all of them have.
fn lines(body: &[u8]) -> Vec<String> {
    let message = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let series = |bytes: &[u8]| {
        let (mut name, mut labels, mut value) = (String::new(), Vec::new(), f64::NAN);
        for (number, bytes) in fields(bytes) {
            let parts = fields(&bytes);
            if number == 2 {
                value = f64::from_le_bytes(parts[0].1.as_slice().try_into().unwrap());
                continue;
            }
            let [label, text] = [0, 1].map(|n| String::from_utf8(parts[n].1.clone()).unwrap());
            match label.as_str() {
                "__name__" => name = text,
                "job" | "instance" => {}
                _ => labels.push(format!("{label}=\"{text}\"")),
            }
        }
        format!("{name}{{{}}} {value}", labels.join(","))
    };
    let mut lines: Vec<String> = fields(&message).iter().map(|(_, bytes)| series(bytes)).collect();
    lines.sort();
    lines
}

/// The lines of a scrape; 20.0 is 20.
fn scrape(port: u16) -> Vec<String> {
    let text = get(port, "/metrics");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut lines: Vec<String> = lines.map(|line| line.strip_suffix(".0").unwrap_or(line).to_owned()).collect();
    lines.sort();
    lines
}

/// A server that takes everything. It ends with its owner.
struct Taker {
    port: u16,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
    _listening: Listening,
}

impl Taker {
    fn start() -> Taker {
        let (port, bodies) = (free_port(), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let shared = bodies.clone();
        let serve = move |mut stream: TcpStream| -> std::io::Result<()> {
            let mut got = Vec::new();
            while let Some((head, body)) = request(&mut stream, &mut got)? {
                assert!(head.to_ascii_lowercase().contains("content-encoding: snappy"), "{head}");
                shared.lock().unwrap().push(body);
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
            }
            Ok(())
        };
        Taker { port, bodies, _listening: Listening::start(port, serve) }
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }

    /// The newest series.
    fn newest(&self) -> Vec<String> {
        self.bodies().last().map(|body| lines(body)).unwrap_or_default()
    }
}

fn prometheus(scraped: u16, pushed: &[u16], more: &str) -> String {
    let section = |port: &u16| {
        format!("<remote_write>\nurl http://127.0.0.1:{port}/api/v1/write\ninterval 0.2\n{more}\n</remote_write>\n")
    };
    let sections: String = pushed.iter().map(section).collect();
    format!("<source>\n@type prometheus\nport {scraped}\n{sections}</source>\n")
}

fn output(dir: &TempDir) -> String {
    format!("@type file\n@id out\npath {}/out/log\nappend true\n{}", dir.path().display(), buffer(dir.path(), "tag"))
}

#[test]
fn a_server_gets_what_a_scrape_shows() {
    let (dir, port, scraped, taker) = (TempDir::new().unwrap(), free_port(), free_port(), Taker::start());
    let dead = free_port();
    let text = config(port, dir.path(), &output(&dir)) + &prometheus(scraped, &[dead, taker.port], "");
    let mut daemon = Daemon::start(&text, dir.path());
    for id in 0..7 {
        must_post(port, "app.a", &format!("{{\"id\":{id}}}"));
    }
    let out = "suiro_events_out_total{input=\"in_http\",output=\"out\",to=\"delivered\"} 7";
    eventually(&true, &daemon, || taker.newest().iter().any(|line| line == out));
    // Nothing happens any more.
    let shown = scrape(scraped);
    assert!(shown.len() > 15 && shown.iter().any(|line| line == out), "{shown:#?}");
    eventually(&shown, &daemon, || taker.newest());
    // The last values go out with the stop.
    must_post(port, "app.a", "{\"id\":7}");
    daemon.end_within(Duration::from_secs(20));
    let taken = "suiro_events_in_total{input=\"in_http\",output=\"out\"} 8";
    assert!(taker.newest().iter().any(|line| line == taken), "{:#?}", taker.newest());
}

#[test]
fn a_server_that_is_not_there_costs_nothing() {
    let (dir, port, scraped, taker) = (TempDir::new().unwrap(), free_port(), free_port(), Taker::start());
    let hanging = free_port();
    // Takes connections and says nothing.
    let held: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    let holding = held.clone();
    let _hanging = Listening::start(hanging, move |stream| holding.lock().unwrap().push(stream));
    let pushed = [free_port(), hanging, taker.port];
    let text = config(port, dir.path(), &output(&dir)) + &prometheus(scraped, &pushed, "timeout 1");
    let mut daemon = Daemon::start(&text, dir.path());
    wait_for("some pushes", || (taker.bodies().len() > 10).then_some(()));
    assert!(post(port, "app.a", "{\"id\":0}"));
    assert!(get(scraped, "/metrics").contains("suiro_events_in_total"));
    daemon.wait_for_log(&format!("remote_write to http://127.0.0.1:{hanging}: no "));
    assert!(daemon.log().matches("remote_write to").count() <= 2 * pushed.len(), "{}", daemon.log());
    daemon.end_within(Duration::from_secs(20));
}

#[test]
fn a_check_knows_the_section_and_its_faults() {
    let section =
        |text: &str| format!("<source>\n@type prometheus\n<remote_write>\n{text}\n</remote_write>\n</source>\n");
    let good = check(&section("url https://h/api/v1/write\nlabels {\"zone\":\"a\"}\ntls_verify_mode none"));
    assert!(good.status.success() && !text(&good).contains("warning"), "{}", text(&good));
    let unknown = text(&check(&section("url http://h/w\nqueue_config x")));
    assert!(unknown.contains("queue_config"), "{unknown}");
    let bad = check(&section("interval 5s"));
    assert!(!bad.status.success() && text(&bad).contains("url"), "{}", text(&bad));
}
