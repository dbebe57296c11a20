//! `if`, `unless`, `case`, `begin`.

use super::{Parsed, Parser};
use crate::plugin::ruby::ast::{Case, Clause, Expr, Kind, Rescue};
use crate::plugin::ruby::error::PARENTS;

impl<'t> Parser<'t> {
    fn end(&mut self, what: &str) -> Parsed<()> {
        self.lines();
        if self.keyword("end") { Ok(()) } else { Err(self.error(format!("expected `end` of `{what}`"), "")) }
    }

    /// `if test then ... elsif ... else ... end`, at its first word.
    pub(super) fn if_block(&mut self, positive: bool) -> Parsed {
        let at = self.at;
        self.at += if positive { "if" } else { "unless" }.len();
        let ternary = std::mem::take(&mut self.in_ternary);
        let branch = self.branch(positive, at)?;
        self.in_ternary = ternary;
        Ok(branch)
    }

    /// A test, what is done if it holds, and the rest.
    fn branch(&mut self, positive: bool, at: usize) -> Parsed {
        self.lines();
        let test = self.junctions()?;
        self.lines();
        self.keyword("then");
        let body = self.statements()?;
        let other = if self.keyword("elsif") {
            self.deeper(|p| p.branch(true, at))?
        } else {
            let other = if self.keyword("else") { self.statements()? } else { self.node(Kind::Nil, at)? };
            self.end("if")?;
            other
        };
        let (yes, no) = if positive { (body, other) } else { (other, body) };
        self.node(Kind::If(Box::new(test), Box::new(yes), Box::new(no)), at)
    }

    /// `case x when a, b then ... else ... end`, at its first word.
    pub(super) fn case_block(&mut self) -> Parsed {
        let at = self.at;
        self.at += "case".len();
        let ternary = std::mem::take(&mut self.in_ternary);
        self.space();
        let bare = matches!(self.peek(), Some(b'\n' | b';')) || self.peek_word() == "when";
        let subject = if bare { None } else { Some(self.junctions()?) };
        let mut whens = Vec::new();
        loop {
            self.lines();
            while self.eat(";") {
                self.lines();
            }
            if !self.keyword("when") {
                break;
            }
            whens.push(self.when()?);
        }
        if self.peek_word() == "in" {
            return Err(self.error("patterns (`in`) are not supported", "write `when`"));
        }
        let otherwise = if self.keyword("else") { self.statements()? } else { self.node(Kind::Nil, at)? };
        self.end("case")?;
        self.in_ternary = ternary;
        self.node(Kind::Case(Box::new(Case { subject, whens, otherwise })), at)
    }

    fn when(&mut self) -> Parsed<(Vec<Expr>, Expr)> {
        let mut tests = Vec::new();
        loop {
            self.lines();
            tests.push(self.expression()?);
            self.space();
            if !self.eat(",") {
                break;
            }
        }
        self.lines();
        self.keyword("then");
        Ok((tests, self.statements()?))
    }

    /// `begin ... rescue => e ... end`, at its first word.
    pub(super) fn begin_block(&mut self) -> Parsed {
        let at = self.at;
        self.at += "begin".len();
        let ternary = std::mem::take(&mut self.in_ternary);
        let body = self.statements()?;
        let mut clauses = Vec::new();
        while self.keyword("rescue") {
            clauses.push(self.clause()?);
        }
        if matches!(self.peek_word(), "ensure" | "else") {
            return Err(self.error(format!("`{}` of `begin` is not supported", self.peek_word()), ""));
        }
        self.end("begin")?;
        self.in_ternary = ternary;
        if clauses.is_empty() { Ok(body) } else { self.node(Kind::Rescue(Box::new(Rescue { body, clauses })), at) }
    }

    fn clause(&mut self) -> Parsed<Clause> {
        let mut classes = Vec::new();
        self.space();
        while self.rest().starts_with(|c: char| c.is_uppercase()) {
            let at = self.at;
            let Kind::Class(name) = self.constant()?.kind else {
                return Err(self.error_at(at, "`rescue` takes names of errors", ""));
            };
            if name != "Exception" && !PARENTS.iter().any(|(child, _)| *child == name) {
                return Err(self.error_at(at, format!("`{name}` is no error"), ""));
            }
            classes.push(name);
            self.space();
            self.eat(",");
            self.space();
        }
        let slot = if self.eat("=>") {
            self.space();
            let word = self.peek_word();
            self.at += word.len();
            Some(self.variable(word)?)
        } else {
            None
        };
        self.space();
        self.keyword("then");
        Ok(Clause { classes, slot, body: self.statements()? })
    }
}
