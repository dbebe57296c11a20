//! Reading event times by configuration: `time_type`, `time_format`, `timezone` and the like. Fluentd's `TimeParser`s.

use super::any;
use super::strptime::{Format, fraction};
use super::zone::Zone;
use crate::event::{EventTime, Value};

/// Parameters of reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeParseConfig {
    /// `string`, `unixtime`, `float` or `mixed`.
    pub time_type: Option<String>,
    /// A `strptime` format, or `%iso8601`.
    pub time_format: Option<String>,
    /// For `mixed`: what is tried after `time_format`.
    pub time_format_fallbacks: Vec<String>,
    /// Times without a zone are local.
    pub localtime: Option<bool>,
    /// Times without a zone are UTC.
    pub utc: Option<bool>,
    /// Times without a zone are in this one.
    pub timezone: Option<String>,
}

/// Why a value is no time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeError(String);

impl std::fmt::Display for TimeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid time format: value = {}", self.0)
    }
}

impl std::error::Error for TimeError {}

/// Reads times.
#[derive(Clone, Debug)]
pub struct TimeParser(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Format(Format, Zone),
    Iso8601(Zone),
    Any(Zone),
    Unixtime,
    Float,
    Mixed(Vec<TimeParser>),
}

impl TimeParseConfig {
    /// The zone of times that name none.
    ///
    /// Errors: two contradicting parameters, an unknown zone.
    pub(super) fn zone(&self) -> Result<Zone, String> {
        if self.localtime == Some(true) && self.utc == Some(true) {
            return Err("both of utc and localtime are specified, use only one of them".into());
        }
        match &self.timezone {
            Some(name) => Zone::parse(name),
            None if self.utc == Some(true) || self.localtime == Some(false) => Ok(Zone::utc()),
            None => Ok(Zone::local()),
        }
    }

    fn is_local(&self) -> bool {
        self.timezone.is_none() && self.utc != Some(true) && self.localtime != Some(false)
    }
}

impl TimeParser {
    /// Builds a parser.
    ///
    /// Errors: parameters that contradict each other or are not known.
    pub fn build(config: &TimeParseConfig) -> Result<TimeParser, String> {
        let zone = config.zone()?;
        match config.time_type.as_deref().unwrap_or("string") {
            "string" => text(config.time_format.as_deref(), &zone, config.is_local()),
            "unixtime" => Ok(TimeParser(Kind::Unixtime)),
            "float" => Ok(TimeParser(Kind::Float)),
            "mixed" => mixed(config, &zone),
            other => Err(format!("time_type {other:?} is none of string, unixtime, float, mixed")),
        }
    }

    /// Reads a field's value. `now` is asked for the parts of a date that the value does not have, and else left alone: the
    /// clock costs more than reading most texts.
    pub fn parse_value(&self, value: Value<'_>, now: impl Fn() -> EventTime + Copy) -> Result<EventTime, TimeError> {
        let found = match (&self.0, value) {
            (Kind::Mixed(parsers), _) => parsers.iter().find_map(|p| p.parse_mixed(value, now)),
            (_, Value::Str(text) | Value::Bin(text)) => self.parse(text, now),
            (Kind::Unixtime | Kind::Float, Value::Int(n)) => Some(EventTime::from_secs(n)),
            (Kind::Unixtime, Value::Float(f)) => Some(EventTime::from_secs(f as i64)),
            (Kind::Float, Value::Float(f)) => Some(float(plain_float(f).as_bytes())),
            _ => None,
        };
        found.ok_or_else(|| TimeError(shown(value)))
    }

    /// Reads a text.
    pub fn parse_text(&self, text: &[u8], now: EventTime) -> Result<EventTime, TimeError> {
        self.parse_value(Value::Str(text), || now)
    }

    fn parse_mixed(&self, value: Value<'_>, now: impl Fn() -> EventTime + Copy) -> Option<EventTime> {
        let numeric = matches!(self.0, Kind::Unixtime | Kind::Float);
        match value {
            Value::Str(text) if numeric && !is_number(text) => None,
            _ => self.parse_value(value, now).ok(),
        }
    }

    fn parse(&self, text: &[u8], now: impl Fn() -> EventTime + Copy) -> Option<EventTime> {
        match &self.0 {
            Kind::Format(format, zone) => match format.read_at_once(text) {
                Some(time) => Some(time),
                None => Some(format.read(text)?.resolve(zone, now)),
            },
            Kind::Iso8601(zone) => iso8601(text, zone, now),
            Kind::Any(zone) => Some(any::parse(text)?.resolve(zone, now)),
            Kind::Unixtime => Some(EventTime::from_secs(to_i(text))),
            Kind::Float => Some(float(text)),
            Kind::Mixed(parsers) => parsers.iter().find_map(|p| p.parse_mixed(Value::Str(text), now)),
        }
    }
}

/// Reads a text in any common form; gives the moment and the offset that the text names.
pub fn guess(text: &[u8], now: EventTime) -> Option<(EventTime, Option<i32>)> {
    let parts = any::parse(text)?;
    Some((parts.resolve(&Zone::local(), || now), parts.offset))
}

/// Reads a text by a format; gives the moment and the offset that the text names.
///
/// Errors: a format that is not known.
pub fn by_format(text: &[u8], format: &str, now: EventTime) -> Result<Option<(EventTime, Option<i32>)>, String> {
    let parts = Format::new(format)?.read(text);
    Ok(parts.map(|p| (p.resolve(&Zone::local(), || now), p.offset)))
}

fn text(format: Option<&str>, zone: &Zone, is_local: bool) -> Result<TimeParser, String> {
    match format {
        Some("%iso8601") => Ok(TimeParser(Kind::Iso8601(zone.clone()))),
        Some(format) => Ok(TimeParser(Kind::Format(Format::new(format)?, zone.clone()))),
        None if !is_local => Err("specifying timezone requires time format".into()),
        None => Ok(TimeParser(Kind::Any(zone.clone()))),
    }
}

fn mixed(config: &TimeParseConfig, zone: &Zone) -> Result<TimeParser, String> {
    let formats: Vec<&str> = config.time_format.iter().chain(&config.time_format_fallbacks).map(|f| f.trim()).collect();
    if formats.is_empty() {
        return Err("time_type is :mixed but time_format and time_format_fallbacks is empty.".into());
    }
    let parser = |format: &str| match format {
        // Among others, `unixtime` keeps a fraction too, as in Fluentd.
        "unixtime" | "float" => Ok(TimeParser(Kind::Float)),
        other => text(Some(other), zone, config.is_local()),
    };
    Ok(TimeParser(Kind::Mixed(formats.into_iter().map(parser).collect::<Result<_, String>>()?)))
}

/// `Time.iso8601`: date, `T`, time, optional fraction, zone; nothing around it.
fn iso8601(text: &[u8], zone: &Zone, now: impl Fn() -> EventTime) -> Option<EventTime> {
    let shaped = text.len() >= 19
        && text[4] == b'-'
        && text[7] == b'-'
        && matches!(text[10], b'T' | b't')
        && text[13] == b':'
        && text[16] == b':';
    if !shaped {
        return None;
    }
    Some(any::parse(text)?.resolve(zone, now))
}

/// Fluentd's own reading of floats: whole seconds and the digits behind the first point, exact to the nanosecond.
fn float(text: &[u8]) -> EventTime {
    let point = memchr::memchr(b'.', text).unwrap_or(text.len());
    let digits = text.get(point + 1..).unwrap_or_default();
    let digits = &digits[..digits.iter().take_while(|b| b.is_ascii_digit()).count()];
    EventTime::new(to_i(&text[..point]), fraction(digits))
}

/// Without an exponent, as Ruby prints floats of the size of a time.
fn plain_float(f: f64) -> String {
    format!("{f}")
}

/// Ruby's `to_i`, saturating.
fn to_i(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let negative = text.first() == Some(&b'-');
    let digits = if matches!(text.first(), Some(b'-' | b'+')) { &text[1..] } else { text };
    // Single underscores between digits don't count, as in Ruby.
    let mut last = b'_';
    let digits = digits.iter().take_while(|b| {
        let part = b.is_ascii_digit() || (**b == b'_' && last != b'_');
        last = **b;
        part
    });
    let value =
        digits.filter(|b| **b != b'_').fold(0i64, |n, b| n.saturating_mul(10).saturating_add(i64::from(b - b'0')));
    if negative { -value } else { value }
}

/// Whether Ruby's `Float()` takes the text.
fn is_number(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|t| {
        let t = t.trim();
        t.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') && t.parse::<f64>().is_ok()
    })
}

fn shown(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => format!("{:?}", String::from_utf8_lossy(&text[..text.len().min(100)])),
        Value::Nil => "nil".into(),
        Value::Int(n) => n.to_string(),
        Value::Float(f) => f.to_string(),
        Value::Bool(b) => b.to_string(),
        _ => "a value that is neither text nor number".into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parser(change: impl FnOnce(&mut TimeParseConfig)) -> TimeParser {
        let mut config = TimeParseConfig { time_type: Some("string".into()), utc: Some(true), ..Default::default() };
        change(&mut config);
        TimeParser::build(&config).unwrap()
    }

    fn secs(parser: &TimeParser, text: &str) -> Option<i64> {
        parser.parse_text(text.as_bytes(), EventTime::from_secs(1_717_200_000)).ok().map(EventTime::secs)
    }

    fn any(text: &str) -> Option<i64> {
        any::parse(text.as_bytes()).map(|p| p.resolve(&Zone::utc(), || EventTime::from_secs(1_717_200_000)).secs())
    }

    #[test]
    fn numbers_are_read_as_ruby_reads_them() {
        let unixtime = parser(|c| c.time_type = Some("unixtime".into()));
        assert_eq!(secs(&unixtime, "1_000x"), Some(1000));
        assert_eq!(secs(&unixtime, "1__0"), Some(1));
        let mixed = parser(|c| {
            c.time_type = Some("mixed".into());
            c.time_format_fallbacks = vec!["unixtime".into(), "%iso8601".into()];
        });
        let read = |text: &str| mixed.parse_text(text.as_bytes(), EventTime::from_secs(0));
        assert_eq!(read("1704067200.5"), Ok(EventTime::new(1_704_067_200, 500_000_000)));
        assert!(read("2024-01-01 00:00:00").is_err(), "iso8601 has a T");
        assert_eq!(read("2024-01-01T00:00:00Z"), Ok(EventTime::from_secs(1_704_067_200)));
    }

    #[test]
    fn formats_of_common_logs_are_read() {
        for (format, text, want) in [
            ("%d/%b/%Y:%H:%M:%S %z", "28/Feb/2024:12:00:00 +0900", 1_709_089_200),
            ("%Y-%m-%dT%H:%M:%S%z", "2024-02-03T04:05:06+0000", 1_706_933_106),
            ("%Y-%m-%dT%H:%M:%S%z", "2024-02-03T04:05:06Z", 1_706_933_106),
            ("%Y-%m-%d %H:%M:%S", "2024-02-03 04:05:06 and more", 1_706_933_106),
            ("%b %d %H:%M:%S", "Feb  3 04:05:06", 1_706_933_106),
            ("%s", "1706933106", 1_706_933_106),
            ("%Y/%m/%d", "2024/01/05", 1_704_412_800),
            ("%I:%M %p %F", "04:05 PM 2024-02-03", 1_706_976_300),
        ] {
            let p = parser(|c| c.time_format = Some(format.into()));
            assert_eq!(secs(&p, text), Some(want), "{format}");
        }
    }

    #[test]
    fn texts_that_do_not_fit_the_format_are_refused() {
        let p = parser(|c| c.time_format = Some("%Y-%m-%d %H:%M:%S".into()));
        for text in ["", "garbage", "2024-13-01 00:00:00", "2024-01-01 24:00:00", "2024-01-01"] {
            assert_eq!(secs(&p, text), None, "{text}");
        }
        assert!(TimeParser::build(&TimeParseConfig { time_format: Some("%!".into()), ..Default::default() }).is_err());
    }

    #[test]
    fn times_without_a_format_are_read_as_ruby_reads_them() {
        let want = 1_706_933_106;
        for text in [
            "2024-02-03 04:05:06",
            "2024-02-03T04:05:06.789Z",
            "Sat, 03 Feb 2024 04:05:06 GMT",
            "20240203T040506Z",
            "03/Feb/2024:04:05:06 +0000",
            "Sat Feb  3 04:05:06 2024",
            "Feb 3 2024 04:05:06",
            "2024/02/03 4:05:06 AM",
        ] {
            assert_eq!(any(text), Some(want), "{text}");
        }
        assert_eq!(any("2024-02-03"), Some(1_706_918_400));
        assert_eq!(any("2024-02-03 04:05:06 +0530"), Some(want - 19_800));
        assert_eq!(any("04:05:06"), Some(1_717_200_000 + 14_706));
        for text in ["garbage", "", "x", "1704067200", "99:99:99"] {
            assert_eq!(any(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_read_by_their_type() {
        let float = parser(|c| c.time_type = Some("float".into()));
        let now = EventTime::now();
        let nanos = |p: &TimeParser, v: Value<'_>| p.parse_value(v, || now).ok().map(EventTime::nanos);
        assert_eq!(nanos(&float, Value::str("1704067201.123456789")), Some(1_704_067_201_123_456_789));
        assert_eq!(nanos(&float, Value::Float(1_704_067_200.5)), Some(1_704_067_200_500_000_000));
        assert_eq!(nanos(&float, Value::str("2024-02-03 04:05:06")), Some(2024 * 1_000_000_000));
        assert_eq!(nanos(&float, Value::str("x")), Some(0));
        assert_eq!(nanos(&float, Value::Nil), None);
        let unix = parser(|c| c.time_type = Some("unixtime".into()));
        assert_eq!(nanos(&unix, Value::str("1704067203.75")), Some(1_704_067_203_000_000_000));
        assert_eq!(nanos(&unix, Value::Float(2.75)), Some(2_000_000_000));
    }

    #[test]
    fn mixed_tries_each_format_in_turn() {
        let p = parser(|c| {
            c.time_type = Some("mixed".into());
            c.time_format = Some("%Y-%m-%d %H:%M:%S %z".into());
            c.time_format_fallbacks = vec!["unixtime".into(), "%Y/%m/%d".into()];
        });
        assert_eq!(secs(&p, "2024-01-02 03:04:05 +0100"), Some(1_704_161_045));
        assert_eq!(secs(&p, "1704067200"), Some(1_704_067_200));
        assert_eq!(secs(&p, "2024/01/05"), Some(1_704_412_800));
        assert_eq!(secs(&p, "zzz"), None);
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(text in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let _ = any::parse(&text).map(|p| p.resolve(&Zone::utc(), || EventTime::from_secs(0)));
            for format in ["%Y-%m-%dT%H:%M:%S.%N%z", "%j %y %C %Q", "%a %b %e %T %Z %Y"] {
                let _ = parser(|c| c.time_format = Some(format.into())).parse_text(&text, EventTime::from_secs(0));
            }
        }
    }
}
