//! The tree in Fluentd's own form: for the start-up log, `/api/config.dump`, and turning YAML or TOML into it.
//!
//! What is printed means the same when it is read again, secrets aside.

use super::secret::{MASK, mask_within};
use super::section::{Section, Value, ValueKind};

impl Section {
    /// Prints the whole tree. Parameters for whose name `mask` is true show as `xxxxxx`.
    pub fn to_fluentd_text(&self, mask: &dyn Fn(&str) -> bool) -> String {
        let mut out = String::new();
        write_section(self, 0, mask, &mut out);
        out
    }
}

fn write_section(section: &Section, depth: usize, mask: &dyn Fn(&str) -> bool, out: &mut String) {
    let indent = "  ".repeat(depth);
    let arg = match &section.args.value {
        value if value.text() == Some("") => String::new(),
        value => format!(" {}", argument_text(value)),
    };
    out.push_str(&format!("{indent}<{}{arg}>\n", section.name));
    for param in &section.params {
        let shown = || value_text(&param.value);
        let value = if mask(&param.name) { MASK.to_owned() } else { mask_within(&shown()).unwrap_or_else(shown) };
        out.push_str(format!("{indent}  {} {value}", name_text(&param.name)).trim_end());
        out.push('\n');
    }
    for child in &section.children {
        write_section(child, depth + 1, mask, out);
    }
    out.push_str(&format!("{indent}</{}>\n", section.name));
}

fn value_text(value: &Value) -> String {
    match (value.kind(), value.text()) {
        (ValueKind::Nil, _) => "\"#{use_nil}\"".into(),
        (ValueKind::Default, _) | (_, None) => "\"#{use_default}\"".into(),
        (ValueKind::DoubleQuoted, Some(text)) => quote(text),
        (ValueKind::Json, Some(text)) => text.into(),
        (_, Some("")) => String::new(),
        (_, Some(text)) if needs_quotes(text) => quote(text),
        (_, Some(text)) => text.into(),
    }
}

fn argument_text(value: &Value) -> String {
    match value.text() {
        None => value_text(value),
        Some(text) if text.contains('>') || text.starts_with(['"', '\'', '#']) || needs_space(text) => quote(text),
        Some(text) => text.into(),
    }
}

fn name_text(name: &str) -> String {
    let odd = name.is_empty() || name.starts_with(['"', '\'', '#', '<']) || name.contains(char::is_whitespace);
    if odd { quote(name) } else { name.into() }
}

/// Whether a value without quotes would be read as something else.
fn needs_quotes(text: &str) -> bool {
    text.starts_with(['"', '\'', '[', '{']) || text.contains(" #") || text.contains("\t#") || needs_space(text)
}

/// Whether white space would get lost without quotes.
fn needs_space(text: &str) -> bool {
    text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) || text.contains(char::is_control)
}

/// In double quotes.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '\u{8}' => out.push_str("\\b"),
            '\0' => out.push_str("\\0"),
            '#' if chars.peek() == Some(&'{') => out.push_str("\\#"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
