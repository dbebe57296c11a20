//! Stand-ins: a service over HTTP that takes what it is sent, and may misbehave; a server that reads lines.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value as Json, json};

use crate::daemon::free_port;
use crate::listening::{Listening, request};

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
pub enum Conduct {
    /// It is taken, and its answer is swallowed.
    Swallow,
    /// It is taken, and its answer is cut.
    Cut,
    /// It is taken, and the connection stays without an answer until the client goes away.
    Hang,
    /// It is taken, and the answer has no end.
    Pour,
    /// It is not taken, and answered with this status and header lines.
    Status(&'static str),
}

#[derive(Default)]
struct State {
    conducts: VecDeque<Conduct>,
    always: Option<Conduct>,
    poison: Option<&'static str>,
    /// Path and objects of requests that were taken.
    taken: Vec<(String, Json)>,
    asked: usize,
    /// Requests to Splunk's collector that are never acknowledged: so many from the first on.
    forgotten: u64,
    ids: u64,
}

/// A service over HTTP: Loki, Splunk's collector with acknowledgements, a webhook. It ends with its owner.
pub struct StandIn {
    pub port: u16,
    state: Arc<Mutex<State>>,
    _listening: Listening,
}

impl StandIn {
    pub fn start() -> StandIn {
        StandIn::start_on(free_port())
    }

    pub fn start_on(port: u16) -> StandIn {
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = state.clone();
        let listening = Listening::start(port, move |stream| serve(stream, &shared));
        StandIn { port, state, _listening: listening }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What happens to the next requests, in turn.
    pub fn next(&self, conducts: &[Conduct]) {
        self.state().conducts = conducts.iter().copied().collect();
    }

    pub fn is_done(&self) -> bool {
        self.state().conducts.is_empty()
    }

    /// What happens to all requests.
    pub fn always(&self, conduct: Conduct) {
        self.state().always = Some(conduct);
    }

    /// A request with this text is answered 400.
    pub fn refuse(&self, text: &'static str) {
        self.state().poison = Some(text);
    }

    /// The first requests are never acknowledged.
    pub fn forget_acks(&self, count: u64) {
        self.state().forgotten = count;
    }

    /// Requests so far, taken or not.
    pub fn asked(&self) -> usize {
        self.state().asked
    }

    /// Objects of the requests to a path that were taken.
    pub fn taken(&self, path: &str) -> Vec<Json> {
        self.state().taken.iter().filter(|(of, _)| of == path).map(|(_, object)| object.clone()).collect()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut got = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut got)? {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (conduct, answer) = judge(&mut state.lock().unwrap(), path, &body);
        match conduct {
            None | Some(Conduct::Status(_)) => stream.write_all(answer.as_bytes())?,
            Some(Conduct::Swallow) => return Ok(()),
            Some(Conduct::Cut) => return stream.write_all(&answer.as_bytes()[..20]),
            Some(Conduct::Hang) => {
                let _ = stream.read(&mut [0]);
                return Ok(());
            }
            Some(Conduct::Pour) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                loop {
                    stream.write_all(&[b'x'; 65_536])?;
                }
            }
        }
    }
    Ok(())
}

fn judge(state: &mut State, path: &str, body: &[u8]) -> (Option<Conduct>, String) {
    let answer =
        |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    state.asked += 1;
    let conduct = state.conducts.pop_front().or(state.always);
    if let Some(Conduct::Status(status)) = conduct {
        return (conduct, answer(status, ""));
    }
    let text = String::from_utf8_lossy(body);
    if state.poison.is_some_and(|poison| text.contains(poison)) {
        return (conduct, answer("400 Bad Request", "entry too far behind"));
    }
    let objects = serde_json::Deserializer::from_slice(body).into_iter::<Json>().map(|object| object.unwrap());
    if path == "/services/collector/ack" {
        let asked: Vec<u64> =
            objects.flat_map(|o| o["acks"].as_array().cloned().unwrap()).map(|id| id.as_u64().unwrap()).collect();
        let acks: serde_json::Map<String, Json> =
            asked.iter().map(|id| (id.to_string(), (*id >= state.forgotten).into())).collect();
        return (conduct, answer("200 OK", &json!({ "acks": acks }).to_string()));
    }
    state.taken.extend(objects.map(|object| (path.to_owned(), object)));
    let said = match path {
        "/services/collector" => {
            state.ids += 1;
            json!({ "text": "Success", "code": 0, "ackId": state.ids - 1 }).to_string()
        }
        path if path.starts_with("/services/") => "ok".to_owned(),
        _ => String::new(),
    };
    (conduct, answer("200 OK", &said))
}

/// Reads each connection to its end. It ends with its owner.
pub struct Lines {
    pub port: u16,
    lines: Arc<Mutex<Vec<String>>>,
    _listening: Listening,
}

impl Lines {
    /// The first connections are closed with their bytes unread, which resets them.
    pub fn start(resets: usize) -> Lines {
        Lines::start_on(free_port(), resets)
    }

    pub fn start_on(port: u16, resets: usize) -> Lines {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (shared, left) = (lines.clone(), Mutex::new(resets));
        let listening = Listening::start(port, move |mut stream| {
            {
                let mut left = left.lock().unwrap();
                if *left > 0 {
                    *left -= 1;
                    let _ = stream.read_exact(&mut [0]);
                    return;
                }
            }
            let mut text = String::new();
            if stream.read_to_string(&mut text).is_ok() {
                shared.lock().unwrap().extend(text.lines().map(str::to_owned));
            }
        });
        Lines { port, lines, _listening: listening }
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}
