//! Parsers from configuration text.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::config::{Diagnostics, LoadOptions, Surroundings, load_text};
use crate::event::{Arena, BatchBuilder, EventTime, Record, Tag};
use crate::plugin::testing::process;
use crate::plugin::{BuildContext, ParseError, Parser, Registry};

static REGISTRY: Registry =
    Registry { inputs: &[], filters: &[], outputs: &[], parsers: super::PARSERS, formatters: &[] };

fn build(config: &str) -> Arc<dyn Parser> {
    let text = format!("<source>\n<parse>\n{config}\n</parse>\n</source>\n");
    let root = load_text("test.conf", &text, &LoadOptions::new(Surroundings::default())).unwrap().root;
    let mut faults = Diagnostics::new();
    let process = process(true);
    let mut cx = BuildContext::new(root.child("source").unwrap(), &process, &REGISTRY, &mut faults);
    cx.parser(None).unwrap()
}

const NOW: EventTime = EventTime::from_secs(7);

/// The entries of a text, by fields and straight.
fn both_ways(parser: &Arc<dyn Parser>, text: &[u8]) -> [Result<Vec<u8>, ParseError>; 2] {
    let (arena, mut record) = (Arena::new(), Record::new());
    let (mut fields, mut straight) = (BatchBuilder::new(), BatchBuilder::new());
    let by_fields = parser.parse_each(text, &arena, &mut record, &mut |time, record| {
        fields.push(time.unwrap_or(NOW), record);
    });
    let directly = parser.parse_into(text, &arena, &mut record, NOW, &mut straight);
    let bytes = |mut batch: BatchBuilder| batch.finish(Tag::from("t")).bytes().to_vec();
    [by_fields.map(|()| bytes(fields)), directly.map(|()| bytes(straight))]
}

#[test]
fn an_entry_of_json_is_the_same_by_its_fields_and_straight() {
    let nested =
        r#"{"a":{"time":1,"a":{"b":[{}]}},"time":5,"b":"\u00e9\"x","c":"0123456789012345678901234567890123456789"}"#;
    let many: Vec<String> = (0..70).map(|n| format!("\"k{}\":{n}", n % 66)).collect();
    let texts = [
        nested,
        r#"{"time":1600000000.25,"a":1}"#,
        r#"{"a":1,"time":1,"a":2,"time":2}"#,
        r#"{"time":-1,"a":1}"#,
        r#"{"time":5000000000,"a":[],"b":{}}"#,
        r#"{"time":"2026-11-24T10:00:00Z"}"#,
        r#"{"time":{"nested":true},"a":1}"#,
        r#"{"time":null,"a":1}"#,
        &format!("{{{},\"time\":3}}", many.join(",")),
        r#"{"time":3,"a":}"#,
        r#"{"a":1} x"#,
        r#"{"a":1"#,
        r#"{"ti\u006de":4,"a":1}"#,
        "{}",
        " {\"a\":1}",
        "[{\"a\":1},{\"time\":3}]",
        "[1]",
        "1",
        "",
    ];
    for more in ["", "keep_time_key true", "time_key none", "types a:string", "time_format %Y-%m-%dT%H:%M:%S%z"] {
        let parser = build(&format!("@type json\n{more}"));
        for text in texts {
            let [by_fields, directly] = both_ways(&parser, text.as_bytes());
            assert_eq!(by_fields, directly, "{more}: {text}");
        }
    }
}

#[test]
fn an_entry_is_the_same_by_its_fields_and_straight() {
    let access = r#"10.0.0.1 - bob [24/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 396 "-" "x""#;
    let error = "[Wed Oct 11 14:32:52 2000] [error] [client 127.0.0.1] denied";
    let texts = [
        access,
        error,
        &access.replace("Nov", "Nix"),
        &access.replace("GET", "\\\"GET"),
        &access.replace("\"-\" \"x\"", "\"-\" \"x\" \"y\""),
        &access.replace("396 \"-\" \"x\"", "0"),
        "nothing of that",
    ];
    let regexp = r#"regexp
expression /^(?<host>[^ ]*) .* \[(?<time>[^\]]*)\] (?:"(?<method>\w+) )?(?<rest>.*)$/
time_format %d/%b/%Y:%H:%M:%S %z"#;
    for kind in ["nginx", "apache", "apache2", "apache_error", regexp] {
        for more in ["", "keep_time_key true", "time_key none", "types code:integer", "null_empty_string true"] {
            let parser = build(&format!("@type {kind}\n{more}"));
            let outcomes = texts.map(|text| both_ways(&parser, text.as_bytes()));
            assert!(outcomes.iter().any(|[by_fields, _]| by_fields.is_ok()), "{kind} {more}");
            for ([by_fields, directly], text) in outcomes.into_iter().zip(texts) {
                assert_eq!(by_fields, directly, "{kind} {more}: {text}");
            }
        }
    }
}

/// What a parser finds in a text: the time in nanoseconds, and the record as JSON.
fn found(parser: &Arc<dyn Parser>, text: &str) -> Option<(Option<i64>, String)> {
    let (arena, mut record) = (Arena::new(), Record::new());
    let time = parser.parse(text.as_bytes(), &arena, &mut record).ok()?;
    let mut json = Vec::new();
    crate::event::json::write_record(&record, &mut json);
    let nanos = time.map(EventTime::nanos);
    Some((nanos, String::from_utf8(json).unwrap()))
}

#[test]
fn lines_of_container_runtimes() {
    let line = "2020-10-10T00:10:00.333333333Z stdout F Hello  Fluentd";
    let time = Some(1_602_288_600_333_333_333);
    let bare = r#"{"stream":"stdout","logtag":"F","message":"Hello  Fluentd","time":"2020-10-10T00:10:00.333333333Z"}"#;
    assert_eq!(found(&build("@type cri"), line), Some((time, bare.to_owned())));
    let without = bare.replace(r#","time":"2020-10-10T00:10:00.333333333Z""#, "");
    assert_eq!(found(&build("@type cri\nkeep_time_key false"), line), Some((time, without)));
    assert_eq!(found(&build("@type cri"), "2020-10-10T00:10:00Z stdout F"), None);

    let inner = "@type cri\n<parse>\n@type json\ntime_key at\ntime_type unixtime\n</parse>\n";
    let json = |message: &str| format!("2020-10-10T00:10:00.5Z stderr P {message}");
    let merged = r#"{"a":1,"stream":"stderr","logtag":"P"}"#.to_owned();
    assert_eq!(found(&build(inner), &json(r#"{"a":1,"at":5}"#)), Some((Some(5_000_000_000), merged.clone())));
    assert_eq!(found(&build(inner), &json(r#"{"a":1}"#)), Some((Some(1_602_288_600_500_000_000), merged)));
    assert_eq!(found(&build(inner), &json("no json")), None);
    let apart = format!("merge_cri_fields false\n{inner}");
    assert_eq!(found(&build(&apart), &json(r#"{"at":5}"#)), Some((Some(5_000_000_000), "{}".to_owned())));
}

#[test]
fn the_first_of_several_formats_that_fits_counts() {
    let parser = build(
        "@type multi_format\nformat_key by\n<pattern>\nformat json\ntime_key at\ntime_type unixtime\n</pattern>\n\
         <pattern>\nformat regexp\nexpression /^(?<n>\\d+) (?<word>\\w+)$/\ntypes n:integer\nformat_name pair\n</pattern>\n\
         <format>\n@type none\n</format>\n",
    );
    assert_eq!(found(&parser, r#"{"a":1,"at":5}"#), Some((Some(5_000_000_000), r#"{"a":1,"by":"json#0"}"#.to_owned())));
    assert_eq!(found(&parser, "12 ab"), Some((None, r#"{"n":12,"word":"ab","by":"pair"}"#.to_owned())));
    assert_eq!(found(&parser, "12 ab c"), Some((None, r#"{"message":"12 ab c","by":"none#2"}"#.to_owned())));
    let strict = build("@type multi_format\n<pattern>\nformat json\n</pattern>\n");
    assert_eq!(found(&strict, "12"), None);
}
