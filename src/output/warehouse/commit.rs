//! From one version of a table to the next: data files are added and taken out, columns are added, snapshots expire. Each is
//! one new version, and so happens whole or not at all.
//!
//! The library can append; taking files out (for compaction and retention) is put together here from its manifests, as the
//! format's specification has it: survivors of a manifest are written anew as existing, the others as deleted.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use iceberg::io::FileIO;
use iceberg::spec::{
    DataFile, MAIN_BRANCH, ManifestFile, ManifestListWriter, ManifestWriter, ManifestWriterBuilder, Operation,
    Snapshot, Summary, TableMetadata, TableMetadataBuilder,
};

use super::fault::{Done, Fault};
use super::ids;
use super::table::{Entry, Table, Version};
use crate::buffer::ChunkId;

/// Manifests of a snapshot beyond which they are written into one.
const MAX_MANIFESTS: usize = 64;

/// A file in the memory of the library's writers.
const SCRATCH: &str = "memory:/scratch";

/// What a commit changes about the data.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Files that come in.
    pub add: Vec<DataFile>,
    /// Files that go, by their URL.
    pub remove: HashSet<String>,
    /// Chunks whose events are in the new files.
    pub chunks: Vec<ChunkId>,
    /// More for the snapshot's summary.
    pub notes: Vec<(String, String)>,
}

/// A version in the making, with what was written for it.
pub struct Prepared {
    /// What the version says.
    pub metadata: TableMetadata,
    /// Files that only it names: to be removed should it never be in force.
    pub written: Vec<String>,
}

struct Writer<'a> {
    table: &'a Table,
    metadata: &'a TableMetadata,
    snapshot_id: i64,
    /// Where the library writes.
    memory: FileIO,
    written: Vec<String>,
}

/// Puts the next version together. `None`: a file that should go is not there any more.
pub async fn prepare(table: &Table, base: &Version, change: &Change) -> Done<Option<Prepared>> {
    let metadata = &base.metadata;
    let memory = FileIO::new_with_memory();
    let mut writer = Writer { table, metadata, snapshot_id: new_id()?, memory, written: Vec::new() };
    let kept = match metadata.current_snapshot() {
        Some(snapshot) => table.manifests(metadata, snapshot).await?,
        None => Vec::new(),
    };
    let mut gone = Vec::new();
    let mut manifests = writer.without(kept, &change.remove, &mut gone).await?;
    if gone.len() != change.remove.len() {
        table.discard(&writer.written).await;
        return Ok(None);
    }
    if manifests.len() > MAX_MANIFESTS {
        manifests = writer.merged(manifests).await?;
    }
    if !change.add.is_empty() {
        let mut manifest = writer.manifest()?;
        for file in &change.add {
            // A negative number stands for the one that the commit gives.
            manifest.add_file(file.clone(), -1)?;
        }
        manifests.push(writer.finish(manifest).await?);
    }
    let list = writer.list(manifests).await?;
    let snapshot = writer.snapshot(list, change, &gone);
    let current = table.url(metadata, &format!("metadata/v{}.metadata.json", base.number));
    let built = TableMetadataBuilder::new_from_metadata(metadata.clone(), Some(current))
        .set_branch_snapshot(snapshot, MAIN_BRANCH)?
        .build()?;
    Ok(Some(Prepared { metadata: built.metadata, written: writer.written }))
}

/// A random number above zero, for a snapshot.
fn new_id() -> Done<i64> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| Fault(e.to_string()))?;
    Ok((i64::from_le_bytes(random) & i64::MAX).max(1))
}

/// The present in milliseconds since the epoch, and no earlier than `least`: a clock that was set back must not undo the
/// order of versions.
pub fn now_ms(least: i64) -> i64 {
    (crate::event::EventTime::now().nanos() / 1_000_000).max(least)
}

impl Table {
    /// A name below the table's directory, as the metadata name it.
    pub fn url(&self, metadata: &TableMetadata, name: &str) -> String {
        format!("{}/{name}", metadata.location().trim_end_matches('/'))
    }

    /// Takes away what was written for a version that is not in force.
    pub async fn discard(&self, written: &[String]) {
        for name in written {
            if let Err(e) = self.files.delete(name).await {
                tracing::debug!("{name} stays for the next clean-up: {e}");
            }
        }
    }
}

impl Writer<'_> {
    fn manifest(&self) -> Done<ManifestWriter> {
        let output = self.memory.new_output(SCRATCH)?;
        let (schema, spec) = (self.metadata.current_schema().clone(), self.metadata.default_partition_spec());
        let builder = ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec.as_ref().clone());
        Ok(builder.build_v2_data())
    }

    /// Stores what the library has written, under a name that nothing else has. Gives its URL.
    async fn store(&mut self, kind: &str) -> Done<String> {
        let bytes: Bytes = self.memory.new_input(SCRATCH)?.read().await?;
        let name = format!("metadata/{kind}-{:016x}-{}.avro", self.snapshot_id, self.written.len());
        let url = self.table.url(self.metadata, &name);
        let name = self.table.inside(&name);
        self.written.push(name.clone());
        self.table.files.put(&name, bytes).await?;
        Ok(url)
    }

    async fn finish(&mut self, manifest: ManifestWriter) -> Done<ManifestFile> {
        let mut file = manifest.write_manifest_file().await?;
        file.manifest_path = self.store("manifest").await?;
        Ok(file)
    }

    /// The manifests without some files: those that name one are written anew.
    async fn without(
        &mut self,
        manifests: Vec<ManifestFile>,
        remove: &HashSet<String>,
        gone: &mut Vec<Entry>,
    ) -> Done<Vec<ManifestFile>> {
        // A manifest of nothing but deleted files tells of an earlier snapshot alone.
        let alive = manifests.into_iter().filter(|file| file.has_added_files() || file.has_existing_files());
        if remove.is_empty() {
            return Ok(alive.collect());
        }
        let mut kept = Vec::new();
        for file in alive {
            let entries = self.table.entries(self.metadata, &file).await?;
            if !entries.iter().any(|entry| remove.contains(entry.file().file_path())) {
                kept.push(file);
                continue;
            }
            let mut manifest = self.manifest()?;
            for Entry { entry } in &entries {
                let (file, sequence) = (entry.data_file.clone(), entry.sequence_number.unwrap_or_default());
                if remove.contains(entry.file_path()) {
                    manifest.add_delete_file(file, sequence, entry.file_sequence_number)?;
                } else {
                    let snapshot = entry.snapshot_id.unwrap_or(self.snapshot_id);
                    manifest.add_existing_file(file, snapshot, sequence, entry.file_sequence_number)?;
                }
            }
            gone.extend(entries.into_iter().filter(|entry| remove.contains(entry.file().file_path())));
            kept.push(self.finish(manifest).await?);
        }
        Ok(kept)
    }

    /// One manifest in place of many. Deleted files of this commit stay deleted in it.
    async fn merged(&mut self, manifests: Vec<ManifestFile>) -> Done<Vec<ManifestFile>> {
        let spec = self.metadata.default_partition_spec_id();
        let own = |file: &ManifestFile| file.added_snapshot_id == self.snapshot_id;
        let (mut kept, old): (Vec<_>, Vec<_>) =
            manifests.into_iter().partition(|file| own(file) || file.partition_spec_id != spec);
        if old.is_empty() {
            return Ok(kept);
        }
        let mut manifest = self.manifest()?;
        for file in &old {
            for Entry { entry } in self.table.entries(self.metadata, file).await? {
                let (snapshot, sequence) = (entry.snapshot_id.unwrap_or(0), entry.sequence_number.unwrap_or_default());
                manifest.add_existing_file(entry.data_file, snapshot, sequence, entry.file_sequence_number)?;
            }
        }
        kept.push(self.finish(manifest).await?);
        Ok(kept)
    }

    async fn list(&mut self, manifests: Vec<ManifestFile>) -> Done<String> {
        let output = self.memory.new_output(SCRATCH)?.writer().await?;
        let (parent, sequence) = (self.metadata.current_snapshot_id(), self.metadata.next_sequence_number());
        let mut list = ManifestListWriter::v2(output, self.snapshot_id, parent, sequence);
        list.add_manifests(manifests.into_iter())?;
        list.close().await?;
        self.store("snap").await
    }

    fn snapshot(&self, list: String, change: &Change, gone: &[Entry]) -> Snapshot {
        let operation = match (change.add.is_empty(), change.remove.is_empty()) {
            (_, true) => Operation::Append,
            (true, false) => Operation::Delete,
            (false, false) => Operation::Replace,
        };
        Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(self.metadata.current_snapshot_id())
            .with_sequence_number(self.metadata.next_sequence_number())
            .with_timestamp_ms(now_ms(self.metadata.last_updated_ms()))
            .with_manifest_list(list)
            .with_summary(Summary { operation, additional_properties: self.summary(change, gone) })
            .with_schema_id(self.metadata.current_schema_id())
            .build()
    }

    fn summary(&self, change: &Change, gone: &[Entry]) -> HashMap<String, String> {
        let of = |files: &mut dyn Iterator<Item = &DataFile>| {
            files.fold([0, 0, 0], |[files, rows, bytes]: [u64; 3], file| {
                [files + 1, rows + file.record_count(), bytes + file.file_size_in_bytes()]
            })
        };
        let (added, deleted) = (of(&mut change.add.iter()), of(&mut gone.iter().map(Entry::file)));
        let before = self.metadata.current_snapshot().map(|snapshot| &snapshot.summary().additional_properties);
        let mut summary = HashMap::from_iter(change.notes.iter().cloned());
        let names = [("data-files", "data-files"), ("records", "records"), ("files-size", "files-size")];
        for (place, (what, total)) in names.into_iter().enumerate() {
            let total = format!("total-{total}");
            let known = before.and_then(|before| before.get(&total)?.parse::<u64>().ok()).unwrap_or(0);
            let now = (known + added[place]).saturating_sub(deleted[place]);
            summary.insert(total, now.to_string());
            let removed =
                if what == "files-size" { "removed-files-size".to_owned() } else { format!("deleted-{what}") };
            for (name, count) in [(format!("added-{what}"), added[place]), (removed, deleted[place])] {
                if count > 0 {
                    summary.insert(name, count.to_string());
                }
            }
        }
        if !change.chunks.is_empty() {
            summary.insert(ids::CHUNKS.into(), ids::text(&change.chunks));
        }
        summary
    }
}
