//! `suiro plugins`: what `@type` may be.

use super::OK;
use crate::engine::ROUTES;
use crate::plugin::Registry;

/// Prints the names of every kind, in alphabetical order.
pub fn run(registry: &Registry) -> u8 {
    let line = |kind: &str, mut names: Vec<&[&str]>| {
        names.sort_unstable();
        let names: Vec<String> = names.into_iter().map(|n| n.join("|")).collect();
        println!("{kind:<10} {}", names.join(" "));
    };
    line("input", registry.inputs.iter().map(|p| p.names).collect());
    line("filter", registry.filters.iter().map(|p| p.names).collect());
    let mut outputs: Vec<&[&str]> = registry.outputs.iter().map(|p| p.names).collect();
    outputs.extend(ROUTES);
    line("output", outputs);
    line("parser", registry.parsers.iter().map(|p| p.names).collect());
    line("formatter", registry.formatters.iter().map(|p| p.names).collect());
    OK
}
