//! The REST API of BigQuery, version 2, as far as the outputs need it: requests, and what its answers mean.
//!
//! Source: the public discovery document of `bigquery:v2` and the reference of its error messages.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;
use url::Url;

use super::auth::Auth;
use crate::net::http::{Answer, Client, ClientError};
use crate::plugin::WriteError;

/// What may stand in a part of a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.').remove(b':').remove(b'~');
/// How much of an answer goes into a line of the log, in characters.
const SHOWN_CHARS: usize = 500;

/// A table's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    /// Its project.
    pub project: String,
    /// Its dataset.
    pub dataset: String,
    /// Its name there, with a partition behind a `$` perhaps.
    pub table: String,
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.project, self.dataset, self.table)
    }
}

impl TableName {
    /// The table itself, without a partition.
    pub fn whole(&self) -> TableName {
        let table = self.table.split('$').next().unwrap_or_default().to_owned();
        TableName { table, ..self.clone() }
    }
}

/// A bucket of Google Cloud Storage where the files of jobs lie until their jobs are done.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Address of that service.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// What the names of files begin with.
    pub path: String,
}

impl Stage {
    fn at(&self, before: &str) -> String {
        format!("{}{before}/storage/v1/b/{}/o", self.endpoint, utf8_percent_encode(&self.bucket, PLAIN))
    }

    /// The name of a job's file.
    pub fn name(&self, job: &str) -> String {
        format!("{}{job}.gz", self.path)
    }
}

/// What the service said no with.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its status.
    pub status: StatusCode,
    /// Its word for the reason (`quotaExceeded`); empty where it gave none.
    pub reason: String,
    /// Its message, or the beginning of its answer.
    pub message: String,
    /// Its answer as it came.
    pub body: String,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.status.as_u16(), self.reason, self.message)
    }
}

impl Said {
    fn of(answer: &Answer) -> Said {
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let json: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = &json["error"];
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let reason = text(&error["errors"][0]["reason"]).or_else(|| text(&error["status"]));
        let message = text(&error["message"]).unwrap_or_else(|| body.clone());
        Said { status: answer.status, reason: reason.unwrap_or_default(), message: shown(&message), body }
    }

    /// Whether a quota is used up: time helps.
    pub fn is_quota(&self) -> bool {
        matches!(self.reason.as_str(), "quotaExceeded" | "rateLimitExceeded" | "jobRateLimitExceeded")
            || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Whether the same may go through later.
    pub fn may_pass(&self) -> bool {
        let passing = ["backendError", "internalError", "tableUnavailable", "timeout", "stopped", "resourcesExceeded"];
        self.is_quota()
            || self.status.is_server_error()
            || passing.contains(&self.reason.as_str())
            || matches!(
                self.status,
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::REQUEST_TIMEOUT
            )
    }

    /// Whether what was sent is too much at once.
    pub fn is_too_large(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.status == StatusCode::PAYLOAD_TOO_LARGE
            || self.status == StatusCode::BAD_REQUEST
                && (message.contains("too large") || message.contains("payload size exceeds"))
    }
}

/// Why there is no answer that could be used.
#[derive(Debug)]
pub enum Fault {
    /// The service may or may not have acted on the request: the answer was lost, or there was none.
    Lost(String),
    /// The request was not sent at all.
    NotSent(String),
    /// The service said no.
    Said(Said),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Lost(why) | Fault::NotSent(why) => f.write_str(why),
            Fault::Said(said) => write!(f, "{said}"),
        }
    }
}

impl Fault {
    /// What the engine is to do, where nothing better is known. `what` was tried; it stands before the answer.
    pub fn judged(self, what: &str, api: &Api) -> WriteError {
        match self {
            Fault::Lost(why) | Fault::NotSent(why) => WriteError::Retry(format!("{what}: {why}")),
            Fault::Said(said) if said.may_pass() => {
                let remedy = remedy(&said, api).map(|remedy| format!(" ({remedy})")).unwrap_or_default();
                WriteError::Retry(format!("{what}: {said}{remedy}"))
            }
            Fault::Said(said) => WriteError::Refused { why: format!("{what}: {said}"), response: said.body },
        }
    }
}

fn remedy(said: &Said, api: &Api) -> Option<String> {
    let parameter = api.auth.parameter();
    match said.status {
        StatusCode::UNAUTHORIZED => Some(format!("the service does not know who asks: look at {parameter}")),
        StatusCode::FORBIDDEN if !said.is_quota() => Some(format!(
            "give the account of {parameter} the roles bigquery.dataEditor on the dataset and bigquery.jobUser on the project"
        )),
        StatusCode::NOT_FOUND => {
            Some("look at project, dataset and table; auto_create_table true makes tables".to_owned())
        }
        _ => None,
    }
}

/// The service.
pub struct Api {
    client: Arc<Client>,
    /// Who asks.
    pub auth: Auth,
    root: String,
    location: Option<String>,
}

/// The address of a resource, part by part.
fn path(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("/{}", utf8_percent_encode(part, PLAIN))).collect()
}

impl Api {
    /// Over a client.
    pub fn new(client: Arc<Client>, auth: Auth, root: &Url, location: Option<String>) -> Api {
        Api { client, auth, root: root.as_str().trim_end_matches('/').to_owned(), location }
    }

    fn table(name: &TableName) -> String {
        path(&["bigquery", "v2", "projects", &name.project, "datasets", &name.dataset, "tables", &name.table])
    }

    /// `tables.get`
    pub async fn get_table(&self, name: &TableName) -> Result<Json, Fault> {
        self.json(Method::GET, &Self::table(name), None, HeaderMap::new()).await
    }

    /// `tables.insert`
    pub async fn insert_table(&self, name: &TableName, table: &Json) -> Result<Json, Fault> {
        let at = path(&["bigquery", "v2", "projects", &name.project, "datasets", &name.dataset, "tables"]);
        self.json(Method::POST, &at, Some(table.to_string().into()), HeaderMap::new()).await
    }

    /// `tables.patch`, if the table is still the one with this tag.
    pub async fn patch_table(&self, name: &TableName, change: &Json, etag: Option<&str>) -> Result<Json, Fault> {
        let mut headers = HeaderMap::new();
        if let Some(etag) = etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
            headers.insert(IF_MATCH, etag);
        }
        self.json(Method::PATCH, &Self::table(name), Some(change.to_string().into()), headers).await
    }

    /// `tabledata.insertAll`
    pub async fn insert_all(&self, name: &TableName, body: Bytes) -> Result<Json, Fault> {
        self.json(Method::POST, &format!("{}/insertAll", Self::table(name)), Some(body), HeaderMap::new()).await
    }

    /// `jobs.get`
    pub async fn get_job(&self, project: &str, id: &str) -> Result<Json, Fault> {
        let location = self.location.as_ref().map(|l| format!("?location={}", utf8_percent_encode(l, PLAIN)));
        let at = path(&["bigquery", "v2", "projects", project, "jobs", id]);
        self.json(Method::GET, &format!("{at}{}", location.unwrap_or_default()), None, HeaderMap::new()).await
    }

    /// `jobs.insert`, of a job whose data are elsewhere.
    pub async fn insert_job(&self, project: &str, job: &Json) -> Result<Json, Fault> {
        let at = path(&["bigquery", "v2", "projects", project, "jobs"]);
        self.json(Method::POST, &at, Some(job.to_string().into()), HeaderMap::new()).await
    }

    /// Begins the upload of an object that must be new; gives where its data are to be sent, or nothing where it is there.
    pub async fn begin_object(&self, stage: &Stage, name: &str) -> Result<Option<Url>, Fault> {
        let name = utf8_percent_encode(name, PLAIN);
        let at = format!("{}?uploadType=resumable&ifGenerationMatch=0&name={name}", stage.at("/upload"));
        let url = Url::parse(&at).map_err(|e| Fault::NotSent(format!("{at}: {e}")))?;
        match self.begin(&url, "{}".into()).await {
            Ok(to) => Ok(Some(to)),
            Err(Fault::Said(said)) if said.status == StatusCode::PRECONDITION_FAILED => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Deletes an object; one that is not there is no fault.
    pub async fn delete_object(&self, stage: &Stage, name: &str) -> Result<(), Fault> {
        let at = format!("{}/{}", stage.at(""), utf8_percent_encode(name, PLAIN));
        let url = Url::parse(&at).map_err(|e| Fault::NotSent(format!("{at}: {e}")))?;
        let answer = self.send(Method::DELETE, &url, HeaderMap::new(), Bytes::new()).await?;
        good(answer, &[StatusCode::NOT_FOUND]).map(drop)
    }

    /// Begins the upload of a job's data; gives where the data are to be sent.
    pub async fn begin_upload(&self, project: &str, job: &Json) -> Result<Url, Fault> {
        let at = path(&["upload", "bigquery", "v2", "projects", project, "jobs"]);
        let url = self.url(&format!("{at}?uploadType=resumable"))?;
        self.begin(&url, job.to_string().into()).await
    }

    async fn begin(&self, url: &Url, body: Bytes) -> Result<Url, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
        let kind = HeaderName::from_static("x-upload-content-type");
        headers.insert(kind, HeaderValue::from_static("application/octet-stream"));
        let answer = self.send(Method::POST, url, headers, body).await?;
        let answer = good(answer, &[])?;
        let location = answer.headers.get("location").and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| Fault::Lost("the upload was begun, but not where".into()))?;
        url.join(location).map_err(|e| Fault::Lost(format!("the upload was begun at no address: {e}")))
    }

    /// Sends a piece of an upload, which begins at `at`; `total` says that it is the last. Gives the job once it is made.
    pub async fn upload(&self, to: &Url, piece: Bytes, at: u64, total: Option<u64>) -> Result<Option<Json>, Fault> {
        let all = total.map_or("*".to_owned(), |total| total.to_string());
        let length = piece.len() as u64;
        let range = match length {
            0 => format!("bytes */{all}"),
            len => format!("bytes {at}-{}/{all}", at + len - 1),
        };
        let mut headers = HeaderMap::new();
        let range = HeaderValue::try_from(range).map_err(|e| Fault::NotSent(e.to_string()))?;
        headers.insert(hyper::header::CONTENT_RANGE, range);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let answer = self.send(Method::PUT, to, headers, piece).await?;
        let answer = good(answer, &[StatusCode::PERMANENT_REDIRECT])?;
        if answer.status != StatusCode::PERMANENT_REDIRECT {
            return serde_json::from_slice(&answer.body).map(Some).map_err(|e| Fault::Lost(e.to_string()));
        }
        let taken = answer.headers.get("range").and_then(|value| value.to_str().ok()?.rsplit_once('-')?.1.parse().ok());
        match taken.map_or(0, |last: u64| last + 1) == at + length {
            true => Ok(None),
            false => Err(Fault::Lost("a piece of the upload was not taken whole".into())),
        }
    }

    async fn json(&self, method: Method, at: &str, body: Option<Bytes>, mut headers: HeaderMap) -> Result<Json, Fault> {
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let answer = self.send(method, &self.url(at)?, headers, body.unwrap_or_default()).await?;
        let answer = good(answer, &[])?;
        serde_json::from_slice(&answer.body).map_err(|e| Fault::Lost(format!("the answer is no JSON: {e}")))
    }

    fn url(&self, at: &str) -> Result<Url, Fault> {
        Url::parse(&format!("{}{at}", self.root)).map_err(|e| Fault::NotSent(format!("{at}: {e}")))
    }

    async fn send(&self, method: Method, url: &Url, mut headers: HeaderMap, body: Bytes) -> Result<Answer, Fault> {
        if let Some(value) = self.auth.header(&self.client).await.map_err(Fault::NotSent)? {
            headers.insert(AUTHORIZATION, value);
        }
        match self.client.send(method, url, headers, body).await {
            Ok(answer) => {
                if answer.status == StatusCode::UNAUTHORIZED {
                    self.auth.forget().await;
                }
                Ok(answer)
            }
            Err(e @ (ClientError::Connect(_) | ClientError::Request(_))) => Err(Fault::NotSent(e.to_string())),
            Err(e) => Err(Fault::Lost(e.to_string())),
        }
    }

    /// Closes what is idle.
    pub fn close(&self) {
        self.client.close();
    }
}

fn good(answer: Answer, also: &[StatusCode]) -> Result<Answer, Fault> {
    match answer.status.is_success() || also.contains(&answer.status) {
        true => Ok(answer),
        false => Err(Fault::Said(Said::of(&answer))),
    }
}

/// The beginning of a text, escaped for the log.
pub fn shown(text: &str) -> String {
    text.trim().chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect()
}
