//! `multi_format`: the first of several formats that fits (fluent-plugin-multi-format-parser).

use std::sync::Arc;

use serde::Deserialize;

use crate::config::{Diagnostic, Section};
use crate::event::{Arena, EventTime, Record, Value};
use crate::plugin::{BuildContext, Configure, ParseError, Parser};

/// Parameters of `multi_format`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MultiFormatParams {
    /// A field that gets the name of the format that fitted.
    format_key: Option<String>,
    /// The formats in order: `format` with the parameters of that parser, and `format_name`.
    pattern: Vec<Section>,
    /// The same under another name.
    format: Vec<Section>,
}

/// A format and its name.
struct Format {
    parser: Arc<dyn Parser>,
    name: String,
}

/// The parser.
pub struct MultiFormat {
    formats: Vec<Format>,
    key: Option<String>,
}

impl Configure for MultiFormat {
    type Config = MultiFormatParams;

    fn new(config: MultiFormatParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let sections = cx.section.children.iter().enumerate();
        let mut formats = Vec::new();
        for (at, section) in sections.filter(|(_, s)| ["pattern", "format"].contains(&s.name.as_str())) {
            formats.push(format(section, at, cx)?);
        }
        if formats.len() != config.pattern.len() + config.format.len() || formats.is_empty() {
            return Err(Diagnostic::error("multi_format needs at least one <pattern>", &cx.section.span));
        }
        Ok(MultiFormat { formats, key: config.format_key })
    }
}

/// The format of a section; `at` is its place among all sections.
fn format(section: &Section, at: usize, cx: &mut BuildContext<'_>) -> Result<Format, Diagnostic> {
    let mut named = section.clone();
    let kind = section.text("format").or_else(|| section.plugin_type()).map(str::to_owned);
    let kind = kind.ok_or_else(|| Diagnostic::error("'format' parameter is required", &section.span))?;
    let name = section.text("format_name").map_or_else(|| format!("{kind}#{at}"), str::to_owned);
    named.params.retain(|p| !["format", "format_name"].contains(&p.name.as_str()));
    if named.plugin_type().is_none() {
        named.set_text("@type", kind);
    }
    Ok(Format { parser: cx.parser_of(&named)?, name })
}

impl Parser for MultiFormat {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        for format in &self.formats {
            let Ok(time) = format.parser.parse(text, arena, record) else { continue };
            if let Some(key) = &self.key {
                record.set(key.as_bytes(), Value::Str(format.name.as_bytes()));
            }
            return Ok(time);
        }
        Err(ParseError::Unmatched)
    }
}
