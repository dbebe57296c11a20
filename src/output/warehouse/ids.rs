//! Which chunks a table holds: what makes a chunk that comes again after a lost answer or a crash recognised.
//!
//! Each snapshot's summary names the chunks that it brought. When snapshots expire their chunks go to a file that the
//! table's properties name; it is only read for chunks that were made before the newest of those snapshots.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::spec::{SnapshotRef, TableMetadata};

use super::fault::Done;
use super::table::{Table, Version};
use crate::buffer::ChunkId;

/// The entry of a snapshot's summary: ids, with commas between.
pub const CHUNKS: &str = "suiro.chunks";
/// The property with the URL of the file of older ids, one a line.
pub const OLDER: &str = "suiro.chunks.older";
/// The property with the time of the newest snapshot whose ids are in that file: milliseconds since the epoch.
pub const UNTIL: &str = "suiro.chunks.until";

/// Chunks of expired snapshots that a table remembers.
pub const MAX_REMEMBERED: usize = 100_000;

/// How far the clocks of hosts that write to one table may be apart, in milliseconds: an id has the time of its host.
const CLOCK_SLACK_MS: u64 = 3_600_000;

/// The file of older ids as it was read last, by its URL.
#[derive(Debug, Default)]
pub struct Older(Mutex<Option<(String, Arc<HashSet<ChunkId>>)>>);

/// As a summary has them.
pub fn text(ids: &[ChunkId]) -> String {
    ids.iter().map(ChunkId::to_string).collect::<Vec<_>>().join(",")
}

fn parse(text: &str) -> impl Iterator<Item = ChunkId> {
    text.split([',', '\n']).filter_map(|id| ChunkId::parse(id.trim()))
}

/// The chunks that some of a version's snapshots name.
pub fn of(metadata: &TableMetadata, which: impl Fn(&SnapshotRef) -> bool) -> impl Iterator<Item = ChunkId> {
    let snapshots = metadata.snapshots().filter(move |snapshot| which(snapshot));
    let texts = snapshots.filter_map(|snapshot| snapshot.summary().additional_properties.get(CHUNKS));
    texts.flat_map(|text| parse(text))
}

/// Whether a chunk's events are in the table.
pub async fn holds(table: &Table, version: &Version, id: ChunkId, older: &Older) -> Done<bool> {
    let metadata = &version.metadata;
    if of(metadata, |_| true).any(|known| known == id) {
        return Ok(true);
    }
    let property = |name: &str| metadata.properties().get(name);
    let until = property(UNTIL).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    match property(OLDER) {
        Some(url) if id.micros() / 1_000 <= until.saturating_add(CLOCK_SLACK_MS) => {
            Ok(older.read(table, metadata, url).await?.contains(&id))
        }
        _ => Ok(false),
    }
}

impl Older {
    /// The ids of the file.
    pub async fn read(&self, table: &Table, metadata: &TableMetadata, url: &str) -> Done<Arc<HashSet<ChunkId>>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, ids)) = known.filter(|(known, _)| known == url) {
            return Ok(ids);
        }
        let bytes = table.files.need(&table.resolve(metadata, url)?).await?;
        let ids: Arc<HashSet<ChunkId>> = Arc::new(parse(&String::from_utf8_lossy(&bytes)).collect());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((url.to_owned(), ids.clone()));
        Ok(ids)
    }
}

/// The file's text with more ids: the newest [`MAX_REMEMBERED`], for ids sort by age.
pub fn remembered(known: &HashSet<ChunkId>, more: impl Iterator<Item = ChunkId>) -> String {
    let mut all: Vec<ChunkId> = known.iter().copied().chain(more).collect();
    all.sort_unstable();
    all.dedup();
    let from = all.len().saturating_sub(MAX_REMEMBERED);
    all[from..].iter().map(|id| format!("{id}\n")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(n: u128) -> ChunkId {
        ChunkId(n.to_be_bytes())
    }

    #[test]
    fn the_newest_are_remembered() {
        let known: HashSet<ChunkId> = (0..MAX_REMEMBERED as u128).map(id).collect();
        let text = remembered(&known, [id(1 << 80), id(5)].into_iter());
        let left: HashSet<ChunkId> = parse(&text).collect();
        assert_eq!(left.len(), MAX_REMEMBERED);
        assert!(left.contains(&id(1 << 80)) && left.contains(&id(5)) && !left.contains(&id(0)));
    }

    #[test]
    fn a_summary_names_chunks_and_gives_them_back() {
        let ids = [id(7), id(u128::MAX)];
        assert_eq!(parse(&text(&ids)).collect::<Vec<_>>(), ids);
        assert_eq!(parse("").count(), 0);
    }
}
