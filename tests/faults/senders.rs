//! Clients: HTTP with keep-alive, forward with acknowledgements, and a load of them that goes on through kills.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wire;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Pause before something is sent again that was not answered.
const AGAIN: Duration = Duration::from_millis(5);
/// Longest time that a sender tries to send one thing.
const LONGEST: Duration = Duration::from_secs(60);

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A client that keeps its connection as long as it is good.
pub struct Http {
    port: u16,
    stream: Option<TcpStream>,
}

impl Http {
    pub fn new(port: u16) -> Http {
        Http { port, stream: None }
    }

    /// Posts an event for each id, under an idempotency key if there is one, and gives the status.
    pub fn post(&mut self, tag: &str, ids: &[String], key: Option<&str>) -> io::Result<u16> {
        let events: Vec<String> = ids.iter().map(|id| format!("{{\"id\":\"{id}\"}}")).collect();
        let body = format!("[{}]", events.join(","));
        let key = key.map_or(String::new(), |key| format!("Idempotency-Key: {key}\r\n"));
        let request = format!(
            "POST /{tag} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{key}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answered = self.exchange(request.as_bytes());
        if answered.is_err() {
            self.stream = None;
        }
        answered
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(connect(self.port)?),
        };
        stream.write_all(request)?;
        let head = read_head(stream)?;
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_lowercase())
        };
        let length = header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        stream.read_exact(&mut vec![0; length])?;
        if header("connection").is_some_and(|value| value == "close") {
            self.stream = None;
        }
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| io::Error::other(format!("no status: {head}")))
    }
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A client of the forward protocol that waits for acknowledgements.
pub struct Forward {
    port: u16,
    stream: Option<TcpStream>,
    patience: Duration,
}

impl Forward {
    pub fn new(port: u16) -> Forward {
        Forward { port, stream: None, patience: ANSWER }
    }

    /// How long an acknowledgement is waited for from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Sends an event for each id as one chunk. `Ok` means that this chunk was acknowledged.
    pub fn send(&mut self, tag: &str, ids: &[String], chunk: &str) -> io::Result<()> {
        let acknowledged = self.exchange(&wire::packed(tag, ids, chunk), chunk);
        if acknowledged.is_err() {
            self.stream = None;
        }
        acknowledged
    }

    fn exchange(&mut self, message: &[u8], chunk: &str) -> io::Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(connect(self.port)?),
        };
        stream.set_read_timeout(Some(self.patience))?;
        stream.write_all(message)?;
        let mut answer = Vec::new();
        loop {
            let mut piece = [0; 256];
            let got = stream.read(&mut piece)?;
            if got == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&piece[..got]);
            if let Some((value, _)) = wire::read(&answer) {
                assert_eq!(value.get("ack").map(wire::Value::text).as_deref(), Some(chunk), "another ack");
                return Ok(());
            }
        }
    }
}

/// What sends a batch of ids under a name; `Ok` means that they were acknowledged.
pub type Send = Box<dyn FnMut(&[String], &str) -> io::Result<()> + std::marker::Send>;

/// Posts under idempotency keys.
pub fn http_sender(port: u16) -> Send {
    let mut client = Http::new(port);
    Box::new(move |ids, name| match client.post("app.http", ids, Some(name))? {
        200 => Ok(()),
        // The daemon is stopping, has no room, or still stores the first try.
        status @ (503 | 409) => Err(io::Error::other(format!("status {status}"))),
        status => panic!("status {status}"),
    })
}

/// Sends chunks of the forward protocol.
pub fn forward_sender(port: u16) -> Send {
    let mut client = Forward::new(port);
    Box::new(move |ids, name| client.send("app.forward", ids, name))
}

/// Several senders at once. What is not acknowledged is sent again under the same name until it is.
pub struct Load {
    stop: Arc<AtomicBool>,
    failures: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// `sender` makes what each of `count` senders sends with.
    pub fn start(count: usize, sender: impl Fn() -> Send) -> Load {
        let mut load =
            Load { stop: Arc::default(), failures: Arc::default(), acknowledged: Arc::default(), threads: Vec::new() };
        for number in 0..count {
            let (stop, failures) = (load.stop.clone(), load.failures.clone());
            let work = Work { number, send: sender(), stop, failures, acknowledged: load.acknowledged.clone() };
            load.threads.push(std::thread::spawn(move || work.run()));
        }
        load
    }

    /// Batches that were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(SeqCst)
    }

    /// Waits until so many more batches are acknowledged.
    pub fn wait_for_more(&self, batches: usize) {
        let wanted = self.acknowledged() + batches;
        super::wait_for("more acknowledgements", || (self.acknowledged() >= wanted).then_some(()));
    }

    /// Tries that were not acknowledged so far.
    pub fn failures(&self) -> usize {
        self.failures.load(SeqCst)
    }

    /// Ends once everything begun is acknowledged; gives all ids.
    pub fn finish(self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

struct Work {
    number: usize,
    send: Send,
    stop: Arc<AtomicBool>,
    failures: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
}

impl Work {
    fn run(mut self) -> Vec<String> {
        let mut all = Vec::new();
        let mut turn = 0;
        while !self.stop.load(SeqCst) {
            turn += 1;
            let name = format!("s{}-{turn}", self.number);
            let ids: Vec<String> = (0..turn % 7 + 1).map(|n| format!("{name}-{n}")).collect();
            self.send_until_acknowledged(&ids, &name);
            all.extend(ids);
        }
        all
    }

    fn send_until_acknowledged(&mut self, ids: &[String], name: &str) {
        let deadline = Instant::now() + LONGEST;
        while let Err(e) = (self.send)(ids, name) {
            self.failures.fetch_add(1, SeqCst);
            assert!(Instant::now() < deadline, "{name} was not acknowledged: {e}");
            std::thread::sleep(AGAIN);
        }
        self.acknowledged.fetch_add(1, SeqCst);
    }
}
