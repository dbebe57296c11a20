//! Time parameters as they stand in a section, for parsers, `<inject>`, `<extract>` and formatters.

use serde::Deserialize;

use crate::event::timefmt::{TimeFormatter, TimeParseConfig, TimeParser};

/// Parameters of times.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TimeParams {
    /// `string`, `unixtime`, `float` or `mixed`; for writing also `unixtime_millis` and the like.
    time_type: Option<String>,
    /// A format, or `%iso8601`.
    time_format: Option<String>,
    /// For `mixed`: what is tried next.
    time_format_fallbacks: Vec<String>,
    /// Local time.
    localtime: Option<bool>,
    /// UTC.
    utc: Option<bool>,
    /// A zone.
    timezone: Option<String>,
}

impl TimeParams {
    /// With what the plugin's class sets where the configuration says nothing.
    pub fn with_defaults(mut self, time_type: Option<&str>, time_format: Option<&str>) -> TimeParams {
        self.time_type = self.time_type.or_else(|| time_type.map(str::to_owned));
        self.time_format = self.time_format.or_else(|| time_format.map(str::to_owned));
        self
    }

    /// The same times in another format.
    pub fn with_format(mut self, format: &str) -> TimeParams {
        self.time_format = Some(format.to_owned());
        self
    }

    /// The same local or UTC choice with another type, format and zone.
    pub fn only(&self, time_type: &str, format: Option<&str>, zone: Option<&str>) -> TimeParams {
        TimeParams {
            time_type: Some(time_type.to_owned()),
            time_format: format.map(str::to_owned),
            time_format_fallbacks: Vec::new(),
            localtime: if format.is_some() { self.localtime } else { None },
            utc: if format.is_some() { self.utc } else { None },
            timezone: zone.map(str::to_owned),
        }
    }

    fn config(&self) -> TimeParseConfig {
        TimeParseConfig {
            time_type: self.time_type.clone(),
            time_format: self.time_format.clone(),
            time_format_fallbacks: self.time_format_fallbacks.clone(),
            localtime: self.localtime,
            utc: self.utc,
            timezone: self.timezone.clone(),
        }
    }

    /// A parser of these times.
    pub fn parser(&self) -> Result<TimeParser, String> {
        TimeParser::build(&self.config())
    }

    /// A formatter of these times.
    pub fn formatter(&self) -> Result<TimeFormatter, String> {
        TimeFormatter::build(&self.config())
    }
}
