//! Ruby regular expressions on bytes.
//!
//! The default engine is a finite automaton: its time is linear in the text, whatever a hostile line holds. Only a pattern
//! with look-around, back-references, atomic groups or possessive repeats gets a backtracking engine, and that one gives up
//! after [`BACKTRACK_LIMIT`] steps (the text then counts as not matching).
//!
//! A pattern is translated (see `translate.rs`) twice: once over Unicode characters, and once over bytes for text that is
//! all ASCII, where both mean the same and the second is smaller and faster. Text that is not UTF-8 gets the bytes too, so
//! `.` covers any byte of a broken line.
//!
//! Groups are found by a list of steps where the pattern allows it (see `steps.rs`), which is several times as fast.

mod class;
mod shape;
mod steps;
#[cfg(test)]
mod tests;
mod translate;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::Finder;
use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

use shape::Shape;
use steps::{Outcome, Places, Steps, UNSET};
use translate::{Flavour, Translated};

/// The largest compiled pattern, in bytes.
const COMPILED_BYTES: usize = 10 << 20;
/// The longest pattern, in bytes.
const PATTERN_BYTES: usize = 64 << 10;
/// The most steps of the backtracking engine for one search.
const BACKTRACK_LIMIT: usize = 1_000_000;

/// Options of a pattern, as the letters after `/.../`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// `i`: letter case does not count.
    pub ignore_case: bool,
    /// `m`: `.` matches a line feed too. (`^` and `$` are at every line in Ruby, always.)
    pub dot_all: bool,
    /// `x`: white space and comments in the pattern do not count.
    pub extended: bool,
}

/// A compiled pattern; cloning is cheap.
#[derive(Clone)]
pub struct Regexp(Arc<Inner>);

struct Inner {
    shown: String,
    engine: Engine,
    names: Vec<Name>,
    groups: usize,
}

enum Engine {
    Linear(Box<Linear>),
    Backtracking(fancy_regex::Regex),
}

/// The automata over bytes and over characters, and what finds groups in their place.
struct Linear {
    /// The whole pattern, where it is but a text.
    literal: Option<Finder<'static>>,
    /// Nothing that the pattern takes is beyond ASCII: on every text both automata find the same.
    is_ascii: bool,
    ascii: Option<Regex>,
    ascii_steps: Option<Steps>,
    unicode: Regex,
    unicode_steps: Option<Steps>,
}

impl Linear {
    /// The automaton for this text, and whether it is the one over bytes.
    fn pick(&self, text: &[u8]) -> (&Regex, bool) {
        match &self.ascii {
            Some(ascii) if self.is_ascii || text.is_ascii() || simdutf8::basic::from_utf8(text).is_err() => {
                (ascii, true)
            }
            _ => (&self.unicode, false),
        }
    }

    /// Finds the first match from byte `start` on, with its groups.
    fn captures_at(&self, text: &[u8], start: usize, slots: &mut Slots) -> bool {
        let (regex, is_ascii) = self.pick(text);
        if let Some(steps) = if is_ascii { &self.ascii_steps } else { &self.unicode_steps } {
            match steps.search(text, start, &mut slots.places) {
                Outcome::Found => return true,
                Outcome::NotFound => {
                    slots.places.clear();
                    return false;
                }
                Outcome::GivenUp => {}
            }
        }
        let kept = if is_ascii { &mut slots.ascii } else { &mut slots.unicode };
        let locations = kept.get_or_insert_with(|| regex.capture_locations());
        if regex.captures_read_at(locations, text, start).is_none() {
            return false;
        }
        slots.places = (0..locations.len()).flat_map(|group| pair(locations.get(group))).collect();
        true
    }
}

/// A named group. Ruby lets several groups share a name; the last one that matched counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    name: Arc<str>,
    groups: Vec<usize>,
}

/// Why a pattern can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegexpError {
    message: String,
}

impl RegexpError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for RegexpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid regexp: {}", self.message)
    }
}

impl std::error::Error for RegexpError {}

/// Where the groups of one match stand. Made by [`Regexp::slots`] and reused, so that parsing a line allocates nothing.
#[derive(Default)]
pub struct Slots {
    ascii: Option<CaptureLocations>,
    unicode: Option<CaptureLocations>,
    places: Places,
}

impl Slots {
    /// The bytes of group `index`; group 0 is the whole match.
    pub fn get(&self, index: usize) -> Option<Range<usize>> {
        match self.places.get(index * 2..index * 2 + 2) {
            Some([start, end]) if *start != UNSET => Some(*start..*end),
            _ => None,
        }
    }
}

impl Regexp {
    /// Compiles a pattern without slashes or options.
    pub fn new(pattern: &str) -> Result<Self, RegexpError> {
        Self::with_flags(pattern, Flags::default())
    }

    /// Compiles a regexp parameter: `/pattern/`, with the letters `i` and `m` after it, or a pattern alone.
    pub fn from_literal(text: &str) -> Result<Self, RegexpError> {
        if !text.starts_with('/') {
            return Self::new(text);
        }
        let right = text.rfind('/').unwrap_or(0);
        // as in Fluentd, at most two letters are taken for options
        if right == 0 || text.len() - right > 3 {
            return Err(RegexpError::new(format!("missing right slash: {text}")));
        }
        let letters = &text[right + 1..];
        let flags = Flags { ignore_case: letters.contains('i'), dot_all: letters.contains('m'), extended: false };
        Self::with_flags(&text[1..right], flags)
    }

    /// Compiles a pattern with options.
    pub fn with_flags(pattern: &str, flags: Flags) -> Result<Self, RegexpError> {
        if pattern.len() > PATTERN_BYTES {
            return Err(RegexpError::new(format!("the pattern is longer than {PATTERN_BYTES} bytes")));
        }
        let unicode = translate::translate(pattern, flags, Flavour::Unicode)?;
        let engine = if unicode.needs_backtracking {
            Engine::Backtracking(compile_backtracking(&unicode.text)?)
        } else {
            let ascii = translate::translate(pattern, flags, Flavour::Ascii).ok().map(|ascii| ascii.text);
            let compiled = ascii.as_deref().and_then(|ascii| compile(ascii, false).ok());
            let shape = Shape::of(&unicode.text);
            Engine::Linear(Box::new(Linear {
                literal: shape.literal.map(|text| Finder::new(&text).into_owned()),
                is_ascii: shape.is_ascii,
                ascii_steps: compiled.as_ref().and_then(|_| Steps::new(ascii.as_deref()?, false)),
                // Without an automaton for what is no text, the one over characters gets that too, and steps do not.
                unicode_steps: compiled.as_ref().and_then(|_| Steps::new(&unicode.text, true)),
                ascii: compiled,
                unicode: compile(&unicode.text, true)?,
            }))
        };
        let shown = show(pattern, flags);
        let Translated { names, groups, .. } = unicode;
        Ok(Self(Arc::new(Inner { shown, engine, names, groups })))
    }

    /// Whether the pattern is found anywhere in `text`.
    pub fn is_match(&self, text: &[u8]) -> bool {
        match &self.0.engine {
            Engine::Linear(linear) => match &linear.literal {
                Some(literal) => literal.find(text).is_some(),
                None => linear.pick(text).0.is_match(text),
            },
            Engine::Backtracking(regex) => regex.is_match(text).unwrap_or(false),
        }
    }

    /// The first match at or after byte `start`.
    pub fn find_at(&self, text: &[u8], start: usize) -> Option<Range<usize>> {
        if start > text.len() {
            return None;
        }
        match &self.0.engine {
            Engine::Linear(linear) => linear.pick(text).0.find_at(text, start).map(|found| found.range()),
            Engine::Backtracking(regex) => regex.find_from_pos(text, start).ok().flatten().map(|found| found.range()),
        }
    }

    /// All matches from left to right, none overlapping.
    pub fn find_iter<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut from = 0;
        std::iter::from_fn(move || {
            let found = self.find_at(text, from)?;
            from = after(text, &found);
            Some(found)
        })
    }

    /// Room for the groups of one match of this pattern.
    pub fn slots(&self) -> Slots {
        Slots::default()
    }

    /// Finds the first match in `text` with its groups; `slots` must come from this pattern.
    pub fn captures_into(&self, text: &[u8], slots: &mut Slots) -> bool {
        self.captures_at(text, 0, slots)
    }

    /// As [`Self::captures_into`], from byte `start` on.
    pub fn captures_at(&self, text: &[u8], start: usize, slots: &mut Slots) -> bool {
        slots.places.clear();
        if start > text.len() {
            return false;
        }
        match &self.0.engine {
            Engine::Linear(linear) => linear.captures_at(text, start, slots),
            Engine::Backtracking(regex) => {
                let Ok(Some(groups)) = regex.captures_from_pos(text, start) else {
                    return false;
                };
                let places = (0..groups.len()).map(|i| groups.get(i).map(|group| (group.start(), group.end())));
                slots.places = places.flat_map(pair).collect();
                true
            }
        }
    }

    /// The first match in `text` with its groups.
    pub fn captures(&self, text: &[u8]) -> Option<Slots> {
        let mut slots = self.slots();
        self.captures_into(text, &mut slots).then_some(slots)
    }

    /// The names of the groups, each once, in the order they first stand.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.0.names.iter().map(|name| &name.name)
    }

    /// The names of the groups by number; group 0 is the whole match and has none.
    pub fn group_names(&self) -> Vec<Option<String>> {
        let most = self.0.names.iter().flat_map(|n| &n.groups).copied().max().unwrap_or(0);
        let mut names = vec![None; most.max(self.0.groups) + 1];
        for name in &self.0.names {
            for group in &name.groups {
                names[*group] = Some(name.name.to_string());
            }
        }
        names
    }

    /// The named groups of a match in the order of [`Self::names`]; `None` where an optional group did not take part.
    pub fn named<'r: 's, 's>(
        &'r self,
        slots: &'s Slots,
    ) -> impl Iterator<Item = (&'r Arc<str>, Option<Range<usize>>)> + 's {
        self.0.names.iter().map(|name| (&name.name, name.groups.iter().rev().find_map(|group| slots.get(*group))))
    }

    /// The named group at a place in the order of [`Self::names`].
    #[inline]
    pub fn named_at(&self, slots: &Slots, at: usize) -> Option<Range<usize>> {
        match self.0.names.get(at)?.groups.as_slice() {
            [group] => slots.get(*group),
            groups => groups.iter().rev().find_map(|group| slots.get(*group)),
        }
    }

    /// The bytes of the group called `name`.
    pub fn group(&self, slots: &Slots, name: &str) -> Option<Range<usize>> {
        self.named(slots).find(|(given, _)| &***given == name).and_then(|(_, range)| range)
    }

    /// How many groups there are, the whole match not counted. Beside named groups, plain ones don't count (as in Ruby).
    pub fn group_count(&self) -> usize {
        self.0.groups
    }

    /// Replaces the first match, or with `everywhere` all of them, as Ruby's `sub` and `gsub`: `\1` to `\9`, `\0`, `\&`,
    /// `\k<name>` and `\\` in `replacement` are resolved.
    pub fn substitute(&self, text: &[u8], replacement: &[u8], everywhere: bool) -> Vec<u8> {
        self.replace(text, everywhere, |slots, out| self.expand(text, replacement, slots, out))
    }

    /// Replaces matches by what `write` appends for each.
    pub fn replace(&self, text: &[u8], everywhere: bool, mut write: impl FnMut(&Slots, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let (mut slots, mut copied, mut from) = (self.slots(), 0, 0);
        while self.captures_at(text, from, &mut slots) {
            let Some(found) = slots.get(0) else { break };
            out.extend_from_slice(&text[copied..found.start]);
            write(&slots, &mut out);
            copied = found.end;
            from = after(text, &found);
            if !everywhere {
                break;
            }
        }
        out.extend_from_slice(&text[copied..]);
        out
    }

    fn expand(&self, text: &[u8], replacement: &[u8], slots: &Slots, out: &mut Vec<u8>) {
        let mut rest = replacement;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            let (group, used) = match rest {
                [digit @ b'0'..=b'9', ..] => (slots.get(usize::from(digit - b'0')), 1),
                [b'&', ..] => (slots.get(0), 1),
                [b'\\', ..] => {
                    out.push(b'\\');
                    (None, 1)
                }
                [b'k', b'<', name @ ..] => match memchr::memchr(b'>', name) {
                    Some(len) => {
                        (std::str::from_utf8(&name[..len]).ok().and_then(|name| self.group(slots, name)), len + 3)
                    }
                    None => (None, 1),
                },
                _ => {
                    out.push(b'\\');
                    (None, 0)
                }
            };
            out.extend_from_slice(group.map_or(&[][..], |range| &text[range]));
            rest = &rest[used..];
        }
        out.extend_from_slice(rest);
    }
}

/// A group's two places.
fn pair(group: Option<(usize, usize)>) -> [usize; 2] {
    group.map_or([UNSET; 2], |(start, end)| [start, end])
}

/// Where the next search starts: past the match, and past one more character if the match is empty.
fn after(text: &[u8], found: &Range<usize>) -> usize {
    if !found.is_empty() {
        return found.end;
    }
    let next = text.get(found.end + 1..).unwrap_or(&[]);
    found.end + 1 + next.iter().take_while(|byte| (0x80..0xc0).contains(*byte)).count()
}

fn compile(text: &str, unicode: bool) -> Result<Regex, RegexpError> {
    let built = RegexBuilder::new(text).multi_line(true).unicode(unicode).size_limit(COMPILED_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            RegexpError::new(format!("the compiled pattern is larger than {limit} bytes; use smaller repeat counts"))
        }
        other => RegexpError::new(last_line(&other.to_string())),
    })
}

fn compile_backtracking(text: &str) -> Result<fancy_regex::Regex, RegexpError> {
    fancy_regex::RegexBuilder::new(text)
        .multi_line(true)
        .oniguruma_mode(true)
        .bytes_mode(fancy_regex::BytesMode::UnicodeBytes)
        .backtrack_limit(BACKTRACK_LIMIT)
        .delegate_size_limit(COMPILED_BYTES)
        .build()
        .map_err(|error| RegexpError::new(last_line(&error.to_string())))
}

/// The engines' messages show the translated pattern over several lines; only the last says what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn show(pattern: &str, flags: Flags) -> String {
    let letters = [(flags.ignore_case, 'i'), (flags.dot_all, 'm'), (flags.extended, 'x')];
    let letters: String = letters.into_iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect();
    format!("/{pattern}/{letters}")
}

/// The pattern as written, between slashes.
impl fmt::Display for Regexp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.shown)
    }
}

impl fmt::Debug for Regexp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.shown)
    }
}

/// Two patterns are equal if they are written alike.
impl PartialEq for Regexp {
    fn eq(&self, other: &Self) -> bool {
        self.0.shown == other.0.shown
    }
}

impl Eq for Regexp {}
