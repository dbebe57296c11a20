//! What is wrong with a configuration, where, and what to write instead.
//!
//! A check collects every fault before it gives up, so the unit of failure is [`Diagnostics`], not the first error.

use std::fmt;

use super::render;
use super::span::Span;

/// Whether a fault stops the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Worth a look; the daemon starts.
    Warning,
    /// The configuration can't be used.
    Error,
}

/// One fault.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A fault that stops the start.
    pub fn error(message: impl Into<String>, span: &Span) -> Self {
        Self { severity: Severity::Error, message: message.into(), span: span.clone(), help: None }
    }

    /// A fault that doesn't.
    pub fn warning(message: impl Into<String>, span: &Span) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message, span) }
    }

    /// Something worth knowing that is no fault.
    pub fn note(message: impl Into<String>, span: &Span) -> Self {
        Self { severity: Severity::Note, ..Self::error(message, span) }
    }

    /// Adds what to do about it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it is no fault at all.
    pub fn is_note(&self) -> bool {
        self.severity == Severity::Note
    }

    /// Whether it stops the start.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// `config error file="a.conf" line=3 column=5 error="..."`: one line for the log, without control characters.
    pub fn one_line(&self) -> String {
        render::one_line(self)
    }

    /// Several lines for a terminal: the message, the place, the source line with a caret, and the help.
    pub fn render(&self) -> String {
        render::report(self)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one_line())
    }
}

impl std::error::Error for Diagnostic {}

/// The most faults kept; a binary file given as configuration has one per line.
const MAX_DIAGNOSTICS: usize = 1_000;

/// The faults of one configuration, in the order they were found.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// No faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault; past [`MAX_DIAGNOSTICS`] it is left out.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.0.len() < MAX_DIAGNOSTICS {
            self.0.push(diagnostic);
        }
    }

    /// Adds an error.
    pub fn error(&mut self, message: impl Into<String>, span: &Span) {
        self.push(Diagnostic::error(message, span));
    }

    /// Adds a warning.
    pub fn warn(&mut self, message: impl Into<String>, span: &Span) {
        self.push(Diagnostic::warning(message, span));
    }

    /// Whether any of them stops the start.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(Diagnostic::is_error)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are, warnings included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all but the first `len`: a parser that went astray takes back what it said.
    pub(super) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// In the order of the text: files in the order they were first met, then lines.
    pub fn by_place(mut self) -> Self {
        let mut files: Vec<String> = Vec::new();
        for fault in &self.0 {
            if !files.iter().any(|known| known == fault.span.file()) {
                files.push(fault.span.file().to_owned());
            }
        }
        let file = |span: &Span| files.iter().position(|known| known == span.file());
        self.0.sort_by_key(|fault| (file(&fault.span), fault.span.range().start));
        self
    }

    /// In the order they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// All of them for a terminal.
    pub fn render(&self) -> String {
        self.0.iter().map(Diagnostic::render).collect::<Vec<_>>().join("\n\n")
    }

    /// `value` if nothing stops the start, with the warnings; else all faults.
    pub fn into_result<T>(self, value: T) -> Result<(T, Diagnostics), Diagnostics> {
        if self.has_errors() { Err(self) } else { Ok((value, self)) }
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, faults: I) {
        faults.into_iter().for_each(|fault| self.push(fault));
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(faults: I) -> Self {
        let mut all = Self::new();
        all.extend(faults);
        all
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(fault: Diagnostic) -> Self {
        Self(vec![fault])
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// One line per fault.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The word of `known` that is most likely meant by `word`: `did you mean ...` only when it is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit && !candidate.is_empty())
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::span::Source;

    #[test]
    fn nearest_offers_only_words_that_are_near() {
        let known = ["flush_interval", "flush_mode", "path"];
        assert_eq!(nearest("flush_intervall", known), Some("flush_interval"));
        assert_eq!(nearest("pth", known), Some("path"));
        assert_eq!(nearest("no_such_param", known), None);
    }

    #[test]
    fn warnings_alone_do_not_stop_the_start() {
        let mut faults = Diagnostics::new();
        faults.warn("odd", &Span::nowhere());
        assert!(!faults.has_errors());
        assert!(faults.clone().into_result(1).is_ok_and(|(value, warnings)| value == 1 && warnings.len() == 1));
        faults.error("bad", &Span::nowhere());
        assert!(faults.into_result(1).is_err());
    }

    #[test]
    fn faults_are_told_in_the_order_of_the_text() {
        let (a, b) = (Source::new("a", "12345"), Source::new("b", "12345"));
        let places = [(&a, 3), (&b, 1), (&a, 0), (&b, 0)];
        let faults = places.map(|(source, at)| Diagnostic::error(at.to_string(), &Span::new(source, at..at + 1)));
        let sorted = faults.into_iter().collect::<Diagnostics>().by_place();
        let told: Vec<String> = sorted.iter().map(|f| format!("{}{}", f.span.file(), f.message)).collect();
        assert_eq!(told, ["a0", "a3", "b0", "b1"]);
    }

    #[test]
    fn the_number_of_faults_is_bounded() {
        let faults: Diagnostics = (0..5_000).map(|i| Diagnostic::error(i.to_string(), &Span::nowhere())).collect();
        assert_eq!(faults.len(), MAX_DIAGNOSTICS);
    }
}
