//! The one integration binary: a single link step for every test that looks at suiro from outside.

mod backfill;
mod bigquery;
mod buffer_tools;
mod cli;
mod daemon;
mod databases;
mod docs;
mod examples;
mod faults;
mod kafka;
mod listening;
mod objects;
mod options;
mod report;
mod security;
mod tidy;
mod unit;
mod warehouse;
