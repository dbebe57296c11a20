//! Values at run time. All of them live in one event's scratch memory and go away together, so they are plain copies:
//! nothing is counted, and neither a deep nor a cyclic structure costs anything to let go.

use std::cell::{Cell, Ref, RefCell};

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;

use super::bridge::CompiledRegex;
use super::clock::RubyTime;
use super::limits::{MAX_DEPTH, MAX_VALUES, MAX_VISITS};
use super::ops;
use crate::event::Value;

/// A value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Val<'s> {
    Nil,
    Bool(bool),
    /// Ruby's integers have no end; these have 128 bits, and what doesn't fit is an error.
    Int(i128),
    Float(f64),
    Str(&'s [u8]),
    /// A string of bytes: a string in every way, but it stays MessagePack `bin` on its way out.
    Bin(&'s [u8]),
    Sym(&'s [u8]),
    Array(Arr<'s>),
    Hash(Map<'s>),
    Range(&'s Span<'s>),
    Regex(Pattern<'s>),
    Match(&'s Matched<'s>),
    Time(RubyTime),
    Class(&'static str),
    /// What `rescue => e` gives: class and message.
    Error(&'static str, &'s [u8]),
    Ext(i8, &'s [u8]),
}

/// A regular expression and the text it was written as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern<'s> {
    pub(super) regex: &'s dyn CompiledRegex,
    pub(super) source: &'s [u8],
}

/// A range; `Nil` stands for an open end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'s> {
    pub(super) first: Val<'s>,
    pub(super) last: Val<'s>,
    pub(super) exclusive: bool,
}

/// What a regular expression found.
#[derive(Debug)]
pub(super) struct Matched<'s> {
    pub(super) text: &'s [u8],
    pub(super) spans: &'s [Option<(usize, usize)>],
    pub(super) names: &'s [Option<String>],
}

impl<'s> Matched<'s> {
    pub(super) fn group(&self, n: usize) -> Val<'s> {
        match self.spans.get(n) {
            Some(Some((from, to))) => Val::Str(&self.text[*from..*to]),
            _ => Val::Nil,
        }
    }

    /// The group of that name; `None` when the expression has no such group.
    pub(super) fn named(&self, name: &[u8]) -> Option<Val<'s>> {
        let at = self.names.iter().rposition(|n| n.as_ref().is_some_and(|n| n.as_bytes() == name))?;
        Some(self.group(at))
    }
}

pub(super) type Arr<'s> = &'s ArrayObj<'s>;
pub(super) type Map<'s> = &'s MapObj<'s>;
pub(super) type Pair<'s> = (Val<'s>, Val<'s>);

/// An array. It begins as MessagePack bytes when it comes from a record, and is opened, one level, on first use.
pub(super) struct ArrayObj<'s> {
    bump: &'s Bump,
    raw: Cell<Option<&'s [u8]>>,
    items: RefCell<BumpVec<'s, Val<'s>>>,
    changed: Cell<bool>,
}

/// A hash: pairs in order. Opened on first use, as an array is.
pub(super) struct MapObj<'s> {
    bump: &'s Bump,
    raw: Cell<Option<&'s [u8]>>,
    pairs: RefCell<BumpVec<'s, Pair<'s>>>,
    changed: Cell<bool>,
}

impl std::fmt::Debug for ArrayObj<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Array({})", self.len())
    }
}

impl std::fmt::Debug for MapObj<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hash({})", self.len())
    }
}

/// How far a walk through values that may be linked to themselves still goes.
pub(super) struct Walk {
    visits: usize,
    depth: usize,
}

impl Walk {
    pub(super) fn new() -> Walk {
        Walk { visits: MAX_VISITS, depth: MAX_DEPTH }
    }

    /// Takes visits off what is left, if there are as many.
    pub(super) fn afford(&mut self, visits: usize) -> bool {
        let left = self.visits.checked_sub(visits);
        self.visits = left.unwrap_or(0);
        left.is_some()
    }

    /// Goes a level deeper; where that is too deep, or too much was seen, gives `end`.
    pub(super) fn deeper<T>(&mut self, end: T, go: impl FnOnce(&mut Walk) -> T) -> T {
        if self.visits == 0 || self.depth == 0 {
            return end;
        }
        self.visits -= 1;
        self.depth -= 1;
        let result = go(self);
        self.depth += 1;
        result
    }
}

/// Counts the values in a container, at every depth; gives `None` past [`MAX_VALUES`].
pub(super) fn count_values(value: Value<'_>) -> Option<usize> {
    fn count(value: Value<'_>, left: &mut usize) -> Option<()> {
        *left = left.checked_sub(1)?;
        let below = value.pairs().flat_map(|(k, v)| [k, v]).chain(value.items());
        below.into_iter().try_for_each(|v| count(v, left))
    }
    let mut left = MAX_VALUES;
    count(value, &mut left)?;
    Some(MAX_VALUES - left)
}

/// A record's value as a value here. Containers stay closed.
pub(super) fn load<'s>(bump: &'s Bump, value: Value<'s>) -> Val<'s> {
    match value {
        Value::Nil => Val::Nil,
        Value::Bool(v) => Val::Bool(v),
        Value::Int(v) => Val::Int(v.into()),
        Value::UInt(v) => Val::Int(v.into()),
        Value::Float(v) => Val::Float(v),
        Value::Str(v) => Val::Str(v),
        Value::Bin(v) => Val::Bin(v),
        Value::Ext(kind, v) => Val::Ext(kind, v),
        Value::Array(raw) => Val::Array(ArrayObj::closed(bump, raw)),
        Value::Map(raw) => Val::Hash(MapObj::closed(bump, raw)),
    }
}

impl<'s> ArrayObj<'s> {
    fn closed(bump: &'s Bump, raw: &'s [u8]) -> Arr<'s> {
        let items = RefCell::new(BumpVec::new_in(bump));
        bump.alloc(ArrayObj { bump, raw: Cell::new(Some(raw)), items, changed: Cell::new(false) })
    }

    pub(super) fn from_vec(bump: &'s Bump, items: BumpVec<'s, Val<'s>>) -> Arr<'s> {
        bump.alloc(ArrayObj { bump, raw: Cell::new(None), items: RefCell::new(items), changed: Cell::new(false) })
    }

    fn open(&self) {
        if let Some(raw) = self.raw.take() {
            self.items.borrow_mut().extend(Value::Array(raw).items().map(|v| load(self.bump, v)));
        }
    }

    /// The encoded form, as long as nobody looked inside.
    pub(super) fn raw(&self) -> Option<&'s [u8]> {
        self.raw.get()
    }

    /// The elements. Let go of them before a block runs: it may change the array.
    pub(super) fn items(&self) -> Ref<'_, BumpVec<'s, Val<'s>>> {
        self.open();
        self.items.borrow()
    }

    /// A copy of the elements as they are now.
    pub(super) fn to_vec(&self) -> Vec<Val<'s>> {
        self.items().to_vec()
    }

    pub(super) fn get(&self, at: usize) -> Option<Val<'s>> {
        self.items().get(at).copied()
    }

    pub(super) fn len(&self) -> usize {
        match self.raw.get() {
            Some(raw) => Value::Array(raw).items().remaining(),
            None => self.items.borrow().len(),
        }
    }

    /// Changes the elements in place.
    pub(super) fn change<T>(&self, edit: impl FnOnce(&mut BumpVec<'s, Val<'s>>) -> T) -> T {
        self.open();
        self.changed.set(true);
        edit(&mut self.items.borrow_mut())
    }

    fn dirty(&self, walk: &mut Walk) -> bool {
        self.changed.get() || self.items.borrow().iter().any(|v| v.dirty(walk))
    }
}

impl<'s> MapObj<'s> {
    fn closed(bump: &'s Bump, raw: &'s [u8]) -> Map<'s> {
        let pairs = RefCell::new(BumpVec::new_in(bump));
        bump.alloc(MapObj { bump, raw: Cell::new(Some(raw)), pairs, changed: Cell::new(false) })
    }

    pub(super) fn from_vec(bump: &'s Bump, pairs: BumpVec<'s, Pair<'s>>) -> Map<'s> {
        bump.alloc(MapObj { bump, raw: Cell::new(None), pairs: RefCell::new(pairs), changed: Cell::new(false) })
    }

    fn open(&self) {
        let Some(raw) = self.raw.take() else { return };
        let mut pairs = self.pairs.borrow_mut();
        for (key, value) in Value::Map(raw).pairs() {
            pairs.push((load(self.bump, key), load(self.bump, value)));
        }
    }

    /// The encoded form, as long as nobody looked inside.
    pub(super) fn raw(&self) -> Option<&'s [u8]> {
        self.raw.get()
    }

    /// The pairs. Let go of them before a block runs: it may change the hash.
    pub(super) fn pairs(&self) -> Ref<'_, BumpVec<'s, Pair<'s>>> {
        self.open();
        self.pairs.borrow()
    }

    /// A copy of the pairs as they are now.
    pub(super) fn snapshot(&self) -> &'s [Pair<'s>] {
        self.bump.alloc_slice_copy(&self.pairs())
    }

    pub(super) fn len(&self) -> usize {
        match self.raw.get() {
            Some(raw) => Value::Map(raw).pairs().remaining(),
            None => self.pairs.borrow().len(),
        }
    }

    fn position(&self, key: Val<'s>) -> Option<usize> {
        self.pairs().iter().position(|(k, _)| ops::eql(*k, key))
    }

    pub(super) fn get(&self, key: Val<'s>) -> Option<Val<'s>> {
        let pairs = self.pairs();
        pairs.iter().find(|(k, _)| ops::eql(*k, key)).map(|(_, v)| *v)
    }

    pub(super) fn contains(&self, key: Val<'s>) -> bool {
        self.position(key).is_some()
    }

    pub(super) fn insert(&self, key: Val<'s>, value: Val<'s>) {
        self.changed.set(true);
        let at = self.position(key);
        let mut pairs = self.pairs.borrow_mut();
        match at {
            Some(at) => pairs[at].1 = value,
            None => pairs.push((key, value)),
        }
    }

    pub(super) fn remove(&self, key: Val<'s>) -> Option<Val<'s>> {
        let at = self.position(key)?;
        self.changed.set(true);
        Some(self.pairs.borrow_mut().remove(at).1)
    }

    /// Puts other pairs in the place of all that are there.
    pub(super) fn replace(&self, pairs: BumpVec<'s, Pair<'s>>) {
        self.raw.set(None);
        self.changed.set(true);
        *self.pairs.borrow_mut() = pairs;
    }

    fn dirty(&self, walk: &mut Walk) -> bool {
        self.changed.get() || self.pairs.borrow().iter().any(|(_, v)| v.dirty(walk))
    }
}

impl<'s> Val<'s> {
    /// Everything but nil and false is true.
    pub(super) fn truthy(self) -> bool {
        !matches!(self, Val::Nil | Val::Bool(false))
    }

    /// The bytes of a string.
    pub(super) fn text(self) -> Option<&'s [u8]> {
        match self {
            Val::Str(text) | Val::Bin(text) => Some(text),
            _ => None,
        }
    }

    /// The name of its class.
    pub(super) fn class(self) -> &'static str {
        match self {
            Val::Nil => "NilClass",
            Val::Bool(true) => "TrueClass",
            Val::Bool(false) => "FalseClass",
            Val::Int(_) => "Integer",
            Val::Float(_) => "Float",
            Val::Str(_) | Val::Bin(_) => "String",
            Val::Sym(_) => "Symbol",
            Val::Array(_) => "Array",
            Val::Hash(_) => "Hash",
            Val::Range(_) => "Range",
            Val::Regex(_) => "Regexp",
            Val::Match(_) => "MatchData",
            Val::Time(_) => "Time",
            Val::Class(_) => "Class",
            Val::Error(class, _) => class,
            Val::Ext(..) => "MessagePack::ExtensionValue",
        }
    }

    /// How an error message names it: `nil`, or `an instance of String`.
    pub(super) fn described(self) -> String {
        match self {
            Val::Nil => "nil".into(),
            Val::Bool(v) => v.to_string(),
            Val::Class(name) => format!("class {name}"),
            other => format!("an instance of {}", other.class()),
        }
    }

    /// Whether it is a container that was changed in place, itself or anywhere below.
    pub(super) fn changed(self) -> bool {
        self.dirty(&mut Walk::new())
    }

    /// A structure too large or too entangled to walk counts as changed: writing it out then tells what is wrong with it.
    fn dirty(self, walk: &mut Walk) -> bool {
        match self {
            Val::Array(a) => walk.deeper(true, |walk| a.dirty(walk)),
            Val::Hash(h) => walk.deeper(true, |walk| h.dirty(walk)),
            _ => false,
        }
    }

    /// About how many elements or 64-byte blocks it has: what a method on it may cost.
    pub(super) fn weight(self) -> usize {
        match self {
            Val::Str(t) | Val::Bin(t) => t.len() / 64,
            Val::Array(a) => a.len() / 4,
            Val::Hash(h) => h.len() / 4,
            _ => 0,
        }
    }
}
