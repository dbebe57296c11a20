//! One chunk over one connection, and its acknowledgement.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::link::Connection;
use super::payload::{Parts, Payload};
use crate::event::Packing;
use crate::net::forward::{MAX_ACK_BYTES, packed_header, packed_trailer, read_ack};
use crate::net::tls::Stream;

/// Parts handed to the kernel in one call.
const SLICES: usize = 64;

/// Bytes gathered for one call, at least, as long as there are more parts.
const GATHERED_BYTES: usize = 1024 * 1024;

/// How chunks are sent.
pub(super) struct Terms {
    /// How long writing may make no progress.
    pub(super) send_timeout: Duration,
    /// How long to wait for the acknowledgement; none is asked for where there is none.
    pub(super) ack_timeout: Option<Duration>,
    pub(super) packing: Packing,
}

/// A message ready to be sent.
pub(super) struct Outgoing<'p> {
    header: Bytes,
    payload: &'p Payload<'p>,
    trailer: Bytes,
    /// The chunk's id as it is sent, where an acknowledgement is asked for.
    chunk: Option<String>,
}

/// Why a chunk was not delivered.
#[derive(Debug)]
pub(super) enum SendError {
    /// The server has not got all of it: another may be tried.
    NotSent(io::Error),
    /// The server has got it and not acknowledged it: it may have it.
    Unacknowledged {
        /// What came instead.
        why: String,
        /// Whether nothing came in all the time.
        silent: bool,
    },
}

impl<'p> Outgoing<'p> {
    /// A message of `payload` under `tag`; `id` is the chunk's id in base64.
    ///
    /// `None` where the payload is too long for one message.
    pub(super) fn new(tag: &str, payload: &'p Payload<'p>, id: String, terms: &Terms) -> Option<Outgoing<'p>> {
        let header = packed_header(tag, payload.len)?.into();
        let chunk = terms.ack_timeout.map(|_| id);
        let trailer = packed_trailer(payload.count, terms.packing, chunk.as_deref()).into();
        Some(Outgoing { header, payload, trailer, chunk })
    }

    /// Sends the message. `Ok` means that the server acknowledged it, or that all its bytes are with the kernel where no
    /// acknowledgement is asked for. A connection that is not in order afterwards is marked as not reusable.
    pub(super) async fn send(&self, connection: &mut Connection, terms: &Terms) -> Result<(), SendError> {
        let reusable = std::mem::take(&mut connection.reusable);
        self.write(&mut connection.stream, terms.send_timeout).await.map_err(SendError::NotSent)?;
        if let (Some(chunk), Some(limit)) = (&self.chunk, terms.ack_timeout) {
            let clean = await_ack(&mut connection.stream, chunk, limit).await?;
            connection.reusable = reusable && clean;
        } else {
            connection.reusable = reusable;
        }
        Ok(())
    }

    async fn write(&self, stream: &mut Stream, limit: Duration) -> io::Result<()> {
        let mut writer = Writer { queue: VecDeque::from([self.header.clone()]), bytes: self.header.len(), limit };
        let left = writer.write_parts(stream, self.payload.parts(), self.payload.len).await?;
        if left > 0 {
            // The length was announced: the message can't be ended.
            return Err(io::Error::other("the chunk has fewer bytes than when it was measured"));
        }
        writer.push(self.trailer.clone());
        writer.drain(stream, 0).await?;
        bounded(limit, stream.flush()).await
    }
}

/// Collects parts and writes many at once.
struct Writer {
    queue: VecDeque<Bytes>,
    bytes: usize,
    limit: Duration,
}

impl Writer {
    fn push(&mut self, part: Bytes) {
        self.bytes += part.len();
        if !part.is_empty() {
            self.queue.push_back(part);
        }
    }

    /// Writes parts of `len` bytes; gives how many are missing.
    async fn write_parts(&mut self, stream: &mut Stream, parts: Parts<'_>, len: u64) -> io::Result<u64> {
        let mut left = len;
        for part in parts {
            let part = part?;
            let more = || io::Error::other("the chunk has more bytes than when it was measured");
            left = left.checked_sub(part.len() as u64).ok_or_else(more)?;
            self.push(part);
            self.drain(stream, GATHERED_BYTES).await?;
        }
        Ok(left)
    }

    /// Writes until no more than `keep` bytes wait.
    async fn drain(&mut self, stream: &mut Stream, keep: usize) -> io::Result<()> {
        while self.bytes > keep {
            let slices: Vec<IoSlice<'_>> = self.queue.iter().take(SLICES).map(|part| IoSlice::new(part)).collect();
            let written = bounded(self.limit, stream.write_vectored(&slices)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.advance(written);
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.queue.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.queue.pop_front();
        }
    }
}

async fn bounded<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("the server takes nothing for {limit:?}"));
    timeout(limit, work).await.map_err(|_| late())?
}

/// Waits for the acknowledgement of `chunk`. `true` where nothing came behind it.
async fn await_ack(stream: &mut Stream, chunk: &str, limit: Duration) -> Result<bool, SendError> {
    let silence = || SendError::Unacknowledged {
        why: format!("no response from node within {limit:?}. regard it as unavailable"),
        silent: true,
    };
    timeout(limit, read_answer(stream, chunk)).await.map_err(|_| silence())?
}

async fn read_answer(stream: &mut Stream, chunk: &str) -> Result<bool, SendError> {
    let failed = |why: String| SendError::Unacknowledged { why, silent: false };
    let mut answer = Vec::with_capacity(64);
    loop {
        if !answer.is_empty()
            && let Some(len) = read_ack(&answer, chunk).map_err(|e| failed(e.to_string()))?
        {
            return Ok(len == answer.len());
        }
        let room = MAX_ACK_BYTES.saturating_sub(answer.len()).max(1) as u64;
        let read = (&mut *stream).take(room).read_buf(&mut answer).await;
        match read.map_err(|e| failed(format!("the connection broke before the ack: {e}")))? {
            0 => return Err(failed("destination node closed the connection before the ack".into())),
            _ => continue,
        }
    }
}
