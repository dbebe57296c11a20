//! `%w[...]`, `%q(...)` and the other literals that begin with a percent sign.

use super::strings::Quote;
use super::{Parsed, Parser};
use crate::plugin::ruby::ast::Kind;

impl<'t> Parser<'t> {
    /// Whether a percent sign here begins a literal.
    pub(super) fn percent_literal(&self) -> bool {
        let quote = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_punctuation() && b != b'=');
        match self.peek_at(1) {
            Some(b'q' | b'Q' | b'w' | b'W' | b'i' | b'I' | b'r' | b's') => quote(self.peek_at(2)),
            other => matches!(other, Some(b'(' | b'[' | b'{' | b'<' | b'|' | b'!')),
        }
    }

    pub(super) fn percent(&mut self) -> Parsed {
        let at = self.at;
        self.at += 1;
        let kind = match self.peek() {
            Some(b) if b.is_ascii_alphabetic() => {
                self.at += 1;
                b
            }
            _ => b'Q',
        };
        let Some(sign) = self.bump() else { return Err(self.error_at(at, "this literal has no end", "")) };
        let quote = Quote::opened_by(sign);
        match kind {
            b'Q' => self.interpolated(quote),
            b'q' => self.plain(quote),
            b'w' | b'W' => self.words(quote, at, Kind::Str),
            b'i' | b'I' => self.words(quote, at, Kind::Sym),
            b's' => {
                let bytes = self.plain_bytes(quote)?;
                self.node(Kind::Sym(bytes.into()), at)
            }
            b'r' => self.regex(quote, at),
            _ => Err(self.error_at(at, "this literal is not supported", "%w %i %q %Q %r are")),
        }
    }

    fn words(&mut self, quote: Quote, at: usize, kind: fn(Box<[u8]>) -> Kind) -> Parsed {
        let bytes = self.plain_bytes(quote)?;
        if memchr::memmem::find(&bytes, b"#{").is_some() {
            return Err(self.error_at(at, "code in a list of words is not supported", "write [\"...\", \"...\"]"));
        }
        let words = bytes.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        let words = words.map(|w| self.node(kind(w.into()), at)).collect::<Parsed<Vec<_>>>()?;
        self.node(Kind::Array(words), at)
    }
}
