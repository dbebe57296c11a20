//! Memory that the hot paths ask for, for 1,000 events: the counts may not grow unnoticed.
//!
//! A binary of its own, because it has an allocator of its own. The work is that of `benches/work/workloads.rs`.
#![allow(clippy::unwrap_used)]

mod counting;
#[path = "../../benches/work/mod.rs"]
mod work;

use counting::{Counts, counts};
use work::workloads;

/// Pieces of work before it is counted, until memory that is kept has grown to its size.
const WARM: usize = 20;
/// Pieces of work that are counted; the mean is compared.
const COUNTED: u64 = 50;
/// Calls that the mean may be above what is recorded: growth of tables that comes now and then.
const SPARE_CALLS: u64 = 2;
/// Share of the recorded bytes that the mean may be above them, in percent: lines and tables of other lengths.
const SPARE_BYTES: u64 = 5;

/// Work, and the calls and bytes of each 1,000 events as recorded.
const RECORDED: &[(&str, u64, u64)] = &[
    ("json to entries", 5, 440_000),
    ("entries to json", 1, 3_328),
    ("routing", 12, 2_272),
    ("routing, 1 grep", 15, 4_008),
    ("routing, record_transformer", 24, 273_200),
    ("append to memory", 12, 884),
    ("nginx", 3, 330_382),
    ("regexp", 3, 330_382),
    ("syslog_5424", 5, 299_418),
];

fn mean(name: &str) -> Counts {
    let mut work = workloads::work(name);
    (0..WARM).for_each(|_| work());
    let before = counts();
    (0..COUNTED).for_each(|_| work());
    let after = counts();
    Counts {
        calls: (after.calls - before.calls).div_ceil(COUNTED),
        bytes: (after.bytes - before.bytes).div_ceil(COUNTED),
    }
}

#[test]
fn hot_paths_ask_for_no_more_memory_than_recorded() {
    let mut above = Vec::new();
    for (name, calls, bytes) in RECORDED {
        let found = mean(name);
        println!("    (\"{name}\", {}, {}),", found.calls, found.bytes);
        if found.calls > calls + SPARE_CALLS || found.bytes > bytes + bytes * SPARE_BYTES / 100 {
            above.push(format!(
                "{name}: {} calls for {} bytes, recorded are {calls} for {bytes}",
                found.calls, found.bytes
            ));
        }
    }
    assert!(above.is_empty(), "more memory for 1,000 events than recorded:\n{}", above.join("\n"));
}

#[test]
fn the_allocator_counts() {
    let before = counts();
    let mut memory: Vec<u8> = Vec::with_capacity(1000);
    memory.extend([0; 1000]);
    memory.reserve_exact(1000);
    let after = counts();
    assert_eq!((after.calls - before.calls, after.bytes - before.bytes), (2, 2000));
}
