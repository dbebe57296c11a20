//! What monitor_agent and the reports may look at: one row per plugin, with Fluentd's field names.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::chain::FilterNode;
use super::graph::{Graph, RouteNode};
use super::router::InputStats;
use super::sink::Sink;
use crate::config::{Section, shown};
use crate::plugin::{BufferView, Category, Inspect, LedgerRow, PluginView, merge_ledger};

/// The running plugins as they were built.
pub struct View {
    /// The graph in force.
    pub graph: Arc<Graph>,
    /// Inputs: id, section, counts.
    pub inputs: Vec<(String, Section, Arc<InputStats>)>,
}

impl Inspect for View {
    fn plugins(&self) -> Vec<PluginView> {
        let inputs = self.inputs.iter().map(|(id, section, stats)| input(id, section, stats));
        let filters = self.graph.filters.iter().map(|f| filter(f));
        inputs.chain(outputs(&self.graph)).chain(filters).collect()
    }

    fn ledger(&self) -> Vec<LedgerRow> {
        together(&self.graph, &self.graph.sinks)
    }

    fn plugin_for_tag(&self, tag: &str) -> Option<String> {
        use super::pipeline::Target;
        let root = self.graph.pipelines.first()?;
        match root.path(&tag.into()).target.as_deref()? {
            Target::Sink(sink) => Some(sink.id.clone()),
            _ => None,
        }
    }
}

/// The accounts of what no file keeps account of.
pub fn in_memory(graph: &Graph) -> Vec<LedgerRow> {
    let volatile = graph.sinks.iter().filter(|sink| sink.buffer().is_some_and(|buffer| !buffer.is_durable()));
    let volatile: Vec<Arc<Sink>> = volatile.cloned().collect();
    together(graph, &volatile)
}

/// The books of a graph, and the accounts that these outputs' buffers keep.
fn together(graph: &Graph, sinks: &[Arc<Sink>]) -> Vec<LedgerRow> {
    let open = sinks.iter().filter_map(|sink| Some((sink, sink.buffer()?)));
    let held = open.flat_map(|(sink, buffer)| {
        let accounts = buffer.accounts();
        accounts.into_iter().map(|(key, account)| LedgerRow { output: sink.name.clone(), key, account })
    });
    // An output may have an account here from before its buffer was opened anew.
    merge_ledger(graph.books.report().into_iter().chain(held))
}

/// Outputs in the order of the configuration: one that sends on comes before its stores.
fn outputs(graph: &Graph) -> Vec<PluginView> {
    let mut routes = graph.routes.iter().peekable();
    let mut views = Vec::with_capacity(graph.routes.len() + graph.sinks.len());
    for (at, sink) in graph.sinks.iter().enumerate() {
        while let Some(node) = routes.next_if(|node| node.before <= at) {
            views.push(route(node));
        }
        views.push(output(sink));
    }
    views.extend(routes.map(route));
    views
}

/// Fluentd gives those no counts but that of retries.
fn route(node: &RouteNode) -> PluginView {
    PluginView {
        id: node.id.clone(),
        kind: node.section.plugin_type().unwrap_or_default().to_owned(),
        category: Category::Route,
        config: params(&node.section),
        counts: vec![("retry_count", 0)],
        buffer: None,
    }
}

fn input(id: &str, section: &Section, stats: &InputStats) -> PluginView {
    PluginView {
        id: id.to_owned(),
        kind: section.plugin_type().unwrap_or_default().to_owned(),
        category: Category::Input,
        config: params(section),
        counts: vec![("emit_records", stats.records.load(Relaxed)), ("emit_size", stats.bytes.load(Relaxed))],
        buffer: None,
    }
}

fn filter(node: &FilterNode) -> PluginView {
    let (seen, dropped) = (node.seen.load(Relaxed), node.dropped.load(Relaxed));
    PluginView {
        id: node.id.clone(),
        kind: node.kind.clone(),
        category: Category::Filter,
        config: Vec::new(),
        counts: vec![("emit_records", seen - dropped.min(seen)), ("dropped_records", dropped)],
        buffer: None,
    }
}

fn output(sink: &Sink) -> PluginView {
    let s = &sink.stats;
    let retry = sink.retry_view();
    PluginView {
        id: sink.id.clone(),
        kind: sink.kind.clone(),
        category: Category::Output,
        config: params(&sink.section),
        counts: [
            ("retry_count", s.num_errors.load(Relaxed)),
            ("emit_records", s.emit_records.load(Relaxed)),
            ("emit_size", s.emit_size.load(Relaxed)),
            ("emit_count", s.emit_count.load(Relaxed)),
            ("write_count", s.write_count.load(Relaxed)),
            ("write_secondary_count", s.write_secondary_count.load(Relaxed)),
            ("rollback_count", s.rollback_count.load(Relaxed)),
            ("slow_flush_count", s.slow_flush_count.load(Relaxed)),
            ("flush_time_count", s.flush_time_count.load(Relaxed)),
        ]
        .into_iter()
        .chain(sink.output.counts())
        .collect(),
        buffer: sink.buffer().map(|b| BufferView {
            stats: b.stats(),
            retry_steps: retry.times,
            retrying: retry.chunks,
        }),
    }
}

fn params(section: &Section) -> Vec<(String, String)> {
    section.params.iter().map(|p| (p.name.clone(), shown(&p.name, p.value.text().unwrap_or("")))).collect()
}
