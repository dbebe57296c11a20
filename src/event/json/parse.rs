//! JSON text to records and to MessagePack.
//!
//! What is read beyond RFC 8259, because Oj in Fluentd reads it and nothing is lost by it: control characters within
//! strings, unknown escapes (`\x` is `x`), comments between tokens. What Oj reads and is refused here: `NaN`, `Infinity`.
//! Integers that 64 bits don't hold become floats (Fluentd fails to encode them); numbers beyond a double become
//! infinite. Invalid UTF-8 is kept as it is; the writer replaces it.

use super::error::{JsonError, Reason};
use super::reader::Reader;
use crate::event::record::{Arena, Record};
use crate::event::value::Value;

/// Reads text that is one JSON object with nothing but white space around it. `record` is emptied first.
///
/// Strings without escapes point into `text`; what is new is in `arena`. A name that comes twice keeps its first place
/// and its last value.
///
/// Errors: the first fault; [`Reason::NotObject`] when the text is valid JSON otherwise. `record` is then empty.
pub fn parse_object<'a>(text: &'a [u8], arena: &'a Arena, record: &mut Record<'a>) -> Result<(), JsonError> {
    record.clear();
    let mut reader = Reader::new(text);
    let mut scratch = arena.take_scratch();
    let read = whole_object(&mut reader, arena, &mut scratch, record);
    arena.give_scratch(scratch);
    read.map_err(|reason| {
        record.clear();
        reader.error(reason)
    })
}

/// As [`parse_object`], to MessagePack at the end of `out`, without the field `apart`: that one's value is given.
///
/// Errors: as there; `out` is then as before.
pub fn append_object<'a>(
    text: &'a [u8],
    apart: &[u8],
    arena: &'a Arena,
    out: &mut Vec<u8>,
) -> Result<Option<Value<'a>>, JsonError> {
    let start = out.len();
    let mut reader = Reader::new(text);
    let (mut scratch, mut expected) = (arena.take_scratch(), arena.take_expected(apart));
    let read = match reader.token() {
        Ok(b'{') => reader.append_but(&mut expected, arena, &mut scratch, out),
        Ok(_) => Err(other(&mut reader, &mut scratch)),
        Err(reason) => Err(reason),
    };
    arena.give_scratch(scratch);
    arena.give_expected(expected);
    let read = read.and_then(|taken| reader.end().map(|()| taken));
    read.map_err(|reason| {
        out.truncate(start);
        reader.error(reason)
    })
}

fn whole_object<'a>(
    reader: &mut Reader<'a>,
    arena: &'a Arena,
    scratch: &mut Vec<u8>,
    record: &mut Record<'a>,
) -> Result<(), Reason> {
    if reader.token()? == b'{' {
        reader.record(arena, scratch, record)?;
        return reader.end();
    }
    Err(other(reader, scratch))
}

/// Why a text that begins with no object is refused.
fn other(reader: &mut Reader<'_>, scratch: &mut Vec<u8>) -> Reason {
    let reason = reader.not_object(scratch);
    match reader.end() {
        Err(behind) if matches!(reason, Reason::NotObject(_)) => behind,
        _ => reason,
    }
}

/// Reads text that is one JSON value of any kind with nothing but white space around it.
///
/// The value may be nested as deep as a record's field may.
pub fn parse_value<'a>(text: &'a [u8], arena: &'a Arena) -> Result<Value<'a>, JsonError> {
    let mut reader = Reader::new(text);
    let mut scratch = arena.take_scratch();
    let read = reader.value(arena, &mut scratch);
    arena.give_scratch(scratch);
    let value = read.map_err(|reason| reader.error(reason))?;
    reader.end().map_err(|reason| reader.error(reason))?;
    Ok(value)
}

/// Reads the JSON value at the start of `text`, white space before it allowed, and appends it to `out` as MessagePack
/// in its shortest form. Gives the bytes of text that were read; what is behind them is not looked at.
///
/// A number that touches the end of `text` counts as whole.
///
/// Errors: the first fault; `out` is then as before.
pub fn append_value(text: &[u8], out: &mut Vec<u8>) -> Result<usize, JsonError> {
    let start = out.len();
    let mut reader = Reader::new(text);
    match reader.append(out, 0) {
        Ok(()) => Ok(reader.position()),
        Err(reason) => {
            out.truncate(start);
            Err(reader.error(reason))
        }
    }
}
