//! The language of old, `--use-v0-config`: one line at a time, values are plain text, `#` starts a comment anywhere.

use std::path::Path;
use std::sync::Arc;

use super::MAX_DEPTH;
use crate::config::diagnostic::Diagnostic;
use crate::config::section::{Argument, MAX_PARAMS, Param, Section, Value};
use crate::config::session::Session;
use crate::config::span::{Source, Span};

/// Adds what `source` holds to `root`.
pub(in crate::config) fn parse_into(
    root: Section,
    source: &Arc<Source>,
    base: &Path,
    session: &mut Session<'_>,
) -> Section {
    let mut reader = Reader { session, source, base, root, open: Vec::new() };
    let mut start = 0;
    for line in source.text().split_inclusive('\n') {
        reader.line(start, line);
        start += line.len();
    }
    while let Some(section) = reader.open.pop() {
        let message = format!("expected end tag '</{}>' but got end of file", section.name);
        reader.session.faults.error(message, &section.span);
        reader.current().children.push(section);
    }
    reader.root
}

struct Reader<'a, 's> {
    session: &'a mut Session<'s>,
    source: &'a Arc<Source>,
    base: &'a Path,
    root: Section,
    open: Vec<Section>,
}

impl Reader<'_, '_> {
    fn current(&mut self) -> &mut Section {
        self.open.last_mut().unwrap_or(&mut self.root)
    }

    fn span(&self, start: usize, text: &str) -> Span {
        Span::new(self.source, start..start + text.len())
    }

    fn line(&mut self, start: usize, line: &str) {
        let text = line.split('#').next().unwrap_or("").trim_end();
        let start = start + text.len() - text.trim_start().len();
        let text = text.trim_start();
        let span = self.span(start, text);
        if text.is_empty() {
        } else if let Some(path) = text.strip_prefix("<include").and_then(|rest| rest.strip_suffix("/>")) {
            self.include(path.trim(), &span);
        } else if let Some(name) = text.strip_prefix("</").and_then(|rest| rest.strip_suffix('>')) {
            self.close(name, &span);
        } else if let Some(inside) = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
            self.open(inside, span);
        } else {
            self.parameter(start, text, &span);
        }
    }

    fn open(&mut self, inside: &str, span: Span) {
        let (name, arg) = split(inside);
        if name.is_empty() || self.open.len() >= MAX_DEPTH {
            return self
                .session
                .faults
                .error("a section's name must follow '<', and sections must not nest without end", &span);
        }
        let args = Argument { value: Value::bare(arg), span: span.clone() };
        self.open.push(Section { args, ..Section::new(name, span) });
    }

    fn close(&mut self, name: &str, span: &Span) {
        match self.open.pop_if(|section| section.name == name) {
            Some(section) => self.current().children.push(section),
            None => self.session.faults.error(format!("unmatched end tag '</{name}>'"), span),
        }
    }

    fn parameter(&mut self, start: usize, text: &str, span: &Span) {
        let (name, value) = split(text);
        if name.is_empty() {
            let fault = Diagnostic::error("neither a section nor 'name value'", span);
            return self
                .session
                .faults
                .push(fault.with_help("a name has letters, digits and '_' only in this language"));
        }
        if name == "include" && self.open.is_empty() {
            return self.include(value, span);
        }
        let name_span = self.span(start, name);
        let value_span = self.span(start + text.len() - value.len(), value);
        let param = Param { name: name.to_owned(), name_span, value: Value::bare(value), value_span };
        if self.current().params.len() >= MAX_PARAMS {
            return self.session.faults.error("the section has too many parameters", span);
        }
        self.current().set(param);
    }

    fn include(&mut self, target: &str, span: &Span) {
        if !self.open.is_empty() {
            return self.session.faults.error("a file can't be included inside a section", span);
        }
        for path in self.session.expand(target, self.base, span) {
            if !self.session.open(&path, span) {
                continue;
            }
            if let Some(source) = self.session.read(&path, span) {
                let root = std::mem::replace(&mut self.root, Section::root());
                self.root = parse_into(root, &source, path.parent().unwrap_or(Path::new("")), self.session);
            }
            self.session.close();
        }
    }
}

/// A name of letters, digits and `_`, and what follows it.
fn split(text: &str) -> (&str, &str) {
    let len = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    (&text[..len], text[len..].trim())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::diagnostic::Diagnostics;
    use crate::config::ruby::Surroundings;

    fn read(text: &str, base: &Path) -> (String, Diagnostics) {
        let around = Surroundings::default();
        let mut session = Session::new(&around, encoding_rs::UTF_8);
        let root = parse_into(Section::root(), &Source::new("t.conf", text), base, &mut session);
        let text = root.to_fluentd_text(&|_| false);
        (text.lines().map(str::trim).collect::<Vec<_>>().join("\n"), session.faults)
    }

    #[test]
    fn values_are_plain_and_comments_start_anywhere() {
        let (text, faults) =
            read("<match  a.** >\n  path \"x\"#c\n  k { \"a\": 1 } # d\n  flag\n</match>\n# e\n", Path::new(""));
        assert!(faults.is_empty(), "{}", faults.render());
        assert_eq!(text, "<ROOT>\n<match a.**>\npath \"\\\"x\\\"\"\nk \"{ \\\"a\\\": 1 }\"\nflag\n</match>\n</ROOT>");
    }

    #[test]
    fn both_forms_of_include_work() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.conf"), "<a>\n</a>").unwrap();
        let (text, faults) = read("include *.conf\n<include a.conf />", dir.path());
        assert!(faults.is_empty(), "{}", faults.render());
        assert_eq!(text, "<ROOT>\n<a>\n</a>\n<a>\n</a>\n</ROOT>");
    }

    #[test]
    fn faults_are_found_together() {
        let (_, faults) = read("@x y\n<a>\n</b>\n<>\n", Path::new(""));
        assert_eq!(faults.iter().map(|fault| fault.span.line()).collect::<Vec<_>>(), [1, 3, 4, 2]);
    }
}
