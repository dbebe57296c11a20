//! Requests that other software has made, requests that come back as they were, and bytes of ill will.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::log::unhex;
use super::*;
use crate::event::{Arena, BatchBuilder, Entries, EventTime, Record, Tag, hex, json};
use crate::net::proto::{self, put_bytes, put_message, put_number};

const LIMITS: Limits = Limits { bytes: 1 << 20 };

/// Made with Google's protobuf library for Python: two records of one resource and one scope, every field set in the first.
const REQUEST: &str = "0adc010a180a160a0c736572766963652e6e616d6512060a0473686f7012bf010a130a036c69621203312e321a070a016b12021001129c01090500\
    2a36fe9c971710091a04494e464f2a0a0a0868656c6c6f20c3a932100a0169120b18fbffffffffffffffff01320e0a0164120921000000000000f83f32090a0162\
    12043a0200ff32100a0161120b2a090a030a01780a021801320e0a016d120932070a050a016e1200380245010000004a10000102030405060708090a0b0c0d0e0f\
    520800010203040506075900cac471fe9c97176202657612095900945fadfe9c9717";

/// The same as JSON, as the specification writes it.
const JSON: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
    "scopeLogs":[{"scope":{"name":"lib","version":"1.2","attributes":[{"key":"k","value":{"boolValue":true}}]},"logRecords":[
    {"timeUnixNano":"1700000000000000005","severityNumber":9,"severityText":"INFO","body":{"stringValue":"hello \u00e9"},
    "attributes":[{"key":"i","value":{"intValue":"-5"}},{"key":"d","value":{"doubleValue":1.5}},{"key":"b","value":{"bytesValue":"AP8="}},
    {"key":"a","value":{"arrayValue":{"values":[{"stringValue":"x"},{"intValue":1}]}}},
    {"key":"m","value":{"kvlistValue":{"values":[{"key":"n","value":{}}]}}}],"droppedAttributesCount":2,"flags":1,
    "traceId":"000102030405060708090A0B0C0D0E0F","spanId":"0001020304050607","observedTimeUnixNano":"1700000001000000000",
    "eventName":"ev","unknown":[1]},{"observedTimeUnixNano":"1700000002000000000"}]}]}]} "#;

fn request_bytes() -> Vec<u8> {
    unhex(REQUEST.as_bytes()).unwrap()
}

/// Times and records as JSON.
fn events(batch: &mut BatchBuilder) -> Vec<(i64, String)> {
    let batch = batch.finish(Tag::from("t"));
    let each = Entries::new(batch.bytes()).map(|entry| {
        let (entry, arena, mut text) = (entry.unwrap(), Arena::new(), Vec::new());
        json::write_record(&Record::decode(entry.record, &arena).unwrap(), &mut text);
        (entry.time.nanos(), String::from_utf8_lossy(&text).into_owned())
    });
    each.collect()
}

fn wanted() -> Vec<(i64, String)> {
    let common = r#""resource":{"service.name":"shop"},"scope":{"name":"lib","version":"1.2","attributes":{"k":true}}"#;
    let first = format!(
        "{{\"severity_number\":9,\"observed_time_unix_nano\":1700000001000000000,\"flags\":1,\"dropped_attributes_count\":2,\
         \"severity_text\":\"INFO\",\"trace_id\":\"000102030405060708090a0b0c0d0e0f\",\"span_id\":\"0001020304050607\",\
         \"event_name\":\"ev\",\"body\":\"hello é\",\"attributes\":{{\"i\":-5,\"d\":1.5,\"b\":\"\\u0000\u{fffd}\",\
         \"a\":[\"x\",1],\"m\":{{\"n\":null}}}},{common}}}"
    );
    let second = format!("{{\"observed_time_unix_nano\":1700000002000000000,{common}}}");
    vec![(1_700_000_000_000_000_005, first), (1_700_000_002_000_000_000, second)]
}

#[test]
fn both_encodings_become_the_same_events() {
    let mut batch = BatchBuilder::new();
    read_proto(&request_bytes(), &LIMITS, &mut batch).unwrap();
    assert_eq!(events(&mut batch), wanted());
    read_json(JSON.as_bytes(), &LIMITS, &mut batch).unwrap();
    assert_eq!(events(&mut batch), wanted());
    read_json(JSON.replace(":9,", ":\"SEVERITY_NUMBER_INFO\",").as_bytes(), &LIMITS, &mut batch).unwrap();
    assert_eq!(events(&mut batch), wanted());
    read_proto(b"", &LIMITS, &mut batch).unwrap();
    read_json(b"{}", &LIMITS, &mut batch).unwrap();
    assert!(batch.is_empty());
}

#[test]
fn events_that_came_from_a_request_become_it_again() {
    let mut batch = BatchBuilder::new();
    read_proto(&request_bytes(), &LIMITS, &mut batch).unwrap();
    let batch = batch.finish(Tag::from("t"));
    let arena = Arena::new();
    let place = |entry: crate::event::Entry<'_>| {
        let record = Record::decode(entry.record, &arena).unwrap();
        write_record(entry.time, &record, b"message", None, &[("service.name".into(), "other".into())])
    };
    let first = place(batch.entries().next().unwrap().unwrap());
    let again = request([&first].into_iter());
    let mut batch = BatchBuilder::new();
    read_proto(&again, &LIMITS, &mut batch).unwrap();
    assert_eq!(events(&mut batch), wanted()[..1]);
}

#[test]
fn other_events_have_a_body_and_attributes() {
    let arena = Arena::new();
    let written = |text: &str| {
        let mut record = Record::new();
        json::parse_object(text.as_bytes(), &arena, &mut record).unwrap();
        write_record(EventTime::from_secs(5), &record, b"message", Some(b"level"), &[("host".into(), "h".into())])
    };
    let records = [
        written(r#"{"message":"m","level":"Warning","n":18446744073709551615,"none":null}"#),
        written(r#"{"log":[true,{"a":1}]}"#),
        written("{}"),
    ];
    let mut batch = BatchBuilder::new();
    read_proto(&request(records.iter()), &LIMITS, &mut batch).unwrap();
    let bodies = [
        r#""severity_number":13,"severity_text":"Warning","body":"m","attributes":{"level":"Warning","n":"18446744073709551615","none":null}"#,
        r#""body":{"log":[true,{"a":1}]}"#,
        r#""body":{}"#,
    ];
    let wanted = bodies.map(|body| (5_000_000_000, format!("{{{body},\"resource\":{{\"host\":\"h\"}}}}")));
    assert_eq!(events(&mut batch), wanted);
}

#[test]
fn records_are_put_together_by_resource_and_scope() {
    let placed = |resource: &[u8], scope: &[u8]| {
        let mut placed = Placed { log: vec![16, 9], ..Placed::default() };
        put_message(&mut placed.resource, 1, |out| put_bytes(out, 1, resource));
        put_bytes(&mut placed.scope, 1, scope);
        placed
    };
    let all = [placed(b"a", b"x"), placed(b"b", b"x"), placed(b"a", b"x"), placed(b"a", b"y")];
    let whole = request(all.iter());
    let resources = proto::Fields::new(&whole).count();
    assert_eq!(resources, 2);
    let mut batch = BatchBuilder::new();
    read_proto(&whole, &LIMITS, &mut batch).unwrap();
    let order: Vec<String> = events(&mut batch).into_iter().map(|(_, text)| text).collect();
    assert_eq!(order.len(), 4);
    assert!(order[1].contains("\"x\"") && order[2].contains("\"y\"") && order[3].contains("\"b\""), "{order:?}");
}

fn malformed(body: &[u8]) -> bool {
    matches!(read_proto(body, &LIMITS, &mut BatchBuilder::new()), Err(Fault::Malformed(_)))
}

#[test]
fn what_is_cut_short_is_refused() {
    let whole = request_bytes();
    let refused = (1..whole.len()).filter(|end| malformed(&whole[..*end])).count();
    assert_eq!(refused, whole.len() - 1, "each part is a cut message");
    for text in ["", "[]", "5", "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[7]}]}]}", "{} x", "{\"a\":"] {
        let read = read_json(text.as_bytes(), &LIMITS, &mut BatchBuilder::new());
        assert!(matches!(read, Err(Fault::Malformed(_))), "{text}: {read:?}");
    }
    let odd = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"intValue":"x"}}]}]}]}"#;
    assert!(read_json(odd.as_bytes(), &LIMITS, &mut BatchBuilder::new()).is_err());
}

#[test]
fn deep_values_are_refused() {
    let mut value = Vec::new();
    put_bytes(&mut value, 1, b"x");
    for _ in 0..2_000 {
        let mut array = Vec::with_capacity(value.len() + 16);
        put_bytes(&mut array, 1, &value);
        value.clear();
        put_bytes(&mut value, 5, &array);
    }
    let mut body = Vec::new();
    put_message(&mut body, 1, |out| put_message(out, 2, |out| put_message(out, 2, |out| put_bytes(out, 5, &value))));
    assert!(malformed(&body));
    let deep = format!("{}{}", "{\"arrayValue\":{\"values\":[".repeat(5000), "]}}".repeat(5000));
    let text = format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{{\"body\":{deep}}}]}}]}}]}}");
    assert!(read_json(text.as_bytes(), &LIMITS, &mut BatchBuilder::new()).is_err());
}

#[test]
fn a_small_request_can_not_become_large() {
    let mut body = Vec::new();
    put_message(&mut body, 1, |out| {
        put_message(out, 1, |out| put_message(out, 1, |out| put_bytes(out, 1, &[b'k'; 10_000])));
        put_message(out, 2, |out| (0..100_000).for_each(|_| put_bytes(out, 2, b"")));
    });
    let mut batch = BatchBuilder::new();
    assert_eq!(read_proto(&body, &LIMITS, &mut batch), Err(Fault::TooLarge));
    assert!(batch.bytes() < LIMITS.bytes + 20_000);
}

#[test]
fn answers_of_servers_are_read() {
    let partial = Partial { rejected: 3, message: "bad".into() };
    assert_eq!(partial_of(&unhex(b"0a0708031203626164").unwrap()).unwrap(), partial);
    let json = br#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"bad"}}"#;
    assert_eq!(partial_of_json(json).unwrap(), partial);
    assert_eq!(partial_of(&success()).unwrap(), Partial::default());
    assert_eq!(partial_of_json(b"{}").unwrap(), Partial::default());
    assert!(partial_of(b"<html>").is_err() && partial_of_json(b"<html>").is_err());
    let made = "08081204736c6f771a360a28747970652e676f6f676c65617069732e636f6d2f676f6f676c652e7270632e5265747279496e666f120a0a0808031080cab5ee01";
    let status = Status { code: 8, message: "slow".into(), retry: Some(Duration::from_millis(3500)) };
    assert_eq!(Status::read(&unhex(made.as_bytes()).unwrap()).unwrap(), status);
    assert_eq!(hex(&status.write()), *made);
}

proptest! {
    #[test]
    fn no_bytes_break_the_readers(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut batch = BatchBuilder::new();
        let _ = read_proto(&bytes, &LIMITS, &mut batch);
        let _ = (partial_of(&bytes), Status::read(&bytes), read_json(&bytes, &LIMITS, &mut batch));
        for entry in batch.finish(Tag::from("t")).entries() {
            prop_assert!(Record::decode(entry.unwrap().record, &Arena::new()).is_ok());
        }
    }

    #[test]
    fn no_change_of_a_request_breaks_the_reader(at in 0_usize..223, byte in any::<u8>()) {
        let mut bytes = request_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let mut batch = BatchBuilder::new();
        if read_proto(&bytes, &LIMITS, &mut batch).is_ok() {
            for entry in batch.finish(Tag::from("t")).entries() {
                prop_assert!(Record::decode(entry.unwrap().record, &Arena::new()).is_ok());
            }
        }
    }

    #[test]
    fn numbers_come_back(field in 1_u32..1000, value in any::<u64>()) {
        let mut out = Vec::new();
        put_number(&mut out, field, value);
        let read: Vec<_> = proto::Fields::new(&out).map(Result::unwrap).collect();
        prop_assert_eq!(read, vec![(field, proto::Wire::Varint(value))]);
    }
}
