//! Answers: `ExportLogsServiceResponse` and `google.rpc.Status`.

use std::time::Duration;

use serde::Deserialize;

use crate::net::proto::{Broken, Fields, Wire, put_bytes, put_message, put_number};

/// What a server did not take of a request that it has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// How many records.
    pub rejected: u64,
    /// Why; or, where none was rejected, a warning.
    pub message: String,
}

/// Why a server did not take a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// gRPC's code.
    pub code: u64,
    /// For people.
    pub message: String,
    /// `RetryInfo`: how long to leave it alone.
    pub retry: Option<Duration>,
}

/// The answer to a request that was taken whole.
pub fn success() -> Vec<u8> {
    // `partial_success` is left out.
    Vec::new()
}

/// `ExportLogsServiceResponse`
///
/// Errors: it is none.
pub fn partial_of(body: &[u8]) -> Result<Partial, Broken> {
    let mut partial = Partial::default();
    for field in Fields::new(body) {
        if let (1, Wire::Bytes(message)) = field? {
            for field in Fields::new(message) {
                match field? {
                    (1, value) => partial.rejected = value.number(),
                    (2, value) => partial.message = String::from_utf8_lossy(value.bytes()).into_owned(),
                    _ => {}
                }
            }
        }
    }
    Ok(partial)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonAnswer {
    partial_success: JsonPartial,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonPartial {
    rejected_log_records: serde_json::Value,
    error_message: String,
}

/// As [`partial_of`], of JSON.
pub fn partial_of_json(body: &[u8]) -> Result<Partial, Broken> {
    let answer: JsonAnswer = serde_json::from_slice(body).map_err(|_| Broken)?;
    let count = &answer.partial_success.rejected_log_records;
    let rejected = count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0);
    Ok(Partial { rejected, message: answer.partial_success.error_message })
}

impl Status {
    /// As protobuf; `retry` is left out.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_number(&mut out, 1, self.code);
        put_bytes(&mut out, 2, self.message.as_bytes());
        if let Some(retry) = self.retry {
            put_message(&mut out, 3, |out| {
                put_bytes(out, 1, b"type.googleapis.com/google.rpc.RetryInfo");
                put_message(out, 2, |out| {
                    put_message(out, 1, |out| {
                        put_number(out, 1, retry.as_secs());
                        put_number(out, 2, u64::from(retry.subsec_nanos()));
                    });
                });
            });
        }
        out
    }

    /// From protobuf.
    ///
    /// Errors: it is none.
    pub fn read(body: &[u8]) -> Result<Status, Broken> {
        let mut status = Status::default();
        for field in Fields::new(body) {
            match field? {
                (1, value) => status.code = value.number(),
                (2, value) => status.message = String::from_utf8_lossy(value.bytes()).into_owned(),
                (3, Wire::Bytes(detail)) => status.retry = retry_info(detail)?.or(status.retry),
                _ => {}
            }
        }
        Ok(status)
    }
}

/// The delay of an `Any` that is `RetryInfo`.
fn retry_info(detail: &[u8]) -> Result<Option<Duration>, Broken> {
    let (mut kind, mut held): (&[u8], &[u8]) = Default::default();
    for field in Fields::new(detail) {
        match field? {
            (1, value) => kind = value.bytes(),
            (2, value) => held = value.bytes(),
            _ => {}
        }
    }
    if !kind.ends_with(b"google.rpc.RetryInfo") {
        return Ok(None);
    }
    let mut delay = Duration::ZERO;
    for field in Fields::new(held) {
        if let (1, Wire::Bytes(duration)) = field? {
            for field in Fields::new(duration) {
                match field? {
                    (1, value) => delay = delay.saturating_add(Duration::from_secs(value.number().min(1 << 32))),
                    (2, value) => delay = delay.saturating_add(Duration::from_nanos(value.number().min(999_999_999))),
                    _ => {}
                }
            }
        }
    }
    Ok(Some(delay))
}
