//! `json_get(text, 'a.b')`: the value at a path of a text that is JSON, as text; for `_rest` and for containers.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::SessionContext;
use serde_json::Value as Json;

/// Makes the functions known.
pub fn register(context: &SessionContext) {
    let (text, volatility) = (DataType::Utf8, Volatility::Immutable);
    let function = Arc::new(|arguments: &[ColumnarValue]| json_get(arguments));
    context.register_udf(create_udf("json_get", vec![text.clone(), text.clone()], text, volatility, function));
}

fn json_get(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let [texts, paths] = &arrays[..] else {
        return Err(DataFusionError::Execution(
            "json_get takes a text and a path, such as json_get(_rest, 'a.b')".into(),
        ));
    };
    let (texts, paths) = (texts.as_string::<i32>(), paths.as_string::<i32>());
    let found = (0..texts.len()).map(|row| match texts.is_valid(row) && paths.is_valid(row) {
        true => get(texts.value(row), paths.value(row)),
        false => None,
    });
    Ok(ColumnarValue::Array(Arc::new(found.collect::<StringArray>()) as ArrayRef))
}

/// The value at a path of names, and of numbers from 0 for lists. Text that is no JSON has none.
fn get(text: &str, path: &str) -> Option<String> {
    let mut value: &Json = &serde_json::from_str(text).ok()?;
    for name in path.split('.') {
        value = match value {
            Json::Object(map) => map.get(name)?,
            Json::Array(items) => items.get(name.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_value() {
        let text = r#"{"a":{"b":[1,"x",null]},"c":true}"#;
        let found = |path| get(text, path);
        assert_eq!(found("a.b.1").as_deref(), Some("x"));
        assert_eq!(found("a.b.0").as_deref(), Some("1"));
        assert_eq!(found("a.b").as_deref(), Some(r#"[1,"x",null]"#));
        assert_eq!(found("c").as_deref(), Some("true"));
        for nothing in ["a.b.2", "a.b.9", "a.x", "d", "c.d", ""] {
            assert_eq!(found(nothing), None, "{nothing}");
        }
        assert_eq!(get("no json", "a"), None);
    }
}
