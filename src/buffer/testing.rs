//! What the tests of this layer share.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use super::config::{BufferConfig, BufferKind, ChunkKeys, FlushMode, Overflow};
#[cfg(test)]
use super::{Chunk, ChunkKey};
use crate::event::Packing;
#[cfg(test)]
use crate::event::{Batch, BatchBuilder, EventTime, Record, Tag, Value};

/// A memory buffer with Fluentd's defaults.
pub(super) fn config() -> BufferConfig {
    BufferConfig {
        id: "test".to_owned(),
        kind: BufferKind::Memory,
        keys: ChunkKeys::default(),
        chunk_limit_size: 8 << 20,
        chunk_limit_records: None,
        total_limit_size: 512 << 20,
        queue_limit_length: None,
        queued_chunks_limit_size: None,
        chunk_full_threshold: 0.95,
        compress: Packing::Plain,
        flush_mode: FlushMode::Interval,
        flush_interval: Duration::from_secs(60),
        timekey_wait: Duration::from_secs(600),
        overflow: Overflow::ThrowException,
        file_mode: 0o600,
        dir_mode: 0o700,
        flush_at_shutdown: true,
        backup_dir: PathBuf::from("/aside"),
    }
}

/// A file buffer in a directory, which leaves what it has on the disk when it closes.
pub(crate) fn file_buffer(dir: &std::path::Path) -> BufferConfig {
    let kind = BufferKind::File { dir: dir.to_owned() };
    BufferConfig { kind, flush_at_shutdown: false, backup_dir: dir.join("aside"), ..config() }
}

/// A batch of events: their seconds, and the text of their one field `m`.
#[cfg(test)]
pub(super) fn events(tag: &str, rows: &[(i64, &str)]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (secs, text) in rows {
        let mut record = Record::new();
        record.set(b"m", Value::str(text));
        builder.push(EventTime::from_secs(*secs), &record);
    }
    builder.finish(Tag::from(tag))
}

/// A chunk of events `{"n":0}`, `{"n":1}` ..., at as many seconds, under the tag `a.b`.
#[cfg(test)]
pub(crate) fn numbered(count: i64) -> Chunk {
    let mut batch = BatchBuilder::new();
    for n in 0..count {
        let mut record = Record::new();
        record.push(b"n", Value::Int(n));
        batch.push(EventTime::from_secs(n), &record);
    }
    Chunk::of(ChunkKey::default(), &batch.finish(Tag::from("a.b")))
}
