//! What all parsers share: the time field, types, values that mean nil. Fluentd's `Parser` base class.

use serde::Deserialize;

use super::convert::Converter;
use crate::config::{Diagnostic, Pairs, Regexp};
use crate::event::timefmt::TimeParser;
use crate::event::{Arena, EventTime, Record, Value};
use crate::plugin::{BuildContext, ParseError, TimeParams};

/// Names that [`Common::build`] reads; a parser lists them as read elsewhere.
pub const SHARED: &[&str] = &[
    "types",
    "time_key",
    "null_value_pattern",
    "null_empty_string",
    "estimate_current_event",
    "keep_time_key",
    "timeout",
    "time_type",
    "time_format",
    "time_format_fallbacks",
    "localtime",
    "utc",
    "timezone",
];

/// Parameters that every parser has. `estimate_current_event` is read by who uses the parser.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CommonParams {
    /// `field:type[:option]`, several.
    types: Option<Pairs>,
    /// Field that holds the time.
    time_key: Option<String>,
    /// Text values that it finds a match in become nil.
    null_value_pattern: Option<Regexp>,
    /// The empty text becomes nil.
    null_empty_string: bool,
    /// The time field stays.
    keep_time_key: bool,
}

/// What happens to a record after its fields were found.
pub struct Common {
    time_key: Option<String>,
    keep_time_key: bool,
    null_value: Option<Regexp>,
    null_empty: bool,
    types: Vec<(String, Converter)>,
    time: TimeParser,
}

/// What a parser's class sets before the configuration is read.
#[derive(Clone, Copy, Default)]
pub struct Defaults {
    /// `time_key`
    pub time_key: Option<&'static str>,
    /// `time_type`
    pub time_type: Option<&'static str>,
    /// `time_format`
    pub time_format: Option<&'static str>,
}

impl Common {
    /// Reads the shared parameters of the parser that is built.
    pub fn build(cx: &mut BuildContext<'_>, defaults: Defaults) -> Result<Common, Diagnostic> {
        let params: CommonParams = cx.shared()?;
        let why = "expressions take linear time, or are given up after a bounded number of steps; take it out";
        cx.without_effect("timeout", why);
        let time: TimeParams = cx.shared()?;
        let time = time.with_defaults(defaults.time_type, defaults.time_format);
        let zone_of = time.clone();
        let types = params.types.iter().flat_map(Pairs::iter);
        let types = types.map(|p| Ok((p.name.clone(), Converter::parse(&p.name, p.text(), &zone_of)?)));
        let types: Result<Vec<_>, String> = types.collect();
        Ok(Common {
            time_key: params.time_key.or_else(|| defaults.time_key.map(str::to_owned)),
            keep_time_key: params.keep_time_key,
            null_value: params.null_value_pattern,
            null_empty: params.null_empty_string,
            types: types.map_err(|e| cx.fault("types", e))?,
            time: time.parser().map_err(|e| cx.fault("time_format", e))?,
        })
    }

    /// Takes the time out of the record and converts the other fields.
    ///
    /// Errors: a time that can't be read; the event is lost to the parser then, as in Fluentd.
    pub fn finish<'a>(&self, record: &mut Record<'a>, arena: &'a Arena) -> Result<Option<EventTime>, ParseError> {
        let time = match &self.time_key {
            Some(key) => self.take_time(key, record)?,
            None => None,
        };
        if self.null_empty || self.null_value.is_some() || !self.types.is_empty() {
            self.convert(record, arena);
        }
        Ok(time)
    }

    fn take_time(&self, key: &str, record: &mut Record<'_>) -> Result<Option<EventTime>, ParseError> {
        let key = key.as_bytes();
        let value = if self.keep_time_key { record.get(key) } else { record.remove(key) };
        match value {
            Some(value) => self.time(value).map(Some),
            None => Ok(None),
        }
    }

    /// Reads a time with the parser's own format.
    pub fn time(&self, value: Value<'_>) -> Result<EventTime, ParseError> {
        self.time.parse_value(value, EventTime::now).map_err(ParseError::invalid)
    }

    /// The field that is taken out as the time, where nothing else happens to a record.
    pub fn only_time_key(&self) -> Option<&str> {
        let converts = self.null_empty || self.null_value.is_some() || !self.types.is_empty();
        self.time_key.as_deref().filter(|_| !self.keep_time_key && !converts)
    }

    /// The same for a parser whose class keeps the time field where the configuration says nothing.
    pub fn keeping_time(mut self, cx: &BuildContext<'_>) -> Common {
        self.keep_time_key |= !cx.section.has("keep_time_key");
        self
    }

    /// Whether the time field stays in the record.
    pub fn keeps_time(&self) -> bool {
        self.keep_time_key
    }

    fn convert<'a>(&self, record: &mut Record<'a>, arena: &'a Arena) {
        for (name, value) in record.iter_mut() {
            // Ruby's nil and false are left as they are.
            if matches!(value, Value::Nil | Value::Bool(false)) {
                continue;
            }
            if matches!(value, Value::Str(text) if self.means_nil(text)) {
                *value = Value::Nil;
            } else if let Some((_, converter)) = self.types.iter().find(|(field, _)| field.as_bytes() == *name) {
                *value = converter.convert(*value, arena);
            }
        }
    }

    fn means_nil(&self, text: &[u8]) -> bool {
        (self.null_empty && text.is_empty()) || self.null_value.as_ref().is_some_and(|r| r.is_match(text))
    }
}
