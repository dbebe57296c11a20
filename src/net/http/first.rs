//! Which HTTP a client speaks, by its first bytes: one at the wrong port is to be told so.

use std::time::Duration;

use tokio::time::timeout;

use crate::net::tls::Stream;

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// With a request of HTTP/1.
    One,
    /// With the preface of HTTP/2 (RFC 9113 section 3.4).
    Two,
    /// With something else, or what can't be seen: under TLS, where ALPN settles it.
    Unknown,
}

impl First {
    /// Looks, and takes nothing. `None`: nothing has come within `longest`.
    pub async fn of(stream: &Stream, longest: Duration) -> Option<First> {
        let Stream::Plain(tcp) = stream else { return Some(First::Unknown) };
        let mut first = [0; 4];
        let seen = timeout(longest, tcp.peek(&mut first)).await.ok()?;
        // What ended or broke says so again when it is read.
        Some(First::by(&first[..seen.unwrap_or(0)]))
    }

    fn by(first: &[u8]) -> First {
        match first {
            b"PRI " => First::Two,
            [_, _, _, _] if first.iter().all(|b| b.is_ascii_uppercase() || *b == b' ') => First::One,
            _ => First::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_from_the_preface() {
        assert_eq!(First::by(b"PRI "), First::Two);
        for method in [b"GET ", b"POST", b"PUT ", b"PROP"] {
            assert_eq!(First::by(method), First::One);
        }
        for other in [&b"PR"[..], b"", b"\x16\x03\x01\x02", b"post"] {
            assert_eq!(First::by(other), First::Unknown);
        }
    }
}
