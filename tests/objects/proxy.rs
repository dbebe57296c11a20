//! A proxy between suiro and a store that misbehaves on puts: it swallows answers, says that it is busy, or hangs.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::free_port;
use crate::listening::Listening;

/// What happens to a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It goes through, and its answer is swallowed.
    Swallow,
    /// It is refused with 503 SlowDown.
    Busy,
    /// It goes through, and its answer does not come until the connection ends.
    Hang,
}

#[derive(Default)]
struct State {
    /// The next puts; when there are no more, they pass.
    conducts: Mutex<Vec<Conduct>>,
    /// Method and target of each request.
    seen: Mutex<Vec<String>>,
}

/// The proxy. It ends with its owner.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
    _listening: Listening,
}

impl Proxy {
    /// Before the store on a port.
    pub fn before(store: u16) -> Proxy {
        let port = free_port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        let listening = Listening::start(port, move |stream| serve(stream, store, &shared));
        Proxy { port, state, _listening: listening }
    }

    /// What happens to the next puts, in turn.
    pub fn next(&self, conducts: &[Conduct]) {
        *self.state.conducts.lock().unwrap() = conducts.iter().rev().copied().collect();
    }

    /// Whether all of [`next`](Self::next) has happened.
    pub fn is_done(&self) -> bool {
        self.state.conducts.lock().unwrap().is_empty()
    }

    /// Requests of a method so far.
    pub fn count(&self, method: &str) -> usize {
        self.state.seen.lock().unwrap().iter().filter(|line| line.starts_with(method)).count()
    }
}

const BUSY: &str = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

fn serve(mut client: TcpStream, store: u16, state: &State) -> io::Result<()> {
    loop {
        let Some(request) = read_message(&mut client, false)? else { return Ok(()) };
        let head = String::from_utf8_lossy(&request);
        let line = head.lines().next().unwrap_or_default().to_owned();
        state.seen.lock().unwrap().push(line.clone());
        // A put of an object or the completion of an upload, not one of a bucket.
        let target = line.split(' ').nth(1).unwrap_or_default();
        let puts = line.starts_with("PUT") && target.trim_matches('/').contains('/') && !target.contains("partNumber");
        let completes = line.starts_with("POST") && target.contains("uploadId");
        let conduct = if puts || completes { state.conducts.lock().unwrap().pop() } else { None };
        if conduct == Some(Conduct::Busy) {
            let length = BUSY.len();
            write!(client, "HTTP/1.1 503 Slow Down\r\nContent-Length: {length}\r\n\r\n{BUSY}")?;
            continue;
        }
        let mut upstream = TcpStream::connect(("127.0.0.1", store))?;
        upstream.set_read_timeout(Some(Duration::from_secs(30)))?;
        upstream.write_all(&request)?;
        let answer = read_message(&mut upstream, line.starts_with("HEAD"))?.unwrap_or_default();
        match conduct {
            Some(Conduct::Swallow) => return client.shutdown(Shutdown::Both),
            Some(Conduct::Hang) => {
                let mut rest = [0];
                let _ = client.read(&mut rest);
                return Ok(());
            }
            _ => client.write_all(&answer)?,
        }
    }
}

/// A whole request or answer, as it came; `None` at the end.
fn read_message(stream: &mut TcpStream, without_body: bool) -> io::Result<Option<Vec<u8>>> {
    let (mut got, mut buf) = (Vec::new(), vec![0; 64 * 1024]);
    while !is_whole(&got, without_body) {
        match stream.read(&mut buf)? {
            0 => return Ok((!got.is_empty()).then_some(got)),
            n => got.extend_from_slice(&buf[..n]),
        }
    }
    Ok(Some(got))
}

fn is_whole(message: &[u8], without_body: bool) -> bool {
    let Some(end) = message.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&message[..end]).to_ascii_lowercase();
    let empty = head.starts_with("http/1.1 204") || head.starts_with("http/1.1 304");
    if without_body || empty {
        return true;
    }
    if head.contains("transfer-encoding: chunked") {
        return message.ends_with(b"\r\n0\r\n\r\n");
    }
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    message.len() >= end + 4 + length.unwrap_or(0)
}
