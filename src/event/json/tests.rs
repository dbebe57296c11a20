//! Reading and writing together: the edges of the grammar, round trips, hostile text.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value as Tree;

use super::*;
use crate::event::msgpack::{self, MAX_DEPTH};
use crate::event::{Arena, Owned, Record, Value};

/// The object in `text`, printed again.
fn printed(text: &[u8]) -> Result<String, JsonError> {
    let (arena, mut record, mut out) = (Arena::new(), Record::new(), Vec::new());
    parse_object(text, &arena, &mut record)?;
    write_record(&record, &mut out);
    Ok(String::from_utf8(out).unwrap())
}

/// The same by way of MessagePack only.
fn printed_raw(text: &[u8]) -> Result<String, JsonError> {
    let (mut raw, mut out) = (Vec::new(), Vec::new());
    append_value(text, &mut raw)?;
    assert_eq!(msgpack::skip(&raw), Ok(raw.len()));
    write_map(&raw, &mut out).unwrap();
    Ok(String::from_utf8(out).unwrap())
}

fn reason(text: &str) -> Reason {
    printed(text.as_bytes()).unwrap_err().reason
}

fn nest(open: &str, inner: &str, close: &str, levels: usize) -> String {
    [&open.repeat(levels), inner, &close.repeat(levels)].concat()
}

#[test]
fn objects_come_out_as_they_went_in() {
    for (text, expected) in [
        ("{}", "{}"),
        (" \t\r\n{ } \n", "{}"),
        (r#"{"a":1}"#, r#"{"a":1}"#),
        (r#"{ "a" : 1 , "b" : [ 1 , 2 ] , "c" : { } }"#, r#"{"a":1,"b":[1,2],"c":{}}"#),
        (r#"{"":null,"t":true,"f":false}"#, r#"{"":null,"t":true,"f":false}"#),
        (
            r#"{"a":[],"b":[[]],"c":[{}],"d":{"e":{"f":[null]}}}"#,
            r#"{"a":[],"b":[[]],"c":[{}],"d":{"e":{"f":[null]}}}"#,
        ),
        (r#"{"a":-0,"b":-0.0,"c":1e3,"d":1E-2,"e":0.5}"#, r#"{"a":0,"b":-0.0,"c":1000.0,"d":0.01,"e":0.5}"#),
        (r#"{"a":18446744073709551615}"#, r#"{"a":18446744073709551615}"#),
        (r#"{"a":18446744073709551616}"#, r#"{"a":1.8446744073709552e+19}"#),
        (r#"{"a":1e400}"#, r#"{"a":null}"#),
        (r#"{"k\u00e9\n":"\u3042\ud83d\ude00\/"}"#, "{\"ké\\n\":\"あ😀/\"}"),
        (r#"{"a":["x\ty","\"",""],"b":{"\\":"\\"}}"#, r#"{"a":["x\ty","\"",""],"b":{"\\":"\\"}}"#),
        ("{\"raw\ttab\":\"line\nfeed\"}", r#"{"raw\ttab":"line\nfeed"}"#),
        ("{\"nul\":\"a\0b\"}", r#"{"nul":"a\u0000b"}"#),
        ("{/* one */\"a\"//two\n:/**/1}// end", r#"{"a":1}"#),
    ] {
        assert_eq!(printed(text.as_bytes()).as_deref(), Ok(expected), "{text}");
        assert_eq!(printed_raw(text.as_bytes()).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_reason() {
    for (text, expected) in [
        ("", Reason::Truncated),
        (" ", Reason::Truncated),
        ("{", Reason::Truncated),
        (r#"{"a"#, Reason::Truncated),
        (r#"{"a\"#, Reason::Truncated),
        (r#"{"a""#, Reason::Truncated),
        (r#"{"a":"#, Reason::Truncated),
        (r#"{"a":tru"#, Reason::Truncated),
        (r#"{"a":1"#, Reason::Truncated),
        (r#"{"a":-"#, Reason::Truncated),
        (r#"{"a":1,"#, Reason::Truncated),
        (r#"{"a":[1"#, Reason::Truncated),
        ("{/* ", Reason::Truncated),
        ("{/*/}", Reason::Truncated),
        (r#"{"a":1,}"#, Reason::Unexpected),
        (r#"{,}"#, Reason::Unexpected),
        (r#"{"a":1,,"b":2}"#, Reason::Unexpected),
        (r#"{"a" 1}"#, Reason::Unexpected),
        (r#"{"a":}"#, Reason::Unexpected),
        (r#"{"a":1 "b":2}"#, Reason::Unexpected),
        (r#"{a:1}"#, Reason::Unexpected),
        (r#"{'a':1}"#, Reason::Unexpected),
        (r#"{1:1}"#, Reason::Unexpected),
        (r#"{"a":trux}"#, Reason::Unexpected),
        (r#"{"a":TRUE}"#, Reason::Unexpected),
        (r#"{"a":nul}"#, Reason::Unexpected),
        (r#"{"a":[1,]}"#, Reason::Unexpected),
        (r#"{"a":[,1]}"#, Reason::Unexpected),
        (r#"{"a":[1}}"#, Reason::Unexpected),
        (r#"{"a":[1 2]}"#, Reason::Unexpected),
        (r#"{"a":{"b"}}"#, Reason::Unexpected),
        (r#"{"a":truefalse}"#, Reason::Unexpected),
        (r#"{"a":1x}"#, Reason::Unexpected),
        (r#"{"a":0x10}"#, Reason::Unexpected),
        ("{/a}", Reason::Unexpected),
        ("{\u{a0}}", Reason::Unexpected),
        ("\u{feff}{}", Reason::Unexpected),
        ("{\0}", Reason::Unexpected),
        ("not json", Reason::Unexpected),
        ("}", Reason::Unexpected),
        (r#"{"a":01}"#, Reason::Number),
        (r#"{"a":-01}"#, Reason::Number),
        (r#"{"a":+1}"#, Reason::Number),
        (r#"{"a":.5}"#, Reason::Number),
        (r#"{"a":1.}"#, Reason::Number),
        (r#"{"a":1e}"#, Reason::Number),
        (r#"{"a":-}"#, Reason::Number),
        (r#"{"a":NaN}"#, Reason::Number),
        (r#"{"a":Infinity}"#, Reason::Number),
        (r#"{"a":-Infinity}"#, Reason::Number),
        (r#"{"a":"\u12g4"}"#, Reason::Escape),
        (r#"{"\u":1}"#, Reason::Escape),
        (r#"{"a":1} trailing"#, Reason::Trailing),
        (r#"{"a":1}}"#, Reason::Trailing),
        (r#"{}{}"#, Reason::Trailing),
        ("1 2", Reason::Trailing),
        ("[] x", Reason::Trailing),
    ] {
        assert_eq!(reason(text), expected, "{text}");
    }
}

#[test]
fn valid_json_that_is_no_object_is_told_by_its_kind() {
    for (text, kind) in [
        ("null", Kind::Null),
        (" true ", Kind::Bool),
        ("false", Kind::Bool),
        ("-1.5e3", Kind::Number),
        (r#""str""#, Kind::String),
        (r#""\n""#, Kind::String),
        ("[1,2]", Kind::Array),
        ("// remark\n[{}]", Kind::Array),
    ] {
        let error = printed(text.as_bytes()).unwrap_err();
        assert_eq!(error.reason, Reason::NotObject(kind), "{text}");
        assert!(error.is_valid_json());
        assert_eq!(Kind::of(text.as_bytes()), Some(kind));
    }
    assert_eq!(reason("[1,2"), Reason::Truncated);
    assert_eq!(reason("nul"), Reason::Truncated);
}

#[test]
fn errors_tell_the_place() {
    for (text, offset) in
        [(r#"{"a":1,}"#, 7), (r#"{"a":"x\u12g4"}"#, 7), (r#"{"a":1} x"#, 8), (r#"{"a":1"#, 6), (r#"{"a": 01}"#, 6)]
    {
        let error = printed(text.as_bytes()).unwrap_err();
        assert_eq!(error.offset, offset, "{text}");
        assert!(error.to_string().contains(&format!("byte {offset}")), "{error}");
    }
}

#[test]
fn a_failed_object_leaves_the_record_empty_and_the_output_as_it_was() {
    let (arena, mut record) = (Arena::new(), Record::new());
    record.set(b"old", Value::Nil);
    assert!(parse_object(br#"{"a":1,"b":}"#, &arena, &mut record).is_err());
    assert!(record.is_empty());
    let mut out = b"before".to_vec();
    assert!(append_value(br#"[1,{"a":[2,3"#, &mut out).is_err());
    assert_eq!(out, b"before");
}

#[test]
fn a_repeated_name_has_the_last_value_at_the_first_place() {
    for (text, expected) in [
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
        (r#"{"a":1,"\u0061":[2]}"#, r#"{"a":[2]}"#),
        (r#"{"n":{"a":1,"b":[1,2],"a":{"x":1,"x":2},"c":3},"m":0}"#, r#"{"n":{"a":{"x":2},"b":[1,2],"c":3},"m":0}"#),
        (r#"{"n":[{"":1,"":2},{"k":1,"k":2,"k":3}]}"#, r#"{"n":[{"":2},{"k":3}]}"#),
    ] {
        assert_eq!(printed(text.as_bytes()).as_deref(), Ok(expected), "{text}");
        assert_eq!(printed_raw(text.as_bytes()).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn repeated_names_are_settled_in_objects_of_any_size() {
    for names in [15, 16, 17, 63, 64, 65, 300, 70_000] {
        let once = |value: &str| (0..names).map(|n| format!(r#""k{n}":{value}"#)).collect::<Vec<_>>().join(",");
        let expected = format!("{{{}}}", once("[1]"));
        let flat = format!("{{{},{}}}", once("0"), once("[1]"));
        assert!(printed(flat.as_bytes()).unwrap() == expected, "{names}");
        assert!(printed_raw(flat.as_bytes()).unwrap() == expected, "{names}");
        let nested = format!(r#"{{"o":{flat}}}"#);
        assert!(printed(nested.as_bytes()).unwrap() == format!(r#"{{"o":{expected}}}"#), "{names}");
    }
}

#[test]
fn containers_and_strings_of_every_header_size_come_back() {
    for len in [0, 1, 15, 16, 17, 31, 32, 33, 255, 256, 65_535, 65_536] {
        let array = format!(r#"{{"a":[{}],"z":1}}"#, vec!["0"; len].join(","));
        assert!(printed(array.as_bytes()).unwrap() == array, "array of {len}");
        let plain = format!(r#"{{"a":["{0}"],"{0}":"{0}"}}"#, "x".repeat(len));
        let escaped = plain.replace('x', "\\u0078");
        for text in [&plain, &escaped] {
            assert!(printed(text.as_bytes()).unwrap() == plain, "string of {len}");
            assert!(printed_raw(text.as_bytes()).unwrap() == plain, "string of {len}");
        }
        let mut raw = Vec::new();
        append_value(escaped.as_bytes(), &mut raw).unwrap();
        let mut minimal = Vec::new();
        append_value(plain.as_bytes(), &mut minimal).unwrap();
        assert!(raw == minimal, "string of {len}");
    }
}

#[test]
fn plain_strings_point_into_the_text() {
    let (arena, mut record) = (Arena::new(), Record::new());
    let text = br#"{"key":"value"}"#;
    parse_object(text, &arena, &mut record).unwrap();
    let (name, value) = record.iter().next().unwrap();
    assert!(text.as_ptr_range().contains(&name.as_ptr()));
    assert!(text.as_ptr_range().contains(&value.as_bytes().unwrap().as_ptr()));
    assert_eq!(arena.allocated(), 0);
}

#[test]
fn broken_utf8_is_kept_by_the_reader_and_replaced_by_the_writer() {
    let (arena, mut record) = (Arena::new(), Record::new());
    let text = b"{\"k\xff\":\"a\xc3\",\"n\":[\"\xe3\x81\\n\"]}";
    parse_object(text, &arena, &mut record).unwrap();
    assert_eq!(record.get(b"k\xff"), Some(Value::Str(b"a\xc3")));
    assert_eq!(printed(text).unwrap(), "{\"k\u{fffd}\":\"a\u{fffd}\",\"n\":[\"\u{fffd}\\n\"]}");
}

#[test]
fn values_of_any_kind_are_read_whole() {
    let arena = Arena::new();
    for (text, value) in [
        (" null ", Value::Nil),
        ("12", Value::Int(12)),
        (r#""a""#, Value::str("a")),
        (r#""\t""#, Value::str("\t")),
        ("[1]", Value::Array(&[0x91, 1])),
        (r#"{"a":null}"#, Value::Map(&[0x81, 0xa1, b'a', 0xc0])),
    ] {
        assert_eq!(parse_value(text.as_bytes(), &arena), Ok(value), "{text}");
    }
    assert_eq!(parse_value(b"1 2", &arena).unwrap_err().reason, Reason::Trailing);
    assert_eq!(parse_value(b"", &arena).unwrap_err().reason, Reason::Truncated);
}

#[test]
fn concatenated_values_are_read_one_after_the_other() {
    let text = br#"{"a":1}["t",2]  "s"3 nulltrue"#;
    let (mut at, mut out, mut ends) = (0, Vec::new(), Vec::new());
    while at < text.len() {
        at += append_value(&text[at..], &mut out).unwrap();
        ends.push(at);
    }
    assert_eq!(ends, [7, 14, 19, 20, 25, 29]);
    assert_eq!(out, [0x81, 0xa1, b'a', 1, 0x92, 0xa1, b't', 2, 0xa1, b's', 3, 0xc0, 0xc3]);
}

#[test]
fn nesting_is_taken_to_the_limit_and_refused_past_it() {
    // The record itself is one level.
    let array = |levels| nest("[", "", "]", levels);
    let object = |levels| nest(r#"{"a":"#, "1", "}", levels);
    assert!(printed(format!(r#"{{"a":{}}}"#, array(MAX_DEPTH - 1)).as_bytes()).is_ok());
    assert_eq!(reason(&format!(r#"{{"a":{}}}"#, array(MAX_DEPTH))), Reason::TooDeep);
    assert!(printed(object(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(reason(&object(MAX_DEPTH + 1)), Reason::TooDeep);
    let mut raw = Vec::new();
    append_value(object(MAX_DEPTH).as_bytes(), &mut raw).unwrap();
    assert_eq!(msgpack::skip(&raw), Ok(raw.len()));
    let (arena, mut record) = (Arena::new(), Record::new());
    let deepest = array(MAX_DEPTH - 1);
    record.set(b"field", parse_value(deepest.as_bytes(), &arena).unwrap());
    raw.clear();
    record.encode(&mut raw);
    assert_eq!(msgpack::skip(&raw), Ok(raw.len()));
}

#[test]
fn depth_bombs_are_refused_quickly() {
    let levels = 100_000;
    let start = Instant::now();
    for bomb in ["[".repeat(levels), r#"{"a":"#.repeat(levels), nest(r#"{"a":["#, "", "]}", levels)] {
        assert_eq!(reason(&bomb), Reason::TooDeep);
        assert_eq!(reason(&format!(r#"{{"a":{bomb}"#)), Reason::TooDeep);
        assert_eq!(append_value(bomb.as_bytes(), &mut Vec::new()).unwrap_err().reason, Reason::TooDeep);
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn hostile_text_takes_time_in_proportion_to_its_length() {
    let start = Instant::now();
    let same = format!("{{{}\"a\":1}}", r#""a":1,"#.repeat(200_000));
    assert_eq!(printed(same.as_bytes()).as_deref(), Ok(r#"{"a":1}"#));
    let many = (0..100_000).map(|n| format!(r#""{n}":{n}"#)).collect::<Vec<_>>().join(",");
    assert!(printed(format!("{{{many}}}").as_bytes()).is_ok());
    // Repeated names at every level make every level be rewritten, but never walked.
    let deep = nest(r#"{"a":1,"a":"#, &format!(r#""{}""#, "x".repeat(1_000_000)), "}", MAX_DEPTH);
    assert!(printed(deep.as_bytes()).is_ok());
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// JSON as serde has it; numbers that both sides hold.
fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<u64>().prop_map(Tree::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Tree::from),
        any::<String>().prop_map(Tree::from),
        "[a-z \"\\\\\n]{0,40}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(5, 100, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Tree::from),
            prop::collection::vec((".{0,6}", inner), 0..20).prop_map(|pairs| Tree::Object(pairs.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Tree> {
    prop::collection::vec((".{0,12}", tree()), 0..25).prop_map(|pairs| Tree::Object(pairs.into_iter().collect()))
}

/// Equal, but for the last bit of floats: serde_json reads those only nearly right. `number.rs` and `float.rs` test exactly.
fn same(a: &Tree, b: &Tree) -> bool {
    match (a, b) {
        (Tree::Number(x), Tree::Number(y)) if x.is_f64() && y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            x == y || (x - y).abs() <= x.abs() * 1e-15 || x.abs() < f64::MIN_POSITIVE
        }
        (Tree::Array(x), Tree::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Tree::Object(x), Tree::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

/// Text that looks like JSON more often than random bytes do.
fn almost_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "d83d", "\\ude00", "a", "\"a\"", "1", "-", ".", "e9", "0",
        "true", "nul", "null", " ", "\n", "/", "/*", "*/", "//", "\u{e9}", "\0", "{\"a\":", "[[",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|parts| parts.concat().into_bytes())
}

fn never_panics(text: &[u8]) {
    let (arena, mut record, mut out) = (Arena::new(), Record::new(), Vec::new());
    let whole = parse_object(text, &arena, &mut record);
    let raw = append_value(text, &mut out);
    assert!(raw.is_ok() || whole.is_err());
    if whole.is_ok() {
        assert_eq!(printed(text).unwrap(), printed_raw(text).unwrap());
    }
    assert_eq!(printed_but(text, "a"), removed(text, "a"));
    let _ = parse_value(text, &arena);
    let mut splitter = Splitter::new();
    let mut rest = text;
    while let Some(end) = splitter.next_end(rest) {
        assert!(end > 0);
        rest = &rest[end..];
    }
    let mut elements = Elements::new(text);
    while let Some(element) = elements.as_mut().and_then(|e| e.next_record(&arena, &mut record)) {
        let _ = element;
    }
    let mut out = Vec::new();
    let _ = write_map(text, &mut out);
    assert!(std::str::from_utf8(&out).is_ok());
}

/// The same without a field, by way of MessagePack, and that field.
fn printed_but(text: &[u8], apart: &str) -> Result<(String, Option<Owned>), JsonError> {
    let (arena, mut raw, mut out) = (Arena::new(), vec![7], Vec::new());
    let taken = append_object(text, apart.as_bytes(), &arena, &mut raw).inspect_err(|_| assert_eq!(raw, [7]))?;
    write_map(&raw[1..], &mut out).unwrap();
    Ok((String::from_utf8(out).unwrap(), taken.map(|value| Owned::from_value(value).unwrap())))
}

/// The same by way of a record.
fn removed(text: &[u8], apart: &str) -> Result<(String, Option<Owned>), JsonError> {
    let (arena, mut record, mut out) = (Arena::new(), Record::new(), Vec::new());
    parse_object(text, &arena, &mut record)?;
    let taken = record.remove(apart.as_bytes()).map(|value| Owned::from_value(value).unwrap());
    write_record(&record, &mut out);
    Ok((String::from_utf8(out).unwrap(), taken))
}

/// Objects whose fields come and go, in a row; some of them are no JSON.
fn run() -> impl Strategy<Value = Vec<String>> {
    let name = prop::sample::select(vec!["a", "b", "t", "", "a\\n", "long name that fits no block of 32 bytes"]);
    let texts = vec![
        "1",
        "\"x\"",
        "12345678",
        "0",
        "01",
        "1.5",
        "-7",
        "1e3",
        "null",
        "\"\"",
        "\"a\\nb\"",
        "\"é\"",
        "{\"a\":1}",
        "[1,{\"b\":2}]",
        "tru",
        "\"a text of just 32 bytes, or nearly\"",
        " 7",
        "7 ",
        "123456",
        "256",
        "\"open",
    ];
    let usual = prop::sample::select(vec![
        r#"{"a":1,"t":5,"b":"x"}"#,
        r#"{"a":"y","b":"z"}"#,
        r#"{"a": 70000, "t": 5, "b": "x"}"#,
        r#"{"t":1.5,"a\n":{"b":[]},"b":"a longer text that takes more than a block"}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"t":1,"t":2}"#,
        r#"{"a":1,"t":5,"b":"x"} "#,
        r#"{"a":1,"t":5,"b":"x","c":1}"#,
        r#"{"a":1,"t":5,"b":"x"x"#,
        "{}",
    ]);
    let field = (name, prop::sample::select(texts)).prop_map(|(name, value)| format!("\"{name}\":{value}"));
    let other = prop::collection::vec(field, 0..5).prop_map(|fields| format!("{{{}}}", fields.join(",")));
    prop::collection::vec(prop_oneof![4 => usual.prop_map(str::to_owned), 1 => other], 1..40)
}

proptest! {
    #[test]
    fn objects_in_a_row_are_read_and_printed_as_each_alone(run in run()) {
        let (arena, mut writer) = (Arena::new(), Writer::new());
        for text in &run {
            let (mut own, mut raw) = (Vec::new(), Vec::new());
            let alone = Arena::new();
            let expected = append_object(text.as_bytes(), b"t", &alone, &mut own);
            prop_assert_eq!(append_object(text.as_bytes(), b"t", &arena, &mut raw), expected, "{}", text);
            prop_assert_eq!(&raw, &own, "{}", text);
            // Printed where other bytes stand behind it, and where it is cut.
            for map in [[&own[..], &own].concat(), own.clone(), own[..own.len().saturating_sub(1)].to_vec()] {
                let (mut one, mut other, mut pos) = (Vec::new(), Vec::new(), 0);
                let printed = writer.write_map_at(&map, &mut pos, &mut one);
                prop_assert_eq!(printed, write_map(map.get(..own.len()).unwrap_or(&map), &mut other), "{}", text);
                prop_assert_eq!(&one, &other, "{}", text);
                prop_assert_eq!(pos, if printed.is_ok() { own.len() } else { 0 });
            }
        }
        let whole = run.iter().filter(|text| serde_json::from_str::<Tree>(text).is_ok());
        let array = format!("[{}]", whole.map(String::as_str).collect::<Vec<_>>().join(","));
        let (mut elements, arena) = (Elements::new(array.as_bytes()).unwrap(), Arena::new());
        let mut raw = Vec::new();
        while let Some(element) = elements.append_next(b"t", &arena, &mut raw) {
            element.unwrap();
        }
        let mut own = Vec::new();
        for text in run.iter().filter(|text| serde_json::from_str::<Tree>(text).is_ok()) {
            append_object(text.as_bytes(), b"t", &Arena::new(), &mut own).unwrap();
        }
        prop_assert_eq!(raw, own);
    }
}

/// Runs of the tests whose input is large; random trees take long to make.
const LARGE_CASES: u32 = 48;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(LARGE_CASES))]

    #[test]
    fn objects_survive_reading_and_writing(tree in object(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap();
        for printed in [printed(text.as_bytes()), printed_raw(text.as_bytes())] {
            let back: Tree = serde_json::from_str(&printed.unwrap()).unwrap();
            prop_assert!(same(&back, &tree), "{text} {back}");
        }
    }

    #[test]
    fn elements_of_arrays_survive_reading_and_writing(trees in prop::collection::vec(object(), 0..5)) {
        let text = serde_json::to_string(&trees).unwrap();
        let (arena, mut record, mut back) = (Arena::new(), Record::new(), Vec::<Tree>::new());
        let mut elements = Elements::new(text.as_bytes()).unwrap();
        while let Some(element) = elements.next_record(&arena, &mut record) {
            element.unwrap();
            let mut out = Vec::new();
            write_record(&record, &mut out);
            back.push(serde_json::from_slice(&out).unwrap());
        }
        prop_assert!(same(&Tree::from(back), &Tree::from(trees)), "{text}");
    }

    #[test]
    fn every_cut_of_an_object_is_truncated(tree in object()) {
        let text = serde_json::to_string(&tree).unwrap();
        for cut in 0..text.len().min(300) {
            prop_assert_eq!(printed(&text.as_bytes()[..cut]).unwrap_err().reason, Reason::Truncated, "{}", &text);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(text: Vec<u8>) {
        never_panics(&text);
    }

    #[test]
    fn text_that_is_almost_json_never_panics(text in almost_json()) {
        never_panics(&text);
    }

    #[test]
    fn what_serde_takes_is_taken_and_means_the_same(text in almost_json()) {
        if let Ok(tree) = serde_json::from_slice::<Tree>(&text) && tree.is_object() {
            let back: Tree = serde_json::from_str(&printed(&text).unwrap()).unwrap();
            prop_assert!(same(&back, &tree), "{tree} {back}");
        }
    }
}
