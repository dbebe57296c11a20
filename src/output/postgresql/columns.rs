//! The columns of a table, as its catalogue has them, and new ones for fields that have none.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::Error;

use crate::event::Value;
use crate::output::pg::{Session, TableName, identifier, literal};

/// Most columns that one chunk may add.
pub const MAX_NEW_COLUMNS: usize = 256;

/// How values of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// json, jsonb.
    Json,
    /// bytea.
    Bytes,
    /// timestamp, timestamptz, date.
    Time,
    /// smallint, integer, bigint.
    Integer,
    /// An array of something.
    Array,
    /// Whatever takes plain text.
    Other,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How its values are written.
    pub kind: Kind,
    /// It has a value of its own where none is given.
    pub has_default: bool,
}

/// The columns of a table.
#[derive(Debug, Default)]
pub struct Columns {
    /// In the table's order.
    pub all: Vec<Column>,
    by_name: HashMap<Vec<u8>, usize>,
}

impl Columns {
    fn new(all: Vec<Column>) -> Columns {
        let by_name = all.iter().enumerate().map(|(at, column)| (column.name.clone().into_bytes(), at)).collect();
        Columns { all, by_name }
    }

    /// The place of a column.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Asks the catalogue; `None` where there is no such table.
    pub async fn fetch(session: &Session, table: &TableName) -> Result<Option<Columns>, Error> {
        let oid = format!("to_regclass({})", literal(&table.sql()));
        let sql = format!(
            "SELECT a.attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL), \
             (a.atthasdef OR a.attidentity <> '')::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum"
        );
        let rows = session.rows(&sql).await?;
        if rows.is_empty() && session.rows(&format!("SELECT 1 WHERE {oid} IS NOT NULL")).await?.is_empty() {
            return Ok(None);
        }
        let column = |row: &tokio_postgres::SimpleQueryRow| Column {
            name: row.get(0).unwrap_or_default().to_owned(),
            kind: kind(row.get(1).unwrap_or_default()),
            has_default: row.get(2) == Some("true"),
        };
        Ok(Some(Columns::new(rows.iter().map(column).collect())))
    }
}

fn kind(sql: &str) -> Kind {
    match sql {
        "json" | "jsonb" => Kind::Json,
        "bytea" => Kind::Bytes,
        "date" => Kind::Time,
        "smallint" | "integer" | "bigint" => Kind::Integer,
        _ if sql.starts_with("timestamp") => Kind::Time,
        _ if sql.ends_with("[]") => Kind::Array,
        _ => Kind::Other,
    }
}

/// The type that values seen so far fit into; `None` where only nulls were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(Option<&'static str>);

impl Seen {
    /// Takes another value.
    pub fn add(&mut self, value: Value<'_>) {
        let new = match value {
            Value::Nil => return,
            Value::Bool(_) => "boolean",
            Value::Int(_) => "bigint",
            Value::UInt(_) => "numeric",
            Value::Float(_) => "double precision",
            Value::Str(_) => "text",
            Value::Bin(_) => "bytea",
            Value::Array(_) | Value::Map(_) => "jsonb",
            Value::Ext(..) => "timestamptz",
        };
        self.0 = Some(match self.0 {
            None => new,
            Some(old) if old == new => old,
            Some("bigint" | "double precision" | "numeric")
                if matches!(new, "bigint" | "double precision" | "numeric") =>
            {
                if self.0 == Some("double precision") || new == "double precision" {
                    "double precision"
                } else {
                    "numeric"
                }
            }
            Some(_) => "text",
        });
    }

    /// The type in SQL.
    pub fn sql(self) -> Option<&'static str> {
        self.0
    }
}

/// Fields that have no column, by name.
pub type NewFields = BTreeMap<String, Seen>;

/// `name type` for each of them whose type is known.
pub fn definitions(fields: &NewFields) -> Vec<String> {
    let known = fields.iter().filter_map(|(name, seen)| Some(format!("{} {}", identifier(name), seen.sql()?)));
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_widen_and_never_narrow() {
        let of = |values: &[Value<'_>]| {
            let mut seen = Seen::default();
            values.iter().for_each(|value| seen.add(*value));
            seen.sql()
        };
        assert_eq!(of(&[Value::Nil]), None);
        assert_eq!(of(&[Value::Nil, Value::Int(1)]), Some("bigint"));
        assert_eq!(of(&[Value::Int(1), Value::UInt(u64::MAX)]), Some("numeric"));
        assert_eq!(of(&[Value::UInt(u64::MAX), Value::Int(1)]), Some("numeric"));
        assert_eq!(of(&[Value::Int(1), Value::Float(0.5), Value::Int(1)]), Some("double precision"));
        assert_eq!(of(&[Value::Int(1), Value::str("x")]), Some("text"));
        assert_eq!(of(&[Value::Map(&[0x80]), Value::Bool(true)]), Some("text"));
    }
}
