//! The input as a whole, against real files, with a route that collects.
#![allow(clippy::unwrap_used)]

mod flow;
mod harness;
mod restart;
mod rotation;
mod text;
mod watching;

pub(super) use harness::{followed, memory_buffer};
