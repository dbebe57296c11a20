//! `suiro report`: the ledger of a configuration's buffers, or of a saved report, as a table or as JSON; and two hops beside
//! each other.

mod compare;
mod source;
mod table;

use std::path::PathBuf;

use clap::Args;

use self::table::By;
use super::Flags;
use super::buffer::print::Out;
use super::buffer::{Failure, Form, finish};
use crate::plugin::{LedgerRow, Registry, write_ledger};

/// Arguments of `suiro report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Configurations, saved reports, or `-` for a report from standard input; the configuration of -c where there is none.
    sources: Vec<PathBuf>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// What accounts are told apart by.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [By::Day, By::Input, By::Tag, By::Output])]
    by: Vec<By>,
    /// Only what this output took.
    #[arg(long, value_name = "ID")]
    output: Option<String>,
    /// Only what came through this input.
    #[arg(long, value_name = "ID")]
    input: Option<String>,
    /// Compare what the first of two sources delivered with what the second took in, by tag: --output and --input choose
    /// what of them.
    #[arg(long)]
    compare: bool,
}

impl By {
    fn is_in(self, by: &[By]) -> bool {
        by.contains(&self)
    }
}

/// Prints the report; gives the exit status: 1 when an account does not balance or two hops differ.
pub fn run(args: &ReportArgs, flags: &Flags, registry: &'static Registry) -> u8 {
    finish(report(args, flags, registry))
}

fn report(args: &ReportArgs, flags: &Flags, registry: &'static Registry) -> Result<bool, Failure> {
    let sources = match args.sources.is_empty() {
        true => vec![flags.config.clone()],
        false => args.sources.clone(),
    };
    if args.compare {
        let [first, second] = &sources[..] else {
            return Err(format!("--compare needs two sources, and there are {}", sources.len()));
        };
        let (first, second) = (source::read(first, flags, registry)?, source::read(second, flags, registry)?);
        return compare::run(&first, &second, args);
    }
    let mut rows = Vec::new();
    for source in &sources {
        rows.extend(source::read(source, flags, registry)?);
    }
    rows.retain(|row| args.chooses_output(row) && args.chooses_input(row));
    match args.format {
        Form::Text => table::print(&rows, &args.by)?,
        Form::Json => {
            let mut out = Out::new();
            let _ = out.line(&write_ledger(&rows))?;
            let _ = out.flush()?;
        }
    }
    Ok(rows.iter().all(|row| row.account.missing() == 0))
}

impl ReportArgs {
    fn chooses_output(&self, row: &LedgerRow) -> bool {
        self.output.as_ref().is_none_or(|id| **id == *row.output)
    }

    fn chooses_input(&self, row: &LedgerRow) -> bool {
        self.input.as_ref().is_none_or(|id| **id == *row.key.input)
    }
}
