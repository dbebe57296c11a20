//! What is fuzzed: each function takes any bytes and must come back, without a panic and in bounded memory.
//!
//! `fuzz/` runs them under cargo-fuzz (`cfg(fuzzing)`); the tests run a few thousand seeded mutations of the same corpus,
//! so that no nightly toolchain is needed to notice a fault. Nothing of this is in a release build.

mod data;
#[cfg(test)]
mod tests;
mod text;

pub use data::{chunk, forward, http, otlp, positions};
pub use text::{config, json, regexp, ruby, syslog, time_format};

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::config::{LoadOptions, Surroundings, load_text};
use crate::plugin::BuildContext;
use crate::plugin::testing::process;

/// A body of a target.
pub type Target = fn(&[u8]);

/// All targets by the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("chunk", chunk),
    ("config", config),
    ("forward", forward),
    ("http", http),
    ("json", json),
    ("otlp", otlp),
    ("positions", positions),
    ("regexp", regexp),
    ("ruby", ruby),
    ("syslog", syslog),
    ("time_format", time_format),
];

/// Most bytes of one input, as fuzzers are told too.
pub const MAX_INPUT: usize = 64 << 10;

/// Calls `build` with the context of the one section in `config`; the configurations here are good ones.
fn with_context<T>(config: &str, build: impl FnOnce(&mut BuildContext<'_>) -> Option<T>) -> Option<T> {
    let loaded = load_text("fuzz.conf", config, &LoadOptions::new(Surroundings::default())).ok()?;
    let mut faults = crate::config::Diagnostics::new();
    let process = process(false);
    let section = loaded.root.children.first()?;
    build(&mut BuildContext::new(section, &process, &crate::REGISTRY, &mut faults))
}

/// What a future gives that is ready at once; `None` where it waits.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// The first byte and the rest.
fn split(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest))
}

/// The first line and the rest.
fn line_and_rest(data: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', data).unwrap_or(data.len());
    (&data[..end], data.get(end + 1..).unwrap_or_default())
}
