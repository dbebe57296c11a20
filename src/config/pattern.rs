//! Match patterns: `*`, `**`, `{a,b}`, several in a row, `/regexp/`. Fluentd's `GlobMatchPattern`, part by part.
//!
//! Between dots `*` stands for one part (or a piece of one) and `**` for any number of parts: `a.**` matches `a`, `a.b` and
//! `a.b.c`; `**.a` does not match the bare `a`.

use super::Regexp;

/// Patterns that one text with braces may stand for.
const MAX_ALTERNATIVES: usize = 4096;

/// Patterns of which one must match.
#[derive(Clone, Debug)]
pub struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug)]
enum Pattern {
    /// `**`
    All,
    /// No star at all.
    Exact(String),
    /// `a.b.**`: this text, or this text, a dot and more.
    Below(String),
    Parts(Vec<Part>),
    Regexp(Regexp),
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// `**` as a whole part.
    Any,
    /// A part with or without stars.
    One(String),
}

impl Patterns {
    /// Reads patterns between white space.
    ///
    /// Errors: a brace that is not closed, a bad expression, too many alternatives.
    pub fn parse(text: &str) -> Result<Patterns, String> {
        let mut patterns = Vec::new();
        for word in words(text) {
            if let Some(source) = word.strip_prefix('/').and_then(|w| w.strip_suffix('/')).filter(|w| !w.is_empty()) {
                patterns.push(Pattern::Regexp(Regexp::new(source).map_err(|e| e.to_string())?));
                continue;
            }
            for plain in braces(word)? {
                patterns.push(Pattern::new(&plain));
            }
            if patterns.len() > MAX_ALTERNATIVES {
                return Err(format!("the pattern stands for more than {MAX_ALTERNATIVES} alternatives"));
            }
        }
        Ok(Patterns(patterns))
    }

    /// Whether one of them matches a tag.
    pub fn matches(&self, tag: &str) -> bool {
        self.0.iter().any(|p| p.matches(tag))
    }
}

/// White space inside braces does not part patterns.
fn words(text: &str) -> Vec<&str> {
    let (mut out, mut start, mut depth) = (Vec::new(), None, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            out.extend(start.take().map(|s: usize| &text[s..at]));
        } else {
            start = start.or(Some(at));
        }
    }
    out.extend(start.map(|s| &text[s..]));
    out
}

/// Writes out `{a,b}`, also nested.
fn braces(text: &str) -> Result<Vec<String>, String> {
    let Some(open) = text.find('{') else { return Ok(vec![text.to_owned()]) };
    let (mut depth, mut from, mut choices, mut close) = (0usize, open + 1, Vec::new(), None);
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < open) {
        match c {
            '{' => depth += 1,
            ',' if depth == 1 => {
                choices.push(&text[from..at]);
                from = at + 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    choices.push(&text[from..at]);
                    close = Some(at);
                    break;
                }
            }
            _ => {}
        }
    }
    let close = close.ok_or_else(|| format!("{text:?} has a brace that is not closed"))?;
    let mut out = Vec::new();
    for choice in choices {
        for rest in braces(&text[close + 1..])? {
            for inner in braces(choice)? {
                out.push(format!("{}{}{rest}", &text[..open], inner.trim()));
                if out.len() > MAX_ALTERNATIVES {
                    return Err(format!("the pattern stands for more than {MAX_ALTERNATIVES} alternatives"));
                }
            }
        }
    }
    Ok(out)
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        if text == "**" {
            return Pattern::All;
        }
        if !text.contains('*') {
            return Pattern::Exact(text.to_owned());
        }
        if let Some(prefix) = text.strip_suffix(".**").filter(|p| !p.contains('*')) {
            return Pattern::Below(prefix.to_owned());
        }
        let part = |p: &str| if p == "**" { Part::Any } else { Part::One(p.to_owned()) };
        Pattern::Parts(text.split('.').map(part).collect())
    }

    fn matches(&self, tag: &str) -> bool {
        match self {
            Pattern::All => true,
            Pattern::Exact(text) => text == tag,
            Pattern::Below(prefix) => match tag.strip_prefix(prefix.as_str()) {
                Some(rest) => rest.is_empty() || rest.starts_with('.'),
                None => false,
            },
            Pattern::Parts(parts) => {
                let words: Vec<&str> = tag.split('.').collect();
                parts_match(parts, &words)
            }
            Pattern::Regexp(regexp) => regexp.is_match(tag.as_bytes()),
        }
    }
}

/// Matches parts from the left; after a failure it goes back to the last `**` only, which is enough for patterns of stars.
fn parts_match(parts: &[Part], words: &[&str]) -> bool {
    // Fluentd's `**.x` needs a part before `x`.
    if parts.first() == Some(&Part::Any) && parts.len() > 1 && words.len() < 2 {
        return false;
    }
    let (mut p, mut w, mut back) = (0, 0, None);
    while w < words.len() {
        match parts.get(p) {
            Some(Part::Any) => {
                back = Some((p + 1, w));
                p += 1;
            }
            Some(Part::One(part)) if star_match(part.as_bytes(), words[w].as_bytes()) => {
                p += 1;
                w += 1;
            }
            _ => match back {
                Some((after, from)) => {
                    (p, w, back) = (after, from + 1, Some((after, from + 1)));
                }
                None => return false,
            },
        }
    }
    parts[p..].iter().all(|p| *p == Part::Any)
}

/// `*` stands for any text without a dot.
fn star_match(part: &[u8], word: &[u8]) -> bool {
    let (mut p, mut w, mut back) = (0, 0, None);
    while w < word.len() {
        match part.get(p) {
            Some(b'*') => {
                back = Some((p + 1, w));
                p += 1;
            }
            Some(byte) if *byte == word[w] => {
                p += 1;
                w += 1;
            }
            _ => match back {
                Some((after, from)) => (p, w, back) = (after, from + 1, Some((after, from + 1))),
                None => return false,
            },
        }
    }
    part[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_match_as_in_fluentd() {
        for (pattern, yes, no) in [
            ("a.b", vec!["a.b"], vec!["a", "a.b.c", "ab"]),
            ("a.*", vec!["a.b"], vec!["a", "a.b.c"]),
            ("a.**", vec!["a", "a.b", "a.b.c"], vec!["ab", "b.a"]),
            ("**.a", vec!["x.a", "x.y.a"], vec!["a", "a.b"]),
            ("**", vec!["a", "a.b", ""], vec![]),
            ("a.**.z", vec!["a.z", "a.b.z", "a.b.c.z"], vec!["a", "z", "a.zz"]),
            ("{a,b}.c", vec!["a.c", "b.c"], vec!["c.c"]),
            ("{a.b,c.**}", vec!["a.b", "c", "c.d"], vec!["a"]),
            ("a{b,{c,d}}*", vec!["ab", "acx", "adyy"], vec!["a"]),
            ("x.y z.*", vec!["x.y", "z.q"], vec!["x", "z"]),
            ("web*", vec!["web", "web1"], vec!["web.1", "we"]),
            ("/^app-\\d+$/", vec!["app-12"], vec!["app-x"]),
            ("*", vec!["a"], vec!["a.b"]),
        ] {
            let p = Patterns::parse(pattern).unwrap();
            yes.iter().for_each(|t| assert!(p.matches(t), "{pattern} {t}"));
            no.iter().for_each(|t| assert!(!p.matches(t), "{pattern} {t}"));
        }
    }

    #[test]
    fn open_braces_and_floods_are_faults() {
        assert!(Patterns::parse("a{b").is_err());
        assert!(Patterns::parse(&"{a,b,c,d}".repeat(20)).is_err());
    }
}
