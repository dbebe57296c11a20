//! Names and texts in SQL.

/// Longest name that PostgreSQL keeps whole, in bytes; it cuts longer ones in silence.
pub const MAX_NAME_BYTES: usize = 63;

/// A name in double quotes.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes, by the standard's rule (`standard_conforming_strings` is on).
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A table, in a schema where one is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    schema: Option<String>,
    name: String,
}

impl TableName {
    /// `table` or `schema.table`, as configurations write it.
    ///
    /// Errors: a part that can't be a name.
    pub fn parse(text: &str, schema: Option<&str>) -> Result<TableName, String> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (schema, text),
        };
        for part in schema.into_iter().chain([name]) {
            if part.is_empty() || part.len() > MAX_NAME_BYTES || part.chars().any(char::is_control) {
                return Err(format!(
                    "{text:?} can't be the name of a table: 1 to {MAX_NAME_BYTES} bytes, no control characters"
                ));
            }
        }
        Ok(TableName { schema: schema.map(str::to_owned), name: name.to_owned() })
    }

    /// As it stands in a statement.
    pub fn sql(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", identifier(schema), identifier(&self.name)),
            None => identifier(&self.name),
        }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_texts_can_not_leave_their_quotes() {
        assert_eq!(identifier("a\"; drop table x; --"), "\"a\"\"; drop table x; --\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(TableName::parse("logs.access", None).unwrap().sql(), "\"logs\".\"access\"");
        assert_eq!(TableName::parse("access", Some("Logs")).unwrap().sql(), "\"Logs\".\"access\"");
        for bad in ["", "a.", "a\nb", &"x".repeat(64)] {
            assert!(TableName::parse(bad, None).is_err(), "{bad:?}");
        }
    }
}
