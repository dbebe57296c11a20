//! The one integration binary: a single link step for every test that looks at suiro from outside.

mod cli;
mod docs;
mod security;
mod tidy;
mod unit;
