//! Tests of reading sections into structs.
