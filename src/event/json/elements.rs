//! The elements of a top-level array, one record at a time.

use super::error::{JsonError, Kind, Reason};
use super::reader::Reader;
use crate::event::record::{Arena, Record};

/// Walks over the objects of a JSON array without building the others.
pub struct Elements<'a> {
    reader: Reader<'a>,
    state: State,
}

enum State {
    Before,
    Inside,
    Done,
}

impl<'a> Elements<'a> {
    /// Over text that is one array with nothing but white space around it; `None` when it begins as anything else.
    pub fn new(text: &'a [u8]) -> Option<Elements<'a>> {
        let array = Kind::of(text) == Some(Kind::Array);
        array.then(|| Elements { reader: Reader::new(text), state: State::Before })
    }

    /// Reads the next element into `record`; `None` at the end of the array.
    ///
    /// Errors: [`Reason::NotObject`] for an element of another kind; the walk goes on behind it. Any other error is the
    /// last item and means that the text is no JSON: what came before it is not to be used either.
    pub fn next_record(&mut self, arena: &'a Arena, record: &mut Record<'a>) -> Option<Result<(), JsonError>> {
        record.clear();
        let step = self.step(arena, record).map_err(|reason| {
            record.clear();
            self.reader.error(reason)
        });
        if step.is_err_and(|e| !e.is_valid_json()) {
            self.state = State::Done;
        }
        match step {
            Ok(true) => Some(Ok(())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn step(&mut self, arena: &'a Arena, record: &mut Record<'a>) -> Result<bool, Reason> {
        let another = match self.state {
            State::Before => self.begin()?,
            State::Inside => self.reader.more(b']')?,
            State::Done => return Ok(false),
        };
        if !another {
            self.state = State::Done;
            return self.reader.end().map(|()| false);
        }
        self.state = State::Inside;
        self.element(arena, record).map(|()| true)
    }

    fn begin(&mut self) -> Result<bool, Reason> {
        self.reader.token()?;
        self.reader.open(b']').map(|empty| !empty)
    }

    fn element(&mut self, arena: &'a Arena, record: &mut Record<'a>) -> Result<(), Reason> {
        let mut scratch = arena.take_scratch();
        let read = match self.reader.token() {
            Ok(b'{') => self.reader.record(arena, &mut scratch, record),
            Ok(_) => Err(self.reader.not_object(&mut scratch)),
            Err(reason) => Err(reason),
        };
        arena.give_scratch(scratch);
        read
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::value::Value;

    /// The `n` of each element, or why it has none.
    fn walk(text: &str) -> Vec<Result<Option<Value<'_>>, Reason>> {
        let arena = Box::leak(Box::new(Arena::new()));
        let mut record = Record::new();
        let mut elements = Elements::new(text.as_bytes()).unwrap();
        let mut items = Vec::new();
        while let Some(item) = elements.next_record(arena, &mut record) {
            items.push(item.map(|()| record.get(b"n")).map_err(|e| e.reason));
        }
        assert!(elements.next_record(arena, &mut record).is_none());
        items
    }

    #[test]
    fn objects_of_an_array_come_one_by_one() {
        assert_eq!(walk(" [ ] "), []);
        let one = Ok(Some(Value::Int(1)));
        assert_eq!(walk(r#"[{"n":1}]"#), [one]);
        assert_eq!(walk("\n[ {\"n\" : 1} ,{\"n\":2},{}]\n"), [one, Ok(Some(Value::Int(2))), Ok(None)]);
    }

    #[test]
    fn an_element_that_is_no_object_is_told_and_passed() {
        let items = walk(r#"[1,{"n":1},"a\n",[{"n":3}],null]"#);
        let not = |kind| Err(Reason::NotObject(kind));
        let one = Ok(Some(Value::Int(1)));
        assert_eq!(items, [not(Kind::Number), one, not(Kind::String), not(Kind::Array), not(Kind::Null)]);
    }

    #[test]
    fn a_fault_is_the_last_item() {
        let one = Ok(Some(Value::Int(1)));
        for (text, reason) in [
            (r#"[{"n":1}"#, Reason::Truncated),
            (r#"[{"n":1},"#, Reason::Truncated),
            (r#"[{"n":1},]"#, Reason::Unexpected),
            (r#"[{"n":1}}"#, Reason::Unexpected),
            (r#"[{"n":1}] x"#, Reason::Trailing),
            (r#"[{"n":1},{"n":01}]"#, Reason::Number),
        ] {
            assert_eq!(walk(text), [one, Err(reason)], "{text}");
        }
        assert_eq!(walk("["), [Err(Reason::Truncated)]);
        assert_eq!(walk("[]]"), [Err(Reason::Trailing)]);
    }

    #[test]
    fn what_is_no_array_has_no_elements() {
        for text in ["", "{}", "1", "null", " ", "]"] {
            assert!(Elements::new(text.as_bytes()).is_none(), "{text}");
        }
    }
}
