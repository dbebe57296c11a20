//! `bigquery_insert`: rows one request after the other, by `tabledata.insertAll`.
//!
//! Each row carries an id, by default its chunk's with its place: what is sent again within about a minute BigQuery knows,
//! as far as it promises that ("best effort"). Exactly once is `bigquery_load`'s.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::api::{Api, Fault, TableName, shown};
use super::params::{COMMON, Common, Names};
use super::rows::Rows;
use super::schema::{Schema, Style};
use super::table::Tables;
use super::{name_part, open_api, table_of};
use crate::buffer::{Chunk, ChunkId};
use crate::config::Diagnostic;
use crate::event::{Arena, Entries, Entry, EventTime, Record, RecordPath, hex};
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, InputError, MAX_REFUSED, Output, RefusedEvent, Stop, Template, WriteError,
};

/// Rows and bytes of one request. The service takes 50,000 rows and 10 MB.
const MAX_ROWS: usize = 50_000;
/// See `MAX_ROWS`.
const MAX_BYTES: usize = 9_500_000;
/// Longest id of a row, in bytes; a longer one is sent as its digest.
const MAX_ID: usize = 128;
/// Chunks whose progress is remembered between two attempts; when there are more, all is forgotten and rows are sent again
/// under their ids.
const MAX_PROGRESS: usize = 10_000;
/// How often rows that others held up are sent at once, before the engine's schedule takes over.
const MAX_ROUNDS: u32 = 100;
/// Chunk and whole of the buffer in bytes, events of a chunk, and seconds: the plugin's defaults.
const LIMITS: (u64, u64) = (1 << 20, 1 << 30);
const CHUNK_RECORDS: u64 = 500;

/// Parameters of `bigquery_insert`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct InsertParams {
    /// What is put behind the table's name: a table of that name is made after it.
    template_suffix: Option<String>,
    /// Whether the good rows of a request are taken at once; else BigQuery names the bad ones and the others are sent again.
    skip_invalid_rows: bool,
    /// The field with the row's id.
    insert_id_field: Option<String>,
    /// The field that the time of sending is put in.
    add_insert_timestamp: Option<String>,
    /// Whether rows that the service could not take for reasons of its own are sent again; true unless it is written.
    allow_retry_insert_errors: Option<bool>,
}

/// The output.
pub struct Insert {
    names: Names,
    start: Mutex<Option<Common>>,
    rows: Rows,
    params: InsertParams,
    suffix: Option<Template>,
    id_field: Option<RecordPath>,
    ignore_unknown: bool,
    open: OnceLock<(Arc<Api>, Tables)>,
    progress: Mutex<HashMap<ChunkId, Progress>>,
}

/// How far a chunk has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Events in front of this place are settled.
    upto: u64,
    /// Those of them that were refused.
    refused: Vec<RefusedEvent>,
}

/// A row in a request's text.
#[derive(Clone, Debug)]
struct Row {
    place: u64,
    text: Bytes,
}

impl Configure for Insert {
    type Config = InsertParams;
    const READ_ELSEWHERE: &'static [&'static str] = COMMON;

    fn new(params: InsertParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults {
            buffered: true,
            by_interval: true,
            flush_interval: Some(Duration::from_secs(1)),
            limits: Some(LIMITS),
            chunk_limit_records: Some(CHUNK_RECORDS),
            ..BufferDefaults::default()
        });
        if let Some(kind) = cx.section.child("format").and_then(|format| format.plugin_type())
            && kind != "json"
        {
            return Err(cx.fault("format", "`bigquery_insert` supports only json formatter."));
        }
        let common = Common::read(cx, false)?;
        let path = |text: &String| {
            RecordPath::parse(text)
                .map_err(|e| cx.fault("insert_id_field", format!("{text:?} is no record accessor: {e}")))
        };
        let id_field = params.insert_id_field.as_ref().map(path).transpose()?;
        Ok(Insert {
            rows: Rows::Json { inject: cx.inject()?, stamp: params.add_insert_timestamp.clone() },
            suffix: params.template_suffix.as_deref().map(|t| Template::new(t, "template_suffix", cx)).transpose()?,
            id_field,
            ignore_unknown: common.ignore_unknown_values,
            names: common.names.clone(),
            start: Mutex::new(Some(common)),
            params,
            open: OnceLock::new(),
            progress: Mutex::default(),
        })
    }
}

impl Output for Insert {
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        let common = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(common) = common {
            // Started once; a second client would only replace an unused one.
            let _ = self.open.set(open_api(common)?);
        }
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let Some((api, tables)) = self.open.get() else { return Err(WriteError::Retry("not started yet".into())) };
        let name = table_of(&self.names, chunk)?;
        let schema = tables.prepare(chunk, &name, &self.rows).await?;
        let suffix =
            self.suffix.as_ref().map(|t| t.expand(chunk, name_part).map_err(WriteError::Reject)).transpose()?;
        let mut work = Work { insert: self, api, tables, name, suffix, progress: self.resume(chunk.id()) };
        let outcome = work.all(chunk, schema.as_deref()).await;
        let progress = std::mem::take(&mut work.progress);
        if let Err(e) = outcome {
            if matches!(e, WriteError::Retry(_)) {
                self.keep(chunk.id(), progress);
            }
            return Err(e);
        }
        match progress.refused.len() {
            0 => Ok(()),
            some if some <= MAX_REFUSED => Err(WriteError::Partial(progress.refused)),
            many => {
                let response = progress.refused[0].answer.clone();
                let why =
                    format!("{many} of {} rows for {} were refused: {}", chunk.count(), work.name, shown(&response));
                Err(WriteError::Refused { why, response })
            }
        }
    }

    async fn close(&self) {
        if let Some((api, _)) = self.open.get() {
            api.close();
        }
    }
}

impl Insert {
    fn resume(&self, id: ChunkId) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default()
    }

    fn keep(&self, id: ChunkId, progress: Progress) {
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PROGRESS {
            all.clear();
        }
        all.insert(id, progress);
    }

    /// Appends a row as the request has it.
    fn row(&self, chunk: &Chunk, place: u64, made: &Made<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"insertId\":");
        out.extend_from_slice(Json::from(self.id(chunk, place, made.entry)).to_string().as_bytes());
        out.extend_from_slice(b",\"json\":");
        let start = out.len();
        self.rows.row(made.block, made.entry, made.schema, Style::Insert, out);
        if let Some(field) = &self.params.add_insert_timestamp {
            out.pop();
            if out.len() > start + 1 {
                out.push(b',');
            }
            out.extend_from_slice(format!("{}:{}}}", Json::from(field.as_str()), Json::from(made.now)).as_bytes());
        }
        out.push(b'}');
    }

    fn id(&self, chunk: &Chunk, place: u64, entry: &Entry<'_>) -> String {
        let own = || format!("{}-{place}", chunk.id());
        let Some(field) = &self.id_field else { return own() };
        let arena = Arena::new();
        let record = Record::decode(entry.record, &arena).unwrap_or_default();
        let text = match field.get(&record) {
            None | Some(crate::event::Value::Nil) => return own(),
            Some(value) => match value.as_bytes() {
                Some(text) => String::from_utf8_lossy(text).into_owned(),
                None => {
                    let mut text = Vec::new();
                    crate::event::json::write_value(value, &mut text);
                    String::from_utf8_lossy(&text).into_owned()
                }
            },
        };
        match text.len() {
            0 => own(),
            len if len <= MAX_ID => text,
            _ => hex(&Sha256::digest(text.as_bytes())),
        }
    }
}

/// What a row is made of.
struct Made<'a> {
    block: &'a crate::buffer::Block,
    entry: &'a Entry<'a>,
    schema: Option<&'a Schema>,
    now: &'a str,
}

/// A chunk on its way.
struct Work<'a> {
    insert: &'a Insert,
    api: &'a Api,
    tables: &'a Tables,
    name: TableName,
    suffix: Option<String>,
    progress: Progress,
}

impl Work<'_> {
    /// Sends all rows, request by request; what was sent by an attempt before is passed over.
    async fn all(&mut self, chunk: &Chunk, schema: Option<&Schema>) -> Result<(), WriteError> {
        let now = timestamp();
        let (mut rows, mut bytes, mut place) = (Vec::new(), 0, 0);
        for block in chunk.blocks() {
            let block = block?;
            let mut texts = Vec::new();
            for entry in Entries::new(&block.entries).map_while(Result::ok) {
                if place >= self.progress.upto {
                    let mut text = Vec::new();
                    let made = Made { block: &block, entry: &entry, schema, now: &now };
                    self.insert.row(chunk, place, &made, &mut text);
                    texts.push(Row { place, text: text.into() });
                }
                place += 1;
            }
            for row in texts {
                if rows.len() >= MAX_ROWS || bytes + row.text.len() > MAX_BYTES && !rows.is_empty() {
                    let next = row.place;
                    self.request(std::mem::take(&mut rows), next).await?;
                    bytes = 0;
                }
                bytes += row.text.len() + 1;
                rows.push(row);
            }
        }
        match rows.is_empty() {
            true => Ok(()),
            false => self.request(rows, place).await,
        }
    }

    /// Sends rows until each is taken or refused; then everything in front of `upto` is settled.
    async fn request(&mut self, rows: Vec<Row>, upto: u64) -> Result<(), WriteError> {
        let mut refused = Vec::new();
        // Smaller requests, where one was too large, go first.
        let mut waiting = vec![rows];
        while let Some(rows) = waiting.pop() {
            match self.rounds(rows, &mut refused).await? {
                Round::Settled => {}
                Round::TooLarge(mut rows, said) if rows.len() > 1 => {
                    let behind = rows.split_off(rows.len() / 2);
                    waiting.push(behind);
                    waiting.push(rows);
                    tracing::debug!("a request was too large and is divided: {said}");
                }
                Round::TooLarge(rows, said) => {
                    refused.extend(rows.into_iter().map(|row| RefusedEvent { place: row.place, answer: said.clone() }));
                }
            }
        }
        refused.sort_by_key(|event: &RefusedEvent| event.place);
        self.progress.refused.extend(refused);
        self.progress.upto = upto;
        Ok(())
    }

    async fn rounds(&self, mut rows: Vec<Row>, refused: &mut Vec<RefusedEvent>) -> Result<Round, WriteError> {
        for _ in 0..MAX_ROUNDS {
            let answer = match self.api.insert_all(&self.name, self.body(&rows)).await {
                Ok(answer) => answer,
                Err(Fault::Said(said)) if said.is_too_large() => return Ok(Round::TooLarge(rows, said.body)),
                Err(fault) => return Err(self.failed(fault)),
            };
            let Verdict { again, held_up, mut bad, why } = self.judge(&rows, &answer);
            let progressed = !bad.is_empty();
            refused.append(&mut bad);
            if again.is_empty() {
                return Ok(Round::Settled);
            }
            if !(progressed && held_up) {
                return Err(WriteError::Retry(format!("{}: {} rows were not taken: {why}", self.name, again.len())));
            }
            rows = again;
        }
        Err(WriteError::Retry(format!("{}: rows are held up by others again and again", self.name)))
    }

    fn failed(&self, fault: Fault) -> WriteError {
        if let Fault::Said(said) = &fault
            && said.status == StatusCode::NOT_FOUND
        {
            self.tables.forget(&self.name);
            if self.tables.creates() {
                return WriteError::Retry(format!("table {} is not there (yet): {said}", self.name));
            }
        }
        fault.judged(&format!("can't insert into {}", self.name), self.api)
    }

    fn body(&self, rows: &[Row]) -> Bytes {
        let skip = self.insert.params.skip_invalid_rows;
        let mut head = json!({ "skipInvalidRows": skip, "ignoreUnknownValues": self.insert.ignore_unknown });
        if let Some(suffix) = &self.suffix {
            head["templateSuffix"] = suffix.as_str().into();
        }
        let mut body = head.to_string().into_bytes();
        body.pop();
        body.extend_from_slice(b",\"rows\":[");
        for (n, row) in rows.iter().enumerate() {
            if n > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&row.text);
        }
        body.extend_from_slice(b"]}");
        body.into()
    }

    /// What an answer means for each row.
    fn judge(&self, rows: &[Row], answer: &Json) -> Verdict {
        let mut verdict = Verdict { again: Vec::new(), held_up: true, bad: Vec::new(), why: String::new() };
        for error in answer["insertErrors"].as_array().into_iter().flatten() {
            let Some(row) = error["index"].as_u64().and_then(|index| rows.get(usize::try_from(index).ok()?)) else {
                continue;
            };
            match self.fate(&error["errors"]) {
                RowFate::HeldUp => verdict.again.push(row.clone()),
                RowFate::Later => {
                    (verdict.held_up, verdict.why) = (false, shown(&error["errors"].to_string()));
                    verdict.again.push(row.clone());
                }
                RowFate::Bad => {
                    verdict.bad.push(RefusedEvent { place: row.place, answer: error["errors"].to_string() });
                }
            }
        }
        verdict
    }

    fn fate(&self, errors: &Json) -> RowFate {
        let errors = errors.as_array().map_or(&[][..], Vec::as_slice);
        let reasons = || errors.iter().filter_map(|error| error["reason"].as_str());
        if reasons().all(|reason| reason == "stopped") {
            return RowFate::HeldUp;
        }
        let passing =
            ["backendError", "internalError", "timeout", "rateLimitExceeded", "quotaExceeded", "tableUnavailable"];
        if reasons().any(|reason| passing.contains(&reason)) {
            return match self.insert.params.allow_retry_insert_errors {
                Some(false) => RowFate::Bad,
                _ => RowFate::Later,
            };
        }
        let unknown = errors.iter().any(|e| e["message"].as_str().is_some_and(|m| m.contains("no such field")));
        match unknown && self.tables.has_just_changed(&self.name) {
            // A new column takes a while to be known everywhere.
            true => RowFate::Later,
            false => RowFate::Bad,
        }
    }
}

enum Round {
    Settled,
    TooLarge(Vec<Row>, String),
}

struct Verdict {
    /// Rows that are to be sent again.
    again: Vec<Row>,
    /// Only because of the others in their request.
    held_up: bool,
    bad: Vec<RefusedEvent>,
    why: String,
}

enum RowFate {
    HeldUp,
    Later,
    Bad,
}

/// The time as a column of the type TIMESTAMP reads it.
fn timestamp() -> String {
    let now = jiff::Timestamp::from_second(EventTime::now().secs()).unwrap_or_default();
    now.strftime("%Y-%m-%d %H:%M:%S.000000").to_string()
}
