//! The contract every plugin is written against, and the few helpers they share. No sockets are opened and no task is
//! started here.

mod absent;
mod beneath;
mod context;
mod contract;
mod emitter;
mod inject;
mod inspect;
pub mod jobs;
mod ledger;
mod pieces;
mod registry;
mod render;
pub mod ruby;
mod scope;
mod stop;
mod template;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
mod timed;
mod timeparams;
mod tlsparams;
pub mod web;

pub use beneath::{Opened, Root, is_bad_name};
pub use context::{
    BufferDefaults, BuildContext, LogFile, Process, chunk_key_names, directory_of, find, home, unknown_type,
};
pub use contract::{
    Configure, EachEvent, Event, Failure, Filter, Formatter, Input, InputError, MAX_REFUSED, MultilineRule, Output,
    ParseError, Parser, RefusedEvent, Settling, Verdict, WholeFile, WholeFormat, WriteError,
};
pub use emitter::{BoxFuture, EmitError, Emitter, Route};
pub use inject::{Extract, Inject};
pub use inspect::{BufferView, Category, Inspect, PluginView};
pub use ledger::{LedgerRow, merge_ledger, read_ledger, write_ledger};
pub use pieces::{Cut, Pieces};
pub use registry::{DynInput, DynOutput, InputPlugin, Plugin, Registry, filter, formatter, input, output, parser};
pub use render::Render;
pub use scope::{SCOPE_TARGET, scope};
pub use stop::{Stop, Stopper};
pub use template::{Template, path_part};
pub use timeparams::TimeParams;
pub use tlsparams::{TlsParams, VerifyMode, checked};
