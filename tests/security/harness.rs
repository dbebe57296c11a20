//! A running suiro to attack: its ports, its memory and processor time as the kernel counts them, what it delivered.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::Daemon;
pub use crate::daemon::{PATIENCE, free_port as port, wait_for};

/// A MiB in KiB, the kernel's unit of memory.
pub const MIB: u64 = 1024;

/// `small` in the normal run, `full` where `SUIRO_SECURITY_FULL` is set.
pub fn size<T>(small: T, full: T) -> T {
    if std::env::var_os("SUIRO_SECURITY_FULL").is_some() { full } else { small }
}

/// Lets this process open as many files as it may.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

/// A running suiro with a directory of its own, which does not outlive its test.
pub struct Suiro {
    daemon: Daemon,
    pub dir: TempDir,
}

impl Suiro {
    /// Starts with the configuration that `config` writes for the directory.
    pub fn start(config: impl FnOnce(&Path) -> String) -> Suiro {
        Suiro::start_by("", config)
    }

    /// The same, behind shell commands: `umask 0`, `ulimit -n 64`, `export A=b`.
    pub fn start_by(before: &str, config: impl FnOnce(&Path) -> String) -> Suiro {
        Suiro::run(before, TempDir::new().unwrap(), config)
    }

    /// Starts in a directory that is there already.
    pub fn start_in(dir: TempDir, config: impl FnOnce(&Path) -> String) -> Suiro {
        Suiro::run("", dir, config)
    }

    fn run(before: &str, dir: TempDir, config: impl FnOnce(&Path) -> String) -> Suiro {
        Suiro { daemon: Daemon::start_behind(before, &config(dir.path()), dir.path()), dir }
    }

    /// All that it said, in its log and on standard output.
    pub fn log(&self) -> String {
        self.daemon.log() + &self.daemon.output()
    }

    /// Whether a file is the configuration, or one that it logs or prints to.
    pub fn owns(&self, file: &Path) -> bool {
        file == self.dir.path().join("suiro.conf") || self.daemon.files().contains(&file)
    }

    /// Resident memory now, in KiB.
    pub fn rss(&self) -> u64 {
        self.daemon.memory("VmRSS:") / 1024
    }

    /// The most resident memory so far, in KiB.
    pub fn peak(&self) -> u64 {
        self.daemon.memory("VmHWM:") / 1024
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Duration {
        self.daemon.processor_time()
    }

    pub fn signal(&self, name: &str) {
        self.daemon.signal(name);
    }

    /// Lines of all files below `out`, sorted.
    pub fn delivered(&self) -> Vec<String> {
        let mut lines: Vec<String> = files(&self.dir.path().join("out"))
            .iter()
            .flat_map(|f| String::from_utf8_lossy(&fs::read(f).unwrap()).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        lines.sort();
        lines
    }

    /// Waits until an event with this text is delivered.
    pub fn wait_delivered(&self, text: &str) {
        wait_for(text, || self.delivered().iter().any(|l| l.contains(text)).then_some(()));
    }

    /// Stops in order. It must be alive until then, and nothing in it may have panicked. Gives all that it said, and the
    /// directory back.
    pub fn end(mut self) -> (String, TempDir) {
        assert!(self.daemon.is_running(), "ended by itself: {}", self.log());
        let status = self.daemon.end();
        let log = self.log();
        assert!(status.success(), "{status}: {log}");
        assert!(!log.contains("panicked"), "{log}");
        (log, std::mem::replace(&mut self.dir, TempDir::new().unwrap()))
    }
}

impl Drop for Suiro {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("the end of the log:");
            tail.iter().rev().for_each(|l| eprintln!("{}", l.chars().take(300).collect::<String>()));
        }
    }
}

/// All plain files below a directory.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        match kind.is_dir() {
            true => found.extend(files(&entry.path())),
            false if kind.is_file() => found.push(entry.path()),
            false => {}
        }
    }
    found.sort();
    found
}

/// A `<match **>` into `out/events.log`, one JSON object a line, written at once.
pub fn to_file(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "<match fluent.**>\n@type null\n</match>\n<match **>\n@type file\npath {dir}/out/events\nappend true\n<format>\n@type json\n</format>\n\
         <buffer tag>\n@type memory\nflush_mode immediate\n</buffer>\n</match>\n"
    )
}

pub fn source(kind: &str, port: u16, more: &str) -> String {
    format!("<source>\n@type {kind}\nbind 127.0.0.1\nport {port}\n{more}\n</source>\n")
}

pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes; gives all that comes back until the other side ends or is silent for `wait`.
pub fn exchange(port: u16, bytes: &[u8], wait: Duration) -> Vec<u8> {
    let mut stream = connect(port);
    // The other side may have closed already: that is an answer too.
    let _ = stream.write_all(bytes);
    answer(&mut stream, wait)
}

/// What comes until the end or until nothing comes for `wait`.
pub fn answer(stream: &mut TcpStream, wait: Duration) -> Vec<u8> {
    stream.set_read_timeout(Some(wait)).unwrap();
    let (mut got, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(n) = stream.read(&mut piece) {
        if n == 0 {
            break;
        }
        got.extend_from_slice(&piece[..n]);
    }
    got
}

/// Whether the other side has closed, or does so within `wait`.
pub fn is_closed(stream: &mut TcpStream, wait: Duration) -> bool {
    stream.set_read_timeout(Some(wait)).unwrap();
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    }
}

/// A POST with a body; gives the status, 0 where the connection ended without one.
pub fn post(port: u16, path: &str, headers: &str, body: &[u8]) -> u16 {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    status(&exchange(port, &[head.as_bytes(), body].concat(), PATIENCE))
}

pub fn post_json(port: u16, path: &str, body: &str) -> u16 {
    post(port, path, "Content-Type: application/json\r\n", body.as_bytes())
}

/// The status of an answer; 0 where there is none.
pub fn status(answer: &[u8]) -> u16 {
    let head = String::from_utf8_lossy(&answer[..answer.len().min(64)]).into_owned();
    head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
}

/// The body of a GET.
pub fn get(port: u16, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let got = exchange(port, request.as_bytes(), PATIENCE);
    let text = String::from_utf8_lossy(&got).into_owned();
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(text)
}
