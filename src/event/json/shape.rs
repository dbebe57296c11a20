//! The names of the record before: what comes in a row mostly has the same fields in the same order. Where the bytes of the
//! next name are those that were there the last time, they are not taken apart again: what became of them then is copied.

use crate::event::known::{Known, Others, USUAL};

/// How many of the expected names may be left out in a row.
const AHEAD: usize = 4;

/// Most names that are kept.
const MOST: usize = 64;

/// A name, and what it becomes.
pub(super) struct Name {
    /// In JSON that is read with all that stands before it and behind it, up to the values: the bracket or the comma, the
    /// colon, white space. In JSON that is printed with its quotes and the colon.
    pub(super) from: Known,
    pub(super) to: Known,
}

/// The names that are expected, in order.
#[derive(Default)]
pub(in crate::event) struct Shape {
    names: Vec<Name>,
    others: Others,
}

impl Shape {
    /// The name expected at `place`.
    #[inline(always)]
    pub(super) fn at(&self, place: usize) -> Option<&Name> {
        self.names.get(place)
    }

    /// The place of the name at the start of `bytes`, where some of those expected from `place` on are left out.
    #[inline(never)]
    pub(super) fn further(&self, place: usize, bytes: &[u8]) -> Option<usize> {
        (place + 1..=place + AHEAD).find(|place| self.at(*place).is_some_and(|name| name.from.begins(bytes)))
    }

    /// Notes that a record has other names from `place` on. True if they are to be [`add`](Self::add)ed.
    #[cold]
    pub(super) fn differs(&mut self, place: usize) -> bool {
        let learns = self.others.learn();
        if learns {
            self.names.truncate(place);
        }
        learns
    }

    /// Whether one of the names becomes these bytes.
    fn becomes(&self, bytes: &[u8]) -> bool {
        self.names.iter().any(|name| name.to.bytes() == bytes)
    }

    /// Expects a name behind the others; gives its place. `None` if it can't be, for it is long or one of many.
    #[cold]
    pub(super) fn add(&mut self, from: &[u8], to: &[u8]) -> Option<usize> {
        let place = self.names.len();
        if place == MOST {
            return None;
        }
        let name = Name { from: Known::new(from)?, to: Known::new(to)? };
        if place == 0 {
            self.names.reserve(USUAL);
        }
        self.names.push(name);
        Some(place)
    }
}

/// The names of objects that are read to MessagePack but for one field.
#[derive(Default)]
pub(in crate::event) struct Expected {
    pub(super) shape: Shape,
    /// The name of the field apart, and its place.
    apart: Vec<u8>,
    pub(super) apart_at: Option<usize>,
}

impl Expected {
    /// For objects without the field `apart`.
    #[inline(always)]
    pub(in crate::event) fn without(self, apart: &[u8]) -> Expected {
        if self.is_apart(apart) { self } else { Expected { apart: apart.to_vec(), ..Expected::default() } }
    }

    /// Whether this is the name of the field apart.
    #[inline(always)]
    pub(super) fn is_apart(&self, name: &[u8]) -> bool {
        self.apart == name
    }

    /// As [`Shape::differs`].
    pub(super) fn differs(&mut self, place: usize) -> bool {
        let learns = self.shape.differs(place);
        self.apart_at = self.apart_at.filter(|at| !learns || *at < place);
        learns
    }

    /// As [`Shape::add`], of a name in JSON that becomes `code`. One that is expected already can't be twice: where names are
    /// as expected nobody looks for those that are repeated.
    pub(super) fn add(&mut self, text: &[u8], code: &[u8], apart: bool) -> bool {
        let place = if self.shape.becomes(code) { None } else { self.shape.add(text, code) };
        if apart && place.is_some() {
            self.apart_at = place;
        }
        place.is_some()
    }
}
