//! Fluentd's own configuration language, version 1.
//!
//! The grammar is that of Fluentd's `v1_parser.rb` and `literal_parser.rb`, with its corners: a comment needs white space
//! before it inside a value but not between values, a value that starts with `[` or `{` is JSON, escapes and embedded code
//! work in double quotes only. Where Fluentd stops at the first fault, this parser notes it and goes on at the next line,
//! so that one run shows them all. Sections are kept on a stack of their own: nesting can't overflow the program's.

mod json;
mod scan;
#[cfg(test)]
mod tests;
pub(super) mod v0;

use std::path::Path;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::section::{Argument, MAX_PARAMS, Param, Section, Value};
use super::session::Session;
use super::span::{Source, Span};

/// How deep sections may nest.
const MAX_DEPTH: usize = 64;
/// How many values of a file may lack their end: each one is looked for up to the end of the file.
const MAX_UNCLOSED: usize = 20;
/// Sections in which a parameter that starts with `@` must be one of [`RESERVED`].
const STRICT_SECTIONS: &[&str] = &["match", "source", "filter", "system"];
const RESERVED: &[&str] = &["@type", "@id", "@label", "@log_level"];

/// Adds what `source` holds to `root`; `base` is where relative includes start.
pub(super) fn parse_into(root: Section, source: &Arc<Source>, base: &Path, session: &mut Session<'_>) -> Section {
    let mut parser = Parser { session, source: Arc::clone(source), base, at: 0, root, open: Vec::new(), unclosed: 0 };
    parser.whole();
    parser.root
}

struct Parser<'a, 's> {
    session: &'a mut Session<'s>,
    source: Arc<Source>,
    base: &'a Path,
    at: usize,
    /// What the file is read into: the root, or the section that includes it.
    root: Section,
    /// The sections that are open, outermost first.
    open: Vec<Section>,
    /// How many values lacked their end so far.
    unclosed: usize,
}

impl Parser<'_, '_> {
    fn whole(&mut self) {
        loop {
            self.skip_spacing();
            if self.rest().is_empty() {
                break;
            }
            if self.eat("</") {
                self.end_tag();
            } else if self.eat("<") {
                self.start_tag();
            } else {
                self.parameter();
            }
            if self.unclosed > MAX_UNCLOSED || self.current().params.len() > MAX_PARAMS {
                let at = self.at;
                self.fault("too many faults or parameters; the rest of the file is not read", at..at);
                return self.give_up();
            }
        }
        while let Some(section) = self.open.pop() {
            self.report_unclosed(&section);
            self.attach(section);
        }
    }

    fn current(&mut self) -> &mut Section {
        self.open.last_mut().unwrap_or(&mut self.root)
    }

    fn attach(&mut self, section: Section) {
        self.current().children.push(section);
    }

    fn report_unclosed(&mut self, section: &Section) {
        let message = format!("expected end tag '</{}>' but got end of file", section.name);
        let inside = section.children.iter().find(|child| STRICT_SECTIONS.contains(&child.name.as_str()));
        let help = match inside {
            Some(child) => {
                format!("is '</{}>' missing before '{}' in line {}?", section.name, child.tag(), child.span.line())
            }
            None => format!("close it with '</{}>'", section.name),
        };
        self.session.faults.push(Diagnostic::error(message, &section.span).with_help(help));
    }

    fn start_tag(&mut self) {
        let start = self.at - 1;
        let name = self.word().to_owned();
        if name.is_empty() {
            self.fault("a section's name must follow '<'", start..self.at);
            return self.skip_line();
        }
        let name_end = self.at;
        let commented = self.rest().trim_start_matches([' ', '\t']).starts_with('#');
        self.skip_spacing();
        let args = self.argument(start);
        self.skip_spacing();
        let closed = !commented && self.eat(">");
        if !closed {
            self.fault(&format!("expected '>' at the end of '<{name}'"), start..name_end);
            self.at = name_end;
            self.skip_line();
        }
        let span = self.span(start..if closed { self.at } else { name_end });
        if closed && !self.line_end() {
            let at = self.at;
            self.fault("expected end of line after tag", at..at + 1);
        }
        if self.open.len() >= MAX_DEPTH {
            let message = format!("sections are nested deeper than {MAX_DEPTH}");
            self.session.faults.error(message, &span);
            return self.give_up();
        }
        self.open.push(Section { args, ..Section::new(name, span) });
    }

    /// Leaves the rest of the file unread.
    fn give_up(&mut self) {
        self.at = self.source.text().len();
        while let Some(section) = self.open.pop() {
            self.attach(section);
        }
    }

    fn argument(&mut self, tag_start: usize) -> Argument {
        let start = self.at;
        let value = self.tag_argument().unwrap_or_else(|| Value::bare(""));
        let span = if self.at > start { self.span(start..self.at) } else { self.span(tag_start..start) };
        Argument { value, span }
    }

    fn end_tag(&mut self) {
        let start = self.at - 2;
        let name = self.word().to_owned();
        self.skip_spacing();
        if !self.eat(">") {
            self.fault(&format!("expected '>' at the end of '</{name}'"), start..self.at);
            self.skip_line();
        } else if !self.line_end() {
            let at = self.at;
            self.fault("expected end of line after end tag", at..at + 1);
        }
        self.close(&name, start);
    }

    /// Closes the innermost section called `name`; what is open inside it was forgotten.
    fn close(&mut self, name: &str, start: usize) {
        let end = start + 2 + name.len();
        let Some(depth) = self.open.iter().rposition(|section| section.name == name) else {
            let message = match self.open.last() {
                Some(section) => format!(
                    "unmatched end tag '</{name}>': '{}' in line {} is open",
                    section.tag(),
                    section.span.line()
                ),
                None => format!("unmatched end tag '</{name}>': no section is open"),
            };
            return self.fault(&message, start..end);
        };
        while self.open.len() > depth {
            let Some(section) = self.open.pop() else {
                return;
            };
            if self.open.len() > depth {
                let message = format!(
                    "'{}' is not closed before '</{name}>' in line {}",
                    section.tag(),
                    self.span(start..end).line()
                );
                let help = format!("close it with '</{}>'", section.name);
                self.session.faults.push(Diagnostic::error(message, &section.span).with_help(help));
            }
            self.attach(section);
        }
    }

    fn parameter(&mut self) {
        let start = self.at;
        let Some(name) = self.name() else {
            self.at = start;
            return self.skip_line();
        };
        let name_span = self.span(start..self.at);
        let is_include = name == "@include" || (name == "include" && self.open.is_empty());
        let Some(gap) = self.gap() else {
            self.fault("white space must follow a parameter's name", start..self.at);
            return self.skip_line();
        };
        if gap.ends_line && !is_include {
            let value_span = self.span(name_span.range().end..name_span.range().end);
            return self.set(Param { name, name_span, value: Value::bare(""), value_span });
        }
        if is_include {
            if gap.ends_line {
                return self.fault("@include needs a path", start..start + name.len());
            }
            return self.include(&name_span);
        }
        self.check_reserved(&name, &name_span);
        self.value_of(name, name_span);
    }

    fn value_of(&mut self, name: String, name_span: Span) {
        let start = self.at;
        let Some(value) = self.value() else {
            self.at = start;
            return self.skip_line();
        };
        let value_span = self.span(start..self.at);
        if !self.line_end() {
            self.skip_blanks();
            let from = self.at;
            self.skip_line();
            let to = self.at;
            self.fault("expected end of line: nothing but a comment may follow this value", from..to.max(from + 1) - 1);
        }
        self.set(Param { name, name_span, value, value_span });
    }

    fn check_reserved(&mut self, name: &str, span: &Span) {
        if !name.starts_with('@') || RESERVED.contains(&name) {
            return;
        }
        let strict = self.open.last().is_none_or(|section| STRICT_SECTIONS.contains(&section.name.as_str()));
        let message = format!("'@' is the system reserved prefix; '{name}' is none of {}", RESERVED.join(", "));
        if strict {
            self.session.faults.error(message, span);
        } else {
            self.session.faults.warn(message, span);
        }
    }

    fn set(&mut self, param: Param) {
        let (name, span) = (param.name.clone(), param.name_span.clone());
        let Some(old) = self.current().set(param) else {
            return;
        };
        if old.name_span.source().is_some_and(|source| Arc::ptr_eq(source, &self.source)) {
            let message =
                format!("parameter '{name}' is written twice, first in line {}; this one counts", old.name_span.line());
            self.session.faults.warn(message, &span);
        }
    }

    fn include(&mut self, name_span: &Span) {
        let start = self.at;
        let target = self.plain_value();
        let span = self.span(start..self.at);
        if !self.line_end() {
            self.skip_line();
        }
        let Some(target) = target.as_ref().and_then(Value::text).filter(|target| !target.is_empty()) else {
            return self.session.faults.error("@include needs a path", name_span);
        };
        for path in self.session.expand(target, self.base, &span) {
            self.include_file(&path, &span);
        }
    }

    fn include_file(&mut self, path: &Path, blame: &Span) {
        if !self.session.open(path, blame) {
            return;
        }
        if let Some(source) = self.session.read(path, blame) {
            let base = path.parent().unwrap_or(Path::new(""));
            match self.open.pop() {
                Some(section) => {
                    let filled = parse_into(section, &source, base, self.session);
                    self.open.push(filled);
                }
                None => {
                    let root = std::mem::replace(&mut self.root, Section::root());
                    self.root = parse_into(root, &source, base, self.session);
                }
            }
        }
        self.session.close();
    }

    fn span(&self, range: std::ops::Range<usize>) -> Span {
        Span::new(&self.source, range)
    }

    fn fault(&mut self, message: &str, range: std::ops::Range<usize>) {
        let span = self.span(range);
        self.session.faults.error(message, &span);
    }
}
