//! `csv` and `tsv`: values in order, named by `keys`.

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use crate::config::Diagnostic;
use crate::event::{Arena, EventTime, Record, Value};
use crate::plugin::{BuildContext, Configure, ParseError, Parser};

/// Parameters of `csv` and `tsv`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ValuesParams {
    /// Names of the values, in order.
    keys: Option<Vec<String>>,
    /// Between values.
    delimiter: Option<String>,
    /// `normal` refuses lines with quotes out of place; `fast` reads them as far as it can, and leaves out keys without a
    /// value.
    #[serde(alias = "parser_type")]
    parser_engine: Engine,
}

/// `parser_engine`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Engine {
    #[default]
    Normal,
    Fast,
}

struct Names {
    keys: Vec<String>,
    delimiter: String,
    engine: Engine,
    common: Common,
}

impl Names {
    fn build(config: ValuesParams, default: &str, cx: &mut BuildContext<'_>) -> Result<Names, Diagnostic> {
        let keys = config.keys.ok_or_else(|| cx.fault("keys", "'keys' parameter is required"))?;
        let delimiter = config.delimiter.unwrap_or_else(|| default.to_owned()).replace("\\t", "\t");
        if delimiter.is_empty() {
            return Err(cx.fault("delimiter", "delimiter must not be empty"));
        }
        Ok(Names { keys, delimiter, engine: config.parser_engine, common: Common::build(cx, Defaults::default())? })
    }

    /// Names the values; keys without a value are nil, or left out by the fast engine.
    fn name<'a>(&'a self, values: impl Iterator<Item = Value<'a>>, record: &mut Record<'a>) {
        record.clear();
        let rest = if self.engine == Engine::Fast { 0 } else { self.keys.len() };
        let values = values.chain(std::iter::repeat_n(Value::Nil, rest));
        for (key, value) in self.keys.iter().zip(values) {
            record.set(key.as_bytes(), value);
        }
    }
}

/// `tsv`
pub struct Tsv(Names);

impl Configure for Tsv {
    type Config = ValuesParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(config: ValuesParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        Names::build(config, "\t", cx).map(Tsv)
    }
}

impl Parser for Tsv {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        let pieces = Pieces {
            rest: Some(text).filter(|t| !t.is_empty()),
            delimiter: self.0.delimiter.as_bytes(),
            left: self.0.keys.len(),
        };
        self.0.name(pieces.map(Value::Str), record);
        self.0.common.finish(record, arena)
    }
}

/// Ruby's `split(delimiter, n)`: at most `left` pieces, the last takes the rest; nothing of an empty text.
struct Pieces<'a> {
    rest: Option<&'a [u8]>,
    delimiter: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest?;
        self.left = self.left.saturating_sub(1);
        let at = if self.left == 0 { None } else { memchr::memmem::find(text, self.delimiter) };
        let (piece, rest) = match at {
            Some(at) => (&text[..at], Some(&text[at + self.delimiter.len()..])),
            None => (text, None),
        };
        self.rest = rest;
        Some(piece)
    }
}

/// `csv`
pub struct Csv(Names);

impl Configure for Csv {
    type Config = ValuesParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(config: ValuesParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let names = Names::build(config, ",", cx)?;
        if names.delimiter.len() != 1 {
            return Err(cx.fault("delimiter", "the delimiter of csv is one byte; use tsv for longer ones"));
        }
        Ok(Csv(names))
    }
}

impl Parser for Csv {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Unmatched);
        }
        let delimiter = self.0.delimiter.as_bytes()[0];
        if memchr::memchr(b'"', text).is_none() {
            let values = text.split(|b| *b == delimiter);
            self.0.name(values.map(|v| if v.is_empty() { Value::Nil } else { Value::Str(v) }), record);
        } else if self.0.engine == Engine::Normal && !is_well_quoted(text, delimiter) {
            return Err(ParseError::Invalid("Illegal quoting".into()));
        } else {
            let values = quoted(text, delimiter, arena)?;
            self.0.name(values.into_iter(), record);
        }
        self.0.common.finish(record, arena)
    }
}

/// Reads a line that has quotes. An empty value is nil, an empty quoted one is the empty text, as in Ruby's CSV.
fn quoted<'a>(text: &[u8], delimiter: u8, arena: &'a Arena) -> Result<Vec<Value<'a>>, ParseError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text);
    let mut row = csv::ByteRecord::new();
    match reader.read_byte_record(&mut row) {
        Ok(true) => {}
        Ok(false) => return Err(ParseError::Unmatched),
        Err(e) => return Err(ParseError::Invalid(e.to_string())),
    }
    let empty_quoted = empty_quoted_columns(text, delimiter);
    let value = |(at, v): (usize, &[u8])| match v {
        b"" if !empty_quoted.contains(&at) => Value::Nil,
        v => Value::Str(arena.bytes(v)),
    };
    Ok(row.iter().enumerate().map(value).collect())
}

/// Whether quotes stand only around whole values, and doubled in them.
fn is_well_quoted(text: &[u8], delimiter: u8) -> bool {
    let text = text.trim_ascii_end();
    let (mut at, mut value_starts) = (0, true);
    while at < text.len() {
        if text[at] != b'"' {
            value_starts = text[at] == delimiter;
            at += 1;
        } else if value_starts {
            let Some(closing) = closing_quote(&text[at + 1..]) else { return false };
            at += closing + 2;
            if at < text.len() && text[at] != delimiter {
                return false;
            }
            value_starts = false;
        } else {
            return false;
        }
    }
    true
}

/// Where the quote is that ends a value; doubled ones are part of it.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr(b'"', &text[at..])?;
        if text.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// Columns that are written `""`.
fn empty_quoted_columns(text: &[u8], delimiter: u8) -> Vec<usize> {
    let (mut columns, mut column, mut start, mut inside) = (Vec::new(), 0, 0, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' => inside = !inside,
            b if *b == delimiter && !inside => {
                if &text[start..at] == b"\"\"" {
                    columns.push(column);
                }
                (column, start) = (column + 1, at + 1);
            }
            _ => {}
        }
    }
    if text[start..].trim_ascii_end() == b"\"\"" {
        columns.push(column);
    }
    columns
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pieces_are_split_as_ruby_splits_them() {
        let split = |text: &'static str, left| {
            Pieces { rest: Some(text.as_bytes()), delimiter: b"\t", left }.collect::<Vec<_>>()
        };
        assert_eq!(split("p\t\tq\tr", 3), [b"p" as &[u8], b"", b"q\tr"]);
        assert_eq!(split("only", 3), [b"only"]);
    }

    #[test]
    fn quotes_out_of_place_are_seen() {
        for text in [r#""a","b""#, r#"a,"x ""y""",c"#, r#""""#, r#"a,"""#, "a,b"] {
            assert!(is_well_quoted(text.as_bytes(), b','), "{text}");
        }
        for text in [r#""open,b"#, r#" a , "b" ,c"#, r#"a"b,c"#, r#""a"b,c"#, r#"""""#] {
            assert!(!is_well_quoted(text.as_bytes(), b','), "{text}");
        }
    }

    #[test]
    fn quoted_values_keep_delimiters_quotes_and_emptiness() {
        let arena = Arena::new();
        let got = quoted(br#"a,"b,c","d ""e""","",,f"#, b',', &arena).unwrap();
        let text = |s: &'static str| Value::str(s);
        assert_eq!(got, [text("a"), text("b,c"), text("d \"e\""), text(""), Value::Nil, text("f")]);
    }
}
