//! What `de` promises, case by case.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::config::fluentd;
use crate::config::regexp::Regexp;
use crate::config::ruby::Surroundings;
use crate::config::secret::Secret;
use crate::config::session::Session;
use crate::config::span::Source;
use crate::config::types::{Pairs, Size, SizeLimit, Spanned, TimeSpan};

fn section(text: &str) -> Section {
    let around = Surroundings::default();
    let mut session = Session::new(&around, encoding_rs::UTF_8);
    let source = Source::new("t.conf", format!("<match a.**>\n{text}\n</match>"));
    let root = fluentd::parse_into(Section::root(), &source, Path::new(""), &mut session);
    assert!(!session.faults.has_errors(), "{}", session.faults.render());
    root.children[0].clone()
}

fn read<T: DeserializeOwned>(text: &str) -> Outcome<T> {
    from_section(&section(text), Options::default())
}

fn good<T: DeserializeOwned>(text: &str) -> T {
    let outcome = read(text);
    assert!(outcome.faults.is_empty(), "{text}\n{}", outcome.faults.render());
    outcome.value.unwrap()
}

fn lines(faults: &Diagnostics) -> Vec<String> {
    faults.iter().map(|fault| format!("{}:{} {}", fault.span.line(), fault.span.column(), fault.message)).collect()
}

#[derive(Debug, Deserialize, PartialEq, Clone, Copy, Default)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Fast,
    VerySlow,
}

#[derive(Debug, Deserialize)]
struct Everything {
    port: u16,
    name: String,
    flag: bool,
    ratio: f64,
    size: Size,
    limit: SizeLimit,
    wait: TimeSpan,
    mode: Mode,
    pattern: Regexp,
    keys: Vec<String>,
    numbers: Vec<i64>,
    hash: BTreeMap<String, String>,
    spans: BTreeMap<String, TimeSpan>,
    shared_key: Secret,
    maybe: Option<u32>,
    #[serde(default)]
    absent: Option<u32>,
    #[serde(default, alias = "old_name")]
    new_name: String,
    place: Spanned<String>,
}

const EVERYTHING: &str = "port 80\nname \"x y\"\nflag\nratio 0.5\nsize 64K\nlimit -1\nwait 2m\nmode very_slow\npattern /a.c/i\n\
    keys a, b\nnumbers [1, \"2\", 3]\nhash {\"a\":1,\"b\":{\"c\":true}}\nspans x:1s,y:2m\nshared_key canary\nmaybe 7\nold_name o\nplace here";

#[test]
fn every_type_of_parameter_is_converted() {
    let all: Everything = good(EVERYTHING);
    assert_eq!((all.port, all.name.as_str(), all.flag, all.ratio), (80, "x y", true, 0.5));
    assert_eq!(
        (all.size, all.limit, all.wait, all.mode),
        (Size::kib(64), SizeLimit(None), TimeSpan::secs(120.0), Mode::VerySlow)
    );
    assert!(all.pattern.is_match(b"ABC"));
    assert_eq!((all.keys, all.numbers), (vec!["a".to_owned(), "b".to_owned()], vec![1, 2, 3]));
    assert_eq!(all.hash, BTreeMap::from([("a".into(), "1".into()), ("b".into(), "{\"c\":true}".into())]));
    assert_eq!(all.spans["y"], TimeSpan::secs(120.0));
    assert_eq!((all.shared_key.expose(), all.maybe, all.absent, all.new_name.as_str()), ("canary", Some(7), None, "o"));
    assert_eq!((all.place.as_str(), all.place.span.line()), ("here", 18));
}

#[derive(Debug, Deserialize)]
struct Small {
    port: u16,
    name: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    flag: bool,
    #[serde(default)]
    size: Size,
    #[serde(default)]
    keys: Vec<u8>,
    #[serde(default)]
    pattern: Option<Regexp>,
    #[serde(default)]
    key: Option<String>,
}

#[test]
fn all_faults_of_a_section_are_found_in_one_run() {
    let outcome = read::<Small>("port 70000\nmode fst\nflag True\nsize -5\nkeys [1, 300]\npattern /(/\nkey x\nflg 1");
    assert!(outcome.value.is_none());
    assert_eq!(
        lines(&outcome.faults),
        [
            "2:6 port: 70000 is too large",
            "3:6 mode: valid options are fast,very_slow but got 'fst'",
            "4:6 flag: invalid bool value: \"True\"",
            "5:6 size: -5 must not be negative",
            "6:6 keys: 300 is too large",
            "7:9 pattern: invalid regexp: a group is never closed; a ')' is missing",
            "1:1 'port' parameter is required in <match a.**>",
            "1:1 'name' parameter is required in <match a.**>",
            "9:1 parameter 'flg' in <match a.**> is not used",
        ]
    );
    let helps: Vec<_> = outcome.faults.iter().filter_map(|fault| fault.help.as_deref()).collect();
    assert_eq!(helps, ["did you mean 'fast'?", "did you mean 'flag'?"]);
}

#[test]
fn nil_is_none_and_a_fault_where_a_value_must_be() {
    let some: Small = good("port 1\nname x\nkey \"#{use_nil}\"");
    assert_eq!(some.key, None);
    let none = read::<Small>("port \"#{use_nil}\"\nname x");
    assert!(lines(&none.faults)[0].contains("port: parameter is required but nil is specified"), "{:?}", none.faults);
    let default: Small = good("port 1\nname x\nflag \"#{use_default}\"");
    assert!(!default.flag);
    assert!(
        lines(&read::<Small>("port \"#{use_default}\"\nname x").faults)[0].contains("'port' parameter is required")
    );
    assert_eq!(
        (default.port, default.name.as_str(), default.mode, default.size, default.keys.len()),
        (1, "x", Mode::Fast, Size(0), 0)
    );
    assert!(default.pattern.is_none());
}

#[test]
fn lenient_numbers_are_noted_and_strict_ones_are_refused() {
    let outcome = read::<Small>("port 12abc\nname x\nsize 1.5m");
    assert_eq!(outcome.value.as_ref().map(|v| (v.port, v.size)), Some((12, Size::mib(5))));
    assert_eq!(outcome.faults.len(), 2, "{}", outcome.faults.render());
    let strict = Options { strict_values: true, ..Options::default() };
    let outcome = from_section::<Small>(&section("port 12abc\nname x"), strict);
    assert!(lines(&outcome.faults)[0].contains("invalid value for Integer(): \"12abc\""));
    assert!(from_section::<Small>(&section("port 0x1f\nname x"), strict).value.is_some_and(|v| v.port == 31));
}

#[test]
fn unknown_names_warn_or_fail_and_those_read_elsewhere_do_not() {
    let text = "@type x\n@id y\n@label @Z\n@log_level info\nport 1\nname x\nflush_mode lazy\nprot 2\n<buffer>\n  any 1\n</buffer>\n<fomat>\n</fomat>";
    let elsewhere = &["buffer", "flush_mode", "format"];
    let outcome = from_section::<Small>(&section(text), Options { elsewhere, ..Options::default() });
    assert!(outcome.value.is_some());
    assert_eq!(
        lines(&outcome.faults),
        ["9:1 parameter 'prot' in <match a.**> is not used", "13:1 section <fomat> in <match a.**> is not used"]
    );
    let helps: Vec<_> = outcome.faults.iter().filter_map(|fault| fault.help.as_deref()).collect();
    assert_eq!(helps, ["did you mean 'port'?", "did you mean 'format'?"]);
    let strict = Options { elsewhere, strict_names: true, ..Options::default() };
    assert!(from_section::<Small>(&section(text), strict).value.is_none());
}

#[derive(Debug, Deserialize, PartialEq)]
struct Server {
    host: String,
    #[serde(default)]
    port: u16,
}

#[derive(Debug, Deserialize)]
struct Transport {
    #[serde(rename = "$arg", default)]
    protocol: Protocol,
    #[serde(default)]
    version: String,
}

#[derive(Debug, Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    #[default]
    Tcp,
    Tls,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(rename = "$arg")]
    #[expect(dead_code, reason = "only read")]
    name: String,
}

#[derive(Debug, Deserialize)]
struct Shared {
    #[serde(default)]
    time_key: Option<String>,
    #[serde(default)]
    utc: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Nested {
    #[serde(default)]
    server: Vec<Server>,
    #[serde(default)]
    transport: Option<Transport>,
    #[serde(default)]
    record: Pairs,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    store: Vec<Section>,
    #[serde(default)]
    parse: Option<Section>,
    #[serde(default)]
    named: Option<Named>,
    #[serde(rename = "$same_time")]
    time: Shared,
}

#[test]
fn child_sections_are_structs_lists_pairs_and_sections() {
    let nested: Nested = good(
        "time_key t\n<server>\nhost a\nport 1\n</server>\n<server>\nhost b\n</server>\n<transport tls>\nversion TLSv1_2\n</transport>\n\
         <record>\nb 1\na \"x\"\nid y\n</record>\n<headers>\nX-A b c\n</headers>\n<store ignore_error>\n@type x\n<buffer>\n</buffer>\n</store>\n\
         <store>\nany 1\n</store>\n<parse>\n@type json\n</parse>",
    );
    let server = |host: &str, port| Server { host: host.into(), port };
    assert_eq!(nested.server, [server("a", 1), server("b", 0)]);
    assert_eq!(nested.transport.map(|t| (t.protocol, t.version)), Some((Protocol::Tls, "TLSv1_2".into())));
    let record: Vec<_> = nested.record.iter().map(|pair| (pair.name.as_str(), pair.text(), pair.span.line())).collect();
    assert_eq!(record, [("b", "1", 14), ("a", "x", 15), ("id", "y", 16)]);
    assert_eq!(nested.headers["X-A"], "b c");
    assert_eq!(nested.store.iter().map(|store| store.arg().to_owned()).collect::<Vec<_>>(), ["ignore_error", ""]);
    assert_eq!(nested.parse.unwrap().plugin_type(), Some("json"));
    assert_eq!((nested.time.time_key.as_deref(), nested.time.utc, nested.named.is_none()), (Some("t"), None, true));
}

#[test]
fn faults_in_child_sections_are_found_with_those_of_the_parent() {
    let outcome = read::<Nested>(
        "utc maybe\n<server>\nport 99999\n</server>\n<server>\nhost b\nprt 1\n</server>\n<transport icmp>\n</transport>\n<named>\n</named>\n\
         <parse>\n</parse>\n<parse>\n</parse>",
    );
    let mut found = lines(&outcome.faults);
    found.sort();
    assert_eq!(
        found,
        [
            "10:12 <transport icmp>: valid options are tcp,tls but got 'icmp'",
            "12:1 '<named ARG>' section requires argument",
            "16:1 '<parse>' section cannot be written twice or more",
            "2:5 utc: invalid bool value: \"maybe\"",
            "3:1 'host' parameter is required in <server>",
            "4:6 port: 99999 is too large",
            "8:1 parameter 'prt' in <server> is not used",
        ],
        "{}",
        outcome.faults.render()
    );
}

#[test]
fn a_section_where_a_parameter_must_be_is_a_fault_and_the_other_way_round() {
    let outcome = read::<Small>("port 1\n<name>\n</name>");
    assert!(lines(&outcome.faults)[0].contains("is a section here, but must be a parameter"), "{:?}", outcome.faults);
    let outcome = read::<Nested>("transport tls");
    assert!(
        lines(&outcome.faults)[0].contains("transport: a section is required but got a parameter"),
        "{:?}",
        outcome.faults
    );
}

#[derive(Debug, Deserialize)]
struct Flat {
    #[serde(default)]
    format: Option<String>,
}

#[test]
fn a_parameter_and_a_section_of_one_name_can_be_told_apart() {
    let elsewhere = &["format"];
    let both = section("format json\n<format>\n@type csv\n</format>");
    let outcome = from_section::<Flat>(&both, Options { elsewhere, ..Options::default() });
    assert_eq!(outcome.value.unwrap().format.as_deref(), Some("json"));
    assert!(outcome.faults.is_empty());
}

#[test]
fn two_names_of_one_parameter_warn() {
    #[derive(Debug, Deserialize)]
    struct Aliased {
        #[serde(alias = "old")]
        new: String,
    }
    let outcome = read::<Aliased>("new a\nold b");
    assert_eq!(outcome.value.unwrap().new, "a");
    assert_eq!(lines(&outcome.faults), ["3:1 old: this means the same as 'new', which is written too; it is not used"]);
}

#[test]
fn hash_and_array_parameters_refuse_the_other_shape() {
    for (text, part) in [
        ("keys {\"a\":1}", "keys: array required but got {\"a\":1}"),
        ("keys \"[1,\"", "keys: invalid JSON"),
        ("key x\nport 1\nname y\nheaders [1]", "headers: hash required but got [1]"),
    ] {
        #[derive(Debug, Deserialize)]
        struct Lists {
            #[serde(default)]
            #[expect(dead_code, reason = "only read")]
            keys: Vec<String>,
            #[serde(default)]
            #[expect(dead_code, reason = "only read")]
            headers: Pairs,
        }
        let outcome = read::<Lists>(text);
        assert!(lines(&outcome.faults)[0].contains(part), "{:?}", outcome.faults);
    }
}

#[test]
fn a_check_of_the_whole_struct_blames_its_section() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "Small")]
    struct Checked;
    impl TryFrom<Small> for Checked {
        type Error = String;
        fn try_from(small: Small) -> Result<Self, String> {
            if small.port == 0 { Err("port and name exclude each other".into()) } else { Ok(Checked) }
        }
    }
    let outcome = read::<Checked>("port 0\nname x\nnmae y");
    let found = lines(&outcome.faults);
    assert_eq!(found[0], "1:1 port and name exclude each other");
    assert_eq!(outcome.faults.len(), 2);
}
