//! What a buffer is asked to do, and the limits that no configuration moves.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::event::timefmt::Zone;
use crate::event::{Packing, Record, RecordPath, Value};

/// Most plain bytes of one frame, unless a single entry is larger.
pub const MAX_FRAME: usize = 2 << 20;
/// Largest single entry that is taken whatever `chunk_limit_size` says, in bytes.
pub const MAX_ENTRY: u64 = 256 << 20;
/// Largest batch after inflating, in bytes.
pub const MAX_INFLATED_BATCH: usize = 64 << 20;
/// Largest encoded chunk key, in bytes; events whose key is larger are refused.
pub const MAX_KEY_BYTES: usize = 64 << 10;
/// Most staged chunks; past it the oldest are queued.
pub const MAX_STAGED_CHUNKS: usize = 10_000;
/// Most chunk files that are kept open for writing.
pub const MAX_OPEN_FILES: usize = 128;
/// Most bytes of appends that share one sync.
pub const MAX_GROUP_BYTES: u64 = 32 << 20;
/// Most appends that share one sync.
pub const MAX_GROUP_APPENDS: usize = 1024;
/// Longest wait of an append for others to share its sync with; half of what the last sync took, if that is less.
pub const LONGEST_GATHERING: Duration = Duration::from_millis(2);
/// Bytes that may wait for the disk before further appends wait in line, in bytes.
pub const MAX_PENDING_BYTES: u64 = 64 << 20;
/// Queued bytes of a memory buffer past which a source that can wait does so, if its output keeps taking chunks, in bytes; at
/// least twice `chunk_limit_size`.
pub const MAX_AHEAD_BYTES: u64 = 16 << 20;
/// Longest such wait for an output that takes nothing.
pub const AHEAD_PATIENCE: Duration = Duration::from_secs(1);
/// `Once` origins that a buffer remembers, by count.
pub const ONCE_WINDOW: usize = 100_000;
/// Accounts of the ledger of a buffer; past it tags, and days, are put together, by count.
pub const MAX_ACCOUNTS: usize = 10_000;
/// Streams whose newest position a buffer remembers, by count.
pub const STREAM_WINDOW: usize = 100_000;
/// Longest stream name or once id that is kept as it is, in bytes; longer ones are kept as their SHA-256.
pub const MAX_ORIGIN_BYTES: usize = 256;
/// Size past which the journal is rewritten, in bytes.
pub const MAX_JOURNAL_BYTES: u64 = 16 << 20;
/// Bytes kept preallocated, so that a full disk leaves room for the journal and for setting aside.
pub const RESERVE_BYTES: u64 = 1 << 20;

/// What a buffer is asked to do.
#[derive(Clone, Debug)]
pub struct BufferConfig {
    /// The `@id` of its output: names it in messages.
    pub id: String,
    /// Where chunks live.
    pub kind: BufferKind,
    /// By what events are parted.
    pub keys: ChunkKeys,
    /// Largest chunk, in bytes of entries as stored.
    pub chunk_limit_size: u64,
    /// Most events of a chunk.
    pub chunk_limit_records: Option<u64>,
    /// Bytes of all chunks past which the buffer is full. As in Fluentd, the batch that reaches it is still taken.
    pub total_limit_size: u64,
    /// Most queued chunks in Fluentd's old sense: `total_limit_size` becomes this many full chunks.
    pub queue_limit_length: Option<usize>,
    /// Queued chunks past which no chunk is queued for its age alone.
    pub queued_chunks_limit_size: Option<usize>,
    /// Share of `chunk_limit_size` (and of `chunk_limit_records`) at which a chunk is full.
    pub chunk_full_threshold: f64,
    /// How entries are stored.
    pub compress: Packing,
    /// When staged chunks are queued.
    pub flush_mode: FlushMode,
    /// Age at which a chunk is queued in [`FlushMode::Interval`].
    pub flush_interval: Duration,
    /// Pause after the end of a time slice before its chunks are queued.
    pub timekey_wait: Duration,
    /// What happens to an append when the buffer is full.
    pub overflow: Overflow,
    /// Permission of chunk files, whatever the umask.
    pub file_mode: u32,
    /// Permission of directories, whatever the umask.
    pub dir_mode: u32,
    /// At closing everything is queued and handed out; else a file buffer keeps it for the next start.
    pub flush_at_shutdown: bool,
    /// Where chunks are set aside that their target will never take.
    pub backup_dir: PathBuf,
}

impl BufferConfig {
    /// The size at which the buffer is full, in bytes.
    pub(super) fn total_limit(&self) -> u64 {
        match self.queue_limit_length {
            Some(length) => self.chunk_limit_size.saturating_mul(length as u64),
            None => self.total_limit_size,
        }
    }

    /// Most plain bytes of one frame with several entries.
    pub(super) fn frame_limit(&self) -> usize {
        MAX_FRAME.min(usize::try_from(self.chunk_limit_size).unwrap_or(usize::MAX))
    }

    /// Most entries of one frame.
    pub(super) fn frame_records(&self) -> u32 {
        let limit = self.chunk_limit_records.unwrap_or(u64::from(u32::MAX)).max(1);
        u32::try_from(limit).unwrap_or(u32::MAX)
    }

    /// Largest single entry, in bytes as stored.
    pub(super) fn entry_limit(&self) -> u64 {
        self.chunk_limit_size.min(MAX_ENTRY)
    }

    /// Whether a chunk of this size has no room at all for `bytes` and `count` more.
    pub(super) fn is_over(&self, bytes: u64, count: u64) -> bool {
        bytes > self.chunk_limit_size || self.chunk_limit_records.is_some_and(|limit| count > limit)
    }

    /// Whether a chunk of this size is to be queued.
    pub(super) fn is_full(&self, bytes: u64, count: u64) -> bool {
        let reached = |now: u64, limit: u64| now as f64 >= limit as f64 * self.chunk_full_threshold;
        reached(bytes, self.chunk_limit_size) || self.chunk_limit_records.is_some_and(|limit| reached(count, limit))
    }
}

/// Where chunks live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// In the process: gone when it ends.
    Memory,
    /// One file per chunk in a directory of the buffer's own.
    File {
        /// The directory.
        dir: PathBuf,
    },
}

/// By what events are parted into chunks.
#[derive(Clone, Debug, Default)]
pub struct ChunkKeys {
    /// By tag.
    pub tag: bool,
    /// By slices of event time.
    pub time: Option<TimeKey>,
    /// By values of the record.
    pub fields: Vec<FieldKey>,
}

/// Slices of event time.
#[derive(Clone)]
pub struct TimeKey {
    /// Length of a slice in seconds; at least 1.
    pub seconds: u64,
    /// Where days begin.
    pub zone: Arc<dyn ZoneOffset>,
}

impl TimeKey {
    /// The start of the slice that `secs` (since the epoch) lies in. Fluentd's rule: slices are counted from the local
    /// epoch of the zone.
    pub(super) fn start(&self, secs: i64) -> i64 {
        let length = i64::try_from(self.seconds.max(1)).unwrap_or(i64::MAX);
        let local = secs.saturating_add(i64::from(self.zone.offset_seconds(secs)));
        secs.saturating_sub(local.rem_euclid(length))
    }
}

impl fmt::Debug for TimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeKey").field("seconds", &self.seconds).finish_non_exhaustive()
    }
}

/// A time zone, as far as slices of time need it.
pub trait ZoneOffset: Send + Sync {
    /// Seconds east of UTC at a moment given in seconds since the epoch.
    fn offset_seconds(&self, secs: i64) -> i32;
}

impl ZoneOffset for Zone {
    fn offset_seconds(&self, secs: i64) -> i32 {
        self.offset_at(secs)
    }
}

impl FieldPath for RecordPath {
    fn get<'a>(&self, record: &Record<'a>) -> Option<Value<'a>> {
        RecordPath::get(self, record)
    }
}

/// A fixed offset in seconds east of UTC.
impl ZoneOffset for i32 {
    fn offset_seconds(&self, _secs: i64) -> i32 {
        *self
    }
}

/// A record value that chunks are parted by.
#[derive(Clone)]
pub struct FieldKey {
    /// As the configuration names it.
    pub name: Arc<str>,
    /// How it is found.
    pub path: Arc<dyn FieldPath>,
}

impl fmt::Debug for FieldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FieldKey").field(&self.name).finish()
    }
}

/// Finds a value in a record.
pub trait FieldPath: Send + Sync {
    /// The value, where the record has it.
    fn get<'a>(&self, record: &Record<'a>) -> Option<Value<'a>>;
}

/// A field of the record itself.
impl FieldPath for Arc<str> {
    fn get<'a>(&self, record: &Record<'a>) -> Option<Value<'a>> {
        record.get(self.as_bytes())
    }
}

/// When staged chunks are queued. A full chunk always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushMode {
    /// When their time slice and `timekey_wait` have passed; without a time key, only when full.
    Lazy,
    /// When they are `flush_interval` old.
    Interval,
    /// With the append that made them.
    Immediate,
}

/// What happens to an append when the buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It fails with [`BufferError::Full`](super::BufferError::Full).
    ThrowException,
    /// It waits, in order.
    Block,
    /// The oldest queued chunks make room, and are counted.
    DropOldestChunk,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_begin_at_the_zones_own_midnight() {
        let day = |offset: i32| TimeKey { seconds: 86_400, zone: Arc::new(offset) };
        assert_eq!(day(0).start(1_704_067_200 + 5), 1_704_067_200);
        assert_eq!(day(9 * 3600).start(1_704_067_200), 1_704_067_200 - 9 * 3600);
        assert_eq!(day(-3600).start(1_704_067_200), 1_704_067_200 - 23 * 3600);
        assert_eq!(day(0).start(-1), -86_400);
    }
}
