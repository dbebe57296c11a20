//! The values of one column until a batch is written.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampNanosecondBuilder,
    UInt64Builder,
};

use super::kind::Kind;
use crate::event::{Value, json};

/// Values of one type, with gaps.
pub enum Column {
    /// true or false.
    Bool(BooleanBuilder),
    /// Integers.
    Int(Int64Builder),
    /// Large integers.
    UInt(UInt64Builder),
    /// Floats.
    Float(Float64Builder),
    /// Text.
    Text(StringBuilder),
    /// Bytes.
    Bytes(BinaryBuilder),
    /// Times.
    Time(TimestampNanosecondBuilder),
}

impl Column {
    /// No values yet.
    pub fn new(kind: Kind) -> Column {
        match kind {
            Kind::Bool => Column::Bool(BooleanBuilder::new()),
            Kind::Int => Column::Int(Int64Builder::new()),
            Kind::UInt => Column::UInt(UInt64Builder::new()),
            Kind::Float => Column::Float(Float64Builder::new()),
            Kind::Nil | Kind::Text => Column::Text(StringBuilder::new()),
            Kind::Bytes => Column::Bytes(BinaryBuilder::new()),
            Kind::Time => Column::Time(TimestampNanosecondBuilder::new().with_timezone("UTC")),
        }
    }

    /// Appends a value, in the column's type. One that has no such form (which a schema alone can bring about) is a gap;
    /// gives whether it is none.
    pub fn push(&mut self, value: &Value<'_>) -> bool {
        if *value == Value::Nil {
            self.gap();
            return true;
        }
        let pushed = match self {
            Column::Bool(out) => boolean(value).map(|v| out.append_value(v)),
            Column::Int(out) => integer(value).map(|v| out.append_value(v)),
            Column::UInt(out) => unsigned(value).map(|v| out.append_value(v)),
            Column::Float(out) => float(value).map(|v| out.append_value(v)),
            Column::Text(out) => {
                out.append_value(text(value));
                Some(())
            }
            Column::Bytes(out) => {
                match value.as_bytes() {
                    Some(bytes) => out.append_value(bytes),
                    None => out.append_value(text(value)),
                }
                Some(())
            }
            Column::Time(out) => time(value).map(|v| out.append_value(v)),
        };
        if pushed.is_none() {
            self.gap();
        }
        pushed.is_some()
    }

    /// Appends nothing.
    pub fn gap(&mut self) {
        match self {
            Column::Bool(out) => out.append_null(),
            Column::Int(out) => out.append_null(),
            Column::UInt(out) => out.append_null(),
            Column::Float(out) => out.append_null(),
            Column::Text(out) => out.append_null(),
            Column::Bytes(out) => out.append_null(),
            Column::Time(out) => out.append_null(),
        }
    }

    /// The values, and an empty column in their place.
    pub fn take(&mut self) -> ArrayRef {
        match self {
            Column::Bool(out) => Arc::new(out.finish()),
            Column::Int(out) => Arc::new(out.finish()),
            Column::UInt(out) => Arc::new(out.finish()),
            Column::Float(out) => Arc::new(out.finish()),
            Column::Text(out) => Arc::new(out.finish()),
            Column::Bytes(out) => Arc::new(out.finish()),
            Column::Time(out) => Arc::new(out.finish()),
        }
    }
}

/// Text as it is, other values as JSON.
fn text(value: &Value<'_>) -> String {
    match value {
        Value::Str(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => {
            let mut out = Vec::new();
            json::write_value(*other, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}

fn words<'a>(value: &Value<'a>) -> Option<&'a str> {
    std::str::from_utf8(value.as_bytes()?).ok().map(str::trim)
}

fn boolean(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(v) => Some(*v),
        _ => words(value)?.parse().ok(),
    }
}

fn integer(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(v) => Some(*v),
        // No float beyond the whole numbers that it holds exactly.
        Value::Float(v) if v.fract() == 0.0 && v.abs() <= 2f64.powi(53) => Some(*v as i64),
        _ => words(value)?.parse().ok(),
    }
}

fn unsigned(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::UInt(v) => Some(*v),
        _ => integer(value).and_then(|v| u64::try_from(v).ok()).or_else(|| words(value)?.parse().ok()),
    }
}

fn float(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Float(v) => Some(*v),
        Value::Int(v) => Some(*v as f64),
        Value::UInt(v) => Some(*v as f64),
        _ => words(value)?.parse().ok(),
    }
}

/// Nanoseconds: a number counts seconds, a text is one of ISO 8601.
fn time(value: &Value<'_>) -> Option<i64> {
    const NANOS: i64 = 1_000_000_000;
    match value {
        Value::Int(v) => v.checked_mul(NANOS),
        Value::Float(v) => Some((v * NANOS as f64) as i64),
        _ => {
            let time: jiff::Timestamp = words(value)?.parse().ok()?;
            i64::try_from(time.as_nanosecond()).ok()
        }
    }
}
