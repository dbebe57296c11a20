//! Types of columns: what values ask for, what a schema gives, and how two of them become one.

use arrow_schema::{DataType, TimeUnit};

use crate::event::Value;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but nil so far.
    Nil,
    /// true or false.
    Bool,
    /// Integers of 64 bits.
    Int,
    /// Integers of 64 bits that are not negative, some above the largest of [`Int`](Kind::Int).
    UInt,
    /// Floats of 64 bits.
    Float,
    /// Text; containers as JSON.
    Text,
    /// Bytes.
    Bytes,
    /// Nanoseconds since the epoch, UTC.
    Time,
}

/// Names of types in a schema, in lower case, and what they are here. Those of Arrow, SQL, Avro and BigQuery.
const NAMES: &[(&str, Kind)] = &[
    ("bool", Kind::Bool),
    ("boolean", Kind::Bool),
    ("int", Kind::Int),
    ("int32", Kind::Int),
    ("int64", Kind::Int),
    ("integer", Kind::Int),
    ("bigint", Kind::Int),
    ("long", Kind::Int),
    ("uint64", Kind::UInt),
    ("double", Kind::Float),
    ("float", Kind::Float),
    ("float64", Kind::Float),
    ("numeric", Kind::Float),
    ("string", Kind::Text),
    ("text", Kind::Text),
    ("utf8", Kind::Text),
    ("varchar", Kind::Text),
    ("json", Kind::Text),
    ("record", Kind::Text),
    ("struct", Kind::Text),
    ("array", Kind::Text),
    ("map", Kind::Text),
    ("enum", Kind::Text),
    ("date", Kind::Text),
    ("datetime", Kind::Text),
    ("time", Kind::Text),
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
        NAMES.iter().find(|(known, _)| *known == lower).map(|(_, kind)| *kind).ok_or_else(|| {
            format!(
                "type {name:?} is not known. There are bool, int64, uint64, double, string, json, binary, timestamp"
            )
        })
    }

    /// What a value asks for.
    pub fn of(value: &Value<'_>) -> Kind {
        match value {
            Value::Nil => Kind::Nil,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) => Kind::Int,
            Value::UInt(_) => Kind::UInt,
            Value::Float(_) => Kind::Float,
            Value::Bin(_) => Kind::Bytes,
            Value::Str(_) | Value::Array(_) | Value::Map(_) | Value::Ext(..) => Kind::Text,
        }
    }

    /// The type that holds the values of both.
    pub fn widened(self, other: Kind) -> Kind {
        use Kind::{Bytes, Float, Int, Nil, Text, UInt};
        match (self, other) {
            (a, b) if a == b => a,
            (Nil, kind) | (kind, Nil) => kind,
            // Among such large integers a negative one leaves no type that holds both exactly.
            (Int | UInt | Float, Int | UInt | Float) => Float,
            (Text, Bytes) | (Bytes, Text) => Bytes,
            _ => Text,
        }
    }

    /// Arrow's type. A column of nothing is one of text.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int => DataType::Int64,
            Kind::UInt => DataType::UInt64,
            Kind::Float => DataType::Float64,
            Kind::Nil | Kind::Text => DataType::Utf8,
            Kind::Bytes => DataType::Binary,
            Kind::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        }
    }
}
