//! `cri`: lines of container runtimes, `TIME STREAM FLAGS MESSAGE` (fluent-plugin-parser-cri).

use std::sync::Arc;

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use crate::config::{Diagnostic, Section};
use crate::event::{Arena, EventTime, Record, Value};
use crate::plugin::{BuildContext, Configure, ParseError, Parser};

/// Parameters of `cri`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct CriParams {
    /// With `<parse>`: `stream` and `logtag` go into what it finds.
    merge_cri_fields: bool,
    /// The parser of the message.
    parse: Option<Section>,
}

impl Default for CriParams {
    fn default() -> Self {
        CriParams { merge_cri_fields: true, parse: None }
    }
}

/// The parser.
pub struct Cri {
    common: Common,
    inner: Option<Arc<dyn Parser>>,
    merges: bool,
}

impl Configure for Cri {
    type Config = CriParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(config: CriParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let defaults =
            Defaults { time_key: Some("time"), time_format: Some("%Y-%m-%dT%H:%M:%S.%L%z"), ..Defaults::default() };
        let common = Common::build(cx, defaults)?.keeping_time(cx);
        let inner = config.parse.as_ref().map(|section| cx.parser_of(section)).transpose()?;
        Ok(Cri { common, inner, merges: config.merge_cri_fields })
    }
}

impl Parser for Cri {
    /// Where a `<parse>` finds no time in the message, the runtime's counts.
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        let [time, stream, flags, message] = parts(text).ok_or(ParseError::Unmatched)?;
        let Some(inner) = &self.inner else {
            record.clear();
            for (name, value) in [("stream", stream), ("logtag", flags), ("message", message), ("time", time)] {
                record.push(name.as_bytes(), Value::Str(value));
            }
            return self.common.finish(record, arena);
        };
        let found = inner.parse(message, arena, record)?;
        if self.merges {
            record.set(b"stream", Value::Str(stream));
            record.set(b"logtag", Value::Str(flags));
        }
        Ok(found.or_else(|| self.common.time(Value::Str(time)).ok()))
    }
}

/// The four parts of a line, each one white space behind the other; white space in the message is its own.
fn parts(text: &[u8]) -> Option<[&[u8]; 4]> {
    let mut parts = text.splitn(4, |b| b.is_ascii_whitespace() || *b == b'\x0b');
    Some([parts.next()?, parts.next()?, parts.next()?, parts.next()?])
}
