//! A schema that is given: names and types of columns, from the configuration or from a file.

use serde_json::Value as Json;

use super::kind::Kind;

/// Columns in order.
pub type Schema = Vec<(String, Kind)>;

/// Reads the schema of a file: a record of Avro (`{"type":"record","fields":[...]}`), or a list as BigQuery has it
/// (`[{"name":"a","type":"STRING"}]`).
///
/// Errors: anything else, a type that is not known.
pub fn read(text: &str) -> Result<Schema, String> {
    let json: Json = serde_json::from_str(text).map_err(|e| format!("the schema is no JSON: {e}"))?;
    let fields = match &json {
        Json::Array(fields) => fields,
        Json::Object(record) => match record.get("fields") {
            Some(Json::Array(fields)) => fields,
            _ => return Err("the schema has no 'fields'".into()),
        },
        _ => return Err("the schema is neither a record of Avro nor a list of fields".into()),
    };
    fields.iter().map(field).collect()
}

fn field(json: &Json) -> Result<(String, Kind), String> {
    let name = json.get("name").and_then(Json::as_str).ok_or("a field of the schema has no name")?;
    let repeated = json.get("mode").and_then(Json::as_str).is_some_and(|mode| mode.eq_ignore_ascii_case("repeated"));
    let kind = match json.get("type") {
        Some(_) if repeated => Kind::Text,
        Some(kind) => kind_of(kind).map_err(|why| format!("field {name:?}: {why}"))?,
        None => return Err(format!("field {name:?} has no type")),
    };
    Ok((name.to_owned(), kind))
}

/// Avro's types: a name, an object that has one, or a union with null.
fn kind_of(json: &Json) -> Result<Kind, String> {
    match json {
        Json::String(name) => Kind::named(name),
        Json::Object(inner) => {
            let logical = inner.get("logicalType").and_then(Json::as_str).unwrap_or_default();
            if logical.starts_with("timestamp") {
                return Ok(Kind::Time);
            }
            inner.get("type").ok_or_else(|| "a type without a name".to_owned()).and_then(kind_of)
        }
        Json::Array(union) => {
            let mut kinds = union.iter().filter(|kind| kind.as_str() != Some("null"));
            match (kinds.next(), kinds.next()) {
                (Some(kind), None) => kind_of(kind),
                _ => Ok(Kind::Text),
            }
        }
        _ => Err("a type that is none".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_of_avro_and_bigquery_are_read() {
        let avro = r#"{"type":"record","name":"x","fields":[{"name":"a","type":["null","long"]},
            {"name":"b","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"c","type":["int","string"]}]}"#;
        let named = |name: &str, kind| (name.to_owned(), kind);
        assert_eq!(read(avro), Ok(vec![named("a", Kind::Int), named("b", Kind::Time), named("c", Kind::Text)]));
        let big = r#"[{"name":"a","type":"FLOAT"},{"name":"b","type":"STRING","mode":"REPEATED"}]"#;
        assert_eq!(read(big), Ok(vec![named("a", Kind::Float), named("b", Kind::Text)]));
        for bad in ["", "1", "{}", "[{}]", "[{\"name\":\"a\"}]", "[{\"name\":\"a\",\"type\":\"frog\"}]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
