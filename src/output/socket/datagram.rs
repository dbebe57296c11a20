//! Datagrams to a server. UDP answers nothing: what can be known is that the kernel took a datagram, and, now and then, that
//! nobody listens there.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::params::Server;

/// Most bytes of a datagram over IPv4: 65,535 without the heads of IP and UDP.
pub const MAX_DATAGRAM: usize = 65_507;

/// A socket that sends to one address.
pub struct Datagrams {
    socket: UdpSocket,
    limit: Duration,
}

/// What became of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel has it.
    Taken,
    /// It is too large for the way.
    TooLarge,
}

impl Datagrams {
    /// A socket to the first address of a server.
    ///
    /// Errors: the name has none, or takes too long to be looked up.
    pub async fn open(server: &Server, limit: Duration) -> io::Result<Datagrams> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("{server}: no address within {limit:?}"));
        let bare = server.host.trim_matches(['[', ']']);
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{server}: {e}"));
        let mut found = timeout(limit, lookup_host((bare, server.port))).await.map_err(late)?.map_err(named)?;
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("{server}: the name has no address"));
        let address = found.next().ok_or_else(none)?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await.map_err(named)?;
        Ok(Datagrams { socket, limit })
    }

    /// Sends one datagram.
    ///
    /// Errors: nobody listens there, as the other host has said of an earlier one; the network is gone; no room for too long.
    pub async fn send(&self, datagram: &[u8]) -> io::Result<Sent> {
        if datagram.len() > MAX_DATAGRAM {
            return Ok(Sent::TooLarge);
        }
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the kernel takes no datagram");
        match timeout(self.limit, self.socket.send(datagram)).await.map_err(late)? {
            Ok(_) => Ok(Sent::Taken),
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => Ok(Sent::TooLarge),
            Err(e) => Err(e),
        }
    }

    /// Whether the last datagrams were refused, as far as that is known by now.
    pub fn check(&self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }
}
