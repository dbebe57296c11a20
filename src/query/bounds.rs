//! Which data files a filter rules out, by the bounds that the catalog has of their columns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use iceberg::spec::{DataFile, Datum, PrimitiveLiteral, Schema};

use crate::output::warehouse::Entry;

/// The files that may hold rows that the filter accepts.
pub fn pruned(
    entries: Vec<Entry>,
    filter: Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
    table: &Schema,
) -> Result<Vec<Entry>> {
    // A filter that says nothing about bounds rules no file out.
    let Ok(predicate) = PruningPredicate::try_new(filter, schema.clone()) else { return Ok(entries) };
    let kept = predicate.prune(&Bounds { entries: &entries, schema, table })?;
    Ok(entries.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(entry, _)| entry).collect())
}

struct Bounds<'a> {
    entries: &'a [Entry],
    schema: &'a SchemaRef,
    table: &'a Schema,
}

impl Bounds<'_> {
    fn bounds(&self, column: &Column, of: fn(&DataFile) -> &HashMap<i32, Datum>) -> Option<ArrayRef> {
        let id = self.table.field_id_by_name(column.name())?;
        let kind = self.schema.field_with_name(column.name()).ok()?.data_type();
        let values = self.entries.iter().map(|entry| match of(entry.file()).get(&id).and_then(|d| scalar(d, kind)) {
            Some(value) => Ok(value),
            None => ScalarValue::try_from(kind),
        });
        ScalarValue::iter_to_array(values.collect::<Result<Vec<_>>>().ok()?).ok()
    }

    fn counts(&self, column: &Column, of: fn(&DataFile) -> &HashMap<i32, u64>) -> Option<ArrayRef> {
        let id = self.table.field_id_by_name(column.name())?;
        let counts: UInt64Array = self.entries.iter().map(|entry| of(entry.file()).get(&id).copied()).collect();
        Some(Arc::new(counts))
    }
}

/// A bound as DataFusion has it.
fn scalar(datum: &Datum, kind: &DataType) -> Option<ScalarValue> {
    match (datum.literal(), kind) {
        (PrimitiveLiteral::Long(v), DataType::Int64) => Some(ScalarValue::Int64(Some(*v))),
        (PrimitiveLiteral::Long(v), DataType::Timestamp(_, zone)) => {
            Some(ScalarValue::TimestampMicrosecond(Some(*v), zone.clone()))
        }
        (PrimitiveLiteral::Double(v), DataType::Float64) => Some(ScalarValue::Float64(Some(v.0))),
        (PrimitiveLiteral::Boolean(v), DataType::Boolean) => Some(ScalarValue::Boolean(Some(*v))),
        (PrimitiveLiteral::String(v), DataType::Utf8) => Some(ScalarValue::Utf8(Some(v.clone()))),
        _ => None,
    }
}

impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, DataFile::lower_bounds)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, DataFile::upper_bounds)
    }

    fn num_containers(&self) -> usize {
        self.entries.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.counts(column, DataFile::null_value_counts)
    }

    fn row_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.counts(column, DataFile::value_counts)
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
