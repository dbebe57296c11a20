//! What monitor_agent and the reports may look at: one row per plugin, with Fluentd's field names.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::chain::FilterNode;
use super::graph::Graph;
use super::router::InputStats;
use super::sink::Sink;
use crate::config::{Section, shown};
use crate::plugin::{BufferView, Category, Inspect, PluginView};

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
        let outputs = self.graph.sinks.iter().map(|s| output(s));
        inputs.chain(outputs).chain(filters).collect()
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
        counts: vec![
            ("retry_count", s.num_errors.load(Relaxed)),
            ("emit_records", s.emit_records.load(Relaxed)),
            ("emit_size", s.emit_size.load(Relaxed)),
            ("emit_count", s.emit_count.load(Relaxed)),
            ("write_count", s.write_count.load(Relaxed)),
            ("write_secondary_count", s.write_secondary_count.load(Relaxed)),
            ("rollback_count", s.rollback_count.load(Relaxed)),
            ("slow_flush_count", s.slow_flush_count.load(Relaxed)),
            ("flush_time_count", s.flush_time_count.load(Relaxed)),
        ],
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
