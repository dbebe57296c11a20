//! `msgpack`: maps, or arrays of maps, one after the other.

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use crate::config::Diagnostic;
use crate::event::{Arena, EventTime, Record, Value, msgpack};
use crate::plugin::{BuildContext, Configure, EachEvent, ParseError, Parser};

/// `msgpack` has only the shared parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MsgpackParams {}

/// The parser.
pub struct Msgpack(Common);

impl Configure for Msgpack {
    type Config = MsgpackParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(_: MsgpackParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        Common::build(cx, Defaults::default()).map(Msgpack)
    }
}

impl Msgpack {
    fn one<'a>(
        &'a self,
        map: Value<'a>,
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        let Value::Map(raw) = map else { return Err(ParseError::Unmatched) };
        record.decode_into(raw, arena).map_err(ParseError::invalid)?;
        self.0.finish(record, arena)
    }
}

impl Parser for Msgpack {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        self.one(Value::decode(text).map_err(|_| ParseError::Unmatched)?, arena, record)
    }

    fn parse_each<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        each: EachEvent<'_, 'a>,
    ) -> Result<(), ParseError> {
        let (mut pos, mut outcome) = (0, Ok(()));
        while pos < text.len() {
            let value = msgpack::read(text, &mut pos).map_err(ParseError::invalid)?;
            let mut take = |map| match self.one(map, arena, record) {
                Ok(time) => each(time, record),
                Err(e) => outcome = Err(e),
            };
            match value {
                Value::Array(_) => value.items().for_each(&mut take),
                other => take(other),
            }
        }
        outcome
    }
}
