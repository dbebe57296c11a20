//! The Forward protocol v1 (Fluentd wiki, "Forward Protocol Specification v1"; zstd from v1.5): messages, handshake, acks.
//!
//! Pure functions over bytes; who owns a socket calls them. Invariants: nothing a peer declares is believed before its
//! bytes are there, no message grows past the limit of its [`Decoder`], and entries that leave [`take`] walk to their end.

mod ack;
mod decoder;
mod entries;
mod handshake;
mod message;
mod network;
mod packed;
mod skim;

pub(crate) use ack::{MAX_ACK_BYTES, ack_binary, ack_text, read_ack};
pub(crate) use decoder::{Decoder, Wanted, WireError};
pub(crate) use entries::{Rules, Taken, put_one, take};
pub(crate) use handshake::{Admission, Challenge, Client, Credentials, Gate, Hello, MAX_HANDSHAKE_BYTES, User};
pub(crate) use message::{Body, Events, Message};
pub(crate) use network::Network;
pub(crate) use packed::{packed_header, packed_trailer};
