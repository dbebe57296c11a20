//! Log records by OTLP over HTTP: a line is a record, its `msg` the body and all other fields attributes.
//! Source: <https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto>

use std::io::Write;

use crate::flat::{self, Value};
use crate::{Options, Outcome, clock, http, pump};

/// The first byte of a field: its number, and that a length stands before it.
const fn field(number: u8) -> u8 {
    number << 3 | 2
}

/// Appends a number, seven bits a byte, the lowest first.
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a field that is a text or a message.
fn bytes(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.push(field(number));
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// An `AnyValue`.
fn any(value: &Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match value {
        Value::Text(text) => bytes(&mut out, 1, text),
        Value::Whole(number) => {
            out.push(3 << 3);
            varint(&mut out, u64::from(*number));
        }
        Value::Real(number) => {
            out.push(4 << 3 | 1);
            out.extend(number.to_le_bytes());
        }
    }
    out
}

/// A `LogRecord`.
fn record(line: &[u8], time: u64) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend(time.to_le_bytes());
    for (key, value) in flat::fields(line) {
        if key == b"msg" {
            bytes(&mut out, 5, &any(&value));
            continue;
        }
        let mut pair = Vec::new();
        bytes(&mut pair, 1, key);
        bytes(&mut pair, 2, &any(&value));
        bytes(&mut out, 6, &pair);
    }
    out
}

/// An `ExportLogsServiceRequest`: one resource, one scope, a record for each line.
fn export(lines: &[&[u8]]) -> Vec<u8> {
    let (mut scope, time) = (Vec::new(), clock::now());
    for (nanos, line) in (time..).zip(lines) {
        bytes(&mut scope, 2, &record(line, nanos));
    }
    let (mut pair, mut resource, mut group, mut out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    bytes(&mut pair, 1, b"service.name");
    bytes(&mut pair, 2, &any(&Value::Text(b"bench")));
    bytes(&mut resource, 1, &pair);
    bytes(&mut group, 1, &resource);
    bytes(&mut group, 2, &scope);
    bytes(&mut out, 1, &group);
    out
}

/// Sends `events` records; an answer of 2xx counts.
pub fn run(options: &Options) -> Outcome {
    let port = options.port()?;
    let requests =
        pump::prepared(options, |lines| http::post(port, "/v1/logs", "application/x-protobuf", &export(lines)))?;
    pump::run(options, &requests, |stream, wire, _| {
        stream.write_all(wire)?;
        http::answer(stream).map(|status| (200..300).contains(&status))
    })
}
