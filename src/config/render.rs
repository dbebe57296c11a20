//! Diagnostics as text: one line for the log, or a source line with a caret for a terminal.
//!
//! The renderer is only ever given one line, cut to a window and free of control characters: a configuration may be
//! any bytes at all, and neither a terminal nor this code may suffer from that.

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Severity};
use super::secret::{MASK, looks_secret, mask_within};
use super::span::Span;

/// The longest piece of a source line that is shown, in characters.
const WINDOW_CHARS: usize = 120;
/// What is shown of a cut line before the place of the fault, in characters.
const WINDOW_BEFORE: usize = 60;
/// The longest message or help that is shown, in characters.
const MAX_MESSAGE_CHARS: usize = 2_000;

pub(super) fn one_line(fault: &Diagnostic) -> String {
    let kind = match fault.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let help = fault.help.as_ref().map_or(String::new(), |help| format!(" ({help})"));
    let text = quote(&format!("{}{help}", fault.message));
    match fault.span.source() {
        None => format!("config {kind} error={text}"),
        Some(source) => format!(
            "config {kind} file={} line={} column={} error={text}",
            quote(source.name()),
            fault.span.line(),
            fault.span.column()
        ),
    }
}

pub(super) fn report(fault: &Diagnostic) -> String {
    let message = clean(&fault.message);
    let (title, help) = match fault.severity {
        Severity::Error => (Level::ERROR.primary_title(message), &fault.help),
        Severity::Warning => (Level::WARNING.primary_title(message), &fault.help),
        Severity::Note => (Level::NOTE.primary_title(message), &fault.help),
    };
    let place = Place::of(&fault.span);
    let mut group = title.elements(None::<Snippet<'_, annotate_snippets::Annotation<'_>>>);
    if let Some(place) = &place {
        group = group
            .element(Origin::path(place.file.as_str()).line(place.number).char_column(place.column))
            .element(place.snippet());
    }
    if let Some(help) = help {
        group = group.element(Level::HELP.message(clean(help)));
    }
    let text = Renderer::plain().render(&[group]);
    // a snippet that comes after an origin is marked as another place of the same file; it is the place itself
    text.lines().filter(|line| line.trim() != ":::").collect::<Vec<_>>().join("\n")
}

/// The one line that is shown, and where in it the caret stands (bytes).
struct Place {
    file: String,
    number: usize,
    column: usize,
    line: String,
    caret: std::ops::Range<usize>,
}

impl Place {
    fn of(span: &Span) -> Option<Place> {
        let source = span.source()?;
        let (text, range) = (source.text(), span.range());
        let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[range.start..].find('\n').map_or(text.len(), |at| range.start + at);
        let caret = range.start - start..range.end.clamp(range.start, end) - start;
        let (line, caret) = window(&text[start..end], caret);
        Some(Place { file: clean(source.name()), number: span.line(), column: span.column(), line, caret })
    }

    fn snippet(&self) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        Snippet::source(self.line.as_str())
            .line_start(self.number)
            .annotation(AnnotationKind::Primary.span(self.caret.clone()))
    }
}

/// Cuts `line` to a window around `caret` (bytes), masks a secret and replaces control characters one for one.
fn window(line: &str, caret: std::ops::Range<usize>) -> (String, std::ops::Range<usize>) {
    if let Some(masked) = mask(line) {
        let end = masked.len();
        return (masked, caret.start.min(end)..caret.end.min(end));
    }
    let before = line[..caret.start].chars().count();
    let skip = if line.chars().count() > WINDOW_CHARS { before.saturating_sub(WINDOW_BEFORE) } else { 0 };
    let (mut shown, mut from, mut to) = (String::new(), None, 0);
    for (at, c) in line.char_indices().skip(skip).take(WINDOW_CHARS) {
        if at >= caret.start {
            from.get_or_insert(shown.len());
        }
        shown.push(if c.is_control() { ' ' } else { c });
        if at < caret.end {
            to = shown.len();
        }
    }
    let from = from.unwrap_or(shown.len());
    (shown, from..to.max(from))
}

/// The line of a parameter that looks like a secret, without its value, and of one with a password in a URL without that.
fn mask(line: &str) -> Option<String> {
    let indent = line.len() - line.trim_start().len();
    let name_len = line[indent..].find(|c: char| !(c.is_alphanumeric() || "_-@".contains(c))).unwrap_or(0);
    let name = &line[indent..indent + name_len];
    let rest = &line[indent + name_len..];
    let gap = rest.len() - rest.trim_start_matches([' ', '\t', ':', '=']).len();
    if looks_secret(name) {
        return Some(format!("{}{name}{}{MASK}", &line[..indent].replace('\t', " "), &rest[..gap].replace('\t', " ")));
    }
    mask_within(line).map(|masked| masked.replace(char::is_control, " "))
}

/// In double quotes, with quotes, backslashes and control characters escaped.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().take(MAX_MESSAGE_CHARS) {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Without control characters but line feeds, and not endless.
fn clean(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::span::Source;

    fn fault(text: &str, range: std::ops::Range<usize>) -> Diagnostic {
        Diagnostic::error("bad thing", &Span::new(&Source::new("a.conf", text), range)).with_help("do this")
    }

    #[test]
    fn the_log_line_has_the_words_config_error_and_the_place() {
        let line = fault("k1 v\nk2 \"x", 8..10).one_line();
        assert_eq!(line, r#"config error file="a.conf" line=2 column=4 error="bad thing (do this)""#);
    }

    #[test]
    fn the_report_shows_the_line_the_caret_and_the_help() {
        let text = fault("k1 v\nk2 \"x\nk3", 8..10).render();
        for part in ["error: bad thing", "a.conf:2:4", "k2 \"x", "^^", "help: do this"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("k3"));
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("k {} HERE {}", "a".repeat(5_000), "b".repeat(5_000));
        let at = line.find("HERE").unwrap_or(0);
        let text = fault(&line, at..at + 4).render();
        assert!(text.contains("HERE") && text.contains("^^^^"), "{text}");
        assert!(text.len() < 1_000, "{}", text.len());
    }

    #[test]
    fn a_secret_on_the_line_is_masked() {
        let text = fault("  shared_key canary oops", 13..19).render();
        assert!(text.contains("shared_key xxxxxx") && !text.contains("canary"), "{text}");
        let yaml = fault("  password: canary", 12..18).render();
        assert!(yaml.contains("password: xxxxxx") && !yaml.contains("canary"), "{yaml}");
    }

    #[test]
    fn control_characters_reach_neither_the_log_nor_the_terminal() {
        let mut bad = fault("k \u{1b}[31mred\r", 2..6);
        bad.message = "evil \u{1b}[0m\nforged".into();
        assert!(!bad.one_line().contains(['\u{1b}', '\n']));
        assert!(!bad.render().contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn any_text_and_any_span_can_be_rendered(text in "\\PC*|[\\x00-\\xff\n\r\té漢]{0,300}", a in 0usize..400, b in 0usize..400) {
            let bad = fault(&text, a..b);
            prop_assert!(bad.render().contains("bad thing"));
            prop_assert!(bad.one_line().starts_with("config error"));
        }
    }
}
