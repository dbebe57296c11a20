//! Expressions that ask for too much end soon, with an error.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{FUNCTIONS, HOST, TAG, TIME, packed, run, value};
use crate::event::{Arena, Record, Tag, msgpack};
use crate::plugin::ruby::limits::{MAX_SCRATCH_BYTES, MAX_TEXT_BYTES};
use crate::plugin::ruby::{Context, Options, Scratch, TagInfo, Template};

/// How long any expression of these tests may take in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn greedy_expressions_are_stopped() {
    for code in [
        "\"a\" * 1_000_000_000",
        "\"a\" * 10 ** 30",
        "(1..10**12).to_a",
        "(1..10**12).map { |x| x }",
        "(1..10**12).each_slice(2).to_a",
        "10_000_000_000.times { 1 }",
        "10_000_000_000.times.map { 1 }",
        "s = \"a\"; 40.times { s = s + s }; s.size",
        "s = \"a\"; 40.times { s << s }; s.size",
        "s = \"aaaaaaaaaa\"; 20.times { s = s.gsub(/a/, \"aaaaaaaaaa\") }; s.size",
        "s = \"a\" * 1000; s.gsub(/a/) { s.gsub(/a/) { s } }.size",
        "a = [1]; 40.times { a = a + a }; a.size",
        "a = [1]; 40.times { a.concat(a) }; a.size",
        "a = []; 100.times { a = [a, a] }; a.flatten.size",
        "a = []; 100.times { a = [a, a] }; a.inspect",
        "a = []; a << a; a.flatten",
        "a = []; a << a; a.to_json",
        "h = {}; h[\"h\"] = h; h.to_s",
        "a = [1]; a.each { |x| a << x }",
        "\"x\".ljust(10**12)",
        "\"x\".center(10**12, \"ab\")",
        "format(\"%1000000000d\", 1)",
        "format(\"%<a>99999d\" * 1000, a: 1)",
        "[1] * 10**12",
        "a = []; a[10**12] = 1",
        "a = (1..200000).to_a; a & a.map { |x| -x }",
        "a = (1..200000).to_a; a.uniq.size",
        "a = (1..100000).to_a; a.product(a).size",
        "(1..200000).to_a.sort { |a, b| (1..200000).to_a.size; 0 }",
        "10 ** 40",
        "1 << 200",
        "2 ** 2 ** 200",
        "\"z\".upto(\"zzzzzzzz\").to_a.size",
        "(\"a\"..\"zzzzzzzzzz\").to_a.size",
        "s = \"ab\" * 100000; s.chars.map { |c| s.index(\"zz\") }.size",
        "s = \"ab,\" * 1000000; s.split(\",\").size",
        "JSON.parse(\"[\" * 100000)",
        "JSON.parse(\"[\" + \"0,\" * 3_000_000 + \"0]\").size",
    ] {
        let begun = Instant::now();
        let got = run(code, false);
        let stopped = got.as_ref().is_ok_and(|got| got.starts_with('!'));
        assert!(stopped, "{code}: {got:?}");
        assert!(begun.elapsed() < PATIENCE, "{code}: {:?}", begun.elapsed());
    }
}

#[test]
fn structures_linked_to_themselves_are_compared_and_let_go() {
    assert_eq!(value("a = []; a << a; b = []; b << b; a == a"), "true");
    value("a = []; a << a; b = [1]; b << b; [a == b, a <=> b, a.eql?(b)].size");
    value("a = []; a << [a]; b = []; b << [b]; a == b");
    value("a = []; a << [a]; a.delete([[1]]); a.include?([a])");
    value("h = {}; h[h] = h; h[h]; h.key?({}); h.delete(h); h.size");
    value("a = []; 60.times { a = [a, a] }; b = []; 60.times { b = [b, b] }; a == b");
    value("a = [1]; a.push(a); [a].uniq.size");
}

#[test]
fn a_limit_can_not_be_rescued() {
    assert_eq!(run("(\"a\" * 10**12) rescue 1", false), Ok("!LimitError".into()));
    assert_eq!(run("begin; 10_000_000_000.times { 1 }; rescue => e; 1; end", false), Ok("!LimitError".into()));
    assert_eq!(run("begin; 10_000_000_000.times { 1 }; rescue Exception; 1; end", false), Ok("!LimitError".into()));
}

#[test]
fn blocks_that_change_what_they_walk_over_do_no_harm() {
    assert_eq!(value("a = [1, 2, 3]; a.each { |x| a.delete(x) }; a"), "[2]");
    assert_eq!(value("a = [1, 2, 3]; a.map { |x| a.clear; x }"), "[1]");
    assert_eq!(
        value("h = {\"a\" => 1, \"b\" => 2}; h.each { |k, v| h.delete(k); h[k + k] = v }; h"),
        r#"{"aa" => 1, "bb" => 2}"#
    );
    assert_eq!(value("a = [3, 1, 2]; a.sort { |x, y| a.clear; x <=> y }"), "[1, 2, 3]");
    assert_eq!(value("a = [3, 1, 2]; a.take_while { |x| a.clear; true }"), "[]");
    assert_eq!(value("a = [3, 1, 2]; a.delete_if { |x| a << 1 if a.size < 5; x > 2 }.size > 0"), "true");
    assert_eq!(value("a = [1]; a.fetch(3) { |x| a << x }"), "[1, 3]");
    assert_eq!(value("h = {\"k\" => \"1\"}; h.merge(h) { |k, a, b| h.clear; a + b }"), r#"{"k" => "11"}"#);
    assert_eq!(value("h = {\"k\" => 1}; h.transform_values! { |v| h.clear; v + 1 }"), r#"{"k" => 2}"#);
    assert_eq!(value("a = [[1, 2]]; a.each { |x, y| a[0] << 3; y }"), "[[1, 2, 3]]");
}

#[test]
fn an_order_that_contradicts_itself_sorts_somehow() {
    assert_eq!(value("(1..100).to_a.sort { |a, b| 1 }.size"), "100");
    assert_eq!(value("(1..100).to_a.sort { |a, b| (a * 7919 + b) % 3 - 1 }.size"), "100");
    assert_eq!(value("[0.0 / 0, 1.0].sort").split(':').next(), Some("!ArgumentError"));
}

#[test]
fn memory_of_one_event_is_bounded_over_all_its_expressions() {
    let (bytes, arena, mut scratch) = (packed("{}"), Arena::new(), Scratch::new());
    let record = Record::decode(&bytes, &arena).unwrap();
    let tag = TagInfo::new(&Tag::from(TAG));
    let options = Options { enable_ruby: true, auto_typecast: true, functions: FUNCTIONS };
    let template = Template::parse(&format!("${{(\"a\" * {}).size}}", MAX_TEXT_BYTES / 2), &options).unwrap();
    let most = 2 * MAX_SCRATCH_BYTES / MAX_TEXT_BYTES;
    let mut made = 0;
    {
        let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
        while template.expand(&cx, &arena).is_ok() {
            made += 1;
            assert!(made <= most);
        }
    }
    assert!(made > 0);
    // The next event begins anew.
    scratch.reset();
    let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
    assert!(template.expand(&cx, &arena).is_ok());
}

#[test]
fn a_record_of_millions_of_tiny_values_is_refused_when_opened_and_passed_on_when_not() {
    let mut bytes = Vec::new();
    msgpack::put_map_len(&mut bytes, 2);
    msgpack::put_str(&mut bytes, b"a");
    msgpack::put_array_len(&mut bytes, 3_000_000);
    bytes.resize(bytes.len() + 3_000_000, 0xc0);
    msgpack::put_str(&mut bytes, b"b");
    msgpack::put_int(&mut bytes, 1);
    let (arena, scratch) = (Arena::new(), Scratch::new());
    let record = Record::decode(&bytes, &arena).unwrap();
    let tag = TagInfo::new(&Tag::from(TAG));
    let options = Options { enable_ruby: true, auto_typecast: true, functions: FUNCTIONS };
    let parse = |text| Template::parse(text, &options).unwrap();
    let (whole, scalar, inside) =
        (parse("${record[\"a\"]}"), parse("${record[\"b\"] + 1}"), parse("${record[\"a\"][0]}"));
    let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
    assert!(whole.expand(&cx, &arena).is_ok());
    assert!(scalar.expand(&cx, &arena).is_ok());
    assert!(inside.expand(&cx, &arena).unwrap_err().message.contains("more than"));
}

/// Templates that look at a record in many ways.
const LOOKS: &[&str] = &[
    "${record}",
    "${record.to_json}",
    "${record.map { |k, v| v.to_s }.join}",
    "${record.inspect}",
    "a ${record[\"k\"]} b",
    "${record[\"k\"].to_s.upcase.gsub(/./, \"x\").split(\"x\", -1).size}",
    "${record[\"k\"]&.size}",
    "${record[\"k\"][\"k\"]}",
    "${record[\"k\"].to_s[0, 3].center(9).succ.tr(\"a-z\", \"b\")}",
    "${record.values.flatten.map(&:to_s).sort.uniq}",
    "${record.dig(\"k\", \"k\")}",
    "${record.values.sort}",
    "${record[\"k\"].to_i + record[\"k\"].to_f}",
    "${format(\"%5s|%d\", record[\"k\"], record[\"k\"])}",
    "${Time.at(record[\"k\"]).utc.to_s}",
    "${JSON.parse(record[\"k\"])}",
    "${record[\"k\"].capitalize.swapcase.reverse.squeeze.inspect}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_record_makes_an_expression_panic(
        text in prop::collection::vec(any::<u8>(), 0..40),
        number in any::<i64>(),
        float in any::<f64>(),
        which in 0..6,
    ) {
        let mut bytes = vec![0x81, 0xa1, b'k'];
        match which {
            0 => msgpack::put_str(&mut bytes, &text),
            1 => msgpack::put_int(&mut bytes, number),
            2 => msgpack::put_f64(&mut bytes, float),
            3 => bytes.extend_from_slice(&[0x92, 0xc0, 0x91, 0x01]),
            4 => bytes.extend_from_slice(&[0x82, 0x01, 0xc2, 0xa1, b'k', 0xd4, 0x05, 0x00]),
            _ => msgpack::put_uint(&mut bytes, number as u64),
        }
        let (arena, scratch) = (Arena::new(), Scratch::new());
        let record = Record::decode(&bytes, &arena).unwrap();
        let tag = TagInfo::new(&Tag::from(TAG));
        let options = Options { enable_ruby: true, auto_typecast: true, functions: FUNCTIONS };
        let templates: Vec<Template> = LOOKS.iter().map(|text| Template::parse(text, &options).unwrap()).collect();
        let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
        for template in &templates {
            let _ = template.expand(&cx, &arena);
        }
    }
}
