//! Datagrams to a server. UDP answers nothing: what can be known is that the kernel took a datagram, and, now and then, that
//! nobody listens there.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use tokio::io::Interest;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::params::Server;

/// Most bytes of a datagram over IPv4: 65,535 without the heads of IP and UDP.
pub const MAX_DATAGRAM: usize = 65_507;

/// Most datagrams of one call of the kernel.
const TOGETHER: usize = 64;

/// Datagrams that are to be sent, one behind the other.
#[derive(Default)]
pub struct Packets {
    bytes: Vec<u8>,
    /// Where each ends in `bytes`.
    ends: Vec<usize>,
}

impl Packets {
    /// Adds one, made of parts.
    pub fn push(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The one at that place.
    pub fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[at]]
    }
}

/// A socket that sends to one address.
pub struct Datagrams {
    socket: UdpSocket,
    limit: Duration,
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

    /// Sends datagrams in their order; the places of those that are too large for the way and were left out.
    ///
    /// Errors: nobody listens there, as the other host has said of an earlier one; the network is gone; no room for too long.
    pub async fn send(&self, packets: &Packets) -> io::Result<Vec<usize>> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the kernel takes no datagram");
        let (mut at, mut too_large) = (0, Vec::new());
        while at < packets.len() {
            let small = |at: &usize| packets.get(*at).len() <= MAX_DATAGRAM;
            let group: Vec<[IoSlice<'_>; 1]> = (at..packets.len().min(at + TOGETHER))
                .take_while(small)
                .map(|at| [IoSlice::new(packets.get(at))])
                .collect();
            let sent = match group.is_empty() {
                true => Err(Errno::MSGSIZE.into()),
                false => {
                    let sending = self.socket.async_io(Interest::WRITABLE, || send_some(&self.socket, &group));
                    timeout(self.limit, sending).await.map_err(late)?
                }
            };
            match sent {
                Ok(count) => at += count,
                Err(e) if e.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                    too_large.push(at);
                    at += 1;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(too_large)
    }

    /// Whether the last datagrams were refused, as far as that is known by now.
    pub fn check(&self) -> io::Result<()> {
        self.socket.take_error()?.map_or(Ok(()), Err)
    }
}

/// Sends from the first on as many as the kernel takes; their number.
///
/// Errors: that of the first.
fn send_some(socket: &UdpSocket, group: &[[IoSlice<'_>; 1]]) -> io::Result<usize> {
    let mut none: Vec<SendAncillaryBuffer<'_, '_, '_>> = group.iter().map(|_| Default::default()).collect();
    let mut messages: Vec<MMsgHdr<'_>> =
        group.iter().zip(&mut none).map(|(text, none)| MMsgHdr::new(text, none)).collect();
    Ok(sendmmsg(socket, &mut messages, SendFlags::empty())?)
}
