//! A target that counts: lines, forward messages (acknowledged) or bodies of HTTP requests (lines or JSON objects).

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memchr::{memchr_iter, memmem, memrchr};

use crate::clock::{MARK, Waits, now, read_marks};
use crate::msgpack::{self, Head};
use crate::{Options, Outcome};

/// Bytes asked for in one read.
const PIECE: usize = 1 << 20;
/// How long nothing may come any more after the expected number, before the count is final.
const QUIET: Duration = Duration::from_millis(500);
/// Pause between two looks at the counts.
const LOOK: Duration = Duration::from_millis(5);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// What has arrived.
#[derive(Default)]
struct Counts {
    events: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds since 1970 when the last bytes came.
    last: AtomicU64,
    waits: Mutex<Waits>,
}

impl Counts {
    fn add(&self, events: u64, bytes: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last.store(now(), Ordering::Relaxed);
    }

    fn marks(&self, bytes: &[u8]) {
        if memmem::find(bytes, MARK).is_some() {
            read_marks(bytes, &mut self.waits.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Takes what is complete at the start of the bytes: counts it, answers it, and says how many bytes it was.
type Take = fn(&[u8], &mut TcpStream, &Counts) -> io::Result<usize>;

/// Listens until `expect` events are there and no more come, or `seconds` are over.
pub fn run(options: &Options) -> Outcome {
    let take: Take = match options.text("kind")? {
        "lines" => lines,
        "forward" => forward,
        "http" => http,
        other => return Err(format!("unknown kind {other}").into()),
    };
    let (expect, seconds) = (options.number("expect")?, options.number("seconds")?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port()?))?;
    let counts = Arc::new(Counts::default());
    let shared = Arc::clone(&counts);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counts = Arc::clone(&shared);
            thread::spawn(move || connection(stream, take, &counts));
        }
    });
    await_events(&counts, expect, Instant::now() + Duration::from_secs(seconds));
    let waits = counts.waits.lock().unwrap_or_else(PoisonError::into_inner).json();
    let (events, bytes) = (counts.events.load(Ordering::Relaxed), counts.bytes.load(Ordering::Relaxed));
    Ok(format!(r#"{{"events":{events},"bytes":{bytes},"last":{},{waits}}}"#, counts.last.load(Ordering::Relaxed)))
}

fn await_events(counts: &Counts, expect: u64, end: Instant) {
    while Instant::now() < end {
        let quiet = Duration::from_nanos(now().saturating_sub(counts.last.load(Ordering::Relaxed)));
        if counts.events.load(Ordering::Relaxed) >= expect && quiet > QUIET {
            return;
        }
        thread::sleep(LOOK);
    }
}

fn connection(mut stream: TcpStream, take: Take, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = (vec![0; PIECE], 0);
    loop {
        if buffer.len() - filled < PIECE / 2 {
            buffer.resize(buffer.len() + PIECE, 0);
        }
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            n => filled += n,
        }
        let mut at = 0;
        loop {
            match take(&buffer[at..filled], &mut stream, counts)? {
                0 => break,
                n => at += n,
            }
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}

fn lines(bytes: &[u8], _: &mut TcpStream, counts: &Counts) -> io::Result<usize> {
    let Some(end) = memrchr(b'\n', bytes).map(|n| n + 1) else { return Ok(0) };
    counts.marks(&bytes[..end]);
    counts.add(memchr_iter(b'\n', &bytes[..end]).count() as u64, end);
    Ok(end)
}

// ---- forward ----

fn forward(bytes: &[u8], stream: &mut TcpStream, counts: &Counts) -> io::Result<usize> {
    let Some(length) = msgpack::length(bytes).filter(|n| *n > 0) else { return Ok(0) };
    let message = &bytes[..length];
    counts.marks(message);
    let (events, chunk) = look_into(message).unwrap_or((0, None));
    counts.add(events, length);
    if let Some(id) = chunk {
        let mut answer = vec![0x81];
        msgpack::text(&mut answer, b"ack");
        msgpack::text(&mut answer, id);
        stream.write_all(&answer)?;
    }
    Ok(length)
}

/// The number of events of a message and its id: `[tag, entries, option]` or `[tag, time, record, option]`.
fn look_into(message: &[u8]) -> Option<(u64, Option<&[u8]>)> {
    let Head::Array(head, _) = msgpack::head(message)? else { return None };
    let entries = &message[head + msgpack::length(&message[head..])?..];
    let behind = &entries[msgpack::length(entries)?..];
    match msgpack::head(entries)? {
        Head::Array(_, count) => Some((count as u64, option(behind, b"chunk").and_then(msgpack::content))),
        Head::Bytes(start, length) if entries[0] != 0xc7 => {
            let size = option(behind, b"size").and_then(integer);
            let events = size.unwrap_or_else(|| values(&entries[start..start + length]));
            Some((events, option(behind, b"chunk").and_then(msgpack::content)))
        }
        _ => Some((1, option(&behind[msgpack::length(behind)?..], b"chunk").and_then(msgpack::content))),
    }
}

fn option<'a>(map: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let Head::Map(mut at, pairs) = msgpack::head(map)? else { return None };
    for _ in 0..pairs {
        let key = &map[at..];
        let value = &key[msgpack::length(key)?..];
        if msgpack::content(key) == Some(name) {
            return Some(value);
        }
        at += msgpack::length(key)? + msgpack::length(value)?;
    }
    None
}

fn integer(value: &[u8]) -> Option<u64> {
    let width = match *value.first()? {
        small @ 0..=0x7f => return Some(u64::from(small)),
        0xcc => 1,
        0xcd => 2,
        0xce => 4,
        0xcf => 8,
        _ => return None,
    };
    value.get(1..=width).map(|b| b.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

fn values(mut bytes: &[u8]) -> u64 {
    let mut count = 0;
    while let Some(length) = msgpack::length(bytes).filter(|n| *n > 0) {
        bytes = &bytes[length..];
        count += 1;
    }
    count
}

// ---- HTTP ----

fn http(bytes: &[u8], stream: &mut TcpStream, counts: &Counts) -> io::Result<usize> {
    let Some(head) = memmem::find(bytes, b"\r\n\r\n").map(|n| n + 4) else { return Ok(0) };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length =
        text.lines().find_map(|l| l.strip_prefix("content-length:")).and_then(|l| l.trim().parse::<usize>().ok());
    let end = match length {
        Some(length) => head + length,
        None if text.contains("transfer-encoding: chunked") => match memmem::find(&bytes[head..], b"\r\n0\r\n\r\n") {
            Some(at) => head + at + 7,
            None => return Ok(0),
        },
        None => head,
    };
    let Some(body) = bytes.get(head..end) else { return Ok(0) };
    counts.marks(body);
    counts.add(objects(body), end);
    stream.write_all(OK)?;
    Ok(end)
}

/// Events of a body: elements of a JSON array of flat objects, or lines.
fn objects(body: &[u8]) -> u64 {
    let array = body.first() == Some(&b'[');
    let count = if array { memchr_iter(b'{', body).count() } else { memchr_iter(b'\n', body).count() };
    count as u64
}
