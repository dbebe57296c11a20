//! The graph in force: pipelines by label, sinks, and the way of a batch through them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tracing::warn;

use super::books::Books;
use super::chain::{self, FilterNode};
use super::pipeline::{Pipeline, Target};
use super::quiet::Quiet;
use super::sink::Sink;
use crate::buffer::{Fate, Origin, Receipt};
use crate::config::Section;
use crate::event::{Arena, Batch, BatchBuilder, Record, json};
use crate::plugin::{BoxFuture, EmitError, Failure};

/// Labels that one batch may pass through by `relabel`, and tags that it may have by `rewrite_tag_filter`; more is a loop.
const MAX_RELABELS: usize = 32;
/// Largest size that a packed batch may have when a filter has to look inside, in bytes.
pub(super) const MAX_INFLATED: usize = 256 << 20;

/// Index of the pipeline of the top level.
pub const ROOT: usize = 0;

/// Where a batch came from, on its way through the graph.
#[derive(Clone)]
pub struct Source {
    /// Which part of what its sender has.
    pub origin: Origin,
    /// `@id` of the input.
    pub input: Arc<str>,
    /// How long buffers without room are waited for, where there is an end to that.
    pub until: Option<Instant>,
}

/// An output that only sends on to others, as monitor_agent shows it.
pub struct RouteNode {
    /// `@id`, or one made up.
    pub id: String,
    /// Its section.
    pub section: Section,
    /// How many sinks come before it in the configuration.
    pub before: usize,
}

/// Everything between inputs and targets.
#[derive(Default)]
pub struct Graph {
    /// The pipelines; the first is that of the top level.
    pub pipelines: Vec<Pipeline>,
    /// Labels to indexes.
    pub labels: HashMap<String, usize>,
    /// All sinks, in the order of the configuration.
    pub sinks: Vec<Arc<Sink>>,
    /// `copy`, `roundrobin`, `relabel` and `rewrite_tag_filter`, in the order of the configuration.
    pub routes: Vec<RouteNode>,
    /// All filters, in the order of the configuration.
    pub filters: Vec<Arc<FilterNode>>,
    /// Keeps repeated complaints short.
    pub quiet: Quiet,
    /// The accounts of what reaches no buffer.
    pub books: Arc<Books>,
}

impl Graph {
    /// The pipeline that an input with this `@label` feeds.
    pub fn entry(&self, label: Option<&str>) -> Option<usize> {
        label.map_or(Some(ROOT), |l| self.labels.get(l).copied())
    }

    /// The positions of a stream up to which buffers have it, in order and each once.
    pub fn held(&self, stream: &str) -> Vec<u64> {
        let buffers = self.sinks.iter().filter_map(|sink| sink.buffer());
        let held: BTreeSet<u64> = buffers.flat_map(|buffer| buffer.positions(stream)).collect();
        held.into_iter().collect()
    }

    /// Sends a batch through a pipeline. Ends once it is stored in every buffer it was routed to.
    pub fn deliver<'g>(
        &'g self,
        pipeline: usize,
        batch: Batch,
        from: &'g Source,
        depth: usize,
    ) -> BoxFuture<'g, Result<Receipt, EmitError>> {
        Box::pin(async move {
            let Some(rules) = self.pipelines.get(pipeline) else { return Err(EmitError::Closed) };
            if depth > MAX_RELABELS {
                return Err(EmitError::Refused(format!("relabel loop through {}", rules.name)));
            }
            let path = rules.path(&batch.tag);
            let batch = match path.filters.is_empty() {
                true => batch,
                false => self.filter(&path.filters, batch, from, depth).await?,
            };
            if batch.is_empty() {
                return Ok(Receipt::durable());
            }
            match &path.target {
                Some(target) => self.send(target, batch, from, depth).await,
                None => Ok(self.unmatched(rules, &batch, from)),
            }
        })
    }

    async fn filter(
        &self,
        filters: &[Arc<FilterNode>],
        batch: Batch,
        from: &Source,
        depth: usize,
    ) -> Result<Batch, EmitError> {
        let plain = batch.inflate(MAX_INFLATED).map_err(|e| EmitError::Refused(e.to_string()))?;
        let filtered = chain::run(filters, &plain);
        self.books.book(None, &from.input, &batch.tag, Fate::Filtered, filtered.dropped);
        for failure in filtered.failures {
            self.fail(&plain, failure, from, depth).await;
        }
        Ok(filtered.batch)
    }

    pub(super) fn send<'g>(
        &'g self,
        target: &'g Target,
        batch: Batch,
        from: &'g Source,
        depth: usize,
    ) -> BoxFuture<'g, Result<Receipt, EmitError>> {
        Box::pin(async move {
            match target {
                Target::Sink(sink) => sink.take_in(&batch, from, &self.books).await,
                Target::Label(pipeline) => self.deliver(*pipeline, batch, from, depth + 1).await,
                Target::Copy(stores) => self.copy(stores, &batch, from, depth).await,
                // In a box: few batches go this way, and the others need not carry its room along.
                Target::Retag(retag) => Box::pin(self.retag(retag, batch, from, depth)).await,
                Target::RoundRobin(turns) => match turns.take_turn(&from.origin) {
                    Some(target) => self.send(target, batch, from, depth).await,
                    None => Ok(Receipt::durable()),
                },
            }
        })
    }

    fn unmatched(&self, rules: &Pipeline, batch: &Batch, from: &Source) -> Receipt {
        rules.unmatched.fetch_add(u64::from(batch.len()), Relaxed);
        // Fluentd's own events are looked for only where the configuration wants them.
        if batch.tag.starts_with("fluent.") {
            return Receipt::durable();
        }
        self.books.book(None, &from.input, &batch.tag, Fate::Unmatched, u64::from(batch.len()));
        if self.quiet.may_say(&batch.tag) {
            warn!("no patterns matched tag=\"{}\"", batch.tag.escape_debug());
        }
        Receipt::durable()
    }

    /// Sends a copy of an event that failed to `@ERROR`, or to the log where there is no such label.
    pub(super) async fn fail(&self, batch: &Batch, failure: Failure, from: &Source, depth: usize) {
        let mut one = BatchBuilder::new();
        one.push_with(failure.time, |out| out.extend_from_slice(&failure.record));
        self.error_event(one.finish(batch.tag.clone()), &failure.reason, &from.input, depth).await;
    }

    /// As [`fail`](Graph::fail), for events that an input could not use.
    pub async fn error_event(&self, events: Batch, reason: &str, input: &Arc<str>, depth: usize) {
        let from = Source { origin: Origin::None, input: input.clone(), until: None };
        let refused = match self.labels.get("@ERROR") {
            Some(pipeline) if depth <= MAX_RELABELS => {
                self.deliver(*pipeline, events.clone(), &from, MAX_RELABELS).await.err()
            }
            _ => None,
        };
        if refused.is_some() || !self.labels.contains_key("@ERROR") {
            self.books.book(None, input, &events.tag, Fate::Failed, u64::from(events.len()));
            self.log_error_events(&events, reason);
        }
    }

    /// Events that a target refused, into the `@ERROR` label; to be sent again where that fails.
    ///
    /// Errors: there is no such label, or what is behind it refuses them.
    pub async fn deliver_to_errors(&self, events: Batch, from: &Source) -> Result<Receipt, EmitError> {
        match self.labels.get("@ERROR") {
            Some(pipeline) => self.deliver(*pipeline, events, from, MAX_RELABELS).await,
            None => Err(EmitError::Refused("there is no <label @ERROR>".into())),
        }
    }

    fn log_error_events(&self, events: &Batch, reason: &str) {
        let arena = Arena::new();
        for entry in events.entries().map_while(Result::ok) {
            if !self.quiet.may_say("error event") {
                return;
            }
            let mut text = Vec::new();
            if let Ok(record) = Record::decode(entry.record, &arena) {
                json::write_record(&record, &mut text);
            }
            warn!(
                "dump an error event: error={reason:?} tag=\"{}\" time={} record={}",
                events.tag.escape_debug(),
                entry.time.secs(),
                String::from_utf8_lossy(&text)
            );
        }
    }
}
