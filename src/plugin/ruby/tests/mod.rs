//! What `ruby` promises, case by case.
#![allow(clippy::unwrap_used)]
//! Tests of the interpreter as a whole: what real Ruby gives for a table of expressions, templates, refusals, limits.

mod functions;
mod limits;
mod refusals;
mod table;
mod templates;

pub(super) use functions::FUNCTIONS;

use crate::event::{EventTime, Record, Tag, Value, msgpack};
use crate::plugin::ruby::context::{Context, Scratch, TagInfo};
use crate::plugin::ruby::error::Stop;
use crate::plugin::ruby::limits::MAX_DEPTH;
use crate::plugin::ruby::parse;
use crate::plugin::ruby::text::{self, Buf};
use crate::plugin::ruby::vm::Vm;

/// The record that the tests' expressions look into, as JSON.
const RECORD: &str = r#"{"a":2,"b":3.5,"s":"Hello","n":{"k":"v","deep":{"x":1}},"csv":"p,q,r","numstr":"42","arr":[1,2],
    "nilv":null,"big":18446744073709551615,"json":"{\"a\":[1,2,{\"b\":null}]}","hashes":[{"id":1,"v":"x"},{"id":2,"v":"y"}],
    "labels":{"app.kubernetes.io/name":"web","tier":"front"}}"#;

const TAG: &str = "prefix.test.tag.suffix";
const TIME: EventTime = EventTime::new(1_704_067_200, 123_456_789);
const HOST: &str = "host.example";

/// A record as MessagePack.
fn packed(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    (FUNCTIONS.json_parse)(json.as_bytes(), &mut out).unwrap();
    assert!(matches!(Value::decode(&out), Ok(Value::Map(_))));
    out
}

/// What an expression gives for the record, as `inspect` shows it; an error as `!Class`, with `full` its message too.
fn run(code: &str, full: bool) -> Result<String, String> {
    let program = parse::code(code, 0, &FUNCTIONS).map_err(|e| e.to_string())?;
    let (bytes, arena, scratch) = (packed(RECORD), crate::event::Arena::new(), Scratch::new());
    let record = Record::decode(&bytes, &arena).unwrap();
    let tag = TagInfo::new(&Tag::from(TAG));
    let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
    let mut vm = Vm::new(cx.inner, FUNCTIONS, program.slots);
    let mut out = Buf::new();
    let result = vm.eval(&program.expr).and_then(|value| Ok(text::inspect(value, &mut out, MAX_DEPTH)?));
    match result {
        Ok(()) => Ok(String::from_utf8_lossy(out.bytes()).into_owned()),
        Err(Stop::Fault(fault)) if full => Ok(format!("!{}: {}", fault.class, fault.message)),
        Err(Stop::Fault(fault)) => Ok(format!("!{}", fault.class)),
        Err(_) => Err("next or break went astray".into()),
    }
}

/// The value of an expression that must be accepted and end well.
fn value(code: &str) -> String {
    run(code, true).unwrap_or_else(|e| panic!("{code}: {e}"))
}

#[test]
fn the_test_record_is_read_in_order() {
    let bytes = packed(RECORD);
    let mut pos = 0;
    assert_eq!(msgpack::read_map_len(&bytes, &mut pos), Ok(Some(12)));
    assert_eq!(msgpack::read(&bytes, &mut pos), Ok(Value::str("a")));
}
