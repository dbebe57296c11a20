//! HTTP requests that are counted and answered as the target in question does.

use std::error::Error;
use std::io::{self, Write};
use std::net::TcpStream;

use memchr::{memchr_iter, memmem};

use crate::Options;
use crate::sink::Counts;

/// How events in a body are told apart, and what each request is answered.
#[derive(Clone)]
pub struct Requests {
    /// What each event has once; where there is none, events are lines or the elements of a JSON array of flat objects.
    needle: Option<String>,
    answer: &'static [u8],
}

impl Requests {
    /// Reads `needle=` and `answer=`.
    pub fn read(options: &Options) -> Result<Self, Box<dyn Error>> {
        let answer: &[u8] = match options.text("answer").unwrap_or("json") {
            "json" => b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            "splunk" => {
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n\
                  {\"text\":\"Success\",\"code\":0}"
            }
            "loki" => b"HTTP/1.1 204 No Content\r\n\r\n",
            "otlp" => b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
            other => return Err(format!("unknown answer {other}").into()),
        };
        Ok(Self { needle: options.text("needle").ok().map(str::to_owned), answer })
    }

    /// Takes one request that is whole, counts its events and answers it; the bytes that it was.
    pub fn take(&self, bytes: &[u8], stream: &mut TcpStream, counts: &Counts) -> io::Result<usize> {
        let Some((start, end)) = body(bytes) else { return Ok(0) };
        let Some(body) = bytes.get(start..end) else { return Ok(0) };
        counts.marks(body);
        counts.add(self.events(body), end);
        stream.write_all(self.answer)?;
        Ok(end)
    }

    fn events(&self, body: &[u8]) -> u64 {
        let count = match &self.needle {
            Some(needle) => memmem::find_iter(body, needle).count(),
            None if body.first() == Some(&b'[') => memchr_iter(b'{', body).count(),
            None => memchr_iter(b'\n', body).count(),
        };
        count as u64
    }
}

/// Where the body of the first request begins and ends; none while its end is not known.
fn body(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length =
        text.lines().find_map(|l| l.strip_prefix("content-length:")).and_then(|l| l.trim().parse::<usize>().ok());
    match length {
        Some(length) => Some((head, head + length)),
        None if text.contains("transfer-encoding: chunked") => {
            memmem::find(&bytes[head..], b"\r\n0\r\n\r\n").map(|at| (head, head + at + 7))
        }
        None => Some((head, head)),
    }
}
