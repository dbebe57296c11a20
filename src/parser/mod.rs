//! Parsers: the table of `<parse> @type`.

mod apache2;
mod common;
mod convert;
mod cri;
mod json;
mod lines;
mod ltsv;
mod msgpack;
mod multi_format;
mod multiline;
mod none;
mod regexp;
mod separator;
mod syslog;
mod values;

#[cfg(test)]
mod tests;

use crate::plugin::{Parser, Plugin, parser};

/// One line per parser.
pub const PARSERS: &[Plugin<dyn Parser>] = &[
    parser::<apache2::Apache2>(&["apache2"]),
    parser::<cri::Cri>(&["cri"]),
    parser::<json::Json>(&["json"]),
    parser::<ltsv::Ltsv>(&["ltsv"]),
    parser::<msgpack::Msgpack>(&["msgpack"]),
    parser::<multi_format::MultiFormat>(&["multi_format"]),
    parser::<multiline::Multiline>(&["multiline"]),
    parser::<none::None>(&["none"]),
    parser::<regexp::Fixed<regexp::Apache>>(&["apache"]),
    parser::<regexp::Fixed<regexp::ApacheError>>(&["apache_error"]),
    parser::<regexp::Fixed<regexp::Nginx>>(&["nginx"]),
    parser::<regexp::RegexpParser>(&["regexp"]),
    parser::<syslog::Syslog>(&["syslog"]),
    parser::<values::Csv>(&["csv"]),
    parser::<values::Tsv>(&["tsv"]),
];
