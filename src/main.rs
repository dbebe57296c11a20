//! The `suiro` binary: the tables of plugins, then the command line.

use std::process::ExitCode;

use suiro::plugin::Registry;
use suiro::{cli, filter, formatter, input, output, parser};

static REGISTRY: Registry = Registry {
    inputs: input::INPUTS,
    filters: filter::FILTERS,
    outputs: output::OUTPUTS,
    parsers: parser::PARSERS,
    formatters: formatter::FORMATTERS,
};

fn main() -> ExitCode {
    cli::main(&REGISTRY)
}
