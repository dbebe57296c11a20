//! A stand-in for the interface of Elasticsearch and OpenSearch, of our own: documents by index and id, conflicts, a mapping
//! that wants numbers, templates and the like as they are put; and faults by script.
//!
//! It knows what the outputs ask for and no more. What the real OpenSearch answers is in `real.rs`.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::daemon::free_port;
use crate::databases::house::read;
use crate::listening::Listening;

/// What goes wrong with a bulk request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// It is acted upon, and the connection breaks before the answer.
    Lose,
    /// It is acted upon, and the answer breaks off behind so many items.
    Cut(usize),
    /// The connection breaks before it is acted upon.
    Break,
    /// It is acted upon, and nothing is answered until the client goes away.
    Hang,
    /// It is not acted upon, and the answer's body does not end.
    Endless,
    /// It is not acted upon but answered with this status and text.
    Say(u16, &'static str),
    /// Each document is answered with this status and type, and none is taken.
    All(u16, &'static str),
    /// Every second document is.
    Half(u16, &'static str),
    /// The answer has fewer items than there were documents; all of them are taken.
    Short,
}

#[derive(Default)]
struct Inner {
    documents: BTreeMap<(String, String), Json>,
    /// How often each document was written.
    writes: HashMap<(String, String), usize>,
    /// What was put beside documents, by path.
    things: BTreeMap<String, Json>,
    tricks: Vec<Trick>,
    /// Largest body that is taken, in bytes.
    largest: Option<usize>,
    /// Heads of all requests.
    heads: Vec<String>,
    /// Documents of each bulk request.
    bulks: Vec<usize>,
    under_way: usize,
    most_under_way: usize,
    made: usize,
    /// An answer takes so long.
    pause: Duration,
    /// A login that is wanted.
    login: Option<String>,
    version: Option<&'static str>,
}

/// The stand-in. It ends with its owner.
pub struct StandIn {
    pub port: u16,
    inner: Arc<Mutex<Inner>>,
    _listening: Listening,
}

impl StandIn {
    pub fn start() -> StandIn {
        StandIn::start_on(free_port())
    }

    pub fn start_on(port: u16) -> StandIn {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let shared = inner.clone();
        let listening = Listening::start(port, move |stream| serve(stream, &shared));
        StandIn { port, inner, _listening: listening }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// What happens to the next bulk requests, in turn.
    pub fn next(&self, tricks: &[Trick]) {
        self.inner().tricks = tricks.iter().rev().copied().collect();
    }

    /// Whether every trick was played.
    pub fn has_played(&self) -> bool {
        self.inner().tricks.is_empty()
    }

    pub fn take_at_most(&self, bytes: usize) {
        self.inner().largest = Some(bytes);
    }

    pub fn answer_after(&self, pause: Duration) {
        self.inner().pause = pause;
    }

    pub fn want_login(&self, value: &str) {
        self.inner().login = Some(value.to_owned());
    }

    pub fn be_version(&self, version: &'static str) {
        self.inner().version = Some(version);
    }

    /// Documents of an index, by id.
    pub fn documents(&self, index: &str) -> Vec<(String, Json)> {
        let inner = self.inner();
        let found = inner.documents.iter().filter(|((of, _), _)| of == index);
        found.map(|((_, id), document)| (id.clone(), document.clone())).collect()
    }

    /// The numbers `id` of an index's documents.
    pub fn numbers(&self, index: &str) -> Vec<u64> {
        let mut all: Vec<u64> = self.documents(index).iter().filter_map(|(_, d)| d["id"].as_u64()).collect();
        all.sort_unstable();
        all
    }

    /// Names of the indices that have documents.
    pub fn indices(&self) -> Vec<String> {
        let mut names: Vec<String> = self.inner().documents.keys().map(|(index, _)| index.clone()).collect();
        names.dedup();
        names
    }

    /// Documents that were written more than once.
    pub fn rewritten(&self) -> usize {
        self.inner().writes.values().filter(|times| **times > 1).count()
    }

    /// What was put there.
    pub fn thing(&self, path: &str) -> Option<Json> {
        self.inner().things.get(path).cloned()
    }

    /// Puts something there.
    pub fn put(&self, path: &str, body: Json) {
        self.inner().things.insert(path.to_owned(), body);
    }

    pub fn heads(&self) -> Vec<String> {
        self.inner().heads.clone()
    }

    /// Bulk requests that came, whatever became of them.
    pub fn tries(&self) -> usize {
        self.inner().heads.iter().filter(|head| head.contains("/_bulk")).count()
    }

    pub fn bulks(&self) -> Vec<usize> {
        self.inner().bulks.clone()
    }

    pub fn most_under_way(&self) -> usize {
        self.inner().most_under_way
    }
}

fn answer(stream: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn serve(mut stream: TcpStream, inner: &Mutex<Inner>) -> io::Result<()> {
    let mut got = Vec::new();
    while let Some((head, body)) = read(&mut stream, &mut got)? {
        let (method, target) = {
            let mut words = head.split(' ');
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned())
        };
        let path = target.split('?').next().unwrap_or_default();
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
        let login = {
            let mut inner = inner.lock().unwrap();
            inner.heads.push(head.clone());
            inner.login.clone()
        };
        if login.is_some_and(|login| !head.to_lowercase().contains(&format!("authorization: {login}").to_lowercase())) {
            answer(
                &mut stream,
                401,
                "{\"error\":{\"type\":\"security_exception\",\"reason\":\"who are you\"},\"status\":401}",
            )?;
            continue;
        }
        match path.strip_suffix("/_bulk") {
            Some(index) => {
                if !bulk(&mut stream, index.trim_start_matches('/'), &body, inner)? {
                    return Ok(());
                }
            }
            None => other(&mut stream, &method, &path, &body, inner)?,
        }
    }
    Ok(())
}

fn other(stream: &mut TcpStream, method: &str, path: &str, body: &[u8], inner: &Mutex<Inner>) -> io::Result<()> {
    let mut inner = inner.lock().unwrap();
    match method {
        "GET" if path == "/" => {
            let number = inner.version.unwrap_or("2.19.1");
            let about = json!({ "version": { "number": number }, "tagline": "You Know, for Tests" });
            answer(stream, 200, &about.to_string())
        }
        "PUT" => {
            let body = if body.is_empty() { json!({}) } else { serde_json::from_slice(body).unwrap() };
            // An index with aliases makes them.
            for alias in body["aliases"].as_object().into_iter().flat_map(|aliases| aliases.keys().cloned()) {
                inner.things.insert(format!("/_alias/{alias}"), json!({ "index": path }));
            }
            inner.things.insert(path.to_owned(), body);
            answer(stream, 200, "{\"acknowledged\":true}")
        }
        _ => match inner.things.get(path) {
            Some(thing) => answer(stream, 200, &thing.to_string()),
            None => answer(stream, 404, "{\"error\":{\"type\":\"resource_not_found_exception\"},\"status\":404}"),
        },
    }
}

/// Deals with a bulk request; false where the connection is to end.
fn bulk(stream: &mut TcpStream, index: &str, body: &[u8], inner: &Mutex<Inner>) -> io::Result<bool> {
    let (trick, pause, largest) = {
        let mut inner = inner.lock().unwrap();
        inner.under_way += 1;
        inner.most_under_way = inner.most_under_way.max(inner.under_way);
        (inner.tricks.pop(), inner.pause, inner.largest)
    };
    std::thread::sleep(pause);
    let done = act(stream, index, body, inner, trick, largest);
    inner.lock().unwrap().under_way -= 1;
    done
}

fn act(
    stream: &mut TcpStream,
    index: &str,
    body: &[u8],
    inner: &Mutex<Inner>,
    trick: Option<Trick>,
    largest: Option<usize>,
) -> io::Result<bool> {
    match trick {
        Some(Trick::Break) => return Ok(false),
        Some(Trick::Say(status, text)) => {
            answer(stream, status, text)?;
            return Ok(true);
        }
        Some(Trick::Endless) => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let piece = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
            loop {
                stream.write_all(piece.as_bytes())?;
            }
        }
        _ => {}
    }
    if largest.is_some_and(|largest| body.len() > largest) {
        answer(stream, 413, "too large")?;
        return Ok(true);
    }
    let Some(items) = items(index, body, &mut inner.lock().unwrap(), trick) else {
        let spoiled = json!({ "error": { "type": "illegal_argument_exception", "reason": "spoiled" }, "status": 400 });
        answer(stream, 400, &spoiled.to_string())?;
        return Ok(true);
    };
    let all = |items: &[Json]| {
        let errors = items.iter().any(|item| item.to_string().contains("\"error\""));
        json!({ "took": 1, "errors": errors, "items": items }).to_string()
    };
    match trick {
        Some(Trick::Lose) => return Ok(false),
        Some(Trick::Hang) => {
            let _ = stream.read(&mut [0]);
            return Ok(false);
        }
        Some(Trick::Cut(count)) => {
            let whole = all(&items);
            let text = items.iter().take(count).map(|item| item.to_string()).collect::<Vec<_>>().join(",");
            let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", whole.len());
            write!(stream, "{head}{{\"took\":1,\"errors\":false,\"items\":[{text},{{\"cre")?;
            return Ok(false);
        }
        Some(Trick::Short) => answer(stream, 200, &all(&items[..items.len() / 2]))?,
        _ => answer(stream, 200, &all(&items))?,
    }
    Ok(true)
}

/// The answer to each document; none where one of them spoils the request.
fn items(index: &str, body: &[u8], inner: &mut Inner, trick: Option<Trick>) -> Option<Vec<Json>> {
    let lines: Vec<Json> =
        body.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
    inner.bulks.push(lines.len() / 2);
    if lines.iter().any(|line| line["spoil"] == true || line["doc"]["spoil"] == true) {
        return None;
    }
    let mut items = Vec::new();
    for (n, pair) in lines.chunks(2).enumerate() {
        let (operation, meta) = pair[0].as_object().unwrap().iter().next().unwrap();
        let denied = match trick {
            Some(Trick::All(status, kind)) => Some((status, kind)),
            Some(Trick::Half(status, kind)) if n % 2 == 1 => Some((status, kind)),
            _ => None,
        };
        let item = match denied {
            Some((status, kind)) => {
                json!({ "status": status, "error": { "type": kind, "reason": reason(kind) } })
            }
            None => one(operation, meta, &pair[1], index, inner),
        };
        items.push(json!({ operation.as_str(): item }));
    }
    Some(items)
}

/// What the targets say with some types.
fn reason(kind: &str) -> String {
    match kind {
        "validation_exception" => {
            "Validation Failed: 1: this action would add [2] total shards, but this cluster currently has [1000]/[1000] \
             maximum shards open;"
                .to_owned()
        }
        _ => format!("denied for {kind}"),
    }
}

fn one(operation: &str, meta: &Json, source: &Json, index: &str, inner: &mut Inner) -> Json {
    let index = meta["_index"].as_str().unwrap_or(index).to_owned();
    inner.made += 1;
    let id = meta["_id"].as_str().map_or_else(|| format!("auto-{}", inner.made), str::to_owned);
    let key = (index.clone(), id.clone());
    let failed = |status: u16, kind: &str, reason: &str| json!({ "_index": index, "_id": id, "status": status, "error": { "type": kind, "reason": reason } });
    let document = if operation == "update" { &source["doc"] } else { source };
    if !(document["n"].is_number() || document["n"].is_null()) {
        let mut item = failed(400, "mapper_parsing_exception", "failed to parse field [n] of type [long]");
        item["error"]["caused_by"] = json!({ "reason": format!("For input string: {}", document["n"]) });
        return item;
    }
    let is_there = inner.documents.contains_key(&key);
    match operation {
        "create" if is_there => {
            return failed(409, "version_conflict_engine_exception", "document already exists");
        }
        "update" if !is_there && source["upsert"].is_null() && source["doc_as_upsert"] != true => {
            return failed(404, "document_missing_exception", "document missing");
        }
        _ => {}
    }
    let mut stored = document.clone();
    if operation == "update" {
        let base = if is_there { inner.documents[&key].clone() } else { source["upsert"].clone() };
        if let (Some(base), Some(new)) = (base.as_object(), document.as_object()) {
            let mut merged = base.clone();
            if is_there {
                merged.extend(new.clone());
            }
            stored = Json::Object(merged);
        }
    }
    if !meta["routing"].is_null() {
        stored["_routing"] = meta["routing"].clone();
    }
    if !meta["pipeline"].is_null() {
        stored["_pipeline"] = meta["pipeline"].clone();
    }
    if !meta["_type"].is_null() {
        stored["_type"] = meta["_type"].clone();
    }
    inner.documents.insert(key.clone(), stored);
    *inner.writes.entry(key).or_default() += 1;
    json!({ "_index": index, "_id": id, "status": if is_there { 200 } else { 201 } })
}
