//! Filters from configuration text, on records of JSON.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::config::{Diagnostics, LoadOptions, Surroundings, load_text};
use crate::event::json::{parse_object, write_record};
use crate::event::{Arena, EventTime, Record, Tag};
use crate::plugin::testing::process;
use crate::plugin::{BuildContext, Event, Filter, Registry, Verdict};

static REGISTRY: Registry =
    Registry { inputs: &[], filters: super::FILTERS, outputs: &[], parsers: crate::parser::PARSERS, formatters: &[] };

fn build(config: &str) -> Arc<dyn Filter> {
    let options = LoadOptions::new(Surroundings::default());
    let root = load_text("test.conf", &format!("<filter>\n{config}\n</filter>\n"), &options).unwrap().root;
    let section = root.child("filter").unwrap();
    let plugin = super::FILTERS.iter().find(|p| section.plugin_type().is_some_and(|t| p.names.contains(&t))).unwrap();
    let mut faults = Diagnostics::new();
    let built = (plugin.build)(&mut BuildContext::new(section, &process(true), &REGISTRY, &mut faults));
    built.unwrap_or_else(|| panic!("{}", faults.render()))
}

/// What a filter makes of a record: the records that go on, and how many failures it reports.
fn run(config: &str, json: &str) -> (Vec<String>, usize) {
    let filter = build(config);
    let arena = Arena::new();
    let tag = Tag::from("a.b");
    let mut record = Record::new();
    parse_object(json.as_bytes(), &arena, &mut record).unwrap();
    let time = EventTime::from_secs(1);
    let mut event = Event { tag: &tag, time, record, arena: &arena, failures: Vec::new(), more: Vec::new() };
    let verdict = filter.filter(&mut event);
    let text = |record: &Record<'_>| {
        let mut out = Vec::new();
        write_record(record, &mut out);
        String::from_utf8(out).unwrap()
    };
    let mut out: Vec<String> = (verdict == Verdict::Keep).then(|| text(&event.record)).into_iter().collect();
    out.extend(event.more.iter().map(|(_, record)| text(record)));
    (out, event.failures.len())
}

#[test]
fn a_text_of_several_events_gives_them_all() {
    let config =
        "@type parser\nkey_name log\nreserve_data true\nremove_key_name_field true\n<parse>\n@type json\n</parse>";
    let (out, failures) = run(config, r#"{"log":"[{\"a\":1},{\"a\":2}]","o":3}"#);
    assert_eq!(out, [r#"{"o":3,"a":1}"#, r#"{"o":3,"a":2}"#]);
    assert_eq!(failures, 0);
}

#[test]
fn a_map_is_not_parsed_but_an_error() {
    let config = "@type parser\nkey_name log\n<parse>\n@type json\n</parse>";
    assert_eq!(run(config, r#"{"log":{"x":1}}"#), (vec![], 1));
    let config = format!("{config}\nreserve_data true");
    assert_eq!(run(&config, r#"{"log":{"x":1}}"#), (vec![r#"{"log":{"x":1}}"#.to_owned()], 1));
}

#[test]
fn a_parser_may_be_named_by_its_pattern() {
    let config = "@type parser\nkey_name log\n<parse>\n@type /^(?<a>\\w+) (?<b>\\w+)$/\n</parse>";
    assert_eq!(run(config, r#"{"log":"x y"}"#).0, [r#"{"a":"x","b":"y"}"#]);
}

#[test]
fn csv_engines_differ_on_quotes_and_missing_values() {
    let config =
        |engine| format!("@type parser\nkey_name log\n<parse>\n@type csv\nkeys a,b\nparser_engine {engine}\n</parse>");
    assert_eq!(run(&config("normal"), r#"{"log":"x"}"#).0, [r#"{"a":"x","b":null}"#]);
    assert_eq!(run(&config("fast"), r#"{"log":"x"}"#).0, [r#"{"a":"x"}"#]);
    assert_eq!(run(&config("normal"), r#"{"log":"x\"y,z"}"#), (vec![], 1));
}

#[test]
fn a_field_may_be_set_to_nil() {
    let config = "@type record_transformer\n<record>\na \"#{use_nil}\"\nb \"\"\n</record>";
    assert_eq!(run(config, "{}").0, [r#"{"a":null,"b":""}"#]);
}

/// The one record that goes on.
fn modified(config: &str, json: &str) -> String {
    let (mut out, failures) = run(&format!("@type record_modifier\n{config}"), json);
    assert_eq!((out.len(), failures), (1, 0), "{config}");
    out.remove(0)
}

#[test]
fn modified_fields_see_those_that_were_set_before_them() {
    let set =
        "<record>\na ${record[\"n\"] + 1}\nb got ${record[\"a\"]} of ${tag}\nc fixed\nd ${tag_parts[1]}\n</record>\n";
    assert_eq!(modified(set, r#"{"n":1}"#), r#"{"n":1,"a":2,"b":"got 2 of a.b","c":"fixed","d":"b"}"#);
    let removed = format!("remove_keys n,$.m.x\n{set}");
    assert_eq!(
        modified(&removed, r#"{"n":1,"m":{"x":1,"y":2}}"#),
        r#"{"m":{"y":2},"a":2,"b":"got 2 of a.b","c":"fixed","d":"b"}"#
    );
    let kept = "whitelist_keys x, n\n<record>\nnew 1\n</record>\n";
    assert_eq!(modified(kept, r#"{"n":1,"other":2,"x":3}"#), r#"{"x":3,"n":1,"new":"1"}"#);
}

#[test]
fn text_of_fields_is_replaced_and_decoded() {
    let replace = "<replace>\nkey a\nexpression /(\\d)(\\d)/\nreplace \\2-\\1\n</replace>\n\
                   <replace>\nkey none\nexpression /x/\nreplace y\n</replace>\n";
    assert_eq!(modified(replace, r#"{"a":"12 345","n":12}"#), r#"{"a":"2-1 4-35","n":12}"#);
    // Latin-1's é is one byte, here by its code as text that was never UTF-8.
    let decode = "char_encoding iso-8859-1:utf-8\n";
    assert_eq!(modified(decode, "{\"a\":\"\u{e9}\",\"m\":{\"b\":[\"x\"]}}"), "{\"a\":\"Ã©\",\"m\":{\"b\":[\"x\"]}}");
    assert_eq!(modified("char_encoding utf-8\n", "{\"a\":\"é\"}"), "{\"a\":\"é\"}");
}

#[test]
fn what_record_modifier_cannot_do_is_a_fault() {
    for (config, said) in [
        ("prepare_value require 'x'\n", "no Ruby is run"),
        ("remove_keys a\nwhitelist_keys b\n", "exclusive"),
        ("char_encoding nope:utf-8\n", "unknown encoding name"),
        ("char_encoding utf-8:euc-jp\n", "utf-8 alone"),
        ("<record>\na ${system(\"x\")}\n</record>\n", "system"),
    ] {
        let options = LoadOptions::new(Surroundings::default());
        let text = format!("<filter>\n@type record_modifier\n{config}</filter>\n");
        let root = load_text("test.conf", &text, &options).unwrap().root;
        let section = root.child("filter").unwrap();
        let plugin = super::FILTERS.iter().find(|p| p.names == ["record_modifier"]).unwrap();
        let mut faults = Diagnostics::new();
        let built = (plugin.build)(&mut BuildContext::new(section, &process(true), &REGISTRY, &mut faults));
        assert!(built.is_none() && faults.render().contains(said), "{config}: {}", faults.render());
    }
}
