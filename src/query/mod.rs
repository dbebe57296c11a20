//! SQL over what has landed: the tables of a warehouse as DataFusion sees them. What `suiro sql` asks, and whatever else may
//! ask in the same words.
//!
//! - `lake`: catalog, schemas and tables; which data files a query has to read.
//! - `bounds`: files that a filter rules out by what the catalog knows of them.
//! - `json`: functions for text that is JSON.

mod bounds;
mod json;
mod lake;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use crate::output::object::Address;
pub use datafusion::arrow;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use url::Url;

use self::lake::{CATALOG, Lake, STORE};
use crate::output::object::BucketError;
use crate::output::warehouse::Files;

/// The schema of names that name none.
const DEFAULT_SCHEMA: &str = "raw";

/// Names of tables in an error.
const MAX_NAMED: usize = 50;

/// Queries over one warehouse.
pub struct Query {
    context: SessionContext,
    tables: Vec<String>,
}

/// What a query may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of memory; sorts and groups that need more go to the disk.
    pub memory: usize,
    /// Parts of a query that are worked on at once.
    pub threads: usize,
}

impl Query {
    /// Looks at the warehouse at an address.
    ///
    /// Errors: no warehouse there, with what to do.
    pub async fn open(address: &Address, limits: &Limits) -> Result<Query, String> {
        let (files, seen) = Files::open_to_read(address).await?;
        if let Err(BucketError::Refused(why) | BucketError::Unreachable(why)) = seen {
            return Err(why);
        }
        Query::over(files, limits).await
    }

    async fn over(files: Files, limits: &Limits) -> Result<Query, String> {
        let lake = Lake::look(&files).await.map_err(|fault| fault.to_string())?;
        let tables = lake.tables();
        if tables.is_empty() {
            let place = files.location();
            return Err(format!(
                "there is no table at {place}. Tables are made by <match> @type warehouse with its first chunk"
            ));
        }
        let config = SessionConfig::new()
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
            .with_target_partitions(limits.threads.max(1))
            // Fields of events keep their capitals, and need no quotes for it.
            .set_bool("datafusion.sql_parser.enable_ident_normalization", false)
            .set_bool("datafusion.execution.parquet.pushdown_filters", true);
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(limits.memory, 1.0).build_arc().map_err(plain)?;
        let store = Url::parse(STORE).map_err(|e| e.to_string())?;
        runtime.register_object_store(&store, files.store());
        let context = SessionContext::new_with_config_rt(config, runtime);
        context.register_catalog(CATALOG, Arc::new(lake));
        json::register(&context);
        Ok(Query { context, tables })
    }

    /// The tables, as schema, dot, name.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Runs one statement; its rows come as they are found. Nothing can be changed by it.
    ///
    /// Errors: what is wrong with it, with the tables there are.
    pub async fn run(&self, sql: &str) -> Result<SendableRecordBatchStream, String> {
        use datafusion::execution::context::SQLOptions;
        let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame = match self.context.sql_with_options(sql, reading).await {
            Ok(frame) => frame,
            Err(e) => return Err(self.explained(e)),
        };
        frame.execute_stream().await.map_err(|e| self.explained(e))
    }

    /// An error with what helps.
    pub fn explained(&self, e: DataFusionError) -> String {
        let text = plain(e);
        let missing = text.contains("not found") && text.contains("table");
        if !missing {
            return text;
        }
        let more = if self.tables.len() > MAX_NAMED { ", ..." } else { "" };
        let named: Vec<&str> = self.tables.iter().take(MAX_NAMED).map(String::as_str).collect();
        format!("{text}. There are {}{more}", named.join(", "))
    }
}

/// An error's text without the library's words around it.
pub fn plain(e: DataFusionError) -> String {
    match e.find_root() {
        DataFusionError::ResourcesExhausted(why) => {
            format!(
                "the query needs more memory than it may have: {why}. What helps: --memory with a larger size, or less at once"
            )
        }
        _ => e.strip_backtrace(),
    }
}

/// A file that a result is written to as Parquet.
///
/// Errors: the file, or what the query says.
pub async fn write_parquet(
    query: &Query,
    mut rows: SendableRecordBatchStream,
    out: impl std::io::Write + Send,
) -> Result<u64, String> {
    use futures::StreamExt;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::WriterProperties;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(out, rows.schema(), Some(properties)).map_err(|e| e.to_string())?;
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|e| query.explained(e))?;
        count += batch.num_rows() as u64;
        writer.write(&batch).map_err(|e| e.to_string())?;
    }
    writer.close().map_err(|e| e.to_string())?;
    Ok(count)
}

/// The address of a directory or a URL.
///
/// Errors: what is neither.
pub fn address(place: &str) -> Result<Address, String> {
    if place.contains("://") {
        return Address::parse(place);
    }
    let path = std::path::absolute(Path::new(place)).map_err(|e| format!("{place}: {e}"))?;
    if !path.is_dir() {
        return Err(format!("{place} is no directory"));
    }
    let url = Url::from_directory_path(&path).map_err(|()| format!("{place} is no directory's path"))?;
    Address::parse(url.as_str())
}
