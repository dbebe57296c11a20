//! How long a buffer with a backlog takes to open, and how much memory.
//!
//! ```text
//! cargo bench --bench backlog -- make DIR MIB CHUNK_KIB APPEND_KIB [staged]   # writes a backlog, through the buffer itself
//! cargo bench --bench backlog -- open DIR                                     # opens it and prints what that took
//! ```
//!
//! `make` appends from `SENDERS` tasks, each under a tag of its own and each batch with an id of its sender. With `staged`
//! the process ends as by `kill -9`, with every chunk still open; else all chunks are sealed. `open` is a process of its
//! own, so that its peak memory is that of the opening; drop the page cache before it for cold figures. Without arguments
//! both run once over 64 MiB in a temporary directory, to show that they work.
#![allow(clippy::unwrap_used, reason = "a bench that can't go on has nothing to say")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use suiro::buffer::{Buffer, BufferConfig, BufferKind, ChunkKeys, Env, FlushMode, Origin, Overflow};
use suiro::event::{Batch, BatchBuilder, EventTime, Packing, Record, Tag, Value};

/// Tasks that append at once; each group commit serves as many as wait.
const SENDERS: u64 = 64;
/// Bytes of the one field of an event.
const TEXT_BYTES: usize = 200;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["make", dir, mib, chunk, append] => make(dir, number(mib), number(chunk), number(append), false),
        ["make", dir, mib, chunk, append, "staged"] => make(dir, number(mib), number(chunk), number(append), true),
        ["open", dir] => open(Path::new(dir)),
        [] => demonstrate(),
        _ => eprintln!("usage: make DIR MIB CHUNK_KIB APPEND_KIB [staged] | open DIR"),
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

fn demonstrate() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    for args in [&["make", dir, "64", "1024", "16"][..], &["open", dir]] {
        assert!(Command::new(std::env::current_exe().unwrap()).args(args).status().unwrap().success());
    }
}

fn config(dir: &Path, chunk: u64) -> BufferConfig {
    BufferConfig {
        id: "backlog".into(),
        kind: BufferKind::File { dir: dir.to_owned() },
        keys: ChunkKeys { tag: true, ..ChunkKeys::default() },
        chunk_limit_size: chunk,
        chunk_limit_records: None,
        total_limit_size: u64::MAX,
        queue_limit_length: None,
        queued_chunks_limit_size: None,
        chunk_full_threshold: 0.95,
        compress: Packing::Plain,
        flush_mode: FlushMode::Interval,
        flush_interval: Duration::from_secs(1 << 30),
        timekey_wait: Duration::ZERO,
        overflow: Overflow::Block,
        file_mode: 0o600,
        dir_mode: 0o700,
        flush_at_shutdown: false,
        backup_dir: PathBuf::from(dir).join("aside"),
    }
}

fn batch(tag: &str, bytes: u64) -> Batch {
    let mut builder = BatchBuilder::new();
    let text = "x".repeat(TEXT_BYTES);
    while (builder.bytes() as u64) < bytes {
        let mut record = Record::new();
        record.set(b"message", Value::str(&text));
        builder.push(EventTime::from_secs(1_700_000_000), &record);
    }
    builder.finish(Tag::from(tag))
}

fn make(dir: &str, mib: u64, chunk_kib: u64, append_kib: u64, staged: bool) {
    let (buffer, _) = Buffer::open(config(Path::new(dir), chunk_kib << 10), Env::real()).unwrap();
    let left = Arc::new(AtomicU64::new((mib << 10) / append_kib));
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let started = Instant::now();
    runtime.block_on(async {
        let send = |n| tokio::spawn(send(buffer.clone(), n, append_kib << 10, left.clone()));
        for task in (0..SENDERS).map(send).collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
    let (stats, took) = (buffer.stats(), started.elapsed());
    println!(
        "{} MiB, {} staged and {} queued chunks, in {took:.1?}",
        stats.total_bytes >> 20,
        stats.stage_length,
        stats.queue_length
    );
    if staged {
        std::process::exit(0);
    }
    buffer.flush_all();
    runtime.block_on(buffer.finish());
}

async fn send(buffer: Buffer, sender: u64, bytes: u64, left: Arc<AtomicU64>) {
    let batch = batch(&format!("app.{sender}"), bytes);
    while let Ok(n) = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)) {
        let id = [&sender.to_be_bytes()[..], &n.to_be_bytes()].concat();
        let receipt = buffer.append(&batch, &Origin::Once(id.into())).await.unwrap();
        assert!(receipt.is_durable());
    }
}

fn open(dir: &Path) {
    let started = Instant::now();
    let (buffer, report) = Buffer::open(config(dir, 256 << 20), Env::real()).unwrap();
    let took = started.elapsed();
    println!(
        "opened in {:.3} s: {} chunks ({} staged) with {} events, {} MiB; peak memory {} MiB; {} messages",
        took.as_secs_f64(),
        report.chunks,
        report.staged,
        report.records,
        buffer.stats().total_bytes >> 20,
        peak_kib() >> 10,
        report.damage.len()
    );
    report.damage.iter().take(5).for_each(|line| println!("  {line}"));
    // The directory stays as it was found: a stop in order would say that its stage was never handed out.
    std::process::exit(0);
}

/// Most memory that this process had at once, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    number(line.trim().trim_end_matches(" kB"))
}
