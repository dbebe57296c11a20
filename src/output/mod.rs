//! Outputs: the table of `<match> @type`. `copy`, `relabel` and `roundrobin` are targets of the engine's routes.

mod file;
mod null;
mod stdout;

use crate::plugin::{DynOutput, Plugin, output};

/// One line per output.
pub const OUTPUTS: &[Plugin<dyn DynOutput>] = &[
    output::<file::File>(&["file"]),
    output::<null::Null>(&["null"]),
    output::<stdout::Stdout>(&["stdout"]),
];
