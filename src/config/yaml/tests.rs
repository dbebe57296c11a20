//! What `yaml` promises, case by case.
#![allow(clippy::unwrap_used)]
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::diagnostic::Diagnostics;
use crate::config::testing::{self, flat, placed};

fn read(text: &str, base: &Path) -> (Section, Diagnostics) {
    testing::read(parse, "t.yaml", text, base)
}

/// In Fluentd's form, as [`flat`] has it.
fn conf(text: &str) -> String {
    let (root, faults) = read(text, Path::new(""));
    assert!(!faults.has_errors(), "{text}\n{}", faults.render());
    flat(&root)
}

fn faults(text: &str) -> Vec<String> {
    placed(&read(text, Path::new("")).1)
}

#[test]
fn sections_parameters_and_arguments_follow_fluentds_form() {
    let text = "
system:
  workers: 2
  log: {path: /var/log/x, rotate_age: 5}
config:
  - source:
      port: 24224
      $type: forward
      $id: in
      $label: '@X'
      $log_level: debug
      transport: {$arg: tls, version: TLSv1_2}
  - filter:
      $tag: a.**
      $type: record_transformer
      record:
        b: 1
        type: \"x y\"
  - match:
      $tag: [a.**, b]
      $type: copy
      keys: [a, b c, 3]
      store:
        - $type: stdout
        - $type: file
          $arg: ignore_error
          buffer: {$arg: [tag, time], timekey: 1h}
  - label:
      $name: '@X'
      config:
        - match: {$tag: '**', $type: 'null'}
  - worker:
      $arg: 0-1
      config:
        - source: {$type: tail}
unknown:
  anything: goes
";
    assert_eq!(
        conf(text),
        "<system>\nworkers 2\n<log>\npath /var/log/x\nrotate_age 5\n</log>\n</system>\n\
         <source>\n@type forward\n@label @X\n@id in\n@log_level debug\nport 24224\n<transport tls>\nversion TLSv1_2\n</transport>\n</source>\n\
         <filter a.**>\n@type record_transformer\n<record>\nb 1\ntype x y\n</record>\n</filter>\n\
         <match a.** b>\n@type copy\nkeys [\"a\",\"b c\",3]\n<store>\n@type stdout\n</store>\n\
         <store ignore_error>\n@type file\n<buffer tag,time>\ntimekey 1h\n</buffer>\n</store>\n</match>\n\
         <label @X>\n<match **>\n@type null\n</match>\n</label>\n<worker 0-1>\n<source>\n@type tail\n</source>\n</worker>"
    );
}

#[test]
fn tags_and_types_of_values() {
    let text = "
config:
  - source:
      mode: 0644
      ratio: 3.40
      flag: On
      none: null
      quoted: 'On'
      host: !fluent/s \"#{hostname}-#{ENV['X']}\"
      nil: !fluent/s \"#{use_nil}\"
      hash: !fluent/json {
        \"k\": \"v\", \"k1\": 10, n: null }
      list: !fluent/json [1, {a: !fluent/s \"#{1+1}\"}, 2.50]
      str: !!str 12
      block: |
        line 1
        line 2
      empty: []
";
    assert_eq!(
        conf(text),
        "<source>\nmode 420\nratio 3.4\nflag true\nnone \"#{use_nil}\"\nquoted On\nhost \"web1-xval\"\nnil \"#{use_nil}\"\n\
         hash {\"k\":\"v\",\"k1\":10,\"n\":null}\nlist [1,{\"a\":\"2\"},2.5]\nstr 12\nblock \"line 1\\nline 2\\n\"\nempty []\n</source>"
    );
}

#[test]
fn anchors_merge_and_later_keys_override() {
    let text = "
common: &c
  p1: a
  p2: 1
other: &o {p3: z, p1: no}
config:
  - match: {$tag: x, <<: *c, p1: override}
  - match: {$tag: y, <<: [*c, *o]}
  - source: *o
";
    assert_eq!(
        conf(text),
        "<match x>\np1 override\np2 1\n</match>\n<match y>\np3 z\np1 a\np2 1\n</match>\n<source>\np3 z\np1 false\n</source>"
    );
}

#[test]
fn includes_add_lists() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("b.yaml", "- filter: {$type: b}\n- !include sub.yml\n");
    write("a.yaml", "- filter: {$type: a}\n");
    write("sub.yml", "- match: {$type: sub}\n");
    write("map.yml", "common: 1\n");
    let text = "config:\n  - source: {<<: !include map.yml}\n  - !include '*.yaml'\n  - !include none/*.yaml\n";
    let (root, faults) = read(text, dir.path());
    assert!(faults.is_empty(), "{}", faults.render());
    assert_eq!(
        flat(&root),
        "<source>\ncommon 1\n</source>\n<filter>\n@type a\n</filter>\n<filter>\n@type b\n</filter>\n<match>\n@type sub\n</match>"
    );
    write("sub.yml", "- !include b.yaml\n");
    let (_, faults) = read(text, dir.path());
    assert!(faults.render().contains("includes itself"), "{}", faults.render());
}

#[test]
fn every_value_has_its_place() {
    let text = "config:\n  - source:\n      é: ü\n      port: abc # c\n";
    let (root, _) = read(text, Path::new(""));
    let port = root.children[0].get("port").unwrap();
    assert_eq!((port.name_span.to_string(), port.value_span.to_string()), ("t.yaml:4:7".into(), "t.yaml:4:13".into()));
    assert_eq!((port.name_span.text(), port.value_span.text()), ("port", "abc"));
    assert_eq!(root.children[0].span.text(), "source");
}

#[test]
fn faults_are_found_together_with_their_places() {
    let text = "
config:
  - sorce: {$type: x}
  - source: 5
  - label: {$name: '@X'}
  - match:
      $tag: a
      path: !fluent/s \"#{Dir.pwd}\"
      odd: !what x
      store: [{a: 1}, 2]
  - !include none.yaml
";
    assert_eq!(
        faults(text),
        [
            "11:5 can't include 'none.yaml': none.yaml does not exist",
            "3:5 'sorce' is unknown here; an item of 'config' is one of label, source, filter, match, worker",
            "4:13 'source' must be a map, not a single value",
            "5:5 'label' needs a 'config' list",
            "8:13 embedded Ruby code uses 'Dir', which is not supported",
            "9:12 the tag '!what' is unknown",
            "10:23 an item of 'store' must be a map, not a single value",
        ]
    );
    assert_eq!(faults("- a"), ["1:1 the root must be a map, not a list"]);
    assert_eq!(
        faults("confg: []"),
        ["1:1 neither 'config' nor 'system' stands at the root", "1:1 'confg' at the root is not used"]
    );
    assert!(faults("a: *x").join("").contains("invalid YAML"));
    assert!(faults("a: [1").join("").contains("invalid YAML"));
    assert!(faults("a: &x [*x]").join("").contains("alias"));
    assert!(faults("").is_empty());
}

#[test]
fn bombs_are_bounded() {
    assert_eq!(faults(&"[".repeat(10_000)).len(), 1);
    let mut text = String::from("l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let aliases = vec![format!("*l{}", i - 1); 10].join(",");
        text += &format!("l{i}: &l{i} [{aliases}]\n");
    }
    text += "config:\n  - source: {k: *l11}\n";
    assert!(faults(&text).join("").contains("more than 200000 parts"));
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "(config:|- |  |\n|source: |\\$tag|: |\\[|\\]|\\{|\\}|,|'|\"|!|&a |\\*a|<<|#|\\||>|\\?|%|---|\t|é|!include |[a-z0-9]){0,30}") {
        let (root, faults) = read(&text, Path::new("/nonexistent"));
        let _ = (faults.render(), root.to_fluentd_text(&|_| false));
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_, faults) = read(&String::from_utf8_lossy(&bytes), Path::new("/nonexistent"));
        let _ = faults.render();
    }
}
