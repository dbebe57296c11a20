//! The way of suiro's own log events (`fluent.info` and so on) into the graph: `<label @FLUENT_LOG>`, else what matches them
//! at the top level. As Fluentd's `FluentLogEventRouter`.

use std::collections::HashSet;
use std::sync::Arc;

use tracing::warn;

use super::advice;
use super::graph::{Graph, ROOT, Source};
use super::pipeline::{Pipeline, Target};
use super::router::Router;
use super::sink::Sink;
use crate::buffer::{Origin, Receipt};
use crate::event::{Batch, Tag};
use crate::plugin::{BoxFuture, EmitError, Route};

/// The label that log events go to.
const LABEL: &str = "@FLUENT_LOG";
/// Tags of log events.
const TAGS: [&str; 6] = ["fluent.trace", "fluent.debug", "fluent.info", "fluent.warn", "fluent.error", "fluent.fatal"];

fn wanted(pipeline: &Pipeline) -> Vec<&'static str> {
    TAGS.into_iter().filter(|tag| pipeline.path(&Tag::from(*tag)).target.is_some()).collect()
}

/// The pipeline that takes log events; none where nobody wants them.
pub fn entry(graph: &Graph) -> Option<usize> {
    if let Some(label) = graph.labels.get(LABEL) {
        return Some(*label);
    }
    let root = graph.pipelines.get(ROOT)?;
    (!wanted(root).is_empty()).then_some(ROOT)
}

/// Says in Fluentd's words what of the log is not taken, and what should be written otherwise.
pub fn announce(graph: &Graph) {
    let Some(entry) = entry(graph) else { return };
    let Some(pipeline) = graph.pipelines.get(entry) else { return };
    let wanted = wanted(pipeline);
    let missing: Vec<&str> = TAGS.into_iter().filter(|tag| !wanted.contains(tag)).collect();
    let place = if entry == ROOT { "top level" } else { "@FLUENT_LOG label" };
    if entry == ROOT {
        let sections: Vec<String> = wanted.iter().map(|tag| format!("<match {tag}>")).collect();
        let sections = if missing.is_empty() { "<match fluent.**>".to_owned() } else { sections.join(", ") };
        warn!("define {sections} to capture fluentd logs in top level is deprecated. Use <label @FLUENT_LOG> instead");
    }
    if !missing.is_empty() {
        warn!("match for some tags of log events are not defined in {place} (to be ignored) tags={missing:?}");
    }
}

/// Marks the sinks that log events reach: what is said about their work never becomes a log event again.
pub fn mark(graph: &Graph) {
    let mut reached = HashSet::new();
    if let Some(entry) = entry(graph) {
        TAGS.iter().for_each(|tag| follow(graph, entry, &Tag::from(*tag), &mut HashSet::new(), &mut reached));
    }
    for sink in &graph.sinks {
        sink.set_silent(reached.contains(&Arc::as_ptr(sink)));
    }
}

type Reached = HashSet<*const Sink>;

fn follow(graph: &Graph, pipeline: usize, tag: &Tag, seen: &mut HashSet<usize>, reached: &mut Reached) {
    if !seen.insert(pipeline) {
        return;
    }
    let path = graph.pipelines.get(pipeline).map(|p| p.path(tag));
    let mut targets: Vec<&Target> = path.iter().filter_map(|p| p.target.as_deref()).collect();
    while let Some(target) = targets.pop() {
        match target {
            Target::Sink(sink) => drop(reached.insert(Arc::as_ptr(sink))),
            Target::Label(label) => follow(graph, *label, tag, seen, reached),
            Target::Copy(stores) => targets.extend(stores.iter().map(|s| &s.target)),
            Target::RoundRobin(turns) => targets.extend(&turns.targets),
            Target::Retag(retag) => {
                // Under which tag they go on shows only with the event.
                let (mut seen, mut outputs) = (HashSet::new(), Vec::new());
                retag.pipelines().for_each(|pipeline| advice::follow(graph, pipeline, &mut seen, &mut outputs));
                reached.extend(outputs.iter().map(Arc::as_ptr));
            }
        }
    }
}

/// What stands for the input that log events come through.
const INPUT: &str = "(log)";

/// The route of log events.
pub struct LogRoute {
    /// The router.
    pub router: Arc<Router>,
}

impl Route for LogRoute {
    fn route(&self, batch: Batch, origin: Origin) -> BoxFuture<'_, Result<Receipt, EmitError>> {
        Box::pin(async move {
            let graph = self.router.graph();
            match entry(&graph) {
                Some(entry) => {
                    let from = Source { origin, input: INPUT.into(), until: None };
                    graph.deliver(entry, batch, &from, 0).await
                }
                // A reload took their place away.
                None => Ok(Receipt::durable()),
            }
        })
    }

    fn fail(&self, _events: Batch, _reason: &str) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn held(&self, _stream: &str) -> Vec<u64> {
        Vec::new()
    }

    fn seen(&self, _once: &[u8]) -> bool {
        false
    }
}
