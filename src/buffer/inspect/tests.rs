//! A look from outside.
