//! The `suiro` binary: the command line, with every plugin.

use std::process::ExitCode;

fn main() -> ExitCode {
    suiro::cli::main(&suiro::REGISTRY)
}
