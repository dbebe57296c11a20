//! `regexp`, and the formats that are nothing but one expression: `nginx`, `apache`, `apache_error`.

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
    fn fixed(pattern: &str, time_format: Option<&'static str>, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let expression = Regexp::new(pattern).map_err(|e| cx.fault("@type", e.to_string()))?;
        let defaults = Defaults { time_key: Some("time"), time_format, ..Defaults::default() };
        Ok(Groups { expression, common: Common::build(cx, defaults)? })
    }

    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        let slots = self.expression.captures(text).ok_or(ParseError::Unmatched)?;
        record.clear();
        for (name, found) in self.expression.named(&slots) {
            if let Some(range) = found {
                record.set(name.as_bytes(), Value::Str(&text[range]));
            }
        }
        self.common.finish(record, arena)
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
        let common = Common::build(cx, Defaults { time_key: Some("time"), ..Defaults::default() })?;
        Ok(RegexpParser(Groups { expression, common }))
    }
}

impl Parser for RegexpParser {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        self.0.parse(text, arena, record)
    }
}

/// The fixed formats have only the shared parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FixedParams {}

/// `nginx`
pub struct Nginx(Groups);
/// `apache`
pub struct Apache(Groups);
/// `apache_error`
pub struct ApacheError(Groups);

impl Configure for Nginx {
    type Config = FixedParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(_: FixedParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        Groups::fixed(NGINX, Some(CLF_TIME), cx).map(Nginx)
    }
}

impl Configure for Apache {
    type Config = FixedParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(_: FixedParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        Groups::fixed(APACHE, Some(CLF_TIME), cx).map(Apache)
    }
}

impl Configure for ApacheError {
    type Config = FixedParams;
    const READ_ELSEWHERE: &'static [&'static str] = SHARED;

    fn new(_: FixedParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        Groups::fixed(APACHE_ERROR, None, cx).map(ApacheError)
    }
}

impl Parser for Nginx {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        self.0.parse(text, arena, record)
    }
}

impl Parser for Apache {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        self.0.parse(text, arena, record)
    }
}

impl Parser for ApacheError {
    fn parse<'a>(
        &'a self,
        text: &'a [u8],
        arena: &'a Arena,
        record: &mut Record<'a>,
    ) -> Result<Option<EventTime>, ParseError> {
        self.0.parse(text, arena, record)
    }
}
