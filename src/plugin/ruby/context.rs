//! What an event offers to an expression, and the memory that expressions on it share.

use std::cell::{Cell, OnceCell};

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;

use super::error::{Checked, Fault};
use super::limits::{MAX_DEPTH, MAX_VALUES};
use super::text;
use super::value::{MapObj, Pair, Val, count_values, load};
use crate::event::{Arena, EventTime, Record, Tag, Value};

/// Memory that is kept from one event to the next, in bytes.
const KEPT_BYTES: usize = 1 << 20;

/// Memory for the values of one event's expressions; cleared for the next event, kept for the next batch.
#[derive(Default)]
pub struct Scratch(Bump);

impl Scratch {
    /// Empty memory.
    pub fn new() -> Scratch {
        Scratch(Bump::new())
    }

    /// Forgets everything; the memory is used again, unless it was unusually much.
    pub fn reset(&mut self) {
        if self.0.allocated_bytes() > KEPT_BYTES {
            self.0 = Bump::new();
        } else {
            self.0.reset();
        }
    }
}

/// A tag with what Fluentd derives from it. Made once per tag; taken apart when an expression asks.
#[derive(Clone, Debug)]
pub struct TagInfo {
    tag: Tag,
    /// Byte ranges of the parts in the tag.
    parts: OnceCell<Vec<(usize, usize)>>,
}

impl TagInfo {
    /// For a tag.
    pub fn new(tag: &Tag) -> TagInfo {
        TagInfo { tag: tag.clone(), parts: OnceCell::new() }
    }

    /// The whole tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Takes the tag apart at its dots, as Ruby's `split('.')` does: empty parts at the end are left out.
    fn parts(&self) -> &[(usize, usize)] {
        self.parts.get_or_init(|| {
            let (mut parts, mut at) = (Vec::new(), 0);
            for part in self.tag.split('.') {
                parts.push((at, at + part.len()));
                at += part.len() + 1;
            }
            while parts.last().is_some_and(|(from, to)| from == to) {
                parts.pop();
            }
            parts
        })
    }

    fn range(&self, index: i64) -> Option<(usize, usize)> {
        let len = self.parts().len() as i64;
        let at = if index < 0 { index.checked_add(len)? } else { index };
        self.parts().get(usize::try_from(at).ok()?).copied()
    }

    fn end(&self) -> usize {
        self.parts().last().map_or(0, |p| p.1)
    }

    /// `tag_parts[index]`; negative counts from the end.
    pub fn part(&self, index: i64) -> Option<&str> {
        self.range(index).map(|(from, to)| &self.tag[from..to])
    }

    /// `tag_prefix[index]`: the parts up to and including `index`.
    pub fn prefix(&self, index: i64) -> Option<&str> {
        self.range(index).map(|(_, to)| &self.tag[..to])
    }

    /// `tag_suffix[index]`: the parts from `index` to the last.
    pub fn suffix(&self, index: i64) -> Option<&str> {
        self.range(index).map(|(from, _)| &self.tag[from..self.end()])
    }

    fn all(&self) -> impl Iterator<Item = i64> {
        0..self.parts().len() as i64
    }
}

/// One event, as its expressions see it: `'s` is its scratch, `'a` the bytes of its record and of what comes out.
#[derive(Clone, Copy)]
pub struct Context<'s, 'a> {
    pub(super) inner: &'s Inner<'s>,
    /// The record again, for values that go out as they came in.
    pub(super) fields: &'s Record<'a>,
}

/// Where the pieces of an event are kept, and what was made of them so far.
pub(super) struct Inner<'s> {
    pub(super) bump: &'s Bump,
    pub(super) tag: &'s TagInfo,
    pub(super) hostname: &'s str,
    pub(super) time: EventTime,
    fields: &'s Record<'s>,
    record: OnceCell<Opened<'s>>,
    lists: [Cell<Option<Val<'s>>>; 3],
    notice: Option<&'s dyn Fn(&str)>,
}

/// The record as a hash, and the pairs that it had at first.
#[derive(Clone, Copy)]
struct Opened<'s> {
    map: &'s MapObj<'s>,
    first: &'s [Pair<'s>],
}

impl<'s, 'a> Context<'s, 'a> {
    /// For one event.
    pub fn new(
        scratch: &'s Scratch,
        tag: &'s TagInfo,
        hostname: &'s str,
        time: EventTime,
        fields: &'s Record<'a>,
    ) -> Context<'s, 'a> {
        let (lists, notice, bump, record) = (Default::default(), None, &scratch.0, OnceCell::new());
        Context { inner: bump.alloc(Inner { bump, tag, hostname, time, fields, record, lists, notice }), fields }
    }

    /// The same event, with somebody to tell about placeholders that name nothing (`${unknown}` without Ruby). Fluentd
    /// warns of each.
    pub fn with_notice(self, notice: &'s dyn Fn(&str)) -> Context<'s, 'a> {
        let Inner { bump, tag, hostname, time, fields, .. } = *self.inner;
        let (lists, notice, record) = (Default::default(), Some(notice), OnceCell::new());
        Context { inner: bump.alloc(Inner { bump, tag, hostname, time, fields, record, lists, notice }), ..self }
    }

    /// The fields whose hashes or arrays an expression changed in place (`record["k"].delete("x")`).
    ///
    /// In Fluentd the outgoing record shares them, so such a change shows there; a caller that wants the same sets these
    /// fields before the expanded ones. Empty when nothing was changed, which costs nothing to find out.
    ///
    /// Errors: the changed value is nested too deep or is too big.
    pub fn changed<'o>(&self, arena: &'o Arena) -> Result<Vec<(&'s [u8], Value<'o>)>, String> {
        let Some(opened) = self.inner.record.get() else { return Ok(Vec::new()) };
        let mut changed = Vec::new();
        for (key, value) in opened.first {
            if let (Val::Str(name), true) = (*key, value.changed()) {
                changed.push((name, export(*value, arena).map_err(|fault| fault.message)?));
            }
        }
        Ok(changed)
    }
}

impl<'s> Inner<'s> {
    /// A field of the record as it came in.
    pub(super) fn field(&self, name: &[u8]) -> Option<Value<'s>> {
        self.fields.get(name)
    }

    pub(super) fn notice(&self, placeholder: &str) {
        if let Some(notice) = self.notice {
            notice(placeholder);
        }
    }

    /// Whether the record was opened: from then on its hash is what counts, for it may have been changed.
    pub(super) fn opened(&self) -> bool {
        self.record.get().is_some()
    }

    pub(super) fn record(&self) -> Checked<&'s MapObj<'s>> {
        if let Some(opened) = self.record.get() {
            return Ok(opened.map);
        }
        self.check_size()?;
        Ok(self.record.get_or_init(|| self.open()).map)
    }

    /// An opened value takes tens of bytes where a record has one or two: a record of very many is refused.
    fn check_size(&self) -> Checked<()> {
        let containers = self.fields.iter().filter_map(|(_, v)| match v {
            Value::Array(raw) | Value::Map(raw) => Some((*v, raw.len())),
            _ => None,
        });
        let mut values = self.fields.len();
        for (value, bytes) in containers {
            // No more values than bytes: small containers need no count.
            values += if bytes < 4096 { bytes } else { count_values(value).unwrap_or(MAX_VALUES) };
        }
        if values < MAX_VALUES {
            Ok(())
        } else {
            Err(Fault::limit(format!("the record has more than {MAX_VALUES} values")))
        }
    }

    fn open(&self) -> Opened<'s> {
        let mut pairs = BumpVec::with_capacity_in(self.fields.len(), self.bump);
        pairs.extend(self.fields.iter().map(|(name, value)| (Val::Str(name), load(self.bump, *value))));
        let first = self.bump.alloc_slice_copy(&pairs);
        Opened { map: MapObj::from_vec(self.bump, pairs), first }
    }

    /// `tag_parts`, `tag_prefix` or `tag_suffix` (0, 1, 2).
    pub(super) fn tag_list(&self, which: usize) -> Val<'s> {
        if let Some(list) = self.lists[which].get() {
            return list;
        }
        let of = |i| match which {
            0 => self.tag.part(i),
            1 => self.tag.prefix(i),
            _ => self.tag.suffix(i),
        };
        let mut items = BumpVec::new_in(self.bump);
        items.extend(self.tag.all().filter_map(of).map(|part| Val::Str(part.as_bytes())));
        let list = Val::Array(super::value::ArrayObj::from_vec(self.bump, items));
        self.lists[which].set(Some(list));
        list
    }
}

/// A value from MessagePack bytes made here.
pub(super) fn open_packed<'s>(bump: &'s Bump, packed: &'s [u8]) -> Checked<Val<'s>> {
    let value = Value::decode(packed).map_err(|e| Fault::argument(e.to_string()))?;
    match count_values(value) {
        Some(_) => Ok(load(bump, value)),
        None => Err(Fault::limit(format!("the JSON text has more than {MAX_VALUES} values"))),
    }
}

/// A value as a record holds it, copied into the arena. What MessagePack has no form for becomes its text.
pub(super) fn export<'o>(value: Val<'_>, arena: &'o Arena) -> Checked<Value<'o>> {
    Ok(match value {
        Val::Nil => Value::Nil,
        Val::Bool(v) => Value::Bool(v),
        Val::Int(n) => text::integer(n)?,
        Val::Float(f) => Value::Float(f),
        Val::Str(t) | Val::Sym(t) => arena.str(t),
        Val::Bin(t) => Value::Bin(arena.bytes(t)),
        Val::Ext(kind, data) => Value::Ext(kind, arena.bytes(data)),
        Val::Array(a) if let Some(raw) = a.raw() => Value::Array(arena.bytes(raw)),
        Val::Hash(h) if let Some(raw) = h.raw() => Value::Map(arena.bytes(raw)),
        Val::Array(_) | Val::Hash(_) => export_container(value, arena)?,
        other => arena.str(text::to_s(other)?),
    })
}

fn export_container<'o>(value: Val<'_>, arena: &'o Arena) -> Checked<Value<'o>> {
    let mut out = Vec::new();
    text::encode(value, &mut out, MAX_DEPTH)?;
    let bytes = arena.bytes(&out);
    Value::decode(bytes).map_err(|e| Fault::argument(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_gives_parts_prefixes_and_suffixes_from_both_ends() {
        let info = TagInfo::new(&Tag::from("prefix.test.tag.suffix"));
        assert_eq!(info.part(-1), Some("suffix"));
        assert_eq!(info.prefix(1), Some("prefix.test"));
        assert_eq!(info.prefix(-2), Some("prefix.test.tag"));
        assert_eq!(info.suffix(2), Some("tag.suffix"));
        assert_eq!(info.suffix(-3), Some("test.tag.suffix"));
        assert_eq!(info.suffix(4), None);
        assert_eq!(info.part(i64::MIN), None);
    }

    #[test]
    fn empty_parts_at_the_end_of_a_tag_are_left_out() {
        let info = TagInfo::new(&Tag::from("a.b.."));
        assert_eq!((info.part(-1), info.suffix(0)), (Some("b"), Some("a.b")));
        assert_eq!(TagInfo::new(&Tag::from("")).part(0), None);
    }
}
