//! Filters: the table of `<filter> @type`.

mod grep;
mod parser;
mod stdout;

use crate::plugin::{Filter, Plugin, filter};

/// One line per filter.
pub const FILTERS: &[Plugin<dyn Filter>] = &[
    filter::<grep::Grep>(&["grep"]),
    filter::<parser::Parser>(&["parser"]),
    filter::<stdout::Stdout>(&["stdout"]),
];
