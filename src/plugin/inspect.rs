//! What a monitoring plugin may ask of the running engine, without knowing the engine.

use super::ledger::LedgerRow;
use crate::buffer::BufferStats;

/// Looks at the running plugins.
pub trait Inspect: Send + Sync {
    /// One row per plugin: inputs, outputs, filters, each in the order of the configuration.
    fn plugins(&self) -> Vec<PluginView>;

    /// The ledger: what each output took in, and what became of it.
    fn ledger(&self) -> Vec<LedgerRow>;

    /// The id of the output that events with this tag go to from the top level.
    fn plugin_for_tag(&self, tag: &str) -> Option<String>;
}

/// Kind of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// `<source>`
    Input,
    /// `<filter>`
    Filter,
    /// `<match>`, `<store>`
    Output,
    /// `copy`, `roundrobin`, `relabel`, `rewrite_tag_filter`: what only sends on to outputs
    Route,
}

impl Category {
    /// As monitor_agent names it.
    pub fn name(self) -> &'static str {
        match self {
            Category::Input => "input",
            Category::Filter => "filter",
            Category::Output | Category::Route => "output",
        }
    }
}

/// One plugin as it is now.
#[derive(Clone, Debug)]
pub struct PluginView {
    /// `@id`, or `object:` and a number.
    pub id: String,
    /// `@type`
    pub kind: String,
    /// Input, filter or output.
    pub category: Category,
    /// Its parameters; secrets are masked.
    pub config: Vec<(String, String)>,
    /// Counts by Fluentd's names.
    pub counts: Vec<(&'static str, u64)>,
    /// Its buffer, for a buffered output.
    pub buffer: Option<BufferView>,
}

/// A buffer as it is now.
#[derive(Clone, Debug)]
pub struct BufferView {
    /// Lengths and sizes.
    pub stats: BufferStats,
    /// Most retries of any chunk.
    pub retry_steps: u32,
    /// Chunks that wait for a retry.
    pub retrying: usize,
}
