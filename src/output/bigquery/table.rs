//! Tables: which columns they have, and making or widening them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::api::{Api, Fault, TableName};
use super::rows::Rows;
use super::schema::Schema;
use crate::buffer::Chunk;
use crate::plugin::{Template, WriteError, path_part};

/// Tables, and files of columns, that are remembered; when there are more, all are forgotten.
const MAX_KNOWN: usize = 10_000;
/// Largest file of columns, in bytes.
const MAX_SCHEMA_BYTES: u64 = 16 << 20;
/// How often a column is tried to be added, where others change the table at the same time.
const MAX_PATCHES: u32 = 5;
/// How long the service may take until rows may have new columns.
const SETTLING: Duration = Duration::from_secs(600);

/// Where columns come from.
pub enum Source {
    /// From nowhere: rows are what events are, and the table knows.
    None,
    /// From the configuration.
    Given(Arc<Schema>),
    /// From a file, whose name may have placeholders.
    File(Template),
    /// From the table.
    Table,
}

impl Source {
    /// Whether they come from the table.
    pub fn is_table(&self) -> bool {
        matches!(self, Source::Table)
    }

    /// Whether they come from nowhere.
    pub fn is_none(&self) -> bool {
        matches!(self, Source::None)
    }
}

/// Whether a table gets columns for fields that have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// It does not.
    Fixed,
    /// It does, up to so many.
    Added {
        /// Columns past which none is added.
        most: usize,
    },
}

/// How tables are made.
#[derive(Clone, Debug)]
pub struct Creation {
    /// `DAY`, `HOUR`, ...
    pub partitioning: Option<&'static str>,
    /// The column that decides.
    pub field: Option<String>,
    /// How long a part is kept.
    pub expiration: Option<Duration>,
    /// Whether queries have to name a part.
    pub require_filter: bool,
    /// Columns that rows are ordered by.
    pub clustering: Vec<String>,
}

impl Creation {
    fn table(&self, name: &TableName, schema: &Schema) -> Json {
        let reference = json!({ "projectId": name.project, "datasetId": name.dataset, "tableId": name.table });
        let mut table = json!({ "tableReference": reference, "schema": { "fields": schema.to_json() } });
        if let Some(kind) = self.partitioning {
            let mut partitioning = json!({ "type": kind });
            if let Some(field) = &self.field {
                partitioning["field"] = field.as_str().into();
            }
            if let Some(expiration) = self.expiration {
                partitioning["expirationMs"] = expiration.as_millis().to_string().into();
            }
            table["timePartitioning"] = partitioning;
            if self.require_filter {
                table["requirePartitionFilter"] = true.into();
            }
        }
        if !self.clustering.is_empty() {
            table["clustering"] = json!({ "fields": self.clustering });
        }
        table
    }
}

/// How tables are found, made and changed.
pub struct TableSettings {
    /// Where columns come from.
    pub source: Source,
    /// The table that is asked, where it is another.
    pub fetched_from: Option<Template>,
    /// How long its answer is believed.
    pub expire: Duration,
    /// Whether columns are added.
    pub columns: Columns,
    /// How tables are made, where they are.
    pub creation: Option<Creation>,
}

#[derive(Clone)]
struct Known {
    /// None: there is no such table.
    schema: Option<Arc<Schema>>,
    etag: Option<String>,
    at: Instant,
}

/// The tables of one output.
pub struct Tables {
    api: Arc<Api>,
    settings: TableSettings,
    known: Mutex<HashMap<TableName, Known>>,
    files: Mutex<HashMap<String, Arc<Schema>>>,
    /// When a table was made or widened.
    changed: Mutex<HashMap<TableName, Instant>>,
    /// Held while one is.
    changing: tokio::sync::Mutex<()>,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries go in and out whole; a panic elsewhere leaves none half in.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remember<K: std::hash::Hash + Eq, V>(map: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut map = held(map);
    if map.len() >= MAX_KNOWN {
        map.clear();
    }
    map.insert(key, value);
}

impl Tables {
    /// Of an output.
    pub fn new(api: Arc<Api>, settings: TableSettings) -> Tables {
        let (known, files, changed) = Default::default();
        Tables { api, settings, known, files, changed, changing: tokio::sync::Mutex::default() }
    }

    /// Sees that the chunk's rows fit the table, as far as the configuration says so: makes it, adds columns. Gives the
    /// columns that rows are written by.
    pub async fn prepare(
        &self,
        chunk: &Chunk,
        name: &TableName,
        rows: &Rows,
    ) -> Result<Option<Arc<Schema>>, WriteError> {
        let name = name.whole();
        let schema = self.schema(chunk, &name).await?;
        if self.settings.creation.is_none() && self.settings.columns == Columns::Fixed {
            return Ok(schema);
        }
        let known = self.look(&name).await?;
        let current = match (known.schema, &self.settings.creation) {
            (Some(current), _) => current,
            // The service's answer to the rows says what to do.
            (None, None) => return Ok(schema),
            (None, Some(creation)) => {
                let given = schema.clone().unwrap_or_default();
                let mut wanted = self.grown(chunk, &given, rows)?.unwrap_or_else(|| (*given).clone());
                if let Some(field) = creation.field.as_ref().filter(|field| !given.has(field)) {
                    wanted.set_time(field);
                }
                self.create(&name, creation, &wanted).await?
            }
        };
        if self.settings.columns == Columns::Fixed {
            return Ok(schema.or(Some(current)));
        }
        match self.grown(chunk, &current, rows)? {
            None => Ok(Some(current)),
            Some(_) => self.widen(chunk, &name, rows).await.map(Some),
        }
    }

    fn grown(&self, chunk: &Chunk, schema: &Arc<Schema>, rows: &Rows) -> Result<Option<Schema>, WriteError> {
        match self.settings.columns {
            Columns::Fixed => Ok(None),
            Columns::Added { most } => Ok(rows.learn(chunk, schema, most)?),
        }
    }

    async fn schema(&self, chunk: &Chunk, name: &TableName) -> Result<Option<Arc<Schema>>, WriteError> {
        match &self.settings.source {
            Source::None => Ok(None),
            Source::Given(schema) => Ok(Some(schema.clone())),
            Source::File(path) => self.read(&path.expand(chunk, path_part).map_err(WriteError::Reject)?).map(Some),
            Source::Table => {
                let from = match &self.settings.fetched_from {
                    Some(table) => {
                        let table = table.expand(chunk, path_part).map_err(WriteError::Reject)?;
                        TableName { table, ..name.clone() }.whole()
                    }
                    None => name.clone(),
                };
                let schema = self.look(&from).await?.schema;
                schema.map(Some).ok_or_else(|| {
                    WriteError::Retry(format!("fetch_schema: there is no table {from}: create it, or give schema"))
                })
            }
        }
    }

    /// A file is read once; a reload reads it again.
    fn read(&self, path: &str) -> Result<Arc<Schema>, WriteError> {
        if let Some(schema) = held(&self.files).get(path) {
            return Ok(schema.clone());
        }
        let failed = |why: String| WriteError::Retry(format!("schema_path: {path}: {why}"));
        let size = std::fs::metadata(Path::new(path)).map_err(|e| failed(e.to_string()))?.len();
        if size > MAX_SCHEMA_BYTES {
            return Err(failed(format!("larger than {MAX_SCHEMA_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        let schema = Arc::new(Schema::read(&text).map_err(failed)?);
        remember(&self.files, path.to_owned(), schema.clone());
        Ok(schema)
    }

    async fn look(&self, name: &TableName) -> Result<Known, WriteError> {
        let known = held(&self.known).get(name).cloned();
        if let Some(known) = known.as_ref().filter(|k| k.schema.is_some() && k.at.elapsed() < self.settings.expire) {
            return Ok(known.clone());
        }
        match (self.fetch(name).await, known) {
            (Ok(known), _) => Ok(known),
            // What was known is better than nothing while the service does not answer.
            (Err(fault), Some(known)) if known.schema.is_some() => {
                tracing::warn!("{name} uses its previous schema: {fault}");
                Ok(known)
            }
            (Err(fault), _) => Err(fault.judged(&format!("can't look at table {name}"), &self.api)),
        }
    }

    async fn fetch(&self, name: &TableName) -> Result<Known, Fault> {
        let known = match self.api.get_table(name).await {
            Ok(table) => {
                let schema = match &table["schema"] {
                    Json::Null => Schema::default(),
                    schema => Schema::of(schema).map_err(Fault::Lost)?,
                };
                let etag = table["etag"].as_str().map(str::to_owned);
                Known { schema: Some(schema.into()), etag, at: Instant::now() }
            }
            Err(Fault::Said(said)) if said.status == StatusCode::NOT_FOUND => {
                Known { schema: None, etag: None, at: Instant::now() }
            }
            Err(fault) => return Err(fault),
        };
        remember(&self.known, name.clone(), known.clone());
        Ok(known)
    }

    async fn create(&self, name: &TableName, creation: &Creation, schema: &Schema) -> Result<Arc<Schema>, WriteError> {
        let _alone = self.changing.lock().await;
        let failed = |fault: Fault| fault.judged(&format!("can't make table {name}"), &self.api);
        if let Some(schema) = self.fetch(name).await.map_err(failed)?.schema {
            return Ok(schema);
        }
        if schema.is_empty() {
            let why = format!("table {name} can't be made: no event of the chunk has a field that could be a column");
            return Err(WriteError::Reject(why));
        }
        match self.api.insert_table(name, &creation.table(name, schema)).await {
            Ok(_) => tracing::info!("table {name} was made"),
            Err(Fault::Said(said)) if said.status == StatusCode::CONFLICT => {}
            Err(fault) => return Err(failed(fault)),
        }
        remember(&self.changed, name.clone(), Instant::now());
        let made = self.fetch(name).await.map_err(failed)?.schema;
        made.ok_or_else(|| WriteError::Retry(format!("table {name} was made and is not there yet")))
    }

    /// Adds the columns that the chunk needs. Who changes the table at the same time wins; then it is looked at again.
    async fn widen(&self, chunk: &Chunk, name: &TableName, rows: &Rows) -> Result<Arc<Schema>, WriteError> {
        let _alone = self.changing.lock().await;
        let failed = |fault: Fault| fault.judged(&format!("can't add columns to table {name}"), &self.api);
        for _ in 0..MAX_PATCHES {
            let known = self.fetch(name).await.map_err(failed)?;
            let Some(current) = known.schema else {
                return Err(WriteError::Retry(format!("table {name} is gone")));
            };
            let Some(wanted) = self.grown(chunk, &current, rows)? else { return Ok(current) };
            let change = json!({ "schema": { "fields": wanted.to_json() } });
            let added = wanted.len() - current.len();
            match self.api.patch_table(name, &change, known.etag.as_deref()).await {
                Ok(_) => {
                    tracing::info!("{added} columns were added to table {name}");
                    remember(&self.changed, name.clone(), Instant::now());
                    let widened = self.fetch(name).await.map_err(failed)?.schema;
                    return widened.ok_or_else(|| WriteError::Retry(format!("table {name} is gone")));
                }
                Err(Fault::Said(said))
                    if matches!(said.status, StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT) => {}
                Err(fault) => return Err(failed(fault)),
            }
        }
        Err(WriteError::Retry(format!("can't add columns to table {name}: others change it at the same time")))
    }

    /// The service says that a table is not there: what was known of it no longer counts.
    pub fn forget(&self, name: &TableName) {
        held(&self.known).remove(&name.whole());
    }

    /// Whether the table was made or widened by this output a short while ago, so that not all of the service may know it.
    pub fn has_just_changed(&self, name: &TableName) -> bool {
        held(&self.changed).get(&name.whole()).is_some_and(|at| at.elapsed() < SETTLING)
    }

    /// Whether a table that is not there is made.
    pub fn creates(&self) -> bool {
        self.settings.creation.is_some()
    }
}
