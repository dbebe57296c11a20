//! The warehouse by the real binary: events in, `suiro sql` out; kills, several writers, compaction, retention, damage, other
//! readers, a store of S3.
//!
//! Other readers (a `python` with `duckdb` or `pyiceberg`) and servers are looked for as in `objects`; what is not there is
//! skipped with a line on standard error.
#![allow(clippy::unwrap_used)]

mod faults;
mod others;
mod store;
mod tables;

use std::path::Path;
use std::process::Output;

use crate::daemon::{Daemon, PATIENCE, free_port, suiro, text, wait_at_most, wait_for};

/// An `http` source, an output of everything, and nothing for suiro's own log.
fn config(port: u16, output: &str) -> String {
    format!(
        "<source>\n@type http\nbind 127.0.0.1\nport {port}\n</source>\n<match **>\n@type warehouse\n{output}</match>\n\
         <label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n"
    )
}

/// A warehouse and its file buffer in a directory; chunks go soon and are tried again soon.
fn warehouse(dir: &Path, more: &str) -> String {
    format!("path {}\n{more}\n{}", dir.join("lake").display(), buffer(dir, "flush_interval 0.1"))
}

fn buffer(dir: &Path, flush: &str) -> String {
    let path = dir.join("buffer");
    format!(
        "<buffer tag>\n@type file\npath {}\n{flush}\nretry_type periodic\nretry_wait 0.2\nretry_forever true\n</buffer>\n",
        path.display()
    )
}

/// Posts events as one body; gives whether they were acknowledged.
fn post(port: u16, tag: &str, events: &[String]) -> bool {
    crate::databases::post(port, tag, &format!("[{}]", events.join(",")))
}

/// Events `{"n":...}` of these numbers.
fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("{{\"n\":{n}}}")).collect()
}

fn sql(dir: &Path, arguments: &[&str]) -> Output {
    suiro().arg("sql").arg("--path").arg(dir.join("lake")).args(arguments).output().unwrap()
}

/// The rows of an answer, as CSV without its head; what went wrong is none.
pub fn rows(dir: &Path, statement: &str) -> Option<Vec<String>> {
    let output = sql(dir, &["--format", "csv", statement]);
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| text.lines().skip(1).map(str::to_owned).collect())
}

/// Waits for an answer of one row.
fn wait_for_row(dir: &Path, daemon: &Daemon, statement: &str, wanted: &str) {
    let mut last = None;
    let found = wait_at_most(PATIENCE, || {
        last = rows(dir, statement);
        (last.as_deref() == Some(&[wanted.to_owned()])).then_some(())
    });
    assert!(found.is_some(), "{statement}: {last:?}, not {wanted}: {}", daemon.log());
}
