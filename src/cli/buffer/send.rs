//! One connection to a server of the forward protocol: a message, its acknowledgement, the next message.

use std::io::{self, BufWriter, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::Failure;
use super::message::{Body, Message, Sink};
use crate::net::forward::{MAX_ACK_BYTES, read_ack};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long writing may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection.
pub struct Link {
    stream: TcpStream,
    address: String,
    patience: Duration,
    /// Messages that were acknowledged.
    pub acknowledged: u64,
}

impl Link {
    /// Connects to `HOST:PORT`. `patience` is how long an acknowledgement may take.
    pub fn connect(address: &str, patience: Duration) -> Result<Link, Failure> {
        let failed = |e: io::Error| format!("can't connect to {address}: {e}");
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for candidate in address.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_write_timeout(Some(WRITE_TIMEOUT)).map_err(failed)?;
                    return Ok(Link { stream, address: address.to_owned(), patience, acknowledged: 0 });
                }
                Err(e) => last = e,
            }
        }
        Err(failed(last))
    }

    /// Waits for the acknowledgement of `id`, and nothing else.
    fn await_ack(&mut self, id: &str) -> Result<(), Failure> {
        let failed = |why: String| format!("{} did not acknowledge message {id}: {why}", self.address);
        let (deadline, mut answer) = (Instant::now() + self.patience, Vec::new());
        loop {
            if read_ack(&answer, id).map_err(|e| failed(e.to_string()))?.is_some() {
                self.acknowledged += 1;
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failed(format!("no answer within {:?}", self.patience)));
            }
            self.stream.set_read_timeout(Some(left)).map_err(|e| failed(e.to_string()))?;
            let mut some = [0; MAX_ACK_BYTES];
            match (&self.stream).read(&mut some) {
                Ok(0) => return Err(failed("it closed the connection".into())),
                Ok(got) => answer.extend_from_slice(&some[..got]),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) => return Err(failed(e.to_string())),
            }
        }
    }
}

impl Sink for Link {
    fn message(&mut self, message: &Message, body: Body<'_>) -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(256 << 10, &self.stream);
        message.write(body, &mut out)?;
        let flushed = out.flush();
        drop(out);
        flushed.map_err(|e| format!("can't write to {}: {e}", self.address))?;
        self.await_ack(&message.id)
    }
}
