//! Where in which file something was written.
//!
//! A [`Span`] is cheap to clone and outlives the parser: it shares its [`Source`], so a fault found long after loading
//! (a port in use, a bad path) can still show the line it comes from.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One file (or `-i` text) of a configuration: its name as shown to the operator, and its text.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Wraps `text`, read from `name`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// The name as shown to the operator: a path, or a word such as `(inline)`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A range of bytes of one [`Source`]. A span may also be nowhere, for values that no file holds.
#[derive(Clone, Default)]
pub struct Span {
    source: Option<Arc<Source>>,
    start: usize,
    end: usize,
}

impl Span {
    /// The bytes `start..end` of `source`; offsets past the end, or inside a character, are moved to the nearest place before.
    pub fn new(source: &Arc<Source>, range: Range<usize>) -> Self {
        let start = floor_boundary(source.text(), range.start);
        let end = floor_boundary(source.text(), range.end).max(start);
        Self { source: Some(Arc::clone(source)), start, end }
    }

    /// The span of something that stands in no file: a default, a value made by the program, a test.
    pub fn nowhere() -> Self {
        Self::default()
    }

    /// The file, unless this span is nowhere.
    pub fn source(&self) -> Option<&Arc<Source>> {
        self.source.as_ref()
    }

    /// The byte range inside the source's text.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The file's name, or `(none)`.
    pub fn file(&self) -> &str {
        self.source.as_ref().map_or("(none)", |source| source.name())
    }

    /// The line of the first byte, from 1; 0 if nowhere.
    pub fn line(&self) -> usize {
        self.before().map_or(0, |text| text.matches('\n').count() + 1)
    }

    /// The column of the first byte in characters, from 1; 0 if nowhere.
    pub fn column(&self) -> usize {
        self.before().map_or(0, |text| {
            let line = text.rsplit('\n').next().unwrap_or("");
            line.chars().count() + 1
        })
    }

    /// The text that the span covers.
    pub fn text(&self) -> &str {
        self.source.as_ref().map_or("", |source| &source.text()[self.start..self.end])
    }

    /// A span from this one's start to `other`'s end; this one alone if they are of two files.
    pub fn to(&self, other: &Span) -> Span {
        let same = match (&self.source, &other.source) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        Span { end: if same { self.end.max(other.end) } else { self.end }, ..self.clone() }
    }

    fn before(&self) -> Option<&str> {
        self.source.as_ref().map(|source| &source.text()[..self.start])
    }
}

/// `file:line:column`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line(), self.column())
    }
}

/// Short, because a span sits in every node of a tree and its source holds a whole file.
impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_and_column_count_characters_from_one() {
        let source = Source::new("a.conf", "é\nxy é z");
        let at = source.text().find('z').unwrap_or(0);
        let span = Span::new(&source, at..at + 1);
        assert_eq!((span.line(), span.column(), span.text()), (2, 6, "z"));
        assert_eq!(span.to_string(), "a.conf:2:6");
    }

    #[test]
    fn offsets_outside_the_text_or_inside_a_character_are_moved_back() {
        let source = Source::new("a.conf", "aé");
        assert_eq!(Span::new(&source, 2..99).range(), 1..3);
        assert_eq!(Span::new(&source, 7..7).text(), "");
    }

    #[test]
    fn nowhere_has_no_line() {
        let span = Span::nowhere();
        assert_eq!((span.line(), span.column(), span.text()), (0, 0, ""));
    }

    #[test]
    fn joining_spans_of_two_files_keeps_the_first() {
        let (a, b) = (Source::new("a", "abcdef"), Source::new("b", "abcdef"));
        assert_eq!(Span::new(&a, 0..1).to(&Span::new(&a, 4..6)).text(), "abcdef");
        assert_eq!(Span::new(&a, 0..1).to(&Span::new(&b, 4..6)).text(), "a");
    }
}
