//! Databases as targets, by the real binary. A real server is started where it can be: PostgreSQL (`initdb` and `postgres`, of
//! Debian's package `postgresql`), ClickHouse (`clickhouse-server`, or the engine of PyPI's `chdb` behind a small front). What
//! is not there is skipped with a line on standard error; with `SUIRO_SERVERS_REQUIRED` set that is a failure. Stand-ins with
//! faults are there always.
#![allow(clippy::unwrap_used)]

pub mod bucket;
mod clickhouse;
pub mod cluster;
pub mod cutter;
pub mod house;
pub mod pace;
mod postgresql;
mod redshift;
pub mod server;

use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::{Daemon, PATIENCE, check, free_port, text, wait_at_most};
use crate::objects::servers::skip;

/// An HTTP source, an output of everything, and nothing for suiro's own log.
pub fn config(port: u16, dir: &Path, output: &str) -> String {
    format!(
        "<system>\nroot_dir {}\n</system>\n<source>\n@type http\n@id in_http\nbind 127.0.0.1\nport {port}\n</source>\n\
         <match **>\n{output}</match>\n<label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n",
        dir.join("root").display()
    )
}

/// A file buffer that flushes at once and tries again soon.
pub fn buffer(dir: &Path, keys: &str) -> String {
    format!(
        "<buffer {keys}>\n@type file\npath {}\nflush_interval 0.1\nretry_type periodic\nretry_wait 0.2\n\
         retry_forever true\n</buffer>\n",
        dir.join("buffer").display()
    )
}

/// What a check says of an output.
pub fn checked(output: &str) -> String {
    let dir = TempDir::new().unwrap();
    text(&check(&config(9880, dir.path(), output)))
}

/// Posts JSON, an object or an array of objects; whether it was acknowledged.
pub fn post(port: u16, tag: &str, json: &str) -> bool {
    ask(port, tag, json).is_ok_and(|answer| answer.starts_with(GOOD))
}

/// Posts what must be acknowledged.
pub fn must_post(port: u16, tag: &str, json: &str) {
    let answer = ask(port, tag, json).unwrap();
    assert!(answer.starts_with(GOOD), "{answer}");
}

/// How a good answer begins.
const GOOD: &str = "HTTP/1.1 200";

fn ask(port: u16, tag: &str, json: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = json.len();
    write!(
        stream,
        "POST /{tag} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{json}"
    )?;
    io::read_to_string(stream)
}

/// Posts events with numbers as ids, one after the other, until it is told to stop; those that were acknowledged.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Load {
    pub fn start(port: u16) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            for id in 0.. {
                if stopped.load(SeqCst) {
                    break;
                }
                // One that was not answered is sent under a new id: what became of the old one is not known.
                match post(port, "app.load", &format!("{{\"id\":{id}}}")) {
                    true => acknowledged.push(id),
                    false => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            acknowledged
        });
        Load { stop, thread }
    }

    pub fn finish(self) -> Vec<u64> {
        self.stop.store(true, SeqCst);
        self.thread.join().unwrap()
    }
}

/// Waits until each id that was acknowledged is there, and sees that none comes twice.
pub fn assert_once(acknowledged: &[u64], mut look: impl FnMut() -> Vec<u64>, daemon: &Daemon) {
    let mut lost = acknowledged.to_vec();
    let all = wait_at_most(PATIENCE, || {
        let mut found = look();
        found.sort_unstable();
        lost.retain(|id| found.binary_search(id).is_err());
        lost.is_empty().then_some(())
    });
    assert!(all.is_some(), "lost of {}: {lost:?}: {}", acknowledged.len(), daemon.log());
    // What comes twice comes with the next attempt.
    std::thread::sleep(Duration::from_millis(500));
    let mut found = look();
    let total = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), total, "doubled: {}", daemon.log());
}

/// Waits until a look gives what is wanted.
pub fn eventually<T: PartialEq + std::fmt::Debug>(wanted: &T, daemon: &Daemon, mut look: impl FnMut() -> T) {
    let mut last = None;
    let found = wait_at_most(PATIENCE, || {
        let seen = look();
        let good = seen == *wanted;
        last = Some(seen);
        good.then_some(())
    });
    assert!(found.is_some(), "wanted {wanted:?}, found {last:?}: {}", daemon.log());
}

/// What `suiro dlq` says about what was set aside.
pub fn letters(dir: &Path) -> String {
    let mut all = String::new();
    let mut left = vec![dir.join("root")];
    while let Some(at) = left.pop() {
        for path in std::fs::read_dir(at).into_iter().flatten().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                left.push(path);
            } else if path.to_string_lossy().ends_with(".reason.json") {
                all.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    all
}
