//! A stand-in for Google's and Azure's services, of our own: objects in memory, the conditions of both, uploads in parts.
//! It knows what the outputs ask for and no more, and believes every signature; against the services themselves nothing here
//! was tried.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::free_port;
use crate::listening::{Listening, request};

/// An object: what was said about it, and its bytes.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Header lines of its put, in lower case.
    pub said: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

#[derive(Default)]
struct State {
    objects: Mutex<BTreeMap<String, Stored>>,
    /// Parts by upload and number.
    parts: Mutex<BTreeMap<(String, usize), Vec<u8>>>,
    /// Buckets and containers that were made.
    made: Mutex<Vec<String>>,
    /// Answers to puts of objects that are still to be swallowed.
    swallow: Mutex<usize>,
    /// Whether a name that is free is answered as one that nobody may ask about.
    hides: AtomicBool,
}

/// The stand-in. It ends with its owner.
pub struct StandIn {
    pub port: u16,
    state: Arc<State>,
    _listening: Listening,
}

impl StandIn {
    pub fn start() -> StandIn {
        let port = free_port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        let listening = Listening::start(port, move |stream| serve(stream, &shared));
        StandIn { port, state, _listening: listening }
    }

    /// The next puts of objects go through, and their answers do not.
    pub fn swallow(&self, count: usize) {
        *self.state.swallow.lock().unwrap() = count;
    }

    /// From now on it does not tell free names from forbidden ones.
    pub fn hide(&self) {
        self.state.hides.store(true, SeqCst);
    }

    /// Whether all those answers are swallowed.
    pub fn has_swallowed(&self) -> bool {
        *self.state.swallow.lock().unwrap() == 0
    }

    /// All objects by their path.
    pub fn objects(&self) -> BTreeMap<String, Stored> {
        self.state.objects.lock().unwrap().clone()
    }

    /// Parts that came so far.
    pub fn parts(&self) -> usize {
        self.state.parts.lock().unwrap().len()
    }

    /// What was made.
    pub fn made(&self) -> Vec<String> {
        self.state.made.lock().unwrap().clone()
    }
}

struct Asked {
    method: String,
    path: String,
    query: String,
    head: String,
    body: Vec<u8>,
}

impl Asked {
    fn read(stream: &mut TcpStream, got: &mut Vec<u8>) -> io::Result<Option<Asked>> {
        let Some((head, body)) = request(stream, got)? else { return Ok(None) };
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (method, path, query) = (method.to_owned(), decoded(path), query.to_owned());
        Ok(Some(Asked { method, path, query, head: head.to_ascii_lowercase(), body }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let mut got = Vec::new();
    while let Some(asked) = Asked::read(&mut stream, &mut got)? {
        let (status, head, body) = answer(&asked, state);
        let creates = asked.method == "PUT" && asked.query.is_empty() && status < 300;
        if creates {
            let mut swallow = state.swallow.lock().unwrap();
            if *swallow > 0 {
                *swallow -= 1;
                return Ok(());
            }
        }
        let length = match head.contains("content-length") {
            true => String::new(),
            false => format!("content-length: {}\r\n", body.len()),
        };
        let body = if asked.method == "HEAD" { "" } else { &body };
        write!(stream, "HTTP/1.1 {status} Said\r\nEtag: \"e\"\r\nx-goog-generation: 1\r\n{head}{length}\r\n{body}")?;
    }
    Ok(())
}

/// Status, header lines, body.
fn answer(asked: &Asked, state: &State) -> (u16, String, String) {
    let nothing = |status: u16| (status, String::new(), String::new());
    if let Some(bucket) = asked.path.strip_prefix("/storage/v1/b/") {
        let is_made = state.made.lock().unwrap().contains(&bucket.to_owned());
        return nothing(if is_made { 200 } else { 404 });
    }
    if asked.path == "/storage/v1/b" {
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        state.made.lock().unwrap().push(body.split('"').nth(3).unwrap_or_default().to_owned());
        return nothing(200);
    }
    if asked.query.contains("restype=container") {
        let mut made = state.made.lock().unwrap();
        let is_made = made.contains(&asked.path);
        if asked.method == "PUT" {
            made.push(asked.path.clone());
            return nothing(201);
        }
        return nothing(if is_made { 200 } else { 404 });
    }
    let mut objects = state.objects.lock().unwrap();
    match asked.method.as_str() {
        "HEAD" => match objects.get(&asked.path) {
            None => nothing(if state.hides.load(SeqCst) { 403 } else { 404 }),
            Some(stored) => {
                let meta = stored.said.lines().filter(|l| l.starts_with("x-goog-meta-") || l.starts_with("x-ms-meta-"));
                let meta: String = meta.map(|line| format!("{line}\r\n")).collect();
                let length = stored.bytes.len();
                let time = "last-modified: Mon, 06 May 2024 07:08:09 GMT\r\n";
                (200, format!("{meta}{time}content-length: {length}\r\n"), String::new())
            }
        },
        "DELETE" => nothing(if objects.remove(&asked.path).is_some() { 204 } else { 404 }),
        "POST" if asked.query.starts_with("uploads") => {
            let id = format!("{}", state.parts.lock().unwrap().len());
            objects.insert(format!("upload {id}"), Stored { said: asked.head.clone(), bytes: Vec::new() });
            let xml =
                format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
            (200, String::new(), xml)
        }
        "POST" => {
            let id = asked.parameter("uploadId").unwrap_or_default().to_owned();
            let parts = state.parts.lock().unwrap();
            let bytes =
                parts.iter().filter(|((upload, _), _)| *upload == id).flat_map(|(_, part)| part.clone()).collect();
            let said = objects.remove(&format!("upload {id}")).unwrap_or_default().said;
            objects.insert(asked.path.clone(), Stored { said, bytes });
            (200, String::new(), "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>".into())
        }
        "PUT" if asked.parameter("partNumber").is_some() => {
            let number = asked.parameter("partNumber").and_then(|n| n.parse().ok()).unwrap_or_default();
            let id = asked.parameter("uploadId").unwrap_or_default().to_owned();
            state.parts.lock().unwrap().insert((id, number), asked.body.clone());
            nothing(200)
        }
        "PUT" => {
            let exists = objects.contains_key(&asked.path);
            if exists && asked.header("x-goog-if-generation-match") == Some("0") {
                return nothing(412);
            }
            if exists && asked.header("if-none-match") == Some("*") {
                return (409, String::new(), "<Error><Code>BlobAlreadyExists</Code></Error>".into());
            }
            let source = asked.header("x-goog-copy-source").map(|source| format!("/{}", decoded(source)));
            let stored = match source.and_then(|source| objects.get(&source).cloned()) {
                Some(copied) => copied,
                None => Stored { said: asked.head.clone(), bytes: asked.body.clone() },
            };
            objects.insert(asked.path.clone(), stored);
            nothing(201)
        }
        _ => nothing(405),
    }
}
