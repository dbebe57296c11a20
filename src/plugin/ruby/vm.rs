//! Evaluation of the tree.
//!
//! Recursion follows the tree, whose height is bounded, and blocks run where they stand: no expression can call itself.

use bumpalo::collections::Vec as BumpVec;

use super::ast::{Block, Call, Case, CodeBlock, Expr, Kind, Name, Op, Param, Place, Rescue, Update};
use super::bridge::Functions;
use super::clock::RubyTime;
use super::context::Inner;
use super::error::{Checked, Fault, Outcome, Stop, rescues};
use super::index;
use super::lib;
use super::limits::{MAX_ELEMENTS, MAX_SCRATCH_BYTES, MAX_STEPS};
use super::methods::{Args, no_method};
use super::ops;
use super::text::{self, Buf};
use super::value::{Arr, ArrayObj, Map, MapObj, Matched, Pair, Pattern, Span, Val, load};
use crate::event::Value;

/// One evaluation.
pub(super) struct Vm<'s> {
    pub(super) cx: &'s Inner<'s>,
    pub(super) functions: Functions,
    pub(super) last_match: Option<&'s Matched<'s>>,
    slots: Vec<Val<'s>>,
    steps: usize,
}

impl<'s> Vm<'s> {
    /// For a program with that many variables.
    pub(super) fn new(cx: &'s Inner<'s>, functions: Functions, slots: usize) -> Vm<'s> {
        Vm { cx, functions, last_match: None, slots: vec![Val::Nil; slots], steps: MAX_STEPS }
    }

    /// Takes steps off what is left.
    pub(super) fn charge(&mut self, steps: usize) -> Checked<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => return Err(Fault::limit(format!("the expression takes more than {MAX_STEPS} steps"))),
        }
        Ok(())
    }

    /// Makes sure that `bytes` more may be used.
    pub(super) fn reserve(&mut self, bytes: usize) -> Checked<()> {
        self.charge(bytes / 64)?;
        if self.cx.bump.allocated_bytes().saturating_add(bytes) <= MAX_SCRATCH_BYTES {
            return Ok(());
        }
        Err(Fault::limit(format!("the expressions of one event take more than {MAX_SCRATCH_BYTES} bytes")))
    }

    /// Bytes kept for the event.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Checked<&'s [u8]> {
        text::check_len(bytes.len())?;
        self.reserve(bytes.len())?;
        Ok(self.cx.bump.alloc_slice_copy(bytes))
    }

    /// A new string.
    pub(super) fn string(&mut self, bytes: impl AsRef<[u8]>) -> Outcome<'s> {
        Ok(Val::Str(self.keep(bytes.as_ref())?))
    }

    /// A new array.
    pub(super) fn array(&mut self, items: impl AsRef<[Val<'s>]>) -> Outcome<'s> {
        Ok(Val::Array(self.arr(items.as_ref())?))
    }

    pub(super) fn arr(&mut self, items: &[Val<'s>]) -> Checked<Arr<'s>> {
        check_elements(items.len())?;
        self.reserve(size_of_val(items))?;
        let mut copy = BumpVec::with_capacity_in(items.len(), self.cx.bump);
        copy.extend_from_slice(items);
        Ok(ArrayObj::from_vec(self.cx.bump, copy))
    }

    /// A new hash of pairs whose keys are known to differ.
    pub(super) fn hash(&mut self, pairs: impl AsRef<[Pair<'s>]>) -> Outcome<'s> {
        Ok(Val::Hash(self.map(pairs.as_ref())?))
    }

    pub(super) fn map(&mut self, pairs: &[Pair<'s>]) -> Checked<Map<'s>> {
        check_elements(pairs.len())?;
        self.reserve(size_of_val(pairs))?;
        let mut copy = BumpVec::with_capacity_in(pairs.len(), self.cx.bump);
        copy.extend_from_slice(pairs);
        Ok(MapObj::from_vec(self.cx.bump, copy))
    }

    /// Sets a key of a hash, within the limits.
    pub(super) fn set(&mut self, map: Map<'s>, key: Val<'s>, value: Val<'s>) -> Checked<()> {
        self.charge(1 + map.len() / 4)?;
        self.reserve(size_of::<Pair<'s>>())?;
        check_elements(map.len() + 1)?;
        map.insert(key, value);
        Ok(())
    }

    /// Adds to the end of an array, within the limits.
    pub(super) fn push(&mut self, array: Arr<'s>, value: Val<'s>) -> Checked<()> {
        self.charge(1)?;
        self.reserve(size_of::<Val<'s>>())?;
        check_elements(array.len() + 1)?;
        array.change(|items| items.push(value));
        Ok(())
    }

    /// Evaluates a node.
    pub(super) fn eval(&mut self, expr: &'s Expr) -> Outcome<'s> {
        self.charge(1)?;
        match &expr.kind {
            Kind::Nil => Ok(Val::Nil),
            Kind::Bool(v) => Ok(Val::Bool(*v)),
            Kind::Int(n) => Ok(Val::Int(*n)),
            Kind::Float(f) => Ok(Val::Float(*f)),
            Kind::Str(t) => Ok(Val::Str(t)),
            Kind::Sym(t) => Ok(Val::Sym(t)),
            Kind::Class(name) => Ok(Val::Class(name)),
            Kind::Regex { regex, source } => Ok(Val::Regex(Pattern { regex: &**regex, source })),
            Kind::Interp(parts) => self.interpolate(parts),
            Kind::Array(items) => {
                let items = self.all(items)?;
                self.array(items)
            }
            Kind::Hash(pairs) => self.hash_literal(pairs),
            Kind::Range(first, last, exclusive) => self.range(first, last, *exclusive),
            Kind::Name(name) => self.name(*name),
            Kind::Path { keys, dig } => self.path(keys, *dig),
            Kind::Var(slot) => Ok(self.slots[*slot]),
            _ => self.eval_more(expr),
        }
    }

    fn eval_more(&mut self, expr: &'s Expr) -> Outcome<'s> {
        match &expr.kind {
            Kind::Assign(slot, value) => {
                self.slots[*slot] = self.eval(value)?;
                Ok(self.slots[*slot])
            }
            Kind::Append(slot, value) => {
                let (old, right) = (self.slots[*slot], self.eval(value)?);
                let new = ops::binary(self, Op::Shl, old, right)?;
                if old.text().is_some() {
                    self.slots[*slot] = new;
                }
                Ok(new)
            }
            Kind::Spread(slots, value) => self.spread(slots, value),
            Kind::IndexAssign(place, value) => self.index_assign(place, value),
            Kind::IndexUpdate(place, update, value) => self.index_update(place, *update, value),
            Kind::Index { of, args, safe } => self.index(of, args, *safe),
            Kind::Binary(op, left, right) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                ops::binary(self, *op, left, right)
            }
            Kind::MatchAssign { pattern, subject, groups } => self.match_assign(pattern, subject, groups),
            Kind::Not(e) => Ok(Val::Bool(!self.eval(e)?.truthy())),
            Kind::Negate(e) => {
                let value = self.eval(e)?;
                Ok(ops::negate(value)?)
            }
            Kind::And(a, b) => match self.eval(a)? {
                left if left.truthy() => self.eval(b),
                left => Ok(left),
            },
            Kind::Or(a, b) => match self.eval(a)? {
                left if left.truthy() => Ok(left),
                _ => self.eval(b),
            },
            Kind::If(test, yes, no) => {
                if self.eval(test)?.truthy() {
                    self.eval(yes)
                } else {
                    self.eval(no)
                }
            }
            _ => self.eval_control(expr),
        }
    }

    fn eval_control(&mut self, expr: &'s Expr) -> Outcome<'s> {
        match &expr.kind {
            Kind::Case(case) => self.case(case),
            Kind::Seq(list) => list.iter().try_fold(Val::Nil, |_, e| self.eval(e)),
            Kind::Rescue(rescue) => self.rescue(rescue),
            Kind::Call(call) => self.call(call),
            Kind::Free { def, args } => {
                let list = self.all(args)?;
                let args = Args { list: &list, block: None, name: def.name };
                (def.checked(args)?)(self, args)
            }
            Kind::LastMatch(None) => Ok(self.last_match.map_or(Val::Nil, Val::Match)),
            Kind::LastMatch(Some(n)) => Ok(self.last_match.map_or(Val::Nil, |m| m.group(*n))),
            Kind::Next(e) => Err(Stop::Next(self.eval(e)?)),
            Kind::Break(e) => Err(Stop::Break(self.eval(e)?)),
            _ => Ok(Val::Nil),
        }
    }

    fn all(&mut self, list: &'s [Expr]) -> Outcome<'s, Vec<Val<'s>>> {
        list.iter().map(|e| self.eval(e)).collect()
    }

    fn interpolate(&mut self, parts: &'s [Expr]) -> Outcome<'s> {
        let mut out = Buf::new();
        for part in parts {
            let value = self.eval(part)?;
            text::write_s(value, &mut out)?;
        }
        self.string(out.bytes())
    }

    fn hash_literal(&mut self, pairs: &'s [(Expr, Expr)]) -> Outcome<'s> {
        let map = self.map(&[])?;
        for (key, value) in pairs {
            let (key, value) = (self.eval(key)?, self.eval(value)?);
            self.set(map, key, value)?;
        }
        Ok(Val::Hash(map))
    }

    fn range(&mut self, first: &'s Expr, last: &'s Expr, exclusive: bool) -> Outcome<'s> {
        let (first, last) = (self.eval(first)?, self.eval(last)?);
        let fits = matches!((first, last), (Val::Nil, _) | (_, Val::Nil)) || ops::compare(first, last).is_some();
        if !fits {
            return Err(Fault::argument("bad value for range").into());
        }
        self.reserve(size_of::<Span<'s>>())?;
        Ok(Val::Range(self.cx.bump.alloc(Span { first, last, exclusive })))
    }

    fn name(&mut self, name: Name) -> Outcome<'s> {
        Ok(match name {
            Name::Record => Val::Hash(self.cx.record()?),
            Name::Tag => Val::Str(self.cx.tag.tag().as_bytes()),
            Name::TagParts => self.cx.tag_list(0),
            Name::TagPrefix => self.cx.tag_list(1),
            Name::TagSuffix => self.cx.tag_list(2),
            Name::Time => Val::Time(RubyTime::local(self.cx.time)),
            Name::Hostname => Val::Str(self.cx.hostname.as_bytes()),
        })
    }

    /// Walks into the record. A scalar is found in the bytes; anything else opens the record, so that a change to it
    /// shows wherever else it is seen.
    fn path(&mut self, keys: &'s [Box<[u8]>], dig: bool) -> Outcome<'s> {
        let Some((field, below)) = keys.split_first() else { return Ok(Val::Nil) };
        if !self.cx.opened() && below.is_empty() {
            match self.cx.field(field) {
                None => return Ok(Val::Nil),
                Some(Value::Array(_) | Value::Map(_)) => {}
                Some(flat) => return Ok(load(self.cx.bump, flat)),
            }
        }
        let mut value = Val::Hash(self.cx.record()?);
        for key in keys {
            self.charge(1 + value.weight())?;
            value = match dig {
                true => lib::array::dig(self, value, &[Val::Str(key)])?,
                false => index::get(self, value, &[Val::Str(key)])?,
            };
        }
        Ok(value)
    }

    fn spread(&mut self, slots: &[usize], value: &'s Expr) -> Outcome<'s> {
        let value = self.eval(value)?;
        for (n, slot) in slots.iter().enumerate() {
            self.slots[*slot] = match value {
                Val::Array(a) => a.get(n).unwrap_or(Val::Nil),
                other if n == 0 => other,
                _ => Val::Nil,
            };
        }
        Ok(value)
    }

    fn index(&mut self, of: &'s Expr, args: &'s [Expr], safe: bool) -> Outcome<'s> {
        let of = self.eval(of)?;
        if safe && matches!(of, Val::Nil) {
            return Ok(Val::Nil);
        }
        let args = self.all(args)?;
        self.charge(of.weight())?;
        index::get(self, of, &args)
    }

    fn index_assign(&mut self, place: &'s Place, value: &'s Expr) -> Outcome<'s> {
        let of = self.eval(&place.of)?;
        let args = self.all(&place.args)?;
        let value = self.eval(value)?;
        index::put(self, of, &args, value)?;
        Ok(value)
    }

    fn index_update(&mut self, place: &'s Place, update: Update, value: &'s Expr) -> Outcome<'s> {
        let of = self.eval(&place.of)?;
        let args = self.all(&place.args)?;
        let old = index::get(self, of, &args)?;
        let new = match update {
            Update::Or if old.truthy() => return Ok(old),
            Update::And if !old.truthy() => return Ok(old),
            Update::Or | Update::And => self.eval(value)?,
            Update::Op(op) => {
                let right = self.eval(value)?;
                ops::binary(self, op, old, right)?
            }
            Update::Append => {
                let right = self.eval(value)?;
                let new = ops::binary(self, Op::Shl, old, right)?;
                if old.text().is_none() {
                    return Ok(new);
                }
                new
            }
        };
        index::put(self, of, &args, new)?;
        Ok(new)
    }

    fn match_assign(&mut self, pattern: &'s Expr, subject: &'s Expr, groups: &[(usize, usize)]) -> Outcome<'s> {
        let (pattern, subject) = (self.eval(pattern)?, self.eval(subject)?);
        let found = ops::binary(self, Op::Match, pattern, subject)?;
        for (group, slot) in groups {
            self.slots[*slot] = match self.last_match {
                Some(m) if found.truthy() => m.group(*group),
                _ => Val::Nil,
            };
        }
        Ok(found)
    }

    fn case(&mut self, case: &'s Case) -> Outcome<'s> {
        let subject = match &case.subject {
            Some(e) => Some(self.eval(e)?),
            None => None,
        };
        for (tests, body) in &case.whens {
            for test in tests {
                let test = self.eval(test)?;
                let hit = match subject {
                    Some(subject) => ops::case_eq(self, test, subject)?,
                    None => test.truthy(),
                };
                if hit {
                    return self.eval(body);
                }
            }
        }
        self.eval(&case.otherwise)
    }

    fn rescue(&mut self, rescue: &'s Rescue) -> Outcome<'s> {
        let fault = match self.eval(&rescue.body) {
            Err(Stop::Fault(fault)) => fault,
            other => return other,
        };
        for clause in &rescue.clauses {
            let named = clause.classes.iter().any(|name| rescues(name, fault.class));
            if named || (clause.classes.is_empty() && rescues("StandardError", fault.class)) {
                if let Some(slot) = clause.slot {
                    let message = self.keep(fault.message.as_bytes())?;
                    self.slots[slot] = Val::Error(fault.class, message);
                }
                return self.eval(&clause.body);
            }
        }
        Err(Stop::Fault(fault))
    }

    fn call(&mut self, call: &'s Call) -> Outcome<'s> {
        let me = self.eval(&call.on)?;
        if call.safe && matches!(me, Val::Nil) {
            return Ok(Val::Nil);
        }
        let args = self.all(&call.args)?;
        match self.send(&call.method, me, &args, call.block.as_ref()) {
            Err(Stop::Break(value)) if call.block.is_some() => Ok(value),
            other => other,
        }
    }

    /// Runs a block.
    pub(super) fn run(&mut self, block: &'s Block, args: &[Val<'s>]) -> Outcome<'s> {
        self.charge(1)?;
        match block {
            Block::Code(code) => self.run_code(code, args),
            Block::Method(method) => match args {
                [me, rest @ ..] => self.send(method, *me, rest, None),
                [] => Err(Fault::argument("no receiver given").into()),
            },
            Block::Op(op) => match args {
                [left, right] => ops::binary(self, *op, *left, *right),
                [one, ..] => Err(no_method(op.sign(), *one).into()),
                [] => Err(Fault::argument("no receiver given").into()),
            },
        }
    }

    /// Runs a block and tells whether it gave something true.
    pub(super) fn test(&mut self, block: &'s Block, args: &[Val<'s>]) -> Outcome<'s, bool> {
        Ok(self.run(block, args)?.truthy())
    }

    fn run_code(&mut self, code: &'s CodeBlock, args: &[Val<'s>]) -> Outcome<'s> {
        self.slots[code.own.clone()].fill(Val::Nil);
        match args {
            // One array for several parameters is taken apart.
            [Val::Array(a)] if code.params.len() > 1 => self.bind(&code.params, &a.items()),
            _ => self.bind(&code.params, args),
        }
        match self.eval(&code.body) {
            Err(Stop::Next(value)) => Ok(value),
            other => other,
        }
    }

    fn bind(&mut self, params: &[Param], values: &[Val<'s>]) {
        for (n, param) in params.iter().enumerate() {
            let value = values.get(n).copied().unwrap_or(Val::Nil);
            match (param, value) {
                (Param::Slot(slot), value) => self.slots[*slot] = value,
                (Param::Group(group), Val::Array(a)) => self.bind(group, &a.items()),
                (Param::Group(group), value) => self.bind(group, &[value]),
            }
        }
    }
}

/// Refuses a container of more than [`MAX_ELEMENTS`].
pub(super) fn check_elements(len: usize) -> Checked<()> {
    if len <= MAX_ELEMENTS {
        return Ok(());
    }
    Err(Fault::limit(format!("an array or hash would have more than {MAX_ELEMENTS} elements")))
}
