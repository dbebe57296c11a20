//! The one integration binary: a single link step for every test that looks at suiro from outside.

mod cli;
mod docs;
mod tidy;
mod unit;
