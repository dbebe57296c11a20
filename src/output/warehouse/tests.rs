//! Chunks into tables and out again, without an engine around.
#![allow(clippy::unwrap_used)]
