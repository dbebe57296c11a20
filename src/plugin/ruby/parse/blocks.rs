//! Blocks and their parameters.

use super::{Parsed, Parser};
use crate::plugin::ruby::ast::{Block, CodeBlock, Param};

impl<'t> Parser<'t> {
    /// `{ |x| ... }` or `do |x| ... end`, at its opening.
    pub(super) fn block(&mut self, braces: bool) -> Parsed<Block> {
        let close = if braces { "}" } else { "end" };
        self.at += if braces { 1 } else { 2 };
        let (seen, first) = (self.names.len(), self.slots);
        let ternary = std::mem::take(&mut self.in_ternary);
        self.lines();
        let named = self.peek() == Some(b'|');
        let params = if named { self.block_params()? } else { Vec::new() };
        self.implicit.push(if named { None } else { Some(Vec::new()) });
        let body = self.statements();
        let unnamed = self.implicit.pop().flatten().unwrap_or_default();
        let body = body?;
        let closed = if braces { self.eat("}") } else { self.keyword("end") };
        if !closed {
            return Err(self.error(format!("expected `{close}` to end the block"), ""));
        }
        self.names.truncate(seen);
        self.in_ternary = ternary;
        let params = if named { params } else { unnamed.into_iter().map(Param::Slot).collect() };
        Ok(Block::Code(Box::new(CodeBlock { params, own: first..self.slots, body })))
    }

    fn block_params(&mut self) -> Parsed<Vec<Param>> {
        self.at += 1;
        let mut params = Vec::new();
        self.list("|", |p| {
            params.push(p.block_param()?);
            Ok(())
        })?;
        Ok(params)
    }

    fn block_param(&mut self) -> Parsed<Param> {
        if self.eat("(") {
            let mut group = Vec::new();
            self.deeper(|p| {
                p.list(")", |p| {
                    group.push(p.block_param()?);
                    Ok(())
                })
            })?;
            return Ok(Param::Group(group));
        }
        let word = self.peek_word();
        if !word.starts_with(|c: char| c.is_lowercase() || c == '_') {
            return Err(self.error("a block's parameters are plain names", "write |a, b| or |(a, b), c|"));
        }
        self.at += word.len();
        self.space();
        if matches!(self.peek(), Some(b'=' | b':' | b';')) {
            return Err(self.error("a block's parameters have no default values", "write |a, b|"));
        }
        self.declare(word).map(Param::Slot)
    }

    /// `it`, `_1` and `_2` in a block without named parameters.
    pub(super) fn unnamed_parameter(&mut self, word: &str) -> Parsed<Option<usize>> {
        let n = match word {
            "it" | "_1" => 0,
            "_2" => 1,
            _ => return Ok(None),
        };
        let Some(Some(mut slots)) = self.implicit.last().cloned() else { return Ok(None) };
        while slots.len() <= n {
            slots.push(self.new_slot()?);
        }
        let slot = slots[n];
        if let Some(last) = self.implicit.last_mut() {
            *last = Some(slots);
        }
        Ok(Some(slot))
    }
}
