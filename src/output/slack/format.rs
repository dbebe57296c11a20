//! Texts with `%s` for the values of fields: as much of `sprintf` as messages need.

use crate::event::{Record, Value, json};

/// A text and the fields that go into it.
pub struct Format {
    /// The text between the values; one more than there are values.
    texts: Vec<String>,
    keys: Vec<String>,
}

impl Format {
    /// Errors: directives that are not known, or more than there are keys.
    pub fn new(text: &str, keys: &[String]) -> Result<Format, String> {
        let (mut texts, mut chars) = (vec![String::new()], text.chars());
        while let Some(c) = chars.next() {
            let last = texts.len() - 1;
            match (c, c == '%') {
                (_, false) => texts[last].push(c),
                _ => match chars.next() {
                    Some('%') => texts[last].push('%'),
                    Some('s') => texts.push(String::new()),
                    Some(other) => {
                        return Err(format!("'%{other}' is not known: write %s for a value, %% for a percent sign"));
                    }
                    None => return Err("a percent sign at the end: write %%".into()),
                },
            }
        }
        match texts.len() - 1 <= keys.len() {
            true => Ok(Format { keys: keys[..texts.len() - 1].to_vec(), texts }),
            false => Err(format!("{} times %s and {} keys: each %s needs a key", texts.len() - 1, keys.len())),
        }
    }

    /// A text that stands for itself.
    pub fn fixed(text: &str) -> Format {
        Format { texts: vec![text.to_owned()], keys: Vec::new() }
    }

    /// Whether values go into it.
    pub fn is_fixed(&self) -> bool {
        self.keys.is_empty()
    }

    /// The text of an event; a field that is missing is empty.
    pub fn fill(&self, record: &Record<'_>) -> String {
        let mut out = self.texts[0].clone();
        for (key, text) in self.keys.iter().zip(&self.texts[1..]) {
            match record.get(key.as_bytes()) {
                None | Some(Value::Nil) => {}
                Some(Value::Str(value) | Value::Bin(value)) => out.push_str(&String::from_utf8_lossy(value)),
                Some(other) => {
                    let mut value = Vec::new();
                    json::write_value(other, &mut value);
                    out.push_str(&String::from_utf8_lossy(&value));
                }
            }
            out.push_str(text);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_go_in_for_their_signs() {
        let keys = ["a".to_owned(), "b".to_owned()];
        let mut record = Record::new();
        record.push(b"a", Value::str("x%s"));
        record.push(b"b", Value::Int(5));
        assert_eq!(Format::new("%s: 100%% %s", &keys).unwrap().fill(&record), "x%s: 100% 5");
        assert_eq!(Format::new("%s", &keys).unwrap().fill(&Record::new()), "");
        assert_eq!(Format::fixed("50%").fill(&record), "50%");
        assert!(Format::new("%s %s %s", &keys).is_err_and(|why| why.contains("needs a key")));
        assert!(Format::new("%d", &keys).is_err_and(|why| why.contains("%s")));
        assert!(Format::new("5%", &keys).is_err());
    }
}
