//! Outputs: a table and nothing else.

pub mod forward;

use crate::plugin::{DynOutput, Plugin, output};

/// Every output.
pub const OUTPUTS: &[Plugin<dyn DynOutput>] = &[output::<forward::Forward>(&["forward"])];
