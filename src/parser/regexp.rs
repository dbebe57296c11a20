//! `regexp`, and the formats that are nothing but one expression: `nginx`, `apache`, `apache_error`.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use super::lines::{self, Line};
use crate::config::{Diagnostic, Regexp, RegexpFlags};
use crate::event::msgpack::{self, MapWriter};
use crate::event::{Arena, BatchBuilder, EventTime, Record, Value};
use crate::plugin::{BuildContext, Configure, ParseError, Parser};

/// Time of access logs.
const CLF_TIME: &str = "%d/%b/%Y:%H:%M:%S %z";

/// nginx's `combined` format, with a field behind it.
const NGINX: &str = concat!(
    r#"^(?<remote>[^ ]*) (?<host>[^ ]*) (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)"#,
    r#"(?: +(?<path>[^"]*?)(?: +\S*)?)?" (?<code>[^ ]*) (?<size>[^ ]*)"#,
    r#"(?: "(?<referer>[^"]*)" "(?<agent>[^"]*)"(?:\s+"?(?<http_x_forwarded_for>[^"]*)"?)?)?$"#
);
/// Apache's `combined` format as old configurations read it.
const APACHE: &str = concat!(
    r#"^(?<host>[^ ]*) [^ ]* (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)"#,
    r#"(?: +(?<path>[^ ]*) +\S*)?" (?<code>[^ ]*) (?<size>[^ ]*)"#,
    r#"(?: "(?<referer>[^"]*)" "(?<agent>[^"]*)")?$"#
);
/// Apache's error log.
const APACHE_ERROR: &str = concat!(
    r"^\[[^ ]* (?<time>[^\]]*)\] \[(?<level>[^\]]*)\](?: \[pid (?<pid>[^\]]*)\])?",
    r"( \[client (?<client>[^\]]*)\])? (?<message>.*)$"
);

/// Parameters of `regexp`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RegexpParams {
    /// The expression, with named groups.
    expression: Option<Regexp>,
    /// Old form of `/i`.
    ignorecase: bool,
    /// Old form of `/m`.
    multiline: bool,
}

/// An expression whose named groups are the fields.
pub struct Groups {
    expression: Regexp,
    /// The names as MessagePack, in the order of the expression.
    keys: Vec<Vec<u8>>,
    /// Which of them is the time, where all that happens to a record is that it is taken out.
    only_time: Option<usize>,
    common: Common,
}

impl Groups {
    /// An expression with the parameters that all parsers share.
    pub fn new(
        expression: Regexp,
        time_format: Option<&'static str>,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Diagnostic> {
        let defaults = Defaults { time_key: Some("time"), time_format, ..Defaults::default() };
        let key = |name: &Arc<str>| {
            let mut key = Vec::new();
            msgpack::put_str(&mut key, name.as_bytes());
            key
        };
        let common = Common::build(cx, defaults)?;
        // A key that no group has is the time of none.
        let place = |key: &str| expression.names().position(|name| **name == *key).unwrap_or(usize::MAX);
        let only_time = common.only_time_key().map(place);
        Ok(Groups { keys: expression.names().map(key).collect(), only_time, expression, common })
    }

    /// Reads a text; gives its time and where the match ends. Groups that took no part are no fields.
    pub fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<(Option<EventTime>, usize), ParseError> {
        let mut slots = self.expression.slots();
        if !self.expression.captures_into(text, &mut slots) {
            return Err(ParseError::Unmatched);
        }
        record.clear();
        for (name, found) in self.expression.named(&slots) {
            if let Some(range) = found {
                record.push(name.as_bytes(), Value::Str(&text[range]));
            }
        }
        let end = slots.get(0).map_or(text.len(), |whole| whole.end);
        Ok((self.common.finish(record, arena)?, end))
    }

    /// As [`parse`](Groups::parse), straight into a batch.
    fn parse_into<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        now: EventTime,
        batch: &mut BatchBuilder,
    ) -> Result<(), ParseError> {
        let Some(time_at) = self.only_time else {
            let (time, _) = self.parse(text, arena, record)?;
            batch.push(time.unwrap_or(now), record);
            return Ok(());
        };
        let mut slots = self.expression.slots();
        if !self.expression.captures_into(text, &mut slots) {
            return Err(ParseError::Unmatched);
        }
        let (mut time, mut fields) = (now, 0);
        for at in 0..self.keys.len() {
            match self.expression.named_at(&slots, at) {
                Some(range) if at == time_at => time = self.common.time(Value::Str(&text[range]))?,
                Some(_) => fields += 1,
                None => {}
            }
        }
        batch.push_with(time, |out| {
            let mut map = MapWriter::begin(out, fields);
            for (at, key) in self.keys.iter().enumerate() {
                if let Some(range) = self.expression.named_at(&slots, at).filter(|_| at != time_at) {
                    map.encoded(key);
                    map.value(&Value::Str(&text[range]));
                }
            }
        });
        Ok(())
    }
}

/// `regexp`
pub struct RegexpParser(Groups);

impl Configure for RegexpParser {
    type Config = RegexpParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(config: RegexpParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let Some(mut expression) = config.expression else {
            return Err(cx.fault("expression", "'expression' parameter is required"));
        };
        if config.ignorecase || config.multiline {
            let flags = RegexpFlags { ignore_case: config.ignorecase, dot_all: config.multiline, extended: false };
            let source = cx.section.text("expression").unwrap_or_default();
            let source = source.strip_prefix('/').and_then(|s| s.strip_suffix('/')).unwrap_or(source);
            let compiled = Regexp::with_flags(source, flags);
            expression = compiled.map_err(|e| cx.fault("expression", e.to_string()))?;
        }
        if expression.names().len() == 0 {
            let message =
                "No named captures in 'expression' parameter. The regexp must have at least one named capture";
            return Err(cx.fault("expression", message));
        }
        Groups::new(expression, None, cx).map(RegexpParser)
    }
}

impl Parser for RegexpParser {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        self.0.parse(text, arena, record).map(|(time, _)| time)
    }

    fn parse_into<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        now: EventTime,
        batch: &mut BatchBuilder,
    ) -> Result<(), ParseError> {
        self.0.parse_into(text, arena, record, now, batch)
    }
}

/// The fixed formats have only the shared parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FixedParams {}

/// A format that is one expression.
pub trait Format: Send + Sync + 'static {
    /// The expression.
    const PATTERN: &'static str;
    /// Form of its time; any common form where there is none.
    const TIME_FORMAT: Option<&'static str>;
    /// Finds the expression's groups by hand on the usual lines, and nothing on others.
    fn scan(text: &[u8]) -> Option<impl Line<'_>>;
}

/// `nginx`
pub struct Nginx;
/// `apache`
pub struct Apache;
/// `apache_error`
pub struct ApacheError;

impl Format for Nginx {
    const PATTERN: &'static str = NGINX;
    const TIME_FORMAT: Option<&'static str> = Some(CLF_TIME);

    fn scan(text: &[u8]) -> Option<impl Line<'_>> {
        lines::nginx(text)
    }
}

impl Format for Apache {
    const PATTERN: &'static str = APACHE;
    const TIME_FORMAT: Option<&'static str> = Some(CLF_TIME);

    fn scan(text: &[u8]) -> Option<impl Line<'_>> {
        lines::apache(text)
    }
}

impl Format for ApacheError {
    const PATTERN: &'static str = APACHE_ERROR;
    const TIME_FORMAT: Option<&'static str> = None;

    fn scan(text: &[u8]) -> Option<impl Line<'_>> {
        lines::apache_error(text)
    }
}

/// The parser of a fixed format.
pub struct Fixed<F>(Groups, PhantomData<F>);

impl<F: Format> Configure for Fixed<F> {
    type Config = FixedParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(_: FixedParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let expression = Regexp::new(F::PATTERN).map_err(|e| cx.fault("@type", e.to_string()))?;
        Ok(Fixed(Groups::new(expression, F::TIME_FORMAT, cx)?, PhantomData))
    }
}

impl<F: Format> Parser for Fixed<F> {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        let Some(line) = F::scan(text) else {
            return self.0.parse(text, arena, record).map(|(time, _)| time);
        };
        record.clear();
        line.put(record);
        self.0.common.finish(record, arena)
    }

    fn parse_into<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
        now: EventTime,
        batch: &mut BatchBuilder,
    ) -> Result<(), ParseError> {
        let Some(line) = F::scan(text) else {
            return self.0.parse_into(text, arena, record, now, batch);
        };
        if self.0.common.only_time_key() == Some("time") {
            let time = self.0.common.time(Value::Str(line.time()))?;
            batch.push_with(time, |out| line.encode(out));
            return Ok(());
        }
        record.clear();
        line.put(record);
        let time = self.0.common.finish(record, arena)?;
        batch.push(time.unwrap_or(now), record);
        Ok(())
    }
}
