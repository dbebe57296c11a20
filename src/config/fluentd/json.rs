//! A value that starts with `[` or `{`: JSON over as many lines as wanted, with comments and embedded code.
//!
//! Comments start with `#`, `//` or `/*` outside strings. Embedded code inside a string is put in as JSON source, as in
//! Fluentd: `["#{ENV['LIST']}"]` with `a","b` in the variable makes two strings.

use super::Parser;
use crate::config::diagnostic::Diagnostic;
use crate::config::json::Json;
use crate::config::ruby::Embedded;
use crate::config::section::{Value, ValueKind};

/// The JSON text without comments, and which byte of the file each run of it comes from.
#[derive(Default)]
struct Clean {
    text: String,
    /// Byte of `text` and byte of the file, where the two start to run in step.
    places: Vec<(usize, usize)>,
}

impl Clean {
    fn mark(&mut self, at: usize) {
        self.places.push((self.text.len(), at));
    }

    fn place(&self, offset: usize) -> usize {
        let (clean, file) = self.places.iter().rev().find(|(clean, _)| *clean <= offset).copied().unwrap_or((0, 0));
        file + offset - clean
    }
}

impl Parser<'_, '_> {
    pub(super) fn json(&mut self) -> Option<Value> {
        let (start, faults) = (self.at, self.session.faults.len());
        let (kind, end) = if self.rest().starts_with('[') { ("array", ']') } else { ("hash", '}') };
        let mut clean = Clean::default();
        clean.mark(start);
        if self.json_text(&mut clean).is_none() {
            // what was found on the way belongs to other lines
            self.session.faults.truncate(faults);
            self.unclosed += 1;
            let line = self.source.text()[start..].find('\n').map_or(self.source.text().len(), |at| start + at);
            let message = format!("got incomplete JSON {kind} configuration; a '{end}' is missing");
            self.report(message, start..line);
            return None;
        }
        match Json::parse(&clean.text) {
            Ok(json) => Some(Value::new(json.to_string(), ValueKind::Json)),
            Err(fault) => {
                let at = clean.place(fault.offset).clamp(start, self.at.max(start + 1) - 1);
                let end = self.at;
                self.report(format!("invalid JSON {kind}: {}", fault.message), at..at + 1);
                self.at = end;
                // the value is unknown, but where it ends is not
                Some(Value::new("", ValueKind::Default))
            }
        }
    }

    fn report(&mut self, message: String, range: std::ops::Range<usize>) {
        let help = "a value that starts with '[' or '{' is JSON; put quotes around it to mean plain text";
        let fault = Diagnostic::error(message, &self.span(range)).with_help(help);
        self.session.faults.push(fault);
    }

    /// Reads to the bracket that closes the first one; `None` if the file ends before it.
    fn json_text(&mut self, clean: &mut Clean) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let c = self.rest().chars().next()?;
            match c {
                '"' => {
                    self.json_string(clean)?;
                    continue;
                }
                '#' if self.is_code_in_json(depth, &clean.text) => {
                    self.json_code(clean)?;
                    continue;
                }
                '#' => self.json_comment("\n", clean),
                '/' if self.rest().starts_with("//") => self.json_comment("\n", clean),
                '/' if self.rest().starts_with("/*") => {
                    self.json_comment("*/", clean);
                    self.eat("*/");
                    clean.mark(self.at);
                }
                c => {
                    clean.text.push(c);
                    self.at += c.len_utf8();
                    match c {
                        '[' | '{' => depth += 1,
                        ']' | '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn json_comment(&mut self, end: &str, clean: &mut Clean) {
        let rest = self.rest();
        self.at += rest.find(end).unwrap_or(rest.len());
        clean.mark(self.at);
    }

    /// Outside a string `#{` is code where a value must stand, `{"a":#{1}}`; elsewhere it is a comment.
    fn is_code_in_json(&self, depth: usize, before: &str) -> bool {
        let rest = self.rest();
        rest.starts_with("#{") && !rest.starts_with("#{}") && (depth > 1 || before.trim_end().ends_with(':'))
    }

    fn json_string(&mut self, clean: &mut Clean) -> Option<()> {
        clean.text.push('"');
        self.at += 1;
        loop {
            let rest = self.rest();
            let plain = rest.find(['"', '\\', '#'])?;
            clean.text.push_str(&rest[..plain]);
            self.at += plain;
            let here = &self.source.text()[self.at..];
            if here.starts_with("#{") {
                self.json_code(clean)?;
                continue;
            }
            let is_end = here.starts_with('"');
            let len = match here.strip_prefix('\\') {
                Some(escaped) => 1 + escaped.chars().next()?.len_utf8(),
                None => 1,
            };
            clean.text.push_str(&here[..len]);
            self.at += len;
            if is_end {
                return Some(());
            }
        }
    }

    fn json_code(&mut self, clean: &mut Clean) -> Option<()> {
        let start = self.at;
        match self.embedded()? {
            Embedded::Text(text) => clean.text.push_str(&text),
            Embedded::UseNil | Embedded::UseDefault => {
                let end = self.at;
                self.fault("use_nil and use_default stand for a whole value; they can't be a part of JSON", start..end);
            }
        }
        clean.mark(self.at);
        Some(())
    }
}
