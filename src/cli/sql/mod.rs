//! `suiro sql "select ..."`: a query over the tables of a warehouse, printed as a table, CSV, JSON or Parquet.
//!
//! A program of its own runs it, `suiro-sql` beside `suiro`: its engine is larger than all the rest, and the daemon's memory and
//! start would pay for it.

#[cfg(feature = "sql")]
pub mod run;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::{Args, ValueEnum};

use super::FAILED;

/// Bytes of memory that a query may take where nothing is said.
const DEFAULT_MEMORY: &str = "1g";
/// The program that runs queries.
const PROGRAM: &str = "suiro-sql";

/// Arguments of `suiro sql`.
#[derive(Clone, Debug, Args)]
pub struct SqlArgs {
    /// The statement: `select ...`, `show tables`, `describe raw.app`, `explain select ...`.
    statement: String,
    /// Where the warehouse is, as `url` of the output says it: file:///directory, s3://bucket/directory.
    #[arg(long, value_name = "URL", conflicts_with = "path")]
    url: Option<String>,
    /// The warehouse's directory.
    #[arg(long, value_name = "DIR")]
    path: Option<String>,
    /// Region of s3://.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Address of the service, where it is not the cloud's own.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// `@id` of the output, where the configuration of -c has several warehouses.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// A file for the rows instead of standard output; it appears whole or not at all.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Memory that the query may take, such as 512m; sorts and groups beyond it use the disk.
    #[arg(long, value_name = "SIZE", default_value = DEFAULT_MEMORY)]
    memory: String,
}

/// Forms of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns with lines around, for the eye.
    #[default]
    Table,
    /// Comma-separated values with a head.
    Csv,
    /// One JSON object a line.
    Json,
    /// A Parquet file.
    Parquet,
}

/// Becomes the program that runs queries, with the same arguments; gives the exit status where that can't be.
pub fn hand_over() -> u8 {
    let program = match std::env::current_exe() {
        Ok(suiro) => suiro.with_file_name(PROGRAM),
        Err(_) => PROGRAM.into(),
    };
    let failed = Command::new(&program).arg0("suiro").args(std::env::args_os().skip(1)).exec();
    let help =
        "queries are run by that program, which is built with suiro ('cargo build --release') and belongs beside it";
    eprintln!("suiro sql: {}: {failed}: {help}", program.display());
    FAILED
}
