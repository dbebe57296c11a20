//! The tree of embedded Ruby, and the parser that builds it: precedence climbing over the words of `lexer.rs`.

use std::ops::Range;

use super::Refusal;
use super::lexer::{self, Piece, Token, Word};

/// The most nodes of one tree; with it the depth of every recursion is bounded too.
const MAX_NODES: usize = 300;
/// How deep brackets, signs and choices may nest.
const MAX_DEPTH: usize = 30;

#[derive(Debug)]
pub(super) struct Expr {
    pub node: Node,
    pub range: Range<usize>,
}

#[derive(Debug)]
pub(super) enum Node {
    Nil,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A string; `Ok` is text, `Err` is code.
    Text(Vec<Result<String, Expr>>),
    Regexp {
        pattern: String,
        flags: String,
    },
    List(Vec<Expr>),
    /// `ENV`, `File`, ...
    Constant(String),
    /// `name(args)` or `receiver.name(args)`; with `safe` (`&.`) a nil receiver gives nil.
    Call {
        receiver: Option<Box<Expr>>,
        name: String,
        args: Vec<Expr>,
        safe: bool,
    },
    Index(Box<Expr>, Vec<Expr>),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    If {
        condition: Box<Expr>,
        yes: Box<Expr>,
        no: Box<Expr>,
    },
    Binary(&'static str, Box<Expr>, Box<Expr>),
}

pub(super) fn parse(code: &str) -> Result<Expr, Refusal> {
    Parser { code, at: 0, end: code.len(), nodes: 0, depth: 0 }.whole()
}

/// Binary signs from loose to tight. `<` and `==` don't chain in Ruby either, but reading them so harms nobody.
const LEVELS: &[&[&str]] = &[&["==", "!=", "=~", "!~"], &["<", "<=", ">", ">="], &["+", "-"], &["*", "/", "%"]];

struct Parser<'a> {
    code: &'a str,
    at: usize,
    end: usize,
    nodes: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Result<Expr, Refusal> {
        if self.peek()?.word == Word::End {
            return self.expr(Node::Nil, 0..0);
        }
        let tree = self.statement()?;
        let rest = self.peek()?;
        match rest.word {
            Word::End => Ok(tree),
            _ => Err(self.unexpected(&rest)),
        }
    }

    /// `a if b`, `a unless b`.
    fn statement(&mut self) -> Result<Expr, Refusal> {
        let value = self.loose()?;
        if self.take_name("if")? {
            let condition = self.loose()?;
            let no = self.expr(Node::Nil, value.range.clone())?;
            return self.choice(condition, value, no);
        }
        if self.take_name("unless")? {
            let condition = self.loose()?;
            let no = self.expr(Node::Nil, value.range.clone())?;
            return self.choice(condition, no, value);
        }
        Ok(value)
    }

    /// `not a`, `a and b`, `a or b`: looser than everything else, and of one strength.
    fn loose(&mut self) -> Result<Expr, Refusal> {
        let mut left = self.loose_operand()?;
        loop {
            let and = self.take_name("and")?;
            if !and && !self.take_name("or")? {
                return Ok(left);
            }
            let right = self.loose_operand()?;
            left = self.join(if and { Node::And } else { Node::Or }, left, right)?;
        }
    }

    fn loose_operand(&mut self) -> Result<Expr, Refusal> {
        let start = self.at;
        if self.take_name("not")? {
            let value = self.deeper(Self::loose_operand)?;
            return self.expr(Node::Not(Box::new(value)), start..self.at);
        }
        self.ternary()
    }

    /// Everything that nests passes here or through [`Self::unary`].
    fn ternary(&mut self) -> Result<Expr, Refusal> {
        self.deeper(Self::ternary_here)
    }

    fn deeper(&mut self, read: fn(&mut Self) -> Result<Expr, Refusal>) -> Result<Expr, Refusal> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Refusal::new(self.at..self.at, "embedded code is nested too deep"));
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn ternary_here(&mut self) -> Result<Expr, Refusal> {
        let condition = self.or()?;
        if !self.take("?")? {
            return Ok(condition);
        }
        let yes = self.ternary()?;
        self.expect(":")?;
        let no = self.ternary()?;
        self.choice(condition, yes, no)
    }

    fn or(&mut self) -> Result<Expr, Refusal> {
        let mut left = self.and()?;
        while self.take("||")? {
            // `ENV['X'] || raise "..."` and `|| use_nil` are the common uses
            let right = self.and()?;
            left = self.join(Node::Or, left, right)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, Refusal> {
        let mut left = self.binary(0)?;
        while self.take("&&")? {
            let right = self.binary(0)?;
            left = self.join(Node::And, left, right)?;
        }
        Ok(left)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, Refusal> {
        let Some(signs) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        loop {
            let next = self.peek()?;
            let Some(sign) = signs.iter().find(|sign| next.word == Word::Sign(sign)) else {
                return Ok(left);
            };
            self.at = next.range.end;
            let right = self.binary(level + 1)?;
            left = self.join(|left, right| Node::Binary(sign, left, right), left, right)?;
        }
    }

    fn unary(&mut self) -> Result<Expr, Refusal> {
        let next = self.peek()?;
        let wrap: fn(Box<Expr>) -> Node = match next.word {
            Word::Sign("!") => Node::Not,
            Word::Sign("-") => Node::Negative,
            _ => return self.postfix(),
        };
        self.at = next.range.end;
        let value = self.deeper(Self::unary)?;
        self.expr(wrap(Box::new(value)), next.range.start..self.at)
    }

    fn postfix(&mut self) -> Result<Expr, Refusal> {
        let mut value = self.primary()?;
        loop {
            let next = self.peek()?;
            value = match next.word {
                Word::Sign(sign @ ("." | "&.")) => {
                    self.at = next.range.end;
                    self.method(value, sign == "&.")?
                }
                Word::Sign("[") if next.range.start == value.range.end => {
                    self.at = next.range.end;
                    let args = self.list("]")?;
                    let range = value.range.start..self.at;
                    self.expr(Node::Index(Box::new(value), args), range)?
                }
                Word::Sign("{") => return Err(Refusal::unsupported(next.range, "a block")),
                _ => return Ok(value),
            };
        }
    }

    fn method(&mut self, receiver: Expr, safe: bool) -> Result<Expr, Refusal> {
        let token = self.next()?;
        let Word::Name(name) = token.word else {
            return Err(self.unexpected(&token));
        };
        let args = self.arguments()?;
        let range = receiver.range.start..self.at;
        self.expr(Node::Call { receiver: Some(Box::new(receiver)), name, args, safe }, range)
    }

    /// `(a, b)`, or a string right after the name as in `raise "text"`.
    fn arguments(&mut self) -> Result<Vec<Expr>, Refusal> {
        let next = self.peek()?;
        match next.word {
            Word::Sign("(") if next.range.start == self.at => {
                self.at = next.range.end;
                self.list(")")
            }
            Word::Text(_) => {
                let mut args = vec![self.ternary()?];
                while self.take(",")? {
                    args.push(self.ternary()?);
                }
                Ok(args)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn list(&mut self, close: &'static str) -> Result<Vec<Expr>, Refusal> {
        let mut items = Vec::new();
        while !self.take(close)? {
            items.push(self.ternary()?);
            if !self.take(",")? {
                self.expect(close)?;
                break;
            }
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Expr, Refusal> {
        let token = self.next()?;
        let range = token.range.clone();
        match token.word {
            Word::Integer(value) => self.expr(Node::Integer(value), range),
            Word::Float(value) => self.expr(Node::Float(value), range),
            Word::Text(pieces) => self.text(pieces, range),
            Word::Constant(name) => self.constant(name, range),
            Word::Name(name) => self.name(name, range),
            Word::Sign("(") => {
                let inside = self.statement()?;
                self.expect(")")?;
                self.expr(inside.node, range.start..self.at)
            }
            Word::Sign("[") => {
                let items = self.list("]")?;
                self.expr(Node::List(items), range.start..self.at)
            }
            Word::Sign("/") => {
                let (pattern, flags, end) = lexer::regexp(&self.code[..self.end], range.end)?;
                self.at = end;
                self.expr(Node::Regexp { pattern, flags }, range.start..end)
            }
            Word::Sign("`") => Err(Refusal::unsupported(range, "a command in backticks")),
            _ => Err(self.unexpected(&token)),
        }
    }

    fn constant(&mut self, name: String, range: Range<usize>) -> Result<Expr, Refusal> {
        // `Integer("8")` looks like a constant but is a call
        if self.code[self.at..self.end].starts_with('(') {
            let args = self.arguments()?;
            return self.expr(Node::Call { receiver: None, name, args, safe: false }, range.start..self.at);
        }
        self.expr(Node::Constant(name), range)
    }

    fn name(&mut self, name: String, range: Range<usize>) -> Result<Expr, Refusal> {
        let node = match name.as_str() {
            "nil" => Node::Nil,
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            "raise" => return self.raise(range),
            _ => {
                let args = self.arguments()?;
                return self.expr(Node::Call { receiver: None, name, args, safe: false }, range.start..self.at);
            }
        };
        self.expr(node, range)
    }

    /// `raise "text"`, `raise SetNil`, `raise ArgumentError, "text"`.
    fn raise(&mut self, range: Range<usize>) -> Result<Expr, Refusal> {
        let args = match self.peek()?.word {
            Word::End | Word::Sign(")" | ":") => Vec::new(),
            Word::Sign("(") => self.arguments()?,
            _ => {
                let mut args = vec![self.ternary()?];
                while self.take(",")? {
                    args.push(self.ternary()?);
                }
                args
            }
        };
        self.expr(Node::Call { receiver: None, name: "raise".into(), args, safe: false }, range.start..self.at)
    }

    fn text(&mut self, pieces: Vec<Piece>, range: Range<usize>) -> Result<Expr, Refusal> {
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            parts.push(match piece {
                Piece::Text(text) => Ok(text),
                Piece::Code(inside) => Err(self.nested(inside)?),
            });
        }
        self.expr(Node::Text(parts), range)
    }

    /// Code inside a string inside code, with this parser's count of nodes.
    fn nested(&mut self, inside: Range<usize>) -> Result<Expr, Refusal> {
        let mut parser = Parser { code: &self.code[..inside.end], at: inside.start, end: inside.end, ..*self };
        let tree = parser.whole()?;
        self.nodes = parser.nodes;
        Ok(tree)
    }

    fn join(
        &mut self,
        node: impl FnOnce(Box<Expr>, Box<Expr>) -> Node,
        left: Expr,
        right: Expr,
    ) -> Result<Expr, Refusal> {
        let range = left.range.start..right.range.end;
        self.expr(node(Box::new(left), Box::new(right)), range)
    }

    fn choice(&mut self, condition: Expr, yes: Expr, no: Expr) -> Result<Expr, Refusal> {
        let range = condition.range.start.min(yes.range.start)..self.at;
        self.expr(Node::If { condition: Box::new(condition), yes: Box::new(yes), no: Box::new(no) }, range)
    }

    fn expr(&mut self, node: Node, range: Range<usize>) -> Result<Expr, Refusal> {
        self.count(&range)?;
        Ok(Expr { node, range })
    }

    fn count(&mut self, range: &Range<usize>) -> Result<(), Refusal> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Refusal::new(range.clone(), format!("embedded code has more than {MAX_NODES} parts")));
        }
        Ok(())
    }

    fn peek(&self) -> Result<Token, Refusal> {
        lexer::next(&self.code[..self.end], self.at)
    }

    fn next(&mut self) -> Result<Token, Refusal> {
        let token = self.peek()?;
        self.at = token.range.end;
        Ok(token)
    }

    fn take(&mut self, sign: &'static str) -> Result<bool, Refusal> {
        let token = self.peek()?;
        let found = token.word == Word::Sign(sign);
        if found {
            self.at = token.range.end;
        }
        Ok(found)
    }

    fn take_name(&mut self, name: &str) -> Result<bool, Refusal> {
        let token = self.peek()?;
        let found = matches!(&token.word, Word::Name(word) if word == name);
        if found {
            self.at = token.range.end;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), Refusal> {
        if self.take(sign)? {
            return Ok(());
        }
        let token = self.peek()?;
        Err(Refusal::new(token.range, format!("embedded code needs a '{sign}' here")))
    }

    fn unexpected(&self, token: &Token) -> Refusal {
        match &token.word {
            Word::End => Refusal::new(token.range.clone(), "embedded code ends too early"),
            _ => Refusal::unsupported(token.range.clone(), format!("'{}' here", &self.code[token.range.clone()])),
        }
    }
}
