//! Columns of a table: read from JSON as BigQuery has it, what a record's fields become under them, and the columns that
//! fields without one would have.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::event::{Record, Value, json as text};

/// Longest name of a column, in characters.
const MAX_NAME: usize = 300;
/// Deepest nesting of columns.
const MAX_NESTING: usize = 15;
/// Beginnings of names that BigQuery keeps for itself.
const RESERVED: [&str; 5] = ["_table_", "_file_", "_partition", "_row_timestamp", "__root__"];
/// The extension of MessagePack that holds a time.
const EVENT_TIME: i8 = 0;

/// What a column holds, as far as values are written differently for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Bytes,
    Integer,
    Timestamp,
    Record,
    Json,
    Other,
}

impl Kind {
    fn of(name: &str) -> Kind {
        match name.to_ascii_uppercase().as_str() {
            "STRING" => Kind::Text,
            "BYTES" => Kind::Bytes,
            "INTEGER" | "INT64" => Kind::Integer,
            "TIMESTAMP" => Kind::Timestamp,
            "RECORD" | "STRUCT" => Kind::Record,
            "JSON" => Kind::Json,
            _ => Kind::Other,
        }
    }
}

/// Types that are taken; others are a mistake of the configuration.
const TYPES: &[&str] = &[
    "STRING",
    "BYTES",
    "INTEGER",
    "INT64",
    "FLOAT",
    "FLOAT64",
    "NUMERIC",
    "BIGNUMERIC",
    "BOOLEAN",
    "BOOL",
    "TIMESTAMP",
    "DATE",
    "TIME",
    "DATETIME",
    "GEOGRAPHY",
    "RECORD",
    "STRUCT",
    "JSON",
    "INTERVAL",
    "RANGE",
];

/// One column.
#[derive(Clone, Debug, PartialEq)]
struct Column {
    name: String,
    kind: Kind,
    repeated: bool,
    fields: Schema,
    /// Everything that was said of it, but for the fields.
    said: Map<String, Json>,
}

/// Columns in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    columns: Vec<Column>,
    /// Places by name, in lower case: BigQuery tells no cases apart.
    places: HashMap<Vec<u8>, usize>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For files: a column of JSON holds it as it is.
    File,
    /// For insertAll: a column of JSON holds its text.
    Insert,
}

impl Schema {
    /// Reads a list of columns: `[{"name":"a","type":"STRING","mode":"NULLABLE"}]`.
    ///
    /// Errors: what is wrong, with the column.
    pub fn read(list: &str) -> Result<Schema, String> {
        let json: Json = serde_json::from_str(list).map_err(|e| format!("the schema is no JSON: {e}"))?;
        Schema::of(&json)
    }

    /// As [`read`](Self::read). `{"fields": [...]}` is taken too.
    pub fn of(json: &Json) -> Result<Schema, String> {
        Schema::nested(json, 0)
    }

    fn nested(json: &Json, depth: usize) -> Result<Schema, String> {
        if depth > MAX_NESTING {
            return Err(format!("columns are nested more than {MAX_NESTING} levels deep"));
        }
        let list = json.as_array().or_else(|| json["fields"].as_array());
        let list = list.ok_or("the schema is no list of columns such as [{\"name\":\"a\",\"type\":\"STRING\"}]")?;
        let mut schema = Schema::default();
        for column in list {
            let column = Column::of(column, depth)?;
            if !schema.push(column) {
                let name = &list[schema.columns.len()]["name"];
                return Err(format!("column {name} is there twice"));
            }
        }
        Ok(schema)
    }

    fn push(&mut self, column: Column) -> bool {
        let place = self.columns.len();
        let fresh = self.places.insert(column.name.to_ascii_lowercase().into_bytes(), place).is_none();
        if fresh {
            self.columns.push(column);
        }
        fresh
    }

    /// Whether there is such a column.
    pub fn has(&self, name: &str) -> bool {
        self.place(name.as_bytes()).is_some()
    }

    /// Makes a column one of times: events have no such type.
    pub fn set_time(&mut self, name: &str) {
        let said = json!({ "name": name, "type": "TIMESTAMP", "mode": "NULLABLE" });
        let said = said.as_object().cloned().unwrap_or_default();
        let fields = Schema::default();
        let column = Column { name: name.to_owned(), kind: Kind::Timestamp, repeated: false, fields, said };
        match self.place(name.as_bytes()) {
            Some(place) => self.columns[place] = column,
            None => {
                self.push(column);
            }
        }
    }

    /// The columns as BigQuery has them.
    pub fn to_json(&self) -> Json {
        Json::Array(self.columns.iter().map(Column::to_json).collect())
    }

    /// Columns, nested ones too.
    pub fn len(&self) -> usize {
        self.columns.iter().map(|column| 1 + column.fields.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    fn place(&self, name: &[u8]) -> Option<usize> {
        match self.places.get(name) {
            Some(place) => Some(*place),
            None if name.iter().any(u8::is_ascii_uppercase) => self.places.get(&name.to_ascii_lowercase()).copied(),
            None => None,
        }
    }

    /// Appends a record as a row: values as their columns want them, fields without a column as they are, nothing for null.
    pub fn write(&self, record: &Record<'_>, style: Style, out: &mut Vec<u8>) {
        self.write_fields(record.iter().map(|(name, value)| (*name, *value)), style, out);
    }

    fn write_fields<'a>(&self, fields: impl Iterator<Item = (&'a [u8], Value<'a>)>, style: Style, out: &mut Vec<u8>) {
        out.push(b'{');
        let start = out.len();
        for (name, value) in fields {
            if value == Value::Nil {
                continue;
            }
            if out.len() > start {
                out.push(b',');
            }
            text::write_value(Value::Str(name), out);
            out.push(b':');
            match self.place(name) {
                Some(place) => self.columns[place].write(value, style, out),
                None => text::write_value(value, out),
            }
        }
        out.push(b'}');
    }

    /// Adds columns for the record's fields that have none, `most` columns in all. Gives whether any was added.
    pub fn learn(&mut self, record: &Record<'_>, most: usize) -> bool {
        let mut room = most.saturating_sub(self.len());
        self.learn_fields(record.iter().map(|(name, value)| (*name, *value)), &mut room, 0)
    }

    fn learn_fields<'a>(
        &mut self,
        fields: impl Iterator<Item = (&'a [u8], Value<'a>)>,
        room: &mut usize,
        depth: usize,
    ) -> bool {
        let mut added = false;
        for (name, value) in fields {
            if let Some(place) = self.place(name) {
                let column = &mut self.columns[place];
                if column.kind == Kind::Record {
                    added |= column.learn(value, room, depth + 1);
                }
            } else if let Some(column) = Column::guess(name, value, room, depth) {
                added |= self.push(column);
            }
        }
        added
    }
}

impl Column {
    fn of(json: &Json, depth: usize) -> Result<Column, String> {
        let name = json["name"].as_str().ok_or("a column of the schema has no name")?;
        let kind = json["type"].as_str().ok_or_else(|| format!("column {name:?} has no type"))?;
        if !TYPES.contains(&kind.to_ascii_uppercase().as_str()) {
            return Err(format!("column {name:?}: {kind:?} is none of {}", TYPES.join(", ")));
        }
        let mode = json["mode"].as_str().unwrap_or("NULLABLE").to_ascii_uppercase();
        if !["NULLABLE", "REQUIRED", "REPEATED"].contains(&mode.as_str()) {
            return Err(format!("column {name:?}: the mode {mode:?} is none of NULLABLE, REQUIRED, REPEATED"));
        }
        let kind = Kind::of(kind);
        let fields = match kind {
            Kind::Record => {
                Schema::nested(&json["fields"], depth + 1).map_err(|why| format!("column {name:?}: {why}"))?
            }
            _ => Schema::default(),
        };
        let mut said = json.as_object().cloned().unwrap_or_default();
        said.remove("fields");
        Ok(Column { name: name.to_owned(), kind, repeated: mode == "REPEATED", fields, said })
    }

    fn to_json(&self) -> Json {
        let mut said = self.said.clone();
        if self.kind == Kind::Record {
            said.insert("fields".into(), self.fields.to_json());
        }
        Json::Object(said)
    }

    fn learn(&mut self, value: Value<'_>, room: &mut usize, depth: usize) -> bool {
        match value {
            Value::Map(_) => self.fields.learn_fields(fields_of(value), room, depth),
            Value::Array(_) if self.repeated => {
                value.items().fold(false, |added, item| self.fields.learn_fields(fields_of(item), room, depth) | added)
            }
            _ => false,
        }
    }

    /// The column that a field without one would have; none where no column can hold it.
    fn guess(name: &[u8], value: Value<'_>, room: &mut usize, depth: usize) -> Option<Column> {
        let name = std::str::from_utf8(name).ok().filter(|name| is_name(name))?;
        if *room == 0 || depth >= MAX_NESTING {
            return None;
        }
        let (repeated, first) = match value {
            Value::Array(_) => (true, value.items().find(|item| *item != Value::Nil)?),
            _ => (false, value),
        };
        let kind = match first {
            Value::Nil => return None,
            Value::Bool(_) => "BOOLEAN",
            Value::Int(_) | Value::UInt(_) => "INTEGER",
            Value::Float(_) => "FLOAT",
            Value::Bin(_) => "BYTES",
            Value::Ext(EVENT_TIME, _) => "TIMESTAMP",
            Value::Map(_) => "RECORD",
            // An array within an array has no column of its own kind: its text.
            Value::Str(_) | Value::Array(_) | Value::Ext(..) => "STRING",
        };
        let mode = if repeated { "REPEATED" } else { "NULLABLE" };
        let said = json!({ "name": name, "type": kind, "mode": mode });
        let said = said.as_object().cloned().unwrap_or_default();
        let mut column =
            Column { name: name.to_owned(), kind: Kind::of(kind), repeated, fields: Schema::default(), said };
        let before = *room;
        *room -= 1;
        if column.kind == Kind::Record && !column.learn(value, room, depth + 1) {
            // A record without columns is none.
            *room = before;
            return None;
        }
        Some(column)
    }

    fn write(&self, value: Value<'_>, style: Style, out: &mut Vec<u8>) {
        if !self.repeated {
            return self.write_one(value, style, out);
        }
        out.push(b'[');
        let start = out.len();
        let alone = [value];
        let (one, many) = match value {
            Value::Array(_) => (&alone[..0], value.items()),
            _ => (&alone[..], Value::Nil.items()),
        };
        // Null can't stand in a column of several values.
        for item in one.iter().copied().chain(many).filter(|item| *item != Value::Nil) {
            if out.len() > start {
                out.push(b',');
            }
            self.write_one(item, style, out);
        }
        out.push(b']');
    }

    fn write_one(&self, value: Value<'_>, style: Style, out: &mut Vec<u8>) {
        match (self.kind, value) {
            (Kind::Record, Value::Map(_)) => self.fields.write_fields(fields_of(value), style, out),
            (Kind::Text, Value::Str(_) | Value::Bin(_)) => text::write_value(value, out),
            (Kind::Text, _) => write_as_text(value, out),
            (Kind::Json, _) if style == Style::Insert => write_as_text(value, out),
            (Kind::Bytes, Value::Bin(data)) => {
                text::write_value(Value::Str(STANDARD.encode(data).as_bytes()), out);
            }
            (Kind::Integer, Value::Float(v)) if v.fract() == 0.0 && v.abs() < 9e15 => {
                text::write_value(Value::Int(v as i64), out);
            }
            (Kind::Timestamp, Value::Ext(EVENT_TIME, data)) if data.len() == 8 => write_time(data, out),
            _ => text::write_value(value, out),
        }
    }
}

fn fields_of(value: Value<'_>) -> impl Iterator<Item = (&[u8], Value<'_>)> {
    value.pairs().filter_map(|(name, value)| Some((name.as_bytes()?, value)))
}

fn write_as_text(value: Value<'_>, out: &mut Vec<u8>) {
    let mut inner = Vec::new();
    text::write_value(value, &mut inner);
    text::write_value(Value::Str(&inner), out);
}

/// Seconds with their fraction, to the microsecond that BigQuery knows.
fn write_time(data: &[u8], out: &mut Vec<u8>) {
    let number = |at: usize| data[at..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    out.extend_from_slice(format!("{}.{:06}", number(0), number(4) / 1000).as_bytes());
}

/// Whether a field's name may be that of a column.
fn is_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !RESERVED.iter().any(|start| lower.starts_with(start))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Arena;

    fn with(text: &str, work: impl FnOnce(&Record<'_>)) {
        let (arena, mut record) = (Arena::new(), Record::new());
        text::parse_object(text.as_bytes(), &arena, &mut record).unwrap();
        work(&record);
    }

    fn row(schema: &Schema, text: &str, style: Style) -> String {
        let mut out = Vec::new();
        with(text, |record| schema.write(record, style, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_as_their_columns_want_them() {
        let schema = Schema::read(
            r#"[{"name":"s","type":"STRING"},{"name":"n","type":"INTEGER"},{"name":"j","type":"JSON"},
                {"name":"many","type":"STRING","mode":"REPEATED"},
                {"name":"r","type":"RECORD","fields":[{"name":"s","type":"string"}]}]"#,
        )
        .unwrap();
        let given = r#"{"s":{"a":1},"n":3.0,"j":{"b":"x"},"many":[1,null,"b"],"r":{"s":7},"x":[1],"none":null}"#;
        let file = r#"{"s":"{\"a\":1}","n":3,"j":{"b":"x"},"many":["1","b"],"r":{"s":"7"},"x":[1]}"#;
        assert_eq!(row(&schema, given, Style::File), file);
        let insert = file.replace(r#"{"b":"x"}"#, r#""{\"b\":\"x\"}""#);
        assert_eq!(row(&schema, given, Style::Insert), insert);
        assert_eq!(row(&schema, r#"{"S":1,"many":"a","n":"x"}"#, Style::File), r#"{"S":"1","many":["a"],"n":"x"}"#);
    }

    #[test]
    fn fields_without_a_column_get_one_up_to_the_limit() {
        let mut schema = Schema::read(r#"[{"name":"s","type":"STRING","description":"kept"}]"#).unwrap();
        let given = r#"{"S":1,"n":1,"f":1.5,"b":true,"r":{"x":{"y":"z"}},"l":[{"a":1}],"no-name":1,"_PARTITIONTIME":1,"e":{},"z":null}"#;
        with(given, |record| assert!(schema.learn(record, 100)));
        with(given, |record| assert!(!schema.learn(record, 100), "nothing is new"));
        let column = |name: &str, kind: &str| json!({"name": name, "type": kind, "mode": "NULLABLE"});
        let mut r = column("r", "RECORD");
        let mut x = column("x", "RECORD");
        x["fields"] = json!([column("y", "STRING")]);
        r["fields"] = json!([x]);
        let l = json!({"name":"l","type":"RECORD","mode":"REPEATED","fields":[column("a", "INTEGER")]});
        let s = json!({"name":"s","type":"STRING","description":"kept"});
        let all = json!([s, column("n", "INTEGER"), column("f", "FLOAT"), column("b", "BOOLEAN"), r, l]);
        assert_eq!(schema.to_json(), all);
        let mut small = Schema::default();
        with(r#"{"a":1,"b":2,"c":3}"#, |record| assert!(small.learn(record, 2)));
        assert_eq!(small.len(), 2);
    }

    #[test]
    fn a_schema_that_is_none_is_refused_with_its_column() {
        let bad = [
            ("", "no JSON"),
            ("1", "no list"),
            ("[{}]", "no name"),
            (r#"[{"name":"a"}]"#, "\"a\" has no type"),
            (r#"[{"name":"a","type":"frog"}]"#, "\"frog\" is none of"),
            (r#"[{"name":"a","type":"STRING","mode":"no"}]"#, "mode"),
            (r#"[{"name":"a","type":"STRING"},{"name":"A","type":"STRING"}]"#, "twice"),
            (r#"[{"name":"a","type":"RECORD"}]"#, "\"a\": the schema is no list"),
        ];
        for (text, why) in bad {
            let fault = Schema::read(text).unwrap_err();
            assert!(fault.contains(why), "{text}: {fault}");
        }
    }
}
