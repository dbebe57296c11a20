//! Lines by TCP as fast as they go, and by UDP at a rate.

use std::error::Error;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use crate::{Options, Outcome, pump};

/// Bytes of one write.
const PIECE: usize = 64 * 1024;
/// Most datagrams of one call.
const DATAGRAMS: usize = 64;
/// How often a sender at a rate looks at the clock.
const TICK: Duration = Duration::from_micros(200);
/// How long a sender waits for the other side to close.
const CLOSING: Duration = Duration::from_secs(2);

/// The file in parts that end with a line.
fn parts(text: &[u8], count: usize) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), text);
    for left in (1..=count).rev() {
        let near = rest.len() / left;
        let end = memchr::memchr(b'\n', &rest[near.saturating_sub(1)..])
            .map_or(rest.len(), |n| near.saturating_sub(1) + n + 1);
        let (part, behind) = rest.split_at(if left == 1 { rest.len() } else { end });
        parts.push(part);
        rest = behind;
    }
    parts
}

/// The bytes that go out: lines, or frames with the length in front.
fn framed(text: Vec<u8>, octets: bool) -> Vec<u8> {
    if !octets {
        return text;
    }
    let mut out = Vec::with_capacity(text.len() + text.len() / 32);
    for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        out.extend_from_slice(format!("{} ", line.len()).as_bytes());
        out.extend_from_slice(line);
    }
    out
}

fn send(port: u16, part: &[u8], end: Instant) -> io::Result<()> {
    let mut stream = pump::dial(port)?;
    for piece in part.chunks(PIECE) {
        if Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.write_all(piece)?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.set_read_timeout(Some(CLOSING))?;
    let _ = stream.read(&mut [0; 64]);
    Ok(())
}

/// Sends a file over several connections, a part on each.
pub fn tcp(options: &Options) -> Outcome {
    let port = options.port()?;
    let octets = options.text("framing").is_ok_and(|f| f == "octets");
    let raw = std::fs::read(options.text("file")?)?;
    let (events, bytes) = (memchr::memchr_iter(b'\n', &raw).count(), raw.len());
    let connections = usize::try_from(options.number("connections")?)?;
    let pieces: Vec<Vec<u8>> = parts(&raw, connections).into_iter().map(|p| framed(p.to_vec(), octets)).collect();
    let start = Instant::now();
    let end = start + Duration::from_secs(options.number_or("seconds", pump::SECONDS)?);
    let results: Vec<io::Result<()>> = thread::scope(|scope| {
        let threads: Vec<_> = pieces.iter().map(|piece| scope.spawn(move || send(port, piece, end))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))).collect()
    });
    let errors = results.iter().filter(|r| r.is_err()).count();
    let seconds = start.elapsed().as_secs_f64();
    Ok(format!(r#"{{"events":{events},"bytes":{bytes},"errors":{errors},"seconds":{seconds:.6}}}"#))
}

/// Sends lines as datagrams, `rate` a second for `seconds`.
pub fn udp(options: &Options) -> Outcome {
    let (rate, seconds) = (options.number("rate")?, options.number("seconds")?);
    let text = std::fs::read(options.text("file")?)?;
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    if lines.is_empty() {
        return Err("the file has no lines".into());
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, options.port()?))?;
    let start = Instant::now();
    let (sent, errors) = at_rate(&socket, &lines, rate, rate * seconds, start)?;
    let took = start.elapsed().as_secs_f64();
    Ok(format!(r#"{{"events":{sent},"errors":{errors},"seconds":{took:.6}}}"#))
}

fn at_rate(
    socket: &UdpSocket,
    lines: &[&[u8]],
    rate: u64,
    total: u64,
    start: Instant,
) -> Result<(u64, u64), Box<dyn Error>> {
    let (mut sent, mut errors) = (0, 0);
    let mut turn = lines.iter().cycle();
    while sent < total {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        while sent < due.min(total) {
            let count = usize::try_from(due.min(total) - sent)?.min(DATAGRAMS);
            let group: Vec<[IoSlice<'_>; 1]> = turn.by_ref().take(count).map(|line| [IoSlice::new(line)]).collect();
            let mut none: Vec<SendAncillaryBuffer<'_, '_, '_>> = group.iter().map(|_| Default::default()).collect();
            let pairs = group.iter().zip(&mut none);
            let mut messages: Vec<MMsgHdr<'_>> = pairs.map(|(line, none)| MMsgHdr::new(line, none)).collect();
            let taken = sendmmsg(socket, &mut messages, SendFlags::empty()).unwrap_or(0);
            errors += (count - taken) as u64;
            sent += count as u64;
        }
        thread::sleep(TICK);
    }
    Ok((sent, errors))
}
