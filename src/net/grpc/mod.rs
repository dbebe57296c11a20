//! Unary calls of gRPC over HTTP/2 (hyper's): messages in their frames, and the status behind them.
//!
//! Of gRPC there is only what one request and one answer need; streams of messages are refused. Every size and every wait is
//! bounded, as for HTTP/1.1.

mod client;
mod server;
mod tasks;
#[cfg(test)]
mod tests;
mod timeout;

pub use client::{Client, Reply};
pub use server::{Served, failed, serve_connection, succeeded};

use bytes::Bytes;

/// Codes of statuses (gRPC's `statuscodes.md`).
pub mod code {
    /// Done.
    pub const OK: u64 = 0;
    /// Given up by who called.
    pub const CANCELLED: u64 = 1;
    /// The request is wrong whatever the state of the server.
    pub const INVALID_ARGUMENT: u64 = 3;
    /// It took too long.
    pub const DEADLINE_EXCEEDED: u64 = 4;
    /// Who called may not.
    pub const PERMISSION_DENIED: u64 = 7;
    /// Too much or too large.
    pub const RESOURCE_EXHAUSTED: u64 = 8;
    /// Given up by the server.
    pub const ABORTED: u64 = 10;
    /// Past a range that may grow.
    pub const OUT_OF_RANGE: u64 = 11;
    /// There is no such method, or no such encoding.
    pub const UNIMPLEMENTED: u64 = 12;
    /// For now.
    pub const UNAVAILABLE: u64 = 14;
    /// Lost on the server's side.
    pub const DATA_LOSS: u64 = 15;
    /// Who called is not known.
    pub const UNAUTHENTICATED: u64 = 16;
}

/// Bytes before each message: whether it is packed, and its length.
pub const FRAME_HEAD: usize = 5;

/// A message in its frame.
fn framed(message: &[u8], packed: bool) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[u8::from(packed)], &length.to_be_bytes()[..], message].concat().into()
}

/// The one message of a body, and whether it is packed.
///
/// Errors: no message, several, or a part of one.
pub fn message_of(mut body: Bytes) -> Result<(Bytes, bool), &'static str> {
    let Some((packed, length)) = body.first_chunk::<FRAME_HEAD>().map(|[packed, length @ ..]| (*packed, *length))
    else {
        return Err("there is no message");
    };
    let message = body.split_off(FRAME_HEAD);
    match (packed, message.len().cmp(&(u32::from_be_bytes(length) as usize))) {
        (0 | 1, std::cmp::Ordering::Equal) => Ok((message, packed == 1)),
        (0 | 1, std::cmp::Ordering::Less) => Err("the message is not whole"),
        (0 | 1, std::cmp::Ordering::Greater) => Err("there are several messages, not one"),
        _ => Err("the frame of the message is malformed"),
    }
}
