//! HTTP/1.1 on both sides, over hyper: one server connection at a time, and a small pooled client.
//!
//! Every size and every wait is bounded: heads, bodies, what bodies inflate to, slow senders, slow readers.

mod body;
mod client;
mod first;
mod page;
mod proxy;
mod scan;
mod server;
mod sigv4;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod timed;

pub use body::{BodyError, Budget, DecodeError, Lease, decode, read_body};
pub(super) use client::broken;
pub use client::{Answer, Client, ClientError, ClientOptions, Each, MAX_ANSWER_BYTES, retry_after};
pub use first::First;
pub use page::{is_for_loopback, is_from_a_page};
pub use proxy::Proxy;
pub(super) use server::until_stopped;
pub use server::{ServerLimits, ServerResponse, respond, serve_connection};
pub use sigv4::{AwsCredentials, AwsScope};
pub(super) use timed::{MAX_EXCHANGE_BYTES, Rule, Timed, Watch};

/// Largest head of a request or answer, in bytes.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Most header lines of a request or answer.
pub const MAX_HEADERS: usize = 128;
