//! Where the events that a command prints begin and end: by line, or by value for JSON and MessagePack.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::event::json::Splitter;
use crate::event::msgpack;
use crate::net::lines::{Frame, Framing, Lines, MAX_MESSAGE_BYTES};

/// How much is read at a time, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// How an output is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// By line.
    Lines,
    /// By JSON value.
    Json,
    /// By MessagePack value.
    Msgpack,
}

impl Cut {
    /// How the texts of a parser are told apart.
    pub fn of(parser: &str) -> Cut {
        match parser {
            "json" => Cut::Json,
            "msgpack" => Cut::Msgpack,
            _ => Cut::Lines,
        }
    }
}

/// An output while it is read.
pub enum Pieces {
    /// Lines.
    Lines(Box<Lines>),
    /// JSON values: where one ends, and what was read.
    Json(Splitter, Vec<u8>),
    /// MessagePack values: what was read.
    Msgpack(Vec<u8>),
}

impl Pieces {
    /// Nothing read yet.
    pub fn new(cut: Cut) -> Pieces {
        match cut {
            Cut::Lines => {
                let framing = Framing::Delimiter(b"\n".to_vec());
                Pieces::Lines(Box::new(Lines::new(&framing, MAX_MESSAGE_BYTES)))
            }
            Cut::Json => Pieces::Json(Splitter::new(), Vec::new()),
            Cut::Msgpack => Pieces::Msgpack(Vec::new()),
        }
    }

    /// Reads what is there. Gives whether there may be more: not at the end, nor behind an error, which is logged.
    pub async fn read(&mut self, output: &mut (impl AsyncRead + Unpin)) -> bool {
        match self.read_some(output).await {
            Ok(size) => size > 0,
            Err(error) => {
                tracing::warn!(%error, "can't read what the command prints");
                false
            }
        }
    }

    async fn read_some(&mut self, output: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        match self {
            Pieces::Lines(lines) => lines.read(output).await,
            Pieces::Json(_, buf) | Pieces::Msgpack(buf) => {
                buf.reserve(READ_BYTES);
                output.read_buf(buf).await
            }
        }
    }

    /// Hands out what is whole, and at the end the rest.
    ///
    /// Errors: a value over the limit, or bytes that are no MessagePack; what follows can't be told apart.
    pub fn take(&mut self, at_end: bool, mut each: impl FnMut(&[u8])) -> Result<(), String> {
        match self {
            Pieces::Lines(lines) => {
                take_lines(lines, at_end, each);
                Ok(())
            }
            Pieces::Json(splitter, buf) => {
                let mut start = 0;
                while let Some(length) = splitter.next_end(&buf[start..]) {
                    each(&buf[start..start + length]);
                    start += length;
                }
                buf.drain(..start);
                if at_end && !buf.trim_ascii().is_empty() {
                    each(buf);
                }
                within_limit(buf)
            }
            Pieces::Msgpack(buf) => {
                let mut start = 0;
                while start < buf.len() {
                    let Ok(length) = msgpack::skip(&buf[start..]) else { break };
                    each(&buf[start..start + length]);
                    start += length;
                }
                buf.drain(..start);
                if at_end && !buf.is_empty() {
                    return Err("the output is no MessagePack or ends within a value".into());
                }
                within_limit(buf)
            }
        }
    }
}

fn within_limit(buf: &[u8]) -> Result<(), String> {
    if buf.len() > MAX_MESSAGE_BYTES {
        return Err(format!("a value has more than {MAX_MESSAGE_BYTES} bytes"));
    }
    Ok(())
}

fn take_lines(lines: &mut Lines, at_end: bool, mut each: impl FnMut(&[u8])) {
    let chomped = |line: &[u8]| line.len() - usize::from(line.ends_with(b"\r"));
    // Lines by delimiter have no length that could be wrong.
    let _ = lines.drain(|frame| match frame {
        Frame::Message(line) => each(&line[..chomped(line)]),
        Frame::TooLong { size, .. } => tracing::warn!(size, "a line of the output is too long, dropped"),
    });
    if at_end && let Some(line) = lines.rest() {
        each(&line[..chomped(line)]);
    }
}
