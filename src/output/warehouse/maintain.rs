//! What is done to tables in the background: old events go, small files are put together, earlier states expire, and files that
//! no state names are removed. Each step is one commit, or harms nobody when it is cut short.
//!
//! A reader keeps what it reads: a file goes only once no state that can still be read names it, and then a grace later.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{RecordBatch, new_null_array};
use bytes::Bytes;
use iceberg::spec::{DataFile, PrimitiveLiteral, Struct, TableMetadata, TableMetadataBuilder};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::append::{Open, pause};
use super::commit::{Change, now_ms, prepare};
use super::fault::{Done, Fault};
use super::layout::{Layout, directory};
use super::schema::TIME_COLUMN;
use super::sheet::{Sheet, Whole};
use super::table::{Entry, Version};
use super::{Shared, ids, unique};
use crate::plugin::Stop;

/// Tries of one commit while others commit.
const MAX_TRIES: u32 = 10;

/// Versions of a table's metadata that stay, however old.
const KEPT_VERSIONS: u64 = 100;

/// How old a version must be to be removed: longer than any writer builds upon one that it has read.
const VERSION_GRACE: Duration = Duration::from_secs(6 * 3_600);

/// Least time between two clean-ups of a table: they list all its files.
const CLEAN_EACH: Duration = Duration::from_secs(3_600);

/// What a round has done, for the log and for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Small files that were put together.
    pub compacted: usize,
    /// Files that went by their age.
    pub retired: usize,
    /// Earlier states that can't be read any more.
    pub expired: usize,
    /// Files that no state named.
    pub removed: usize,
}

impl Shared {
    /// Looks after all tables, over and over, until told to stop.
    pub async fn look_after(self: Arc<Self>, mut stop: Stop) {
        let interval = self.params.maintenance_interval.duration();
        let clean_each = CLEAN_EACH.min(self.params.orphan_grace.duration()).max(interval);
        let mut since = clean_each;
        while stop.or(tokio::time::sleep(interval)).await.is_some() {
            since += interval;
            let clean = since >= clean_each;
            if clean {
                since = Duration::ZERO;
            }
            let mut quit = stop.clone();
            if quit.or(self.round(clean)).await.is_none() {
                return;
            }
        }
    }

    async fn round(&self, clean: bool) {
        let Some(files) = self.files.get() else { return };
        let names = match files.directories(&self.params.schema).await {
            Ok(names) => names,
            Err(e) => return tracing::warn!("the tables can't be looked after now: {e}"),
        };
        for name in names {
            match self.table(&name, clean).await {
                Ok(work) if work != Work::default() => tracing::info!(
                    "table {name}: {} small files were put together, {} were too old, {} earlier states expired, {} files \
                     that nothing names were removed",
                    work.compacted,
                    work.retired,
                    work.expired,
                    work.removed
                ),
                Ok(_) => {}
                Err(e) => tracing::warn!("table {name} can't be looked after now: {e}"),
            }
        }
    }

    /// Looks after one table.
    pub async fn table(&self, name: &str, clean: bool) -> Done<Work> {
        let open = self.open(name)?;
        let mut work = Work::default();
        let Some(version) = open.table.load().await? else { return Ok(work) };
        // A table of somebody else's is left alone.
        let layout = Layout::new(&version.metadata, usize::MAX)?;
        if let Some(retention) = self.params.retention {
            work.retired = self.retire(&open, &version, retention.duration()).await?;
        }
        if self.params.compact {
            work.compacted = self.compact(&open, layout).await?;
        }
        work.expired = self.expire(&open).await?;
        if clean {
            work.removed = self.clean(&open).await?;
        }
        Ok(work)
    }

    /// Takes out files whose newest event is too old.
    async fn retire(&self, open: &Open, version: &Version, retention: Duration) -> Done<usize> {
        let metadata = &version.metadata;
        let time =
            metadata.properties().get(TIME_COLUMN).and_then(|name| metadata.current_schema().field_id_by_name(name));
        let Some(time) = time else { return Ok(0) };
        let keep = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let oldest = (now_ms(0) * 1_000).saturating_sub(keep);
        let newest = |file: &DataFile| match file.upper_bounds().get(&time).map(|bound| bound.literal().clone()) {
            Some(PrimitiveLiteral::Long(micros)) => Some(micros),
            _ => None,
        };
        let entries = open.table.data_files(metadata).await?;
        let old = entries.iter().map(Entry::file).filter(|file| newest(file).is_some_and(|micros| micros < oldest));
        let remove: HashSet<String> = old.map(|file| file.file_path().to_owned()).collect();
        let count = remove.len();
        let change = Change { remove, notes: vec![("suiro.reason".into(), "retention".into())], ..Change::default() };
        Ok(if count > 0 && replace(open, &change).await? { count } else { 0 })
    }

    /// Puts small files of a partition together. Gives how many.
    async fn compact(&self, open: &Open, layout: Layout) -> Done<usize> {
        let Some(version) = open.table.load().await? else { return Ok(0) };
        let mut partitions: HashMap<Struct, Vec<DataFile>> = HashMap::new();
        for entry in open.table.data_files(&version.metadata).await? {
            partitions.entry(entry.file().partition().clone()).or_default().push(entry.entry.data_file);
        }
        let layout = Arc::new(layout);
        let mut compacted = 0;
        for (partition, files) in partitions {
            let chosen = self.chosen(files);
            if chosen.is_empty() {
                continue;
            }
            let Some(whole) = self.together(open, &version, &layout, &partition, &chosen).await? else { continue };
            let name = format!("data/{}compacted-{}.parquet", directory(&version.metadata, &partition), unique()?);
            let (table, metadata) = (&open.table, &version.metadata);
            table.files.put(&table.inside(&name), whole.bytes.clone()).await?;
            let spec = metadata.default_partition_spec_id();
            let file = whole.data_file(metadata.current_schema(), spec, table.url(metadata, &name))?;
            let remove = chosen.iter().map(|file| file.file_path().to_owned()).collect();
            let change = Change {
                add: vec![file],
                remove,
                notes: vec![("suiro.reason".into(), "compaction".into())],
                ..Change::default()
            };
            match replace(open, &change).await? {
                true => compacted += chosen.len(),
                false => table.discard(&[table.inside(&name)]).await,
            }
        }
        Ok(compacted)
    }

    /// Files of a partition that are worth to be put together: enough small ones, of which none is larger than all others, so
    /// that an event is written anew a few times only, however many chunks come.
    fn chosen(&self, mut files: Vec<DataFile>) -> Vec<DataFile> {
        let target = self.params.target_size.bytes();
        files.retain(|file| file.file_size_in_bytes() < target / 2);
        files.sort_by_key(DataFile::file_size_in_bytes);
        let mut total = 0;
        let fits = files.iter().take_while(|file| {
            total += file.file_size_in_bytes();
            total <= target
        });
        let fits = fits.count();
        files.truncate(fits);
        while let Some(largest) = files.last() {
            let others: u64 =
                files.iter().map(DataFile::file_size_in_bytes).sum::<u64>() - largest.file_size_in_bytes();
            if largest.file_size_in_bytes() <= others {
                break;
            }
            files.pop();
        }
        if files.len() < self.params.compact_min_files { Vec::new() } else { files }
    }

    /// One file of many. `None`: the table has columns that this layout does not know.
    async fn together(
        &self,
        open: &Open,
        version: &Version,
        layout: &Arc<Layout>,
        partition: &Struct,
        files: &[DataFile],
    ) -> Done<Option<Whole>> {
        if version.metadata.current_schema().as_struct().fields().len() != layout.kinds.len() {
            return Ok(None);
        }
        let key = partition.iter().map(|part| part.and_then(|value| value.as_primitive_literal())).collect();
        let mut sheet = Sheet::new(layout, key, &self.properties)?;
        for file in files {
            let name = open.table.resolve(&version.metadata, file.file_path())?;
            let bytes = open.table.files.need(&name).await?;
            let (layout, rows) = (layout.clone(), file.record_count());
            let copied = tokio::task::spawn_blocking(move || copy(sheet, &layout, bytes, rows).map_err(|e| e.at(name)));
            sheet = copied.await.map_err(|e| Fault(e.to_string()))??;
        }
        sheet.finish(layout).map(Some)
    }

    /// Forgets earlier states, but not the chunks that they brought.
    async fn expire(&self, open: &Open) -> Done<usize> {
        for tries in 0..MAX_TRIES {
            let Some(version) = open.table.load().await? else { return Ok(0) };
            let metadata = &version.metadata;
            let keep = i64::try_from(self.params.snapshot_retention.duration().as_millis()).unwrap_or(i64::MAX);
            let oldest = now_ms(0).saturating_sub(keep);
            let named: HashSet<i64> = metadata.history().last().map(|entry| entry.snapshot_id).into_iter().collect();
            let old = metadata.snapshots().filter(|snapshot| {
                let current = metadata.current_snapshot_id() == Some(snapshot.snapshot_id());
                !current && !named.contains(&snapshot.snapshot_id()) && snapshot.timestamp_ms() < oldest
            });
            let old: BTreeMap<i64, i64> = old.map(|s| (s.snapshot_id(), s.timestamp_ms())).collect();
            if old.is_empty() {
                return Ok(0);
            }
            let (next, written) = self.expired(open, &version, &old).await?;
            if open.table.commit(version.number, next).await?.is_some() {
                return Ok(old.len());
            }
            open.table.discard(&written).await;
            pause(tries).await?;
        }
        Ok(0)
    }

    async fn expired(
        &self,
        open: &Open,
        version: &Version,
        old: &BTreeMap<i64, i64>,
    ) -> Done<(TableMetadata, Vec<String>)> {
        let (metadata, table) = (&version.metadata, &open.table);
        let known = match metadata.properties().get(ids::OLDER) {
            Some(url) => open.older.read(table, metadata, url).await?,
            None => Arc::default(),
        };
        let text = ids::remembered(&known, ids::of(metadata, |snapshot| old.contains_key(&snapshot.snapshot_id())));
        let name = format!("metadata/chunks-{}.text", unique()?);
        table.files.put(&table.inside(&name), Bytes::from(text)).await?;
        let before = metadata.properties().get(ids::UNTIL).and_then(|text| text.parse().ok()).unwrap_or(0);
        let until = old.values().copied().max().unwrap_or(0).max(before);
        let properties = HashMap::from_iter([
            (ids::OLDER.to_owned(), table.url(metadata, &name)),
            (ids::UNTIL.to_owned(), until.to_string()),
        ]);
        let current = table.url(metadata, &format!("metadata/v{}.metadata.json", version.number));
        let gone: Vec<i64> = old.keys().copied().collect();
        let built = TableMetadataBuilder::new_from_metadata(metadata.clone(), Some(current))
            .remove_snapshots(&gone)
            .set_properties(properties)?
            .build()?;
        Ok((built.metadata, vec![table.inside(&name)]))
    }

    /// Removes files that no state names.
    async fn clean(&self, open: &Open) -> Done<usize> {
        let table = &open.table;
        // Listed first: what a commit names that comes afterwards is younger than the grace.
        let listed = table.files.list(&table.directory).await?;
        let Some(version) = table.load().await? else { return Ok(0) };
        let named = self.named(open, &version).await?;
        let (data, metadata) = (table.inside("data/"), table.inside("metadata/"));
        let grace = self.params.orphan_grace.duration();
        let mut removed = 0;
        for file in listed {
            let own = file.name.starts_with(&data) || file.name.starts_with(&metadata);
            let gone = match version_number(&file.name) {
                Some(number) => number + KEPT_VERSIONS < version.number && file.age > VERSION_GRACE,
                None => !file.name.ends_with("version-hint.text") && !named.contains(&file.name) && file.age > grace,
            };
            if own && gone {
                table.files.delete(&file.name).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The files that any state names which can still be read.
    async fn named(&self, open: &Open, version: &Version) -> Done<HashSet<String>> {
        let (table, metadata) = (&open.table, &version.metadata);
        let mut named = HashSet::new();
        if let Some(url) = metadata.properties().get(ids::OLDER) {
            named.insert(table.resolve(metadata, url)?);
        }
        for snapshot in metadata.snapshots() {
            named.insert(table.resolve(metadata, snapshot.manifest_list())?);
            for manifest in table.manifests(metadata, snapshot).await? {
                // One that an earlier snapshot has shown.
                if !named.insert(table.resolve(metadata, &manifest.manifest_path)?) {
                    continue;
                }
                for entry in table.entries(metadata, &manifest).await? {
                    named.insert(table.resolve(metadata, entry.file().file_path())?);
                }
            }
        }
        Ok(named)
    }
}

/// The number of a version's file.
fn version_number(name: &str) -> Option<u64> {
    let last = name.rsplit('/').next()?;
    last.strip_prefix('v')?.strip_suffix(".metadata.json")?.parse().ok()
}

/// Commits a change that takes files out. Gives false where one of them is gone already: somebody else did the same.
async fn replace(open: &Open, change: &Change) -> Done<bool> {
    for tries in 0..MAX_TRIES {
        let Some(version) = open.table.load().await? else { return Ok(false) };
        let Some(prepared) = prepare(&open.table, &version, change).await? else { return Ok(false) };
        if open.table.commit(version.number, prepared.metadata).await?.is_some() {
            return Ok(true);
        }
        open.table.discard(&prepared.written).await;
        pause(tries).await?;
    }
    Ok(false)
}

/// Copies the rows of a file. All of them, or nothing comes of it.
fn copy(mut sheet: Sheet, layout: &Layout, bytes: Bytes, rows: u64) -> Done<Sheet> {
    let mut copied = 0;
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()? {
        let batch = batch?;
        copied += batch.num_rows() as u64;
        sheet.rows(&aligned(&batch, layout)?)?;
    }
    match copied == rows {
        true => Ok(sheet),
        false => Err(Fault(format!("it has {copied} rows, and the catalog says {rows}"))),
    }
}

/// The columns of a batch in the order of the layout; those that came later are empty.
fn aligned(batch: &RecordBatch, layout: &Layout) -> Done<RecordBatch> {
    let columns = layout.arrow.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
        Some(column) => Err(Fault(format!(
            "column {:?} is {}, and the table has {}",
            field.name(),
            column.data_type(),
            field.data_type()
        ))),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    Ok(RecordBatch::try_new(layout.arrow.clone(), columns.collect::<Done<Vec<_>>>()?)?)
}
