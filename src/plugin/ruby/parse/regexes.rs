//! Regular expression literals.

use super::strings::Quote;
use super::{Parsed, Parser};
use crate::plugin::ruby::ast::Kind;
use crate::plugin::ruby::bridge::RegexFlags;

impl<'t> Parser<'t> {
    /// A regular expression whose opening sign was taken.
    pub(super) fn regex(&mut self, quote: Quote, at: usize) -> Parsed {
        let source = self.regex_source(quote, at)?;
        let flags = self.regex_flags()?;
        if let Some(code) = source.find("#{") {
            let help = "write a fixed expression, or search for a string";
            return Err(self.error_at(at + 1 + code, "code in a regular expression is not supported", help));
        }
        let compiled = (self.functions.regex)(&source, flags);
        let regex = compiled.map_err(|e| self.error_at(at, format!("bad regular expression: {e}"), ""))?;
        self.node(Kind::Regex { regex, source: source.into_bytes().into() }, at)
    }

    fn regex_source(&mut self, quote: Quote, at: usize) -> Parsed<String> {
        let (mut source, mut depth) = (String::new(), 0);
        while let Some(c) = self.bump() {
            match c {
                '\\' => {
                    let Some(next) = self.bump() else { break };
                    // A slash needs its backslash for the literal only.
                    if next != '/' {
                        source.push('\\');
                    }
                    source.push(next);
                }
                c if Some(c) == quote.close && depth == 0 => return Ok(source),
                c => {
                    depth += usize::from(Some(c) == quote.open);
                    depth -= usize::from(Some(c) == quote.close);
                    source.push(c);
                }
            }
        }
        Err(self.error_at(at, "this regular expression has no end", ""))
    }

    fn regex_flags(&mut self) -> Parsed<RegexFlags> {
        let mut flags = RegexFlags::default();
        let letters = self.peek_word();
        for letter in letters.chars() {
            match letter {
                'i' => flags.ignore_case = true,
                'm' => flags.dot_all = true,
                'x' => flags.extended = true,
                // Compile once, UTF-8: as it is anyway.
                'o' | 'u' => {}
                other => {
                    return Err(
                        self.error(format!("unknown flag `{other}` of a regular expression"), "i, m and x are known")
                    );
                }
            }
        }
        self.at += letters.len();
        Ok(flags)
    }
}
