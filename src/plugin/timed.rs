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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Value;

    /// Each word is an event; digits are its time.
    struct Words;

    impl Parser for Words {
        fn parse<'a>(
            &'a self,
            text: &'a [u8],
            _: &'a Arena,
            record: &mut Record<'a>,
        ) -> Result<Option<EventTime>, ParseError> {
            record.set(b"w", Value::Str(text));
            Ok(std::str::from_utf8(text).unwrap().parse().ok().map(EventTime::from_secs))
        }

        fn parse_each<'a>(
            &'a self,
            text: &'a [u8],
            arena: &'a Arena,
            record: &mut Record<'a>,
            each: EachEvent<'_, 'a>,
        ) -> Result<(), ParseError> {
            for word in text.split(|b| *b == b' ') {
                let time = self.parse(word, arena, record)?;
                each(time, record);
            }
            Ok(())
        }
    }

    #[test]
    fn an_event_without_a_time_is_unmatched_and_the_others_go_on() {
        let (parser, arena) = (Timed(Arc::new(Words)), Arena::new());
        let mut record = Record::new();
        assert!(parser.parse(b"7", &arena, &mut record).unwrap().is_some());
        assert_eq!(parser.parse(b"x", &arena, &mut record), Err(ParseError::Unmatched));
        let mut times = Vec::new();
        let result = parser.parse_each(b"1 x 2", &arena, &mut record, &mut |time, _| times.extend(time));
        assert_eq!((result, times.len()), (Err(ParseError::Unmatched), 2));
    }
}
