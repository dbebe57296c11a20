//! For tests: inputs from configuration text, collected events as text.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::config::{Diagnostics, LoadOptions, load_text};
use crate::event::json::write_map;
use crate::input::forward::testing::Collector;
use crate::plugin::testing::process;
use crate::plugin::{BuildContext, Configure, Process, Registry};

static REGISTRY: Registry = Registry {
    inputs: crate::input::INPUTS,
    filters: &[],
    outputs: &[],
    parsers: crate::parser::PARSERS,
    formatters: &[],
};

fn configured<P: Configure>(config: &str) -> (Option<P>, Diagnostics, Arc<Process>) {
    let text = format!("<source>\n{config}\n</source>\n");
    let options = LoadOptions::new(crate::config::Surroundings::default());
    let root = load_text("test.conf", &text, &options).unwrap().root;
    let section = root.child("source").unwrap();
    let process = process(true);
    let mut faults = Diagnostics::new();
    let plugin = BuildContext::new(section, &process, &REGISTRY, &mut faults).configure();
    (plugin, faults, process)
}

/// An input from the body of a `<source>`, and its process.
pub(in crate::input) fn build_in<P: Configure>(config: &str) -> (P, Arc<Process>) {
    let (plugin, faults, process) = configured(config);
    (plugin.unwrap_or_else(|| panic!("{}", faults.render())), process)
}

/// An input from the body of a `<source>`.
pub(in crate::input) fn build<P: Configure>(config: &str) -> P {
    build_in(config).0
}

/// What is wrong with the body of a `<source>`.
pub(in crate::input) fn faults<P: Configure>(config: &str) -> String {
    let (plugin, faults, _) = configured::<P>(config);
    assert!(plugin.is_none(), "{config} has no fault");
    faults.render()
}

/// Collected events as `tag {json}`.
pub(in crate::input) fn shown(collector: &Collector) -> Vec<String> {
    let state = collector.state();
    let mut out = Vec::new();
    for batch in &state.batches {
        for entry in batch.entries() {
            let mut json = Vec::new();
            write_map(entry.unwrap().record, &mut json).unwrap();
            out.push(format!("{} {}", batch.tag, String::from_utf8(json).unwrap()));
        }
    }
    out
}
