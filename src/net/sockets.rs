//! Listening sockets, shared across reloads.
//!
//! A listener is bound once and kept by address: when a reload builds an input anew on the same address, it gets a
//! duplicate of the descriptor, so that no connection is refused in between. What no input uses any more is closed by
//! [`Sockets::sweep`].

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

/// Length of a listener's queue of connections that nobody accepted yet, where the configuration gives none.
pub const DEFAULT_BACKLOG: i32 = 1024;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Address {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
}

enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Unix(UnixListener),
}

struct Held {
    socket: Bound,
    used: bool,
}

/// The process's listening sockets by address.
#[derive(Default)]
pub struct Sockets(Mutex<HashMap<Address, Held>>);

impl Sockets {
    /// Holds nothing yet.
    pub fn new() -> Sockets {
        Sockets::default()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Address, Held>> {
        // A panic while the lock was held leaves the map whole: every change is one insert or flag.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A TCP listener on `host:port`, in non-blocking mode.
    ///
    /// Errors: what the operating system says, with the address in the text.
    pub fn tcp(&self, host: &str, port: u16, backlog: Option<i32>) -> io::Result<TcpListener> {
        let address = resolve(host, port)?;
        let mut held = self.held();
        if let Some(Held { socket: Bound::Tcp(listener), used }) = held.get_mut(&Address::Tcp(address)) {
            *used = true;
            return listener.try_clone();
        }
        let listener = bind_tcp(address, backlog.unwrap_or(DEFAULT_BACKLOG)).map_err(|e| named(e, "tcp", &address))?;
        let copy = listener.try_clone()?;
        // Port 0 is another port every time: never share it.
        if port != 0 {
            held.insert(Address::Tcp(address), Held { socket: Bound::Tcp(listener), used: true });
        }
        Ok(copy)
    }

    /// A UDP socket on `host:port`, in non-blocking mode. `receive_buffer` is the kernel's buffer in bytes.
    pub fn udp(&self, host: &str, port: u16, receive_buffer: Option<usize>) -> io::Result<UdpSocket> {
        let address = resolve(host, port)?;
        let mut held = self.held();
        if let Some(Held { socket: Bound::Udp(socket), used }) = held.get_mut(&Address::Udp(address)) {
            *used = true;
            return socket.try_clone();
        }
        let socket = bind_udp(address, receive_buffer).map_err(|e| named(e, "udp", &address))?;
        let copy = socket.try_clone()?;
        if port != 0 {
            held.insert(Address::Udp(address), Held { socket: Bound::Udp(socket), used: true });
        }
        Ok(copy)
    }

    /// A listener on a Unix socket, in non-blocking mode. A socket file that nobody listens on is replaced; any other
    /// file in its place is an error.
    pub fn unix(&self, path: &Path) -> io::Result<UnixListener> {
        let mut held = self.held();
        if let Some(Held { socket: Bound::Unix(listener), used }) = held.get_mut(&Address::Unix(path.to_owned())) {
            *used = true;
            return listener.try_clone();
        }
        let listener = bind_unix(path).map_err(|e| named(e, "unix", &path.display()))?;
        let copy = listener.try_clone()?;
        held.insert(Address::Unix(path.to_owned()), Held { socket: Bound::Unix(listener), used: true });
        Ok(copy)
    }

    /// Begins a round: what is not asked for until [`sweep`](Sockets::sweep) is no longer wanted.
    pub fn mark(&self) {
        self.held().values_mut().for_each(|h| h.used = false);
    }

    /// Ends a round: closes what was not asked for since [`mark`](Sockets::mark).
    pub fn sweep(&self) {
        self.held().retain(|address, h| {
            if let (false, Address::Unix(path)) = (h.used, address) {
                // The file is only a name; a failure leaves a name that the next bind replaces.
                let _ = std::fs::remove_file(path);
            }
            h.used
        });
    }
}

fn named(e: io::Error, kind: &str, address: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(e.kind(), format!("can't listen on {kind} {address}: {e}"))
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs();
    let first = addresses.map_err(|e| io::Error::new(e.kind(), format!("can't resolve {host:?}: {e}")))?.next();
    first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{host:?} has no address")))
}

fn bind_tcp(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_udp(address: SocketAddr, receive_buffer: Option<usize>) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(bytes) = receive_buffer {
        // Past net.core.rmem_max with CAP_NET_ADMIN alone; else that caps it without an error, and a smaller buffer only
        // drops sooner.
        if set_socket_recv_buffer_size_force(&socket, bytes).is_err() {
            socket.set_recv_buffer_size(bytes)?;
        }
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    if let Ok(found) = std::fs::symlink_metadata(path) {
        let in_use = || io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it");
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in its place"));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(in_use());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn the_same_address_is_bound_once_and_shared() {
        let (sockets, port) = (Sockets::new(), free_port());
        let a = sockets.tcp("127.0.0.1", port, None).unwrap();
        let b = sockets.tcp("127.0.0.1", port, None).unwrap();
        assert_eq!(a.local_addr().unwrap(), b.local_addr().unwrap());
        assert!(Sockets::new().tcp("127.0.0.1", port, None).unwrap_err().to_string().contains("127.0.0.1"));
    }

    #[test]
    fn what_a_round_does_not_ask_for_is_closed() {
        let (sockets, port) = (Sockets::new(), free_port());
        drop(sockets.tcp("127.0.0.1", port, None).unwrap());
        sockets.mark();
        sockets.sweep();
        assert!(TcpListener::bind(("127.0.0.1", port)).is_ok());
    }

    #[test]
    fn a_dead_socket_file_is_replaced_and_another_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(Sockets::new().unix(&path).is_ok());
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        assert!(Sockets::new().unix(&file).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
    }
}
