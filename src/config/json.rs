//! JSON inside a configuration: order is kept, numbers keep their text, and printing is compact as Fluentd's `JSON.dump`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value. Nesting is bounded by the parser (128 levels).
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number, as decimal text.
    Integer(String),
    /// Any other number, as text that JSON accepts.
    Float(String),
    /// A string.
    String(String),
    /// `[...]`.
    Array(Vec<Json>),
    /// `{...}`, in the order written; of a name written twice the last value counts.
    Object(Vec<(String, Json)>),
}

/// What is wrong with a JSON text, and at which byte.
#[derive(Debug)]
pub struct JsonFault {
    /// The parser's words.
    pub message: String,
    /// Byte offset into the text.
    pub offset: usize,
}

impl Json {
    /// Reads one JSON value; nothing but white space may follow it.
    pub fn parse(text: &str) -> Result<Json, JsonFault> {
        serde_json::from_str(text).map_err(|error| JsonFault {
            message: strip_place(&error.to_string()),
            offset: offset(text, error.line(), error.column()),
        })
    }

    /// A float as JSON prints it; JSON has no infinities, they become null.
    pub fn float(value: f64) -> Json {
        match serde_json::to_string(&value) {
            Ok(text) if text != "null" => Json::Float(text),
            _ => Json::Null,
        }
    }
}

/// Compact JSON.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Integer(text) | Json::Float(text) => f.write_str(text),
            Json::String(text) => write_string(f, text),
            Json::Array(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Json::Object(entries) => {
                f.write_str("{")?;
                for (i, (name, value)) in entries.iter().enumerate() {
                    f.write_str(if i == 0 { "" } else { "," })?;
                    write_string(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries: Vec<(String, Json)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            match places.get(&name) {
                Some(&at) => entries[at] = (name, value),
                None => {
                    places.insert(name.clone(), entries.len());
                    entries.push((name, value));
                }
            }
        }
        Ok(Json::Object(entries))
    }
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

/// serde_json ends its messages with a place in the text it was given; ours is a place in the file.
fn strip_place(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

/// The byte that serde_json calls `line` and `column` (both from 1; columns are bytes).
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn order_numbers_and_text_survive() {
        let text = r#" { "b" : [1, 2.50, -3, true, null], "a": "é\n\"" } "#;
        assert_eq!(Json::parse(text).unwrap().to_string(), r#"{"b":[1,2.5,-3,true,null],"a":"é\n\""}"#);
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        assert_eq!(Json::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap().to_string(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn a_fault_names_its_byte() {
        let fault = Json::parse("[1,\n oops]").unwrap_err();
        assert!(fault.offset >= 4 && !fault.message.contains("line"), "{fault:?}");
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(Json::parse(&"[".repeat(100_000)).is_err());
    }
}
