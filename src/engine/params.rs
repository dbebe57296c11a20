//! The parameters of a `<buffer>` section, with Fluentd's defaults, and what they mean for buffer, flush and retry.

use std::path::PathBuf;

use serde::Deserialize;

use super::retry::{RetryPolicy, RetryType};
use crate::buffer::{FlushMode, Overflow};
use crate::config::{Size, TimeSpan};

/// `retry_timeout` where none is given: Fluentd's 72 hours.
const RETRY_TIMEOUT: f64 = 72.0 * 3600.0;

/// `<buffer CHUNK_KEYS>`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct BufferParams {
    /// Directory of a file buffer.
    pub path: Option<PathBuf>,
    /// No effect: chunk files have names of their own.
    pub path_suffix: Option<String>,
    /// Largest chunk in bytes: 8m in memory, 256m in files.
    pub chunk_limit_size: Option<Size>,
    /// Largest sum of all chunks in bytes: 512m in memory, 64g in files.
    pub total_limit_size: Option<Size>,
    /// Most events of a chunk.
    #[serde(alias = "chunk_records_limit")]
    pub chunk_limit_records: Option<u64>,
    /// Most queued chunks.
    pub queue_limit_length: Option<usize>,
    /// Largest sum of queued chunks in bytes.
    pub queued_chunks_limit_size: Option<usize>,
    /// Share of `chunk_limit_size` at which a chunk is full.
    pub chunk_full_threshold: f64,
    /// `text`, `gzip` or `zstd`.
    pub compress: Compress,
    /// Chunks that are given up are dropped instead of being set aside.
    pub disable_chunk_backup: bool,
    /// Permission of chunk files, in octal.
    pub file_permission: Option<String>,
    /// Permission of the directory, in octal.
    pub dir_permission: Option<String>,
    /// Length of a time slice.
    pub timekey: Option<TimeSpan>,
    /// Wait for late events behind the end of a slice.
    pub timekey_wait: TimeSpan,
    /// Slices are cut in UTC.
    pub timekey_use_utc: Option<bool>,
    /// Slices are cut in this zone.
    pub timekey_zone: Option<String>,
    /// Whether the queue is emptied at shutdown: true in memory, false in files.
    pub flush_at_shutdown: Option<bool>,
    /// When chunks are queued.
    pub flush_mode: Mode,
    /// Longest time from a chunk's first event to its queueing.
    pub flush_interval: Option<TimeSpan>,
    /// Writes at once; 0 keeps everything in the buffer.
    pub flush_thread_count: Option<usize>,
    /// No effect: who writes is woken as soon as a chunk is ready.
    pub flush_thread_interval: Option<TimeSpan>,
    /// No effect: chunks that are ready are written without a pause.
    pub flush_thread_burst_interval: Option<TimeSpan>,
    /// No effect: a write ends with the target's answer.
    pub delayed_commit_timeout: Option<TimeSpan>,
    /// No effect: of `file_single`, where counts are not kept in files' names.
    pub calc_num_records: Option<bool>,
    /// No effect: of `file_single`; chunks always hold MessagePack.
    pub chunk_format: Option<String>,
    /// What happens when the buffer is full.
    pub overflow_action: OverflowAction,
    /// A write that takes longer is warned of.
    pub slow_flush_log_threshold: TimeSpan,
    /// How waits between attempts grow.
    pub retry_type: Growth,
    /// First wait.
    pub retry_wait: TimeSpan,
    /// Factor of the wait.
    pub retry_exponential_backoff_base: f64,
    /// Longest wait.
    pub retry_max_interval: Option<TimeSpan>,
    /// Time from the first failure after which a chunk is given up.
    pub retry_timeout: TimeSpan,
    /// Retries after which a chunk is given up.
    #[serde(alias = "retry_limit")]
    pub retry_max_times: Option<u32>,
    /// Never give up.
    pub retry_forever: bool,
    /// Share of the whole time after which `<secondary>` takes over.
    pub retry_secondary_threshold: f64,
    /// Waits vary by an eighth.
    pub retry_randomize: bool,
}

impl Default for BufferParams {
    fn default() -> Self {
        let seconds = |s: u32| TimeSpan::secs(f64::from(s));
        BufferParams {
            path: None,
            path_suffix: None,
            chunk_limit_size: None,
            total_limit_size: None,
            chunk_limit_records: None,
            queue_limit_length: None,
            queued_chunks_limit_size: None,
            chunk_full_threshold: 0.95,
            compress: Compress::Text,
            disable_chunk_backup: false,
            file_permission: None,
            dir_permission: None,
            timekey: None,
            timekey_wait: seconds(600),
            timekey_use_utc: None,
            timekey_zone: None,
            flush_at_shutdown: None,
            flush_mode: Mode::Default,
            flush_interval: None,
            flush_thread_count: None,
            flush_thread_interval: None,
            flush_thread_burst_interval: None,
            delayed_commit_timeout: None,
            calc_num_records: None,
            chunk_format: None,
            overflow_action: OverflowAction::ThrowException,
            slow_flush_log_threshold: seconds(20),
            retry_type: Growth::ExponentialBackoff,
            retry_wait: seconds(1),
            retry_exponential_backoff_base: 2.0,
            retry_max_interval: None,
            retry_timeout: TimeSpan::secs(RETRY_TIMEOUT),
            retry_max_times: None,
            retry_forever: false,
            retry_secondary_threshold: 0.8,
            retry_randomize: true,
        }
    }
}

/// `compress`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Compress {
    /// Not compressed.
    Text,
    /// gzip
    Gzip,
    /// zstd
    Zstd,
}

/// `flush_mode`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// `lazy` with a time key, else `interval`.
    Default,
    /// When the time slice has passed.
    Lazy,
    /// After `flush_interval`.
    Interval,
    /// At once.
    Immediate,
}

/// `overflow_action`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum OverflowAction {
    /// The input is refused.
    ThrowException,
    /// The input waits.
    Block,
    /// The oldest chunk is dropped, and counted.
    DropOldestChunk,
}

/// `retry_type`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// Doubling, or times the base.
    ExponentialBackoff,
    /// Always the same.
    Periodic,
}

impl BufferParams {
    /// Parameters that are written and change nothing here, each with the reason.
    pub fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let commits = "an output's write ends with its target's answer. Use the output's own timeout (forward: ack_response_timeout)";
        let counts = "chunks know how many events they hold; take it out";
        let table = [
            (
                "path_suffix",
                self.path_suffix.is_some(),
                "chunk files have names of their own; 'path' names their directory",
            ),
            (
                "flush_thread_interval",
                self.flush_thread_interval.is_some(),
                "a chunk is written as soon as it is ready",
            ),
            (
                "flush_thread_burst_interval",
                self.flush_thread_burst_interval.is_some(),
                "chunks that are ready are written without a pause",
            ),
            ("delayed_commit_timeout", self.delayed_commit_timeout.is_some(), commits),
            ("calc_num_records", self.calc_num_records.is_some(), counts),
            (
                "chunk_format",
                self.chunk_format.is_some(),
                "chunks hold the events themselves and are formatted when written",
            ),
        ];
        table.into_iter().filter(|(_, written, _)| *written).map(|(name, _, why)| (name, why)).collect()
    }

    /// The retry schedule.
    pub fn retry(&self, has_secondary: bool) -> RetryPolicy {
        RetryPolicy {
            kind: match self.retry_type {
                Growth::ExponentialBackoff => RetryType::ExponentialBackoff,
                Growth::Periodic => RetryType::Periodic,
            },
            wait: self.retry_wait.duration(),
            base: self.retry_exponential_backoff_base,
            max_interval: self.retry_max_interval.map(|i| i.duration()),
            timeout: (!self.retry_forever).then(|| self.retry_timeout.duration()),
            max_times: self.retry_max_times.filter(|_| !self.retry_forever),
            randomize: self.retry_randomize,
            secondary_threshold: has_secondary.then_some(self.retry_secondary_threshold),
        }
    }

    /// The flush mode in force.
    pub fn mode(&self, has_time_key: bool) -> FlushMode {
        match self.flush_mode {
            Mode::Default if has_time_key => FlushMode::Lazy,
            Mode::Default | Mode::Interval => FlushMode::Interval,
            Mode::Lazy => FlushMode::Lazy,
            Mode::Immediate => FlushMode::Immediate,
        }
    }

    /// The overflow action, as the buffer names it.
    pub fn overflow(&self) -> Overflow {
        match self.overflow_action {
            OverflowAction::ThrowException => Overflow::ThrowException,
            OverflowAction::Block => Overflow::Block,
            OverflowAction::DropOldestChunk => Overflow::DropOldestChunk,
        }
    }
}
