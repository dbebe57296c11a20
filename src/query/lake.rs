//! A warehouse as DataFusion sees it: a catalog, its schemas, their tables. A table is read as it is when a query names it,
//! and stays that version to the query's end.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, DataFusionError, Result, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;

use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use iceberg::arrow::schema_to_arrow_schema;

use super::bounds;
use crate::output::warehouse::{Done, Entry, Fault, Files, Table, Version};

/// Name of the catalog.
pub const CATALOG: &str = "warehouse";
/// Where the session finds the warehouse's store.
pub const STORE: &str = "suiro://warehouse";

/// The catalog.
#[derive(Debug)]
pub struct Lake {
    schemas: BTreeMap<String, Arc<LakeSchema>>,
}

/// A schema.
#[derive(Debug)]
struct LakeSchema {
    name: String,
    files: Files,
    tables: Vec<String>,
}

/// A version of a table.
#[derive(Debug)]
struct LakeTable {
    table: Table,
    version: Arc<Version>,
    schema: SchemaRef,
}

impl Lake {
    /// Looks which tables there are.
    pub async fn look(files: &Files) -> Done<Lake> {
        let mut schemas = BTreeMap::new();
        for name in files.directories("").await? {
            let tables = files.directories(&name).await?;
            if !tables.is_empty() {
                schemas.insert(name.clone(), Arc::new(LakeSchema { name, files: files.clone(), tables }));
            }
        }
        Ok(Lake { schemas })
    }

    /// The tables, as schema, dot, name.
    pub fn tables(&self) -> Vec<String> {
        let of = |schema: &Arc<LakeSchema>| {
            let name = schema.name.clone();
            schema.tables.iter().map(move |table| format!("{name}.{table}")).collect::<Vec<_>>()
        };
        self.schemas.values().flat_map(of).collect()
    }
}

impl CatalogProvider for Lake {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema_names(&self) -> Vec<String> {
        self.schemas.keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.schemas.get(name).map(|schema| schema.clone() as Arc<dyn SchemaProvider>)
    }
}

fn failed(fault: Fault) -> DataFusionError {
    DataFusionError::External(fault.into())
}

#[async_trait]
impl SchemaProvider for LakeSchema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        self.tables.clone()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if !self.table_exist(name) {
            return Ok(None);
        }
        let table = Table::new(&self.files, &self.name, name);
        let Some(version) = table.load().await.map_err(failed)? else { return Ok(None) };
        let schema = schema_to_arrow_schema(version.metadata.current_schema()).map_err(|e| failed(e.into()))?;
        // Ids of columns are of no use here, and would keep equal schemas apart.
        let fields = schema.fields().iter().map(|f| Field::new(f.name(), f.data_type().clone(), f.is_nullable()));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Some(Arc::new(LakeTable { table, version, schema })))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table == name)
    }
}

impl LakeTable {
    fn file(&self, entry: &Entry) -> Done<PartitionedFile> {
        let file = entry.file();
        let name = self.table.resolve(&self.version.metadata, file.file_path())?;
        let mut partitioned = PartitionedFile::new(name.clone(), file.file_size_in_bytes());
        partitioned.object_meta.location = self.table.files.path(&name);
        Ok(partitioned)
    }

    /// The files that a filter does not rule out.
    async fn files(&self, state: &dyn Session, filter: Option<&Expr>) -> Result<Vec<Entry>> {
        let entries = self.table.data_files(&self.version.metadata).await.map_err(failed)?;
        let Some(filter) = filter else { return Ok(entries) };
        let filter = state.create_physical_expr(filter.clone(), &DFSchema::try_from(self.schema.clone())?)?;
        bounds::pruned(entries, filter, &self.schema, self.version.metadata.current_schema())
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filter = conjunction(filters.to_vec());
        let entries = self.files(state, filter.as_ref()).await?;
        let mut source = ParquetSource::new(self.schema.clone());
        if let Some(filter) = &filter {
            let schema = DFSchema::try_from(self.schema.clone())?;
            source = source.with_predicate(state.create_physical_expr(filter.clone(), &schema)?);
        }
        let rows: u64 = entries.iter().map(|entry| entry.file().record_count()).sum();
        let mut known = Statistics::new_unknown(&self.schema);
        if filter.is_none() {
            known.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        let files: Vec<PartitionedFile> =
            entries.iter().map(|entry| self.file(entry)).collect::<Done<_>>().map_err(failed)?;
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE)?, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(known)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}
