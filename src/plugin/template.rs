//! Texts with chunk placeholders: `${tag}`, `${tag[1]}`, `${tag[-1]}`, `${key}`, `${$.a.b}`, `${chunk_id}`, `%Y%m%d`.
//!
//! What a placeholder may name is decided by the chunk keys; a text that names others is a fault of the configuration, as
//! in Fluentd.

use crate::buffer::{Chunk, ChunkKey};
use crate::config::Diagnostic;
use crate::event::timefmt::{TimeFormatter, Zone};
use crate::event::{EventTime, Tag};

use super::context::BuildContext;

/// Longest expansion, in bytes: more than any file system's or target's name may have.
const MAX_EXPANSION: usize = 4096;

#[derive(Debug)]
enum Piece {
    Text(String),
    Tag,
    TagPart(isize),
    Key(String),
    ChunkId,
    Time(TimeFormatter),
}

/// A text with placeholders.
#[derive(Debug)]
pub struct Template {
    source: String,
    pieces: Vec<Piece>,
}

/// What goes in for a placeholder's value before it is put into the text.
pub type Clean = fn(&str) -> Option<String>;

impl Template {
    /// Reads a text and checks its placeholders against the chunk keys of the output that is built.
    /// `parameter` is the name that faults point at.
    pub fn new(text: &str, parameter: &str, cx: &BuildContext<'_>) -> Result<Template, Diagnostic> {
        let keys = cx.chunk_keys();
        let zone = cx.buffer_zone().map_err(|e| cx.fault(parameter, e))?;
        let timed = keys.iter().any(|k| k == "time");
        let template = Template::parse(text, timed.then_some(&zone)).map_err(|e| cx.fault(parameter, e))?;
        template.check(&keys).map_err(|e| cx.fault(parameter, e))?;
        Ok(template)
    }

    /// Reads a text. Time directives are placeholders only where a zone is given: the chunk key `time` brings it.
    ///
    /// Errors: a placeholder that is not closed or not known.
    pub fn parse(text: &str, zone: Option<&Zone>) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            push_text(&mut pieces, &rest[..start], zone);
            let body = &rest[start + 2..];
            let end = body.find('}').ok_or_else(|| format!("placeholder in {text:?} has no closing brace"))?;
            pieces.push(placeholder(&body[..end])?);
            rest = &body[end + 1..];
        }
        push_text(&mut pieces, rest, zone);
        Ok(Template { source: text.to_owned(), pieces })
    }

    fn check(&self, keys: &[String]) -> Result<(), String> {
        let has = |name: &str| keys.iter().any(|k| k == name);
        for piece in &self.pieces {
            match piece {
                Piece::Tag | Piece::TagPart(_) if !has("tag") => {
                    return Err(format!(
                        "'{}' has a tag placeholder, but chunk key 'tag' is not configured",
                        self.source
                    ));
                }
                Piece::Key(key) if !has(key) => {
                    return Err(format!(
                        "'{}' has placeholder '{key}', but chunk key '{key}' is not configured",
                        self.source
                    ));
                }
                _ => {}
            }
        }
        if !has("time") && has_time_directive(&self.source) {
            return Err(format!(
                "'{}' has timestamp placeholders, but chunk key 'time' is not configured",
                self.source
            ));
        }
        Ok(())
    }

    /// The text as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether every chunk gives the same text.
    pub fn is_constant(&self) -> bool {
        self.pieces.iter().all(|p| matches!(p, Piece::Text(_)))
    }

    /// The part before the first placeholder.
    pub fn constant_prefix(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether a placeholder tells chunks of one key apart.
    pub fn has_chunk_id(&self) -> bool {
        self.pieces.iter().any(|p| matches!(p, Piece::ChunkId))
    }

    /// The text for a chunk. `clean` makes each value safe for its place, or refuses it.
    ///
    /// Errors: a value that was refused, a text that is too long; the chunk can never be written under such a name.
    pub fn expand(&self, chunk: &Chunk, clean: Clean) -> Result<String, String> {
        let mut out = String::with_capacity(self.source.len() + 32);
        for piece in &self.pieces {
            let value = value_of(piece, chunk);
            // What the operator wrote is trusted; what events brought is not.
            if matches!(piece, Piece::Text(_) | Piece::Time(_) | Piece::ChunkId) {
                out.push_str(&value);
                continue;
            }
            let safe = clean(&value).ok_or_else(|| format!("{value:?} can't stand in {:?}", self.source))?;
            out.push_str(&safe);
            if out.len() > MAX_EXPANSION {
                return Err(format!("{:?} expands to more than {MAX_EXPANSION} bytes", self.source));
            }
        }
        Ok(out)
    }
}

fn value_of(piece: &Piece, chunk: &Chunk) -> String {
    let key: &ChunkKey = chunk.key();
    let tag_part = |tag: &Tag, at: isize| tag.part(at).unwrap_or_default().to_owned();
    match piece {
        Piece::Text(text) => text.clone(),
        Piece::Tag => key.tag.as_deref().unwrap_or_default().to_owned(),
        Piece::TagPart(at) => key.tag.as_ref().map(|t| tag_part(t, *at)).unwrap_or_default(),
        Piece::Key(name) => {
            let field = key.fields.iter().find(|(n, _)| **n == **name);
            field.map(|(_, value)| value.to_text()).unwrap_or_default()
        }
        Piece::ChunkId => chunk.id().to_string(),
        Piece::Time(format) => {
            let mut text = Vec::new();
            format.format(EventTime::from_secs(key.time.unwrap_or_default()), &mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, zone: Option<&Zone>) {
    let timed = zone.and_then(|zone| Some((zone, text.find('%')?)));
    let (fixed, rest) = text.split_at(timed.map_or(text.len(), |(_, at)| at));
    if !fixed.is_empty() {
        pieces.push(Piece::Text(fixed.to_owned()));
    }
    if let Some((zone, _)) = timed {
        pieces.push(Piece::Time(TimeFormatter::strftime(rest, zone.clone())));
    }
}

fn placeholder(name: &str) -> Result<Piece, String> {
    if let Some(index) = name.strip_prefix("tag[").and_then(|n| n.strip_suffix(']')) {
        return index.parse().map(Piece::TagPart).map_err(|_| format!("${{{name}}}: the index is no number"));
    }
    Ok(match name {
        "tag" => Piece::Tag,
        "chunk_id" => Piece::ChunkId,
        "" => return Err("${} names nothing".into()),
        key => Piece::Key(key.to_owned()),
    })
}

/// Fluentd looks for these directives to tell a time placeholder from a percent sign.
fn has_time_directive(text: &str) -> bool {
    text.as_bytes().windows(2).any(|w| w[0] == b'%' && b"YymdHMSjFT".contains(&w[1]))
}

/// For one part of a path: no separators or parents, no control characters; such values are refused.
pub fn path_part(value: &str) -> Option<String> {
    let parents = value.split('/').any(|part| part == "..");
    let bad = parents || value.starts_with('/') || value.chars().any(char::is_control);
    (!bad).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Batch;

    fn chunk(tag: &str) -> Chunk {
        Chunk::direct(&Batch::new(Tag::from(tag), bytes::Bytes::new(), 0))
    }

    #[test]
    fn tag_placeholders_are_filled_in() {
        let t = Template::parse("x/${tag}/${tag[1]}-${tag[-1]}", None).unwrap();
        assert_eq!(t.expand(&chunk("a.b.c"), path_part).unwrap(), "x/a.b.c/b-c");
        assert_eq!(t.constant_prefix(), "x/");
        assert!(!t.is_constant());
    }

    #[test]
    fn values_that_leave_the_directory_are_refused() {
        let t = Template::parse("x/${tag}", None).unwrap();
        for tag in ["../../etc/x", "/etc/x", "a\nb", "a/../../b"] {
            assert!(t.expand(&chunk(tag), path_part).is_err(), "{tag}");
        }
        assert!(t.expand(&chunk(&"a".repeat(5000)), path_part).is_err());
        assert_eq!(t.expand(&chunk("a..b"), path_part).unwrap(), "x/a..b");
    }

    #[test]
    fn placeholders_without_their_chunk_key_are_faults() {
        let check = |text: &str, keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
            Template::parse(text, None).unwrap().check(&keys)
        };
        assert!(check("${tag}", &[]).unwrap_err().contains("chunk key 'tag' is not configured"));
        assert!(check("${user}", &["tag"]).unwrap_err().contains("user"));
        assert!(check("%Y", &["tag"]).unwrap_err().contains("time"));
        assert!(check("${tag} ${user} ${chunk_id} 100%", &["tag", "user"]).is_ok());
    }

    #[test]
    fn broken_placeholders_are_named() {
        assert!(Template::parse("${tag", None).is_err());
        assert!(Template::parse("${tag[x]}", None).is_err());
        assert!(Template::parse("${}", None).is_err());
    }
}
