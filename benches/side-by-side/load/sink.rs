//! A target that counts: lines, octet-counted frames, datagrams, forward messages (acknowledged) or HTTP requests.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use memchr::{memchr, memchr_iter, memmem, memrchr};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::clock::{MARK, Waits, now, read_marks};
use crate::msgpack::{self, Head};
use crate::requests::Requests;
use crate::{Options, Outcome};

/// Bytes asked for in one read.
const PIECE: usize = 1 << 20;
/// How long nothing may come any more after the expected number, before the count is final.
const QUIET: Duration = Duration::from_millis(500);
/// Pause between two looks at the counts.
const LOOK: Duration = Duration::from_millis(5);
/// What the kernel keeps of datagrams that were not read yet: all of a run, so that none is lost here.
const DATAGRAMS: usize = 512 << 20;
/// Longest datagram.
const DATAGRAM: usize = 64 * 1024;

/// What has arrived.
#[derive(Default)]
pub struct Counts {
    events: AtomicU64,
    bytes: AtomicU64,
    /// Nanoseconds since 1970 when the last bytes came.
    last: AtomicU64,
    waits: Mutex<Waits>,
}

impl Counts {
    /// Adds what came just now.
    pub fn add(&self, events: u64, bytes: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last.store(now(), Ordering::Relaxed);
    }

    /// Notes how long ago the marks of time in the bytes were made.
    pub fn marks(&self, bytes: &[u8]) {
        if memmem::find(bytes, MARK).is_some() {
            read_marks(bytes, &mut self.waits.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// What comes over a connection.
#[derive(Clone)]
enum Kind {
    Lines,
    Frames,
    Forward,
    Http(Requests),
}

impl Kind {
    fn read(options: &Options) -> Result<Self, Box<dyn Error>> {
        match options.text("kind")? {
            "lines" => Ok(Self::Lines),
            "frames" => Ok(Self::Frames),
            "forward" => Ok(Self::Forward),
            "http" => Requests::read(options).map(Self::Http),
            other => Err(format!("unknown kind {other}").into()),
        }
    }

    /// Takes what is complete at the start of the bytes: counts it, answers it, and says how many bytes it was.
    fn take(&self, bytes: &[u8], stream: &mut TcpStream, counts: &Counts) -> io::Result<usize> {
        match self {
            Self::Lines => Ok(lines(bytes, counts)),
            Self::Frames => frame(bytes, counts),
            Self::Forward => forward(bytes, stream, counts),
            Self::Http(requests) => requests.take(bytes, stream, counts),
        }
    }
}

/// Listens until `expect` events are there and no more come, or `seconds` are over.
pub fn run(options: &Options) -> Outcome {
    let (expect, seconds) = (options.number("expect")?, options.number("seconds")?);
    let counts = Arc::new(Counts::default());
    if options.text("kind")? == "datagrams" {
        datagrams(options.port()?, Arc::clone(&counts))?;
    } else {
        connections(options.port()?, &Kind::read(options)?, &counts)?;
    }
    await_events(&counts, expect, Instant::now() + Duration::from_secs(seconds));
    let waits = counts.waits.lock().unwrap_or_else(PoisonError::into_inner).json();
    let (events, bytes) = (counts.events.load(Ordering::Relaxed), counts.bytes.load(Ordering::Relaxed));
    Ok(format!(r#"{{"events":{events},"bytes":{bytes},"last":{},{waits}}}"#, counts.last.load(Ordering::Relaxed)))
}

/// Counts what each connection brings, on a thread of its own.
fn connections(port: u16, kind: &Kind, counts: &Arc<Counts>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let (kind, shared) = (kind.clone(), Arc::clone(counts));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (kind, counts) = (kind.clone(), Arc::clone(&shared));
            thread::spawn(move || connection(stream, &kind, &counts));
        }
    });
    Ok(())
}

/// Counts datagrams. A larger buffer than the system's limit takes a right that root has.
fn datagrams(port: u16, counts: Arc<Counts>) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
    set_socket_recv_buffer_size_force(&socket, DATAGRAMS)?;
    thread::spawn(move || {
        let mut room = vec![0; DATAGRAM];
        while let Ok(length) = socket.recv(&mut room) {
            counts.add(1, length);
        }
    });
    Ok(())
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

fn connection(mut stream: TcpStream, kind: &Kind, counts: &Counts) -> io::Result<()> {
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
            match kind.take(&buffer[at..filled], &mut stream, counts)? {
                0 => break,
                n => at += n,
            }
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}

fn lines(bytes: &[u8], counts: &Counts) -> usize {
    let Some(end) = memrchr(b'\n', bytes).map(|n| n + 1) else { return 0 };
    counts.marks(&bytes[..end]);
    counts.add(memchr_iter(b'\n', &bytes[..end]).count() as u64, end);
    end
}

/// One message with its length before it (RFC 6587, 3.4.1).
fn frame(bytes: &[u8], counts: &Counts) -> io::Result<usize> {
    let Some(space) = memchr(b' ', bytes) else { return Ok(0) };
    let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
    let end = space + 1 + length.ok_or(io::ErrorKind::InvalidData)?;
    if end > bytes.len() {
        return Ok(0);
    }
    counts.add(1, end);
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
