//! A server of a test: a port, a thread for each connection, an end with its owner; and requests over HTTP.
#![allow(clippy::unwrap_used)]

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Takes connections until it is dropped.
pub struct Listening {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Listening {
    /// Serves each connection to a port in a thread, which ends with its connection. What fails there is what the test asked
    /// for.
    pub fn start<T>(port: u16, serve: impl Fn(TcpStream) -> T + Send + Sync + 'static) -> Listening {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (ended, serve) = (Arc::new(AtomicBool::new(false)), Arc::new(serve));
        let over = ended.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(SeqCst) {
                    return;
                }
                let (serve, stream) = (serve.clone(), stream.unwrap());
                std::thread::spawn(move || drop(serve(stream)));
            }
        });
        Listening { port, ended }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Head and body of the next request; `None` at the end of the connection. Bytes behind it stay in `got`.
pub fn request(stream: &mut TcpStream, got: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut buf = vec![0; 64 * 1024];
    let end = loop {
        if let Some(end) = got.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut buf)? {
            0 => return Ok(None),
            n => got.extend_from_slice(&buf[..n]),
        }
    };
    let head = String::from_utf8_lossy(&got[..end]).into_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let whole = end + 4 + length.unwrap_or(0);
    while got.len() < whole {
        match stream.read(&mut buf)? {
            0 => return Ok(None),
            n => got.extend_from_slice(&buf[..n]),
        }
    }
    let body = got[end + 4..whole].to_vec();
    got.drain(..whole);
    Ok(Some((head, body)))
}
