//! `warehouse`: chunks become rows of tables, which are Iceberg's: Parquet files with a transactional catalog, on a disk or in
//! object storage, with no server and no account. `suiro sql` reads them, and so do Spark, Trino, DuckDB and others.
//!
//! - `params`: what the section says. `files`, `local`: names and bytes, whatever store they are in.
//! - `table`, `commit`, `ids`: versions of a table, the next one, the chunks that it holds.
//! - `schema`, `layout`, `columns`, `sheet`, `rows`: from events to Parquet files.
//! - `append`: the way of a chunk. `maintain`: compaction, retention, clean-up.

mod append;
mod columns;
mod commit;
mod fault;
mod files;
mod ids;
mod layout;
mod local;
mod maintain;
mod params;
mod rows;
mod schema;
mod sheet;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use iceberg::spec::DataFile;
use parquet::file::properties::WriterProperties;
use tokio::task::JoinHandle;
use url::Url;

pub use self::fault::{Done, Fault};
pub use self::files::Files;
pub use self::params::WarehouseParams;
pub use self::table::{Entry, Table, Version};

use self::append::Open;
use self::layout::{Layout, directory};
use self::params::{MAX_NAME, is_name};
use self::rows::{News, Sheets, Strays, events};
use self::schema::{Beginning, with_columns};
use self::sheet::Whole;
use crate::buffer::Chunk;
use crate::config::Diagnostic;
use crate::output::object::{Address, BucketError, PATIENCE, Target};
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, Inject, InputError, Output, Stop, Stopper, Template, WriteError,
};

/// How long chunks grow where `<buffer>` says nothing. Small files are put together later.
const FLUSH_INTERVAL: Duration = Duration::from_secs(60);

/// Least time between two lines about values of one table that went to `_rest`.
const STRAYS_EACH: Duration = Duration::from_secs(60);

/// Tables whose state is kept; when there are more, all are looked up anew.
const MAX_OPEN: usize = 4_096;

/// The output.
pub struct Warehouse {
    shared: Arc<Shared>,
    template: Template,
    inject: Option<Inject>,
    /// The task that looks after the tables.
    keeper: Mutex<Option<JoinHandle<()>>>,
    stopper: Stopper,
}

/// What writing and looking after tables have in common.
struct Shared {
    params: WarehouseParams,
    address: Address,
    modes: (u32, u32),
    beginning: Beginning,
    properties: WriterProperties,
    files: OnceLock<Files>,
    tables: Mutex<HashMap<String, Arc<Open>>>,
    /// Values that went to `_rest`.
    strays: AtomicU64,
    /// When a table's strays were last told.
    told: Mutex<HashMap<String, Instant>>,
}

impl Configure for Warehouse {
    type Config = WarehouseParams;

    fn new(params: WarehouseParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        buffer_defaults(cx);
        params.check(cx)?;
        let text = params.url(cx)?;
        let mut address = Address::parse(&text).map_err(|why| cx.fault("url", why))?;
        remarks(&address.target, cx);
        let endpoint = params.endpoint.as_deref().map(|text| Url::parse(text).map_err(|e| e.to_string())).transpose();
        address.endpoint = endpoint.map_err(|why| cx.fault("endpoint", why))?;
        (address.region, address.project) = (params.region.clone(), params.project.clone());
        (address.create, address.check) = (params.auto_create_bucket, params.check_bucket);
        let template = Template::new(&params.table, "table", cx)?;
        if template.is_constant() && !is_name(&params.table) {
            let why = format!(
                "{:?} can't be the name of a table: write letters, digits and _, at most {MAX_NAME}",
                params.table
            );
            return Err(cx.fault("table", why));
        }
        Ok(Warehouse {
            template,
            inject: cx.inject()?,
            keeper: Mutex::default(),
            stopper: Stopper::new(),
            shared: Arc::new(Shared {
                beginning: params.beginning(cx)?,
                properties: params.properties(cx)?,
                modes: cx.process.output_modes(),
                params,
                address,
                files: OnceLock::new(),
                tables: Mutex::default(),
                strays: AtomicU64::new(0),
                told: Mutex::default(),
            }),
        })
    }
}

/// Events of one table make a chunk; files where it is known where those may be.
fn buffer_defaults(cx: &mut BuildContext<'_>) {
    let at_root = cx.process.root_dir.is_some() && cx.section.id().is_some();
    let file = at_root || cx.section.child("buffer").is_some_and(|buffer| buffer.has("path"));
    cx.buffer_defaults(BufferDefaults {
        buffered: true,
        file,
        keys: &["tag"],
        flush_interval: Some(FLUSH_INTERVAL),
        ..BufferDefaults::default()
    });
    let kind = cx.section.child("buffer").and_then(|buffer| buffer.plugin_type());
    if !file && kind.is_none() {
        let remedy = "events wait for their table in memory alone. Give <buffer> a path, or set root_dir in <system> and an \
                      @id here; '@type memory' in <buffer> says that it is meant";
        cx.warn("@type", remedy);
    }
}

/// What has no effect with this target.
fn remarks(target: &Target, cx: &mut BuildContext<'_>) {
    if !matches!(target, Target::S3(_)) {
        cx.without_effect("region", "it is for s3:// alone");
    }
    if !matches!(target, Target::Gcs(_)) {
        cx.without_effect("project", "it is for gs:// alone");
    }
    if matches!(target, Target::Files(_)) {
        for parameter in ["endpoint", "auto_create_bucket", "check_bucket"] {
            cx.without_effect(parameter, "files have no service and no bucket");
        }
    }
}

/// A placeholder's value as a part of a table's name.
fn name_part(value: &str) -> Option<String> {
    Some(value.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect())
}

impl Warehouse {
    /// The chunk's table.
    fn name(&self, chunk: &Chunk) -> Result<String, String> {
        let mut name = self.template.expand(chunk, name_part)?;
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert(0, '_');
        }
        match is_name(&name) {
            true => Ok(name),
            false => Err(format!("{name:?} can't be the name of a table: letters, digits and _, at most {MAX_NAME}")),
        }
    }

    async fn store(&self, chunk: &Chunk, open: &Open) -> Done<()> {
        let mut version = self.shared.beginning.open(&open.table).await?;
        if open.holds(&version, chunk.id()).await? {
            tracing::info!("chunk {} is in table {} already: its answer was lost", chunk.id(), open.table.name);
            return Ok(());
        }
        let shared = &self.shared;
        version = with_columns(&open.table, version, &shared.beginning.columns).await?;
        let mut layout = Layout::new(&version.metadata, shared.params.max_columns)?;
        let mut written = self.files(chunk, open, &version, &mut layout).await?;
        if written.is_none() {
            let news = News::of(chunk, self.inject.as_ref(), &mut layout)?;
            version = with_columns(&open.table, version, &news).await?;
            layout = Layout::new(&version.metadata, shared.params.max_columns)?;
            layout.settle();
            written = self.files(chunk, open, &version, &mut layout).await?;
        }
        let missing = || Fault("columns that were settled are not".into());
        let (files, strays) = written.ok_or_else(missing)?;
        open.append(chunk.id(), files).await?;
        shared.tell(&open.table.name, &strays);
        Ok(())
    }

    /// Writes the chunk's data files. `None`: it has fields that a column is to be made for first.
    async fn files(
        &self,
        chunk: &Chunk,
        open: &Open,
        version: &Version,
        layout: &mut Layout,
    ) -> Done<Option<(Vec<DataFile>, Strays)>> {
        let shared = &self.shared;
        let mut sheets = Sheets::new(layout, &shared.properties, shared.params.target_size.len());
        let mut files = Vec::new();
        for block in chunk.blocks() {
            let mut whole = Vec::new();
            events(&block?, self.inject.as_ref(), |time, record| {
                whole.extend(sheets.row(time, record)?);
                Ok(())
            })?;
            if sheets.has_news() {
                return Ok(None);
            }
            for file in whole {
                files.push(put(chunk, open, version, &file, files.len()).await?);
            }
            tokio::task::yield_now().await;
        }
        while let Some(file) = sheets.next()? {
            files.push(put(chunk, open, version, &file, files.len()).await?);
        }
        Ok(Some((files, sheets.strays())))
    }
}

/// Digits that nothing else has: a name that is never used twice can't be taken from under its user by a clean-up.
fn unique() -> Done<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|e| Fault(e.to_string()))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}

/// Stores a data file. Its name begins with the chunk's id.
async fn put(chunk: &Chunk, open: &Open, version: &Version, file: &Whole, place: usize) -> Done<DataFile> {
    let (metadata, table) = (&version.metadata, &open.table);
    let directory = directory(metadata, &file.partition);
    let name = format!("data/{directory}{}-{place:03}-{}.parquet", chunk.id(), unique()?);
    table.files.put(&table.inside(&name), file.bytes.clone()).await?;
    file.data_file(metadata.current_schema(), metadata.default_partition_spec_id(), table.url(metadata, &name))
}

impl Shared {
    fn open(&self, name: &str) -> Result<Arc<Open>, Fault> {
        let files = self.files.get().ok_or_else(|| Fault("the output was not started".into()))?;
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= MAX_OPEN && !tables.contains_key(name) {
            tables.clear();
        }
        let new = || Arc::new(Open::new(Table::new(files, &self.params.schema, name)));
        Ok(tables.entry(name.to_owned()).or_insert_with(new).clone())
    }

    /// Counts what went to `_rest`, and says so once in a while.
    fn tell(&self, table: &str, strays: &Strays) {
        if strays.count == 0 {
            return;
        }
        self.strays.fetch_add(strays.count, Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(table).is_some_and(|at| at.elapsed() < STRAYS_EACH) {
            return;
        }
        if told.len() >= MAX_OPEN {
            told.clear();
        }
        told.insert(table.to_owned(), Instant::now());
        let named: Vec<String> =
            strays.fields.iter().map(|(name, (count, why))| format!("{name:?} ({count}: {why})")).collect();
        tracing::warn!(
            "table {table}: {} values of a chunk were kept in _rest, of {}. What helps: one type for each field, or \
             'columns' for one that holds them all",
            strays.count,
            named.join(", ")
        );
    }
}

impl Output for Warehouse {
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        let shared = &self.shared;
        let (files, seen) = Files::open(&shared.address, shared.modes).await.map_err(InputError)?;
        match seen {
            Ok(()) => {}
            Err(BucketError::Refused(why)) => return Err(InputError(why)),
            Err(BucketError::Unreachable(why)) => {
                tracing::warn!("{why}: whether the bucket is there is not known; chunks are tried as they come");
            }
        }
        // Started once; a second place would only replace an unused one.
        let _ = shared.files.set(files);
        let task = tokio::spawn(shared.clone().look_after(self.stopper.listener()));
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let name = self.name(chunk).map_err(WriteError::Reject)?;
        let open = self.shared.open(&name)?;
        let outcome = self.store(chunk, &open).await;
        if outcome.is_err() {
            open.table.forget();
        }
        Ok(outcome?)
    }

    async fn close(&self) {
        self.stopper.stop();
        let task = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It has said what went wrong, if anything did.
            let _ = task.await;
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("rest_values", self.shared.strays.load(Relaxed))]
    }
}
