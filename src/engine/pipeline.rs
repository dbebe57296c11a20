//! One label's rules in the order of the configuration, and the path that each tag takes through them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use super::chain::FilterNode;
use super::retag::Retag;
use super::sink::Sink;
use crate::buffer::Origin;
use crate::config::Patterns;
use crate::event::Tag;

/// Tags whose path is remembered, per label. Past it a tag's path is found anew each time: slower, never wrong.
const MAX_CACHED_TAGS: usize = 16_384;

/// Where a `<match>` sends events.
pub enum Target {
    /// To an output, buffered or direct.
    Sink(Arc<Sink>),
    /// To several targets, each with all events.
    Copy(Vec<Store>),
    /// To another label; the index of its pipeline in the graph.
    Label(usize),
    /// To one target after the other, by weight.
    RoundRobin(RoundRobin),
    /// To the rules once more, under other tags.
    Retag(Retag),
}

/// One `<store>` of a `copy`.
pub struct Store {
    /// Where it sends events.
    pub target: Target,
    /// Its failure is logged and does not stop the others.
    pub ignore_error: bool,
    /// It is used only when the one before failed.
    pub only_if_previous_failed: bool,
    /// Its name where it leads through rules, where it may meet others; no other of the same `copy` has it.
    pub way: Option<String>,
}

impl Target {
    /// Whether its buffers have what came from there. Behind a label, or another tag, that is not known.
    pub fn has(&self, origin: &Origin) -> bool {
        match self {
            Target::Sink(sink) => sink.has(origin),
            Target::Copy(stores) => stores.iter().all(|store| store.target.has(origin)),
            Target::Label(_) | Target::Retag(_) => false,
            Target::RoundRobin(turns) => turns.targets.iter().any(|target| target.has(origin)),
        }
    }
}

/// Targets that take turns.
pub struct RoundRobin {
    /// Indexes into `targets`, each as often as its weight says.
    pub turns: Vec<usize>,
    /// The targets.
    pub targets: Vec<Target>,
    /// The next turn.
    pub next: AtomicUsize,
}

impl RoundRobin {
    /// The target whose turn it is; for a batch that comes again, the one that has it.
    pub fn take_turn(&self, origin: &Origin) -> Option<&Target> {
        if let Some(target) = self.targets.iter().find(|target| target.has(origin)) {
            return Some(target);
        }
        let turn = self.next.fetch_add(1, Relaxed) % self.turns.len().max(1);
        self.targets.get(*self.turns.get(turn)?)
    }
}

/// One `<filter>` or `<match>`.
pub enum Rule {
    /// Changes what matches and lets it go on.
    Filter(Patterns, Arc<FilterNode>),
    /// Takes what matches; nothing behind it sees it.
    Match(Patterns, Arc<Target>),
}

/// What happens to a tag: filters in order, then a target.
pub struct Path {
    /// The filters before the match.
    pub filters: Vec<Arc<FilterNode>>,
    /// The first match; none means that nobody wants the tag.
    pub target: Option<Arc<Target>>,
}

/// The rules of one label.
pub struct Pipeline {
    /// `@ROOT`, or the label's name.
    pub name: String,
    rules: Vec<Rule>,
    cache: RwLock<HashMap<Tag, Arc<Path>, foldhash::fast::RandomState>>,
    /// Events that no rule matched.
    pub unmatched: AtomicU64,
}

impl Pipeline {
    /// A pipeline of rules in order.
    pub fn new(name: impl Into<String>, rules: Vec<Rule>) -> Pipeline {
        Pipeline { name: name.into(), rules, cache: RwLock::default(), unmatched: AtomicU64::new(0) }
    }

    /// The path of a tag.
    pub fn path(&self, tag: &Tag) -> Arc<Path> {
        // A panic elsewhere can't leave the map half changed.
        if let Some(path) = self.cache.read().unwrap_or_else(PoisonError::into_inner).get(tag) {
            return path.clone();
        }
        let path = Arc::new(self.find(tag));
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.len() < MAX_CACHED_TAGS {
            cache.insert(tag.clone(), path.clone());
        }
        path
    }

    /// Every target that some tag may be sent to.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        let mut targets = Vec::new();
        for rule in &self.rules {
            let Rule::Match(patterns, target) = rule else { continue };
            targets.push(target.clone());
            if patterns.matches_everything() {
                break;
            }
        }
        targets
    }

    fn find(&self, tag: &Tag) -> Path {
        let mut filters = Vec::new();
        for rule in &self.rules {
            match rule {
                Rule::Filter(patterns, filter) if patterns.matches(tag) => filters.push(filter.clone()),
                Rule::Match(patterns, target) if patterns.matches(tag) => {
                    return Path { filters, target: Some(target.clone()) };
                }
                _ => {}
            }
        }
        Path { filters, target: None }
    }
}
