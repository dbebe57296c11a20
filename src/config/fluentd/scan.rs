//! The small pieces of the language: white space, words, and values in and out of quotes.

use std::ops::Range;

use super::Parser;
use crate::config::diagnostic::Diagnostic;
use crate::config::ruby::{self, Embedded};
use crate::config::section::{Value, ValueKind};

/// White space after a parameter's name.
pub(super) struct Gap {
    /// Whether the line ends in it: then the parameter has no value.
    pub ends_line: bool,
}

impl Parser<'_, '_> {
    pub(super) fn rest(&self) -> &str {
        &self.source.text()[self.at..]
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(wanted).len();
    }

    /// White space and comments.
    pub(super) fn skip_spacing(&mut self) {
        loop {
            self.skip_while(is_space);
            if !self.rest().starts_with('#') {
                return;
            }
            self.skip_while(|c| !is_line_end(c));
        }
    }

    pub(super) fn skip_blanks(&mut self) {
        self.skip_while(|c| matches!(c, ' ' | '\t'));
    }

    /// Goes to the start of the next line.
    pub(super) fn skip_line(&mut self) {
        let rest = self.rest();
        self.at += rest.find('\n').map_or(rest.len(), |at| at + 1);
    }

    /// A section's name.
    pub(super) fn word(&mut self) -> &str {
        let start = self.at;
        self.skip_while(|c| c.is_ascii_alphanumeric() || c == '_');
        &self.source.text()[start..self.at]
    }

    /// Whether nothing but white space and a comment is left of the line; goes to the next if so.
    pub(super) fn line_end(&mut self) -> bool {
        let rest = self.rest();
        let after = rest.trim_start_matches([' ', '\t']);
        let after = if after.starts_with('#') { after.trim_start_matches(|c| !is_line_end(c)) } else { after };
        let ended = after.is_empty() || after.starts_with(is_line_end);
        if ended {
            self.at += rest.len() - after.len();
            let end = self.rest().chars().take_while(|c| is_line_end(*c)).count();
            self.at += end;
        }
        ended
    }

    /// White space after a name; `None` if there is none and the text goes on.
    pub(super) fn gap(&mut self) -> Option<Gap> {
        let start = self.at;
        self.skip_while(is_space);
        let gap = &self.source.text()[start..self.at];
        let ends_line = gap.contains(is_line_end) || self.rest().is_empty();
        (!gap.is_empty() || ends_line).then_some(Gap { ends_line })
    }

    /// A parameter's name: anything up to white space, or a text in quotes.
    pub(super) fn name(&mut self) -> Option<String> {
        if self.rest().starts_with(['"', '\'']) {
            return self.quoted()?.text().map(str::to_owned);
        }
        let start = self.at;
        self.skip_while(|c| !is_space(c));
        Some(self.source.text()[start..self.at].to_owned())
    }

    /// A parameter's value: JSON, a text in quotes, or the rest of the line.
    pub(super) fn value(&mut self) -> Option<Value> {
        match self.rest().chars().next() {
            Some('[' | '{') => self.json(),
            _ => self.plain_value(),
        }
    }

    /// A value that is never JSON.
    pub(super) fn plain_value(&mut self) -> Option<Value> {
        if self.rest().starts_with(['"', '\'']) {
            return self.quoted();
        }
        let line = self.rest().split(is_line_end).next().unwrap_or("");
        let len = bare_len(line);
        let value = Value::bare(&line[..len]);
        self.at += len;
        Some(value)
    }

    /// What stands between a section's name and `>`.
    pub(super) fn tag_argument(&mut self) -> Option<Value> {
        if self.rest().starts_with(['"', '\'']) {
            return self.quoted();
        }
        let line = self.rest().split(is_line_end).next().unwrap_or("");
        let inside = line.split('>').next().unwrap_or(line).trim_end_matches([' ', '\t']);
        let (value, len) = (Value::bare(inside), inside.len());
        self.at += len;
        Some(value)
    }

    fn quoted(&mut self) -> Option<Value> {
        let (start, faults) = (self.at, self.session.faults.len());
        let value = if self.eat("\"") {
            self.double_quoted()
        } else {
            self.at += 1;
            self.single_quoted()
        };
        if value.is_none() {
            // what was found on the way belongs to other lines
            self.session.faults.truncate(faults);
            self.unclosed += 1;
            let line_end =
                self.source.text()[start..].find(is_line_end).map_or(self.source.text().len(), |at| start + at);
            let double = self.source.text()[start..].starts_with('"');
            let (kind, help) = if double {
                ("double", "close it with '\"'")
            } else {
                ("single", "close it with \"'\" in the same line; only double quotes may hold several lines")
            };
            let fault =
                Diagnostic::error(format!("unexpected end of a {kind} quoted string"), &self.span(start..line_end));
            self.session.faults.push(fault.with_help(help));
        }
        value
    }

    /// The inside of `'...'`: only `\'` and `\\` are escapes, and the line must not end.
    fn single_quoted(&mut self) -> Option<Value> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\'' => {
                    self.at += at + 1;
                    return Some(Value::new(text, ValueKind::SingleQuoted));
                }
                '\\' => match chars.next_if(|(_, next)| matches!(next, '\'' | '\\')) {
                    Some((_, escaped)) => text.push(escaped),
                    None => text.push('\\'),
                },
                '\n' => return None,
                c => text.push(c),
            }
        }
        None
    }

    /// The inside of `"..."`: escapes, embedded code, and as many lines as wanted; a backslash at a line's end joins it
    /// with the next.
    fn double_quoted(&mut self) -> Option<Value> {
        let (mut text, mut whole) = (String::new(), None);
        loop {
            let rest = self.rest();
            let plain = rest.find(['"', '\\', '#'])?;
            text.push_str(&rest[..plain]);
            let here = &rest[plain..];
            let (is_quote, is_escape, is_code) =
                (here.starts_with('"'), here.starts_with('\\'), here.starts_with("#{"));
            self.at += plain;
            if is_quote {
                self.at += 1;
                return Some(whole.unwrap_or(Value::new(text, ValueKind::DoubleQuoted)));
            } else if is_escape {
                self.escape(&mut text)?;
            } else if is_code {
                match self.embedded()? {
                    Embedded::Text(part) => text.push_str(&part),
                    Embedded::UseNil => whole = Some(Value::nil()),
                    Embedded::UseDefault => {
                        whole.get_or_insert(Value::new("", ValueKind::Default));
                    }
                }
            } else {
                text.push('#');
                self.at += 1;
            }
        }
    }

    /// One backslash escape; `None` at the end of the file.
    fn escape(&mut self, text: &mut String) -> Option<()> {
        let start = self.at;
        let c = self.rest()[1..].chars().next()?;
        self.at += 1 + c.len_utf8();
        match c {
            '\r' | '\n' => {
                if c == '\r' {
                    self.eat("\n");
                }
            }
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'f' => text.push('\u{c}'),
            'b' => text.push('\u{8}'),
            '0' => text.push('\0'),
            c if c.is_ascii_alphanumeric() => {
                let fault = Diagnostic::error(
                    format!("unexpected back-slash escape character '{c}'"),
                    &self.span(start..self.at),
                );
                let help = "write '\\\\' for a backslash, or use single quotes";
                self.session.faults.push(fault.with_help(help));
            }
            c => text.push(c),
        }
        Some(())
    }

    /// Embedded code at `#{`: what it comes to, empty text if it is at fault; `None` if it is never closed.
    pub(super) fn embedded(&mut self) -> Option<Embedded> {
        let start = self.at + 2;
        let Some(len) = ruby::end_of_code(&self.source.text()[start..]) else {
            self.fault("embedded code is never closed; a '}' is missing", start - 2..start);
            return None;
        };
        self.at = start + len + 1;
        let code = self.source.text()[start..start + len].to_owned();
        Some(match ruby::evaluate(&code, self.session.around) {
            Ok(value) => value,
            Err(refusal) => {
                self.refuse(start, refusal);
                Embedded::Text(String::new())
            }
        })
    }

    fn refuse(&mut self, start: usize, refusal: ruby::Refusal) {
        let Range { start: from, end: to } = refusal.range;
        let mut fault = Diagnostic::error(refusal.message, &self.span(start + from..start + to));
        fault.help = refusal.help;
        self.session.faults.push(fault);
    }
}

/// How much of a line is a value without quotes: up to white space that only a comment or nothing follows.
fn bare_len(line: &str) -> usize {
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !is_blank(bytes[at]) {
            at += 1;
            continue;
        }
        let gap = bytes[at..].iter().take_while(|byte| is_blank(**byte)).count();
        if bytes.get(at + gap).is_none_or(|next| *next == b'#') {
            return at;
        }
        at += gap;
    }
    at
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

pub(super) fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}
