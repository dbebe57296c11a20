//! Outputs that are part of the routes: `copy`, `relabel`, `roundrobin`, and `rewrite_tag_filter`, which has a file of its own.
//! See [`super::build`].

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::build::{Builder, OUTPUT_PARTS};
use super::graph::RouteNode;
use super::pipeline::{RoundRobin, Store, Target};
use super::ways::passage;
use crate::config::{Diagnostic, Section, from_section};

/// Outputs that only send on to others.
pub const ROUTES: &[&[&str]] = &[&["copy"], &["relabel"], &["rewrite_tag_filter"], &["roundrobin", "round_robin"]];
/// Nesting of `<store>` sections with stores in them.
const MAX_STORE_DEPTH: usize = 8;
/// Largest `weight` of a `<store>`.
const MAX_WEIGHT: usize = 1000;

/// Parameters of `copy`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CopyParams {
    /// Stores never see each other's changes here, so every mode means what `deep` and `marshal` do.
    copy_mode: Option<CopyMode>,
    /// Old form of `copy_mode`.
    deep_copy: Option<bool>,
    store: Vec<Section>,
}

/// `copy_mode`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CopyMode {
    NoCopy,
    Shallow,
    Deep,
    Marshal,
}

/// `roundrobin` has only its stores.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RoundRobinParams {
    store: Vec<Section>,
}

/// `relabel` has only `@label`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RelabelParams {}

impl Builder<'_> {
    pub(super) fn target(&mut self, section: &Section, depth: usize) -> Option<Target> {
        if depth > MAX_STORE_DEPTH {
            self.fault("stores are nested too deeply", section);
            return None;
        }
        let kind = self.type_of(section)?;
        if ROUTES.iter().any(|names| names.contains(&kind.as_str())) {
            let (id, section, before) = (self.id(section), section.clone(), self.graph.sinks.len());
            self.graph.routes.push(RouteNode { id, section, before });
        }
        match kind.as_str() {
            "copy" => Some(Target::Copy(self.copy(section, depth)?)),
            "relabel" => self.relabel(section),
            "rewrite_tag_filter" => self.retag(section).map(Target::Retag),
            "roundrobin" | "round_robin" => self.round_robin(section, depth),
            kind => Some(Target::Sink(self.sink(section, kind)?)),
        }
    }

    pub(super) fn params<T: DeserializeOwned>(&mut self, section: &Section) -> Option<T> {
        let outcome = from_section::<T>(section, self.process.strictness());
        self.diagnostics.extend(outcome.faults);
        outcome.value
    }

    fn relabel(&mut self, section: &Section) -> Option<Target> {
        self.params::<RelabelParams>(section);
        let Some(label) = section.label() else {
            self.fault("relabel needs '@label'", section);
            return None;
        };
        self.label_index(label, section).map(Target::Label)
    }

    pub(super) fn label_index(&mut self, label: &str, section: &Section) -> Option<usize> {
        let found = self.graph.labels.get(label).copied();
        if found.is_none() {
            let message = format!("{label} label not found");
            self.diagnostics.push(Diagnostic::error(message, section.span_of("@label")));
        }
        found
    }

    fn copy(&mut self, section: &Section, depth: usize) -> Option<Vec<Store>> {
        let params: CopyParams = self.params(section)?;
        let shared = matches!(params.copy_mode, Some(CopyMode::NoCopy | CopyMode::Shallow));
        for (name, moot) in [("copy_mode", shared), ("deep_copy", params.deep_copy.is_some())] {
            if moot {
                let why = "stores never see each other's changes; take it out";
                let message = format!("{name} has no effect here: {why}");
                self.diagnostics.push(Diagnostic::warning(message, section.span_of(name)));
            }
        }
        let Some(first) = params.store.first() else {
            self.fault("copy needs at least one <store>", section);
            return None;
        };
        if first.arg().contains("ignore_if_prev_success") {
            self.fault("ignore_if_prev_success must specify 2nd or later <store> directives", first);
        }
        let stores: Vec<Option<Store>> = params.store.iter().map(|s| self.store(s, depth)).collect();
        let mut stores: Vec<Store> = stores.into_iter().collect::<Option<_>>()?;
        name_ways(&mut stores);
        if stores.iter().all(|s| s.ignore_error) && !stores.iter().any(|s| s.only_if_previous_failed) {
            let message = "ignore_errors are specified in all <store>, but ignore_if_prev_success is not specified. \
                           Is this intended?";
            self.diagnostics.push(Diagnostic::warning(message, &section.span));
        }
        Some(stores)
    }

    fn store(&mut self, section: &Section, depth: usize) -> Option<Store> {
        let words: Vec<&str> = section.arg().split_whitespace().collect();
        for word in words.iter().filter(|w| !["ignore_error", "ignore_if_prev_success"].contains(w)) {
            self.diagnostics.push(Diagnostic::warning(format!("<store {word}> is not known"), &section.args.span));
        }
        let normal = self.normal(section, OUTPUT_PARTS);
        let target = self.target(&normal, depth + 1)?;
        Some(Store {
            target,
            ignore_error: words.contains(&"ignore_error"),
            only_if_previous_failed: words.contains(&"ignore_if_prev_success"),
            way: passage(section),
        })
    }

    fn round_robin(&mut self, section: &Section, depth: usize) -> Option<Target> {
        let params: RoundRobinParams = self.params(section)?;
        let (mut targets, mut turns) = (Vec::new(), Vec::new());
        for (at, store) in params.store.iter().enumerate() {
            let weight = store.text("weight").map_or(Ok(1), str::parse::<usize>);
            match weight {
                Ok(weight) if weight <= MAX_WEIGHT => turns.extend(std::iter::repeat_n(at, weight)),
                _ => {
                    let message = format!("weight must be a number from 0 to {MAX_WEIGHT}");
                    self.diagnostics.push(Diagnostic::error(message, store.span_of("weight")));
                }
            }
            let mut inner = self.normal(store, OUTPUT_PARTS);
            inner.params.retain(|p| p.name != "weight");
            targets.push(self.target(&inner, depth + 1));
        }
        let targets = targets.into_iter().collect::<Option<Vec<_>>>()?;
        if turns.is_empty() {
            self.fault("roundrobin needs at least one <store> with a weight", section);
            return None;
        }
        Some(Target::RoundRobin(RoundRobin { turns, targets, next: AtomicUsize::new(0) }))
    }
}

/// Stores that say the same are told apart by their order.
fn name_ways(stores: &mut [Store]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for way in stores.iter_mut().filter_map(|store| store.way.as_mut()) {
        let turn = seen.entry(way.clone()).or_default();
        way.push_str(&format!("-{turn}"));
        *turn += 1;
    }
}
