//! `apache2`: Apache's combined format; `-` is nil, code and size are integers.

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use super::convert::to_i;
use super::lines::{self, Line};
use crate::config::{Diagnostic, Regexp};
use crate::event::{Arena, BatchBuilder, EventTime, Record, Value};
use crate::plugin::{BuildContext, Configure, ParseError, Parser};

/// The expression that decides; `lines.rs` reads the usual line.
pub(super) const PATTERN: &str = concat!(
    r#"^(?<host>[^ ]*) [^ ]* (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)"#,
    r#"(?: +(?<path>(?:[^"]|\\")*?)(?: +\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)"#,
    r#"(?: "(?<referer>(?:[^"]|\\")*)" "(?<agent>(?:[^"]|\\")*)")?$"#
);
const TIME: &str = "%d/%b/%Y:%H:%M:%S %z";

/// `apache2` has only the shared parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Apache2Params {}

/// The parser.
pub struct Apache2 {
    expression: Regexp,
    common: Common,
}

impl Configure for Apache2 {
    type Config = Apache2Params;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(_: Apache2Params, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let expression = Regexp::new(PATTERN).map_err(|e| cx.fault("@type", e.to_string()))?;
        let defaults = Defaults { time_format: Some(TIME), time_type: Some("string"), ..Defaults::default() };
        Ok(Apache2 { expression, common: Common::build(cx, defaults)? })
    }
}

impl Parser for Apache2 {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        _: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        record.clear();
        let time = match lines::apache2(text) {
            Some(line) => {
                line.put(record);
                Value::Str(line.time())
            }
            None => by_expression(&self.expression, text, record)?,
        };
        if self.common.keeps_time() {
            record.push(b"time", time);
        }
        self.common.time(time).map(Some)
    }

    fn parse_into<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        now: EventTime,
        batch: &mut BatchBuilder,
    ) -> Result<(), ParseError> {
        if !self.common.keeps_time()
            && let Some(line) = lines::apache2(text)
        {
            let time = self.common.time(Value::Str(line.time()))?;
            batch.push_with(time, |out| line.encode(out));
            return Ok(());
        }
        let time = self.parse(text, arena, record)?;
        batch.push(time.unwrap_or(now), record);
        Ok(())
    }
}

/// Puts the fields but the time into the record; gives the time.
pub(super) fn by_expression<'a>(
    expression: &Regexp,
    text: &'a [u8],
    record: &mut Record<'a>,
) -> Result<Value<'a>, ParseError> {
    let slots = expression.captures(text).ok_or(ParseError::Unmatched)?;
    let mut time = Value::Nil;
    for (name, found) in expression.named(&slots) {
        let found = found.map_or(Value::Nil, |range| Value::Str(&text[range]));
        match &**name {
            "time" => time = found,
            name => record.push(field_name(name), field(name, found)),
        }
    }
    Ok(time)
}

fn field<'a>(name: &str, value: Value<'a>) -> Value<'a> {
    match (name, value) {
        ("code", Value::Str(text)) => lines::code(text),
        ("method" | "path", value) => value,
        (_, Value::Str(b"-")) => Value::Nil,
        ("size", Value::Str(text)) => to_i(text),
        (_, value) => value,
    }
}

/// The names are those of the pattern above.
fn field_name(name: &str) -> &'static [u8] {
    const NAMES: [&str; 8] = ["host", "user", "method", "path", "code", "size", "referer", "agent"];
    NAMES.iter().find(|n| **n == name).map_or(b"", |n| n.as_bytes())
}
