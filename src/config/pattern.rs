//! Match patterns: which tags a `<match>` or `<filter>` takes.
//!
//! The rules are those of Fluentd's `match.rb`, which turns a pattern into a regular expression. Here it becomes a short
//! list of steps instead, and matching keeps the set of places in the tag that the steps so far can end at: no backtracking,
//! so no pattern is slow. The common forms (a plain tag, `**`, `a.**`) don't even need that.
//!
//! - `*` is anything without a dot, also nothing; `**` is anything.
//! - `a.**` is `a` and all tags below it; `**.a` is `a` and all tags that end in `.a`.
//! - `{a,b}` is either; braces may nest. A backslash takes the next character as it stands.
//! - `/regexp/` must match the whole tag. White space separates patterns, of which one must match. No pattern is `**`.

use std::fmt;

use smallvec::{SmallVec, smallvec};

use super::regexp::Regexp;

/// The longest pattern, in bytes.
const MAX_BYTES: usize = 4_096;
/// How deep braces may nest.
const MAX_BRACES: usize = 16;

/// What stands in `<match ...>`: one or more patterns.
#[derive(Debug, Clone)]
pub struct Patterns {
    text: String,
    any: Vec<Pattern>,
}

impl Patterns {
    /// Reads patterns; the error says what is wrong with which of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("the pattern is longer than {MAX_BYTES} bytes"));
        }
        let mut any = text.split_whitespace().map(Pattern::parse).collect::<Result<Vec<_>, _>>()?;
        if any.is_empty() {
            any.push(Pattern::All);
        }
        Ok(Self { text: text.to_owned(), any })
    }

    /// Whether one of the patterns matches `tag`.
    pub fn matches(&self, tag: &str) -> bool {
        self.any.iter().any(|pattern| pattern.matches(tag))
    }

    /// Whether every tag matches: nothing that comes after such a `<match>` sees an event.
    pub fn matches_everything(&self) -> bool {
        self.any.iter().any(|pattern| matches!(pattern, Pattern::All))
    }
}

/// As written.
impl fmt::Display for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Debug, Clone)]
enum Pattern {
    /// `**`.
    All,
    /// A tag without anything special.
    Exact(String),
    /// `a.**`: the text is the part before the dot.
    Below(String),
    /// `a**`.
    Prefix(String),
    Steps(Vec<Step>),
    Regexp(Regexp),
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Text(String),
    /// `*`.
    Part,
    /// `**`.
    Rest,
    /// `**.`: anything up to a dot, or nothing at the start of the tag.
    UpToDot,
    /// The dot of `.**`: here the tag ends or goes on with a dot.
    Edge,
    Either(Vec<Vec<Step>>),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(inside) = text.strip_prefix('/') {
            let inside = inside.strip_suffix('/').ok_or_else(|| {
                format!("'{text}' starts with '/' but does not end with it; a regular expression here can't hold white space")
            })?;
            return Regexp::new(&format!("\\A{inside}\\Z"))
                .map(Self::Regexp)
                .map_err(|error| format!("'{text}': {error}"));
        }
        let mut steps = Builder::read(text)?;
        Ok(match steps.as_mut_slice() {
            [] => Self::Exact(String::new()),
            [Step::Rest] => Self::All,
            [Step::Text(text)] => Self::Exact(std::mem::take(text)),
            [Step::Text(text), Step::Rest] => Self::Prefix(std::mem::take(text)),
            [Step::Text(text), Step::Edge, Step::Rest] => Self::Below(std::mem::take(text)),
            _ => Self::Steps(steps),
        })
    }

    fn matches(&self, tag: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(text) => tag == text,
            Self::Below(text) => {
                tag.strip_prefix(text.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
            Self::Prefix(text) => tag.starts_with(text.as_str()),
            Self::Steps(steps) => {
                let mut start = Places::none(tag.len());
                start.0[0] = true;
                run(steps, tag.as_bytes(), start).0[tag.len()]
            }
            Self::Regexp(regexp) => regexp.is_match(tag.as_bytes()),
        }
    }
}

/// Reads one pattern, in the order of Fluentd's own reader: a dot waits until it is known what follows.
#[derive(Default)]
struct Builder {
    current: Vec<Step>,
    /// For each open brace: the steps before it and its alternatives so far.
    open: Vec<(Vec<Step>, Vec<Vec<Step>>)>,
    dot: bool,
}

impl Builder {
    fn read(text: &str) -> Result<Vec<Step>, String> {
        let (mut builder, mut rest) = (Self::default(), text);
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("**") {
                rest = builder.any(after);
                continue;
            }
            rest = &rest[c.len_utf8()..];
            if std::mem::take(&mut builder.dot) {
                builder.letter('.');
            }
            match c {
                '\\' => {
                    let Some(escaped) = rest.chars().next() else {
                        break;
                    };
                    rest = &rest[escaped.len_utf8()..];
                    builder.letter(escaped);
                }
                '.' => builder.dot = true,
                '*' => builder.current.push(Step::Part),
                '{' if builder.open.len() >= MAX_BRACES => {
                    return Err(format!("'{text}': braces are nested deeper than {MAX_BRACES}"));
                }
                '{' => builder.open.push((std::mem::take(&mut builder.current), Vec::new())),
                '}' => builder.close(),
                ',' => builder.alternative(),
                c => builder.letter(c),
            }
        }
        if !builder.open.is_empty() {
            return Err(format!("'{text}': a '{{' is never closed; there must be no white space inside braces"));
        }
        Ok(builder.current)
    }

    /// `**`; gives what is left after it.
    fn any<'a>(&mut self, after: &'a str) -> &'a str {
        if std::mem::take(&mut self.dot) {
            self.current.push(Step::Edge);
        }
        match after.strip_prefix('.') {
            Some(after) => {
                self.current.push(Step::UpToDot);
                after
            }
            None => {
                self.current.push(Step::Rest);
                after
            }
        }
    }

    fn letter(&mut self, c: char) {
        match self.current.last_mut() {
            Some(Step::Text(text)) => text.push(c),
            _ => self.current.push(Step::Text(c.into())),
        }
    }

    fn alternative(&mut self) {
        let steps = std::mem::take(&mut self.current);
        match self.open.last_mut() {
            Some((_, alternatives)) => alternatives.push(steps),
            None => {
                self.current = steps;
                self.letter(',');
            }
        }
    }

    fn close(&mut self) {
        let Some((before, mut alternatives)) = self.open.pop() else {
            return self.letter('}');
        };
        alternatives.push(std::mem::replace(&mut self.current, before));
        self.current.push(Step::Either(alternatives));
    }
}

/// For each byte of the tag and its end: can the steps so far end here?
#[derive(Clone)]
struct Places(SmallVec<[bool; 128]>);

impl Places {
    fn none(len: usize) -> Self {
        Self(smallvec![false; len + 1])
    }
}

fn run(steps: &[Step], tag: &[u8], start: Places) -> Places {
    steps.iter().fold(start, |places, step| take(step, tag, places))
}

fn take(step: &Step, tag: &[u8], mut from: Places) -> Places {
    let mut to = Places::none(tag.len());
    match step {
        Step::Text(text) => {
            for at in (0..tag.len()).filter(|at| from.0[*at] && tag[*at..].starts_with(text.as_bytes())) {
                to.0[at + text.len()] = true;
            }
        }
        Step::Part => {
            let mut reached = false;
            for at in 0..=tag.len() {
                reached = from.0[at] || (reached && tag[at - 1] != b'.');
                to.0[at] = reached;
            }
        }
        Step::Rest => {
            if let Some(first) = from.0.iter().position(|reached| *reached) {
                to.0[first..].fill(true);
            }
        }
        Step::UpToDot => {
            let first = from.0.iter().position(|reached| *reached).unwrap_or(tag.len());
            to.0[0] = from.0[0];
            for at in (first..tag.len()).filter(|at| tag[*at] == b'.') {
                to.0[at + 1] = true;
            }
        }
        Step::Edge => {
            for at in (0..tag.len()).filter(|at| tag[*at] != b'.') {
                from.0[at] = false;
            }
            return from;
        }
        Step::Either(alternatives) => {
            for alternative in alternatives {
                for (at, reached) in run(alternative, tag, from.clone()).0.into_iter().enumerate() {
                    to.0[at] |= reached;
                }
            }
        }
    }
    to
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let patterns = Patterns::parse(pattern).unwrap();
        for tag in yes {
            assert!(patterns.matches(tag), "{pattern} must match {tag}");
        }
        for tag in no {
            assert!(!patterns.matches(tag), "{pattern} must not match {tag}");
        }
    }

    #[test]
    fn plain_tags_match_themselves() {
        check("a", &["a"], &["b", "a.b", "aa", ""]);
        check("a.b", &["a.b"], &["aab", "a", "a.b.c"]);
        check("a-b_c:d/e", &["a-b_c:d/e"], &["a"]);
        check("漢.字", &["漢.字"], &["漢"]);
    }

    #[test]
    fn one_star_stays_within_a_part() {
        check("a*", &["a", "ab", "abc"], &["a.b", "ab.c", "ba"]);
        check("*a", &["a", "ba", "cba"], &["ab", "b.a"]);
        check("*a*", &["a", "ba", "ac", "bac"], &["b", "b.a"]);
        check("a.*", &["a.b", "a.c", "a."], &["ab", "a", "a.b.c"]);
        check("a.*.c", &["a.b.c", "a.c.c", "a..c"], &["a.c"]);
        check("*", &["a", ""], &["a.b"]);
    }

    #[test]
    fn two_stars_go_over_dots() {
        check("a.**", &["a", "a.b", "a.b.c", "a."], &["ab", "abc", "ab.c", "ab.d.e", "b.a"]);
        check("a**", &["a", "ab", "abc", "a.b", "ab.c", "ab.d.e"], &["ba"]);
        check("**a", &["a", "ba", "c.ba", "b.a", "cb.a", "d.e.a"], &["ab"]);
        check("**.a", &["a", "b.a", "cb.a", "d.e.a"], &["ba", "c.ba"]);
        check("a.**.b", &["a.b", "a.x.b", "a.x.y.b"], &["ab", "axb", "a.xb", "a"]);
        check("**", &["a", "a.b", ""], &[]);
        check("**.**", &["a.b", "a.", "a"], &[]);
    }

    #[test]
    fn braces_are_alternatives_and_nest() {
        check("a.{b,c}", &["a.b", "a.c"], &["a.d", "a", "a.bc"]);
        check("a.{b,c}.**", &["a.b", "a.c", "a.c.d"], &["a.d", "a.cd"]);
        check("a.{b.**,c}", &["a.b", "a.b.c", "a.c"], &["a.c.d"]);
        check("{a,b{1,2},}x", &["ax", "b1x", "b2x", "x"], &["bx"]);
        check("{a,*}.b", &["a.b", "zz.b"], &["a.b.b"]);
        check("a}b,c", &["a}b,c"], &[]);
    }

    #[test]
    fn white_space_separates_patterns() {
        check(" a.b.**  a.c ", &["a.b", "a.b.c", "a.c"], &["a.c.d", "a.d"]);
        check("", &["a", "x.y"], &[]);
        assert!(Patterns::parse("a **").unwrap().matches_everything());
        assert!(!Patterns::parse("a.**").unwrap().matches_everything());
    }

    #[test]
    fn regular_expressions_match_the_whole_tag() {
        check("/a/", &["a"], &["abc", "ba"]);
        check("/a.*/", &["abc"], &["ba"]);
        check(r"/a\..*/", &["a.b.c"], &["b.b.c"]);
        check(r"/(?!a\.).*/", &["b.b.c"], &["a.b.c"]);
        check("/(a|b)c/ d", &["ac", "bc", "d"], &["c"]);
        for pattern in ["/a", "/a b/", "/(/"] {
            assert!(Patterns::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn escapes_and_a_dot_at_the_end_are_fluentds() {
        check(r"a\*b\\", &[r"a*b\"], &["axb"]);
        check("a.", &["a"], &["a."]);
        check("a..b", &["a..b"], &["a.b"]);
    }

    #[test]
    fn faults_name_the_pattern() {
        for (pattern, part) in [
            ("a.{b, c}", "'a.{b,': a '{' is never closed"),
            (&"{".repeat(100), "deeper"),
            (&"a".repeat(5_000), "longer"),
        ] {
            let message = Patterns::parse(pattern).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    /// The regular expression that Fluentd would build.
    fn fluentds(pattern: &str) -> String {
        let (mut out, mut dot, mut rest) = (String::new(), false, pattern);
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("**") {
                out.push_str(if std::mem::take(&mut dot) { r"(?![^\.])" } else { "" });
                rest = after.strip_prefix('.').unwrap_or(after);
                out.push_str(if after.starts_with('.') { r"(?:.*\.|\A)" } else { ".*" });
                continue;
            }
            rest = &rest[1..];
            out.push_str(if std::mem::take(&mut dot) { r"\." } else { "" });
            match c {
                '.' => dot = true,
                '*' => out.push_str(r"[^\.]*"),
                '{' => out.push_str("(?:"),
                '}' => out.push(')'),
                ',' => out.push('|'),
                c => out.push(c),
            }
        }
        format!(r"\A{out}\z")
    }

    fn pattern() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[ab]",
            Just(".".to_owned()),
            Just("*".to_owned()),
            Just("**".to_owned()),
            Just(".**".to_owned())
        ];
        let seq = proptest::collection::vec(leaf, 1..6).prop_map(|parts| parts.concat());
        let braces = proptest::collection::vec(seq.clone(), 1..3).prop_map(|parts| format!("{{{}}}", parts.join(",")));
        proptest::collection::vec(prop_oneof![3 => seq, 1 => braces], 1..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_regular_expression(pattern in pattern(), tags in proptest::collection::vec("[ab.]{0,6}", 20)) {
            let (patterns, regexp) = (Patterns::parse(&pattern).unwrap(), Regexp::new(&fluentds(&pattern)).unwrap());
            for tag in tags {
                prop_assert_eq!(patterns.matches(&tag), regexp.is_match(tag.as_bytes()), "{} on {:?}", pattern, tag);
            }
        }

        #[test]
        fn any_text_is_a_pattern_or_refused(text in "[a-c.*{},/\\\\ ]{0,30}|\\PC{0,20}", tag in "[a-c.]{0,20}|\\PC{0,10}") {
            if let Ok(patterns) = Patterns::parse(&text) {
                patterns.matches(&tag);
            }
        }
    }
}
