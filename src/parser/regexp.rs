//! `regexp`, and the formats that are nothing but one expression: `nginx`, `apache`, `apache_error`.

use std::marker::PhantomData;

use serde::Deserialize;

use super::common::{Common, Defaults, SHARED};
use crate::config::{Diagnostic, Regexp, RegexpFlags};
use crate::event::{Arena, EventTime, Record, Value};
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
        Ok(Groups { expression, common: Common::build(cx, defaults)? })
    }

    /// Reads a text; gives its time and where the match ends. Groups that took no part are no fields.
    pub fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<(Option<EventTime>, usize), ParseError> {
        let slots = self.expression.captures(text).ok_or(ParseError::Unmatched)?;
        record.clear();
        for (name, found) in self.expression.named(&slots) {
            if let Some(range) = found {
                record.set(name.as_bytes(), Value::Str(&text[range]));
            }
        }
        let end = slots.get(0).map_or(text.len(), |whole| whole.end);
        Ok((self.common.finish(record, arena)?, end))
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
}

impl Format for Apache {
    const PATTERN: &'static str = APACHE;
    const TIME_FORMAT: Option<&'static str> = Some(CLF_TIME);
}

impl Format for ApacheError {
    const PATTERN: &'static str = APACHE_ERROR;
    const TIME_FORMAT: Option<&'static str> = None;
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
        self.0.parse(text, arena, record).map(|(time, _)| time)
    }
}
