//! What `toml` promises, case by case.
#![allow(clippy::unwrap_used)]
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::diagnostic::Diagnostics;
use crate::config::testing::{self, flat, placed};

fn read(text: &str, base: &Path) -> (Section, Diagnostics) {
    testing::read(parse, "t.toml", text, base)
}

fn faults(text: &str) -> Vec<String> {
    placed(&read(text, Path::new("")).1)
}

#[test]
fn tables_are_sections_and_values_are_parameters() {
    let text = "
[system]
workers = 2
log.rotate_age = 5

[[source]]
type = \"forward\"
id = 'in'
label = '@X'
port = 24_224
ratio = 1.50
flag = true
day = 2026-01-01
[source.transport]
arg = 'tls'
[source.security]
[[source.security.user]]
username = 'a'

[[filter]]
pattern = 'a.**'
type = 'record_transformer'
[filter.record]
type = \"literal\"
host = \"#{hostname}\"

[[match]]
pattern = ['a.**', 'b']
type = 'copy'
keys = ['a', 1, {b = true}]
hash = {a = 1, 'b c' = 'x'}
[[match.store]]
type = 'file'
arg = 'ignore_error'
[match.store.buffer]
arg = ['tag', 'time']
'@type' = 'file'

[[filter]]
pattern = 'later'

[[label]]
name = '@X'
[[label.match]]
type = 'null'
[[label.filter]]
type = 'grep'
[[label.match]]
type = 'x'

[[worker]]
arg = '0-1'
[[worker.source]]
type = 'tail'
";
    let (root, faults) = read(text, Path::new(""));
    assert!(faults.is_empty(), "{}", faults.render());
    assert_eq!(
        flat(&root),
        "<system>\nworkers 2\n<log>\nrotate_age 5\n</log>\n</system>\n\
         <source>\n@type forward\n@id in\n@label @X\nport 24224\nratio 1.5\nflag true\nday 2026-01-01\n<transport tls>\n</transport>\n\
         <security>\n<user>\nusername a\n</user>\n</security>\n</source>\n\
         <filter a.**>\n@type record_transformer\n<record>\ntype literal\nhost web1\n</record>\n</filter>\n\
         <match a.** b>\n@type copy\nkeys [\"a\",1,{\"b\":true}]\nhash {\"a\":1,\"b c\":\"x\"}\n\
         <store ignore_error>\n@type file\n<buffer tag,time>\n@type file\n</buffer>\n</store>\n</match>\n\
         <filter later>\n</filter>\n\
         <label @X>\n<match>\n@type null\n</match>\n<filter>\n@type grep\n</filter>\n<match>\n@type x\n</match>\n</label>\n\
         <worker 0-1>\n<source>\n@type tail\n</source>\n</worker>"
    );
}

#[test]
fn only_double_quotes_have_embedded_code() {
    let text = "[[source]]\na = \"#{ENV['X']}\\\\d #{1+1}\"\nb = '#{hostname}'\nc = \"\"\"\nx #{worker_id}\"\"\"\nd = \"#{use_nil}\"\ne = \"#{use_default}\"\nf = ['#{x}', \"#{hostname}\"]\n";
    let (root, faults) = read(text, Path::new(""));
    assert!(faults.is_empty(), "{}", faults.render());
    let source = &root.children[0];
    let texts: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| source.text(name)).to_vec();
    assert_eq!(texts, [Some("xval\\d 2"), Some("#{hostname}"), Some("x 0"), None, None, Some("[\"#{x}\",\"web1\"]")]);
    assert!(source.has("d") && !source.has("e"));
}

#[test]
fn every_value_has_its_place() {
    let (root, _) = read("[[source]]\nport = 'é'\n[source.parse]\ntype = 'json'", Path::new(""));
    let port = root.children[0].get("port").unwrap();
    assert_eq!((port.name_span.to_string(), port.value_span.text()), ("t.toml:2:1".into(), "'é'"));
    assert_eq!(root.children[0].children[0].span.line(), 3);
}

#[test]
fn includes_stand_first_or_at_their_place_in_any_language() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("a.conf", "<filter>\n@type conf\n</filter>");
    write("b.yaml", "config:\n- filter: {$type: yaml}");
    write("c.toml", "[[filter]]\ntype = 'toml'");
    let first = "include = ['*.toml', 'none/*']\n[[source]]\n";
    let (root, faults) = read(first, dir.path());
    assert!(faults.is_empty(), "{}", faults.render());
    assert_eq!(flat(&root), "<filter>\n@type toml\n</filter>\n<source>\n</source>");
    let placed = "[[source]]\n[[include]]\npath = 'b.yaml'\n[[match]]\n[[include]]\npath = ['a.conf']\n";
    let (root, faults) = read(placed, dir.path());
    assert!(faults.is_empty(), "{}", faults.render());
    assert_eq!(
        flat(&root),
        "<source>\n</source>\n<filter>\n@type yaml\n</filter>\n<match>\n</match>\n<filter>\n@type conf\n</filter>"
    );
    write("c.toml", "include = 'c.toml'");
    assert!(read(first, dir.path()).1.render().contains("includes itself"));
}

#[test]
fn faults_have_their_places() {
    assert_eq!(
        faults("sources = 1\n[[mach]]\n[[source]]\na = \"#{Dir.pwd}\"\n[[include]]\n"),
        [
            "1:1 'sources' stands outside every section",
            "2:3 'mach' is unknown here; a section at the root is one of system, source, filter, match, label, worker, include",
            "4:5 embedded Ruby code uses 'Dir', which is not supported",
            "5:1 'include' needs a 'path'",
        ]
    );
    assert!(
        faults("[[source]]\na = 1\na = 2")[0].starts_with("3:1 invalid TOML: duplicate key"),
        "{:?}",
        faults("[[source]]\na = 1\na = 2")
    );
    assert!(faults("[[source\n")[0].contains("invalid TOML"));
    assert_eq!(faults(&format!("a = {}", "[".repeat(100_000))).len(), 1);
    assert!(faults("").is_empty());
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "(\\[\\[source\\]\\]\n|\\[match\\]\n|\\[|\\]|\\{|\\}|=|,|'|\"|\"\"\"|\\.|#\\{|#|\n| |include|path|a|b|1|-|:|é){0,30}") {
        let (root, faults) = read(&text, Path::new("/nonexistent"));
        let _ = (faults.render(), root.to_fluentd_text(&|_| false));
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_, faults) = read(&String::from_utf8_lossy(&bytes), Path::new("/nonexistent"));
        let _ = faults.render();
    }
}
