//! `ExportLogsServiceRequest` as protobuf (opentelemetry-proto, `logs/v1/logs.proto`, `common/v1/common.proto`). Unknown fields
//! are passed over.

use super::log::{Common, Fault, Limits, Log, scope};
use super::proto::{Broken, Fields, Wire};
use crate::event::msgpack::{
    MAX_DEPTH, put_array_len, put_bin, put_bool, put_f64, put_int, put_map_len, put_nil, put_str,
};
use crate::event::{BatchBuilder, hex};

/// Most values within values: what a record may have, less those that are around them.
pub(super) const MAX_NESTING: usize = MAX_DEPTH - 8;

impl From<Broken> for Fault {
    fn from(_: Broken) -> Fault {
        Fault::Malformed("the body is broken protobuf".into())
    }
}

/// Adds the records of a request to a batch.
///
/// Errors: a body that is no such request, is nested too deep, or becomes too large. The batch is then of no use.
pub fn read_proto(body: &[u8], limits: &Limits, batch: &mut BatchBuilder) -> Result<(), Fault> {
    for field in Fields::new(body) {
        if let (1, Wire::Bytes(resource_logs)) = field? {
            read_resource_logs(resource_logs, limits, batch)?;
        }
    }
    Ok(())
}

fn read_resource_logs(body: &[u8], limits: &Limits, batch: &mut BatchBuilder) -> Result<(), Fault> {
    let mut common = Common::default();
    // The resource may stand behind what it is the resource of.
    for field in Fields::new(body) {
        if let (1, Wire::Bytes(resource)) = field? {
            common.resource = attributes(resource, 1, 0)?;
        }
    }
    for field in Fields::new(body) {
        if let (2, Wire::Bytes(scope_logs)) = field? {
            read_scope_logs(scope_logs, &mut common, limits, batch)?;
        }
    }
    Ok(())
}

fn read_scope_logs(body: &[u8], common: &mut Common, limits: &Limits, batch: &mut BatchBuilder) -> Result<(), Fault> {
    common.scope.clear();
    for field in Fields::new(body) {
        if let (1, Wire::Bytes(message)) = field? {
            let (mut name, mut version): (&[u8], &[u8]) = Default::default();
            for field in Fields::new(message) {
                match field? {
                    (1, value) => name = value.bytes(),
                    (2, value) => version = value.bytes(),
                    _ => {}
                }
            }
            common.scope = scope(name, version, &attributes(message, 3, 0)?);
        }
    }
    for field in Fields::new(body) {
        if let (2, Wire::Bytes(record)) = field? {
            read_log(record)?.push(common, limits, batch)?;
        }
    }
    Ok(())
}

fn read_log(body: &[u8]) -> Result<Log<'_>, Fault> {
    let mut log = Log::default();
    for field in Fields::new(body) {
        match field? {
            (1, value) => log.time = value.number(),
            (2, value) => log.severity = value.number(),
            (3, value) => log.severity_text = value.bytes(),
            (5, Wire::Bytes(body)) => {
                log.body.clear();
                value(body, 0, &mut log.body)?;
            }
            (7, value) => log.dropped = value.number(),
            (8, value) => log.flags = value.number(),
            (9, value) => log.trace_id = hex(value.bytes()).into_bytes(),
            (10, value) => log.span_id = hex(value.bytes()).into_bytes(),
            (11, value) => log.observed = value.number(),
            (12, value) => log.event_name = value.bytes(),
            _ => {}
        }
    }
    log.attributes = attributes(body, 6, 0)?;
    Ok(log)
}

/// The attributes of a message, in its field of that number, as an encoded map; empty where there are none.
fn attributes(body: &[u8], number: u32, depth: usize) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    pairs(body, number, depth, false, &mut out)?;
    Ok(out)
}

/// Appends `KeyValue`s as a map; nothing where there are none and `always` is not set.
fn pairs(body: &[u8], number: u32, depth: usize, always: bool, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut count = 0;
    for field in Fields::new(body) {
        count += usize::from(matches!(field?, (n, Wire::Bytes(_)) if n == number));
    }
    if count == 0 && !always {
        return Ok(());
    }
    put_map_len(out, count);
    for field in Fields::new(body) {
        let (n, Wire::Bytes(pair)) = field? else { continue };
        if n != number {
            continue;
        }
        let (mut key, mut held): (&[u8], Option<&[u8]>) = (&[], None);
        for field in Fields::new(pair) {
            match field? {
                (1, value) => key = value.bytes(),
                (2, Wire::Bytes(value)) => held = Some(value),
                _ => {}
            }
        }
        put_str(out, key);
        match held {
            Some(held) => value(held, depth + 1, out)?,
            None => put_nil(out),
        }
    }
    Ok(())
}

/// Appends an `AnyValue`; nil where it holds nothing.
fn value(body: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    if depth > MAX_NESTING {
        return Err(Fault::Malformed(format!("values are nested deeper than {MAX_NESTING}")));
    }
    // Of several the last one counts.
    let mut last = None;
    for field in Fields::new(body) {
        let (number, wire) = field?;
        if (1..=7).contains(&number) {
            last = Some((number, wire));
        }
    }
    match last {
        Some((1, wire)) => put_str(out, wire.bytes()),
        Some((2, wire)) => put_bool(out, wire.number() != 0),
        Some((3, wire)) => put_int(out, wire.number() as i64),
        Some((4, wire)) => put_f64(out, f64::from_bits(wire.number())),
        Some((5, wire)) => {
            let values = || Fields::new(wire.bytes()).filter(|field| !matches!(field, Ok((n, _)) if *n != 1));
            put_array_len(out, values().count());
            for field in values() {
                value(field?.1.bytes(), depth + 1, out)?;
            }
        }
        Some((6, wire)) => pairs(wire.bytes(), 1, depth, true, out)?,
        Some((7, wire)) => put_bin(out, wire.bytes()),
        _ => put_nil(out),
    }
    Ok(())
}
