//! suiro: a fluentd-style log collector.
//!
//! The layers in order; imports only point downward, and `tests/tidy.rs` keeps it so.
//!
//! 1. [`event`]: what flows. A batch is one tag and a run of MessagePack entries kept as bytes. No I/O, no tokio.
//! 2. [`config`]: what the operator wrote. Three front-ends give one typed tree whose values carry file, line and column.
//! 3. [`buffer`]: custody. The only place where a batch waits; chunks leave it sealed and never change again.
//!    [`net`]: wires (TCP, TLS, HTTP, the forward protocol), no plugins.
//!    [`plugin`]: the contract every plugin is written against.
//! 4. [`engine`]: configuration to graph, routing, the one flush loop, the one retry schedule, reload, monitor.
//! 5. [`input`], [`filter`], [`output`], [`parser`], [`formatter`]: one file per plugin; each `mod.rs` is a table.
//!
//! 6. `query`: SQL over what the warehouse output has written, with the feature `sql`.
//!
//! [`cli`], `main.rs` and `sql.rs` stand on top: flags, settings, exit codes.

pub mod buffer;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod engine;
pub mod event;
pub mod filter;
pub mod formatter;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod input;
pub mod net;
pub mod output;
pub mod parser;
pub mod plugin;
#[cfg(feature = "sql")]
pub mod query;

/// Every plugin of this build.
pub static REGISTRY: plugin::Registry = plugin::Registry {
    inputs: input::INPUTS,
    filters: filter::FILTERS,
    outputs: output::OUTPUTS,
    parsers: parser::PARSERS,
    formatters: formatter::FORMATTERS,
};
