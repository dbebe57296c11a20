//! What loaders into tables have in common: which field goes to which column, and tables named by events.

use crate::config::Diagnostic;
use crate::event::{Record, RecordPath};
use crate::plugin::BuildContext;

/// A field and its column.
#[derive(Debug)]
pub struct Mapped {
    /// The field.
    pub path: RecordPath,
    /// The column.
    pub column: String,
}

/// Reads `column_mapping`: `field:column` pairs between commas; a field alone is a column of the same name.
pub fn mapping(text: Option<&str>, cx: &BuildContext<'_>) -> Result<Option<Vec<Mapped>>, Diagnostic> {
    let Some(text) = text else { return Ok(None) };
    let fault = |why: String| cx.fault("column_mapping", why);
    let mut mapped: Vec<Mapped> = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (field, column) = pair.rsplit_once(':').unwrap_or((pair, pair));
        let path = RecordPath::parse(field.trim()).map_err(|e| fault(e.to_string()))?;
        let column = column.trim().to_owned();
        if column.is_empty() || mapped.iter().any(|other| other.column == column) {
            return Err(fault(format!("{pair:?}: each column is named once, as field:column")));
        }
        mapped.push(Mapped { path, column });
    }
    match mapped.is_empty() {
        true => Err(fault("it names no column; write field:column, or take it out".into())),
        false => Ok(Some(mapped)),
    }
}

/// Fields that no mapping names.
pub fn unmapped<'v>(mapping: &[Mapped], record: &Record<'v>) -> Record<'v> {
    let mut rest = Record::new();
    for (name, value) in record.iter() {
        let is_mapped = mapping.iter().any(|m| !m.path.is_nested() && m.path.to_string().as_bytes() == *name);
        if !is_mapped {
            rest.push(name, *value);
        }
    }
    rest
}

/// Columns of the time, the tag and the rest: each needs one of its own.
pub fn check_own(columns: &[(&str, &Option<String>)], cx: &BuildContext<'_>) -> Result<(), Diagnostic> {
    for (at, (name, column)) in columns.iter().enumerate() {
        let twice = column.is_some() && columns[..at].iter().any(|(_, other)| other == column);
        if twice || column.as_deref() == Some("") {
            return Err(cx.fault(name, format!("{name} needs a column of its own")));
        }
    }
    Ok(())
}

/// A parameter that must be there.
pub fn required<'a>(value: &'a Option<String>, name: &str, cx: &BuildContext<'_>) -> Result<&'a str, Diagnostic> {
    value.as_deref().filter(|v| !v.is_empty()).ok_or_else(|| cx.fault(name, format!("'{name}' parameter is required")))
}

/// A value of an event as part of a table's name: letters, digits, `_`, `-` and `$` alone; a point becomes `_`, so that no
/// event chooses a schema.
pub fn table_part(value: &str) -> Option<String> {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '.');
    value.chars().all(good).then(|| value.replace('.', "_"))
}
