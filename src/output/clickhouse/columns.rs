//! A table's columns, as the server has them.

use std::collections::HashMap;

use serde::Deserialize;

use super::ask::{Fault, Server};

/// How values of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text: everything becomes a JSON string.
    Text,
    /// A day.
    Date,
    /// A moment.
    Time,
    /// Whatever JSON has for it.
    Other,
}

/// A column.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, in SQL.
    pub sql: String,
    /// How its values are written.
    pub kind: Kind,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Columns that can be inserted into, in order.
    pub columns: Vec<Column>,
    /// Whether a repeated insert is recognised.
    pub deduplicates: bool,
    by_name: HashMap<Vec<u8>, usize>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    r#type: String,
    default_kind: String,
}

#[derive(Deserialize)]
struct Engine {
    engine: String,
    create_table_query: String,
}

/// A name in back-quotes.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn rows<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, Fault> {
    let rows = serde_json::Deserializer::from_slice(body).into_iter().collect::<Result<_, _>>();
    rows.map_err(|e| Fault::Passing(format!("the server's answer can't be read: {e}")))
}

impl Table {
    /// Asks the server; `None` where there is no such table.
    pub async fn fetch(server: &Server, database: &str, name: &str) -> Result<Option<Table>, Fault> {
        let (base, of) = (literal(database), literal(name));
        let sql = format!(
            "SELECT name, type, default_kind FROM system.columns WHERE database = {base} AND table = {of} ORDER BY position \
             FORMAT JSONEachRow"
        );
        let found: Vec<Row> = rows(&server.select(&sql).await?)?;
        if found.is_empty() {
            return Ok(None);
        }
        let sql = format!(
            "SELECT engine, create_table_query FROM system.tables WHERE database = {base} AND name = {of} FORMAT JSONEachRow"
        );
        let engines: Vec<Engine> = rows(&server.select(&sql).await?)?;
        let deduplicates = engines.first().is_some_and(Engine::deduplicates);
        // Columns that are computed can't be inserted into.
        let found = found.into_iter().filter(|row| !matches!(row.default_kind.as_str(), "MATERIALIZED" | "ALIAS"));
        let columns: Vec<Column> =
            found.map(|row| Column { kind: kind(&row.r#type), name: row.name, sql: row.r#type }).collect();
        let by_name = columns.iter().enumerate().map(|(at, c)| (c.name.clone().into_bytes(), at)).collect();
        Ok(Some(Table { name: name.to_owned(), columns, deduplicates, by_name }))
    }

    /// The place of a column.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// All columns, for an INSERT.
    pub fn names(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| identifier(&column.name)).collect();
        names.join(", ")
    }

    /// All columns with their types.
    pub fn structure(&self) -> String {
        let all: Vec<String> = self.columns.iter().map(|c| format!("{} {}", identifier(&c.name), c.sql)).collect();
        all.join(", ")
    }
}

impl Engine {
    fn deduplicates(&self) -> bool {
        const WINDOW: &str = "non_replicated_deduplication_window = ";
        let window = self.create_table_query.split_once(WINDOW).map(|(_, rest)| rest);
        // SharedMergeTree is that of the cloud. What a Distributed or Null table, or a view, does is behind it.
        self.engine.starts_with("Replicated")
            || self.engine.starts_with("Shared")
            || window.is_some_and(|rest| !rest.starts_with('0'))
    }
}

fn kind(sql: &str) -> Kind {
    let mut inner = sql;
    for around in ["LowCardinality(", "Nullable("] {
        inner = inner.strip_prefix(around).map_or(inner, |rest| rest.strip_suffix(')').unwrap_or(rest));
    }
    match inner {
        "String" => Kind::Text,
        "Date" | "Date32" => Kind::Date,
        _ if inner.starts_with("FixedString(") => Kind::Text,
        _ if inner.starts_with("DateTime") => Kind::Time,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_seen_through_what_is_around_them() {
        assert_eq!(kind("LowCardinality(Nullable(String))"), Kind::Text);
        assert_eq!(kind("Nullable(DateTime64(3, 'UTC'))"), Kind::Time);
        assert_eq!(kind("Date"), Kind::Date);
        assert_eq!(kind("Map(String, UInt64)"), Kind::Other);
    }

    #[test]
    fn tables_that_recognise_a_repeated_insert_are_known() {
        let of = |engine: &str, create: &str| {
            Engine { engine: engine.into(), create_table_query: create.into() }.deduplicates()
        };
        assert!(of("ReplicatedMergeTree", ""));
        assert!(of("MergeTree", "... SETTINGS non_replicated_deduplication_window = 100, index_granularity = 8192"));
        assert!(!of("MergeTree", "... SETTINGS non_replicated_deduplication_window = 0"));
        assert!(!of("MergeTree", "... SETTINGS index_granularity = 8192"));
        assert_eq!(identifier("a`b\\"), "`a\\`b\\\\`");
    }
}
