//! `rewrite_tag_filter` by the real binary: which tag an event gets, where it goes then, what the check says.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::TempDir;

use crate::daemon::{Daemon, check, free_port, text};
use crate::databases::post;

/// Files that are named by the tag.
fn files(dir: &Path) -> String {
    format!(
        "@type file\npath {}/out/${{tag}}\nappend true\n<format>\n@type json\n</format>\n<buffer tag>\n@type memory\n\
         flush_mode immediate\n</buffer>\n",
        dir.display()
    )
}

fn source(port: u16) -> String {
    format!("<source>\n@type http\nbind 127.0.0.1\nport {port}\n</source>\n")
}

/// What is around the rules: an HTTP source, files for every tag, and nothing for suiro's own log.
fn config(port: u16, retag: &str, dir: &Path) -> String {
    format!(
        "{}<match access.**>\n@type rewrite_tag_filter\n{retag}</match>\n<match **>\n{}</match>\n\
         <label @ELSE>\n<match **>\n{}</match>\n</label>\n<label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n",
        source(port),
        files(dir),
        files(dir).replace("/out/", "/out/else."),
    )
}

/// File to lines.
fn landed(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let files = std::fs::read_dir(dir.join("out")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().trim_end_matches(".log").to_owned();
    let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    files.map(|path| (name(&path), lines(&path))).collect()
}

/// Sends one array of events under a tag and gives what landed where.
fn sent(retag: &str, tag: &str, events: &str) -> BTreeMap<String, Vec<String>> {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon = Daemon::start(&config(port, retag, dir.path()), dir.path());
    assert!(post(port, tag, events));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    daemon.assert_balanced();
    landed(dir.path())
}

fn expect(found: &BTreeMap<String, Vec<String>>, expected: &[(&str, &[&str])]) {
    let expected: BTreeMap<String, Vec<String>> = expected
        .iter()
        .map(|(tag, lines)| ((*tag).to_owned(), lines.iter().map(|l| (*l).to_owned()).collect()))
        .collect();
    assert_eq!(*found, expected);
}

#[test]
fn the_first_rule_that_fits_gives_the_tag_and_what_no_rule_fits_ends_there() {
    let rules = "<rule>\nkey status\npattern /^5/\ntag error.${tag_parts[1]}\n</rule>\n\
                 <rule>\nkey path\npattern /^\\/(?:img|css)\\/(\\w+)/\ntag static.$1\n</rule>\n\
                 <rule>\nkey status\npattern /^2(\\d)(\\d)$/\ntag ok.$1$2\n</rule>\n";
    let events = r#"[{"status":500,"path":"/img/a"},{"status":200,"path":"/css/b"},{"status":201,"path":"/"},{"path":"/x"},
                     {"status":302,"path":""},{"status":201,"path":"/c"}]"#;
    expect(
        &sent(rules, "access.web", events),
        &[
            ("error.web", &[r#"{"status":500,"path":"/img/a"}"#]),
            ("ok.01", &[r#"{"status":201,"path":"/"}"#, r#"{"status":201,"path":"/c"}"#]),
            ("static.b", &[r#"{"status":200,"path":"/css/b"}"#]),
        ],
    );
}

#[test]
fn inverted_rules_nested_keys_prefixes_and_capitals() {
    let rules = "remove_tag_prefix access\ncapitalize_regex_backreference yes\n\
                 <rule>\nkey $.user.name\npattern /^(\\w+) (?<last>\\w+)$/\ntag ${tag}.$2.$1\n</rule>\n\
                 <rule>\nkey kind\npattern /^web$/\ntag other.__TAG_PARTS[0]__$1\ninvert true\n</rule>\n";
    let events = r#"[{"user":{"name":"aDA lovelace"}},{"kind":"web"},{"kind":"db"},{}]"#;
    let found = sent(rules, "access.front.end", events);
    // Where an expression has a group with a name, the others are none: Ruby's rule.
    expect(
        &found,
        &[
            ("front.end..Lovelace", &[r#"{"user":{"name":"aDA lovelace"}}"#]),
            ("other.front", &[r#"{"kind":"db"}"#, "{}"]),
        ],
    );
}

#[test]
fn labels_of_rules_come_first_and_the_same_tag_goes_nowhere_without_one() {
    let rules = "<rule>\nkey a\npattern /^1$/\ntag ${tag}\nlabel @ELSE\n</rule>\n\
                 <rule>\nkey a\npattern /^2$/\ntag ${tag}\n</rule>\n<rule>\nkey a\npattern /^3$/\ntag new\n</rule>\n";
    let events = r#"[{"a":1},{"a":2},{"a":3}]"#;
    expect(&sent(rules, "access.a", events), &[("else.access.a", &[r#"{"a":1}"#]), ("new", &[r#"{"a":3}"#])]);
    let labelled = format!("@label @ELSE\n{rules}");
    expect(&sent(&labelled, "access.a", events), &[("else.access.a", &[r#"{"a":1}"#]), ("else.new", &[r#"{"a":3}"#])]);
}

#[test]
fn tags_out_of_fields_are_bounded_and_loops_end() {
    let rules = "<rule>\nkey a\npattern /^(.+)$/\ntag long.$1\n</rule>\n";
    let events = format!(r#"[{{"a":"{}"}},{{"a":"short"}}]"#, "x".repeat(2000));
    expect(&sent(rules, "access.a", &events), &[("long.short", &[r#"{"a":"short"}"#])]);

    // Each round makes the tag another one that matches again.
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let rules = "<rule>\nkey a\npattern /./\ntag access.x${tag}\n</rule>\n";
    let mut daemon = Daemon::start(&config(port, rules, dir.path()), dir.path());
    assert!(!post(port, "access.a", r#"{"a":1}"#), "{}", daemon.log());
    daemon.wait_for_log("loop");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn the_check_names_what_is_wrong_and_where() {
    let rule = "<rule>\nkey a\npattern /x/\ntag b\n</rule>\n";
    for (retag, said) in [
        ("", "missing rewriterules"),
        ("rewriterule1 a ^x$ b\n", "<rule> section instead"),
        ("<rule>\nkey a\npattern /(/\ntag b\n</rule>\n", "pattern"),
        ("<rule>\nkey a\npattern /x/\ntag ${tga}\n</rule>\n", "unknown placeholder"),
        ("<rule>\nkey a\npattern /x/\ntag b\nlabel @NONE\n</rule>\n", "@NONE label not found"),
        (&format!("hostname_command rm -rf /\n{rule}"), "is not run"),
        (&format!("remove_tag_prefix a\nremove_tag_regexp /a/\n{rule}"), "exclusive"),
    ] {
        let dir = TempDir::new().unwrap();
        let output = check(&config(free_port(), retag, dir.path()));
        assert_eq!(output.status.code(), Some(1), "{retag}");
        assert!(text(&output).contains(said), "{retag}: {}", text(&output));
    }
}
