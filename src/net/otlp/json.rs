//! `ExportLogsServiceRequest` as JSON (OTLP specification, "JSON Protobuf Encoding"): names in camel case, ids as hexadecimal
//! digits, long numbers as text too. Unknown fields are passed over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::log::{Common, Fault, Limits, Log, scope};
use super::read::MAX_NESTING;
use crate::event::msgpack::{put_array_len, put_bin, put_bool, put_f64, put_int, put_map_len, put_nil, put_str};
use crate::event::{BatchBuilder, Value, json};

/// As [`read_proto`](super::read_proto), of JSON.
pub fn read_json(body: &[u8], limits: &Limits, batch: &mut BatchBuilder) -> Result<(), Fault> {
    let malformed = |why: String| Fault::Malformed(why);
    let mut encoded = Vec::new();
    let end = json::append_value(body, &mut encoded).map_err(|e| malformed(format!("{e}")))?;
    if !body[end..].iter().all(u8::is_ascii_whitespace) {
        return Err(malformed("something stands behind the JSON".into()));
    }
    let request = Value::decode(&encoded).map_err(|_| malformed("the body is broken JSON".into()))?;
    if !matches!(request, Value::Map(_)) {
        return Err(malformed("the body is no JSON object".into()));
    }
    for resource_logs in list(request, "resourceLogs", "resource_logs") {
        let resource = get(resource_logs, "resource", "resource").unwrap_or(Value::Nil);
        let mut common = Common { resource: attributes(resource)?, scope: Vec::new() };
        for scope_logs in list(resource_logs, "scopeLogs", "scope_logs") {
            let named = get(scope_logs, "scope", "scope").unwrap_or(Value::Nil);
            let text = |name: &str| get(named, name, name).and_then(|v| v.as_bytes()).unwrap_or_default();
            common.scope = scope(text("name"), text("version"), &attributes(named)?);
            for record in list(scope_logs, "logRecords", "log_records") {
                read_log(record)?.push(&common, limits, batch)?;
            }
        }
    }
    Ok(())
}

fn read_log(record: Value<'_>) -> Result<Log<'_>, Fault> {
    if !matches!(record, Value::Map(_)) {
        return Err(Fault::Malformed("a log record is no JSON object".into()));
    }
    let number = |camel: &str, snake: &str| get(record, camel, snake).map_or(Ok(0), number);
    let bytes = |camel: &str, snake: &str| get(record, camel, snake).and_then(|v| v.as_bytes()).unwrap_or_default();
    let mut log = Log {
        time: number("timeUnixNano", "time_unix_nano")?,
        observed: number("observedTimeUnixNano", "observed_time_unix_nano")?,
        severity: get(record, "severityNumber", "severity_number").map_or(Ok(0), severity)?,
        severity_text: bytes("severityText", "severity_text"),
        attributes: attributes(record)?,
        dropped: number("droppedAttributesCount", "dropped_attributes_count")?,
        flags: number("flags", "flags")?,
        trace_id: bytes("traceId", "trace_id").to_ascii_lowercase(),
        span_id: bytes("spanId", "span_id").to_ascii_lowercase(),
        event_name: bytes("eventName", "event_name"),
        body: Vec::new(),
    };
    if let Some(body) = get(record, "body", "body") {
        value(body, 0, &mut log.body)?;
    }
    Ok(log)
}

fn get<'a>(map: Value<'a>, camel: &str, snake: &str) -> Option<Value<'a>> {
    let named = |name: Value<'_>| matches!(name.as_bytes(), Some(n) if n == camel.as_bytes() || n == snake.as_bytes());
    map.pairs().find(|(name, _)| named(*name)).map(|(_, value)| value).filter(|value| *value != Value::Nil)
}

fn list<'a>(map: Value<'a>, camel: &str, snake: &str) -> crate::event::Items<'a> {
    get(map, camel, snake).unwrap_or(Value::Nil).items()
}

/// A number, or a text of one.
fn number(value: Value<'_>) -> Result<u64, Fault> {
    let text = match value {
        Value::Int(n) => return u64::try_from(n).map_err(|_| no_number()),
        Value::UInt(n) => return Ok(n),
        Value::Str(text) => text,
        _ => return Err(no_number()),
    };
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(no_number)
}

/// The number of a severity; some senders write its name in the protocol's enumeration, as `SEVERITY_NUMBER_WARN2`.
fn severity(value: Value<'_>) -> Result<u64, Fault> {
    let name = value.as_bytes().and_then(|text| text.strip_prefix(b"SEVERITY_NUMBER_"));
    let Some(name) = name else { return number(value) };
    let (name, more) = match name.split_last() {
        Some((digit @ b'2'..=b'4', name)) => (name, u64::from(digit - b'1')),
        _ => (name, 0),
    };
    let names: [&[u8]; 6] = [b"TRACE", b"DEBUG", b"INFO", b"WARN", b"ERROR", b"FATAL"];
    let at = names.iter().position(|known| *known == name);
    Ok(at.map_or(0, |at| 4 * at as u64 + 1 + more))
}

fn no_number() -> Fault {
    Fault::Malformed("a time, severity or count is no whole number".into())
}

fn attributes(holder: Value<'_>) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let list = list(holder, "attributes", "attributes");
    if list.remaining() > 0 {
        pairs(list, 0, &mut out)?;
    }
    Ok(out)
}

fn pairs(list: crate::event::Items<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    put_map_len(out, list.remaining());
    for pair in list {
        put_str(out, get(pair, "key", "key").and_then(|key| key.as_bytes()).unwrap_or_default());
        match get(pair, "value", "value") {
            Some(held) => value(held, depth + 1, out)?,
            None => put_nil(out),
        }
    }
    Ok(())
}

/// Appends an `AnyValue`; nil where it holds nothing.
fn value(any: Value<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    if depth > MAX_NESTING {
        return Err(Fault::Malformed(format!("values are nested deeper than {MAX_NESTING}")));
    }
    let bad = || Fault::Malformed("a value is not of the type that its name says".into());
    let Some((name, held)) = any.pairs().last() else {
        put_nil(out);
        return Ok(());
    };
    match (name.as_bytes().unwrap_or_default(), held) {
        (b"stringValue" | b"string_value", Value::Str(text)) => put_str(out, text),
        (b"boolValue" | b"bool_value", Value::Bool(value)) => put_bool(out, value),
        (b"intValue" | b"int_value", Value::Int(value)) => put_int(out, value),
        (b"intValue" | b"int_value", Value::Str(text)) => {
            let value = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            put_int(out, value.ok_or_else(bad)?);
        }
        (b"doubleValue" | b"double_value", held) => put_f64(out, double(held).ok_or_else(bad)?),
        (b"arrayValue" | b"array_value", held @ Value::Map(_)) => {
            let list = list(held, "values", "values");
            put_array_len(out, list.remaining());
            for held in list {
                value(held, depth + 1, out)?;
            }
        }
        (b"kvlistValue" | b"kvlist_value", held @ Value::Map(_)) => {
            pairs(list(held, "values", "values"), depth, out)?;
        }
        (b"bytesValue" | b"bytes_value", Value::Str(text)) => {
            put_bin(out, &STANDARD.decode(text).map_err(|_| bad())?);
        }
        (
            b"stringValue" | b"string_value" | b"boolValue" | b"bool_value" | b"intValue" | b"int_value"
            | b"arrayValue" | b"array_value" | b"kvlistValue" | b"kvlist_value" | b"bytesValue" | b"bytes_value",
            _,
        ) => return Err(bad()),
        _ => put_nil(out),
    }
    Ok(())
}

fn double(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Float(v) => Some(v),
        Value::Int(v) => Some(v as f64),
        Value::UInt(v) => Some(v as f64),
        Value::Str(b"NaN") => Some(f64::NAN),
        Value::Str(b"Infinity") => Some(f64::INFINITY),
        Value::Str(b"-Infinity") => Some(f64::NEG_INFINITY),
        Value::Str(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}
