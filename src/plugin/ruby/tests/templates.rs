//! Templates: whole values, text, keys, JSON, with and without Ruby.

use std::cell::RefCell;

use super::{FUNCTIONS, HOST, RECORD, TAG, TIME, packed};
use crate::event::{Arena, Owned, Record, Tag};
use crate::plugin::ruby::{Context, EvalError, Options, RubyError, Scratch, TagInfo, Template};

const RUBY: Options = Options { enable_ruby: true, auto_typecast: true, functions: FUNCTIONS };
const PLAIN: Options = Options { enable_ruby: false, ..RUBY };

/// What a template gives for an event, as JSON.
fn try_expand(text: &str, options: Options, json: &str, tag: &str) -> Result<String, EvalError> {
    let (bytes, arena, scratch) = (packed(json), Arena::new(), Scratch::new());
    let record = Record::decode(&bytes, &arena).unwrap();
    let tag = TagInfo::new(&Tag::from(tag));
    let template = Template::parse(text, &options).unwrap();
    let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
    let mut out = Vec::new();
    (FUNCTIONS.json_write)(template.expand(&cx, &arena)?, &mut out);
    Ok(String::from_utf8(out).unwrap())
}

fn expand(text: &str, options: Options) -> String {
    try_expand(text, options, RECORD, TAG).unwrap()
}

fn refused(text: &str) -> RubyError {
    Template::parse(text, &RUBY).unwrap_err()
}

#[test]
fn the_usual_small_expressions_give_what_fluentd_recorded() {
    let json = r#"{"a":2,"b":3.5,"s":"Hello","n":{"k":"v"},"csv":"p,q,r","numstr":"42","arr":[1,2]}"#;
    let cases = [
        ("${record[\"a\"] + record[\"b\"]}", "5.5"),
        ("${record[\"s\"].upcase}", "\"HELLO\""),
        ("${time.to_i}", "1704067200"),
        ("${record[\"s\"].gsub(/l+/, \"L\")}", "\"HeLo\""),
        ("${record[\"s\"][0, 3]}", "\"Hel\""),
        ("${record[\"a\"] > 1 ? \"big\" : \"small\"}", "\"big\""),
        ("${record[\"none\"] || \"default\"}", "\"default\""),
        ("${record.dig(\"n\", \"k\")}", "\"v\""),
        ("${record[\"n\"]&.fetch(\"k\", nil)}", "\"v\""),
        ("${record[\"csv\"].split(\",\")[1]}", "\"q\""),
        ("n=${record[\"a\"].to_s}", "\"n=2\""),
        ("${record.key?(\"s\")}", "true"),
        ("${tag_parts[1]}", "\"y\""),
        ("${tag.sub(\"x.\", \"\")}", "\"y\""),
        ("${record[\"n\"].to_json}", "\"{\\\"k\\\":\\\"v\\\"}\""),
        ("${record[\"arr\"].join(\"-\")}", "\"1-2\""),
        ("${[record[\"a\"], record[\"s\"]]}", "[2,\"Hello\"]"),
        ("${nil}", "null"),
        ("${tag_parts.size}", "2"),
        ("${tag_suffix[-2]}", "\"x.y\""),
    ];
    for (text, wanted) in cases {
        assert_eq!(try_expand(text, RUBY, json, "x.y").unwrap(), wanted, "{text}");
    }
}

#[test]
fn a_whole_placeholder_keeps_its_type_and_text_around_it_makes_text() {
    for options in [RUBY, PLAIN] {
        assert_eq!(expand("${record[\"a\"]}", options), "2");
        assert_eq!(expand("${record[\"arr\"]}", options), "[1,2]");
        assert_eq!(expand("${record[\"nilv\"]}", options), "null");
        assert_eq!(expand("-${record[\"a\"]}${record[\"b\"]}-", options), "\"-23.5-\"");
        assert_eq!(expand("${record[\"nilv\"]}.", options), "\".\"");
        assert_eq!(expand("${record[\"n\"]}.", options), r#""{\"k\" => \"v\", \"deep\" => {\"x\" => 1}}.""#);
        assert_eq!(expand("${record[\"arr\"]}.", options), "\"[1, 2].\"");
        assert_eq!(expand("${hostname} ${tag} ${tag_parts[-1]}", options), format!("\"{HOST} {TAG} suffix\""));
        assert_eq!(expand("${tag_prefix[1]} ${tag_prefix[-2]}", options), "\"prefix.test prefix.test.tag\"");
        assert_eq!(expand("${tag_suffix[2]} ${tag_suffix[-3]}", options), "\"tag.suffix test.tag.suffix\"");
    }
}

#[test]
fn without_typecast_everything_is_text() {
    for options in [Options { auto_typecast: false, ..RUBY }, Options { auto_typecast: false, ..PLAIN }] {
        assert_eq!(expand("${record[\"a\"]}", options), "\"2\"");
        assert_eq!(expand("${record[\"nilv\"]}", options), "\"\"");
        assert_eq!(expand("${record[\"arr\"]}", options), "\"[1, 2]\"");
        assert_eq!(expand("record[\"source\"][\"\"]", options), "\"record[\\\"source\\\"][\\\"\\\"]\"");
    }
}

#[test]
fn without_ruby_what_is_unknown_is_null_alone_and_empty_in_text() {
    for unknown in
        ["${unknown}", "${record['a']}", "${record[\"n\"][\"k\"]}", "${tag_parts[9]}", "${record[\"zz\"]}", "__OLD__"]
    {
        assert_eq!(expand(unknown, PLAIN), "null", "{unknown}");
        assert_eq!(expand(&format!("<{unknown}>"), PLAIN), "\"<>\"", "{unknown}");
    }
    assert_eq!(expand("#{1 + 1} \\n", PLAIN), "\"#{1 + 1} \\\\n\"");
    assert_eq!(expand("${}", PLAIN), "\"${}\"");
}

#[test]
fn without_ruby_somebody_is_told_of_unknown_placeholders() {
    let (bytes, arena, scratch) = (packed(RECORD), Arena::new(), Scratch::new());
    let record = Record::decode(&bytes, &arena).unwrap();
    let (tag, told) = (TagInfo::new(&Tag::from(TAG)), RefCell::new(Vec::new()));
    let notice = |placeholder: &str| told.borrow_mut().push(placeholder.to_owned());
    let templates = ["${nope}", "a ${tag} ${tag_parts[7]}", "${record[\"zz\"]}", "${record[\"a\"]}"];
    let templates = templates.map(|text| Template::parse(text, &PLAIN).unwrap());
    let cx = Context::new(&scratch, &tag, HOST, TIME, &record).with_notice(&notice);
    for template in &templates {
        template.expand(&cx, &arena).unwrap();
    }
    assert_eq!(*told.borrow(), ["${nope}", "${tag_parts[7]}", "${record[\"zz\"]}"]);
}

#[test]
fn time_prints_as_ruby_prints_it() {
    let shown = expand("${time}", PLAIN);
    assert!(shown.starts_with("\"202") && shown.len() == "\"2024-01-01 00:00:00 +0000\"".len(), "{shown}");
    assert_eq!(expand("${time}", RUBY), shown);
    assert_eq!(expand("${time.utc.to_s}", RUBY), "\"2024-01-01 00:00:00 UTC\"");
}

#[test]
fn with_ruby_plain_text_has_the_escapes_of_double_quotes() {
    assert_eq!(expand("a\\tb", RUBY), "\"a\\tb\"");
    assert_eq!(expand("say \"hi\" [x] ]", RUBY), "\"say \\\"hi\\\" [x] ]\"");
    assert_eq!(expand("sum #{1 + 1}", RUBY), "\"sum 2\"");
    assert_eq!(expand("${record[\"s\"]} \\${x} $ {", RUBY), "\"Hello #{x} $ {\"");
    assert_eq!(expand("${\"a}b\"}", RUBY), "\"a}b\"");
    assert_eq!(expand("${record.map{|k,v| k}.first}", RUBY), "\"a\"");
    assert_eq!(expand("x${record.select{|k,v| k == \"a\"}}", RUBY), "\"x{\\\"a\\\" => 2}\"");
    assert_eq!(expand("${\"in #{tag}\"}", RUBY), format!("\"in {TAG}\""));
    assert_eq!(expand("${\"${tag}\"}", RUBY), format!("\"{TAG}\""));
}

#[test]
fn json_values_are_expanded_at_every_depth_keys_included() {
    for options in [RUBY, PLAIN] {
        let text = r#"{"host":"${hostname}", "${tag}":100, "l":["${record[\"a\"]}", {"x":"-${tag_parts[0]}-"}, null, 1.5, true]}"#;
        let wanted = format!(r#"{{"host":"{HOST}","{TAG}":100,"l":[2,{{"x":"-prefix-"}},null,1.5,true]}}"#);
        assert_eq!(expand(text, options), wanted);
        assert_eq!(expand("[1, \"${tag}\"]", options), format!("[1,\"{TAG}\"]"));
        assert_eq!(expand("{}", options), "{}");
        assert_eq!(expand(r#"{"${tag}":1,"${tag_suffix[0]}":2}"#, options), format!("{{\"{TAG}\":2}}"));
    }
}

#[test]
fn what_looks_like_json_and_is_none_is_text_and_says_so() {
    let template = Template::parse("[not json", &PLAIN).unwrap();
    assert!(template.warning().unwrap().contains("failed to parse [not json as json. Assuming"));
    assert_eq!(expand("{oops ${tag}", PLAIN), format!("\"{{oops {TAG}\""));
    assert_eq!(Template::parse("[1]", &PLAIN).unwrap().warning(), None);
}

#[test]
fn keys_are_always_text() {
    let (bytes, arena, scratch) = (packed(RECORD), Arena::new(), Scratch::new());
    let record = Record::decode(&bytes, &arena).unwrap();
    let tag = TagInfo::new(&Tag::from(TAG));
    for (options, key, wanted) in [
        (RUBY, "${record[\"a\"]}", "2"),
        (PLAIN, "${record[\"a\"]}", "2"),
        (RUBY, "foo.${tag_parts[0]}", "foo.prefix"),
        (PLAIN, "plain", "plain"),
        (PLAIN, "{", "{"),
    ] {
        let template = Template::parse_key(key, &options).unwrap();
        let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
        assert_eq!(template.expand_key(&cx, &arena).unwrap(), wanted.as_bytes());
    }
}

#[test]
fn errors_name_the_expression_and_say_what_ruby_says() {
    let error = try_expand("${record[\"none\"][\"x\"]}", RUBY, RECORD, TAG).unwrap_err();
    assert_eq!(error.class, "NoMethodError");
    assert_eq!(
        error.to_string(),
        "failed to expand `${record[\"none\"][\"x\"]}` : error = undefined method '[]' for nil"
    );
    let error = try_expand("[\"${1 + nil}\"]", RUBY, RECORD, TAG).unwrap_err();
    assert_eq!(error.expression, "${1 + nil}");
    assert_eq!(error.message, "nil can't be coerced into Integer");
}

#[test]
fn refusals_point_into_the_template() {
    assert_eq!(refused("${record[\"a\"].foo}").offset, "${record[\"a\"].".len());
    assert_eq!(refused("abc ${record[\"a\"].foo} x").offset, "abc ${record[\"a\"].".len());
    let nested = refused(r#"{"k":"${foo}"}"#);
    assert!(nested.message.contains("in \"${foo}\" of the JSON value: unknown name `foo`"), "{nested}");
}

#[test]
fn values_that_no_record_holds_become_text() {
    assert_eq!(expand("${:sym}", RUBY), "\"sym\"");
    assert_eq!(expand("${1..3}", RUBY), "\"1..3\"");
    assert_eq!(expand("${/a/}", RUBY), "\"(?-mix:a)\"");
    assert_eq!(
        expand("${[:a, {b: 1..2, 3 => Time.at(0).utc}]}", RUBY),
        r#"["a",{"b":"1..2","3":"1970-01-01 00:00:00 UTC"}]"#
    );
    assert_eq!(expand("${2 ** 64 - 1}", RUBY), "18446744073709551615");
    assert_eq!(try_expand("${2 ** 64}", RUBY, RECORD, TAG).unwrap_err().class, "RangeError");
    assert_eq!(try_expand("${a = []; a << a; a}", RUBY, RECORD, TAG).unwrap_err().class, "ArgumentError");
}

/// Expands one template and tells which fields were changed in place, as JSON.
fn changes(texts: &[&str]) -> String {
    let (bytes, arena, scratch) = (packed(RECORD), Arena::new(), Scratch::new());
    let record = Record::decode(&bytes, &arena).unwrap();
    let tag = TagInfo::new(&Tag::from(TAG));
    let templates: Vec<Template> = texts.iter().map(|text| Template::parse(text, &RUBY).unwrap()).collect();
    let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
    for template in &templates {
        template.expand(&cx, &arena).unwrap();
    }
    let mut out = Vec::new();
    for (name, value) in cx.changed(&arena).unwrap() {
        out.extend_from_slice(name);
        out.push(b'=');
        (FUNCTIONS.json_write)(value, &mut out);
        out.push(b';');
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn changes_in_place_of_what_a_field_holds_are_told() {
    assert_eq!(
        changes(&["${record[\"labels\"].delete(\"tier\"); nil}"]),
        "labels={\"app.kubernetes.io/name\":\"web\"};"
    );
    assert_eq!(changes(&["${record[\"n\"][\"deep\"][\"y\"] = 2}"]), r#"n={"k":"v","deep":{"x":1,"y":2}};"#);
    assert_eq!(changes(&["${m = record[\"arr\"]; m << 3; m.size}"]), "arr=[1,2,3];");
    assert_eq!(changes(&["${record[\"arr\"] + [3]}", "${record[\"n\"].merge({})}", "${record[\"s\"]}"]), "");
    // The record itself was copied before: a field that is set or deleted does not show.
    assert_eq!(changes(&["${record[\"new\"] = 1; record.delete(\"a\"); record[\"n\"] = {}}"]), "");
}

#[test]
fn a_later_template_sees_what_an_earlier_one_changed() {
    let (bytes, arena, scratch) = (packed(RECORD), Arena::new(), Scratch::new());
    let record = Record::decode(&bytes, &arena).unwrap();
    let tag = TagInfo::new(&Tag::from(TAG));
    let first = Template::parse("${record[\"a\"] = 7}", &RUBY).unwrap();
    let second = Template::parse("${record[\"a\"]}", &RUBY).unwrap();
    let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
    first.expand(&cx, &arena).unwrap();
    assert_eq!(second.expand(&cx, &arena).unwrap(), crate::event::Value::Int(7));
}

#[test]
fn a_field_goes_out_as_it_came_in_without_a_copy() {
    let (bytes, arena, scratch) = (packed(RECORD), Arena::new(), Scratch::new());
    let record = Record::decode(&bytes, &arena).unwrap();
    let tag = TagInfo::new(&Tag::from(TAG));
    let before = arena.allocated();
    for options in [RUBY, PLAIN] {
        for text in ["${record[\"labels\"]}", "literal"] {
            let template = Template::parse(text, &options).unwrap();
            let cx = Context::new(&scratch, &tag, HOST, TIME, &record);
            // The arena outlives the template here, so the value is looked at and let go.
            let inside = Owned::from_value(expand_once(&template, &cx)).unwrap();
            assert_ne!(inside, Owned::Nil);
        }
    }
    assert_eq!(arena.allocated(), before);
}

fn expand_once<'a>(template: &'a Template, cx: &Context<'_, 'a>) -> crate::event::Value<'a> {
    thread_local! {
        static EMPTY: &'static Arena = Box::leak(Box::new(Arena::new()));
    }
    EMPTY.with(|arena| {
        let value = template.expand(cx, arena).unwrap();
        assert_eq!(arena.allocated(), 0);
        value
    })
}
