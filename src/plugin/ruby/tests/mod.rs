//! Tests of the interpreted subset of Ruby.
