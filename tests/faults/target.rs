//! Targets that misbehave: HTTP and forward servers that can be slow, hang, cut their answers, answer the wrong thing,
//! or never stop answering. What they do can be changed while they run.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::tally::{Tally, ids_of};
use super::wire;

/// How often a connection looks whether the target is to end.
const LOOK: Duration = Duration::from_millis(50);

/// What a target does once it has read a request or a chunk.
#[derive(Clone, Debug, PartialEq)]
pub enum Conduct {
    /// Takes it and says so.
    Take,
    /// Takes it and says so after a while.
    Slow(Duration),
    /// Takes it and closes the connection without an answer.
    TakeAndClose,
    /// Says nothing until it is told to do something else.
    Hang,
    /// Closes the connection without an answer.
    Close,
    /// Ends in the middle of its answer.
    CutAnswer,
    /// Acknowledges another chunk.
    WrongAck,
    /// Header lines without end.
    EndlessHead,
    /// A body, or an acknowledgement, without end.
    EndlessBody,
    /// HTTP: this status, with this header line.
    Status(u16, &'static str),
}

/// What both protocols have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Forward,
}

/// What a target has seen.
#[derive(Default)]
pub struct Seen {
    /// Ids of events that were taken.
    pub ids: Tally,
    /// Chunks that were taken, by the id of the protocol, and how often each came.
    pub chunks: HashMap<String, usize>,
    /// Requests or chunks, taken or not.
    pub requests: usize,
    /// Bytes that were sent as endless answers.
    pub poured: u64,
}

impl Seen {
    /// How many chunks came again under their id.
    pub fn sent_again(&self) -> usize {
        self.chunks.values().map(|times| times - 1).sum()
    }
}

struct State {
    conduct: Mutex<Conduct>,
    /// A text that makes a request be refused with status 400.
    poison: Mutex<Option<&'static str>>,
    seen: Mutex<Seen>,
    ended: AtomicBool,
}

/// A server that ends with its owner.
pub struct Target {
    pub port: u16,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Target {
    pub fn start(protocol: Protocol, conduct: Conduct) -> Target {
        Target::start_at(super::free_port(), protocol, conduct)
    }

    /// Starts on a port that senders know already.
    pub fn start_at(port: u16, protocol: Protocol, conduct: Conduct) -> Target {
        // The last connection of one that was there before may not be gone yet.
        let listener = super::wait_for("the port", || TcpListener::bind(("127.0.0.1", port)).ok());
        let state = Arc::new(State {
            conduct: Mutex::new(conduct),
            poison: Mutex::default(),
            seen: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let shared = state.clone();
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(SeqCst) {
                    return;
                }
                let connection = Connection { stream: stream.unwrap(), state: shared.clone() };
                // They end soon after `ended` is set.
                std::thread::spawn(move || connection.run(protocol));
            }
        });
        Target { port, state, accepting: Some(accepting) }
    }

    pub fn set(&self, conduct: Conduct) {
        *self.state.conduct.lock().unwrap() = conduct;
    }

    /// From now on requests with this text are refused.
    pub fn refuse(&self, text: &'static str) {
        *self.state.poison.lock().unwrap() = Some(text);
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.state.seen.lock().unwrap()
    }

    /// Waits until all of these ids were taken, for as long as more come.
    pub fn wait_for_all(&self, ids: &[String]) {
        let mut before = None;
        loop {
            let whole = super::wait_at_most(super::PATIENCE, || self.seen().ids.has_all(ids).then_some(()));
            if whole.is_some() {
                return;
            }
            let there = ids.len() - self.seen().ids.judge(ids).lost;
            let goes_on = before.replace(there) != Some(there);
            assert!(goes_on, "of {} not delivered: {:?}", ids.len(), self.seen().ids.missing(ids));
        }
    }

    /// Waits until there were so many requests.
    pub fn wait_for_requests(&self, count: usize) {
        super::wait_for("requests", || (self.seen().requests >= count).then_some(()));
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.state.ended.store(true, SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// A request or a chunk.
struct Request {
    ids: Vec<String>,
    /// The chunk id of the forward protocol.
    chunk: Option<String>,
}

struct Connection {
    stream: TcpStream,
    state: Arc<State>,
}

impl Connection {
    fn run(mut self, protocol: Protocol) {
        self.stream.set_read_timeout(Some(LOOK)).unwrap();
        self.stream.set_write_timeout(Some(LOOK)).unwrap();
        let mut data = Vec::new();
        loop {
            let request = match protocol {
                Protocol::Http => http_request(&mut data),
                Protocol::Forward => forward_request(&mut data),
            };
            let goes_on = match request {
                Some(request) => self.serve(protocol, &request),
                None => self.read_more(&mut data),
            };
            if !goes_on.unwrap_or(false) {
                return;
            }
        }
    }

    fn read_more(&mut self, data: &mut Vec<u8>) -> io::Result<bool> {
        let mut piece = vec![0; 1 << 16];
        match self.stream.read(&mut piece) {
            Ok(0) => Ok(false),
            Ok(got) => {
                data.extend_from_slice(&piece[..got]);
                Ok(true)
            }
            Err(e) if is_timeout(&e) => Ok(!self.state.ended.load(SeqCst)),
            Err(e) => Err(e),
        }
    }

    /// Answers; gives whether the connection goes on.
    fn serve(&mut self, protocol: Protocol, request: &Request) -> io::Result<bool> {
        self.state.seen.lock().unwrap().requests += 1;
        let conduct = self.settled_conduct();
        let poison = *self.state.poison.lock().unwrap();
        if poison.is_some_and(|text| request.ids.iter().any(|id| id.contains(text))) {
            return self.answer(&http_answer(400, "", "poison"));
        }
        match conduct {
            Conduct::Take => {
                self.take(request);
                self.answer(&good_answer(protocol, request))
            }
            Conduct::Slow(pause) => {
                self.wait(pause);
                self.take(request);
                self.answer(&good_answer(protocol, request))
            }
            Conduct::TakeAndClose => {
                self.take(request);
                Ok(false)
            }
            Conduct::Close | Conduct::Hang => Ok(false),
            Conduct::CutAnswer => {
                let answer = good_answer(protocol, request);
                self.answer(&answer[..answer.len() / 2])?;
                Ok(false)
            }
            Conduct::WrongAck => self.answer(&wire::map(&[("ack", "AAAAAAAAAAAAAAAAAAAAAA==")])),
            Conduct::EndlessHead => self.pour(b"HTTP/1.1 200 OK\r\n", b"X-More: of the same\r\n"),
            Conduct::EndlessBody if protocol == Protocol::Http => {
                self.pour(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0010\r\n0123456789abcdef\r\n")
            }
            // The head of a string of 4 GiB.
            Conduct::EndlessBody => self.pour(b"\x81\xa3ack\xdb\xff\xff\xff\xff", b"0123456789abcdef"),
            Conduct::Status(status, header) => self.answer(&http_answer(status, header, "no")),
        }
    }

    /// What to do now, once that is not to hang.
    fn settled_conduct(&self) -> Conduct {
        loop {
            let conduct = self.state.conduct.lock().unwrap().clone();
            if conduct != Conduct::Hang || self.state.ended.load(SeqCst) {
                return conduct;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn wait(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end && !self.state.ended.load(SeqCst) {
            std::thread::sleep(LOOK.min(pause));
        }
    }

    fn take(&self, request: &Request) {
        let mut seen = self.state.seen.lock().unwrap();
        if let Some(chunk) = &request.chunk {
            let times = seen.chunks.entry(chunk.clone()).or_default();
            *times += 1;
            if *times > 1 {
                return;
            }
        }
        request.ids.iter().for_each(|id| seen.ids.add(id.clone()));
    }

    fn answer(&mut self, answer: &[u8]) -> io::Result<bool> {
        self.stream.write_all(answer)?;
        Ok(true)
    }

    /// Writes `start`, then `more` without end, until the other side has had enough.
    fn pour(&mut self, start: &[u8], more: &[u8]) -> io::Result<bool> {
        self.stream.write_all(start)?;
        let block = more.repeat(1024);
        while !self.state.ended.load(SeqCst) {
            match self.stream.write(&block) {
                Ok(written) => self.state.seen.lock().unwrap().poured += written as u64,
                Err(e) if is_timeout(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }
}

fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn good_answer(protocol: Protocol, request: &Request) -> Vec<u8> {
    match (protocol, &request.chunk) {
        (Protocol::Http, _) => http_answer(200, "", "taken"),
        (Protocol::Forward, Some(chunk)) => wire::map(&[("ack", chunk)]),
        (Protocol::Forward, None) => Vec::new(),
    }
}

fn http_answer(status: u16, header: &str, body: &str) -> Vec<u8> {
    let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
    format!("HTTP/1.1 {status} As asked\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Takes the first whole request out of `data`.
fn http_request(data: &mut Vec<u8>) -> Option<Request> {
    let end = data.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&data[..end]).to_lowercase();
    let (_, length) = head.split_once("content-length:").expect("a request with a length");
    let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
    let body = data.get(end..end + length)?;
    let ids = ids_of(&String::from_utf8_lossy(body)).collect();
    data.drain(..end + length);
    Some(Request { ids, chunk: None })
}

/// Takes the first whole message out of `data`.
fn forward_request(data: &mut Vec<u8>) -> Option<Request> {
    let (message, length) = wire::read(data)?;
    data.drain(..length);
    let parts = message.array();
    let id = |entry: &wire::Value| Some(entry.array().get(1)?.get("id")?.text());
    let ids = match parts.get(1)? {
        wire::Value::Bytes(entries) => wire::read_all(entries).iter().filter_map(id).collect(),
        entries => entries.array().iter().filter_map(id).collect(),
    };
    let chunk = parts.get(2).and_then(|option| option.get("chunk")).map(wire::Value::text);
    Some(Request { ids, chunk })
}
