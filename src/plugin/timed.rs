//! A parser for inputs that take no event without a time: `estimate_current_event false`.

use std::sync::Arc;

use super::contract::{EachEvent, MultilineRule, ParseError, Parser};
use crate::event::{Arena, EventTime, Record};

/// Over another parser: a text without a time is unmatched.
pub(super) struct Timed(pub(super) Arc<dyn Parser>);

impl Parser for Timed {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        self.0.parse(text, arena, record)?.map(Some).ok_or(ParseError::Unmatched)
    }

    fn parse_each<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        each: EachEvent<'_, 'a>,
    ) -> Result<(), ParseError> {
        let mut all_timed = true;
        self.0.parse_each(text, arena, record, &mut |time, record| match time {
            Some(_) => each(time, record),
            None => all_timed = false,
        })?;
        if all_timed { Ok(()) } else { Err(ParseError::Unmatched) }
    }

    fn lines(&self) -> Option<&dyn MultilineRule> {
        self.0.lines()
    }
}
