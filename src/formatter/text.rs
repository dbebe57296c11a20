//! Values as plain text, as Ruby's `to_s` prints them; containers are printed as JSON.

use crate::event::{Value, json};

/// Appends a value as plain text: text without quotes, nothing for nil.
pub fn write_plain(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Nil => {}
        Value::Str(text) | Value::Bin(text) => out.extend_from_slice(text),
        other => json::write_value(*other, out),
    }
}
