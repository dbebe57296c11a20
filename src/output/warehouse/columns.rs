//! The values of one column until a batch of rows is written. A value that does not have the column's type is refused; rows
//! that lack a value cost nothing until then.

use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, new_null_array};
use arrow_schema::DataType;

use super::schema::Kind;
use crate::event::{Value, json};

/// Largest whole number up to which every whole number is a float.
const EXACT: u64 = 1 << 53;

/// Values of one type, with gaps.
pub enum Column {
    /// true or false.
    Bool(BooleanBuilder),
    /// Integers.
    Int(Int64Builder),
    /// Floats.
    Float(Float64Builder),
    /// Text, and memory for making some.
    Text(StringBuilder, Vec<u8>),
    /// Bytes.
    Bytes(BinaryBuilder),
    /// Microseconds.
    Time(TimestampMicrosecondBuilder),
    /// A type that is not written here: gaps alone.
    Foreign(DataType),
}

impl Column {
    /// No values yet.
    pub fn new(kind: Option<Kind>, data_type: &DataType) -> Column {
        match kind {
            Some(Kind::Bool) => Column::Bool(BooleanBuilder::new()),
            Some(Kind::Int) => Column::Int(Int64Builder::new()),
            Some(Kind::Float) => Column::Float(Float64Builder::new()),
            Some(Kind::Text) => Column::Text(StringBuilder::new(), Vec::new()),
            Some(Kind::Bytes) => Column::Bytes(BinaryBuilder::new()),
            Some(Kind::Time) => Column::Time(TimestampMicrosecondBuilder::new().with_data_type(data_type.clone())),
            None => Column::Foreign(data_type.clone()),
        }
    }

    /// Rows so far. Rows behind the last value are not counted.
    fn len(&self) -> usize {
        use arrow_array::builder::ArrayBuilder;
        match self {
            Column::Bool(out) => out.len(),
            Column::Int(out) => out.len(),
            Column::Float(out) => out.len(),
            Column::Text(out, _) => out.len(),
            Column::Bytes(out) => out.len(),
            Column::Time(out) => out.len(),
            Column::Foreign(_) => 0,
        }
    }

    /// Whether the row of this number has a value.
    pub fn has(&self, row: usize) -> bool {
        self.len() > row
    }

    fn fill(&mut self, rows: usize) {
        let gaps = rows.saturating_sub(self.len());
        if gaps == 0 {
            return;
        }
        match self {
            Column::Bool(out) => out.append_nulls(gaps),
            Column::Int(out) => out.append_nulls(gaps),
            Column::Float(out) => out.append_nulls(gaps),
            Column::Text(out, _) => out.append_nulls(gaps),
            Column::Bytes(out) => out.append_nulls(gaps),
            Column::Time(out) => out.append_nulls(gaps),
            Column::Foreign(_) => {}
        }
    }

    /// Puts a value, which is not nil, into the row of this number. Gives false, and leaves the row without one, where it
    /// does not have the column's type.
    pub fn push(&mut self, row: usize, value: &Value<'_>) -> bool {
        if !fits(self.kind(), value) {
            return false;
        }
        self.fill(row);
        match (self, value) {
            (Column::Bool(out), Value::Bool(v)) => out.append_value(*v),
            (Column::Int(out), Value::Int(v)) => out.append_value(*v),
            (Column::Int(out), Value::Float(v)) => out.append_value(*v as i64),
            (Column::Float(out), Value::Float(v)) => out.append_value(*v),
            (Column::Float(out), Value::Int(v)) => out.append_value(*v as f64),
            (Column::Float(out), Value::UInt(v)) => out.append_value(*v as f64),
            (Column::Bytes(out), Value::Bin(v)) => out.append_value(v),
            (Column::Time(out), value) => match micros(value) {
                Some(v) => out.append_value(v),
                None => return false,
            },
            (Column::Text(out, _), Value::Str(v)) => match simdutf8::basic::from_utf8(v) {
                Ok(text) => out.append_value(text),
                Err(_) => return false,
            },
            (Column::Text(out, scratch), value) => {
                scratch.clear();
                json::write_value(*value, scratch);
                out.append_value(String::from_utf8_lossy(scratch));
            }
            _ => return false,
        }
        true
    }

    /// Puts text that is known to be text.
    pub fn push_text(&mut self, row: usize, text: &str) {
        self.fill(row);
        if let Column::Text(out, _) = self {
            out.append_value(text);
        }
    }

    /// Puts a time.
    pub fn push_micros(&mut self, row: usize, micros: i64) {
        self.fill(row);
        if let Column::Time(out) = self {
            out.append_value(micros);
        }
    }

    fn kind(&self) -> Option<Kind> {
        Some(match self {
            Column::Bool(_) => Kind::Bool,
            Column::Int(_) => Kind::Int,
            Column::Float(_) => Kind::Float,
            Column::Text(..) => Kind::Text,
            Column::Bytes(_) => Kind::Bytes,
            Column::Time(_) => Kind::Time,
            Column::Foreign(_) => return None,
        })
    }

    /// The values of so many rows, and an empty column in their place.
    pub fn take(&mut self, rows: usize) -> ArrayRef {
        self.fill(rows);
        match self {
            Column::Bool(out) => Arc::new(out.finish()),
            Column::Int(out) => Arc::new(out.finish()),
            Column::Float(out) => Arc::new(out.finish()),
            Column::Text(out, _) => Arc::new(out.finish()),
            Column::Bytes(out) => Arc::new(out.finish()),
            Column::Time(out) => Arc::new(out.finish()),
            Column::Foreign(kind) => new_null_array(kind, rows),
        }
    }
}

/// Whether a column of this type holds a value exactly. Nothing fits a type that is not written here.
pub fn fits(kind: Option<Kind>, value: &Value<'_>) -> bool {
    match (kind, value) {
        (Some(Kind::Bool), Value::Bool(_)) | (Some(Kind::Int), Value::Int(_)) | (Some(Kind::Bytes), Value::Bin(_)) => {
            true
        }
        (Some(Kind::Int), Value::Float(v)) => v.fract() == 0.0 && v.abs() <= EXACT as f64,
        (Some(Kind::Float), Value::Float(_)) => true,
        (Some(Kind::Float), Value::Int(v)) => v.unsigned_abs() <= EXACT,
        (Some(Kind::Float), Value::UInt(v)) => *v <= EXACT,
        (Some(Kind::Text), Value::Str(v)) => simdutf8::basic::from_utf8(v).is_ok(),
        (Some(Kind::Text), Value::Array(_) | Value::Map(_) | Value::Ext(..)) => true,
        (Some(Kind::Time), value) => micros(value).is_some(),
        _ => false,
    }
}

/// A time in microseconds: a number counts seconds, a text is one of ISO 8601 with its zone.
fn micros(value: &Value<'_>) -> Option<i64> {
    const MICROS: i64 = 1_000_000;
    match value {
        Value::Int(v) => v.checked_mul(MICROS),
        Value::Float(v) if v.abs() < 1e12 => Some((v * MICROS as f64).round() as i64),
        Value::Str(text) => {
            let time: jiff::Timestamp = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
            Some(time.as_microsecond())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;

    #[test]
    fn a_value_fits_where_it_is_held_exactly() {
        let yes = [
            (Kind::Int, Value::Float(3.0)),
            (Kind::Float, Value::Int(-3)),
            (Kind::Text, Value::str("é")),
            (Kind::Text, Value::Map(b"\x80")),
            (Kind::Time, Value::str("2026-11-29T00:00:00Z")),
            (Kind::Time, Value::Int(5)),
        ];
        for (kind, value) in yes {
            assert!(fits(Some(kind), &value), "{kind:?} {value:?}");
        }
        let no = [
            (Kind::Int, Value::Float(0.5)),
            (Kind::Int, Value::str("3")),
            (Kind::Int, Value::UInt(u64::MAX)),
            (Kind::Float, Value::Int(i64::MAX)),
            (Kind::Text, Value::Int(3)),
            (Kind::Text, Value::Str(b"\xff")),
            (Kind::Bool, Value::Int(1)),
            (Kind::Time, Value::str("noon")),
        ];
        for (kind, value) in no {
            assert!(!fits(Some(kind), &value), "{kind:?} {value:?}");
        }
        assert!(!fits(None, &Value::Int(1)));
    }

    #[test]
    fn rows_without_a_value_are_gaps() {
        let mut column = Column::new(Some(Kind::Int), &DataType::Int64);
        assert!(column.push(2, &Value::Int(7)));
        assert!(column.has(2) && !column.has(3));
        assert!(!column.push(4, &Value::str("x")));
        let array = column.take(5);
        let array = array.as_primitive::<Int64Type>();
        assert_eq!(array.iter().collect::<Vec<_>>(), [None, None, Some(7), None, None]);
        assert_eq!(column.take(0).len(), 0);
    }
}
