//! Connections to others, behind a trait, so that a simulation with a seed can stand for the network. The other side needs
//! none: who serves a connection takes whatever bytes go both ways over.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

use super::tls::Stream;

/// Makes connections.
pub trait Dial: Send + Sync {
    /// A connection to `address`. May take for ever: who asks sets the limit. `probes`: whether the system looks now and then
    /// if a silent peer is still there.
    ///
    /// Errors: what the network says.
    fn dial(&self, address: SocketAddr, probes: bool) -> Dialling<'_>;
}

/// A connection that is being made.
pub type Dialling<'d> = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send + 'd>>;

/// The network of the machine.
pub struct Tcp;

impl Dial for Tcp {
    fn dial(&self, address: SocketAddr, probes: bool) -> Dialling<'_> {
        Box::pin(async move {
            let tcp = TcpStream::connect(address).await?;
            // Both only tune the connection.
            let _ = tcp.set_nodelay(true);
            let _ = socket2::SockRef::from(&tcp).set_keepalive(probes);
            Ok(Stream::Plain(tcp))
        })
    }
}
