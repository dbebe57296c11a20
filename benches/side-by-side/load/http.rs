//! JSON arrays by POST on connections that are kept.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use memchr::memmem;

use crate::clock::{DIGITS, stamp};
use crate::{Options, Outcome, pump};

/// Longest head of an answer.
const HEAD: usize = 16 * 1024;

/// One request of a group of lines: a JSON array, with a mark of time as first field of each object where asked for.
fn request(port: u16, path: &str, marks: bool, lines: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![b'['];
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            body.push(b',');
        }
        if marks {
            body.extend_from_slice(format!(r#"{{"t0":"T0@{:0DIGITS$}","#, 0).as_bytes());
            body.extend_from_slice(line.strip_prefix(b"{").unwrap_or(line));
        } else {
            body.extend_from_slice(line);
        }
    }
    body.push(b']');
    post(port, path, "application/json", &body)
}

/// A whole request.
pub fn post(port: u16, path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends `events` events; an answer of 2xx counts.
pub fn run(options: &Options) -> Outcome {
    let (port, marks) = (options.port()?, options.number_or("marks", 0)? == 1);
    let path = options.text("path").unwrap_or("/bench.app");
    let requests = pump::prepared(options, |lines| request(port, path, marks, lines))?;
    pump::run(options, &requests, |stream, wire, _| {
        if marks {
            let mut wire = wire.to_vec();
            stamp(&mut wire);
            stream.write_all(&wire)?;
        } else {
            stream.write_all(wire)?;
        }
        answer(stream).map(|status| (200..300).contains(&status))
    })
}

/// Reads one answer whole; its status.
pub fn answer(stream: &mut TcpStream) -> io::Result<u16> {
    let (mut head, mut filled) = ([0_u8; HEAD], 0);
    let end = loop {
        let room = head.get_mut(filled..).filter(|r| !r.is_empty()).ok_or(io::ErrorKind::InvalidData)?;
        match stream.read(room)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
        if let Some(end) = memmem::find(&head[..filled], b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
    let status = text.get(9..12).and_then(|s| s.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let length =
        text.lines().find_map(|l| l.strip_prefix("content-length:")).and_then(|l| l.trim().parse::<usize>().ok());
    match length {
        Some(length) => discard(stream, (end + length).saturating_sub(filled))?,
        None if text.contains("transfer-encoding: chunked") => last_chunk(stream, head[end..filled].to_vec())?,
        None => {}
    }
    Ok(status)
}

fn discard(stream: &mut TcpStream, bytes: usize) -> io::Result<()> {
    io::copy(&mut stream.take(bytes as u64), &mut io::sink()).map(|_| ())
}

fn last_chunk(stream: &mut TcpStream, mut body: Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 4096];
    while !body.ends_with(b"0\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => body.extend_from_slice(&piece[..n]),
        }
    }
    Ok(())
}
