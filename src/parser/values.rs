//! `csv` and `tsv`: values in order, named by `keys`.

use std::collections::HashSet;

use memchr::memchr;
use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use super::separator::Separator;
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
    /// No key stands twice.
    are_unique: bool,
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
        let are_unique = keys.iter().collect::<HashSet<_>>().len() == keys.len();
        let common = Common::build(cx, Defaults::default())?;
        Ok(Names { keys, are_unique, delimiter, engine: config.parser_engine, common })
    }

    /// Names the values; keys without a value are nil, or left out by the fast engine.
    fn name<'a>(&'a self, values: impl Iterator<Item = Value<'a>>, record: &mut Record<'a>) {
        record.clear();
        let rest = if self.engine == Engine::Fast { 0 } else { self.keys.len() };
        let values = values.chain(std::iter::repeat_n(Value::Nil, rest));
        for (key, value) in self.keys.iter().zip(values) {
            match self.are_unique {
                true => record.push(key.as_bytes(), value),
                false => record.set(key.as_bytes(), value),
            }
        }
    }
}

/// `tsv`
pub struct Tsv {
    names: Names,
    separator: Separator,
}

impl Configure for Tsv {
    type Config = ValuesParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(config: ValuesParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let names = Names::build(config, "\t", cx)?;
        Ok(Tsv { separator: Separator::new(&names.delimiter), names })
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
            separator: &self.separator,
            left: self.names.keys.len(),
        };
        self.names.name(pieces.map(Value::Str), record);
        self.names.common.finish(record, arena)
    }
}

/// Ruby's `split(delimiter, n)`: at most `left` pieces, the last takes the rest; nothing of an empty text.
struct Pieces<'a> {
    rest: Option<&'a [u8]>,
    separator: &'a Separator,
    left: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest?;
        self.left = self.left.saturating_sub(1);
        let cut = if self.left == 0 { None } else { self.separator.cut(text) };
        let (piece, rest) = cut.map_or((text, None), |(piece, rest)| (piece, Some(rest)));
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
        if memchr(b'"', text).is_none() {
            self.0.name(Plain { rest: Some(text), delimiter }, record);
        } else if self.0.engine == Engine::Fast || !is_well_quoted(text, delimiter) {
            if self.0.engine == Engine::Normal {
                return Err(ParseError::invalid("Illegal quoting"));
            }
            self.0.name(quoted(text, delimiter, arena)?.into_iter(), record);
        } else if is_one_plain_line(text) {
            self.0.name(WellQuoted { rest: Some(text), delimiter, arena }, record);
        } else {
            self.0.name(quoted(text, delimiter, arena)?.into_iter(), record);
        }
        self.0.common.finish(record, arena)
    }
}

/// The values of a line without quotes. An empty one is nil.
struct Plain<'a> {
    rest: Option<&'a [u8]>,
    delimiter: u8,
}

impl<'a> Iterator for Plain<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let text = self.rest?;
        let end = memchr(self.delimiter, text);
        self.rest = end.map(|at| &text[at + 1..]);
        let value = &text[..end.unwrap_or(text.len())];
        Some(if value.is_empty() { Value::Nil } else { Value::Str(value) })
    }
}

/// The values of a well quoted line, most of them as they stand there; as [`quoted`] reads them.
struct WellQuoted<'a> {
    rest: Option<&'a [u8]>,
    delimiter: u8,
    arena: &'a Arena,
}

impl<'a> Iterator for WellQuoted<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let text = self.rest?;
        let Some(inside) = text.strip_prefix(b"\"") else {
            let mut plain = Plain { rest: self.rest, delimiter: self.delimiter };
            let value = plain.next();
            self.rest = plain.rest;
            return value;
        };
        let end = closing_quote(inside)?;
        self.rest = inside.get(end + 2..);
        let value = &inside[..end];
        if memchr(b'"', value).is_none() {
            return Some(Value::Str(value));
        }
        // Quotes stand in pairs here, and one of each is kept.
        let mut kept = false;
        let keep = |byte: &u8| {
            kept = *byte == b'"' && !kept;
            kept || *byte != b'"'
        };
        let single: Vec<u8> = value.iter().copied().filter(keep).collect();
        Some(self.arena.str(single))
    }
}

/// Whether no line end stands in the text and no white space behind it, where the rules of quoting know more.
fn is_one_plain_line(text: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', text).is_none() && text.trim_ascii_end().len() == text.len()
}

/// Reads a line that has quotes. An empty value is nil, an empty quoted one is the empty text, as in Ruby's CSV.
fn quoted<'a>(text: &[u8], delimiter: u8, arena: &'a Arena) -> Result<Vec<Value<'a>>, ParseError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(text);
    let mut row = csv::ByteRecord::new();
    match reader.read_byte_record(&mut row) {
        Ok(true) => {}
        Ok(false) => return Err(ParseError::Unmatched),
        Err(e) => return Err(ParseError::invalid(e)),
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
        at += memchr(b'"', &text[at..])?;
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_are_split_as_ruby_splits_them() {
        let separator = Separator::new("\t");
        let split = |text: &'static str, left| {
            Pieces { rest: Some(text.as_bytes()), separator: &separator, left }.collect::<Vec<_>>()
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn well_quoted_lines_are_read_as_the_rules_of_quoting_say(
            values in proptest::collection::vec("(\"([a, ]|\"\"){0,6}\"|[a ]{0,3})", 1..6),
            change in proptest::option::of((any::<prop::sample::Index>(), proptest::sample::select(&b"\",a \r\n\xff"[..]))),
        ) {
            let mut text = values.join(",").into_bytes();
            if let Some((at, byte)) = change && !text.is_empty() {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let arena = Arena::new();
            if memchr(b'"', &text).is_some() && is_well_quoted(&text, b',') && is_one_plain_line(&text) {
                let found: Vec<_> = WellQuoted { rest: Some(&text), delimiter: b',', arena: &arena }.collect();
                prop_assert_eq!(found, quoted(&text, b',', &arena).unwrap());
            }
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
