//! MessagePack and the forward protocol, written by hand so that it can be written wrong.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::harness::{PATIENCE, connect, is_closed};

pub fn text(bytes: &[u8]) -> Vec<u8> {
    [&[0xdb][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

pub fn binary(bytes: &[u8]) -> Vec<u8> {
    [&[0xc6][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// `{key: value}` of text.
pub fn record(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0x80 | pairs.len() as u8];
    pairs.iter().for_each(|(k, v)| out.extend([text(k.as_bytes()), text(v.as_bytes())].concat()));
    out
}

/// `[time, record]`
pub fn entry(record: &[u8]) -> Vec<u8> {
    [&[0x92, 0xce, 0x65, 0, 0, 0][..], record].concat()
}

/// `[tag, payload, {option: value}]`
pub fn packed(tag: &[u8], payload: &[u8], options: &[(&str, &str)]) -> Vec<u8> {
    [&[0x93][..], &text(tag), &binary(payload), &record(options)].concat()
}

/// One event that asks to be acknowledged.
pub fn event(tag: &str, message: &str, chunk: &str) -> Vec<u8> {
    packed(tag.as_bytes(), &entry(&record(&[("message", message)])), &[("chunk", chunk)])
}

/// Sends what must not be acknowledged, and must end the connection.
pub fn refused(port: u16, bytes: &[u8]) {
    let mut stream = connect(port);
    let _ = stream.write_all(bytes);
    let mut first = [0];
    let got = stream.read(&mut first);
    assert!(!matches!(got, Ok(1)), "answered: {}", first[0]);
    assert!(is_closed(&mut stream, PATIENCE), "still open");
}

/// Sends an event and waits for its acknowledgement.
pub fn send_event(port: u16, tag: &str, message: &str, chunk: &str) {
    let mut stream = connect(port);
    stream.write_all(&event(tag, message, chunk)).unwrap();
    let mut got = [0; 64];
    let n = stream.read(&mut got).unwrap();
    assert!(got[..n].windows(chunk.len()).any(|w| w == chunk.as_bytes()), "no acknowledgement: {:?}", &got[..n]);
}

const PIECE: usize = 1 << 20;

fn zeros(mebibytes: usize, mut write: impl FnMut(&[u8])) {
    let piece = vec![0; PIECE];
    (0..mebibytes).for_each(|_| write(&piece));
}

pub fn gzip_zeros(mebibytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    zeros(mebibytes, |p| encoder.write_all(p).unwrap());
    encoder.finish().unwrap()
}

pub fn zlib_zeros(mebibytes: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    zeros(mebibytes, |p| encoder.write_all(p).unwrap());
    encoder.finish().unwrap()
}

/// A frame without its content's size, and with a window of `2^window` bytes.
pub fn zstd_zeros(mebibytes: usize, window: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window).unwrap();
    zeros(mebibytes, |p| encoder.write_all(p).unwrap());
    encoder.finish().unwrap()
}
