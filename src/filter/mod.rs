//! Filters: the table of `<filter> @type`.

mod grep;
mod parser;
mod record_modifier;
mod record_transformer;
mod stdout;

#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
pub(crate) use record_transformer::FUNCTIONS as RUBY_FUNCTIONS;

use crate::plugin::{Filter, Plugin, filter};

/// One line per filter.
pub const FILTERS: &[Plugin<dyn Filter>] = &[
    filter::<grep::Grep>(&["grep"]),
    filter::<parser::Parser>(&["parser"]),
    filter::<record_modifier::RecordModifier>(&["record_modifier"]),
    filter::<record_transformer::RecordTransformer>(&["record_transformer"]),
    filter::<stdout::Stdout>(&["stdout"]),
];
