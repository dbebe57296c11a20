//! Calls and indexes behind a value.

use super::{Parsed, Parser};
use crate::plugin::ruby::ast::{Block, Call, Expr, Kind, Name, Op};
use crate::plugin::ruby::methods::{Def, FreeFn, Method};

/// What stands between the parentheses of a call.
#[derive(Default)]
struct Given {
    args: Vec<Expr>,
    block: Option<Block>,
}

/// Methods that change a string in place in Ruby; on a variable they are assigned to it.
const APPENDING: &[&str] = &["concat", "prepend", "insert"];

impl<'t> Parser<'t> {
    /// Everything that hangs behind a value: `.name(...)`, `[...]`.
    pub(super) fn postfix(&mut self, mut value: Expr) -> Parsed {
        loop {
            let mark = self.at;
            let indexed = self.peek() == Some(b'[')
                || (self.space_then(b'[') && matches!(value.kind, Kind::Name(_) | Kind::Var(_)));
            if indexed {
                value = self.indexed(value)?;
                continue;
            }
            self.lines();
            let safe = self.starts("&.");
            if safe || (self.starts(".") && !self.starts("..")) {
                self.at += if safe { 2 } else { 1 };
                value = self.called(value, safe)?;
                continue;
            }
            self.at = mark;
            return Ok(value);
        }
    }

    /// Skips blanks if `sign` follows them.
    fn space_then(&mut self, sign: u8) -> bool {
        let mark = self.at;
        self.space();
        let found = self.peek() == Some(sign);
        if !found {
            self.at = mark;
        }
        found
    }

    fn indexed(&mut self, of: Expr) -> Parsed {
        let at = self.at;
        self.at += 1;
        let (mut args, mut pairs) = (Vec::new(), Vec::new());
        self.list("]", |p| p.argument(&mut args, &mut pairs))?;
        if !pairs.is_empty() || args.is_empty() || args.len() > 2 {
            return Err(self.error_at(at, "[...] takes one or two values", ""));
        }
        self.index_node(of, args, at, false)
    }

    /// An index; into the record it is a path.
    fn index_node(&mut self, of: Expr, mut args: Vec<Expr>, at: usize, safe: bool) -> Parsed {
        let literal = matches!(args.as_slice(), [Expr { kind: Kind::Str(_), .. }]);
        let key = |args: &mut Vec<Expr>| match args.pop() {
            Some(Expr { kind: Kind::Str(key), .. }) => key,
            _ => Box::default(),
        };
        let kind = match of.kind {
            Kind::Name(Name::Record) if literal => Kind::Path { keys: vec![key(&mut args)], dig: false },
            Kind::Path { mut keys, dig: false } if literal && !safe => {
                keys.push(key(&mut args));
                Kind::Path { keys, dig: false }
            }
            kind => Kind::Index { of: Box::new(Expr { kind, ..of }), args, safe },
        };
        self.node(kind, at)
    }

    /// A method's name behind the dot.
    pub(super) fn method_name(&mut self) -> &'t str {
        let start = self.at;
        if self.eat("[]") {
            return "[]";
        }
        self.at += self.peek_word().len();
        // `!=` and `?` before a `:` belong to operators.
        let ends = match self.peek() {
            Some(b'?') => true,
            Some(b'!') => self.peek_at(1) != Some(b'='),
            _ => false,
        };
        self.at += usize::from(ends && self.at > start);
        &self.text[start..self.at]
    }

    fn called(&mut self, on: Expr, safe: bool) -> Parsed {
        self.lines();
        let at = self.at;
        let name = self.method_name();
        if name.is_empty() {
            return Err(self.error("a method's name was expected behind the dot", ""));
        }
        self.refuse_attribute(name, at)?;
        let (on, name) = fused(on, name);
        let Some(method) = Method::find(&name) else { return Err(self.refuse_method(&name, at)) };
        let given = self.given(!method.bare())?;
        if name == "[]" {
            return self.index_node(on, given.args, at, safe);
        }
        if !method.takes(given.args.len()) {
            let message = format!("`{name}` does not take {} argument(s)", given.args.len());
            return Err(self.error_at(at, message, ""));
        }
        if let Some(path) = dug(&on, &name, &given) {
            return self.node(Kind::Path { keys: path, dig: true }, at);
        }
        let target = match on.kind {
            Kind::Var(slot) if APPENDING.contains(&name.as_str()) && given.block.is_none() => Some(slot),
            _ => None,
        };
        let call =
            self.node(Kind::Call(Box::new(Call { on, method, args: given.args, block: given.block, safe })), at)?;
        match target {
            Some(slot) => self.node(Kind::Assign(slot, Box::new(call)), at),
            None => Ok(call),
        }
    }

    fn refuse_attribute(&mut self, name: &str, at: usize) -> Parsed<()> {
        let mark = self.at;
        self.space();
        if self.assignment_sign() {
            let message = format!("`{name} =` is not supported: values have no attributes that can be set");
            return Err(self.error_at(at, message, "write x[\"...\"] = value"));
        }
        self.at = mark;
        Ok(())
    }

    /// The arguments of a call and its block. `some` tells whether there can be arguments without parentheses.
    fn given(&mut self, some: bool) -> Parsed<Given> {
        let mut given = Given::default();
        if self.peek() == Some(b'(') {
            self.at += 1;
            let mut pairs = Vec::new();
            self.list(")", |p| p.given_item(&mut given, &mut pairs))?;
            self.add_pairs(&mut given, pairs)?;
        } else if some && self.command_follows() {
            self.command(&mut given)?;
        }
        self.block_of(&mut given)?;
        Ok(given)
    }

    fn given_item(&mut self, given: &mut Given, pairs: &mut Vec<(Expr, Expr)>) -> Parsed<()> {
        if !self.starts("&") {
            return self.argument(&mut given.args, pairs);
        }
        let at = self.at;
        self.at += 1;
        given.block = Some(self.passed_block(at)?);
        Ok(())
    }

    /// `&:name`.
    fn passed_block(&mut self, at: usize) -> Parsed<Block> {
        if !self.eat(":") {
            return Err(self.error_at(at, "only &:name can be given for a block", "write { |x| ... }"));
        }
        let name = self.symbol_name();
        if let Some(op) = Op::find(name) {
            return Ok(Block::Op(op));
        }
        match Method::find(name) {
            Some(method) => Ok(Block::Method(Box::new(method))),
            None => Err(self.refuse_method(name, at + 2)),
        }
    }

    fn add_pairs(&mut self, given: &mut Given, pairs: Vec<(Expr, Expr)>) -> Parsed<()> {
        if let Some((key, _)) = pairs.first() {
            let at = key.at - self.from;
            given.args.push(self.node(Kind::Hash(pairs), at)?);
        }
        Ok(())
    }

    fn block_of(&mut self, given: &mut Given) -> Parsed<()> {
        let mark = self.at;
        self.space();
        let braces = self.peek() == Some(b'{');
        if !braces && self.peek_word() != "do" {
            self.at = mark;
            return Ok(());
        }
        if given.block.is_some() {
            return Err(self.error("a call can't have two blocks", ""));
        }
        given.block = Some(self.block(braces)?);
        Ok(())
    }

    /// Whether an argument without parentheses follows: a blank, and then something that can't go on an expression.
    fn command_follows(&self) -> bool {
        let rest = self.rest();
        let ahead = rest.trim_start_matches([' ', '\t']);
        let (mut chars, blank) = (ahead.chars(), ahead.len() < rest.len());
        let (first, second) = (chars.next().unwrap_or('\n'), chars.next().unwrap_or(' '));
        let tight = !second.is_whitespace();
        let sign = match first {
            '"' | '\'' | '$' => true,
            '(' => true,
            '[' => true,
            ':' => tight && second != ':' && self.in_ternary == 0,
            '/' | '-' | '+' => tight && second != '=',
            '!' => tight && !matches!(second, '=' | '~'),
            '%' => {
                matches!(second, 'w' | 'q' | 'Q' | 'i' | 'r')
                    && !ahead[2..].starts_with(|c: char| c.is_alphanumeric() || c.is_whitespace())
            }
            '&' => second == ':',
            c => c.is_alphanumeric() || c == '_',
        };
        blank && sign && !self.keyword_ahead(ahead)
    }

    fn keyword_ahead(&self, ahead: &str) -> bool {
        const GO_ON: &[&str] = &[
            "if", "unless", "and", "or", "then", "do", "rescue", "while", "until", "in", "end", "else", "elsif",
            "when", "ensure",
        ];
        let len = ahead.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(ahead.len());
        GO_ON.contains(&&ahead[..len])
    }

    fn command(&mut self, given: &mut Given) -> Parsed<()> {
        let mut pairs = Vec::new();
        loop {
            self.space();
            self.given_item(given, &mut pairs)?;
            self.space();
            if !self.eat(",") {
                return self.add_pairs(given, pairs);
            }
            self.lines();
        }
    }

    /// A function, its name having been taken.
    pub(super) fn free_call(&mut self, def: &'static Def<FreeFn>, at: usize) -> Parsed {
        let given = self.given(def.arity.1 > 0)?;
        if given.block.is_some() {
            return Err(self.error_at(at, format!("`{}` takes no block", def.name), ""));
        }
        let (min, max) = def.arity;
        if !(min..=max).contains(&given.args.len()) {
            let message = format!("`{}` does not take {} argument(s)", def.name, given.args.len());
            return Err(self.error_at(at, message, ""));
        }
        self.node(Kind::Free { def, args: given.args }, at)
    }
}

/// `map.with_index` is one method here: what stands before it needs no block then.
fn fused(on: Expr, name: &str) -> (Expr, String) {
    let joined = |first: &str| match first {
        "map" | "collect" => Some("map.with_index"),
        "flat_map" | "collect_concat" => Some("flat_map.with_index"),
        "select" | "filter" => Some("select.with_index"),
        "reject" => Some("reject.with_index"),
        "each" | "each_with_index" => Some("each.with_index"),
        _ => None,
    };
    if !matches!(name, "with_index" | "each_with_index" | "with_object") {
        return (on, name.to_owned());
    }
    let Expr { kind: Kind::Call(call), at, height } = on else { return (on, own(name)) };
    if call.block.is_some() || !call.args.is_empty() {
        return (Expr { kind: Kind::Call(call), at, height }, own(name));
    }
    match joined(call.method.name) {
        Some(_) if name == "with_object" => (call.on, "each_with_object".into()),
        Some("each.with_index") if name == "each_with_index" => (call.on, name.to_owned()),
        Some(fused) => (call.on, fused.to_owned()),
        None => (Expr { kind: Kind::Call(call), at, height }, own(name)),
    }
}

/// The method of an array that serves where Ruby has an enumerator's.
fn own(name: &str) -> String {
    match name {
        "with_index" => "each.with_index".into(),
        "with_object" => "each_with_object".into(),
        other => other.to_owned(),
    }
}

/// `record.dig("a", "b")` with keys that are known.
fn dug(on: &Expr, name: &str, given: &Given) -> Option<Vec<Box<[u8]>>> {
    if !matches!(on.kind, Kind::Name(Name::Record)) || name != "dig" || given.block.is_some() {
        return None;
    }
    let key = |e: &Expr| if let Kind::Str(key) = &e.kind { Some(key.clone()) } else { None };
    given.args.iter().map(key).collect()
}
