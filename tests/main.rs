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
mod platform;
mod remote_write;
mod report;
mod retag;
mod search;
mod security;
mod services;
mod tidy;
mod unit;
mod warehouse;
