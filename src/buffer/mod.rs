//! Custody: the only place where a batch waits.
//!
//! A batch comes in through [`Buffer::append`], a sealed [`Chunk`] goes out through [`Buffer::take`] and is forgotten by
//! [`Buffer::commit`]. Layers, from the bytes up:
//!
//! - `frame`: the bytes of a chunk file; `origin`: where a batch came from; `id`, `key`: what a chunk is called.
//! - `env`: disk, clock and randomness behind a seam. `setaside`: nothing is deleted that could not be delivered.
//! - `chunk`: what an output reads. `recover`: what a former process left.
//! - `state`: staged, queued, taken, under one short lock. `owner`: the thread that writes a file buffer, with group commit.
//! - `buffer`: the calls that others make.
//!
//! Invariants: an append to a file buffer is answered only after the sync of its group; a sealed chunk's bytes never
//! change; a chunk's file is removed only after its origins are noted; the sum of all chunks stays below
//! `total_limit_size`.

#[expect(clippy::module_inception, reason = "the buffer is the layer's main type")]
mod buffer;
mod chunk;
mod config;
mod env;
mod frame;
mod id;
mod key;
mod origin;
mod owner;
mod receipt;
mod recover;
mod setaside;
mod state;

pub use buffer::{Buffer, BufferError, BufferStats};
pub use chunk::{Block, Blocks, Chunk};
pub use config::{BufferConfig, BufferKind, ChunkKeys, FieldKey, FlushMode, Overflow, TimeKey};
pub use env::{Disk, DiskFile, Env};
pub use id::ChunkId;
pub use key::{ChunkKey, KeyValue};
pub use origin::Origin;
pub use receipt::Receipt;
pub use recover::RecoveryReport;
