//! `none`: the whole text in one field.

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use crate::config::Diagnostic;
use crate::event::{Arena, BatchBuilder, EventTime, Record, Value, msgpack};
use crate::plugin::{BuildContext, Configure, ParseError, Parser};

/// Parameters of `none`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct NoneParams {
    /// The field.
    message_key: String,
}

impl Default for NoneParams {
    fn default() -> Self {
        NoneParams { message_key: "message".into() }
    }
}

/// The parser.
pub struct None {
    key: Vec<u8>,
}

impl Configure for None {
    type Config = NoneParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(config: NoneParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        // Faults in the shared parameters are told though none of them changes what this parser does.
        Common::build(cx, Defaults::default())?;
        Ok(None { key: config.message_key.into_bytes() })
    }
}

impl Parser for None {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        _: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        record.clear();
        record.push(&self.key, Value::Str(text));
        Ok(Default::default())
    }

    fn parse_into<'a>(
        &'a self,
        text: &'a [u8],
        _: &'a Arena,
        _: &mut Record<'a>,
        now: EventTime,
        batch: &mut BatchBuilder,
    ) -> Result<(), ParseError> {
        batch.push_with(now, |out| {
            msgpack::put_map_len(out, 1);
            msgpack::put_str(out, &self.key);
            msgpack::put_str(out, text);
        });
        Ok(())
    }
}
