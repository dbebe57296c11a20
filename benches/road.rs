//! The road of an event, part by part and whole: `cargo bench --bench road`.
//!
//! Routing through patterns and filters to an output that drops everything; appends to a buffer in memory, and in a file
//! with the sync behind each group, by one sender and by sixteen; and a whole run from a tailed file to a file.
#![allow(clippy::expect_used, reason = "a bench that can't go on has nothing to say")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use suiro::buffer::{Buffer, BufferConfig, BufferKind, ChunkKeys, Env, FlushMode, Origin, Overflow};
use suiro::config::{self, LoadOptions, Settings};
use suiro::daemon;
use suiro::engine::Engine;
use suiro::event::{Batch, BatchBuilder, EventTime, Packing, Record, Tag, Value};
use suiro::plugin::{Category, Process};
use tokio::runtime::Runtime;

/// Events of a batch that is routed or appended.
const EVENTS: u32 = 1000;
/// Bytes of the one field of an event: an access log's line.
const LINE: &str =
    "203.0.113.9 - - [24/Nov/2026:10:00:00 +0000] \"GET /api/v1/items/24099 HTTP/1.1\" 200 39632 \"-\" \"curl/8.5\"";
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

fn batch(tag: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    for n in 0..EVENTS {
        let mut record = Record::new();
        record.push(b"message", Value::str(LINE));
        record.push(b"n", Value::Int(i64::from(n)));
        builder.push(EventTime::from_secs(1_700_000_000), &record);
    }
    builder.finish(Tag::from(tag))
}

async fn started(text: &str) -> (Engine, Arc<Process>) {
    let options = LoadOptions::new(config::Surroundings::default());
    let loaded = config::load_text("bench.conf", text, &options).expect("a configuration without faults");
    let process = daemon::process(&Settings::default(), None);
    let engine = Engine::start(&loaded.root, &suiro::REGISTRY, process.clone()).await;
    (engine.unwrap_or_else(|e| panic!("{e:?}")), process)
}

// ---- routing ----

/// So many routes, of which the last matches; `filters` before it. They are in the label of the own log: what is emitted
/// there passes routing as from an input, and needs none.
fn routes(count: usize, filters: usize) -> String {
    let filter = "<filter app.**>\n@type grep\n<regexp>\nkey message\npattern /GET/\n</regexp>\n</filter>\n";
    let other = |n| format!("<match other{n}.**>\n@type null\n</match>\n");
    let others: String = (1..count).map(other).collect();
    format!("<label @FLUENT_LOG>\n{}{others}<match app.**>\n@type null\n</match>\n</label>\n", filter.repeat(filters))
}

/// Events that outputs took.
fn taken(process: &Process) -> u64 {
    let view = process.view.lock().expect("a view").clone().expect("running plugins");
    let outputs = view.plugins().into_iter().filter(|plugin| plugin.category == Category::Output);
    outputs.flat_map(|plugin| plugin.counts).filter(|(name, _)| *name == "emit_records").map(|(_, count)| count).sum()
}

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

fn buffer(kind: BufferKind, dir: &Path) -> Buffer {
    let config = BufferConfig {
        id: "bench".into(),
        kind,
        keys: ChunkKeys::default(),
        chunk_limit_size: 8 << 20,
        chunk_limit_records: None,
        total_limit_size: 64 << 20,
        queue_limit_length: None,
        queued_chunks_limit_size: None,
        chunk_full_threshold: 0.95,
        compress: Packing::Plain,
        flush_mode: FlushMode::Lazy,
        flush_interval: Duration::from_secs(60),
        timekey_wait: Duration::ZERO,
        overflow: Overflow::DropOldestChunk,
        file_mode: 0o600,
        dir_mode: 0o700,
        flush_at_shutdown: false,
        backup_dir: dir.join("backup"),
    };
    Buffer::open(config, Env::real()).expect("an open buffer").0
}

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
