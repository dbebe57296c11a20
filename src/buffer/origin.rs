//! Where entries came from: what a buffer tells its inputs at start, so that nothing enters twice.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt::Display;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::config::{MAX_ORIGIN_BYTES, ONCE_WINDOW, STREAM_WINDOW};
use crate::event::hex;

/// Where a batch came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Origin {
    /// From a source that can't tell.
    #[default]
    None,
    /// From a stream that is read in order: a file's identity and the offset behind the batch, a topic's partition and
    /// the offset to go on from.
    Stream {
        /// Which stream.
        stream: Arc<str>,
        /// The position behind the batch.
        upto: u64,
    },
    /// From a sender that marks what it sends again with the same id: a forward chunk, an HTTP idempotency key.
    Once(Bytes),
}

/// Parts the name that a source gave from the ways of its copies.
const BRANCH: char = '\u{1f}';

impl Origin {
    /// The same origin on one of several ways that may lead to one buffer: what goes each way is known by itself there.
    pub fn branch(&self, way: impl Display) -> Origin {
        match self {
            Origin::None => Origin::None,
            Origin::Stream { stream, upto } => {
                Origin::Stream { stream: format!("{stream}{BRANCH}{way}").into(), upto: *upto }
            }
            Origin::Once(id) => Origin::Once([id, format!("{BRANCH}{way}").as_bytes()].concat().into()),
        }
    }

    /// The same origin with a name of bounded length.
    pub(super) fn bounded(&self) -> Origin {
        match self {
            Origin::Stream { stream, upto } => match bounded_name(stream) {
                Cow::Borrowed(_) => self.clone(),
                Cow::Owned(name) => Origin::Stream { stream: name.into(), upto: *upto },
            },
            Origin::Once(id) if id.len() > MAX_ORIGIN_BYTES => Origin::Once(digest_text(id).into_bytes().into()),
            other => other.clone(),
        }
    }
}

/// A stream's name, or what is kept in its place: what the source gave, and the ways behind it, by their digests.
fn bounded_name(stream: &str) -> Cow<'_, str> {
    if stream.len() <= MAX_ORIGIN_BYTES {
        return Cow::Borrowed(stream);
    }
    let (given, ways) = stream.find(BRANCH).map_or((stream, ""), |at| stream.split_at(at));
    let mut name = digest_text(given.as_bytes());
    match name.len() + ways.len() > MAX_ORIGIN_BYTES {
        true => name.extend([BRANCH.to_string(), digest_text(ways.as_bytes())]),
        false => name.push_str(ways),
    }
    Cow::Owned(name)
}

/// What is kept in place of a name that is too long.
pub(super) fn digest_text(name: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(name)))
}

/// The newest position of each stream, and a window of once ids in the order they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// In order, so that the ways of a stream stand behind it.
    streams: BTreeMap<Arc<str>, Position>,
    turn: u64,
    once: VecDeque<Bytes>,
    known: HashSet<Bytes>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    upto: u64,
    touched: u64,
}

impl Origins {
    /// Takes note of an origin.
    pub(super) fn note(&mut self, origin: &Origin) {
        match origin {
            Origin::None => {}
            Origin::Stream { stream, upto } => self.note_stream(stream, *upto),
            Origin::Once(id) => self.note_once(id),
        }
    }

    fn note_stream(&mut self, stream: &Arc<str>, upto: u64) {
        self.turn += 1;
        let fresh = Position { upto, touched: self.turn };
        let held = self.streams.entry(stream.clone()).or_insert(fresh);
        *held = Position { upto: held.upto.max(upto), touched: self.turn };
        // Rotation makes new streams for ever. The half not touched for longest goes, so the search is paid for rarely.
        if self.streams.len() > STREAM_WINDOW {
            let mut ages: Vec<u64> = self.streams.values().map(|p| p.touched).collect();
            let middle = ages.len() / 2;
            let (_, limit, _) = ages.select_nth_unstable(middle);
            let limit = *limit;
            self.streams.retain(|_, p| p.touched >= limit);
        }
    }

    fn note_once(&mut self, id: &Bytes) {
        if !self.known.insert(id.clone()) {
            return;
        }
        self.once.push_back(id.clone());
        if self.once.len() > ONCE_WINDOW
            && let Some(oldest) = self.once.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// The newest position of a stream.
    pub(super) fn newest(&self, stream: &str) -> Option<u64> {
        self.streams.get(&*bounded_name(stream)).map(|p| p.upto)
    }

    /// The newest positions of a stream and of every way behind it.
    pub(super) fn positions(&self, stream: &str) -> Vec<u64> {
        let mut found: Vec<u64> = self.newest(stream).into_iter().collect();
        // With a long way behind it a short name was digested too.
        for given in [stream, &digest_text(stream.as_bytes())] {
            let first = format!("{given}{BRANCH}");
            let from = self.streams.range::<str, _>((Bound::Included(&*first), Bound::Unbounded));
            found.extend(from.take_while(|(name, _)| name.starts_with(&first)).map(|(_, p)| p.upto));
        }
        found
    }

    /// Whether an id was noted and is still in the window.
    pub(super) fn seen(&self, id: &[u8]) -> bool {
        if id.len() > MAX_ORIGIN_BYTES {
            return self.known.contains(digest_text(id).as_bytes());
        }
        self.known.contains(id)
    }

    /// Whether nothing was noted.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.once.is_empty()
    }

    /// Everything, in an order in which noting it again gives the same.
    pub(super) fn iter(&self) -> impl Iterator<Item = Origin> + '_ {
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_by_key(|(_, p)| p.touched);
        let streams = streams.into_iter().map(|(s, p)| Origin::Stream { stream: s.clone(), upto: p.upto });
        streams.chain(self.once.iter().cloned().map(Origin::Once))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str, upto: u64) -> Origin {
        Origin::Stream { stream: name.into(), upto }
    }

    #[test]
    fn a_streams_position_never_goes_back() {
        let mut origins = Origins::default();
        origins.note(&stream("a", 10));
        origins.note(&stream("a", 5));
        assert_eq!(origins.newest("a"), Some(10));
        assert_eq!(origins.newest("b"), None);
    }

    #[test]
    fn both_windows_are_bounded_and_forget_the_oldest() {
        let mut origins = Origins::default();
        for n in 0..=ONCE_WINDOW as u64 {
            origins.note(&Origin::Once(Bytes::copy_from_slice(&n.to_be_bytes())));
            origins.note(&stream(&n.to_string(), n));
        }
        assert!(!origins.seen(&0u64.to_be_bytes()));
        assert!(origins.seen(&1u64.to_be_bytes()));
        assert_eq!(origins.newest("0"), None);
        assert_eq!(origins.newest(&ONCE_WINDOW.to_string()), Some(ONCE_WINDOW as u64));
        assert!(origins.streams.len() <= STREAM_WINDOW);
    }

    #[test]
    fn each_way_has_a_name_of_its_own_and_is_found_by_its_streams() {
        let origin = stream("a", 10);
        assert_ne!(origin.branch(1).branch(0), origin.branch(0).branch(1));
        assert_ne!(Origin::Once("id".into()).branch(0), Origin::Once("id".into()).branch(1));
        assert_eq!(Origin::None.branch(3), Origin::None);
        for name in ["a".to_owned(), "b".repeat(MAX_ORIGIN_BYTES - 10), "c".repeat(MAX_ORIGIN_BYTES + 1)] {
            let mut origins = Origins::default();
            let all = [
                stream(&name, 1),
                stream(&name, 2).branch(0),
                stream(&name, 3).branch(0).branch(1),
                stream(&name, 4).branch("w".repeat(200)),
                stream(&name, 5).branch("w".repeat(300)),
            ];
            // Others that begin in the same way.
            let others = [format!("{name}b"), format!("{name}!"), name[1..].to_owned()];
            let others = others.map(|name| stream(&name, 9).branch(0));
            all.iter().chain(&others).for_each(|origin| origins.note(&origin.bounded()));
            let mut found = origins.positions(&name);
            found.sort_unstable();
            assert_eq!(found, [1, 2, 3, 4, 5], "{name}");
            for origin in all {
                let Origin::Stream { stream, upto } = origin else { unreachable!() };
                assert_eq!(origins.newest(&stream), Some(upto));
            }
            assert!(origins.streams.keys().all(|name| name.len() <= MAX_ORIGIN_BYTES));
        }
    }

    #[test]
    fn long_names_are_recognised_by_their_digest() {
        let mut origins = Origins::default();
        let long = "x".repeat(5000);
        origins.note(&Origin::Once(long.clone().into()).bounded());
        origins.note(&stream(&long, 3).bounded());
        assert!(origins.seen(long.as_bytes()));
        assert_eq!(origins.newest(&long), Some(3));
        assert!(origins.iter().all(|o| match o {
            Origin::Once(id) => id.len() <= MAX_ORIGIN_BYTES,
            Origin::Stream { stream, .. } => stream.len() <= MAX_ORIGIN_BYTES,
            Origin::None => false,
        }));
    }
}
