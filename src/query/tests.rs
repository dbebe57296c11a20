//! Queries over a warehouse that was written here.
