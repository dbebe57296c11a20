//! What begins with a sign: literals, brackets, `$1`.

use super::strings::Quote;
use super::{Parsed, Parser};
use crate::plugin::ruby::ast::{Expr, Kind, OPS};

impl<'t> Parser<'t> {
    /// A value without operators or calls around it.
    pub(super) fn primary(&mut self) -> Parsed {
        self.space();
        let at = self.at;
        match self.peek() {
            Some(b'0'..=b'9') => self.number(),
            Some(b'"' | b'\'') => self.quoted(),
            Some(b'/') => {
                self.at += 1;
                self.regex(Quote::same('/'), at)
            }
            Some(b'%') if self.percent_literal() => self.percent(),
            Some(b'[') => self.array(),
            Some(b'{') => self.hash(),
            Some(b'(') => self.parenthesised(),
            Some(b':') if self.starts("::") => {
                self.at += 2;
                self.constant()
            }
            Some(b':') => self.symbol(),
            Some(b'$') => self.global(),
            Some(b'.') if self.starts("..") => self.beginless(),
            Some(b'?') => Err(self.error("character literals are not supported", "write \"x\" instead of ?x")),
            Some(b'`') => Err(self.error("commands can't be run here", "")),
            Some(b'@') => Err(self.error("instance variables do not exist here", "write a plain name for a variable")),
            Some(b'<') if self.starts("<<") => Err(self.error("here documents are not supported", "write \"...\"")),
            Some(_) if self.rest().starts_with(|c: char| c.is_uppercase()) => self.constant(),
            Some(_) if !self.peek_word().is_empty() => self.named(),
            _ => Err(self.unexpected()),
        }
    }

    fn parenthesised(&mut self) -> Parsed {
        self.at += 1;
        let ternary = std::mem::take(&mut self.in_ternary);
        let inner = self.statements()?;
        self.in_ternary = ternary;
        self.expect(")", "to end the parenthesis")?;
        Ok(inner)
    }

    fn beginless(&mut self) -> Parsed {
        let at = self.at;
        let exclusive = self.starts("...");
        self.at += if exclusive { 3 } else { 2 };
        let first = self.node(Kind::Nil, at)?;
        let last = self.deeper(|p| p.primary())?;
        self.node(Kind::Range(Box::new(first), Box::new(last), exclusive), at)
    }

    /// Runs `item` for each comma-separated thing up to `close`, which is taken.
    pub(super) fn list(&mut self, close: &str, mut item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        let ternary = std::mem::take(&mut self.in_ternary);
        loop {
            self.lines();
            if self.eat(close) {
                self.in_ternary = ternary;
                return Ok(());
            }
            item(self)?;
            self.lines();
            if !self.eat(",") && !self.starts(close) {
                let error = self.unexpected();
                return Err(self.error(format!("{}: `,` or `{close}` was expected", error.message), ""));
            }
        }
    }

    fn array(&mut self) -> Parsed {
        let at = self.at;
        self.at += 1;
        let (mut items, mut pairs) = (Vec::new(), Vec::new());
        self.list("]", |p| p.argument(&mut items, &mut pairs))?;
        if !pairs.is_empty() {
            let hash = self.node(Kind::Hash(pairs), at)?;
            items.push(hash);
        }
        self.node(Kind::Array(items), at)
    }

    fn hash(&mut self) -> Parsed {
        let at = self.at;
        self.at += 1;
        let mut pairs = Vec::new();
        self.list("}", |p| {
            let mut items = Vec::new();
            p.argument(&mut items, &mut pairs)?;
            if items.is_empty() { Ok(()) } else { Err(p.error("a hash needs `key => value` or `key: value`", "")) }
        })?;
        self.node(Kind::Hash(pairs), at)
    }

    /// An argument or element: a value, or a pair (`key: value`, `key => value`).
    pub(super) fn argument(&mut self, items: &mut Vec<Expr>, pairs: &mut Vec<(Expr, Expr)>) -> Parsed<()> {
        if self.starts("*") {
            return Err(self.error("`*` and `**` before a value are not supported", "write a + b, or x.merge(y)"));
        }
        if let Some(key) = self.label()? {
            self.lines();
            pairs.push((key, self.expression()?));
            return Ok(());
        }
        let item = self.expression()?;
        self.space();
        if !self.eat("=>") {
            items.push(item);
            return Ok(());
        }
        self.lines();
        pairs.push((item, self.expression()?));
        Ok(())
    }

    /// `key:` or `"key":`.
    fn label(&mut self) -> Parsed<Option<Expr>> {
        let at = self.at;
        let ends = |p: &Self| p.starts(":") && !p.starts("::");
        if self.quoted_label() {
            let quote = self.bump().unwrap_or('"');
            let key =
                if quote == '"' { self.interpolated(Quote::same(quote))? } else { self.plain(Quote::same(quote))? };
            self.at += 1;
            return match key.kind {
                Kind::Str(text) => self.node(Kind::Sym(text), at).map(Some),
                _ => Err(self.error_at(at, "code in a key is not supported", "write \"...\" => value")),
            };
        }
        let word = self.peek_word();
        self.at += word.len();
        if matches!(self.peek(), Some(b'?' | b'!')) && self.peek_at(1) == Some(b':') {
            self.at += 1;
        }
        let name = &self.text[at..self.at];
        if word.is_empty() || !ends(self) {
            self.at = at;
            return Ok(None);
        }
        self.at += 1;
        self.node(Kind::Sym(name.as_bytes().into()), at).map(Some)
    }

    /// Whether a string is next that a colon follows. Only looked at, not parsed: parsing twice at each level of nesting
    /// would take forever.
    fn quoted_label(&self) -> bool {
        let mut chars = self.rest().char_indices();
        let Some((_, quote @ ('"' | '\''))) = chars.next() else { return false };
        while let Some((at, c)) = chars.next() {
            if c == '\\' {
                chars.next();
            } else if c == quote {
                let behind = &self.rest()[at + 1..];
                return behind.starts_with(':') && !behind.starts_with("::");
            }
        }
        false
    }

    pub(super) fn symbol(&mut self) -> Parsed {
        let at = self.at;
        self.at += 1;
        if let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.at += 1;
            let text =
                if quote == b'"' { self.interpolated(Quote::same('"'))? } else { self.plain(Quote::same('\''))? };
            return match text.kind {
                Kind::Str(text) => self.node(Kind::Sym(text), at),
                _ => Err(self.error_at(at, "code in a symbol is not supported", "write \"...\".to_sym")),
            };
        }
        let name = self.symbol_name();
        if name.is_empty() {
            return Err(self.error_at(at, "a symbol was expected behind `:`", ""));
        }
        self.node(Kind::Sym(name.as_bytes().into()), at)
    }

    /// The name of a symbol: a word, with `?` or `!`, or an operator.
    pub(super) fn symbol_name(&mut self) -> &'t str {
        let start = self.at;
        self.at += self.peek_word().len();
        if self.at == start {
            let sign = OPS.iter().map(|(sign, _)| *sign).chain(["[]"]).find(|sign| self.starts(sign));
            self.at += sign.map_or(0, str::len);
        } else if matches!(self.peek(), Some(b'?' | b'!')) && self.peek_at(1) != Some(b'=') {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// `$~`, `$&`, `$1`: what the last match found.
    fn global(&mut self) -> Parsed {
        let at = self.at;
        self.at += 1;
        let group = match self.peek() {
            Some(b'~') => None,
            Some(b'&') => Some(0),
            Some(digit @ b'1'..=b'9') => Some(usize::from(digit - b'0')),
            _ => {
                return Err(self.error_at(
                    at,
                    "global variables do not exist here",
                    "$~, $& and $1 to $9 do, after a match",
                ));
            }
        };
        self.at += 1;
        self.node(Kind::LastMatch(group), at)
    }
}
