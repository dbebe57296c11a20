//! Sockets as targets: `tcp`, `udp` and `remote_syslog` (`syslog`).
//!
//! TCP has no answer to what is sent over it. `confirm close` makes one of the end of a connection: suiro closes its side
//! behind each chunk and waits until the target, which has then read everything, closes its own. Without it a chunk counts as
//! delivered once its bytes are with the kernel and the connection stands: what a target loses then is lost.

mod datagram;
mod line;
mod params;
mod plain;
mod source;
mod syslog;
#[cfg(test)]
mod tests;

pub use plain::{Tcp, Udp};
pub use syslog::RemoteSyslog;
