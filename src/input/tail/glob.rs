//! Ruby's `Dir.glob`: `*`, `?`, `[a-z]`, `[^a]`, `{a,b}`, `\x`, and `**/` for any number of directories.
//!
//! As in Ruby, `*` and `?` do not match a leading dot, `**/` enters neither hidden directories nor links, and the names
//! of one directory come sorted. The directories that were looked into are told as well: new names appear there.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Most patterns that braces of one pattern may stand for.
const MAX_ALTERNATIVES: usize = 1024;
/// Deepest that `**` goes.
const MAX_DEPTH: usize = 64;
/// Most paths that one pattern gives; a pattern that matches more is surely a mistake, and memory is bounded.
pub(super) const MAX_MATCHES: usize = 200_000;

/// A compiled pattern: one of them per alternative of its braces.
#[derive(Debug)]
pub(super) struct Glob {
    alternatives: Vec<Vec<Part>>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// `/` in front of everything.
    Root,
    /// A name.
    Name(OsString),
    /// A name with wildcards.
    Wild(Vec<u8>),
    /// `**`
    AnyDepth,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Matching paths, in order, written as the pattern writes them.
    pub(super) paths: Vec<PathBuf>,
    /// Directories that were looked into.
    pub(super) directories: BTreeSet<PathBuf>,
    /// Whether there were more than [`MAX_MATCHES`].
    pub(super) cut: bool,
}

impl Glob {
    pub(super) fn new(pattern: &str) -> Glob {
        Glob { alternatives: alternatives(pattern.as_bytes()).iter().map(|text| parts(text)).collect() }
    }

    /// Adds what matches now.
    pub(super) fn walk(&self, found: &mut Found) {
        for parts in &self.alternatives {
            walk(PathBuf::new(), parts, 0, found);
        }
    }
}

fn walk(at: PathBuf, parts: &[Part], depth: usize, found: &mut Found) {
    let Some((part, rest)) = parts.split_first() else { return };
    match part {
        Part::Root => walk(PathBuf::from("/"), rest, depth, found),
        Part::Name(name) => step(&at, at.join(name), rest, depth, found),
        Part::Wild(pattern) => {
            for entry in names(&at, found) {
                if matches(pattern, entry.name.as_bytes()) {
                    step(&at, at.join(&entry.name), rest, depth, found);
                }
            }
        }
        Part::AnyDepth => {
            walk(at.clone(), rest, depth, found);
            if depth >= MAX_DEPTH {
                return;
            }
            for entry in names(&at, found) {
                if entry.directory && !entry.name.as_bytes().starts_with(b".") {
                    walk(at.join(&entry.name), parts, depth + 1, found);
                }
            }
        }
    }
}

fn step(parent: &Path, path: PathBuf, rest: &[Part], depth: usize, found: &mut Found) {
    if !rest.is_empty() {
        return walk(path, rest, depth, found);
    }
    found.directories.insert(or_here(parent).to_owned());
    if found.paths.len() >= MAX_MATCHES {
        found.cut = true;
    } else if fs::symlink_metadata(&path).is_ok() {
        found.paths.push(path);
    }
}

struct Entry {
    name: OsString,
    /// A directory itself, not a link to one.
    directory: bool,
}

/// Names in a directory, sorted; none where it can't be read.
fn names(directory: &Path, found: &mut Found) -> Vec<Entry> {
    let directory = or_here(directory);
    found.directories.insert(directory.to_owned());
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<Entry> = entries
        .filter_map(Result::ok)
        .map(|e| Entry { directory: e.file_type().is_ok_and(|t| t.is_dir()), name: e.file_name() })
        .collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    names
}

/// The empty relative path is the working directory.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn parts(pattern: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    if pattern.starts_with(b"/") {
        parts.push(Part::Root);
    }
    let names: Vec<&[u8]> = pattern.split(|b| *b == b'/').filter(|name| !name.is_empty()).collect();
    for (at, name) in names.iter().enumerate() {
        let last = at + 1 == names.len();
        match *name {
            b"**" if last => parts.push(Part::Wild(b"*".to_vec())),
            b"**" if parts.last() == Some(&Part::AnyDepth) => {}
            b"**" => parts.push(Part::AnyDepth),
            name if name.iter().any(|b| b"*?[\\".contains(b)) => parts.push(Part::Wild(name.to_vec())),
            name => parts.push(Part::Name(OsString::from_vec(name.to_vec()))),
        }
    }
    parts
}

/// What braces stand for: `a{b,c{d,e}}` is `ab`, `acd`, `ace`. A brace that is not closed is an ordinary character.
fn alternatives(pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_vec()];
    while let Some(text) = open.pop() {
        match first_braces(&text) {
            // Past the limit braces stay as they are and match nothing: memory is bounded.
            Some((start, end)) if open.len() + done.len() < MAX_ALTERNATIVES => {
                for inner in top_level_commas(&text[start + 1..end]).into_iter().rev() {
                    open.push([&text[..start], inner, &text[end + 1..]].concat());
                }
            }
            _ => done.push(text),
        }
    }
    done
}

/// The first `{` that has a matching `}`, and that.
fn first_braces(text: &[u8]) -> Option<(usize, usize)> {
    let (mut start, mut depth) = (0, 0usize);
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'{' => {
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            b'}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return Some((start, at));
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn top_level_commas(text: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut from, mut depth, mut at) = (Vec::new(), 0, 0usize, 0);
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                found.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    found.push(&text[from..]);
    found
}

/// Whether a name matches a pattern of one path step. Linear in the name for each `*`: only the last one is gone back to.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") && !pattern.starts_with(b"\\.") {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
            continue;
        }
        match one(&pattern[p..], &name[n..]) {
            Some((pattern_len, name_len)) => {
                p += pattern_len;
                n += name_len;
            }
            None if p == pattern.len() && n == name.len() => return true,
            None => {
                let Some((at, from)) = star.filter(|(_, from)| *from < name.len()) else { return false };
                let next = from + char_len(&name[from..]);
                star = Some((at, next));
                (p, n) = (at + 1, next);
            }
        }
    }
}

/// Matches one character: how many bytes of the pattern and of the name it takes.
fn one(pattern: &[u8], name: &[u8]) -> Option<(usize, usize)> {
    let (first, char_len) = (*pattern.first()?, (!name.is_empty()).then(|| char_len(name))?);
    match first {
        b'?' => Some((1, char_len)),
        b'[' => match set(&pattern[1..], &name[..char_len]) {
            Some((true, len)) => Some((1 + len, char_len)),
            Some((false, _)) => None,
            // A bracket that is not closed matches nothing, as in Ruby.
            None => None,
        },
        b'\\' if pattern.len() > 1 => (pattern[1] == name[0]).then_some((2, 1)),
        other => (other == name[0]).then_some((1, 1)),
    }
}

/// Whether a character is in the set behind `[`, and the length of the set with its `]`.
fn set(text: &[u8], c: &[u8]) -> Option<(bool, usize)> {
    let negated = matches!(text.first(), Some(b'^' | b'!'));
    let mut at = usize::from(negated);
    let (start, mut within) = (at, false);
    while at < text.len() && (text[at] != b']' || at == start) {
        let low = member(text, &mut at)?;
        if text.get(at) == Some(&b'-') && text.get(at + 1).is_some_and(|b| *b != b']') {
            at += 1;
            let high = member(text, &mut at)?;
            within |= low <= c && c <= high;
        } else {
            within |= low == c;
        }
    }
    (text.get(at) == Some(&b']')).then_some((within != negated, at + 1))
}

/// One character of a set.
fn member<'t>(text: &'t [u8], at: &mut usize) -> Option<&'t [u8]> {
    if text.get(*at) == Some(&b'\\') {
        *at += 1;
    }
    let rest = text.get(*at..).filter(|rest| !rest.is_empty())?;
    let len = char_len(rest);
    *at += len;
    Some(&rest[..len])
}

/// Length of the UTF-8 character that begins here; 1 where there is none. `text` is not empty.
fn char_len(text: &[u8]) -> usize {
    let len = match text[0] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if text.get(..len).is_some_and(|c| std::str::from_utf8(c).is_ok()) { len } else { 1 }
}

/// The last step of a path, as bytes.
pub(super) fn base_name(path: &Path) -> &[u8] {
    path.file_name().map_or(b"", OsStr::as_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    fn glob(dir: &tempfile::TempDir, pattern: &str) -> Vec<String> {
        let mut found = Found::default();
        Glob::new(&format!("{}/{pattern}", dir.path().display())).walk(&mut found);
        let relative = |p: &PathBuf| p.strip_prefix(dir.path()).unwrap().display().to_string();
        found.paths.iter().map(relative).collect()
    }

    #[test]
    fn wildcards_match_within_one_name() {
        let dir = tree(&["a.log", "b.log", "b.txt", ".hidden.log", "sub/c.log", "日.log"]);
        assert_eq!(glob(&dir, "*.log"), ["a.log", "b.log", "日.log"]);
        assert_eq!(glob(&dir, "?.log"), ["a.log", "b.log", "日.log"]);
        assert_eq!(glob(&dir, "[^a].log"), ["b.log", "日.log"]);
        assert_eq!(glob(&dir, "[a-b].*"), ["a.log", "b.log", "b.txt"]);
        assert_eq!(glob(&dir, ".*.log"), [".hidden.log"]);
        assert_eq!(glob(&dir, "*/c.log"), ["sub/c.log"]);
        assert_eq!(glob(&dir, "missing/*.log"), [""; 0]);
    }

    #[test]
    fn any_depth_enters_neither_links_nor_hidden_directories() {
        let dir = tree(&["x.log", "a/x.log", "a/b/x.log", ".git/x.log"]);
        std::os::unix::fs::symlink(dir.path().join("a"), dir.path().join("link")).unwrap();
        assert_eq!(glob(&dir, "**/x.log"), ["x.log", "a/x.log", "a/b/x.log"]);
        assert_eq!(glob(&dir, "**/b/**/*.log"), ["a/b/x.log"]);
        assert_eq!(glob(&dir, "*/x.log"), ["a/x.log", "link/x.log"]);
    }

    #[test]
    fn braces_stand_for_alternatives() {
        let dir = tree(&["a1", "a2", "b1", "c"]);
        assert_eq!(glob(&dir, "{a,b}1"), ["a1", "b1"]);
        assert_eq!(glob(&dir, "{a{1,2},c}"), ["a1", "a2", "c"]);
        assert_eq!(glob(&dir, "{a1"), [""; 0]);
        assert_eq!(alternatives(b"a{b,}c"), [b"abc".to_vec(), b"ac".to_vec()]);
    }

    #[test]
    fn escapes_and_broken_sets_are_no_wildcards() {
        assert!(matches(b"a\\*b", b"a*b"));
        assert!(!matches(b"a\\*b", b"axb"));
        assert!(!matches(b"[a", b"a"));
        assert!(matches(b"[]a]", b"]"));
        assert!(matches(b"[a-]x", b"-x"));
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = b"*a".repeat(200);
        assert!(!matches(&pattern, &[b'b'; 2000]));
        assert!(!matches(&[pattern, b"c".to_vec()].concat(), &[b'a'; 2000]));
    }

    #[test]
    fn directories_that_were_looked_into_are_told() {
        let dir = tree(&["a/x.log", "b/y.log"]);
        let mut found = Found::default();
        Glob::new(&format!("{}/*/x.log", dir.path().display())).walk(&mut found);
        let names = ["", "a", "b"].map(|n| if n.is_empty() { dir.path().to_owned() } else { dir.path().join(n) });
        assert_eq!(found.directories.into_iter().collect::<Vec<_>>(), names);
    }
}
