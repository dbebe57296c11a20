//! Names of indices and what else is named by a chunk: prefixes, pipelines.
//!
//! What events bring is only ever a part of a name: no pattern, no date expression, no list, no other address.

use std::sync::Arc;

use crate::buffer::Chunk;
use crate::plugin::Template;

/// Longest name, in bytes.
const MAX_NAME: usize = 255;

/// Characters that no index has.
const FORBIDDEN: &[char] = &['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'];

/// Names as they are configured.
#[derive(Debug)]
pub struct NameRules {
    /// The index, or the data stream.
    pub index: Template,
    /// An index for each day, or what the format says.
    pub dated: Option<DatedRules>,
    /// The ingest pipeline.
    pub pipeline: Option<Template>,
    /// The template that is installed.
    pub template: Option<Template>,
    /// What is put in the place of texts of the template's file.
    pub customize: Vec<(String, Template)>,
    /// The alias that documents are written to, where it is not the index's name.
    pub alias: Option<Template>,
    /// Part of the names of indices that roll over.
    pub application: Option<Template>,
    /// The lifecycle policy.
    pub policy: Option<Template>,
}

/// `logstash_format`
#[derive(Debug)]
pub struct DatedRules {
    /// In front of the day.
    pub prefix: Template,
    /// Between them.
    pub separator: String,
    /// How the day is written.
    pub format: String,
}

/// Names of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The index, or the data stream, of each document that says nothing else.
    pub index: Arc<str>,
    /// See [`DatedRules`].
    pub dated: Option<Dated>,
    /// The ingest pipeline.
    pub pipeline: Option<String>,
    /// The template that is installed.
    pub template: Option<String>,
    /// See [`NameRules::customize`].
    pub customize: Vec<(String, String)>,
    /// See [`NameRules::alias`].
    pub alias: Option<String>,
    /// See [`NameRules::application`].
    pub application: String,
    /// The lifecycle policy.
    pub policy: Option<String>,
}

/// See [`DatedRules`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated {
    /// In front of the day, with what stands between.
    pub prefix: String,
    /// How the day is written.
    pub format: String,
}

impl NameRules {
    /// Errors: a value that can't be part of a name; the chunk can't be written.
    pub fn of(&self, chunk: &Chunk) -> Result<Names, String> {
        let dated = match &self.dated {
            Some(DatedRules { prefix, separator, format }) => {
                let prefix = format!("{}{separator}", prefix.expand(chunk, part)?);
                Some(Dated { prefix, format: format.clone() })
            }
            None => None,
        };
        let index = match dated {
            Some(_) => String::new(),
            None => checked(&self.index.expand(chunk, part)?.to_lowercase())?,
        };
        let expand = |template: &Option<Template>| template.as_ref().map(|t| t.expand(chunk, part)).transpose();
        let customize = self.customize.iter().map(|(from, to)| Ok((from.clone(), to.expand(chunk, part)?)));
        Ok(Names {
            index: index.into(),
            dated,
            pipeline: expand(&self.pipeline)?,
            template: expand(&self.template)?,
            customize: customize.collect::<Result<_, String>>()?,
            alias: expand(&self.alias)?,
            application: expand(&self.application)?.unwrap_or_default(),
            policy: expand(&self.policy)?,
        })
    }
}

/// A value as part of a name; none where it would mean something else.
fn part(value: &str) -> Option<String> {
    let bad = value.chars().any(|c| c.is_control() || FORBIDDEN.contains(&c));
    (!bad).then(|| value.to_owned())
}

/// The name of an index that an event chooses itself: none of the target's own, which begin with a point.
///
/// Errors: as [`checked`].
pub fn chosen(name: &str) -> Result<String, String> {
    match name.starts_with('.') {
        true => Err(format!("the index {:?} begins with a point", &name[..name.floor_char_boundary(MAX_NAME)])),
        false => checked(&name.to_lowercase()),
    }
}

/// A name that an index or a data stream may have.
///
/// Errors: why it may not.
pub fn checked(name: &str) -> Result<String, String> {
    let why = if name.is_empty() || matches!(name, "." | "..") {
        "names nothing"
    } else if name.starts_with(['-', '_', '+']) {
        "begins with -, _ or +"
    } else if part(name).is_none() {
        "holds a character that no index may have"
    } else if name.len() > MAX_NAME {
        "is longer than 255 bytes"
    } else {
        return Ok(name.to_owned());
    };
    Err(format!("the index {:?} {why}", &name[..name.floor_char_boundary(MAX_NAME)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_chooses_more_than_a_part_of_a_name() {
        assert_eq!(checked("logs-2024.01.01"), Ok("logs-2024.01.01".into()));
        for bad in ["", ".", "..", "-a", "_all", "_bulk", "+a", "a,b", "a*", "<logs-{now/d}>", "a/b", "a b", "a#"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        assert!(checked(&"a".repeat(256)).is_err());
        assert!(chosen(".security").is_err());
        assert_eq!(chosen("Shop"), Ok("shop".into()));
        assert_eq!(part("app.web"), Some("app.web".into()));
        assert_eq!(part("a\n"), None);
    }
}
