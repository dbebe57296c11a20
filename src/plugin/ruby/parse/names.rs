//! What begins with a small letter: keywords, variables, what an event has, functions.

use super::refused::nearest;
use super::{Parsed, Parser};
use crate::plugin::ruby::ast::{Kind, Name, Update};
use crate::plugin::ruby::lib;
use crate::plugin::ruby::methods::{Def, FreeFn};

/// What an event has, by name.
const NAMES: &[(&str, Name)] = &[
    ("record", Name::Record),
    ("tag", Name::Tag),
    ("tag_parts", Name::TagParts),
    ("tag_prefix", Name::TagPrefix),
    ("tag_suffix", Name::TagSuffix),
    ("time", Name::Time),
    ("hostname", Name::Hostname),
];

pub(super) fn free(name: &str) -> Option<&'static Def<FreeFn>> {
    lib::FREE.iter().find_map(|table| table.iter().find(|d| d.name == name))
}

impl<'t> Parser<'t> {
    pub(super) fn named(&mut self) -> Parsed {
        let (at, word) = (self.at, self.peek_word());
        let kind = match word {
            "nil" => Kind::Nil,
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            "if" | "unless" => return self.if_block(word == "if"),
            "case" => return self.case_block(),
            "begin" => return self.begin_block(),
            "next" | "break" => return self.leave(word == "next"),
            _ => return self.variable_or_name(word),
        };
        self.at += word.len();
        self.node(kind, at)
    }

    fn leave(&mut self, next: bool) -> Parsed {
        let at = self.at;
        if self.implicit.is_empty() {
            return Err(self.error("`next` and `break` work in blocks only", "the last value is the result"));
        }
        self.at += if next { "next" } else { "break" }.len();
        self.space();
        let bare = self.at_closer()
            || matches!(self.peek(), Some(b';' | b'\n'))
            || matches!(self.peek_word(), "if" | "unless");
        let value = Box::new(if bare { self.node(Kind::Nil, at)? } else { self.expression()? });
        self.node(if next { Kind::Next(value) } else { Kind::Break(value) }, at)
    }

    fn variable_or_name(&mut self, word: &'t str) -> Parsed {
        let at = self.at;
        if word == "defined" && self.peek_at(word.len()) == Some(b'?') {
            return Err(self.refuse_word("defined?"));
        }
        self.at += word.len();
        if let Some(assignment) = self.assignment(word, at)? {
            return Ok(assignment);
        }
        if let Some(slot) = self.find_variable(word) {
            return self.node(Kind::Var(slot), at);
        }
        if let Some(slot) = self.unnamed_parameter(word)? {
            return self.node(Kind::Var(slot), at);
        }
        if let Some((_, name)) = NAMES.iter().find(|(n, _)| *n == word) {
            return self.node(Kind::Name(*name), at);
        }
        if let Some(def) = free(word) {
            return self.free_call(def, at);
        }
        self.at = at;
        Err(self.unknown(word))
    }

    fn unknown(&self, word: &str) -> crate::plugin::ruby::error::RubyError {
        if let Some(refused) = self.refused_word(word) {
            return refused;
        }
        let known = NAMES.iter().map(|(n, _)| *n).chain(self.names.iter().map(|(n, _)| n.as_str()));
        let help = match nearest(word, known) {
            Some(near) => format!("did you mean `{near}`? a field of the record is record[\"{word}\"]"),
            None => format!("a field of the record is record[\"{word}\"]"),
        };
        self.error(format!("unknown name `{word}`"), help)
    }

    /// `name = value` and `name += value`, the name having been taken.
    fn assignment(&mut self, word: &str, at: usize) -> Parsed<Option<crate::plugin::ruby::ast::Expr>> {
        let mark = self.at;
        self.space();
        if self.assignment_sign() {
            self.refuse_reserved(word, at)?;
            self.lines();
            // The name is known on the right side already, as in Ruby: `x = x` is nil.
            let slot = self.variable(word)?;
            let value = Box::new(self.right_side()?);
            return self.node(Kind::Assign(slot, value), at).map(Some);
        }
        let Some(update) = self.update_sign() else {
            self.at = mark;
            return Ok(None);
        };
        self.refuse_reserved(word, at)?;
        self.lines();
        let slot = self.variable(word)?;
        let old = Box::new(self.node(Kind::Var(slot), at)?);
        let right = Box::new(self.right_side()?);
        let assign = |p: &Self, value| p.node(Kind::Assign(slot, Box::new(value)), at);
        let kind = match update {
            Update::Or => Kind::Or(old, Box::new(assign(self, *right)?)),
            Update::And => Kind::And(old, Box::new(assign(self, *right)?)),
            Update::Op(op) => {
                let value = self.node(Kind::Binary(op, old, right), at)?;
                return assign(self, value).map(Some);
            }
            Update::Append => Kind::Append(slot, right),
        };
        self.node(kind, at).map(Some)
    }

    fn refuse_reserved(&self, word: &str, at: usize) -> Parsed<()> {
        if NAMES.iter().any(|(n, _)| *n == word) {
            return Err(self.error_at(
                at,
                format!("`{word}` can't be assigned to"),
                "choose another name for the variable",
            ));
        }
        Ok(())
    }
}
