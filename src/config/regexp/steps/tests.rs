//! Steps find what the automaton finds, or give up.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use regex::bytes::RegexBuilder;

use super::*;

type Groups = Vec<Option<(usize, usize)>>;

fn automaton(pattern: &str, characters: bool, text: &[u8], from: usize) -> Option<Groups> {
    let regex = RegexBuilder::new(pattern).multi_line(true).unicode(characters).build().unwrap();
    let mut locations = regex.capture_locations();
    regex.captures_read_at(&mut locations, text, from)?;
    Some((0..locations.len()).map(|group| locations.get(group)).collect())
}

/// What the steps find: nothing said, no match, or the groups.
fn steps(pattern: &str, characters: bool, text: &[u8], from: usize) -> Option<Option<Groups>> {
    let steps = Steps::new(pattern, characters)?;
    let mut places = Places::new();
    match steps.search(text, from, &mut places) {
        Outcome::GivenUp => None,
        Outcome::NotFound => Some(None),
        Outcome::Found => {
            Some(Some(places.chunks(2).map(|pair| (pair[0] != UNSET).then_some((pair[0], pair[1]))).collect()))
        }
    }
}

/// Whether the steps said anything, which then is right.
fn check(pattern: &str, characters: bool, text: &[u8], from: usize) -> bool {
    let Some(found) = steps(pattern, characters, text, from) else { return false };
    let wanted = automaton(pattern, characters, text, from);
    assert_eq!(found, wanted, "/{pattern}/ characters={characters} from {from} in {}", text.escape_ascii());
    true
}

const NGINX: &str = concat!(
    r#"^(?<remote>[^ ]*) (?<host>[^ ]*) (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>[^\t\n\x0B\x0C\r\x20]+)"#,
    r#"(?: +(?<path>[^"]*?)(?: +[^\t\n\x0B\x0C\r\x20]*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)"#,
    r#"(?: "(?<referer>[^"]*)" "(?<agent>[^"]*)")?$"#
);

#[test]
fn expressions_of_logs_are_steps() {
    let line = r#"10.0.0.1 - bob [24/Nov/2026:10:00:00 +0000] "GET /a b HTTP/1.1" 200 396 "-" "curl (é)""#;
    for (pattern, text) in [
        (NGINX, line),
        (NGINX, &line[1..line.len() - 1]),
        (
            r"^(?<time>[0-9]{4}-[0-9]+-[0-9]+ [^ ]+) +(?<level>INFO|WARN|ERROR): (?<message>.*)$",
            "2024-01-02 10:00  WARN: a: b",
        ),
        (r"(?<a>[0-9]+)x(?<b>y?)", "12 34x"),
        (r"\[(?<pid>[0-9]+)(?:,(?<thread>[0-9]+))*\] (?<rest>.+)", "a [1,2,3] é"),
        (r"^(?i:get|put) (?<path>(?s:.*?))(?<end> HTTP)?$", "GET /a\nb HTTP"),
        (r"^(?<first>a{2,3}?)(?<rest>a*)$", "aaaaa"),
    ] {
        for characters in [false, true] {
            assert!(check(pattern, characters, text.as_bytes(), 0), "{pattern}");
        }
    }
}

#[test]
fn what_no_step_knows_is_left_to_the_automaton() {
    for pattern in [r"\bword", "(?:a?)*", "(?<a>(?:b*)+)"] {
        assert!(Steps::new(pattern, false).is_none(), "{pattern}");
    }
    for pattern in ["[éà]", "[^é]x", "x*", "(?i)sk"] {
        assert!(Steps::new(pattern, true).is_none(), "{pattern}");
    }
}

#[test]
fn hostile_texts_are_given_up_in_time() {
    let text = "a".repeat(100_000);
    for pattern in ["^(?<x>a+)(?<y>a+)(?<z>a+)b$", "(?<x>a*)(?<y>a*)c", "^(?:aa|a)+$b", "(?<x>a+)b"] {
        let steps = Steps::new(pattern, false).unwrap();
        let outcome = steps.search(text.as_bytes(), 0, &mut Places::new());
        assert_eq!(outcome, Outcome::GivenUp, "{pattern}");
    }
}

/// Pieces of patterns; groups are put around some of them.
fn pattern() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => proptest::sample::select(&["a", "b", " ", "\"", "ab", "é", "\\n", "a b"][..]).prop_map(str::to_owned),
        4 => proptest::sample::select(&["[^ ]", ".", "[ab]", "[^\"]", "(?s:.)", "[^a\\n]", "[a-z\" ]", "(?i:a)"][..])
            .prop_map(str::to_owned),
        1 => proptest::sample::select(&["^", "$", "\\A", "\\z"][..]).prop_map(str::to_owned),
    ];
    let repeat =
        proptest::sample::select(&["", "*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{2,}?", "{0,2}?"][..]);
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            3 => (inner.clone(), repeat.clone()).prop_map(|(one, repeat)| format!("(?:{one}){repeat}")),
            2 => (inner.clone(), repeat.clone()).prop_map(|(one, repeat)| format!("({one}){repeat}")),
            4 => proptest::collection::vec(inner.clone(), 1..5).prop_map(|parts| parts.concat()),
            1 => proptest::collection::vec(inner, 1..4).prop_map(|parts| format!("(?:{})", parts.join("|"))),
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(&["a", "b", " ", "\"", "é", "\n", "日", "z", "aa", "\" \""][..]);
    proptest::collection::vec(piece, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn steps_find_what_the_automaton_finds(
        pattern in pattern(),
        head in prop_oneof![Just(""), Just("^")],
        text in text(),
        from in any::<prop::sample::Index>(),
        broken in proptest::option::of((any::<prop::sample::Index>(), 0x80u8..)),
    ) {
        let pattern = format!("{head}{pattern}");
        let from = if pattern.len() % 3 == 0 { from.index(text.len() + 1) } else { 0 };
        if text.is_char_boundary(from) {
            check(&pattern, true, text.as_bytes(), from);
        }
        let mut bytes = text.into_bytes();
        if let Some((at, byte)) = broken && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check(&pattern, false, &bytes, from);
    }

    #[test]
    fn steps_read_changed_log_lines_as_the_automaton_does(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), text()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut line = r#"10.0.0.1 - bob [24/Nov/2026] "GET /a b HTTP/1.1" 200 396 "-" "curl (é)""#.to_owned();
        for (at, new) in changes {
            let places: Vec<usize> = (0..=line.len()).filter(|at| line.is_char_boundary(*at)).collect();
            line.insert_str(places[at.index(places.len())], &new);
        }
        if let Some(cut) = cut {
            let at = cut.index(line.len());
            if line.is_char_boundary(at) {
                line.truncate(at);
            }
        }
        check(NGINX, true, line.as_bytes(), 0);
        check(NGINX, false, line.as_bytes(), 0);
    }
}
