//! The tree of a parsed expression. It is made once, is never deeper than [`MAX_HEIGHT`](super::limits::MAX_HEIGHT), and names nothing
//! by text: variables are slots, methods are resolved.

use super::bridge::CompiledRegex;
use super::methods::{Def, FreeFn, Method};

/// A node and where it stands in the template.
#[derive(Debug)]
pub(super) struct Expr {
    pub(super) kind: Kind,
    pub(super) at: usize,
    /// Nodes on the longest way down, this one included.
    pub(super) height: usize,
}

#[derive(Debug)]
pub(super) enum Kind {
    Nil,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Box<[u8]>),
    Sym(Box<[u8]>),
    Class(&'static str),
    Regex {
        regex: Box<dyn CompiledRegex>,
        source: Box<[u8]>,
    },
    /// A string with code in it.
    Interp(Vec<Expr>),
    Array(Vec<Expr>),
    Hash(Vec<(Expr, Expr)>),
    /// Both ends, `Nil` where open, and whether the last is left out.
    Range(Box<Expr>, Box<Expr>, bool),
    Name(Name),
    /// `record["a"]["b"]` and `record.dig("a", "b")`: the field, the keys below it, and whether nil on the way is an error.
    Path {
        keys: Vec<Box<[u8]>>,
        dig: bool,
    },
    Var(usize),
    Assign(usize, Box<Expr>),
    /// `a, b = list`
    Spread(Vec<usize>, Box<Expr>),
    /// `name << value`: a string is not changed in place, so the variable gets the new one.
    Append(usize, Box<Expr>),
    IndexAssign(Box<Place>, Box<Expr>),
    IndexUpdate(Box<Place>, Update, Box<Expr>),
    Index {
        of: Box<Expr>,
        args: Vec<Expr>,
        safe: bool,
    },
    Binary(Op, Box<Expr>, Box<Expr>),
    /// `/(?<name>...)/ =~ text`: each named group becomes a variable.
    MatchAssign {
        pattern: Box<Expr>,
        subject: Box<Expr>,
        groups: Vec<(usize, usize)>,
    },
    Not(Box<Expr>),
    Negate(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Case(Box<Case>),
    Seq(Vec<Expr>),
    Rescue(Box<Rescue>),
    Call(Box<Call>),
    Free {
        def: &'static Def<FreeFn>,
        args: Vec<Expr>,
    },
    /// `$~`, or with a number `$1` and on; 0 is `$&`.
    LastMatch(Option<usize>),
    Next(Box<Expr>),
    Break(Box<Expr>),
}

/// What an event has without asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Record,
    Tag,
    TagParts,
    TagPrefix,
    TagSuffix,
    Time,
    Hostname,
}

/// The left side of `x[i] = v`.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) of: Expr,
    pub(super) args: Vec<Expr>,
}

/// How `op=` changes what is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Update {
    Or,
    And,
    Op(Op),
    /// `x[i] << value`: as [`Kind::Append`].
    Append,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Pow,
    Shl,
    Shr,
    And,
    Or,
    Xor,
    Lt,
    Le,
    Gt,
    Ge,
    Cmp,
    Eq,
    Ne,
    CaseEq,
    Match,
    NotMatch,
}

/// Operators by their sign, longest first.
pub(super) const OPS: &[(&str, Op)] = &[
    ("<=>", Op::Cmp),
    ("===", Op::CaseEq),
    ("**", Op::Pow),
    ("<<", Op::Shl),
    (">>", Op::Shr),
    ("<=", Op::Le),
    (">=", Op::Ge),
    ("==", Op::Eq),
    ("!=", Op::Ne),
    ("=~", Op::Match),
    ("!~", Op::NotMatch),
    ("+", Op::Add),
    ("-", Op::Sub),
    ("*", Op::Mul),
    ("/", Op::Div),
    ("%", Op::Rem),
    ("&", Op::And),
    ("|", Op::Or),
    ("^", Op::Xor),
    ("<", Op::Lt),
    (">", Op::Gt),
];

impl Op {
    pub(super) fn find(sign: &str) -> Option<Op> {
        OPS.iter().find(|(s, _)| *s == sign).map(|(_, op)| *op)
    }

    pub(super) fn sign(self) -> &'static str {
        OPS.iter().find(|(_, op)| *op == self).map_or("", |(s, _)| s)
    }
}

#[derive(Debug)]
pub(super) struct Case {
    pub(super) subject: Option<Expr>,
    pub(super) whens: Vec<(Vec<Expr>, Expr)>,
    pub(super) otherwise: Expr,
}

#[derive(Debug)]
pub(super) struct Rescue {
    pub(super) body: Expr,
    pub(super) clauses: Vec<Clause>,
}

/// `rescue A, B => e`. No class means `StandardError`.
#[derive(Debug)]
pub(super) struct Clause {
    pub(super) classes: Vec<&'static str>,
    pub(super) slot: Option<usize>,
    pub(super) body: Expr,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) on: Expr,
    pub(super) method: Method,
    pub(super) args: Vec<Expr>,
    pub(super) block: Option<Block>,
    /// `&.`: nil gives nil.
    pub(super) safe: bool,
}

#[derive(Debug)]
pub(super) enum Block {
    Code(Box<CodeBlock>),
    /// `&:name`
    Method(Box<Method>),
    /// `&:+`
    Op(Op),
}

#[derive(Debug)]
pub(super) struct CodeBlock {
    pub(super) params: Vec<Param>,
    /// Slots of variables that begin anew in each call.
    pub(super) own: std::ops::Range<usize>,
    pub(super) body: Expr,
}

#[derive(Debug)]
pub(super) enum Param {
    Slot(usize),
    /// `(a, b)`: takes an array apart.
    Group(Vec<Param>),
}

impl Expr {
    /// The greatest height among the nodes right below.
    pub(super) fn height_below(kind: &Kind) -> usize {
        let tallest = |list: &[Expr]| list.iter().map(|e| e.height).max().unwrap_or(0);
        match kind {
            Kind::Interp(list) | Kind::Array(list) | Kind::Seq(list) => tallest(list),
            Kind::Free { args, .. } => tallest(args),
            Kind::Hash(pairs) => pairs.iter().map(|(k, v)| k.height.max(v.height)).max().unwrap_or(0),
            Kind::Range(a, b, _) | Kind::Binary(_, a, b) | Kind::And(a, b) | Kind::Or(a, b) => a.height.max(b.height),
            Kind::MatchAssign { pattern, subject, .. } => pattern.height.max(subject.height),
            Kind::Assign(_, e) | Kind::Append(_, e) | Kind::Spread(_, e) | Kind::Not(e) | Kind::Negate(e) => e.height,
            Kind::Next(e) | Kind::Break(e) => e.height,
            Kind::IndexAssign(place, e) | Kind::IndexUpdate(place, _, e) => {
                e.height.max(place.of.height).max(tallest(&place.args))
            }
            Kind::Index { of, args, .. } => of.height.max(tallest(args)),
            Kind::If(a, b, c) => a.height.max(b.height).max(c.height),
            Kind::Case(case) => case.height(),
            Kind::Rescue(r) => r.clauses.iter().map(|c| c.body.height).fold(r.body.height, usize::max),
            Kind::Call(call) => {
                let block = if let Some(Block::Code(b)) = &call.block { b.body.height } else { 0 };
                call.on.height.max(tallest(&call.args)).max(block)
            }
            _ => 0,
        }
    }
}

impl Case {
    fn height(&self) -> usize {
        let subject = self.subject.as_ref().map_or(0, |e| e.height);
        let mut top = subject.max(self.otherwise.height);
        for (tests, body) in &self.whens {
            top = tests.iter().map(|e| e.height).fold(top.max(body.height), usize::max);
        }
        top
    }
}
