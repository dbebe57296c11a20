//! Columns of a table: which Iceberg type a field's values ask for, how a table begins, how columns are added.
//!
//! A column has the type of the first values that were seen, or the one that `columns` gives. It never changes: what does not
//! fit is kept in `_rest`. Formats of files (`src/formatter/parquet`) widen types within one file instead; a table, which is
//! read as a whole and by others, can't.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{
    FormatVersion, NestedField, PrimitiveType, Schema, SortOrder, TableMetadata, TableMetadataBuilder, Transform, Type,
    UnboundPartitionSpec,
};

use super::fault::{Done, Fault};
use super::table::{Table, Version};
use crate::event::Value;

/// The column of what fits no other.
pub const REST: &str = "_rest";

/// The type of a column that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true or false.
    Bool,
    /// Integers of 64 bits.
    Int,
    /// Floats of 64 bits.
    Float,
    /// Text; containers as JSON.
    Text,
    /// Bytes.
    Bytes,
    /// Microseconds since the epoch, UTC.
    Time,
}

/// Names of types for `columns`.
const NAMES: &[(&str, Kind)] = &[
    ("bool", Kind::Bool),
    ("boolean", Kind::Bool),
    ("int", Kind::Int),
    ("int64", Kind::Int),
    ("integer", Kind::Int),
    ("bigint", Kind::Int),
    ("long", Kind::Int),
    ("float", Kind::Float),
    ("float64", Kind::Float),
    ("double", Kind::Float),
    ("string", Kind::Text),
    ("text", Kind::Text),
    ("varchar", Kind::Text),
    ("json", Kind::Text),
    ("binary", Kind::Bytes),
    ("bytes", Kind::Bytes),
    ("timestamp", Kind::Time),
];

impl Kind {
    /// The type of this name.
    ///
    /// Errors: no such type, with those there are.
    pub fn named(name: &str) -> Result<Kind, String> {
        let lower = name.to_ascii_lowercase();
        let found = NAMES.iter().find(|(known, _)| *known == lower).map(|(_, kind)| *kind);
        found.ok_or_else(|| {
            format!("type {name:?} is not known. There are bool, int64, double, string, json, binary, timestamp")
        })
    }

    /// What a value asks for, where a column is to be made for it. Integers above those of 64 bits with a sign have no
    /// type that others read exactly.
    pub fn of(value: &Value<'_>) -> Option<Kind> {
        Some(match value {
            Value::Nil | Value::UInt(_) => return None,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) => Kind::Int,
            Value::Float(_) => Kind::Float,
            Value::Bin(_) => Kind::Bytes,
            Value::Str(_) | Value::Array(_) | Value::Map(_) | Value::Ext(..) => Kind::Text,
        })
    }

    /// The type of a column that a chunk brings: the first one seen, but floats where there are integers, too.
    pub fn and(self, other: Kind) -> Kind {
        match (self, other) {
            (Kind::Int, Kind::Float) => Kind::Float,
            (first, _) => first,
        }
    }

    /// In Iceberg.
    pub fn primitive(self) -> PrimitiveType {
        match self {
            Kind::Bool => PrimitiveType::Boolean,
            Kind::Int => PrimitiveType::Long,
            Kind::Float => PrimitiveType::Double,
            Kind::Text => PrimitiveType::String,
            Kind::Bytes => PrimitiveType::Binary,
            Kind::Time => PrimitiveType::Timestamptz,
        }
    }

    /// Of a column that is there. `None` for one that somebody else has made, of a type that is not written here.
    pub fn of_type(kind: &Type) -> Option<Kind> {
        match kind.as_primitive_type()? {
            PrimitiveType::Boolean => Some(Kind::Bool),
            PrimitiveType::Long => Some(Kind::Int),
            PrimitiveType::Double => Some(Kind::Float),
            PrimitiveType::String => Some(Kind::Text),
            PrimitiveType::Binary => Some(Kind::Bytes),
            PrimitiveType::Timestamptz => Some(Kind::Time),
            _ => None,
        }
    }
}

/// How a table is cut by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// By the hour.
    Hour,
    /// By the day.
    Day,
}

impl Slice {
    fn transform(self) -> (&'static str, Transform) {
        match self {
            Slice::Hour => ("hour", Transform::Hour),
            Slice::Day => ("day", Transform::Day),
        }
    }
}

/// How a table begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Name of the column for the events' time.
    pub time: String,
    /// How it is cut by time.
    pub slice: Slice,
    /// Fields that it is cut by besides.
    pub partition_by: Vec<String>,
    /// Columns that are there from the start.
    pub columns: Vec<(String, Kind)>,
}

impl Beginning {
    fn metadata(&self, location: String) -> Done<TableMetadata> {
        let mut names = vec![(self.time.clone(), Kind::Time), (REST.to_owned(), Kind::Text)];
        names.extend(self.columns.iter().cloned());
        for field in &self.partition_by {
            if !names.iter().any(|(name, _)| name == field) {
                names.push((field.clone(), Kind::Text));
            }
        }
        let fields = names.iter().enumerate().map(|(place, (name, kind))| {
            let (id, kind) = (place as i32 + 1, Type::Primitive(kind.primitive()));
            // Each event has a time; the others may be missing.
            Arc::new(if place == 0 {
                NestedField::required(id, name, kind)
            } else {
                NestedField::optional(id, name, kind)
            })
        });
        let schema = Schema::builder().with_fields(fields).build()?;
        let (word, transform) = self.slice.transform();
        let mut spec =
            UnboundPartitionSpec::builder().add_partition_field(1, format!("{}_{word}", self.time), transform)?;
        for field in &self.partition_by {
            let id = schema.field_id_by_name(field).unwrap_or_default();
            spec = spec.add_partition_field(id, field, Transform::Identity)?;
        }
        let properties = HashMap::from_iter([
            ("created-by".to_owned(), concat!("suiro version ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("write.format.default".to_owned(), "parquet".to_owned()),
            (TIME_COLUMN.to_owned(), self.time.clone()),
        ]);
        let (order, version) = (SortOrder::unsorted_order(), FormatVersion::V2);
        let builder = TableMetadataBuilder::new(schema, spec.build(), order, location, version, properties)?;
        Ok(builder.build()?.metadata)
    }

    /// The table, which is made where it is not there.
    pub async fn open(&self, table: &Table) -> Done<Arc<Version>> {
        if let Some(version) = table.current().await? {
            return Ok(version);
        }
        let location = format!("{}/{}", table.files.location(), table.directory);
        if let Some(version) = table.commit(0, self.metadata(location)?).await? {
            tracing::info!("table {} is made", table.name);
            return Ok(version);
        }
        let lost = || Fault(format!("table {} was made by somebody else and is not there", table.name));
        table.load().await?.ok_or_else(lost)
    }
}

/// The property with the name of the column for the events' time.
pub const TIME_COLUMN: &str = "suiro.time-column";

/// A version that has these columns: those that are missing are added, in one commit.
pub async fn with_columns(table: &Table, mut version: Arc<Version>, wanted: &[(String, Kind)]) -> Done<Arc<Version>> {
    loop {
        let (metadata, schema) = (&version.metadata, version.metadata.current_schema());
        let known = |name: &str| schema.field_by_name_case_insensitive(name).is_some();
        let missing: Vec<&(String, Kind)> = wanted.iter().filter(|(name, _)| !known(name)).collect();
        if missing.is_empty() {
            return Ok(version);
        }
        let added = missing.iter().enumerate().map(|(n, (name, kind))| {
            let id = metadata.last_column_id() + 1 + n as i32;
            Arc::new(NestedField::optional(id, name, Type::Primitive(kind.primitive())))
        });
        let fields = schema.as_struct().fields().iter().cloned().chain(added);
        let next = Schema::builder().with_fields(fields).with_schema_id(schema.schema_id() + 1).build()?;
        let current = table.url(metadata, &format!("metadata/v{}.metadata.json", version.number));
        let builder = TableMetadataBuilder::new_from_metadata(metadata.clone(), Some(current));
        let next = builder.add_current_schema(next)?.build()?.metadata;
        let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
        match table.commit(version.number, next).await? {
            Some(version) => {
                tracing::info!("table {} has new columns: {}", table.name, names.join(", ").escape_debug());
                return Ok(version);
            }
            None => {
                let lost = || Fault(format!("table {} is not there any more", table.name));
                version = table.load().await?.ok_or_else(lost)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_table_begins_with_its_time_its_rest_and_what_it_is_cut_by() {
        let beginning = Beginning {
            time: "time".into(),
            slice: Slice::Day,
            partition_by: vec!["app".into(), "n".into()],
            columns: vec![("n".into(), Kind::Int)],
        };
        let metadata = beginning.metadata("file:///w/raw/t".into()).unwrap();
        let schema = metadata.current_schema();
        let names: Vec<&str> = schema.as_struct().fields().iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["time", "_rest", "n", "app"]);
        let spec: Vec<String> = metadata.default_partition_spec().fields().iter().map(|f| f.name.clone()).collect();
        assert_eq!(spec, ["time_day", "app", "n"]);
    }

    #[test]
    fn the_first_type_stays_but_integers_become_floats() {
        assert_eq!(Kind::Int.and(Kind::Float), Kind::Float);
        assert_eq!(Kind::Float.and(Kind::Int), Kind::Float);
        assert_eq!(Kind::Text.and(Kind::Int), Kind::Text);
        assert_eq!(Kind::Int.and(Kind::Text), Kind::Int);
        assert!(Kind::named("frog").unwrap_err().contains("not known"));
    }
}
