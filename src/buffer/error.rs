//! Why a buffer did not do what it was asked, and what the caller does next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::id::ChunkId;
use crate::event::pack::InflateError;
use crate::event::{Batch, Malformed};

/// Why a buffer did not do what it was asked. An append that fails has stored nothing.
#[derive(Debug)]
pub enum BufferError {
    /// No room: try again later.
    Full {
        /// Bytes held.
        used: u64,
        /// `total_limit_size`.
        limit: u64,
    },
    /// The buffer is closed: send the batch to its successor.
    Closed,
    /// Events that no chunk can hold. Nothing was stored: bring the refused ones where failed events go, then append the
    /// rest. (Fluentd's BufferChunkOverflowError, which has stored the rest by then.)
    Oversize(Box<Oversize>),
    /// The bytes are no entries: the batch can never be stored.
    Malformed(Malformed),
    /// The packed bytes can't be unpacked: the batch can never be stored.
    Packed(InflateError),
    /// The disk is full: try again later.
    DiskFull {
        /// What could not be written.
        path: PathBuf,
    },
    /// The disk failed: try again later.
    Disk {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The disk failed so badly that nothing more is taken until a restart. What is held is still handed out.
    Broken,
    /// Another process owns the directory.
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who, as it wrote into the lock file.
        owner: String,
    },
    /// No such chunk is on its way.
    UnknownChunk(ChunkId),
}

/// Events that are too large, and those of the same batch that are not.
#[derive(Debug)]
pub struct Oversize {
    /// Size of the largest refused event, in bytes.
    pub bytes: u64,
    /// What a chunk can hold, in bytes.
    pub limit: u64,
    /// The refused events.
    pub refused: Batch,
    /// All others.
    pub rest: Batch,
}

impl BufferError {
    pub(super) fn disk(doing: &'static str, path: &Path, source: io::Error) -> BufferError {
        if is_full(&source) {
            return BufferError::DiskFull { path: path.to_owned() };
        }
        BufferError::Disk { doing, path: path.to_owned(), source }
    }

    /// Whether the same append may work later.
    pub fn may_pass(&self) -> bool {
        matches!(self, BufferError::Full { .. } | BufferError::DiskFull { .. } | BufferError::Disk { .. })
    }
}

/// Whether an I/O error says that there is no room: disk, quota or file size limit.
pub(super) fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::WriteZero
    )
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BufferError::Full { used, limit } => {
                write!(
                    f,
                    "buffer space has too many data: {used} of {limit} bytes; raise total_limit_size or speed up the target"
                )
            }
            BufferError::Closed => f.write_str("the buffer is closed"),
            BufferError::Oversize(o) => {
                write!(f, "a {} bytes record is larger than buffer chunk limit size ({})", o.bytes, o.limit)
            }
            BufferError::Malformed(e) => write!(f, "the batch can't be stored: {e}"),
            BufferError::Packed(e) => write!(f, "the batch can't be stored: {e}"),
            BufferError::DiskFull { path } => {
                write!(
                    f,
                    "the disk is full: {} could not be written; make room, and it goes on by itself",
                    path.display()
                )
            }
            BufferError::Disk { doing, path, source } => write!(f, "can't {doing} {}: {source}", path.display()),
            BufferError::Broken => {
                f.write_str("the disk failed and could not be brought back in order: nothing is taken until a restart")
            }
            BufferError::Locked { dir, owner } => {
                write!(
                    f,
                    "buffer directory {} belongs to a running process ({owner}); stop it or use another path",
                    dir.display()
                )
            }
            BufferError::UnknownChunk(id) => write!(f, "no chunk {id} is being delivered"),
        }
    }
}

impl std::error::Error for BufferError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BufferError::Disk { source, .. } => Some(source),
            BufferError::Malformed(e) => Some(e),
            BufferError::Packed(e) => Some(e),
            _ => None,
        }
    }
}
