//! Documents as a configuration makes them, byte by byte, and targets over TLS.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::buffer::ChunkKey;
use crate::event::{Arena, BatchBuilder, EventTime, Record, Tag, json};
use crate::input::forward::testing::configured;
use crate::output::service::testing::{Service, yes};
use crate::plugin::Stopper;

/// A moment with a fraction: 2023-11-14T22:13:20.123456789Z.
const WHEN: EventTime = EventTime::new(1_700_000_000, 123_456_789);

fn chunk(tag: &str, records: &[&str]) -> Chunk {
    let mut batch = BatchBuilder::new();
    for text in records {
        let arena = Arena::new();
        let mut record = Record::new();
        json::parse_object(text.as_bytes(), &arena, &mut record).unwrap();
        batch.push(WHEN, &record);
    }
    let key = ChunkKey { tag: Some(Tag::from(tag)), ..ChunkKey::default() };
    Chunk::of(key, &batch.finish(Tag::from(tag)))
}

fn search<const OPEN: bool, const STREAM: bool>(kind: &str, parameters: &str) -> Target<OPEN, STREAM> {
    let text = format!("<match **>\n@type {kind}\n{parameters}\n</match>\n");
    configured::<Target<OPEN, STREAM>>(&text).unwrap_or_else(|faults| panic!("{faults:?}")).0
}

/// The lines of a chunk's requests, with `CHUNK` for its id, and the refused events.
fn written(search: &Search, chunk: &Chunk) -> (Vec<String>, Vec<RefusedEvent>) {
    let names = search.names.of(chunk).unwrap();
    let writer = Writer::new(&search.layout, &names, chunk.id().to_string(), false).unwrap();
    let settled = Settled::default();
    let mut pieces = Pieces::new(chunk.blocks(), writer, &settled, search.layout.in_url);
    let mut lines = Vec::new();
    while let Some(piece) = pieces.next(search.sender.pace.limits()).unwrap() {
        let text = String::from_utf8(piece.text.to_vec()).unwrap().replace(&chunk.id().to_string(), "CHUNK");
        lines.extend(piece.index.iter().map(|index| format!("to {index}")));
        lines.extend(text.lines().map(str::to_owned));
    }
    (lines, pieces.refused)
}

/// The lines of one event with this record.
fn lines(parameters: &str, record: &str) -> Vec<String> {
    let output: Elasticsearch = search("elasticsearch", parameters);
    written(&output.0, &chunk("app.web", &[record])).0
}

#[test]
fn a_document_has_an_id_of_its_own_and_is_created() {
    let action = r#"{"create":{"_index":"fluentd","_id":"CHUNK-0"}}"#;
    assert_eq!(lines("", r#"{"a":"b\n","n":[1,{"x":null}]}"#), [action, r#"{"a":"b\n","n":[1,{"x":null}]}"#]);
    assert_eq!(lines("exactly_once false", "{}"), [r#"{"index":{"_index":"fluentd"}}"#, "{}"]);
    assert_eq!(
        lines("write_operation index\npipeline p-${tag[1]}\ninclude_tag_key true", "{}"),
        [r#"{"index":{"_index":"fluentd","_id":"CHUNK-0","pipeline":"p-web"}}"#, r#"{"tag":"app.web"}"#]
    );
}

#[test]
fn ids_and_routings_come_from_fields() {
    let parameters = "id_key user.id\nrouting_key $['shard']\nremove_keys shard, other";
    assert_eq!(
        lines(parameters, r#"{"user":{"id":7},"shard":"s","other":1}"#),
        [r#"{"index":{"_index":"fluentd","_id":"7","routing":"s"}}"#, r#"{"user":{"id":7}}"#]
    );
    assert_eq!(lines("id_key id", r#"{"id":null}"#)[0], r#"{"index":{"_index":"fluentd","_id":"CHUNK-0"}}"#);
    let output: Elasticsearch = search("elasticsearch", "id_key id\nwrite_operation create");
    let (lines, refused) = written(&output.0, &chunk("t", &[&format!("{{\"id\":\"{}\"}}", "x".repeat(513))]));
    assert!(lines.is_empty() && refused[0].answer.contains("513 bytes"), "{refused:?}");
}

#[test]
fn an_index_of_the_day_and_a_timestamp() {
    let dated = "logstash_format true\nlogstash_prefix App-${tag[1]}\ntime_precision 3";
    let of = |more: &str, record: &str| lines(&format!("{dated}\n{more}"), record);
    let plain = of("", r#"{"a":1}"#);
    assert_eq!(plain[0], r#"{"create":{"_index":"app-web-2023.11.14","_id":"CHUNK-0"}}"#);
    let stamp = plain[1].strip_prefix(r#"{"a":1,"@timestamp":"2023-11-1"#).unwrap();
    assert!(stamp.contains(":13:20.123"), "{stamp}");
    let own = of("", r#"{"@timestamp":"2020-02-03T23:00:00-05:00"}"#);
    assert_eq!(own[0], r#"{"create":{"_index":"app-web-2020.02.04","_id":"CHUNK-0"}}"#);
    assert_eq!(own[1], r#"{"@timestamp":"2020-02-03T23:00:00-05:00"}"#);
    let local = of("utc_index false", r#"{"@timestamp":"2020-02-03T23:00:00-05:00"}"#);
    assert!(local[0].contains("app-web-2020.02.03"), "{local:?}");
    let keyed = of("time_key at\ntime_key_format %d/%m/%Y %z", r#"{"at":"05/06/2021 +0200"}"#);
    assert!(keyed[0].contains("2021.06.04"), "{keyed:?}");
    assert_eq!(keyed[1], r#"{"at":"05/06/2021 +0200","@timestamp":"2021-06-05T00:00:00.000+02:00"}"#);
    let alone = of("time_key at\ntime_key_exclude_timestamp true", r#"{"at":"2021-06-05T00:00:00Z"}"#);
    assert_eq!(alone[1], r#"{"at":"2021-06-05T00:00:00Z"}"#);
    let odd = of("time_key at", r#"{"at":"yesterday or so"}"#);
    assert!(odd[0].contains("2023.11.14"), "{odd:?}");
}

#[test]
fn an_event_may_name_its_index_but_no_other_place() {
    let named = |name: &str| {
        let output: Opensearch = search("opensearch", "target_index_key meta.index");
        written(&output.0, &chunk("t", &[&format!("{{\"meta\":{{\"index\":{name}}},\"a\":1}}")]))
    };
    let (good, _) = named("\"Shop-1\"");
    assert_eq!(good, [r#"{"create":{"_index":"shop-1","_id":"CHUNK-0"}}"#, r#"{"meta":{},"a":1}"#]);
    for bad in ["\".security\"", "\"a/_doc/1\"", "\"_all\"", "\"<a-{now/d}>\"", "\"a,b\""] {
        let (lines, refused) = named(bad);
        assert!(lines.is_empty() && refused.len() == 1, "{bad}: {lines:?}");
    }
    assert!(named("null").0[0].contains("fluentd"));
}

#[test]
fn updates_are_wrapped_and_leave_fields_out() {
    let of = |more: &str, record: &str| lines(&format!("id_key id\n{more}"), record);
    assert_eq!(
        of("write_operation update", r#"{"id":"x","a":1}"#),
        [r#"{"update":{"_index":"fluentd","_id":"x"}}"#, r#"{"doc":{"id":"x","a":1}}"#]
    );
    assert_eq!(of("write_operation upsert", r#"{"id":"x"}"#)[1], r#"{"doc":{"id":"x"},"doc_as_upsert":true}"#);
    assert_eq!(
        of("write_operation upsert\nremove_keys_on_update a", r#"{"id":"x","a":1}"#)[1],
        r#"{"doc":{"id":"x"},"upsert":{"id":"x","a":1}}"#
    );
    assert_eq!(
        of("write_operation upsert\nremove_keys_on_update_key not", r#"{"id":"x","a":1,"not":["a"]}"#)[1],
        r#"{"doc":{"id":"x"},"upsert":{"id":"x","a":1}}"#
    );
    assert_eq!(
        of("write_operation update\nsuppress_doc_wrap true", r#"{"id":"x","script":{}}"#)[1],
        r#"{"id":"x","script":{}}"#
    );
    let output: Elasticsearch = search("elasticsearch", "id_key id\nwrite_operation update");
    let (lines, refused) = written(&output.0, &chunk("t", &["{\"a\":1}"]));
    assert!(lines.is_empty() && refused[0].answer.contains("Missing '_id' field"));
}

#[test]
fn records_are_flattened_and_marked() {
    let parameters = "flatten_hashes true\nflatten_hashes_separator /\n<metadata>\ninclude_chunk_id true\n</metadata>";
    assert_eq!(
        lines(parameters, r#"{"a":{"b":{"c":1},"d":[{"e":2}],"f":{}},"g":2}"#)[1],
        r#"{"a/b/c":1,"a/d":[{"e":2}],"g":2,"chunk_id":"CHUNK"}"#
    );
    let tagged = lines("include_tag_key true\ntag_key t", r#"{"t":"old","a":1}"#);
    assert_eq!(tagged[1], r#"{"t":"app.web","a":1}"#);
}

#[test]
fn a_data_stream_stands_in_the_address() {
    let output: OpensearchDataStream = search("opensearch_data_stream", "data_stream_name logs-${tag[1]}");
    let (lines, _) = written(&output.0, &chunk("app.web", &[r#"{"a":1}"#, r#"{"@timestamp":"x"}"#]));
    assert_eq!(lines[..2], ["to logs-web", r#"{"create":{"_id":"CHUNK-0"}}"#]);
    assert!(lines[2].starts_with(r#"{"a":1,"@timestamp":"2023-11-1"#), "{lines:?}");
    assert_eq!(lines[4], r#"{"@timestamp":"x"}"#);
    let output: OpensearchDataStream = search("opensearch_data_stream", "data_stream_name logs\nexactly_once false");
    assert_eq!(written(&output.0, &chunk("t", &["{}"])).0[1], r#"{"create":{}}"#);
}

#[test]
fn documents_of_several_indices_go_to_their_own_addresses() {
    let output: Elasticsearch = search("elasticsearch", "include_index_in_url true\ntarget_index_key i");
    let records = [r#"{"i":"a","n":1}"#, r#"{"i":"b","n":2}"#, r#"{"i":"a","n":3}"#];
    let (lines, _) = written(&output.0, &chunk("t", &records));
    let at = lines.iter().position(|line| line == "to a").unwrap();
    assert_eq!(lines[at + 2], r#"{"n":1}"#);
    assert_eq!(lines[at + 4], r#"{"n":3}"#);
    assert!(lines.contains(&"to b".to_owned()));
}

#[test]
fn a_tag_that_can_not_be_part_of_a_name_is_rejected() {
    let output: Elasticsearch = search("elasticsearch", "index_name logs-${tag}");
    for tag in ["a/b", "a*", "a b", "<x>"] {
        assert!(output.0.names.of(&chunk(tag, &["{}"])).is_err(), "{tag}");
    }
}

#[tokio::test]
async fn a_certificate_is_checked_unless_told_otherwise() {
    let answer = r#"{"version":{"number":"2.1.0"},"items":[{"create":{"status":201}}]}"#;
    let service = Service::start_secure(move |_, _| yes(answer)).await;
    let port = service.port;
    let write = async |more: &str| {
        let parameters = format!("hosts https://localhost:{port}\n{more}");
        let output: Opensearch = search("opensearch", &parameters);
        Output::start(&output, Stopper::new().listener()).await.unwrap();
        let outcome = output.write(&chunk("t", &["{}"])).await;
        output.close().await;
        outcome
    };
    assert!(matches!(write("").await, Err(WriteError::Retry(_))), "a self-signed certificate was trusted");
    write("ssl_verify false").await.unwrap();
    // The version is asked for, then the document sent.
    assert_eq!(service.asked().len(), 2);
}
