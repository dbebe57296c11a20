//! A stand-in for a Redshift cluster: a real PostgreSQL, and before it a proxy of its protocol that carries out what PostgreSQL
//! has not: `COPY ... FROM 's3://...' MANIFEST`. It reads manifest and object from the stand-in of S3 and inserts each line in
//! the same session and transaction, each within a savepoint; lines that the table refuses are told of in `stl_load_errors`.
//! So transactions, locks, types and constraints are real; COPY's own rules of conversion are not Redshift's.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::bucket::Bucket;
use super::free_port;
use super::server::Postgres;

/// What happens to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// The COMMIT is carried out, and its answer is swallowed.
    SwallowCommit,
    /// As [`SwallowCommit`](Conduct::SwallowCommit), but the client is left waiting.
    HangCommit,
    /// The session ends in the middle of the COPY.
    CutCopy,
}

#[derive(Default)]
struct State {
    conducts: Mutex<Vec<Conduct>>,
    /// Statements of COPY so far.
    copies: Mutex<Vec<String>>,
    ended: AtomicBool,
}

/// The stand-in. It ends with its owner.
pub struct Cluster {
    pub port: u16,
    pub database: Postgres,
    pub bucket: Arc<Bucket>,
    state: Arc<State>,
}

const SETUP: &str = "CREATE TABLE stl_load_errors (query int, line_number bigint, colname char(20), err_code int, \
     err_reason char(100), starttime timestamp default now()); \
     CREATE FUNCTION pg_last_copy_id() RETURNS int LANGUAGE sql AS $$ SELECT current_setting('suiro.copy', true)::int $$; \
     CREATE FUNCTION pg_last_copy_count() RETURNS int LANGUAGE sql AS $$ SELECT current_setting('suiro.count', true)::int $$";

impl Cluster {
    /// `None` where there is no PostgreSQL, which is said.
    pub fn start() -> Option<Cluster> {
        let database = Postgres::start()?;
        database.ask(SETUP);
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (state, bucket) = (Arc::new(State::default()), Arc::new(Bucket::start()));
        let (shared, objects, server) = (state.clone(), bucket.clone(), database.port);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ended.load(SeqCst) {
                    return;
                }
                let (state, objects, client) = (shared.clone(), objects.clone(), stream.unwrap());
                // It ends with its connection; what fails there is what the test asked for.
                std::thread::spawn(move || -> io::Result<()> {
                    let server = TcpStream::connect(("127.0.0.1", server))?;
                    Session { client, server, objects, state, copy: 0 }.run()
                });
            }
        });
        Some(Cluster { port, database, bucket, state })
    }

    /// What happens next, in turn.
    pub fn next(&self, conducts: &[Conduct]) {
        *self.state.conducts.lock().unwrap() = conducts.iter().rev().copied().collect();
    }

    pub fn is_done(&self) -> bool {
        self.state.conducts.lock().unwrap().is_empty()
    }

    pub fn copies(&self) -> Vec<String> {
        self.state.copies.lock().unwrap().clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.state.ended.store(true, SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

struct Session {
    client: TcpStream,
    server: TcpStream,
    objects: Arc<Bucket>,
    state: Arc<State>,
    copy: u32,
}

/// A message of the protocol: its kind and its body.
type Message = (u8, Vec<u8>);

fn read_message(stream: &mut TcpStream) -> io::Result<Message> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

fn write_message(stream: &mut TcpStream, (kind, body): &Message) -> io::Result<()> {
    let length = (body.len() + 4) as u32;
    stream.write_all(&[&[*kind][..], &length.to_be_bytes(), body].concat())
}

fn query(sql: &str) -> Message {
    (b'Q', [sql.as_bytes(), b"\0"].concat())
}

impl Session {
    fn run(mut self) -> io::Result<()> {
        self.begin()?;
        loop {
            let message = read_message(&mut self.client)?;
            let sql = String::from_utf8_lossy(&message.1).trim_end_matches('\0').to_owned();
            let due = |wanted: &[Conduct]| {
                let mut conducts = self.state.conducts.lock().unwrap();
                match conducts.last() {
                    Some(next) if wanted.contains(next) => conducts.pop(),
                    _ => None,
                }
            };
            let is_copy = message.0 == b'Q' && sql.starts_with("COPY ");
            if is_copy {
                self.state.copies.lock().unwrap().push(sql.clone());
                if due(&[Conduct::CutCopy]).is_some() {
                    self.ask("SAVEPOINT half")?;
                    self.server.shutdown(Shutdown::Both)?;
                    return self.client.shutdown(Shutdown::Both);
                }
                self.carry_out(&sql)?;
                continue;
            }
            let commit = if sql == "COMMIT" { due(&[Conduct::SwallowCommit, Conduct::HangCommit]) } else { None };
            write_message(&mut self.server, &message)?;
            if message.0 == b'X' {
                return Ok(());
            }
            if let Some(conduct) = commit {
                while read_message(&mut self.server)?.0 != b'Z' {}
                if conduct == Conduct::HangCommit {
                    let _ = self.client.read(&mut [0]);
                }
                return self.client.shutdown(Shutdown::Both);
            }
            self.relay()?;
        }
    }

    /// The start of a session: no TLS, no password.
    fn begin(&mut self) -> io::Result<()> {
        loop {
            let mut head = [0; 8];
            self.client.read_exact(&mut head)?;
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let mut rest = vec![0; length - 8];
            self.client.read_exact(&mut rest)?;
            if head[4..] == 80_877_103u32.to_be_bytes() {
                self.client.write_all(b"N")?;
                continue;
            }
            self.server.write_all(&[&head[..], &rest].concat())?;
            return self.relay();
        }
    }

    /// Passes answers on until the server is ready again.
    fn relay(&mut self) -> io::Result<()> {
        loop {
            let message = read_message(&mut self.server)?;
            write_message(&mut self.client, &message)?;
            if message.0 == b'Z' {
                return Ok(());
            }
        }
    }

    /// Asks the server on behalf of the cluster; the error's message where it refuses.
    fn ask(&mut self, sql: &str) -> io::Result<Option<String>> {
        write_message(&mut self.server, &query(sql))?;
        let mut refusal = None;
        loop {
            let (kind, body) = read_message(&mut self.server)?;
            match kind {
                b'E' => {
                    let fields = body.split(|b| *b == 0);
                    let text = fields.filter_map(|f| f.strip_prefix(b"M")).next().unwrap_or_default();
                    refusal = Some(String::from_utf8_lossy(text).into_owned());
                }
                b'Z' => return Ok(refusal),
                _ => {}
            }
        }
    }

    fn object(&self, url: &str) -> Vec<u8> {
        let name = url.strip_prefix("s3:/").unwrap();
        self.objects.objects().get(name).unwrap_or_else(|| panic!("{url} is not there")).bytes.clone()
    }

    fn carry_out(&mut self, sql: &str) -> io::Result<()> {
        let quoted =
            |behind: &str| sql.split(behind).nth(1).and_then(|rest| rest.split('\'').next()).map(str::to_owned);
        let table = sql.split(' ').nth(1).unwrap().to_owned();
        for clause in [" MANIFEST ", " GZIP", "FORMAT JSON 'auto ignorecase'"] {
            assert!(sql.contains(clause), "{clause}: {sql}");
        }
        let most: usize = sql.split("MAXERROR ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let manifest = self.object(&quoted("FROM '").unwrap());
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let mut text = String::new();
        for entry in manifest["entries"].as_array().unwrap() {
            assert_eq!(entry["mandatory"], true);
            let packed = self.object(entry["url"].as_str().unwrap());
            flate2::read::MultiGzDecoder::new(&packed[..]).read_to_string(&mut text)?;
        }
        self.copy += 1;
        let (mut loaded, mut bad) = (0, Vec::new());
        for (n, line) in text.lines().enumerate() {
            let row = line.replace('\'', "''");
            let insert = format!("INSERT INTO {table} SELECT * FROM json_populate_record(null::{table}, '{row}')");
            assert_eq!(self.ask("SAVEPOINT line")?, None);
            match self.ask(&insert)? {
                None => loaded += 1,
                Some(why) => {
                    self.ask("ROLLBACK TO line")?;
                    bad.push((n + 1, why));
                }
            }
        }
        for (line, why) in &bad {
            let (why, copy) = (why.replace('\'', "''"), self.copy);
            let note = format!(
                "INSERT INTO stl_load_errors (query, line_number, colname, err_code, err_reason) \
                 VALUES ({copy}, {line}, 'c', 1207, left('{why}', 100))"
            );
            assert_eq!(self.ask(&note)?, None);
        }
        let set = format!("SET suiro.copy = {}; SET suiro.count = {loaded}", self.copy);
        assert_eq!(self.ask(&set)?, None);
        if bad.len() > most {
            let said = "DO $$ BEGIN RAISE EXCEPTION 'Load into table failed.  Check ''stl_load_errors'' system table for details.' \
                        USING ERRCODE = 'XX000'; END $$";
            write_message(&mut self.server, &query(said))?;
            return self.relay();
        }
        write_message(&mut self.server, &query("SELECT 1 WHERE false"))?;
        // Long enough for a kill to find it.
        std::thread::sleep(Duration::from_millis(5));
        self.relay()
    }
}
