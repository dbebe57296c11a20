//! `json`: an object, or an array of objects.

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use crate::config::Diagnostic;
use crate::event::{Arena, BatchBuilder, EventTime, Record, json};
use crate::plugin::{BuildContext, Configure, EachEvent, ParseError, Parser};

/// Parameters of `json`, both without effect.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct JsonParams {
    /// Fluentd chooses a library here; there is one reader.
    json_parser: Option<Library>,
    /// Read size of a stream; texts come whole here.
    stream_buffer_size: Option<u64>,
}

/// `json_parser`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Library {
    Oj,
    Yajl,
    Json,
}

/// The parser.
pub struct Json(Common);

impl Configure for Json {
    type Config = JsonParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(config: JsonParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if config.json_parser.is_some() {
            cx.without_effect("json_parser", "there is one reader of JSON; take it out");
        }
        if config.stream_buffer_size.is_some() {
            cx.without_effect("stream_buffer_size", "streams are read in blocks that fit; take it out");
        }
        let time_type = if cx.section.has("time_format") { "string" } else { "float" };
        let defaults = Defaults { time_key: Some("time"), time_type: Some(time_type), ..Defaults::default() };
        Ok(Json(Common::build(cx, defaults)?))
    }
}

impl Parser for Json {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        json::parse_object(text, arena, record).map_err(|_| ParseError::Unmatched)?;
        self.0.finish(record, arena)
    }

    fn parse_into<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        now: EventTime,
        batch: &mut BatchBuilder,
    ) -> Result<(), ParseError> {
        let Some(key) = self.0.only_time_key().filter(|_| text.first() == Some(&b'{')) else {
            return self.parse_each(text, arena, record, &mut |time, record| batch.push(time.unwrap_or(now), record));
        };
        batch.try_push_timed(|out| {
            let time = json::append_object(text, key.as_bytes(), arena, out).map_err(|_| ParseError::Unmatched)?;
            time.map_or(Ok(now), |time| self.0.time(time))
        })
    }

    fn parse_each<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        each: EachEvent<'_, 'a>,
    ) -> Result<(), ParseError> {
        if text.trim_ascii_start().first() != Some(&b'[') {
            let time = self.parse(text, arena, record)?;
            each(time, record);
            return Ok(());
        }
        let mut elements = json::Elements::new(text).ok_or(ParseError::Unmatched)?;
        let mut outcome = Ok(());
        while let Some(found) = elements.next_record(arena, record) {
            match found {
                Ok(()) => match self.0.finish(record, arena) {
                    Ok(time) => each(time, record),
                    Err(e) => outcome = Err(e),
                },
                Err(e) if e.is_valid_json() => outcome = Err(ParseError::Unmatched),
                Err(_) => return Err(ParseError::Unmatched),
            }
        }
        outcome
    }
}
