//! Tags: the dotted names that events are routed by.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Longest tag that is taken from a client, in bytes; longer ones are refused at the input.
pub const MAX_TAG_BYTES: usize = 1024;

/// A tag. Cloning is a reference count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the dots. Ruby's `split`: empty parts at the end are left out.
    pub fn parts(&self) -> Vec<&str> {
        let mut parts: Vec<&str> = self.0.split('.').collect();
        while parts.last().is_some_and(|p| p.is_empty()) {
            parts.pop();
        }
        parts
    }

    /// Part `index`, counted from the end when negative (`-1` is the last).
    pub fn part(&self, index: isize) -> Option<&str> {
        let parts = self.parts();
        let at = if index < 0 { parts.len().checked_add_signed(index)? } else { index.unsigned_abs() };
        parts.get(at).copied()
    }
}

impl From<&str> for Tag {
    fn from(s: &str) -> Tag {
        Tag(Arc::from(s))
    }
}

impl From<String> for Tag {
    fn from(s: String) -> Tag {
        Tag(Arc::from(s))
    }
}

impl Deref for Tag {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_from_both_ends() {
        let t = Tag::from("a.b.c");
        assert_eq!(t.part(1), Some("b"));
        assert_eq!(t.part(-1), Some("c"));
        assert_eq!(t.part(3), None);
        assert_eq!(t.part(-4), None);
        assert_eq!(Tag::from("a..").parts(), ["a"]);
    }
}
