//! Messages of the forward protocol in packed form, each with an id, and the acknowledgement awaited.
//! Source: <https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::msgpack;
use crate::{Options, Outcome, clock, pump};

/// Bytes of an id; it ends the message, so that it can be written over.
const ID: usize = 24;
/// Longest answer.
const ANSWER: usize = 256;
/// The tag: `bench.` and a number of this many digits, which is written over.
const TAG: &str = "bench.00000";
/// Where the number of the tag is in a message: behind the head of the array, the head of the string, and `bench.`.
const TAG_NUMBER: std::ops::Range<usize> = 8..13;

fn message(lines: &[&[u8]]) -> Vec<u8> {
    let seconds = u32::try_from(clock::now() / 1_000_000_000).unwrap_or(0);
    let mut entries = Vec::new();
    for (nanos, line) in (0_u32..).step_by(1_000).zip(lines) {
        entries.extend([0x92, 0xd7, 0]);
        entries.extend(seconds.to_be_bytes());
        entries.extend(nanos.to_be_bytes());
        msgpack::object(&mut entries, line);
    }
    let mut out = vec![0x93];
    msgpack::text(&mut out, TAG.as_bytes());
    out.push(0xc6);
    out.extend(u32::try_from(entries.len()).unwrap_or(0).to_be_bytes());
    out.extend(entries);
    out.push(0x82);
    msgpack::text(&mut out, b"size");
    out.push(0xce);
    out.extend(u32::try_from(lines.len()).unwrap_or(0).to_be_bytes());
    msgpack::text(&mut out, b"chunk");
    msgpack::text(&mut out, &[b'0'; ID]);
    out
}

/// Sends `events` events, each message with the next of `tags` tags; only acknowledged ones count.
pub fn run(options: &Options) -> Outcome {
    let requests = pump::prepared(options, message)?;
    let (run, tags) = (clock::now() % 1_000_000_000, options.number_or("tags", 1)?.clamp(1, 100_000));
    pump::run(options, &requests, |stream, wire, number| {
        let id = format!("{run:09}-{number:014}");
        let mut wire = wire.to_vec();
        wire[TAG_NUMBER].copy_from_slice(format!("{:05}", number % tags).as_bytes());
        stream.write_all(&wire[..wire.len() - ID])?;
        stream.write_all(id.as_bytes())?;
        acknowledged(stream, id.as_bytes())
    })
}

/// Reads one answer `{"ack": id}`.
fn acknowledged(stream: &mut TcpStream, id: &[u8]) -> io::Result<bool> {
    let (mut answer, mut filled) = ([0_u8; ANSWER], 0);
    while msgpack::length(&answer[..filled]).is_none() {
        let room = answer.get_mut(filled..).filter(|r| !r.is_empty()).ok_or(io::ErrorKind::InvalidData)?;
        match stream.read(room)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
    }
    Ok(memchr::memmem::find(&answer[..filled], id).is_some())
}
