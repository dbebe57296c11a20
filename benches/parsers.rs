//! How fast lines become entries: `cargo bench --bench parsers`.
//!
//! Lines are made here, always the same ones, and read by parsers as a configuration makes them.

mod work;

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

/// Lines of one run, so that no predictor learns a single one by heart.
const LINES: u64 = 2000;

fn main() {
    divan::main();
}

#[divan::bench(args = work::FORMATS.map(|(name, ..)| name))]
fn parse(bencher: Bencher<'_, '_>, name: &str) {
    let (parser, lines) = (work::parser(name), work::lines(work::kind(name), LINES));
    let bytes: usize = lines.iter().map(String::len).sum();
    bencher.counter(BytesCount::new(bytes)).counter(ItemsCount::new(lines.len())).bench_local(|| {
        black_box(work::parse(&parser, black_box(&lines), 2 * bytes));
    });
}
