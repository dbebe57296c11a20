//! Formatters: the table of `<format> @type`.

mod csv;
mod hash;
mod json;
mod ltsv;
mod msgpack;
mod newline;
mod out_file;
mod parquet;
mod single_value;
mod stdout;
mod text;
mod tsv;

use crate::plugin::{Formatter, Plugin, formatter};

/// One line per formatter.
pub const FORMATTERS: &[Plugin<dyn Formatter>] = &[
    formatter::<csv::Csv>(&["csv"]),
    formatter::<hash::Hash>(&["hash"]),
    formatter::<json::Json>(&["json"]),
    formatter::<ltsv::Ltsv>(&["ltsv"]),
    formatter::<msgpack::Msgpack>(&["msgpack"]),
    formatter::<out_file::OutFile>(&["out_file"]),
    formatter::<parquet::Parquet>(&["parquet"]),
    formatter::<single_value::SingleValue>(&["single_value"]),
    formatter::<stdout::Stdout>(&["stdout"]),
    formatter::<tsv::Tsv>(&["tsv"]),
];
