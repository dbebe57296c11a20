//! HTTP proxies: what to send to one, and the tunnel through one.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use url::Url;

use super::MAX_HEAD_BYTES;
use crate::config::Secret;

/// An HTTP proxy. It sees plain requests whole; for `https` it only carries bytes.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// Value of `Proxy-Authorization`.
    pub(super) authorization: Option<Secret>,
}

impl Proxy {
    /// Reads `http://[user:password@]host[:port]`.
    ///
    /// Errors: anything else; a proxy that is itself spoken to over TLS is not supported.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        // The text may hold a password and must not be shown.
        let url = Url::parse(text).map_err(|e| format!("the proxy is no URL ({e}). Write http://host:port"))?;
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or("the proxy has no host. Write http://host:port")?;
        if url.scheme() != "http" {
            return Err(format!("a proxy with the scheme '{}' is not supported. Write http://host:port", url.scheme()));
        }
        let decode = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
        let authorization = (!url.username().is_empty()).then(|| {
            let mut pair = decode(url.username());
            pair.push(b':');
            pair.extend(decode(url.password().unwrap_or_default()));
            Secret::new(format!("Basic {}", STANDARD.encode(pair)))
        });
        Ok(Proxy { host: host.to_owned(), port: url.port_or_known_default().unwrap_or(80), authorization })
    }

    /// Asks the proxy for a tunnel to `authority` (`host:port`).
    ///
    /// Errors: the proxy's refusal, an answer that is none.
    pub(super) async fn tunnel(&self, tcp: &mut TcpStream, authority: &str) -> io::Result<()> {
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(value) = &self.authorization {
            request.push_str("Proxy-Authorization: ");
            request.push_str(value.expose());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        tcp.write_all(request.as_bytes()).await?;
        let status = read_status(tcp).await?;
        match status {
            200..=299 => Ok(()),
            status => Err(io::Error::other(format!("the proxy refuses a tunnel to {authority}: status {status}"))),
        }
    }
}

/// Reads an answer's head, one byte after the other: what follows it belongs to the tunnel.
async fn read_status(tcp: &mut TcpStream) -> io::Result<u16> {
    let mut head = Vec::new();
    let mut lines = BufReader::with_capacity(1, tcp.take(MAX_HEAD_BYTES as u64));
    loop {
        let before = head.len();
        lines.read_until(b'\n', &mut head).await?;
        match &head[before..] {
            b"\r\n" | b"\n" => break,
            line if line.ends_with(b"\n") => {}
            _ => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the proxy's answer was cut off")),
        }
    }
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let version = words.next().is_some_and(|w| w.starts_with(b"HTTP/1."));
    let status = words.next().and_then(|w| std::str::from_utf8(w).ok()?.trim().parse().ok());
    status
        .filter(|_| version)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the proxy does not speak HTTP"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn proxies_are_read_and_their_passwords_are_not_shown() {
        let proxy = Proxy::parse("http://us%65r:canary@proxy.example:3128").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(proxy.authorization.as_ref().unwrap().expose(), "Basic dXNlcjpjYW5hcnk=");
        assert!(!format!("{proxy:?}").contains("canary"));
        assert_eq!(Proxy::parse("http://p").unwrap().port, 80);
        for bad in ["https://p:1", "socks5://p", "p:1", "::"] {
            assert!(Proxy::parse(bad).is_err(), "{bad}");
        }
        assert!(!Proxy::parse("ftp://u:canary@p").unwrap_err().contains("canary"));
    }
}
