//! The command line: flags as a Fluentd user knows them, and suiro's own subcommands, one file each.

mod backfill;
mod buffer;
mod check;
mod daemonize;
mod dlq;
mod flags;
mod fluentd;
mod jobs;
mod plugins;
mod privilege;
mod report;
mod run;
mod setup;
pub mod sql;

use std::process::ExitCode;

use clap::Parser;

pub use flags::Flags;

use crate::plugin::Registry;

/// Status of a run that ended as asked.
const OK: u8 = 0;
/// Status of a run that failed, or of a configuration with faults.
const FAILED: u8 = 1;

/// Reads the command line and does what it says.
pub fn main(registry: &'static Registry) -> ExitCode {
    let flags = Flags::parse();
    let status = match &flags.command {
        Some(flags::Command::Check { file, strict }) => check::run(file.as_deref(), *strict, &flags, registry),
        Some(flags::Command::Buffer { command }) => buffer::run(command, &flags, registry),
        Some(flags::Command::Dlq { command }) => dlq::run(command, &flags, registry),
        Some(flags::Command::Jobs { command }) => jobs::run(command, &flags, registry),
        Some(flags::Command::Report(args)) => report::run(args, &flags, registry),
        Some(flags::Command::Sql(_)) => sql::hand_over(),
        Some(flags::Command::Backfill(args)) => backfill::run(args, &flags, registry),
        Some(flags::Command::Plugins) => plugins::run(registry),
        None => run::run(&flags, registry),
    };
    ExitCode::from(status)
}
