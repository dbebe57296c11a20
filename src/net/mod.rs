//! Wires: sockets, TLS, HTTP, the forward protocol, OTLP. No plugins, no configuration sections.

pub mod accept;
pub mod aws;
pub mod dial;
pub mod dns;
pub(crate) mod forward;
mod gate;
pub mod grpc;
pub mod hostname;
pub mod http;
pub mod kafka;
pub mod lines;
pub mod otlp;
pub mod proto;
mod sockets;
pub mod tls;

pub use gate::LogGate;
pub use sockets::Sockets;
