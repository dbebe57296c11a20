//! `apache2`: Apache's combined format; `-` is nil, code and size are integers.

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use super::convert::to_i;
use crate::config::{Diagnostic, Regexp};
use crate::event::{Arena, EventTime, Record, Value};
use crate::plugin::{BuildContext, Configure, ParseError, Parser};

const PATTERN: &str = concat!(
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
        let slots = self.expression.captures(text).ok_or(ParseError::Unmatched)?;
        record.clear();
        let mut time = Value::Nil;
        for (name, found) in self.expression.named(&slots) {
            let found = found.map_or(Value::Nil, |range| Value::Str(&text[range]));
            match &**name {
                "time" => time = found,
                name => record.push(field_name(name), field(name, found)),
            }
        }
        if self.common.keeps_time() {
            record.push(b"time", time);
        }
        self.common.time(time).map(Some)
    }
}

fn field<'a>(name: &str, value: Value<'a>) -> Value<'a> {
    match (name, value) {
        ("code", Value::Str(text)) => Some(to_i(text)).filter(|n| *n != Value::Int(0)).unwrap_or(Value::Nil),
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
