//! Tests of the buffer as a whole.
#![allow(clippy::unwrap_used)]

pub(crate) mod fake;
mod files;
mod memory;
mod recovery;
mod sim;
