//! Times of events: the request's `time` parameter, or the record's own field.

use std::sync::OnceLock;

use serde::Deserialize;

use crate::config::{Diagnostic, Options, Section, from_section};
use crate::event::timefmt::{TimeParseConfig, TimeParser};
use crate::event::{EventTime, Record, Value, msgpack};
use crate::plugin::{BuildContext, TimeParams};

/// Extension type of EventTime.
const EVENT_TIME: i8 = 0;

/// `<parse> @type in_http`
#[derive(Debug, Deserialize)]
#[serde(default)]
struct InHttpParams {
    /// Field that holds the time.
    time_key: Option<String>,
    /// Whether that field stays in the record.
    keep_time_key: bool,
    #[serde(rename = "$same_time")]
    times: TimeParams,
}

impl Default for InHttpParams {
    fn default() -> Self {
        InHttpParams { time_key: Some("time".into()), keep_time_key: false, times: TimeParams::default() }
    }
}

/// How a record's own time is read.
pub(super) struct RecordTime {
    key: Option<String>,
    keep: bool,
    /// Where the configuration has a type or format; else only numbers are times.
    parser: Option<TimeParser>,
}

impl RecordTime {
    pub(super) fn build(parse: Option<&Section>, cx: &mut BuildContext<'_>) -> Result<RecordTime, Diagnostic> {
        let Some(section) = parse else {
            return Ok(RecordTime { key: Some("time".into()), keep: false, parser: None });
        };
        let options = Options { strict_names: false, ..cx.process.strictness() };
        let outcome = from_section::<InHttpParams>(section, options);
        let fault = outcome.faults.into_iter().find(Diagnostic::is_error);
        let Some(params) = outcome.value else {
            return Err(fault.unwrap_or_else(|| Diagnostic::error("<parse> can't be read", &section.span)));
        };
        let formatted = section.has("time_type") || section.has("time_format");
        let parser = formatted.then(|| params.times.parser()).transpose();
        let parser = parser.map_err(|e| Diagnostic::error(e, section.span_of("time_format")))?;
        Ok(RecordTime { key: params.time_key, keep: params.keep_time_key, parser })
    }

    /// The field of the time, where it is taken out of every record.
    pub(super) fn field_apart(&self) -> Option<&[u8]> {
        self.key.as_deref().filter(|_| !self.keep).map(str::as_bytes)
    }

    /// The time in a record, as [`of`](Self::of) reads it. The field is taken out unless it is to be kept.
    pub(super) fn take(&self, record: &mut Record<'_>, now: EventTime) -> Result<Option<EventTime>, String> {
        let Some(key) = self.key.as_deref() else { return Ok(None) };
        let found = if self.keep { record.get(key.as_bytes()) } else { record.remove(key.as_bytes()) };
        self.of(found, now)
    }

    /// The time in a field; `None` where a record has none, or one that is null or false.
    ///
    /// Errors: a value that is no time; the whole request is refused then, as in Fluentd.
    pub(super) fn of(&self, found: Option<Value<'_>>, now: EventTime) -> Result<Option<EventTime>, String> {
        match (found, &self.parser) {
            (None | Some(Value::Nil | Value::Bool(false)), _) => Ok(None),
            (Some(value), Some(parser)) => parser.parse_value(value, || now).map(Some).map_err(|e| e.to_string()),
            (Some(value), None) => exact(value).map(Some),
        }
    }
}

/// Ruby's `Time.at`: numbers only.
fn exact(value: Value<'_>) -> Result<EventTime, String> {
    match value {
        Value::Int(secs) => Ok(EventTime::from_secs(secs)),
        Value::UInt(secs) => Ok(EventTime::from_secs(i64::try_from(secs).unwrap_or(i64::MAX))),
        Value::Float(secs) => Ok(EventTime::from_f64(secs)),
        Value::Ext(EVENT_TIME, data) => {
            let mut encoded = Vec::with_capacity(data.len() + 6);
            msgpack::put_ext(&mut encoded, EVENT_TIME, data);
            msgpack::read_time(&encoded, &mut 0).map_err(|_| "invalid event time".to_owned())
        }
        Value::Str(_) | Value::Bin(_) => Err("can't convert String into an exact number".into()),
        Value::Array(_) => Err("can't convert Array into an exact number".into()),
        Value::Map(_) => Err("can't convert Hash into an exact number".into()),
        Value::Bool(_) | Value::Nil | Value::Ext(..) => Err("can't convert the time into an exact number".into()),
    }
}

/// The time of a `time` parameter: Ruby's `to_f`, of which zero means none.
pub(super) fn of_parameter(text: &[u8]) -> Option<EventTime> {
    static FLOAT: OnceLock<Option<TimeParser>> = OnceLock::new();
    let secs = to_f(text);
    if secs == 0.0 {
        return None;
    }
    let config = || TimeParseConfig { time_type: Some("float".into()), ..TimeParseConfig::default() };
    let parser = FLOAT.get_or_init(|| TimeParser::build(&config()).ok());
    parser.as_ref()?.parse_value(Value::Float(secs), EventTime::default).ok()
}

/// Ruby's `String#to_f`: the longest decimal number at the start, else 0.
fn to_f(text: &[u8]) -> f64 {
    let text = text.trim_ascii_start();
    let count = |from: usize| text.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    let sign = |at: usize| usize::from(matches!(text.get(at), Some(b'-' | b'+')));
    let whole = sign(0) + count(sign(0));
    if whole == sign(0) {
        return 0.0;
    }
    let mut end = whole;
    if text.get(end) == Some(&b'.') && count(end + 1) > 0 {
        end += 1 + count(end + 1);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let digits = end + 1 + sign(end + 1);
        end = if count(digits) > 0 { digits + count(digits) } else { end };
    }
    std::str::from_utf8(&text[..end]).ok().and_then(|t| t.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_at_the_start_counts() {
        let cases: &[(&str, f64)] = &[
            ("1704067200", 1_704_067_200.0),
            (" 1.5x", 1.5),
            ("-3e2", -300.0),
            ("1.", 1.0),
            ("1e", 1.0),
            ("+7", 7.0),
            ("abc", 0.0),
            ("", 0.0),
            (".5", 0.0),
            ("-", 0.0),
        ];
        for (text, value) in cases {
            assert_eq!(to_f(text.as_bytes()), *value, "{text}");
        }
    }

    #[test]
    fn a_parameter_is_a_time_with_a_fraction_and_zero_is_none() {
        assert_eq!(of_parameter(b"1704067200.5"), Some(EventTime::new(1_704_067_200, 500_000_000)));
        assert_eq!(of_parameter(b"1704067200.123456789").map(EventTime::secs), Some(1_704_067_200));
        assert_eq!((of_parameter(b"0"), of_parameter(b"x")), (None, None));
    }
}
