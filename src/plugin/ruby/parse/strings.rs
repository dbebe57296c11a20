//! Strings: quotes, escapes, code inside.

use super::{Parsed, Parser};
use crate::plugin::ruby::ast::{Expr, Kind};

/// The end of a string, and what opens another level inside it.
#[derive(Clone, Copy)]
pub(super) struct Quote {
    pub(super) open: Option<char>,
    pub(super) close: Option<char>,
}

impl Quote {
    /// One sign on both sides.
    pub(super) fn same(sign: char) -> Quote {
        Quote { open: None, close: Some(sign) }
    }

    /// The closing sign for an opening one, as `%q(...)` has it.
    pub(super) fn opened_by(sign: char) -> Quote {
        let close = match sign {
            '(' => ')',
            '[' => ']',
            '{' => '}',
            '<' => '>',
            other => return Quote::same(other),
        };
        Quote { open: Some(sign), close: Some(close) }
    }
}

/// The pieces of a string: bytes and code in turn.
struct Pieces {
    done: Vec<Expr>,
    bytes: Vec<u8>,
}

impl<'t> Parser<'t> {
    /// The whole text as a string.
    pub(super) fn template_text(&mut self) -> Parsed {
        self.interpolated(Quote { open: None, close: None })
    }

    /// Adjacent strings are one.
    pub(super) fn quoted(&mut self) -> Parsed {
        let at = self.at;
        let mut parts = Vec::new();
        while let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.at += 1;
            parts.push(match quote {
                b'"' => self.interpolated(Quote::same('"'))?,
                _ => self.plain(Quote::same('\''))?,
            });
            let end = self.at;
            self.space();
            if !matches!(self.peek(), Some(b'"' | b'\'')) {
                self.at = end;
            }
        }
        if parts.len() == 1 { Ok(parts.remove(0)) } else { self.node(Kind::Interp(parts), at) }
    }

    /// A string in which only the quote and the backslash can be escaped. The opening quote was taken.
    pub(super) fn plain(&mut self, quote: Quote) -> Parsed {
        let at = self.at;
        let bytes = self.plain_bytes(quote)?;
        self.node(Kind::Str(bytes.into()), at)
    }

    pub(super) fn plain_bytes(&mut self, quote: Quote) -> Parsed<Vec<u8>> {
        let start = self.at;
        let (mut out, mut depth) = (String::new(), 0);
        while let Some(c) = self.bump() {
            match c {
                '\\' => match self.rest().chars().next() {
                    Some(next) if next == '\\' || Some(next) == quote.close || Some(next) == quote.open => {
                        out.push(next);
                        self.bump();
                    }
                    _ => out.push('\\'),
                },
                c if Some(c) == quote.close && depth == 0 => return Ok(out.into_bytes()),
                c => {
                    depth += usize::from(Some(c) == quote.open);
                    depth -= usize::from(Some(c) == quote.close);
                    out.push(c);
                }
            }
        }
        Err(self.error_at(start, "this string has no end", ""))
    }

    /// A string with escapes and code. The opening quote was taken.
    pub(super) fn interpolated(&mut self, quote: Quote) -> Parsed {
        let start = self.at;
        let (mut pieces, mut depth) = (Pieces { done: Vec::new(), bytes: Vec::new() }, 0);
        loop {
            let at = self.at;
            let Some(c) = self.bump() else {
                if quote.close.is_none() {
                    break;
                }
                return Err(self.error_at(start, "this string has no end", ""));
            };
            match c {
                '\\' => self.escape(&mut pieces.bytes)?,
                '#' if self.peek() == Some(b'{') => self.embedded(&mut pieces, at)?,
                '#' if self.variable_follows() => {
                    let help = "write \\# for the sign itself, or #{...} for a value";
                    return Err(self.error_at(at, "`#@` and `#$` name variables, which do not exist here", help));
                }
                c if Some(c) == quote.close && depth == 0 => break,
                c => {
                    depth += usize::from(Some(c) == quote.open);
                    depth -= usize::from(Some(c) == quote.close);
                    pieces.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        self.joined_pieces(pieces, start)
    }

    fn variable_follows(&self) -> bool {
        let name = |b: u8| b.is_ascii_alphabetic() || b == b'_';
        match self.peek() {
            Some(b'@') => self.peek_at(1).is_some_and(|b| name(b) || b == b'@'),
            Some(b'$') => self.peek_at(1).is_some_and(name),
            _ => false,
        }
    }

    fn embedded(&mut self, pieces: &mut Pieces, at: usize) -> Parsed<()> {
        self.at += 1;
        let (ternary, mark) = (std::mem::take(&mut self.in_ternary), self.at);
        let code = self.statements()?;
        self.in_ternary = ternary;
        if !self.eat("}") {
            let error = if self.at < self.text.len() {
                self.unexpected()
            } else {
                self.error_at(mark, "no `}` ends this code", "")
            };
            return Err(error);
        }
        if !pieces.bytes.is_empty() {
            let bytes = std::mem::take(&mut pieces.bytes);
            pieces.done.push(self.node(Kind::Str(bytes.into()), at)?);
        }
        pieces.done.push(code);
        Ok(())
    }

    fn joined_pieces(&mut self, mut pieces: Pieces, at: usize) -> Parsed {
        if pieces.done.is_empty() {
            return self.node(Kind::Str(pieces.bytes.into()), at);
        }
        if !pieces.bytes.is_empty() {
            pieces.done.push(self.node(Kind::Str(pieces.bytes.into()), at)?);
        }
        self.node(Kind::Interp(pieces.done), at)
    }

    /// What follows a backslash, which was taken.
    fn escape(&mut self, out: &mut Vec<u8>) -> Parsed<()> {
        let at = self.at;
        let Some(c) = self.bump() else {
            out.push(b'\\');
            return Ok(());
        };
        let byte = match c {
            'n' => b'\n',
            't' => b'\t',
            'r' => b'\r',
            's' => b' ',
            'e' => 0x1b,
            'a' => 7,
            'b' => 8,
            'v' => 0x0b,
            'f' => 0x0c,
            '\n' => return Ok(()),
            '0'..='7' => {
                self.at = at;
                self.numeric(8, 3)? as u8
            }
            'x' => self.numeric(16, 2)? as u8,
            'u' => return self.unicode(out),
            'c' | 'C' | 'M' => {
                return Err(self.error_at(at, "control escapes are not supported", "write \\x.. with the number"));
            }
            other => {
                out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
        };
        out.push(byte);
        Ok(())
    }

    /// Up to `most` digits.
    fn numeric(&mut self, base: u32, most: usize) -> Parsed<u32> {
        let digits: String = self.rest().chars().take(most).take_while(|c| c.is_digit(base)).collect();
        self.at += digits.len();
        u32::from_str_radix(&digits, base).map_err(|_| self.error("digits were expected here", ""))
    }

    /// `\u00e9` or `\u{e9 20ac}`.
    fn unicode(&mut self, out: &mut Vec<u8>) -> Parsed<()> {
        let braces = self.eat("{");
        loop {
            self.space_if(braces);
            let at = self.at;
            let code = self.numeric(16, if braces { 6 } else { 4 })?;
            if !braces && self.at - at != 4 {
                return Err(self.error_at(at, "\\u takes four digits", "write \\u00e9 or \\u{e9}"));
            }
            let Some(c) = char::from_u32(code) else { return Err(self.error_at(at, "there is no such character", "")) };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            self.space_if(braces);
            if !braces || self.eat("}") {
                return Ok(());
            }
        }
    }

    fn space_if(&mut self, wanted: bool) {
        while wanted && self.peek() == Some(b' ') {
            self.at += 1;
        }
    }
}
