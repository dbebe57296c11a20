//! The road's work in pieces of 1,000 events, for whoever counts: instructions, allocations.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use suiro::buffer::{Buffer, BufferConfig, BufferKind, ChunkKeys, Env, FlushMode, Origin, Overflow};
use suiro::config::{self, LoadOptions, Settings};
use suiro::daemon;
use suiro::engine::Engine;
use suiro::event::{Arena, Batch, BatchBuilder, EventTime, Packing, Record, Tag, Value};
use suiro::plugin::{Category, Process};
use tokio::runtime::Runtime;

/// Events of one piece of work.
pub const EVENTS: u32 = 1000;
/// Bytes of the one field of an event: an access log's line.
pub const LINE: &str =
    "203.0.113.9 - - [24/Nov/2026:10:00:00 +0000] \"GET /api/v1/items/24099 HTTP/1.1\" 200 39632 \"-\" \"curl/8.5\"";

/// A batch of [`EVENTS`] events of two fields.
pub fn batch(tag: &str) -> Batch {
    let mut builder = BatchBuilder::new();
    for n in 0..EVENTS {
        let mut record = Record::new();
        record.push(b"message", Value::str(LINE));
        record.push(b"n", Value::Int(i64::from(n)));
        builder.push(EventTime::from_secs(1_700_000_000), &record);
    }
    builder.finish(Tag::from(tag))
}

/// A running engine.
pub async fn started(text: &str) -> (Engine, Arc<Process>) {
    let options = LoadOptions::new(config::Surroundings::default());
    let loaded = config::load_text("bench.conf", text, &options).expect("a configuration without faults");
    let process = daemon::process(&Settings::default(), None);
    let engine = Engine::start(&loaded.root, &suiro::REGISTRY, process.clone()).await;
    (engine.unwrap_or_else(|e| panic!("{e:?}")), process)
}

/// So many routes, of which the last matches; `filters` before it. They are in the label of the own log: what is emitted
/// there passes routing as from an input, and needs none.
pub fn routes(count: usize, filters: usize) -> String {
    let filter = "<filter app.**>\n@type grep\n<regexp>\nkey message\npattern /GET/\n</regexp>\n</filter>\n";
    routes_with(count, &filter.repeat(filters))
}

/// As [`routes`], with other filters.
pub fn routes_with(count: usize, filters: &str) -> String {
    let other = |n| format!("<match other{n}.**>\n@type null\n</match>\n");
    let others: String = (1..count).map(other).collect();
    format!("<label @FLUENT_LOG>\n{filters}{others}<match app.**>\n@type null\n</match>\n</label>\n")
}

/// Events that outputs took.
pub fn taken(process: &Process) -> u64 {
    let view = process.view.lock().expect("a view").clone().expect("running plugins");
    let outputs = view.plugins().into_iter().filter(|plugin| plugin.category == Category::Output);
    outputs.flat_map(|plugin| plugin.counts).filter(|(name, _)| *name == "emit_records").map(|(_, count)| count).sum()
}

/// An open buffer.
pub fn buffer(kind: BufferKind, dir: &Path) -> Buffer {
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

/// A piece of work that can be done again and again; each time it takes [`EVENTS`] events.
pub type Work = Box<dyn FnMut()>;

/// A filter that sets, renames and removes.
const TRANSFORMER: &str = "<filter app.**>\n@type record_transformer\nremove_keys n\n<record>\nhost web-1\ntag ${tag}\n\
                           line ${record[\"n\"]}\n</record>\n</filter>\n";

/// The names of all work.
pub const NAMES: [&str; 16] = [
    "json to entries",
    "entries to json",
    "routing",
    "routing, 1 grep",
    "routing, 10 greps",
    "routing, record_transformer",
    "append to memory",
    "nginx",
    "apache2",
    "apache_error",
    "regexp",
    "ltsv",
    "csv",
    "csv_quoted",
    "syslog_5424",
    "syslog_3164",
];

/// The work of one of [`NAMES`].
pub fn work(name: &str) -> Work {
    match name {
        "json to entries" => to_entries("json"),
        "entries to json" => entries_to_json(),
        "routing" => routed(&routes(10, 0)),
        "routing, 1 grep" => routed(&routes(1, 1)),
        "routing, 10 greps" => routed(&routes(1, 10)),
        "routing, record_transformer" => routed(&routes_with(1, TRANSFORMER)),
        "append to memory" => append_to_memory(),
        parser => to_entries(parser),
    }
}

/// Lines of a format into one batch, whose memory is given back.
fn to_entries(name: &str) -> Work {
    let (parser, lines) = (super::parser(name), super::lines(super::kind(name), u64::from(EVENTS)));
    let bytes: usize = lines.iter().map(String::len).sum();
    Box::new(move || drop(black_box(super::parse(&parser, &lines, 2 * bytes))))
}

/// Entries as JSON lines.
fn entries_to_json() -> Work {
    let (parser, lines) = (super::parser("json"), super::lines("json", u64::from(EVENTS)));
    let batch = super::parse(&parser, &lines, 0);
    let formatter = super::formatter("@type json");
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        formatter.format_entries(&batch.tag, batch.bytes(), &Arena::new(), &mut out);
        black_box(&out);
    })
}

/// A batch through routing and filters to an output that drops it.
fn routed(config: &str) -> Work {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (engine, process) = runtime.block_on(started(config));
    let (emitter, batch) = (engine.log_emitter(), batch("app.0"));
    let mut is_first = true;
    Box::new(move || {
        let _ = runtime.block_on(emitter.emit(batch.clone())).expect("delivered");
        // To look costs as much as the work: once is enough, the way is the same each time.
        if std::mem::replace(&mut is_first, false) {
            assert_eq!(taken(&process), u64::from(EVENTS), "some events went elsewhere");
        }
        let _running = &engine;
    })
}

/// A batch into a buffer in memory.
fn append_to_memory() -> Work {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (buffer, batch) = (buffer(BufferKind::Memory, Path::new("/nonexistent")), batch("app"));
    Box::new(move || {
        let stored = runtime.block_on(buffer.append(&batch, &Origin::None)).expect("an append");
        assert!(!stored.is_durable());
    })
}
