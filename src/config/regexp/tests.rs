//! What `regexp` promises, case by case.
#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, text: &str) -> bool {
    Regexp::from_literal(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")).is_match(text.as_bytes())
}

fn named(pattern: &str, text: &str) -> Vec<(String, Option<String>)> {
    let regexp = Regexp::from_literal(pattern).unwrap();
    let slots = regexp.captures(text.as_bytes()).unwrap_or_else(|| panic!("{pattern} does not match {text}"));
    regexp.named(&slots).map(|(name, range)| (name.to_string(), range.map(|range| text[range].to_owned()))).collect()
}

fn some(name: &str, value: &str) -> (String, Option<String>) {
    (name.into(), Some(value.into()))
}

#[test]
fn literals_take_slashes_and_the_options_i_and_m() {
    assert!(matches("/abc/i", "xABCx"));
    assert!(matches("/a.c/m", "a\nc"));
    assert!(!matches("/a.c/", "a\nc"));
    assert!(matches("/a.c/im", "A\nC"));
    assert!(matches("a/c", "a/c"));
    assert!(matches("//", "anything"));
    for text in ["/regexp", "/regexp/imx", "/"] {
        assert!(Regexp::from_literal(text).is_err(), "{text}");
    }
}

#[test]
fn the_pattern_language_is_rubys() {
    for (pattern, text, found) in [
        // anchors
        ("^b$", "a\nb\nc", true),
        (r"\Ab", "a\nb", false),
        (r"a\Z", "a\n", true),
        (r"a\z", "a\n", false),
        // ASCII shorthands, Unicode brackets and word ends
        (r"^\w$", "é", false),
        (r"^[[:alpha:]]$", "é", true),
        (r"^[[:^alpha:]]$", "é", false),
        (r"^\d$", "٣", false),
        (r"é\b", "é x", true),
        (r"\Bx", "éx", true),
        (r"^\h+$", "0aF", true),
        (r"^\H$", "g", true),
        (r"^\s$", "\u{a0}", false),
        // escapes
        (r"\/\<\>\-\ \_", "/<>- _", true),
        (r"\x41\u0042\u{43}\103", "ABCC", true),
        (r"^\xE3\x81\x82$", "あ", true),
        (r"\cA\e\a", "\u{1}\u{1b}\u{7}", true),
        (r"^\R$", "\r\n", true),
        // braces
        ("a{,2}b", "aab", true),
        ("^{a}$", "{a}", true),
        ("^a{x$", "a{x", true),
        ("^{\"k\":\\d+}$", "{\"k\":1}", true),
        ("^(?:a{2}?)$", "", true),
        ("^a{2}+$", "aaaa", true),
        ("^a]$", "a]", true),
        // classes
        ("^[]a]+$", "]a", true),
        ("^[^]]$", "a", true),
        ("^[a-c&&[^b]]+$", "ac", true),
        ("^[a-c&&[^b]]+$", "b", false),
        ("^[+--]$", ",", true),
        (r"^[\w.-]+$", "a.-_", true),
        (r"^[\d-]+$", "1-2", true),
        ("^[a~~#& ]+$", "~#& a", true),
        (r"^[\[\]]+$", "[]", true),
        (r"^[\b]$", "\u{8}", true),
        ("^[あ-ん]+$", "いう", true),
        ("^[^あ]$", "a", true),
        ("^[[:a]]+$", ":a", true),
        (r"^\p{Alpha}\p{^Digit}\P{Upper}$", "éxé", true),
        (r"^\p{Hiragana}+$", "あい", true),
        // options inside
        ("^(?i)ab|c$", "AB", true),
        ("^a(?i)b|c$", "aC", true),
        ("^a(?i)b|c$", "C", false),
        ("^(?i:a)b$", "AB", false),
        ("^(?m:.)$", "\n", true),
        ("^(?x: a  b # c\n)c$", "abc", true),
        ("^a(?#comment (\\) )b$", "ab", true),
        // only the backtracking engine
        ("^(?!a).*$", "ba", true),
        ("^(?!a).*$", "ab", false),
        ("(?<=x)y", "xy", true),
        (r"^(a|b)\1$", "aa", true),
        (r"^(a|b)\1$", "ab", false),
        (r"^(?<q>['\x22]).*\k<q>$", "'x'", true),
        ("^(?>a+)b$", "aab", true),
        ("^a++b$", "aab", true),
        ("^a++a$", "aa", false),
    ] {
        assert_eq!(matches(pattern, text), found, "{pattern} on {text:?}");
    }
}

#[test]
fn named_groups_come_in_order_and_plain_ones_do_not_count() {
    let pattern = r#"/^(?<host>[^ ]*) \[(?<time>[^\]]*)\] "(\S+) (?<path>[^"]*)" (?<code>\d+|-)(?: (?<size>\d+))?$/"#;
    let line = r#"h1 [28/Feb/2024] "GET /a" 200"#;
    assert_eq!(
        named(pattern, line),
        [
            some("host", "h1"),
            some("time", "28/Feb/2024"),
            some("path", "/a"),
            some("code", "200"),
            ("size".into(), None)
        ]
    );
    assert_eq!(Regexp::from_literal(pattern).unwrap().group_count(), 5);
}

#[test]
fn a_name_may_stand_twice() {
    assert_eq!(named("^(?<a>x)|(?<a>y)$", "y"), [some("a", "y")]);
    assert_eq!(named("^(?'ü1'.)", "x"), [some("ü1", "x")]);
}

#[test]
fn groups_work_on_ascii_on_unicode_and_on_broken_text() {
    let regexp = Regexp::new("^(?<k>[^=]*)=(?<v>.*)$").unwrap();
    let mut slots = regexp.slots();
    for (text, key, value) in [(&b"a=b"[..], 0..1, 2..3), ("é=漢".as_bytes(), 0..2, 3..6), (b"a\xff=\xfeb", 0..2, 3..5)]
    {
        assert!(regexp.captures_into(text, &mut slots), "{text:?}");
        let found: Vec<_> = regexp.named(&slots).map(|(_, range)| range.unwrap()).collect();
        assert_eq!(found, [key, value]);
    }
    assert!(!regexp.captures_into(b"no", &mut slots));
    assert_eq!(slots.get(0), None);
}

#[test]
fn substitute_resolves_group_references() {
    let gsub = |pattern: &str, text: &str, by: &str| {
        String::from_utf8(Regexp::new(pattern).unwrap().substitute(text.as_bytes(), by.as_bytes(), true)).unwrap()
    };
    assert_eq!(gsub("l+", "hello all", "L"), "heLo aL");
    assert_eq!(gsub("(a)(b)?", "abXa", r"<\1\2\0\\>"), r"<abab\>X<aa\>");
    assert_eq!(gsub("(?<x>é)", "aé", r"\k<x>\k<x>"), "aéé");
    assert_eq!(gsub("x*", "aé", "-"), "-a-é-");
    let once = Regexp::new("a").unwrap().substitute(b"aa", b"b", false);
    assert_eq!(once, b"ba");
}

#[test]
fn faults_say_what_is_wrong() {
    for (pattern, part) in [
        ("(", "never closed"),
        ("a)", "closes no group"),
        ("[a", "never closed"),
        ("*a", "repet"),
        ("[z-a]", "empty"),
        (r"\p{Nope}", "nicode property"),
        ("[[:nope:]]", "unknown"),
        ("(?~a)", "not supported"),
        (r"\k<x>", "refers to no group"),
        ("a{100000}{100000}", "larger than"),
        ("a\\", "backslash"),
    ] {
        let message = Regexp::new(pattern).unwrap_err().to_string();
        assert!(message.contains(part) && message.starts_with("invalid regexp"), "{pattern}: {message}");
    }
    assert!(Regexp::new(&"(".repeat(10_000)).is_err());
    assert!(Regexp::new(&"[".repeat(10_000)).is_err());
    assert!(Regexp::new(&"a".repeat(100_000)).is_err());
}

#[test]
fn hostile_text_ends_the_backtracking_engine() {
    let regexp = Regexp::new(r"^(?=(a+)+$)(a|aa)+\1$").unwrap();
    let started = std::time::Instant::now();
    assert!(!regexp.is_match(format!("{}b", "a".repeat(40)).as_bytes()));
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_pattern_is_shown_as_written() {
    assert_eq!(Regexp::from_literal("/a(?<b>c)/i").unwrap().to_string(), "/a(?<b>c)/i");
}

proptest! {
    #[test]
    fn any_pattern_compiles_or_is_refused(pattern in r"[\\\[\](){}^$*+?.|a-c0-9<>:=!#&~xmié, -]{0,24}", text in "[a-c\\PC]{0,8}") {
        if let Ok(regexp) = Regexp::from_literal(&pattern) {
            let _ = regexp.captures(text.as_bytes());
            let _ = regexp.find_iter(text.as_bytes()).count();
        }
    }

    #[test]
    fn both_automata_agree_on_ascii(pattern in r"([a-c.]|\\w|\\d|\[\^a\]|\[\[:alpha:\]\]|\(a\|b\)|[*+?]|\\b|\^|\$){0,8}", text in "[ -~\n]{0,12}") {
        if let Ok(regexp) = Regexp::new(&pattern)
            && let Engine::Linear(linear) = &regexp.0.engine
            && let Linear { ascii: Some(ascii), unicode, .. } = &**linear
        {
            prop_assert_eq!(ascii.find(text.as_bytes()).map(|m| m.range()), unicode.find(text.as_bytes()).map(|m| m.range()));
        }
    }

    #[test]
    fn what_is_taken_for_characters_is_what_their_automaton_finds(
        pattern in r"([a-c.é]|\\w|\\d|\[\^a\]|\(a\|b\)|[*+?]|\^|\$){0,8}",
        flags in proptest::sample::select(&["", "i", "m"][..]),
        text in "[a-cA-Ké日 \n]{0,12}",
    ) {
        if let Ok(regexp) = Regexp::from_literal(&format!("/{pattern}/{flags}"))
            && let Engine::Linear(linear) = &regexp.0.engine
        {
            let wanted = linear.unicode.find(text.as_bytes()).map(|found| found.range());
            prop_assert_eq!(regexp.is_match(text.as_bytes()), wanted.is_some());
            prop_assert_eq!(regexp.find_at(text.as_bytes(), 0), wanted.clone());
            prop_assert_eq!(regexp.captures(text.as_bytes()).and_then(|slots| slots.get(0)), wanted);
        }
    }
}
