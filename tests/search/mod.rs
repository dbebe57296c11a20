//! `elasticsearch`, `opensearch` and both with data streams, by the real binary: against a stand-in with faults always, and
//! against the real OpenSearch where it can be started (`real.rs` says how). What is not there is skipped with a line on
//! standard error; with `SUIRO_SERVERS_REQUIRED` set that is a failure.
#![allow(clippy::unwrap_used)]

mod faults;
mod matrix;
mod pace;
pub mod real;
mod setup;
pub mod standin;

use std::path::Path;

use crate::databases::buffer;

/// The parameters of an output to a port, with a file buffer.
fn output(kind: &str, port: u16, more: &str, dir: &Path) -> String {
    format!("@type {kind}\n@id out\nhosts 127.0.0.1:{port}\nrequest_timeout 2\n{more}\n{}", buffer(dir, "tag"))
}

/// Events with these numbers as a JSON array, each with its number as `id`.
fn numbered(ids: std::ops::Range<u64>) -> String {
    let events: Vec<String> = ids.map(|id| format!("{{\"id\":{id},\"text\":\"event {id}\"}}")).collect();
    format!("[{}]", events.join(","))
}
