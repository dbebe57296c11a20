//! A stand-in for BigQuery's REST API, of our own: tables with their columns, rows that are judged by them, ids of rows
//! that are told apart, load jobs whose names are taken once, uploads in pieces; and faults by script.
//!
//! Written from the public discovery document of `bigquery:v2`. It knows what the outputs ask for and no more; against the
//! service itself nothing here was tried.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard};

use flate2::read::MultiGzDecoder;
use serde_json::{Value as Json, json};

use crate::daemon::free_port;
use crate::listening::{Listening, request};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trick {
    /// It is acted upon, and the answer is lost.
    Lose,
    /// The connection breaks before it is acted upon.
    Cut,
    /// It is answered with this status and this reason instead.
    Say(u16, &'static str),
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Begin,
    Put,
    GetJob,
    GetTable,
    MakeTable,
    PatchTable,
    Insert,
    /// The begin of an object's upload, and the end of it.
    Stage,
    Unstage,
    /// A job whose data are in an object.
    MakeJob,
    Other,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// As it was made.
    pub made: Json,
    fields: Vec<Json>,
    version: u32,
    /// Rows in the order they came.
    pub rows: Vec<Json>,
    ids: HashSet<String>,
}

impl Table {
    /// Names and types of its columns.
    pub fn columns(&self) -> Vec<(String, String)> {
        let text = |field: &Json, name: &str| field[name].as_str().unwrap_or_default().to_owned();
        self.fields.iter().map(|field| (text(field, "name"), text(field, "type"))).collect()
    }
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// The answer to who asks, once it is done.
    pub status: Json,
    bad: usize,
    /// Looks at it that find it running.
    running: usize,
}

#[derive(Default)]
struct Inner {
    tables: BTreeMap<String, Table>,
    jobs: BTreeMap<String, Job>,
    uploads: BTreeMap<String, (Json, Vec<u8>)>,
    /// Objects by `bucket/name`.
    objects: BTreeMap<String, Vec<u8>>,
    tricks: Vec<(Kind, Trick, usize)>,
    failing: Vec<&'static str>,
    /// Looks at a job that find it running.
    polls: usize,
    /// Failed jobs do not say where their bad rows are.
    secretive: bool,
    /// Largest body of an insert, in bytes.
    largest: Option<usize>,
    requests: Vec<(Kind, String)>,
    /// A `Bearer` token that each request must have begun with.
    token: bool,
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
        let listening = Listening::start(port, move |stream| serve(stream, &shared, port));
        StandIn { port, inner, _listening: listening }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Makes a table with these columns, as `name:TYPE` or `name:TYPE:MODE`.
    pub fn make(&self, table: &str, columns: &[&str]) {
        let field = |column: &&str| {
            let mut parts = column.split(':');
            let (name, kind) = (parts.next().unwrap(), parts.next().unwrap());
            json!({ "name": name, "type": kind, "mode": parts.next().unwrap_or("NULLABLE") })
        };
        let fields = columns.iter().map(field).collect();
        self.inner().tables.insert(table.to_owned(), Table { fields, ..Table::default() });
    }

    /// The next requests of a kind go wrong.
    pub fn trick(&self, kind: Kind, trick: Trick, times: usize) {
        self.inner().tricks.push((kind, trick, times));
    }

    /// The next jobs fail for these reasons.
    pub fn fail_jobs(&self, reasons: &[&'static str]) {
        self.inner().failing.extend(reasons);
    }

    /// Jobs are found running so often before they are done.
    pub fn take_time(&self, polls: usize) {
        self.inner().polls = polls;
    }

    /// From now on failed jobs do not say where their bad rows are.
    pub fn keep_secret(&self) {
        self.inner().secretive = true;
    }

    /// Inserts with a larger body are too large.
    pub fn take_at_most(&self, bytes: usize) {
        self.inner().largest = Some(bytes);
    }

    /// From now on requests need a token that a service account's key has signed.
    pub fn want_token(&self) {
        self.inner().token = true;
    }

    /// Whether all tricks were played.
    pub fn has_played(&self) -> bool {
        let inner = self.inner();
        inner.tricks.is_empty() && inner.failing.is_empty()
    }

    pub fn table(&self, name: &str) -> Option<Table> {
        self.inner().tables.get(name).cloned()
    }

    /// The values of a field in all rows of a table, in order.
    pub fn values(&self, table: &str, field: &str) -> Vec<String> {
        let rows = self.table(table).map(|table| table.rows).unwrap_or_default();
        let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut values: Vec<String> = rows.iter().map(|row| text(&row[field])).collect();
        values.sort();
        values
    }

    /// Names of the objects that are there, as `bucket/name`.
    pub fn objects(&self) -> Vec<String> {
        self.inner().objects.keys().cloned().collect()
    }

    pub fn jobs(&self) -> BTreeMap<String, Job> {
        self.inner().jobs.clone()
    }

    /// Requests of a kind so far.
    pub fn asked(&self, kind: Kind) -> usize {
        self.inner().requests.iter().filter(|(asked, _)| *asked == kind).count()
    }
}

struct Asked {
    method: String,
    path: String,
    head: String,
    body: Vec<u8>,
}

impl Asked {
    /// Reads a request; bytes behind it stay in `got`.
    fn read(stream: &mut TcpStream, got: &mut Vec<u8>) -> io::Result<Option<Asked>> {
        let Some((head, body)) = request(stream, got)? else { return Ok(None) };
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Ok(Some(Asked { method: method.to_owned(), path: path.to_owned(), head, body }))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn parts(&self) -> Vec<&str> {
        self.path.split('?').next().unwrap_or_default().split('/').filter(|part| !part.is_empty()).collect()
    }

    fn kind(&self) -> Kind {
        let parts = self.parts();
        match (self.method.as_str(), parts.first().copied(), parts.last().copied()) {
            ("POST", Some("upload"), _) if parts.contains(&"storage") => Kind::Stage,
            ("POST", Some("upload"), _) => Kind::Begin,
            ("DELETE", Some("storage"), _) => Kind::Unstage,
            ("POST", _, Some("jobs")) => Kind::MakeJob,
            ("PUT", Some("session"), _) => Kind::Put,
            ("POST", _, Some("insertAll")) => Kind::Insert,
            ("POST", _, Some("tables")) => Kind::MakeTable,
            ("PATCH", ..) => Kind::PatchTable,
            ("GET", ..) if parts.contains(&"jobs") => Kind::GetJob,
            ("GET", ..) if parts.contains(&"tables") => Kind::GetTable,
            _ => Kind::Other,
        }
    }

    /// `bucket/name`
    fn object(&self) -> String {
        let parts = self.parts();
        let bucket = parts[parts.iter().position(|part| *part == "b").unwrap() + 1];
        let name = match self.path.split_once("name=") {
            Some((_, name)) => name.split('&').next().unwrap(),
            None => parts.last().unwrap(),
        };
        format!("{bucket}/{}", name.replace("%2F", "/"))
    }

    /// `project.dataset.table`
    fn table(&self) -> String {
        let parts = self.parts();
        let behind = |word: &str| {
            let at = parts.iter().position(|part| *part == word).map_or(usize::MAX - 1, |at| at + 1);
            parts.get(at).copied().unwrap_or_default()
        };
        format!("{}.{}.{}", behind("projects"), behind("datasets"), behind("tables"))
    }
}

struct Answer(u16, Json, Vec<String>);

fn refusal(status: u16, reason: &str, message: &str) -> Answer {
    let error = json!({ "code": status, "message": message, "errors": [{ "reason": reason, "message": message }] });
    Answer(status, json!({ "error": error }), Vec::new())
}

fn serve(mut stream: TcpStream, inner: &Mutex<Inner>, port: u16) {
    let mut got = Vec::new();
    // A connection that breaks is the client's matter.
    while let Ok(Some(asked)) = Asked::read(&mut stream, &mut got) {
        let kind = asked.kind();
        let (trick, answer) = {
            let mut inner = inner.lock().unwrap();
            inner.requests.push((kind, asked.path.clone()));
            let trick = inner.play(kind);
            let answer = match trick {
                Some(Trick::Say(status, reason)) => refusal(status, reason, "by script"),
                Some(Trick::Cut) => return,
                _ => inner.answer(kind, &asked, port),
            };
            (trick, answer)
        };
        if trick == Some(Trick::Lose) {
            return;
        }
        let Answer(status, json, headers) = answer;
        let body = json.to_string();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

impl Inner {
    fn play(&mut self, kind: Kind) -> Option<Trick> {
        let at = self.tricks.iter().position(|(of, ..)| *of == kind)?;
        let (_, trick, times) = &mut self.tricks[at];
        let trick = *trick;
        *times -= 1;
        if *times == 0 {
            self.tricks.remove(at);
        }
        Some(trick)
    }

    fn answer(&mut self, kind: Kind, asked: &Asked, port: u16) -> Answer {
        if asked.path.starts_with("/computeMetadata/") {
            let asks_as_it_must = asked.header("metadata-flavor") == Some("Google");
            assert!(asks_as_it_must, "the machine's service wants its header");
            return Answer(200, json!({ "access_token": "of-the-machine", "expires_in": 3600 }), Vec::new());
        }
        if self.token && !asked.header("authorization").is_some_and(is_signed) {
            return refusal(401, "authError", "Request had invalid authentication credentials");
        }
        let table = asked.table();
        match kind {
            Kind::Begin => self.begin(asked, port),
            Kind::Put => self.put(asked),
            Kind::GetJob => self.look(asked.parts().last().unwrap()),
            Kind::GetTable => match self.tables.get(&table) {
                Some(table) => Answer(200, described(table), Vec::new()),
                None => refusal(404, "notFound", &format!("Not found: Table {table}")),
            },
            Kind::MakeTable => self.make(asked),
            Kind::PatchTable => self.patch(&table, asked),
            Kind::Insert => self.insert(&table, asked),
            Kind::Stage => self.stage(asked, port),
            Kind::Unstage => match self.objects.remove(&asked.object()) {
                Some(_) => Answer(200, json!({}), Vec::new()),
                None => refusal(404, "notFound", "No such object"),
            },
            Kind::MakeJob => self.make_job(asked),
            Kind::Other => refusal(404, "notFound", "nothing is there"),
        }
    }

    fn make(&mut self, asked: &Asked) -> Answer {
        let made: Json = serde_json::from_slice(&asked.body).unwrap();
        let name = format!("{}{}", asked.table(), made["tableReference"]["tableId"].as_str().unwrap());
        if self.tables.contains_key(&name) {
            return refusal(409, "duplicate", &format!("Already Exists: Table {name}"));
        }
        let fields = made["schema"]["fields"].as_array().cloned().unwrap_or_default();
        if let Some(by) = made["timePartitioning"]["field"].as_str() {
            let column = fields.iter().find(|field| field["name"] == by).map(|field| &field["type"]);
            if !column.is_some_and(|kind| ["TIMESTAMP", "DATE", "DATETIME"].iter().any(|time| kind == time)) {
                return refusal(400, "invalid", "The field specified for partitioning is no column of times");
            }
        }
        self.tables.insert(name, Table { made: made.clone(), fields, ..Table::default() });
        Answer(200, made, Vec::new())
    }

    fn patch(&mut self, name: &str, asked: &Asked) -> Answer {
        let Some(table) = self.tables.get_mut(name) else { return refusal(404, "notFound", "Not found: Table") };
        let etag = described(table)["etag"].as_str().unwrap().to_owned();
        if asked.header("if-match").is_some_and(|wanted| wanted != etag) {
            return refusal(412, "conditionNotMet", "Precondition Failed");
        }
        let change: Json = serde_json::from_slice(&asked.body).unwrap();
        let fields = change["schema"]["fields"].as_array().cloned().unwrap();
        let kept = table.fields.iter().all(|old| fields.iter().any(|new| new["name"] == old["name"]));
        if !kept {
            return refusal(400, "invalid", "Provided Schema does not match Table: a field is missing");
        }
        (table.fields, table.version) = (fields, table.version + 1);
        Answer(200, described(table), Vec::new())
    }

    fn insert(&mut self, name: &str, asked: &Asked) -> Answer {
        if self.largest.is_some_and(|largest| asked.body.len() > largest) {
            return refusal(413, "requestTooLarge", "Request payload size exceeds the limit");
        }
        let Some(table) = self.tables.get_mut(name) else {
            return refusal(404, "notFound", &format!("Not found: Table {name}"));
        };
        let body: Json = serde_json::from_slice(&asked.body).unwrap();
        let (ignore, skip) = (body["ignoreUnknownValues"] == true, body["skipInvalidRows"] == true);
        let rows = body["rows"].as_array().unwrap();
        let faults: Vec<Option<String>> = rows.iter().map(|row| fault(&row["json"], &table.fields, ignore)).collect();
        let bad = faults.iter().any(Option::is_some);
        let mut errors = Vec::new();
        for (index, (row, fault)) in rows.iter().zip(&faults).enumerate() {
            let error = match fault {
                Some(why) => json!({ "reason": "invalid", "location": "", "message": why.to_lowercase() }),
                None if bad && !skip => json!({ "reason": "stopped", "location": "", "message": "" }),
                None => {
                    let id = row["insertId"].as_str().map(str::to_owned);
                    if id.is_none_or(|id| table.ids.insert(id)) {
                        table.rows.push(row["json"].clone());
                    }
                    continue;
                }
            };
            errors.push(json!({ "index": index, "errors": [error] }));
        }
        let answer = match errors.is_empty() {
            true => json!({ "kind": "bigquery#tableDataInsertAllResponse" }),
            false => json!({ "insertErrors": errors }),
        };
        Answer(200, answer, Vec::new())
    }

    fn begin(&mut self, asked: &Asked, port: u16) -> Answer {
        let job: Json = serde_json::from_slice(&asked.body).unwrap();
        let id = job["jobReference"]["jobId"].as_str().unwrap().to_owned();
        if self.jobs.contains_key(&id) {
            return refusal(409, "duplicate", &format!("Already Exists: Job {id}"));
        }
        let session = format!("{}", self.requests.len());
        self.uploads.insert(session.clone(), (job, Vec::new()));
        Answer(200, json!({}), vec![format!("Location: http://127.0.0.1:{port}/session/{session}")])
    }

    fn stage(&mut self, asked: &Asked, port: u16) -> Answer {
        let object = asked.object();
        assert!(asked.path.contains("ifGenerationMatch=0"), "an object must be new");
        if self.objects.contains_key(&object) {
            return refusal(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.");
        }
        let session = format!("{}", self.requests.len());
        self.uploads.insert(session.clone(), (json!({ "object": object }), Vec::new()));
        Answer(200, json!({}), vec![format!("Location: http://127.0.0.1:{port}/session/{session}")])
    }

    fn make_job(&mut self, asked: &Asked) -> Answer {
        let job: Json = serde_json::from_slice(&asked.body).unwrap();
        let from = job["configuration"]["load"]["sourceUris"][0].as_str().unwrap().trim_start_matches("gs://");
        match self.objects.get(from).cloned() {
            Some(bytes) => self.load(&job, &bytes),
            None => refusal(404, "notFound", "Not found: URI"),
        }
    }

    fn put(&mut self, asked: &Asked) -> Answer {
        let session = asked.parts().last().unwrap().to_string();
        let Some((job, bytes)) = self.uploads.get_mut(&session) else { return refusal(404, "notFound", "no session") };
        let range = asked.header("content-range").unwrap().trim_start_matches("bytes ").to_owned();
        let (part, total) = range.split_once('/').unwrap();
        if let Some((from, _)) = part.split_once('-') {
            assert_eq!(from.parse::<usize>().unwrap(), bytes.len(), "pieces follow each other");
        }
        bytes.extend_from_slice(&asked.body);
        if total == "*" {
            assert_eq!(asked.body.len() % (256 * 1024), 0, "pieces are multiples of 256 KiB");
            let range = format!("Range: bytes=0-{}", bytes.len() - 1);
            return Answer(308, json!({}), vec![range]);
        }
        assert_eq!(total.parse::<usize>().unwrap(), bytes.len());
        let (job, bytes) = (job.clone(), bytes.clone());
        self.uploads.remove(&session);
        match job["object"].as_str() {
            Some(object) => {
                self.objects.insert(object.to_owned(), bytes);
                Answer(200, json!({}), Vec::new())
            }
            None => self.load(&job, &bytes),
        }
    }

    fn load(&mut self, job: &Json, packed: &[u8]) -> Answer {
        let id = job["jobReference"]["jobId"].as_str().unwrap().to_owned();
        if self.jobs.contains_key(&id) {
            return refusal(409, "duplicate", &format!("Already Exists: Job {id}"));
        }
        let load = &job["configuration"]["load"];
        let to = &load["destinationTable"];
        let part = |name: &str| to[name].as_str().unwrap().to_owned();
        let whole = part("tableId").split('$').next().unwrap().to_owned();
        let name = format!("{}.{}.{whole}", part("projectId"), part("datasetId"));
        let failed = (!self.failing.is_empty()).then(|| self.failing.remove(0));
        let (mut status, mut bad) = (json!({ "state": "DONE" }), 0);
        if let Some(reason) = failed {
            status["errorResult"] = json!({ "reason": reason, "message": "by script" });
            status["errors"] = json!([status["errorResult"]]);
        } else if let Some(table) = self.tables.get_mut(&name) {
            let allowed = load["maxBadRecords"].as_u64().unwrap() as usize;
            let (rows, errors) = read_rows(packed, table, load);
            let generic = format!(
                "Error while reading data, error message: JSON table encountered too many errors, giving up. \
                 Rows: {}; errors: {}.",
                rows.len() + errors.len(),
                errors.len()
            );
            bad = errors.len();
            let said = errors.iter().take(5).map(|why| json!({ "reason": "invalid", "message": why }));
            let said: Vec<Json> = if self.secretive { Vec::new() } else { said.collect() };
            if bad > allowed {
                status["errorResult"] = json!({ "reason": "invalid", "message": generic });
                status["errors"] = [vec![status["errorResult"].clone()], said].concat().into();
            } else {
                status["errors"] = said.into();
                table.rows.extend(rows);
            }
        } else {
            status["errorResult"] = json!({ "reason": "notFound", "message": format!("Not found: Table {name}") });
        }
        self.jobs.insert(id.clone(), Job { status, bad, running: self.polls });
        self.look(&id)
    }

    fn look(&mut self, id: &str) -> Answer {
        let Some(job) = self.jobs.get_mut(id) else { return refusal(404, "notFound", &format!("Not found: Job {id}")) };
        let status = match job.running {
            0 => job.status.clone(),
            _ => {
                job.running -= 1;
                json!({ "state": "RUNNING" })
            }
        };
        let statistics = json!({ "load": { "badRecords": job.bad.to_string() } });
        Answer(200, json!({ "jobReference": { "jobId": id }, "status": status, "statistics": statistics }), Vec::new())
    }
}

fn described(table: &Table) -> Json {
    json!({ "etag": format!("v{}", table.version), "schema": { "fields": table.fields } })
}

/// The good rows of a file, and what is wrong with the others.
fn read_rows(packed: &[u8], table: &Table, load: &Json) -> (Vec<Json>, Vec<String>) {
    let mut text = String::new();
    MultiGzDecoder::new(packed).read_to_string(&mut text).unwrap();
    let (mut rows, mut errors, mut at) = (Vec::new(), Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        let row = match load["sourceFormat"].as_str().unwrap() {
            "CSV" => Ok(csv_row(line, table)),
            _ => serde_json::from_str(line).map_err(|e| e.to_string()),
        };
        let judged = row.and_then(|row: Json| match fault(&row, &table.fields, load["ignoreUnknownValues"] == true) {
            None => Ok(row),
            Some(why) => Err(why),
        });
        match judged {
            Ok(row) => rows.push(row),
            Err(why) => errors.push(format!(
                "Error while reading data, error message: JSON parsing error in row starting at position {at}: {why}"
            )),
        }
        at += line.len();
    }
    (rows, errors)
}

fn csv_row(line: &str, table: &Table) -> Json {
    let values = line.trim_end().split(',').map(|value| Json::from(value.trim_matches('"')));
    let names = table.fields.iter().map(|field| field["name"].as_str().unwrap().to_owned());
    Json::Object(names.zip(values).collect())
}

/// What is wrong with a row.
fn fault(row: &Json, fields: &[Json], ignore: bool) -> Option<String> {
    let Some(row) = row.as_object() else { return Some("not a record".into()) };
    let same = |field: &Json, name: &str| field["name"].as_str().unwrap().eq_ignore_ascii_case(name);
    for (name, value) in row {
        let Some(field) = fields.iter().find(|field| same(field, name)) else {
            if ignore {
                continue;
            }
            return Some(format!("No such field: {name}."));
        };
        let (kind, mode) = (field["type"].as_str().unwrap(), field["mode"].as_str().unwrap_or("NULLABLE"));
        let values: Vec<&Json> = match (mode, value) {
            ("REPEATED", Json::Array(values)) => values.iter().collect(),
            ("REPEATED", _) => return Some(format!("Array specified for non-repeated field: {name}.")),
            _ => vec![value],
        };
        for value in values {
            let nested = field["fields"].as_array().map_or(&[][..], Vec::as_slice);
            if kind == "RECORD"
                && let Some(why) = fault(value, nested, ignore)
            {
                return Some(why);
            }
            if kind != "RECORD" && !fits(value, kind) {
                return Some(format!("Could not convert value '{value}' to {kind}. Field: {name}"));
            }
        }
    }
    let lacking = fields.iter().find(|f| f["mode"] == "REQUIRED" && !row.keys().any(|name| same(f, name)));
    lacking.map(|field| format!("Missing required field: {}.", field["name"].as_str().unwrap()))
}

fn fits(value: &Json, kind: &str) -> bool {
    let text = value.as_str();
    match kind {
        "INTEGER" => value.is_i64() || text.is_some_and(|t| t.parse::<i64>().is_ok()),
        "FLOAT" => value.is_number() || text.is_some_and(|t| t.parse::<f64>().is_ok()),
        "BOOLEAN" => value.is_boolean() || matches!(text, Some("true" | "false")),
        "TIMESTAMP" => value.is_number() || text.is_some(),
        "JSON" => true,
        _ => value.is_string() || value.is_number() || value.is_boolean(),
    }
}

/// Whether a token is one that a service account's key has signed for the platform, and still holds.
fn is_signed(header: &str) -> bool {
    use base64::Engine as _;
    let Some(token) = header.strip_prefix("Bearer ") else { return false };
    if token == "of-the-machine" {
        return true;
    }
    let parts: Vec<&str> = token.split('.').collect();
    let claims = parts.get(1).and_then(|part| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Json = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    parts.len() == 3
        && !parts[2].is_empty()
        && claims["iss"] == "loader@p.iam.gserviceaccount.com"
        && claims["scope"].as_str().is_some_and(|scope| scope.contains("cloud-platform"))
        && claims["exp"].as_u64().is_some_and(|until| until > now)
}
