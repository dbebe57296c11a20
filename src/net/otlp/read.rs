//! `ExportLogsServiceRequest` as protobuf (opentelemetry-proto, `logs/v1/logs.proto`, `common/v1/common.proto`). Unknown fields
//! are passed over.

use super::log::{Common, Fault, Limits, Log, scope};
use crate::event::msgpack::{
    MAX_DEPTH, put_array_len, put_bin, put_bool, put_f64, put_int, put_map_len, put_nil, put_str, set_len,
};
use crate::event::{BatchBuilder, hex};
use crate::net::proto::{Broken, Fields, Wire};

/// Most values within values: what a record may have, less those that are around them.
pub(super) const MAX_NESTING: usize = MAX_DEPTH - 8;

/// Headers of MessagePack's empty containers.
const EMPTY_MAP: u8 = 0x80;
const EMPTY_ARRAY: u8 = 0x90;

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
            common.resource = attributes(resource, 1)?;
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
            common.scope = scope(name, version, &attributes(message, 3)?);
        }
    }
    let mut log = Log::default();
    for field in Fields::new(body) {
        if let (2, Wire::Bytes(record)) = field? {
            read_log(record, &mut log)?;
            log.push(common, limits, batch)?;
        }
    }
    Ok(())
}

fn read_log<'a>(body: &'a [u8], log: &mut Log<'a>) -> Result<(), Fault> {
    log.clear();
    let mut count = 0;
    for field in Fields::new(body) {
        match field? {
            (1, value) => log.time = value.number(),
            (2, value) => log.severity = value.number(),
            (3, value) => log.severity_text = value.bytes(),
            (5, Wire::Bytes(body)) => {
                log.body.clear();
                value(body, 0, &mut log.body)?;
            }
            (6, Wire::Bytes(attribute)) => {
                if count == 0 {
                    log.attributes.push(EMPTY_MAP);
                }
                pair(attribute, 0, &mut log.attributes)?;
                count += 1;
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
    if count > 0 {
        set_len(&mut log.attributes, 0, count, put_map_len);
    }
    Ok(())
}

/// The attributes of a message, in its field of that number, as an encoded map; empty where there are none.
fn attributes(body: &[u8], number: u32) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let count = pairs(body, number, 0, &mut out)?;
    Ok(if count == 0 { Vec::new() } else { out })
}

/// Appends the `KeyValue`s in fields of that number as a map; their number.
fn pairs(body: &[u8], number: u32, depth: usize, out: &mut Vec<u8>) -> Result<usize, Fault> {
    let (header, mut count) = (out.len(), 0);
    out.push(EMPTY_MAP);
    for field in Fields::new(body) {
        let (n, Wire::Bytes(found)) = field? else { continue };
        if n == number {
            pair(found, depth, out)?;
            count += 1;
        }
    }
    set_len(out, header, count, put_map_len);
    Ok(count)
}

/// Appends the name and the value of a `KeyValue`.
fn pair(body: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let (mut key, mut held): (&[u8], Option<&[u8]>) = (&[], None);
    for field in Fields::new(body) {
        match field? {
            (1, value) => key = value.bytes(),
            (2, Wire::Bytes(value)) => held = Some(value),
            _ => {}
        }
    }
    put_str(out, key);
    match held {
        Some(held) => value(held, depth + 1, out),
        None => {
            put_nil(out);
            Ok(())
        }
    }
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
            let (header, mut count) = (out.len(), 0);
            out.push(EMPTY_ARRAY);
            for field in Fields::new(wire.bytes()) {
                if let (1, held) = field? {
                    value(held.bytes(), depth + 1, out)?;
                    count += 1;
                }
            }
            set_len(out, header, count, put_array_len);
        }
        Some((6, wire)) => {
            pairs(wire.bytes(), 1, depth, out)?;
        }
        Some((7, wire)) => put_bin(out, wire.bytes()),
        _ => put_nil(out),
    }
    Ok(())
}
