//! Requests to the HTTP interface, and what its answers mean.

use std::sync::OnceLock;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use url::Url;

use super::params::{ClickhouseParams, Compress};
use crate::config::{Diagnostic, TimeSpan};
use crate::event::{Packing, pack};
use crate::net::http::{Answer, Client, Proxy};
use crate::output::object::Connection;
use crate::plugin::{BuildContext, WriteError};

/// Where the exception's code stands where the status alone can't tell.
const CODE_HEADER: &str = "x-clickhouse-exception-code";
/// How much of an answer goes into a message, in bytes.
const SHOWN: usize = 1000;

/// Exceptions that a row is to blame for, by code (ClickHouse, src/Common/ErrorCodes.cpp): text, quotes, input, dates, types,
/// numbers, data, arrays, nulls, UUIDs, decimals, constraints, enums, addresses.
const ROW_CODES: &[u32] = &[
    6, 26, 27, 36, 38, 41, 53, 69, 70, 72, 117, 130, 131, 254, 321, 349, 376, 407, 441, 467, 469, 472, 544, 636, 675,
    676, 691,
];

/// Exceptions that go away when somebody changes the configuration or the server, and what helps.
const SETUP_CODES: &[(u32, &str)] = &[
    (16, "look at column_mapping: the table has no such column"),
    (60, "look at table: there is none of this name. Create it"),
    (81, "look at database: there is none of this name"),
    (192, "look at username: there is none of this name"),
    (193, "look at password"),
    (194, "look at password: one is needed"),
    (497, "this username may not do that: GRANT it the right to INSERT and to SELECT from system.columns"),
    (516, "look at username and password"),
];

/// Why a request did not succeed.
#[derive(Debug)]
pub enum Fault {
    /// It may pass.
    Passing(String),
    /// Somebody has to change something.
    Setup {
        /// What was answered.
        said: String,
        /// What helps.
        help: &'static str,
    },
}

/// What became of an insert.
#[derive(Debug)]
pub enum Asked {
    /// It was done; the body of the answer.
    Done(Bytes),
    /// A row is to blame; what was answered. Nothing was inserted.
    Row(String),
}

/// Try again later, with what helps where something is known to.
pub fn retry(place: &str, fault: &Fault) -> WriteError {
    WriteError::Retry(match fault {
        Fault::Passing(said) => format!("{place}: {said}"),
        Fault::Setup { said, help } => format!("{place}: {said}. What helps: {help}"),
    })
}

/// The server.
pub struct Server {
    url: Url,
    place: String,
    headers: HeaderMap,
    connection: Connection,
    gzip: bool,
    client: OnceLock<Client>,
}

impl Server {
    /// Reads the parameters; nothing is opened.
    pub fn new(params: &ClickhouseParams, cx: &BuildContext<'_>) -> Result<Server, Diagnostic> {
        let bad =
            |why: &str| cx.fault("endpoint", format!("endpoint {:?} {why}; write http://host:8123", params.endpoint));
        let url = Url::parse(&params.endpoint).map_err(|e| bad(&format!("is no address: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(bad("is not of HTTP"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err(bad("holds more than an address: username, password and database are parameters"));
        }
        let mut headers = HeaderMap::new();
        let login = [
            ("username", "x-clickhouse-user", params.username.as_deref()),
            ("password", "x-clickhouse-key", params.password.as_ref().map(|p| p.expose())),
        ];
        for (parameter, name, value) in login {
            let Some(value) = value else { continue };
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| cx.fault(parameter, format!("{parameter} has characters that a header can't hold")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let proxy = params.proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose();
        let connection = Connection {
            proxy: proxy.map_err(|why| cx.fault("proxy", why))?,
            insecure: !params.tls_verify,
            ca_bundle: params.tls_ca_cert_path.clone(),
            ca_directory: None,
            timeout: params.read_timeout.map(TimeSpan::duration),
            largest_answer: None,
        };
        let place = params.endpoint.trim_end_matches('/').to_owned();
        let gzip = params.compress == Compress::Gzip;
        Ok(Server { url, place, headers, connection, gzip, client: OnceLock::new() })
    }

    /// The address, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Called once, before the first request.
    pub fn open(&self) -> std::io::Result<()> {
        // Started once; a second client would only replace an unused one.
        let _ = self.client.set(self.connection.open()?);
        Ok(())
    }

    /// Closes what is idle.
    pub fn close(&self) {
        if let Some(client) = self.client.get() {
            client.close();
        }
    }

    async fn send(&self, sql: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, Fault> {
        let Some(client) = self.client.get() else { return Err(Fault::Passing("the output was not started".into())) };
        let mut url = self.url.clone();
        // Without it an exception may come in the middle of an answer that began as a good one.
        url.query_pairs_mut().append_pair("query", sql).append_pair("wait_end_of_query", "1");
        let answer = client.send(Method::POST, &url, headers, body).await;
        answer.map_err(|e| Fault::Passing(format!("{e} (endpoint)")))
    }

    /// Inserts rows.
    pub async fn insert(&self, sql: &str, rows: Vec<u8>) -> Result<Asked, Fault> {
        let mut headers = self.headers.clone();
        let body = match self.gzip {
            true => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                pack::deflate(&rows, Packing::Gzip).map_err(|e| Fault::Passing(e.to_string()))?
            }
            false => rows,
        };
        judge(&self.send(sql, headers, body.into()).await?)
    }

    /// Asks for something.
    pub async fn select(&self, sql: &str) -> Result<Bytes, Fault> {
        match judge(&self.send(sql, self.headers.clone(), Bytes::new()).await?)? {
            Asked::Done(body) => Ok(body),
            Asked::Row(said) => Err(Fault::Passing(said)),
        }
    }
}

/// What an answer means. An exception may come with status 200, in the header or at the end of the body.
fn judge(answer: &Answer) -> Result<Asked, Fault> {
    let text = String::from_utf8_lossy(&answer.body);
    let header = answer.headers.get(CODE_HEADER).and_then(|code| code.to_str().ok()?.trim().parse().ok());
    let code = header.or_else(|| code_in(&text));
    if answer.status.is_success() && code.is_none() {
        return Ok(Asked::Done(answer.body.clone()));
    }
    let from = text.find("Code: ").unwrap_or(0);
    let text = &text[from..];
    let text = text[..text.floor_char_boundary(SHOWN)].trim().replace(['\n', '\r'], " ");
    let Some(code) = code else { return Err(Fault::Passing(format!("{} {text}", answer.status))) };
    if ROW_CODES.contains(&code) {
        return Ok(Asked::Row(text));
    }
    match SETUP_CODES.iter().find(|(known, _)| *known == code) {
        Some((_, help)) => Err(Fault::Setup { said: text, help }),
        None => Err(Fault::Passing(text)),
    }
}

/// The code of an exception in a body: `Code: 27. DB::Exception: ...`.
fn code_in(body: &str) -> Option<u32> {
    let (before, _) = body.split_once("DB::Exception")?;
    let (_, code) = before.rsplit_once("Code: ")?;
    code.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// The row that an exception names, from 0: `(at row 3)`, `is violated at row 3`.
pub fn row_of(said: &str) -> Option<usize> {
    let (_, rest) = said.split_once("at row ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse::<usize>().ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hyper::StatusCode;

    fn answered(status: u16, header: Option<&'static str>, body: &'static str) -> Result<Asked, Fault> {
        let mut headers = HeaderMap::new();
        if let Some(code) = header {
            headers.insert(CODE_HEADER, HeaderValue::from_static(code));
        }
        let status = StatusCode::from_u16(status).unwrap();
        judge(&Answer { status, headers, body: Bytes::from_static(body.as_bytes()) })
    }

    #[test]
    fn exceptions_are_seen_wherever_they_stand() {
        assert!(matches!(answered(200, None, ""), Ok(Asked::Done(_))));
        let bad = "Code: 27. DB::Exception: Cannot parse input: expected ',' before: 'x': (at row 3)\n";
        assert!(matches!(answered(400, None, bad), Ok(Asked::Row(said)) if row_of(&said) == Some(2)));
        assert!(matches!(answered(200, None, bad), Ok(Asked::Row(_))));
        assert!(matches!(answered(200, Some("241"), ""), Err(Fault::Passing(_))));
        assert!(matches!(answered(403, Some("516"), "Code: 516. DB::Exception: no"), Err(Fault::Setup { .. })));
        assert!(matches!(answered(502, None, "Bad gateway"), Err(Fault::Passing(_))));
        assert_eq!(row_of("Constraint `c` for table t is violated at row 2. Expression"), Some(1));
        assert_eq!(row_of("no row"), None);
    }
}
