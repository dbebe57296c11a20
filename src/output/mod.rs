//! Outputs: the table of `<match> @type`. `copy`, `relabel` and `roundrobin` are targets of the engine's routes.

mod buffer;
mod exec;
mod exec_filter;
mod file;
mod forward;
mod http;
mod null;
mod secondary_file;
mod stdout;

use crate::plugin::{DynOutput, Plugin, output};

/// One line per output.
pub const OUTPUTS: &[Plugin<dyn DynOutput>] = &[
    output::<buffer::Buffer>(&["buffer"]),
    output::<exec::Exec>(&["exec"]),
    output::<exec_filter::ExecFilter>(&["exec_filter"]),
    output::<file::File>(&["file"]),
    output::<forward::Forward>(&["forward"]),
    output::<http::Http>(&["http"]),
    output::<null::Null>(&["null"]),
    output::<secondary_file::SecondaryFile>(&["secondary_file"]),
    output::<stdout::Stdout>(&["stdout"]),
];
