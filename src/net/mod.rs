//! Wires: sockets, TLS, HTTP, the forward protocol. No plugins, no configuration sections.

mod sockets;

pub use sockets::Sockets;
