//! A staged chunk in memory: its frames so far, or the file that they are in, and those of the group under way.

use std::sync::Arc;
use std::time::Instant;

use super::files::{Framed, StagedFile, Total};
use super::format::Header;
use super::id::ChunkId;
use super::key::ChunkKey;
use super::origin::Origin;
use super::receipt::Done;
use super::split::Frame;

/// A chunk that still takes events.
pub(super) struct Open {
    pub(super) key: Arc<ChunkKey>,
    /// Microseconds since the epoch.
    pub(super) created: i64,
    pub(super) born: Instant,
    pub(super) total: Total,
    pub(super) has_origins: bool,
    pub(super) done: Done,
    pub(super) body: Body,
    /// On the list of those that are sealed after the present group.
    pub(super) sealing: bool,
    /// Frames of the present group.
    pub(super) fresh: Vec<Framed>,
    fresh_bytes: u64,
    fresh_count: u64,
}

pub(super) enum Body {
    Memory(Vec<Frame>),
    File(StagedFile),
}

impl Open {
    pub(super) fn new(key: Arc<ChunkKey>, created: i64, born: Instant, body: Body) -> Open {
        Open {
            key,
            created,
            born,
            total: Total::default(),
            has_origins: false,
            done: Done::watched(),
            body,
            sealing: false,
            fresh: Vec::new(),
            fresh_bytes: 0,
            fresh_count: 0,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.total.bytes + self.fresh_bytes
    }

    pub(super) fn count(&self) -> u64 {
        self.total.count + self.fresh_count
    }

    pub(super) fn add(&mut self, framed: Framed) {
        self.fresh_bytes += framed.frame.payload.len() as u64;
        self.fresh_count += u64::from(framed.frame.count);
        self.fresh.push(framed);
    }

    pub(super) fn drop_fresh(&mut self) {
        self.fresh.clear();
        (self.fresh_bytes, self.fresh_count) = (0, 0);
    }

    /// The present group is acknowledged.
    pub(super) fn keep_fresh(&mut self, group: u64) {
        for framed in self.fresh.drain(..) {
            self.total.add_stored(&framed, self.key.tag.as_ref(), group);
            match &mut self.body {
                Body::Memory(frames) => frames.push(framed.frame),
                Body::File(_) => {
                    self.has_origins |= framed.origin != Origin::None;
                    self.total.origins.note(&framed.origin);
                }
            }
        }
        (self.fresh_bytes, self.fresh_count) = (0, 0);
        if let Body::File(file) = &mut self.body {
            file.keep();
        }
    }

    pub(super) fn file(&mut self) -> Option<&mut StagedFile> {
        match &mut self.body {
            Body::File(file) => Some(file),
            Body::Memory(_) => None,
        }
    }

    pub(super) fn header(&self, id: ChunkId) -> Header {
        Header { id, created: self.created, key: (*self.key).clone() }
    }
}
