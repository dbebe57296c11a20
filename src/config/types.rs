//! Types of parameters beyond Rust's own. A plugin's struct uses them for its fields; see [`super::de`].

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::de::handoff::{self, Handed};
use super::regexp::Regexp;
use super::secret::Secret;
use super::section::{Section, Value};
use super::span::Span;

/// A number of bytes: `64k`, `8m`, `1g`, `2t` (powers of 1024, either case), or a plain integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

impl Size {
    /// `n` times 1024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` times 1024 × 1024 bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` times 1024³ bytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// The bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The bytes as a length in memory.
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether it is zero.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A number of bytes, or none: a negative number means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SizeLimit(pub Option<u64>);

/// A length of time in seconds: `10s`, `5m`, `1h`, `7d`, or a float.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct TimeSpan(f64);

impl TimeSpan {
    /// So many seconds.
    pub const fn secs(seconds: f64) -> Self {
        Self(seconds)
    }

    /// The seconds, as written: may be negative.
    pub const fn seconds(self) -> f64 {
        self.0
    }

    /// The seconds as a duration; a negative time is zero, an absurdly long one the longest there is.
    pub fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0.max(0.0)).unwrap_or(Duration::MAX)
    }
}

/// A value with the place where it is written.
#[derive(Debug, Clone, Default)]
#[allow(dead_code, reason = "plugins that point at a value of their own will name it")]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands; nowhere for a default.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value that no file holds: a default.
    #[allow(dead_code, reason = "plugins that point at a value of their own will name it")]
    pub fn nowhere(value: T) -> Self {
        Self { value, span: Span::nowhere() }
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The parameters of a free-form section such as `<record>`, or the entries of a hash parameter, in the order written.
#[derive(Debug, Clone, Default)]
pub struct Pairs(Vec<Pair>);

/// One entry of [`Pairs`].
#[derive(Debug, Clone)]
pub struct Pair {
    /// The name.
    pub name: String,
    /// The value: its text, and how it was written.
    pub value: Value,
    /// Where the value stands.
    pub span: Span,
}

impl Pair {
    /// The value's text; nil is empty.
    pub fn text(&self) -> &str {
        self.value.text().unwrap_or("")
    }
}

impl Pairs {
    /// In the order written.
    pub fn iter(&self) -> std::slice::Iter<'_, Pair> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The text of the entry `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|pair| pair.name == name)?.value.text()
    }
}

impl FromIterator<Pair> for Pairs {
    fn from_iter<I: IntoIterator<Item = Pair>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl IntoIterator for Pairs {
    type Item = Pair;
    type IntoIter = std::vec::IntoIter<Pair>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Pairs {
    type Item = &'a Pair;
    type IntoIter = std::slice::Iter<'a, Pair>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as 64k")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<i64, E> {
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_newtype_struct(handoff::SIZE, SizeVisitor)?;
        u64::try_from(bytes).map(Self).map_err(|_| D::Error::custom(format!("{bytes} must not be negative")))
    }
}

impl<'de> Deserialize<'de> for SizeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_newtype_struct(handoff::SIZE, SizeVisitor)?;
        Ok(Self(u64::try_from(bytes).ok()))
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as 10s")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(handoff::TIME, TimeVisitor).map(Self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl<'de> Deserialize<'de> for Regexp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regexp::from_literal(&text).map_err(D::Error::custom)
    }
}

struct SectionVisitor;

impl Visitor<'_> for SectionVisitor {
    type Value = Section;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section")
    }

    fn visit_unit<E: Error>(self) -> Result<Section, E> {
        match handoff::take() {
            Some(Handed::Section(section)) => Ok(section),
            _ => Err(E::custom("a section is required")),
        }
    }
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(handoff::SECTION, SectionVisitor)
    }
}

struct PairsVisitor;

impl Visitor<'_> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section of pairs, or a hash")
    }

    fn visit_unit<E: Error>(self) -> Result<Pairs, E> {
        match handoff::take() {
            Some(Handed::Pairs(pairs)) => Ok(pairs),
            _ => Err(E::custom("a section of pairs, or a hash, is required")),
        }
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(handoff::PAIRS, PairsVisitor)
    }
}

#[allow(dead_code, reason = "plugins that point at a value of their own will name it")]
struct SpannedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
    type Value = Spanned<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Spanned<T>, D::Error> {
        let span = match handoff::take() {
            Some(Handed::Span(span)) => span,
            _ => Span::nowhere(),
        };
        Ok(Spanned { value: T::deserialize(deserializer)?, span })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(handoff::SPANNED, SpannedVisitor(PhantomData))
    }
}
