//! The outputs of a configuration for tools that look at their buffers, or send through them, while nothing runs.

use std::sync::Arc;

use super::build::{Reusable, build};
use crate::buffer::BufferConfig;
use crate::config::{Diagnostics, Section};
use crate::plugin::{DynOutput, Process, Registry};

/// An output that is built and not started.
pub struct OutputPlace {
    /// `@id`, or one made up.
    pub id: String,
    /// Its buffer; none for an output that writes as events come.
    pub buffer: Option<BufferConfig>,
    /// The plugin.
    pub output: Arc<dyn DynOutput>,
}

/// The outputs of a configuration, in its order. Nothing is opened.
///
/// Errors: every fault of the configuration.
pub fn outputs(
    root: &Section,
    registry: &'static Registry,
    process: &Arc<Process>,
) -> Result<Vec<OutputPlace>, Diagnostics> {
    let plan = build(root, registry, process, &Reusable::default())?;
    let place = |sink: &Arc<super::sink::Sink>| OutputPlace {
        id: sink.id.clone(),
        buffer: sink.buffered.clone(),
        output: sink.output.clone(),
    };
    Ok(plan.graph.sinks.iter().map(place).collect())
}
