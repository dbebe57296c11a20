//! Handing over what serde's data model has no word for: a place, a whole section, pairs with places.
//!
//! The type that wants one asks for a newtype struct of a name below. The deserializer here knows the name, puts the thing
//! into a slot of the thread and calls the visitor, which takes it out at once. Any other deserializer leaves the slot empty.

use std::cell::RefCell;

use crate::config::section::Section;
use crate::config::span::Span;
use crate::config::types::Pairs;

pub(in crate::config) const SPANNED: &str = "$suiro::Spanned";
pub(in crate::config) const SECTION: &str = "$suiro::Section";
pub(in crate::config) const PAIRS: &str = "$suiro::Pairs";
/// Asks for an `i64` of bytes.
pub(in crate::config) const SIZE: &str = "$suiro::Size";
/// Asks for an `f64` of seconds.
pub(in crate::config) const TIME: &str = "$suiro::TimeSpan";

pub(in crate::config) enum Handed {
    #[allow(dead_code, reason = "plugins that point at a value of their own will name it")]
    Span(Span),
    Section(Section),
    Pairs(Pairs),
}

thread_local! {
    static SLOT: RefCell<Option<Handed>> = const { RefCell::new(None) };
}

pub(super) fn put(handed: Handed) {
    SLOT.with_borrow_mut(|slot| *slot = Some(handed));
}

pub(in crate::config) fn take() -> Option<Handed> {
    SLOT.with_borrow_mut(Option::take)
}
