//! What an operator should know about a configuration that has no fault.

use std::collections::HashSet;
use std::sync::Arc;

use super::build::{Plan, PlannedInput};
use super::graph::Graph;
use super::pipeline::Target;
use super::sink::Sink;
use crate::buffer::BufferKind;
use crate::config::{Diagnostic, Diagnostics};

/// Names every input that acknowledges events which only memory holds.
pub fn notes(plan: &Plan) -> Diagnostics {
    plan.inputs.iter().filter_map(|input| memory_behind(input, &plan.graph)).collect()
}

fn memory_behind(input: &PlannedInput, graph: &Graph) -> Option<Diagnostic> {
    if !input.plugin.as_ref()?.acknowledges() {
        return None;
    }
    let mut outputs = Vec::new();
    follow(graph, graph.entry(input.label.as_deref())?, &mut HashSet::new(), &mut outputs);
    let in_memory = |sink: &Sink| sink.buffered.as_ref().is_some_and(|b| b.kind == BufferKind::Memory);
    let names: Vec<String> = outputs.iter().filter(|s| in_memory(s)).map(|s| name(s)).collect();
    if names.is_empty() {
        return None;
    }
    let kind = input.section.plugin_type().unwrap_or_default();
    let message = format!("{kind} acknowledges events that only memory holds, in the buffer of {}", names.join(", "));
    let help = "they are lost if the process is killed; '<buffer> @type file' with a path keeps them";
    Some(Diagnostic::note(message, &input.section.span).with_help(help))
}

/// `file (line 12)`
fn name(sink: &Sink) -> String {
    format!("{} (line {})", sink.kind, sink.section.span.line())
}

/// Adds the outputs that events of any tag may reach from a pipeline on.
pub(super) fn follow(graph: &Graph, pipeline: usize, seen: &mut HashSet<usize>, outputs: &mut Vec<Arc<Sink>>) {
    if !seen.insert(pipeline) {
        return;
    }
    let targets = graph.pipelines.get(pipeline).map(|p| p.targets()).unwrap_or_default();
    let mut waiting: Vec<&Target> = targets.iter().map(Arc::as_ref).collect();
    while let Some(target) = waiting.pop() {
        match target {
            Target::Sink(sink) if !outputs.iter().any(|s| Arc::ptr_eq(s, sink)) => outputs.push(sink.clone()),
            Target::Sink(_) => {}
            Target::Label(label) => follow(graph, *label, seen, outputs),
            Target::Copy(stores) => waiting.extend(stores.iter().rev().map(|s| &s.target)),
            Target::RoundRobin(turns) => waiting.extend(turns.targets.iter().rev()),
            Target::Retag(retag) => retag.pipelines().for_each(|pipeline| follow(graph, pipeline, seen, outputs)),
        }
    }
}
