//! The elements of a top-level array, one record at a time.

use super::error::{JsonError, Kind, Reason};
use super::reader::Reader;
use crate::event::record::{Arena, Record};
use crate::event::value::Value;

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
        let next = self.next(arena, |reader, scratch| reader.record(arena, scratch, record));
        if let Some(Err(_)) = next {
            record.clear();
        }
        next
    }

    /// As [`next_record`](Self::next_record), to MessagePack at the end of `out`, without the field `apart`: that one's
    /// value is given.
    ///
    /// Errors: as there; `out` is then as before.
    pub fn append_next(
        &mut self,
        apart: &[u8],
        arena: &'a Arena,
        out: &mut Vec<u8>,
    ) -> Option<Result<Option<Value<'a>>, JsonError>> {
        let start = out.len();
        let mut expected = arena.take_expected(apart);
        let next = self.next(arena, |reader, scratch| reader.append_but(&mut expected, arena, scratch, out));
        arena.give_expected(expected);
        if let Some(Err(_)) = next {
            out.truncate(start);
        }
        next
    }

    /// The next element, read by `object` where it is one.
    fn next<T>(
        &mut self,
        arena: &Arena,
        object: impl FnOnce(&mut Reader<'a>, &mut Vec<u8>) -> Result<T, Reason>,
    ) -> Option<Result<T, JsonError>> {
        let step = match self.advance() {
            Ok(true) => self.element(arena, object),
            Ok(false) => return None,
            Err(reason) => Err(reason),
        };
        let found = step.map_err(|reason| self.reader.error(reason));
        if found.as_ref().is_err_and(|e| !e.is_valid_json()) {
            self.state = State::Done;
        }
        Some(found)
    }

    /// Moves to the next element; false at the end.
    fn advance(&mut self) -> Result<bool, Reason> {
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
        Ok(true)
    }

    fn begin(&mut self) -> Result<bool, Reason> {
        self.reader.token()?;
        self.reader.open(b']').map(|empty| !empty)
    }

    fn element<T>(
        &mut self,
        arena: &Arena,
        object: impl FnOnce(&mut Reader<'a>, &mut Vec<u8>) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        let mut scratch = arena.take_scratch();
        let read = match self.reader.token() {
            Ok(b'{') => object(&mut self.reader, &mut scratch),
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

    #[test]
    fn appended_elements_are_the_records_without_the_field_apart() {
        for text in [
            r#"[{"n":1,"t":7},{},{"t":null,"a":[1,{"b":"\u00e9"}]},3,{"t":1,"t":{"x":2},"n":2,"n":3}]"#,
            r#"[{"n":1},{"n":01}]"#,
            r#" [ {"a":{"a":1,"b":{"a":2,"a":3}},"b":2} , {"b":1} ] x"#,
        ] {
            let (arena, mut record) = (Arena::new(), Record::new());
            let (mut one, mut other) =
                (Elements::new(text.as_bytes()).unwrap(), Elements::new(text.as_bytes()).unwrap());
            loop {
                let mut out = b"before".to_vec();
                let appended = other.append_next(b"t", &arena, &mut out);
                let Some(read) = one.next_record(&arena, &mut record) else {
                    assert!(appended.is_none(), "{text}");
                    break;
                };
                let apart = record.remove(b"t");
                assert_eq!(appended, Some(read.map(|()| apart)), "{text}");
                let mut expected = b"before".to_vec();
                if read.is_ok() {
                    record.encode(&mut expected);
                }
                assert_eq!(out, expected, "{text}");
            }
        }
    }
}
