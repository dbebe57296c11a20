//! Operators, from the loosest to the tightest.

use super::{Parsed, Parser};
use crate::plugin::ruby::ast::{Expr, Kind, OPS, Op, Place, Update};

/// How tight a binary operator binds.
fn tightness(op: Op) -> u8 {
    match op {
        Op::Cmp | Op::Eq | Op::Ne | Op::CaseEq | Op::Match | Op::NotMatch => 3,
        Op::Lt | Op::Le | Op::Gt | Op::Ge => 4,
        Op::Or | Op::Xor => 5,
        Op::And => 6,
        Op::Shl | Op::Shr => 7,
        Op::Add | Op::Sub => 8,
        Op::Mul | Op::Div | Op::Rem => 9,
        Op::Pow => 10,
    }
}

/// What a binary place may hold.
enum Sign {
    Or,
    And,
    Op(Op),
}

impl<'t> Parser<'t> {
    /// `a, b = list`, or an expression.
    pub(super) fn spread_or_expression(&mut self) -> Parsed {
        let start = self.at;
        let Some(names) = self.spread_names() else {
            self.at = start;
            return self.expression();
        };
        self.lines();
        let value = self.expression()?;
        let slots = names.iter().map(|name| self.variable(name)).collect::<Parsed<Vec<_>>>()?;
        self.node(Kind::Spread(slots, Box::new(value)), start)
    }

    /// The names before `=`, where there are several.
    fn spread_names(&mut self) -> Option<Vec<&'t str>> {
        let mut names = Vec::new();
        loop {
            let word = self.peek_word();
            if !word.starts_with(|c: char| c.is_lowercase() || c == '_') {
                return None;
            }
            self.at += word.len();
            names.push(word);
            self.space();
            if self.eat(",") {
                self.lines();
            } else {
                return (names.len() > 1 && self.assignment_sign()).then_some(names);
            }
        }
    }

    /// Takes a `=` that assigns.
    pub(super) fn assignment_sign(&mut self) -> bool {
        let assigns = self.starts("=") && !matches!(self.peek_at(1), Some(b'=' | b'~' | b'>'));
        self.at += usize::from(assigns);
        assigns
    }

    /// Takes a sign like `+=`.
    pub(super) fn update_sign(&mut self) -> Option<Update> {
        let logical = [("||=", Update::Or), ("&&=", Update::And)];
        let arithmetic = ["**", "<<", ">>", "+", "-", "*", "/", "%", "|", "&", "^"];
        if let Some((sign, update)) = logical.into_iter().find(|(sign, _)| self.starts(sign)) {
            self.at += sign.len();
            return Some(update);
        }
        let sign = arithmetic.into_iter().find(|sign| self.starts(sign))?;
        if self.peek_at(sign.len()) != Some(b'=') || matches!(self.peek_at(sign.len() + 1), Some(b'=' | b'~')) {
            return None;
        }
        self.at += sign.len() + 1;
        Op::find(sign).map(Update::Op)
    }

    pub(super) fn expression(&mut self) -> Parsed {
        self.deeper(|p| {
            p.space();
            p.ternary()
        })
    }

    fn ternary(&mut self) -> Parsed {
        let test = self.range()?;
        self.space();
        let at = self.at;
        if !self.eat("?") {
            return Ok(test);
        }
        self.lines();
        self.in_ternary += 1;
        let yes = self.expression();
        self.in_ternary -= 1;
        let yes = yes?;
        self.expect(":", "of `a ? b : c`")?;
        self.lines();
        let no = self.expression()?;
        self.node(Kind::If(Box::new(test), Box::new(yes), Box::new(no)), at)
    }

    fn range(&mut self) -> Parsed {
        let first = self.binary(1)?;
        self.space();
        let at = self.at;
        let exclusive = self.starts("...");
        if !self.eat("...") && !self.eat("..") {
            return Ok(first);
        }
        self.space();
        // Nothing behind it: the range has no end.
        let open =
            matches!(self.peek(), None | Some(b')' | b']' | b'}' | b',' | b';' | b'\n')) || self.peek_word() == "then";
        let last = if open { self.node(Kind::Nil, self.at)? } else { self.binary(1)? };
        self.node(Kind::Range(Box::new(first), Box::new(last), exclusive), at)
    }

    /// The binary operator at this place, and its length.
    fn sign(&self) -> Option<(Sign, usize)> {
        if self.starts("||") {
            return (self.peek_at(2) != Some(b'=')).then_some((Sign::Or, 2));
        }
        if self.starts("&&") {
            return (self.peek_at(2) != Some(b'=')).then_some((Sign::And, 2));
        }
        if self.starts("&.") || self.starts("=>") {
            return None;
        }
        let (sign, op) = OPS.iter().find(|(sign, _)| self.starts(sign))?;
        // `x += 1` is no `+`; comparisons that end in `=` are longer signs and were found first.
        let updates =
            self.peek_at(sign.len()) == Some(b'=') && tightness(*op) >= 5 && self.peek_at(sign.len() + 1) != Some(b'=');
        (!updates).then_some((Sign::Op(*op), sign.len()))
    }

    fn binary(&mut self, loosest: u8) -> Parsed {
        let mut left = self.unary()?;
        loop {
            self.space();
            let at = self.at;
            let Some((sign, len)) = self.sign() else { return Ok(left) };
            let tight = match sign {
                Sign::Or => 1,
                Sign::And => 2,
                Sign::Op(op) => tightness(op),
            };
            // `**` is taken by the operand before it.
            if tight < loosest || tight == 10 {
                return Ok(left);
            }
            self.at += len;
            self.lines();
            let right = self.deeper(|p| p.binary(tight + 1))?;
            left = self.joined(sign, left, right, at)?;
        }
    }

    fn joined(&mut self, sign: Sign, left: Expr, right: Expr, at: usize) -> Parsed {
        if let Sign::Op(Op::Shl) = sign {
            return self.appended(left, right, at);
        }
        let (left, right) = (Box::new(left), Box::new(right));
        let kind = match sign {
            Sign::Or => Kind::Or(left, right),
            Sign::And => Kind::And(left, right),
            Sign::Op(Op::Match) if let Kind::Regex { regex, .. } = &left.kind => {
                let named = regex.group_names().iter().enumerate();
                let named: Vec<(usize, String)> = named.filter_map(|(n, name)| Some((n, name.clone()?))).collect();
                let mut groups = Vec::new();
                for (n, name) in named {
                    groups.push((n, self.variable(&name)?));
                }
                Kind::MatchAssign { pattern: left, subject: right, groups }
            }
            Sign::Op(op) => Kind::Binary(op, left, right),
        };
        self.node(kind, at)
    }

    /// `left << right`, which changes a string on the left where it is kept.
    fn appended(&mut self, left: Expr, right: Expr, at: usize) -> Parsed {
        let right = Box::new(right);
        let kind = match left.kind {
            Kind::Var(slot) => Kind::Append(slot, right),
            Kind::Index { safe: false, .. } | Kind::Path { dig: false, .. } => {
                Kind::IndexUpdate(Box::new(self.place(left)?), Update::Append, right)
            }
            _ => Kind::Binary(Op::Shl, Box::new(left), right),
        };
        self.node(kind, at)
    }

    fn unary(&mut self) -> Parsed {
        self.space();
        let at = self.at;
        match self.peek() {
            Some(b'!') if self.peek_at(1) != Some(b'~') => {
                self.at += 1;
                let expr = self.deeper(|p| p.unary())?;
                self.node(Kind::Not(Box::new(expr)), at)
            }
            Some(b'-') if self.peek_at(1) == Some(b'>') => Err(self.refuse_word("lambda")),
            Some(b'-') if self.peek_at(1).is_some_and(|b| b.is_ascii_digit()) => self.negative_number(),
            Some(b'-') => {
                self.at += 1;
                let expr = self.deeper(|p| p.unary())?;
                self.node(Kind::Negate(Box::new(expr)), at)
            }
            Some(b'+') => {
                self.at += 1;
                self.deeper(|p| p.unary())
            }
            Some(b'~') => Err(self.error("`~` is not supported", "")),
            Some(b'*' | b'&') => {
                Err(self.error("`*` and `&` before a value are not supported", "write the values one by one"))
            }
            _ => self.power(),
        }
    }

    /// `-2` is a number of its own, but `-2 ** 2` is `-(2 ** 2)`.
    fn negative_number(&mut self) -> Parsed {
        let at = self.at;
        self.at += 1;
        let number = self.number()?;
        self.space();
        if self.starts("**") {
            let power = self.power_of(number)?;
            return self.node(Kind::Negate(Box::new(power)), at);
        }
        let kind = match number.kind {
            Kind::Int(n) => Kind::Int(-n),
            Kind::Float(f) => Kind::Float(-f),
            other => other,
        };
        let number = self.node(kind, at)?;
        let operand = self.postfix(number)?;
        self.power_of(operand)
    }

    fn power(&mut self) -> Parsed {
        let start = self.at;
        let primary = self.primary()?;
        let operand = self.postfix(primary)?;
        let operand = self.assigned(operand, start)?;
        self.power_of(operand)
    }

    fn power_of(&mut self, base: Expr) -> Parsed {
        self.space();
        let at = self.at;
        if !self.starts("**") || self.peek_at(2) == Some(b'=') {
            return Ok(base);
        }
        self.at += 2;
        self.lines();
        let exponent = self.deeper(|p| p.unary())?;
        self.node(Kind::Binary(Op::Pow, Box::new(base), Box::new(exponent)), at)
    }

    /// `operand = value` and `operand += value` where the operand can be assigned to.
    fn assigned(&mut self, operand: Expr, start: usize) -> Parsed {
        if !matches!(operand.kind, Kind::Index { safe: false, .. } | Kind::Path { dig: false, .. }) {
            return Ok(operand);
        }
        self.space();
        if self.assignment_sign() {
            self.lines();
            let value = Box::new(self.right_side()?);
            let place = Box::new(self.place(operand)?);
            return self.node(Kind::IndexAssign(place, value), start);
        }
        let Some(update) = self.update_sign() else { return Ok(operand) };
        self.lines();
        let value = Box::new(self.right_side()?);
        let place = Box::new(self.place(operand)?);
        self.node(Kind::IndexUpdate(place, update, value), start)
    }

    /// What stands right of `=`.
    pub(super) fn right_side(&mut self) -> Parsed {
        let value = self.expression()?;
        self.space();
        if self.starts(",") && self.nesting <= 1 {
            return Err(self.error("a list right of `=` needs brackets", "write x = [a, b]"));
        }
        Ok(value)
    }

    fn place(&mut self, operand: Expr) -> Parsed<Place> {
        let at = operand.at - self.from;
        match operand.kind {
            Kind::Index { of, args, .. } => Ok(Place { of: *of, args }),
            Kind::Path { mut keys, dig } => {
                let last = keys.pop().unwrap_or_default();
                let name = Kind::Name(crate::plugin::ruby::ast::Name::Record);
                let of = self.node(if keys.is_empty() { name } else { Kind::Path { keys, dig } }, at)?;
                let key = self.node(Kind::Str(last), at)?;
                Ok(Place { of, args: vec![key] })
            }
            _ => Err(self.error_at(at, "this can't be assigned to", "")),
        }
    }
}
