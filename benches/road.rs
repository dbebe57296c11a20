//! The road of an event, part by part and whole: `cargo bench --bench road`.
//!
//! Routing through patterns and filters to an output that drops everything; appends to a buffer in memory, and in a file
//! with the sync behind each group, by one sender and by sixteen; and a whole run from a tailed file to a file.
#![allow(clippy::expect_used, reason = "a bench that can't go on has nothing to say")]

mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use suiro::buffer::{BufferKind, Origin};
use suiro::event::Batch;
use tokio::runtime::Runtime;
use work::workloads::{EVENTS, LINE, batch, buffer, routes, started, taken};

/// Lines of the file that a whole run reads.
const LINES: usize = 200_000;
/// Senders of the appends that share a sync.
const SENDERS: usize = 16;
/// How long a stop may take.
const DEADLINE: Duration = Duration::from_secs(10);

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

// ---- routing ----

fn route(bencher: Bencher<'_, '_>, config: &str, tags: usize) {
    let runtime = runtime();
    let (engine, process) = runtime.block_on(started(config));
    let batches: Vec<Batch> = (0..tags).map(|n| batch(&format!("app.{n}"))).collect();
    let emitter = engine.log_emitter();
    let mut turn = batches.iter().cycle();
    let mut emitted = 0;
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        let next = turn.next().cloned().expect("a batch");
        emitted += u64::from(EVENTS);
        runtime.block_on(emitter.emit(next)).expect("delivered")
    });
    assert_eq!(taken(&process), emitted, "some events went elsewhere");
    runtime.block_on(engine.stop(DEADLINE));
}

#[divan::bench(args = [1, 10, 50])]
fn routing_past_routes(bencher: Bencher<'_, '_>, count: usize) {
    route(bencher, &routes(count, 0), 1);
}

#[divan::bench(args = [1, 100, 10_000])]
fn routing_of_tags(bencher: Bencher<'_, '_>, tags: usize) {
    route(bencher, &routes(10, 0), tags);
}

#[divan::bench(args = [1, 10])]
fn routing_through_filters(bencher: Bencher<'_, '_>, filters: usize) {
    route(bencher, &routes(1, filters), 1);
}

// ---- appends ----

/// Appends by so many senders at once; each waits for its receipt.
fn append(bencher: Bencher<'_, '_>, in_file: bool, senders: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let kind = if in_file { BufferKind::File { dir: dir.path().join("buffer") } } else { BufferKind::Memory };
    let (buffer, runtime, batch) = (buffer(kind, dir.path()), runtime(), batch("app"));
    let bytes = batch.bytes().len() * senders;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..senders {
                let (buffer, batch) = (buffer.clone(), batch.clone());
                tasks.spawn(
                    async move { buffer.append(&batch, &Origin::None).await.map(|receipt| receipt.is_durable()) },
                );
            }
            while let Some(stored) = tasks.join_next().await {
                assert_eq!(stored.expect("a task").expect("an append"), in_file);
            }
        });
    });
}

#[divan::bench(args = [1, SENDERS])]
fn append_to_memory(bencher: Bencher<'_, '_>, senders: usize) {
    append(bencher, false, senders);
}

#[divan::bench(args = [1, SENDERS])]
fn append_to_file_synced(bencher: Bencher<'_, '_>, senders: usize) {
    append(bencher, true, senders);
}

// ---- the whole ----

async fn run(dir: &Path, buffer: &str) {
    let (work, out) = (dir.display(), dir.join("out.log"));
    let (engine, _) = started(&format!(
        "<source>\n@type tail\npath {work}/in.log\npos_file {work}/pos\ntag t\nread_from_head true\n<parse>\n@type none\n</parse>\n</source>\n\
         <match t>\n@type file\npath {work}/out\nappend true\n<format>\n@type single_value\n</format>\n\
         <buffer []>\n@type {buffer}\npath {work}/buffer\nflush_interval 0.1\n</buffer>\n</match>\n"
    ))
    .await;
    let whole = ((LINE.len() + 1) * LINES) as u64;
    while std::fs::metadata(&out).map_or(0, |m| m.len()) < whole {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    engine.stop(DEADLINE).await;
}

#[divan::bench(args = ["memory", "file"], sample_count = 10, sample_size = 1)]
fn tail_to_file(bencher: Bencher<'_, '_>, buffer: &str) {
    let runtime = runtime();
    let prepared = || {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("in.log"), format!("{LINE}\n").repeat(LINES)).expect("a log");
        Arc::new(dir)
    };
    let bytes = (LINE.len() + 1) * LINES;
    bencher.counter(BytesCount::new(bytes)).with_inputs(prepared).bench_local_values(|dir| {
        runtime.block_on(run(dir.path(), buffer));
        dir
    });
}
