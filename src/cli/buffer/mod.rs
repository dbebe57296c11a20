//! `suiro buffer`: what an operator does with a buffer on the disk, one file per subcommand.
//!
//! What only looks (`ls`, `cat`, `verify`, `export`, `replay`) opens files for reading alone, whether a daemon owns the
//! directory or not. What changes something (`repair`, `drop`) takes the directory's lock first. Memory is bounded by
//! one frame, whatever the size of the buffer; a message of an exported file is read whole (`MAX_MESSAGE`).

mod cat;
mod drop;
mod export;
mod exported;
mod ls;
mod message;
pub(super) mod place;
pub(super) mod print;
mod repair;
mod replay;
mod send;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

pub(super) use cat::print_events;
pub(super) use replay::{Receiver, Source};

use super::{FAILED, Flags, OK};
use crate::plugin::Registry;

/// What is wrong with a command; printed behind the program's name.
pub(super) type Failure = String;

/// Which buffer, and what of it.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Buffer directories, directories of what was set aside, or single files of either.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The output whose buffer is meant, in the configuration of -c.
    #[arg(long, value_name = "OUTPUT")]
    pub id: Option<String>,
    /// Only this chunk; the beginning of its id will do.
    #[arg(long = "chunk", value_name = "ID")]
    pub chunks: Vec<String>,
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Columns.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

/// What events are written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Messages of the forward protocol, one per chunk and tag.
    #[default]
    Msgpack,
    /// A JSON object per line.
    Json,
}

/// Where `replay` sends to.
#[derive(Clone, Debug, Args)]
pub struct Destination {
    /// A server of the forward protocol, as HOST:PORT; each message waits for its acknowledgement.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "via", required_unless_present = "via")]
    pub to: Option<String>,
    /// An output of the configuration of -c.
    #[arg(long, value_name = "OUTPUT")]
    pub via: Option<String>,
    /// Seconds to wait for an acknowledgement.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub ack_timeout: u64,
}

/// Subcommands of `suiro buffer`.
#[derive(Clone, Debug, Subcommand)]
pub enum BufferCommand {
    /// List chunks: id, state, events, bytes, age, damaged frames, key.
    Ls {
        #[command(flatten)]
        selection: Selection,
        /// How rows are printed.
        #[arg(long, value_enum, default_value_t)]
        format: Form,
        /// Look at heads and footers alone: damaged frames are not counted.
        #[arg(long)]
        quick: bool,
    },
    /// Print events as JSON lines; status 1 when something could not be read.
    Cat {
        #[command(flatten)]
        selection: Selection,
        /// Stop after so many events.
        #[arg(long, value_name = "EVENTS")]
        limit: Option<u64>,
    },
    /// Check every frame; say file, offset and reason of what is damaged; status 1 when something is.
    Verify {
        #[command(flatten)]
        selection: Selection,
        /// How rows are printed.
        #[arg(long, value_enum, default_value_t)]
        format: Form,
    },
    /// Do what a start would do, without a daemon: set damaged ends and files aside. Takes the lock.
    Repair {
        #[command(flatten)]
        selection: Selection,
    },
    /// Write events to a file that `replay` takes.
    Export {
        #[command(flatten)]
        selection: Selection,
        /// What events are written as.
        #[arg(long, value_enum, default_value_t)]
        format: Shape,
        /// The file; standard output without it.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Send chunks, or files that `export` wrote, to a running suiro or Fluentd, under the ids that they have.
    Replay {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        destination: Destination,
    },
    /// Take chunks out of the buffer; a copy is kept in `backup`. Takes the lock.
    Drop {
        #[command(flatten)]
        selection: Selection,
        /// All chunks of the buffer.
        #[arg(long)]
        all: bool,
        /// Do it; without this, say what would be done.
        #[arg(long)]
        yes: bool,
        /// Keep no copy.
        #[arg(long)]
        no_backup: bool,
    },
}

/// Does what was asked; gives the exit status.
pub fn run(command: &BufferCommand, flags: &Flags, registry: &'static Registry) -> u8 {
    use BufferCommand::*;
    let find = |selection: &Selection| place::find(selection, flags, registry);
    let done = match command {
        Ls { selection, format, quick } => find(selection).and_then(|places| ls::run(&places, *format, *quick)),
        Cat { selection, limit } => find(selection).and_then(|places| cat::run(&places, *limit)),
        Verify { selection, format } => find(selection).and_then(|places| verify::run(&places, *format)),
        Repair { selection } => find(selection).and_then(|places| repair::run(&places)),
        Export { selection, format, to } => {
            find(selection).and_then(|places| export::run(&places, *format, to.as_deref()))
        }
        Replay { selection, destination } => replay::run(selection, destination, flags, registry),
        Drop { selection, all, yes, no_backup } => {
            let how = drop::How { all: *all, yes: *yes, keep: !*no_backup };
            find(selection).and_then(|places| drop::run(&places, how))
        }
    };
    finish(done)
}

/// The exit status of what came of a command: whether all was in order.
pub(super) fn finish(done: Result<bool, Failure>) -> u8 {
    match done {
        Ok(true) => OK,
        Ok(false) => FAILED,
        Err(why) => {
            eprintln!("suiro: {why}");
            FAILED
        }
    }
}
