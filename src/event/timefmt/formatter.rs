//! Writing event times by configuration: `time_type`, `time_format`, zones. Fluentd's `TimeFormatter`s.

use super::parser::TimeParseConfig;
use super::strftime::Format;
use super::zone::Zone;
use crate::event::{Arena, EventTime, Value};

/// Parameters of writing; the same as those of reading.
pub type TimeFormatConfig = TimeParseConfig;

/// Writes times.
#[derive(Clone, Debug)]
pub struct TimeFormatter {
    kind: Kind,
    zone: Zone,
}

#[derive(Clone, Debug)]
enum Kind {
    Text(Format),
    Float,
    Secs,
    Millis,
    Micros,
    Nanos,
}

impl TimeFormatter {
    /// Builds a formatter.
    ///
    /// Errors: parameters that contradict each other or are not known.
    pub fn build(config: &TimeFormatConfig) -> Result<TimeFormatter, String> {
        let zone = config.zone()?;
        let kind = match config.time_type.as_deref().unwrap_or("string") {
            "string" => Kind::Text(text(config.time_format.as_deref(), &zone)),
            "float" => Kind::Float,
            "unixtime" => Kind::Secs,
            "unixtime_millis" => Kind::Millis,
            "unixtime_micros" => Kind::Micros,
            "unixtime_nanos" => Kind::Nanos,
            other => {
                return Err(format!(
                    "time_type {other:?} is none of string, float, unixtime, unixtime_millis, unixtime_micros, unixtime_nanos"
                ));
            }
        };
        Ok(TimeFormatter { kind, zone })
    }

    /// By a `strftime` format in a zone.
    pub fn strftime(format: &str, zone: Zone) -> TimeFormatter {
        TimeFormatter { kind: Kind::Text(Format::new(format)), zone }
    }

    /// As lines of the process's log: `2024-01-01 00:00:00 +0000`, local.
    pub fn log() -> TimeFormatter {
        TimeFormatter::strftime("%Y-%m-%d %H:%M:%S %z", Zone::local())
    }

    /// As the stdout formatter: with nanoseconds, local.
    pub fn stdout() -> TimeFormatter {
        TimeFormatter::strftime("%Y-%m-%d %H:%M:%S.%9N %z", Zone::local())
    }

    /// Appends the text of a time.
    pub fn format(&self, time: EventTime, out: &mut Vec<u8>) {
        let number = match &self.kind {
            Kind::Text(format) => return format.write(time, &self.zone, out),
            Kind::Float => return out.extend_from_slice(exact(time).as_bytes()),
            Kind::Secs => time.secs(),
            Kind::Millis => time.nanos() / 1_000_000,
            Kind::Micros => time.nanos() / 1000,
            Kind::Nanos => time.nanos(),
        };
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// The time as a field's value: a number for numeric types.
    pub fn value<'a>(&self, time: EventTime, arena: &'a Arena) -> Value<'a> {
        match &self.kind {
            Kind::Text(format) => {
                let mut text = Vec::new();
                format.write(time, &self.zone, &mut text);
                arena.str(text)
            }
            Kind::Float => Value::Float(float(time)),
            Kind::Secs => Value::Int(time.secs()),
            Kind::Millis => Value::Int(time.nanos() / 1_000_000),
            Kind::Micros => Value::Int(time.nanos() / 1000),
            Kind::Nanos => Value::Int(time.nanos()),
        }
    }
}

/// As text, a float loses nothing.
fn exact(time: EventTime) -> String {
    match time.subsec_nanos() {
        0 => format!("{}.0", time.secs()),
        nanos => format!("{}.{nanos:09}", time.secs()),
    }
}

/// Fluentd cuts to microseconds: a double holds no more of a time.
fn float(time: EventTime) -> f64 {
    let micros = time.nanos().div_euclid(1000);
    micros as f64 / 1_000_000.0
}

/// Without a format it is ISO 8601 with the zone, `Z` for UTC.
fn text(format: Option<&str>, zone: &Zone) -> Format {
    match format {
        Some("%iso8601") | None if zone.is_utc() => Format::new("%Y-%m-%dT%H:%M:%SZ"),
        Some("%iso8601") | None => Format::new("%Y-%m-%dT%H:%M:%S%:z"),
        Some(format) => Format::new(format),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(time_type: &str, format: Option<&str>, zone: Option<&str>) -> String {
        let config = TimeFormatConfig {
            time_type: Some(time_type.into()),
            time_format: format.map(str::to_owned),
            timezone: zone.map(str::to_owned),
            ..Default::default()
        };
        let arena = Arena::new();
        let value = TimeFormatter::build(&config).unwrap().value(EventTime::new(1_704_067_200, 123_456_789), &arena);
        match value {
            Value::Str(text) => String::from_utf8_lossy(text).into_owned(),
            Value::Int(n) => n.to_string(),
            Value::Float(f) => f.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn local_time_is_never_z_and_floats_as_text_are_exact() {
        let text = |config: TimeFormatConfig, time| {
            let mut out = Vec::new();
            TimeFormatter::build(&config).unwrap().format(time, &mut out);
            String::from_utf8(out).unwrap()
        };
        let time = EventTime::new(1_704_067_200, 5);
        let local = text(TimeFormatConfig::default(), time);
        assert!(!local.ends_with('Z'), "{local}");
        let utc = TimeFormatConfig { utc: Some(true), ..Default::default() };
        assert_eq!(text(utc, time), "2024-01-01T00:00:00Z");
        let float = TimeFormatConfig { time_type: Some("float".into()), ..Default::default() };
        assert_eq!(text(float.clone(), time), "1704067200.000000005");
        assert_eq!(text(float, EventTime::from_secs(1)), "1.0");
    }

    #[test]
    fn every_type_has_its_value() {
        assert_eq!(value("float", None, None), "1704067200.123456");
        assert_eq!(value("unixtime", None, None), "1704067200");
        assert_eq!(value("unixtime_millis", None, None), "1704067200123");
        assert_eq!(value("unixtime_nanos", None, None), "1704067200123456789");
        assert_eq!(value("string", None, Some("Asia/Tokyo")), "2024-01-01T09:00:00+09:00");
        assert_eq!(value("string", None, Some("UTC")), "2024-01-01T00:00:00Z");
        assert_eq!(value("string", Some("%d/%b/%Y:%H:%M:%S %z"), Some("+00:00")), "01/Jan/2024:00:00:00 +0000");
    }
}
