//! ClickHouse for tests: the real engine behind a front where it can be had, and a stand-in with faults. The stand-in knows one
//! table, `load (id UInt64, s String)`, reads its rows, and recognises tokens; it knows what the output asks for and no more.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::{free_port, skip};
use crate::daemon::wait_at_most;
use crate::listening::{Listening, request};
use crate::objects::servers::program;

/// Asks a server of the HTTP interface; its answer's body.
pub fn ask(port: u16, sql: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = sql.len();
    write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{sql}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap_or_default().1.trim_end().to_owned()
}

/// The engine behind its front.
pub struct Engine {
    pub port: u16,
    child: Child,
    _dir: TempDir,
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Engine {
    /// `None` where it can't be had, which is said.
    pub fn start() -> Option<Engine> {
        let python = program("python3").or_else(|| program("python"))?;
        let (port, dir) = (free_port(), TempDir::new().unwrap());
        let front = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/databases/chdb_front.py");
        let mut command = Command::new(python);
        command.arg(front).arg(port.to_string()).arg(dir.path().join("db")).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut engine = Engine { port, child, _dir: dir };
        let up = wait_at_most(Duration::from_secs(60), || {
            let ended = engine.child.try_wait().unwrap().is_some();
            (ended || TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(!ended)
        });
        if up == Some(true) {
            return Some(engine);
        }
        skip("ClickHouse", "no chdb: pip install chdb==4.4.0, and set SUIRO_SERVERS to where it is");
        None
    }
}

/// What happens to an insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It is done, and its answer is swallowed.
    Swallow,
    /// As [`Swallow`](Conduct::Swallow), but the connection stays until the client goes away.
    Hang,
    /// It is refused by something in between.
    Gateway,
    /// It is not done, and the exception stands in the body of an answer with status 200.
    Late,
}

#[derive(Default)]
struct State {
    conducts: Mutex<Vec<Conduct>>,
    rows: Mutex<Vec<u64>>,
    tokens: Mutex<HashSet<String>>,
    /// Inserts whose token was known.
    recognised: Mutex<usize>,
    keyless: AtomicBool,
}

/// The stand-in. It ends with its owner.
pub struct House {
    pub port: u16,
    state: Arc<State>,
    _listening: Listening,
}

impl House {
    pub fn start() -> House {
        let port = free_port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        let listening = Listening::start(port, move |stream| serve(stream, &shared));
        House { port, state, _listening: listening }
    }

    /// What happens to the next inserts, in turn.
    pub fn next(&self, conducts: &[Conduct]) {
        *self.state.conducts.lock().unwrap() = conducts.iter().rev().copied().collect();
    }

    pub fn is_done(&self) -> bool {
        self.state.conducts.lock().unwrap().is_empty()
    }

    /// From now on every login is refused.
    pub fn lock(&self) {
        self.state.keyless.store(true, SeqCst);
    }

    pub fn rows(&self) -> Vec<u64> {
        self.state.rows.lock().unwrap().clone()
    }

    pub fn recognised(&self) -> usize {
        *self.state.recognised.lock().unwrap()
    }
}

const COLUMNS: &str = "{\"name\":\"id\",\"type\":\"UInt64\",\"default_kind\":\"\"}\n\
     {\"name\":\"s\",\"type\":\"String\",\"default_kind\":\"\"}\n";
const ENGINE: &str = "{\"engine\":\"ReplicatedMergeTree\",\"create_table_query\":\"\"}\n";

fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let mut got = Vec::new();
    while let Some((head, body)) = read(&mut stream, &mut got)? {
        let target = head.split(' ').nth(1).unwrap_or_default().replace('+', " ");
        let query = percent_encoding::percent_decode_str(&target).decode_utf8_lossy().into_owned();
        let answer = |stream: &mut TcpStream, status: &str, body: &str| {
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        if state.keyless.load(SeqCst) {
            answer(&mut stream, "403 Forbidden", "Code: 516. DB::Exception: default: Authentication failed\n")?;
            continue;
        }
        if !query.contains("INSERT INTO") {
            let found = if query.contains("system.columns") { COLUMNS } else { ENGINE };
            answer(&mut stream, "200 OK", found)?;
            continue;
        }
        let conduct = if query.contains("FUNCTION null") { None } else { state.conducts.lock().unwrap().pop() };
        match conduct {
            Some(Conduct::Gateway) => {
                answer(&mut stream, "502 Bad Gateway", "no upstream")?;
                continue;
            }
            Some(Conduct::Late) => {
                answer(&mut stream, "200 OK", "Code: 241. DB::Exception: Memory limit exceeded\n")?;
                continue;
            }
            _ => {}
        }
        let done = insert(&query, &body, state);
        match (conduct, done) {
            (Some(Conduct::Swallow), _) => return Ok(()),
            (Some(Conduct::Hang), _) => {
                let _ = stream.read(&mut [0]);
                return Ok(());
            }
            (_, Ok(())) => answer(&mut stream, "200 OK", "")?,
            (_, Err(row)) => {
                let said = format!("Code: 27. DB::Exception: Cannot parse input: expected a number (at row {row})\n");
                answer(&mut stream, "400 Bad Request", &said)?;
            }
        }
    }
    Ok(())
}

/// All rows or none; the first row that is none, from 1.
fn insert(query: &str, body: &[u8], state: &State) -> Result<(), usize> {
    let mut ids = Vec::new();
    for (n, line) in body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).enumerate() {
        let row: serde_json::Value = serde_json::from_slice(line).unwrap();
        ids.push(row["id"].as_u64().ok_or(n + 1)?);
    }
    if query.contains("FUNCTION null") {
        return Ok(());
    }
    let token = query.split("insert_deduplication_token = '").nth(1).unwrap().split('\'').next().unwrap();
    if state.tokens.lock().unwrap().insert(token.to_owned()) {
        state.rows.lock().unwrap().extend(ids);
    } else {
        *state.recognised.lock().unwrap() += 1;
    }
    Ok(())
}

/// Head and body of a request, unpacked.
pub fn read(stream: &mut TcpStream, got: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    let Some((head, body)) = request(stream, got)? else { return Ok(None) };
    if !head.to_ascii_lowercase().contains("content-encoding: gzip") {
        return Ok(Some((head, body)));
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain)?;
    Ok(Some((head, plain)))
}
