//! Wires: sockets, TLS, HTTP, the forward protocol. No plugins, no configuration sections.

pub(crate) mod forward;
mod sockets;

pub use sockets::Sockets;
