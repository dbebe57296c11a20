//! The parser: from text to tree, by recursive descent, without a lexer of its own, since what a sign means in Ruby
//! depends on what stands before it.
//!
//! It accepts what is documented and refuses the rest with the place and what to write instead.

mod blocks;
mod calls;
mod constants;
mod control;
mod literals;
mod names;
mod numbers;
mod operators;
mod percent;
mod refused;
mod regexes;
mod strings;

use super::ast::{Clause, Expr, Kind, Rescue};
use super::bridge::Functions;
use super::error::RubyError;
use super::limits::{MAX_HEIGHT, MAX_NESTING, MAX_TEMPLATE_BYTES, MAX_VARIABLES};

/// A parsed expression and how many variables it has.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) expr: Expr,
    pub(super) slots: usize,
}

pub(super) type Parsed<T = Expr> = Result<T, RubyError>;

/// Parses code; `from` is where it begins in the template's text.
pub(super) fn code(text: &str, from: usize, functions: &Functions) -> Parsed<Program> {
    let mut parser = Parser::new(text, from, functions)?;
    let expr = parser.statements()?;
    if parser.at < parser.text.len() {
        return Err(parser.unexpected());
    }
    Ok(Program { expr, slots: parser.slots })
}

/// Parses text in which `#{...}` is code and backslashes are escapes, as between double quotes.
pub(super) fn text(text: &str, functions: &Functions) -> Parsed<Program> {
    let mut parser = Parser::new(text, 0, functions)?;
    let expr = parser.template_text()?;
    Ok(Program { expr, slots: parser.slots })
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    /// Where the text begins in the template, for error offsets.
    from: usize,
    functions: &'t Functions,
    nesting: usize,
    /// Inside the first branch of `a ? b : c`, where a colon ends something.
    in_ternary: usize,
    /// Variables that can be seen here, and their slots.
    names: Vec<(String, usize)>,
    slots: usize,
    /// For each block around: its unnamed parameters (`_1`, `_2`, `it`), or `None` where it has named ones.
    implicit: Vec<Option<Vec<usize>>>,
}

/// Words that end a list of statements.
const CLOSERS: &[&str] = &["end", "else", "elsif", "when", "rescue", "ensure", "then", "do", "in"];

impl<'t> Parser<'t> {
    fn new(text: &'t str, from: usize, functions: &'t Functions) -> Parsed<Parser<'t>> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(RubyError::new(from, format!("the expression is longer than {MAX_TEMPLATE_BYTES} bytes"), ""));
        }
        let (names, implicit) = (Vec::new(), Vec::new());
        Ok(Parser { text, at: 0, from, functions, nesting: 0, in_ternary: 0, names, slots: 0, implicit })
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn peek_at(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn starts(&self, sign: &str) -> bool {
        self.rest().starts_with(sign)
    }

    /// Takes a sign if it is next.
    fn eat(&mut self, sign: &str) -> bool {
        let found = self.starts(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn expect(&mut self, sign: &str, what: &str) -> Parsed<()> {
        self.lines();
        if self.eat(sign) { Ok(()) } else { Err(self.error(format!("expected `{sign}` {what}"), "")) }
    }

    /// Takes the next character.
    fn bump(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Skips blanks and comments, but no line end.
    fn space(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'\\') if self.starts("\\\n") => self.at += 2,
                Some(b'#') => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    /// Skips blanks, comments and line ends.
    fn lines(&mut self) {
        self.space();
        while self.eat("\n") {
            self.space();
        }
    }

    fn error(&self, message: impl Into<String>, help: impl Into<String>) -> RubyError {
        self.error_at(self.at, message, help)
    }

    fn error_at(&self, at: usize, message: impl Into<String>, help: impl Into<String>) -> RubyError {
        RubyError::new(self.from + at, message, help)
    }

    fn unexpected(&self) -> RubyError {
        match self.rest().chars().next() {
            None => self.error("the expression ends too early", ""),
            Some(c) if c.is_alphanumeric() => {
                let word: String =
                    self.rest().chars().take_while(|c| c.is_alphanumeric() || *c == '_').take(40).collect();
                self.error(format!("unexpected `{word}`"), "")
            }
            Some(c) => self.error(format!("unexpected `{c}`"), ""),
        }
    }

    /// Makes a node, unless the tree would be too deep.
    fn node(&self, kind: Kind, at: usize) -> Parsed {
        let height = Expr::height_below(&kind) + 1;
        if height > MAX_HEIGHT {
            return Err(self.error_at(
                at,
                format!("the expression is more than {MAX_HEIGHT} levels deep"),
                "split it up",
            ));
        }
        Ok(Expr { kind, at: self.from + at, height })
    }

    /// Goes a level deeper, within the limit.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= MAX_NESTING {
            return Err(self.error("the expression is nested too deeply", "split it up"));
        }
        self.nesting += 1;
        let parsed = parse(self);
        self.nesting -= 1;
        parsed
    }

    fn new_slot(&mut self) -> Parsed<usize> {
        if self.slots >= MAX_VARIABLES {
            return Err(self.error(format!("more than {MAX_VARIABLES} variables"), ""));
        }
        self.slots += 1;
        Ok(self.slots - 1)
    }

    fn find_variable(&self, name: &str) -> Option<usize> {
        self.names.iter().rev().find(|(n, _)| n == name).map(|(_, slot)| *slot)
    }

    /// The slot of a variable that is assigned to: an old one, or a new one.
    fn variable(&mut self, name: &str) -> Parsed<usize> {
        if let Some(slot) = self.find_variable(name) {
            return Ok(slot);
        }
        self.declare(name)
    }

    fn declare(&mut self, name: &str) -> Parsed<usize> {
        let slot = self.new_slot()?;
        self.names.push((name.to_owned(), slot));
        Ok(slot)
    }

    /// The name at this place: letters, digits, underscores.
    fn peek_word(&self) -> &'t str {
        let rest = self.rest();
        let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if rest.starts_with(|c: char| c.is_ascii_digit()) { "" } else { &rest[..len] }
    }

    /// Takes a keyword if it is next.
    fn keyword(&mut self, word: &str) -> bool {
        let found = self.peek_word() == word && self.peek_at(word.len()) != Some(b':');
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn at_closer(&self) -> bool {
        match self.peek() {
            None | Some(b'}' | b')' | b']') => true,
            _ => CLOSERS.contains(&self.peek_word()),
        }
    }

    /// Statements up to a closing sign or word, or the end.
    fn statements(&mut self) -> Parsed {
        self.deeper(|p| p.statement_list())
    }

    fn statement_list(&mut self) -> Parsed {
        let at = self.at;
        let mut list = Vec::new();
        loop {
            self.lines();
            while self.eat(";") {
                self.lines();
            }
            if self.at_closer() {
                break;
            }
            list.push(self.statement()?);
            self.space();
            if !matches!(self.peek(), Some(b';' | b'\n')) && !self.at_closer() {
                return Err(self.unexpected());
            }
        }
        match list.len() {
            1 => Ok(list.remove(0)),
            0 => self.node(Kind::Nil, at),
            _ => self.node(Kind::Seq(list), at),
        }
    }

    /// A statement with its modifiers.
    fn statement(&mut self) -> Parsed {
        let mut expr = self.junctions()?;
        loop {
            self.space();
            let at = self.at;
            if self.keyword("if") {
                let test = self.modifier_test()?;
                let nothing = self.node(Kind::Nil, at)?;
                expr = self.node(Kind::If(test, Box::new(expr), Box::new(nothing)), at)?;
            } else if self.keyword("unless") {
                let test = self.modifier_test()?;
                let nothing = self.node(Kind::Nil, at)?;
                expr = self.node(Kind::If(test, Box::new(nothing), Box::new(expr)), at)?;
            } else if self.keyword("rescue") {
                self.lines();
                let body = self.junctions()?;
                expr = self.rescued(expr, body, at)?;
            } else {
                let word = self.peek_word();
                let refused = matches!(word, "while" | "until").then(|| self.refuse_word(word));
                return refused.map_or(Ok(expr), Err);
            }
        }
    }

    fn modifier_test(&mut self) -> Parsed<Box<Expr>> {
        self.lines();
        self.junctions().map(Box::new)
    }

    /// `expr rescue body`. In an assignment it belongs to the right side.
    fn rescued(&mut self, expr: Expr, body: Expr, at: usize) -> Parsed {
        let Expr { kind: Kind::Assign(slot, value), .. } = expr else {
            let clauses = vec![Clause { classes: Vec::new(), slot: None, body }];
            return self.node(Kind::Rescue(Box::new(Rescue { body: expr, clauses })), at);
        };
        let value = self.rescued(*value, body, at)?;
        self.node(Kind::Assign(slot, Box::new(value)), at)
    }

    /// `a and b or not c`, which bind looser than everything else.
    fn junctions(&mut self) -> Parsed {
        let mut left = self.negation()?;
        loop {
            self.space();
            let at = self.at;
            let and = self.keyword("and");
            if !and && !self.keyword("or") {
                return Ok(left);
            }
            self.lines();
            let right = Box::new(self.negation()?);
            let kind = if and { Kind::And(Box::new(left), right) } else { Kind::Or(Box::new(left), right) };
            left = self.node(kind, at)?;
        }
    }

    fn negation(&mut self) -> Parsed {
        self.space();
        let at = self.at;
        if !self.keyword("not") {
            return self.spread_or_expression();
        }
        let expr = self.deeper(|p| p.negation())?;
        self.node(Kind::Not(Box::new(expr)), at)
    }
}
