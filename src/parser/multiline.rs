//! `multiline`: `format1` to `format20` put together over several lines.

use serde::Deserialize;

use super::common::SHARED;
use super::regexp::Groups;
use crate::config::{Diagnostic, Regexp, RegexpFlags};
use crate::event::{Arena, EventTime, Record, Value};
use crate::plugin::{BuildContext, Configure, EachEvent, MultilineRule, ParseError, Parser};

/// Most formats: Fluentd's.
const MAX_FORMATS: usize = 20;

/// Names of the format parameters, which the struct of parameters does not have one by one.
const READ_ELSEWHERE: &[&str] = &{
    let mut names = [""; SHARED.len() + MAX_FORMATS];
    let mut at = 0;
    while at < SHARED.len() {
        names[at] = SHARED[at];
        at += 1;
    }
    while at < names.len() {
        names[at] = FORMAT_NAMES[at - SHARED.len()];
        at += 1;
    }
    names
};

const FORMAT_NAMES: [&str; MAX_FORMATS] = [
    "format1", "format2", "format3", "format4", "format5", "format6", "format7", "format8", "format9", "format10",
    "format11", "format12", "format13", "format14", "format15", "format16", "format17", "format18", "format19",
    "format20",
];

/// Parameters of `multiline`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MultilineParams {
    /// Pattern of the line that begins an event.
    format_firstline: Option<String>,
    /// Texts that do not match become events with the field `unmatched_line`.
    unmatched_lines: Option<String>,
}

/// The parser.
pub struct Multiline {
    first: Option<Regexp>,
    whole: Groups,
    keep_unmatched: bool,
}

impl Configure for Multiline {
    type Config = MultilineParams;
    const READ_ELSEWHERE: &'static [&'static str] = READ_ELSEWHERE;

    fn new(config: MultilineParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let source = formats(cx)?;
        let flags = RegexpFlags { dot_all: true, ..RegexpFlags::default() };
        let whole = Regexp::with_flags(&source, flags)
            .map_err(|e| cx.fault("format1", format!("Invalid regexp '{source}': {e}")))?;
        if whole.names().len() == 0 {
            return Err(cx.fault("format1", format!("Invalid regexp '{source}': No named captures")));
        }
        let first = match &config.format_firstline {
            Some(text) => {
                let inner = between_slashes(text, "format_firstline", cx)?;
                Some(Regexp::new(inner).map_err(|e| cx.fault("format_firstline", e.to_string()))?)
            }
            None => None,
        };
        let whole = Groups::new(whole, None, cx)?;
        Ok(Multiline { first, whole, keep_unmatched: config.unmatched_lines.is_some() })
    }
}

/// The formats one after the other, without their slashes.
fn formats(cx: &BuildContext<'_>) -> Result<String, Diagnostic> {
    let mut source = String::new();
    let mut ended = None;
    for name in FORMAT_NAMES {
        match (cx.section.text(name), ended) {
            (Some(_), Some(missing)) => {
                return Err(cx.fault(name, format!("Jump of format index found. {missing} is missing.")));
            }
            (Some(text), None) => source.push_str(between_slashes(text, name, cx)?),
            (None, _) => ended = ended.or(Some(name)),
        }
    }
    Ok(source)
}

fn between_slashes<'t>(text: &'t str, name: &str, cx: &BuildContext<'_>) -> Result<&'t str, Diagnostic> {
    let inner = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'));
    inner.ok_or_else(|| cx.fault(name, format!("format should be Regexp, need //, in {name}: '{text}'")))
}

impl Parser for Multiline {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        self.whole.parse(text, arena, record).map(|(time, _)| time)
    }

    /// Goes on behind each match until the text ends, as Fluentd does: one text may hold several events.
    fn parse_each<'a>(
        &'a self,
        mut text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        each: EachEvent<'_, 'a>,
    ) -> Result<(), ParseError> {
        loop {
            let end = match self.whole.parse(text, arena, record) {
                Ok((time, end)) => {
                    each(time, record);
                    end
                }
                Err(_) if self.keep_unmatched => {
                    record.clear();
                    record.push(b"unmatched_line", Value::Str(text));
                    each(None, record);
                    return Ok(());
                }
                Err(e) => return Err(e),
            };
            // An empty match would never come to an end.
            let rest = text.get(end.max(1)..).unwrap_or_default();
            text = rest.strip_prefix(b"\n").unwrap_or(rest);
            if text.is_empty() {
                return Ok(());
            }
        }
    }

    fn lines(&self) -> Option<&dyn MultilineRule> {
        Some(self)
    }
}

impl MultilineRule for Multiline {
    fn begins(&self, line: &[u8]) -> Option<bool> {
        self.first.as_ref().map(|first| first.is_match(line))
    }
}
