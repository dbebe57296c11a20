//! TLS over rustls (ring): what a listener and a client offer, and the stream that all stream plugins use.
//!
//! TLS 1.2 is the least that is spoken. A handshake that takes longer than [`HANDSHAKE_TIMEOUT`] is given up, and never
//! holds up the accept loop.

mod ciphers;
mod client;
mod generate;
mod keys;
mod reload;
mod server;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod verifier;

use std::time::Duration;

pub use client::{ClientSettings, ClientTls, Verify};
pub use server::ServerTls;
pub use settings::{Digest, Protocol, Transport, Version, Versions};
pub use stream::Stream;

/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why TLS can't be had as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// The parameter to point at, as `<transport>` names it.
    pub parameter: &'static str,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl TlsFault {
    fn new(parameter: &'static str, message: impl Into<String>) -> TlsFault {
        TlsFault { parameter, message: message.into() }
    }
}

impl std::fmt::Display for TlsFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.parameter, self.message)
    }
}

impl std::error::Error for TlsFault {}
