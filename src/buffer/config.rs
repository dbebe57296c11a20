//! How a buffer is set up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::event::Packing;
use crate::event::RecordPath;
use crate::event::timefmt::Zone;

/// A buffer's parameters, resolved.
#[derive(Clone, Debug)]
pub struct BufferConfig {
    /// The output's id, for messages.
    pub id: String,
    /// Where chunks live.
    pub kind: BufferKind,
    /// What tells chunks apart.
    pub keys: ChunkKeys,
    /// Largest chunk, in bytes.
    pub chunk_limit_size: u64,
    /// Most events of a chunk.
    pub chunk_limit_records: Option<u64>,
    /// Largest sum of all chunks, in bytes.
    pub total_limit_size: u64,
    /// Most queued chunks.
    pub queue_limit_length: Option<usize>,
    /// Largest sum of queued chunks, in bytes.
    pub queued_chunks_limit_size: Option<usize>,
    /// Share of `chunk_limit_size` at which a chunk is full.
    pub chunk_full_threshold: f64,
    /// Compression of frames.
    pub compress: Packing,
    /// When chunks are queued.
    pub flush_mode: FlushMode,
    /// Longest time from a chunk's first event to its queueing.
    pub flush_interval: Duration,
    /// Wait for late events behind the end of a slice.
    pub timekey_wait: Duration,
    /// What happens when the buffer is full.
    pub overflow: Overflow,
    /// Permissions of files.
    pub file_mode: u32,
    /// Permissions of directories.
    pub dir_mode: u32,
    /// Whether everything is queued at the end.
    pub flush_at_shutdown: bool,
    /// Where chunks are set aside.
    pub backup_dir: PathBuf,
}

/// Where chunks live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// In the process; what they hold ends with it.
    Memory,
    /// In files of one directory.
    File {
        /// The directory; one owner at a time.
        dir: PathBuf,
    },
}

/// When chunks are queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// When the time slice and `timekey_wait` have passed; without a time key only when full.
    Lazy,
    /// After `flush_interval`, too.
    Interval,
    /// At once.
    Immediate,
}

/// What happens when the buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The append is refused.
    ThrowException,
    /// The append waits.
    Block,
    /// The oldest queued chunk is dropped and counted.
    DropOldestChunk,
}

/// What tells chunks apart.
#[derive(Clone, Debug)]
pub struct ChunkKeys {
    /// The tag.
    pub tag: bool,
    /// The time slice.
    pub time: Option<TimeKey>,
    /// Fields of the record.
    pub fields: Vec<FieldKey>,
}

/// Time slices.
#[derive(Clone, Debug)]
pub struct TimeKey {
    /// Length of a slice.
    pub seconds: u64,
    /// Zone that slices are cut in.
    pub zone: Zone,
}

impl TimeKey {
    /// The start of the slice that holds `secs`, in seconds since the epoch.
    pub fn slice(&self, secs: i64) -> i64 {
        let length = i64::try_from(self.seconds).unwrap_or(i64::MAX).max(1);
        let offset = i64::from(self.zone.offset_at(secs));
        secs - (secs + offset).rem_euclid(length)
    }
}

/// A field of the record.
#[derive(Clone, Debug)]
pub struct FieldKey {
    /// As the configuration writes it; placeholders use the same words.
    pub name: Arc<str>,
    /// Where it is.
    pub path: RecordPath,
}
