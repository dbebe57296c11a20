//! Bodies: read with a limit and a pace, and unpacked with a limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::event::Packing;
use crate::event::pack::{self, InflateError};

/// How long a sender may pause within a body.
const BODY_PAUSE: Duration = Duration::from_secs(10);

/// From here on a body must come at [`MIN_RATE`], counted from its beginning.
const SLOW_GRACE: Duration = Duration::from_secs(30);

/// Least pace of a body, in bytes a second.
const MIN_RATE: u64 = 1024;

/// Memory taken at once for a body that announces its length, in bytes; a longer one gets more as it arrives.
const FIRST_RESERVE: u64 = 1024 * 1024;

/// Packed bodies larger than this many bytes are unpacked away from the threads that serve connections.
const UNPACK_HERE: usize = 64 * 1024;

/// What unpacking may take in memory at a time: one body for each of these, up to the limit of its input.
const UNPACKING_AT_ONCE: usize = 2;

/// Bodies that are being unpacked, in the whole process.
static UNPACKING: Semaphore = Semaphore::const_new(UNPACKING_AT_ONCE);

/// Memory that the bodies of one server may take together.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// So many bytes.
    pub fn new(bytes: usize) -> Arc<Budget> {
        Arc::new(Budget { left: AtomicUsize::new(bytes) })
    }

    /// Nothing yet; dropped, it gives back what it has grown to.
    pub fn lease(self: &Arc<Budget>) -> Lease {
        Lease { budget: self.clone(), bytes: 0 }
    }
}

/// A body's share of a [`Budget`].
#[derive(Debug)]
pub struct Lease {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Lease {
    /// Takes so many bytes more; `false` when they are not there.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.budget.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Relaxed);
    }
}

/// Why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// Other bodies take all the memory that there is for them. It may be sent again later.
    Busy,
    /// It is larger than the limit. Nothing more of it should be read: the connection is to be closed.
    TooLarge,
    /// It came too slowly.
    TooSlow,
    /// It was cut off, or its chunks are malformed.
    Broken(hyper::Error),
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BodyError::Busy => f.write_str("too many bodies at once"),
            BodyError::TooLarge => f.write_str("body is larger than the limit"),
            BodyError::TooSlow => f.write_str("body comes too slowly"),
            BodyError::Broken(e) => write!(f, "body is broken: {e}"),
        }
    }
}

impl std::error::Error for BodyError {}

/// Reads a whole body of at most `limit` bytes, taking from `lease` as it comes. A body that comes in one piece is not
/// copied.
pub async fn read_body(mut body: Incoming, limit: usize, lease: &mut Lease) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    let started = Instant::now();
    let Some(first) = next(&mut body, started, 0).await? else { return Ok(Bytes::new()) };
    admit(0, first.len(), limit, lease)?;
    if body.is_end_stream() {
        return Ok(first);
    }
    let expected = (first.len() as u64).saturating_add(body.size_hint().lower()).min(FIRST_RESERVE);
    let mut whole = BytesMut::with_capacity(expected as usize);
    whole.extend_from_slice(&first);
    while let Some(piece) = next(&mut body, started, whole.len() as u64).await? {
        admit(whole.len(), piece.len(), limit, lease)?;
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

fn admit(have: usize, more: usize, limit: usize, lease: &mut Lease) -> Result<(), BodyError> {
    match have.saturating_add(more) {
        whole if whole > limit => Err(BodyError::TooLarge),
        _ if !lease.grow(more) => Err(BodyError::Busy),
        _ => Ok(()),
    }
}

async fn next(body: &mut Incoming, started: Instant, got: u64) -> Result<Option<Bytes>, BodyError> {
    let slow = started.elapsed().saturating_sub(SLOW_GRACE).as_secs();
    if slow.saturating_mul(MIN_RATE) > got {
        return Err(BodyError::TooSlow);
    }
    loop {
        let frame = tokio::time::timeout(BODY_PAUSE, body.frame()).await.map_err(|_| BodyError::TooSlow)?;
        match frame.transpose().map_err(BodyError::Broken)? {
            None => return Ok(None),
            // Trailers say nothing about the events.
            Some(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Why a body was not unpacked.
#[derive(Debug)]
pub enum DecodeError {
    /// More comes out than the limit, or it is damaged.
    Inflate(InflateError),
    /// Compressed in a way that is not known here.
    Unknown,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DecodeError::Inflate(e) => e.fmt(f),
            DecodeError::Unknown => f.write_str("unknown content encoding. Use gzip, deflate or zstd"),
        }
    }
}

impl std::error::Error for DecodeError {}

enum Coding {
    None,
    Packed(Packing),
    Zlib,
}

/// A `Content-Encoding` that is not known is taken for none unless it names a compression: senders put character sets
/// there, and Fluentd lets them.
fn coding(name: &str) -> Result<Coding, DecodeError> {
    let name = name.trim().to_ascii_lowercase();
    match name.as_str() {
        "gzip" | "x-gzip" => Ok(Coding::Packed(Packing::Gzip)),
        "deflate" => Ok(Coding::Zlib),
        "zstd" => Ok(Coding::Packed(Packing::Zstd)),
        "br" | "compress" | "x-compress" | "lz4" | "snappy" => Err(DecodeError::Unknown),
        _ if name.contains(',') => Err(DecodeError::Unknown),
        _ => Ok(Coding::None),
    }
}

/// Undoes a `Content-Encoding`; at most `limit` bytes come out, counted while inflating. Bodies without one come back as
/// they are.
pub async fn decode(body: Bytes, encoding: Option<&str>, limit: usize) -> Result<Bytes, DecodeError> {
    let unpack = match coding(encoding.unwrap_or_default())? {
        Coding::None => return Ok(body),
        Coding::Zlib => |body: &[u8], limit| pack::inflate_zlib(body, limit),
        Coding::Packed(Packing::Gzip) => |body: &[u8], limit| pack::inflate(body, Packing::Gzip, limit),
        Coding::Packed(_) => |body: &[u8], limit| pack::inflate(body, Packing::Zstd, limit),
    };
    let _place = UNPACKING.acquire().await;
    let plain = if body.len() <= UNPACK_HERE {
        unpack(&body, limit)
    } else {
        let unpacked = tokio::task::spawn_blocking(move || unpack(&body, limit)).await;
        unpacked.unwrap_or_else(|e| Err(InflateError::Corrupt(std::io::Error::other(e))))
    };
    plain.map(Bytes::from).map_err(DecodeError::Inflate)
}
