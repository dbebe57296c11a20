//! How events become rows of one version of a table: which field goes to which column, and which partition a row is in.

use std::collections::HashMap;

use arrow_schema::SchemaRef;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{Literal, PrimitiveLiteral, Struct, TableMetadata, Transform};

use super::fault::{Done, Fault};
use super::schema::{Kind, REST, TIME_COLUMN};
use crate::event::{Record, Value};

/// Names without a column that are remembered; beyond them each is looked up anew.
const MAX_STRAY: usize = 4_096;

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;

/// Where a field goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The column of this number.
    Column(usize),
    /// A column may be made for it.
    New,
    /// To `_rest` for good: its name is taken, or there are too many columns.
    Rest,
}

/// A part of a partition.
#[derive(Clone, Copy, Debug)]
enum Part {
    Hour,
    Day,
    Column(usize),
}

/// The value of a partition, in the order of the table's partition fields.
pub type Key = Vec<Option<PrimitiveLiteral>>;

/// The columns and partitions of a version.
pub struct Layout {
    /// The columns.
    pub arrow: SchemaRef,
    /// Their types, where they are written here.
    pub kinds: Vec<Option<Kind>>,
    /// The column of the events' time.
    pub time: usize,
    /// The column of what fits no other.
    pub rest: usize,
    places: HashMap<Vec<u8>, Place, foldhash::fast::RandomState>,
    /// Names in lower case that no new column may have.
    taken: HashMap<String, (), foldhash::fast::RandomState>,
    stray: usize,
    parts: Vec<(String, Part)>,
    max_columns: usize,
}

impl Layout {
    /// Of a version.
    ///
    /// Errors: a table that is not of this make.
    pub fn new(metadata: &TableMetadata, max_columns: usize) -> Done<Layout> {
        let schema = metadata.current_schema();
        let fields = schema.as_struct().fields();
        let of = |name: &str| fields.iter().position(|field| field.name == name);
        let missing =
            |what: &str| Fault(format!("{} has no column {what}: suiro did not make it", metadata.location()));
        let time =
            metadata.properties().get(TIME_COLUMN).and_then(|name| of(name)).ok_or_else(|| missing("for times"))?;
        let rest = of(REST).ok_or_else(|| missing(REST))?;
        let kinds: Vec<Option<Kind>> = fields.iter().map(|field| Kind::of_type(&field.field_type)).collect();
        if kinds[time] != Some(Kind::Time) || kinds[rest] != Some(Kind::Text) {
            return Err(missing("of the type that suiro gives it"));
        }
        let mut parts = Vec::new();
        for field in metadata.default_partition_spec().fields() {
            let source = fields.iter().position(|column| column.id == field.source_id);
            let part = match (field.transform, source) {
                (Transform::Hour, Some(source)) if source == time => Part::Hour,
                (Transform::Day, Some(source)) if source == time => Part::Day,
                (Transform::Identity, Some(source)) => Part::Column(source),
                (transform, _) => {
                    let place = metadata.location();
                    return Err(Fault(format!(
                        "{place} is partitioned by {transform} ({}): suiro did not make it",
                        field.name
                    )));
                }
            };
            parts.push((field.name.clone(), part));
        }
        let mut layout = Layout {
            arrow: std::sync::Arc::new(schema_to_arrow_schema(schema)?),
            kinds,
            time,
            rest,
            places: HashMap::default(),
            taken: HashMap::default(),
            stray: 0,
            parts,
            max_columns,
        };
        for (place, field) in fields.iter().enumerate() {
            // A record's own `time` or `_rest` must not end in these columns.
            let own = if place == time || place == rest { Place::Rest } else { Place::Column(place) };
            layout.places.insert(field.name.as_bytes().to_vec(), own);
            layout.taken.insert(field.name.to_lowercase(), ());
        }
        let names: Vec<String> = layout.parts.iter().map(|(name, _)| name.to_lowercase()).collect();
        layout.taken.extend(names.into_iter().map(|name| (name, ())));
        Ok(layout)
    }

    /// Where a field of this name goes.
    pub fn place(&mut self, name: &[u8]) -> Place {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = match std::str::from_utf8(name) {
            // Others tell columns apart by their letters alone, not by their case.
            Ok(text) if text.is_empty() || self.taken.contains_key(&text.to_lowercase()) => Place::Rest,
            Ok(_) if self.kinds.len() < self.max_columns => Place::New,
            _ => Place::Rest,
        };
        if self.stray < MAX_STRAY {
            self.stray += 1;
            self.places.insert(name.to_vec(), place);
        }
        place
    }

    /// From now on a new field goes to `_rest`: the columns are settled.
    pub fn settle(&mut self) {
        self.max_columns = 0;
        self.places.values_mut().filter(|place| **place == Place::New).for_each(|place| *place = Place::Rest);
    }

    /// Columns that may still be made.
    pub fn room(&self) -> usize {
        self.max_columns.saturating_sub(self.kinds.len())
    }

    /// The partition of a row.
    pub fn key(&self, micros: i64, record: &Record<'_>, key: &mut Key) {
        key.clear();
        for (_, part) in &self.parts {
            key.push(match part {
                Part::Hour => Some(PrimitiveLiteral::Int(micros.div_euclid(HOUR) as i32)),
                Part::Day => Some(PrimitiveLiteral::Int(micros.div_euclid(24 * HOUR) as i32)),
                Part::Column(place) => {
                    let value = record.get(self.arrow.field(*place).name().as_bytes());
                    value.and_then(|value| self.literal(*place, &value))
                }
            });
        }
    }

    fn literal(&self, place: usize, value: &Value<'_>) -> Option<PrimitiveLiteral> {
        if !super::columns::fits(self.kinds[place], value) {
            return None;
        }
        match value {
            Value::Bool(v) => Some(PrimitiveLiteral::Boolean(*v)),
            Value::Int(v) => Some(PrimitiveLiteral::Long(*v)),
            Value::Float(v) => Some(PrimitiveLiteral::Long(*v as i64)),
            Value::Str(v) => Some(PrimitiveLiteral::String(String::from_utf8_lossy(v).into_owned())),
            _ => None,
        }
    }
}

/// A partition's value as the catalog has it.
pub fn literal(key: &Key) -> Struct {
    Struct::from_iter(key.iter().map(|part| part.clone().map(Literal::Primitive)))
}

/// The directory of a partition, as others name it. Only for the eye; the catalog says what is in it.
pub fn directory(metadata: &TableMetadata, partition: &Struct) -> String {
    let fields = metadata.default_partition_spec().fields().iter();
    fields.zip(partition.iter()).fold(String::new(), |path, (field, value)| {
        let value = value.map_or_else(|| "null".to_owned(), |value| shown(field.transform, value));
        path + &safe(&field.name) + "=" + &safe(&value) + "/"
    })
}

fn shown(transform: Transform, value: &Literal) -> String {
    let (seconds, form) = match transform {
        Transform::Hour => (3600, "%Y-%m-%d-%H"),
        Transform::Day => (24 * 3600, "%Y-%m-%d"),
        _ => (0, ""),
    };
    match value {
        Literal::Primitive(PrimitiveLiteral::Int(count)) if seconds > 0 => {
            let time = jiff::Timestamp::from_second(i64::from(*count) * seconds);
            time.map_or_else(|_| count.to_string(), |time| time.strftime(form).to_string())
        }
        Literal::Primitive(PrimitiveLiteral::Boolean(value)) => value.to_string(),
        Literal::Primitive(PrimitiveLiteral::Long(value)) => value.to_string(),
        Literal::Primitive(PrimitiveLiteral::String(value)) => value.clone(),
        other => format!("{other:?}"),
    }
}

/// No sign that means something in a path, and no longer than a name may be.
fn safe(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    text.chars().map(safe).take(100).collect()
}
