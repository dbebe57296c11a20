//! Inputs: a table and nothing else.

pub mod forward;
pub mod http;
pub mod unix;

use crate::plugin::{InputPlugin, input};

/// Every input.
pub const INPUTS: &[InputPlugin] = &[
    input::<forward::Forward>(&["forward"]),
    input::<http::Http>(&["http"]),
    input::<unix::Unix>(&["unix"]),
];
