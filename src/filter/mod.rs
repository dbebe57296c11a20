//! Filters: the table of `<filter> @type`.

mod grep;
mod parser;
mod record_transformer;
mod stdout;

#[cfg(test)]
mod tests;

use crate::plugin::{Filter, Plugin, filter};

/// One line per filter.
pub const FILTERS: &[Plugin<dyn Filter>] = &[
    filter::<grep::Grep>(&["grep"]),
    filter::<parser::Parser>(&["parser"]),
    filter::<record_transformer::RecordTransformer>(&["record_transformer"]),
    filter::<stdout::Stdout>(&["stdout"]),
];
