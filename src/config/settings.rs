//! Settings of the process: defaults, then `<system>`, then `SUIRO_*` variables, then flags; the later wins.
//!
//! The `config` crate layers them. Plugin parameters are not settings: they come from their sections alone.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use config::{ConfigError, Environment, Map, Source, Value, ValueKind};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::convert::{size, time};
use super::{Section, permission};

/// Prefix of environment variables: `SUIRO_LOG_LEVEL` sets `log_level`.
pub const ENV_PREFIX: &str = "SUIRO";

/// Settings in force.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `fatal`, `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// Log file; standard error where there is none.
    pub log_path: Option<PathBuf>,
    /// `text` or `json`.
    pub log_format: String,
    /// Form of the time of the log's lines; Fluentd's where there is none.
    pub log_time_format: Option<String>,
    /// Log files that are kept, the present one among them, or how often a new one begins.
    #[serde(deserialize_with = "age")]
    pub log_rotate_age: Option<RotateAge>,
    /// Size in bytes at which the log file is rotated.
    #[serde(deserialize_with = "bytes")]
    pub log_rotate_size: Option<u64>,
    /// A line that is the same as the one before is left out for so long.
    #[serde(deserialize_with = "seconds")]
    pub ignore_repeated_log_interval: Option<Duration>,
    /// A line that was written before is left out for so long.
    #[serde(deserialize_with = "seconds")]
    pub ignore_same_log_interval: Option<Duration>,
    /// Of refused emits only one line is written in so long.
    #[serde(deserialize_with = "seconds")]
    pub emit_error_log_interval: Option<Duration>,
    /// Log events (`fluent.*`) are made during the stop too.
    pub log_event_verbose: bool,
    /// Where buffers and storages without a path of their own live.
    pub root_dir: Option<PathBuf>,
    /// `host:port` of the control API.
    pub rpc_endpoint: Option<String>,
    /// Whether the control API may show the configuration.
    pub enable_get_dump: bool,
    /// The configuration is not printed at the start.
    pub suppress_config_dump: bool,
    /// Loose values are faults.
    pub strict_config_value: bool,
    /// Unknown parameters and loose values are faults.
    pub strict: bool,
    /// Permissions of files that outputs create, in octal.
    pub file_permission: Option<String>,
    /// Permissions of directories that outputs create, in octal.
    pub dir_permission: Option<String>,
    /// Number of workers that the configuration asks for; one process does the work of all.
    pub workers: u32,
    /// Threads; where it is 0 as many as there are cores, at least two.
    pub threads: usize,
    /// Inputs are not started.
    pub without_source: bool,
    /// Only inputs are started; what they take is kept in files until SIGWINCH.
    pub with_source_only: bool,
    /// File mode creation mask, in octal.
    pub umask: Option<String>,
    /// Seconds from the signal to stop until the process ends.
    pub shutdown_timeout: f64,
    /// Directory of more configuration files; `<system> config_include_dir`.
    pub config_include_dir: Option<String>,
    /// Name of the process, for `ps`.
    pub process_name: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            log_level: "info".into(),
            log_path: None,
            log_format: "text".into(),
            log_time_format: None,
            log_rotate_age: None,
            log_rotate_size: None,
            ignore_repeated_log_interval: None,
            ignore_same_log_interval: None,
            emit_error_log_interval: None,
            log_event_verbose: false,
            root_dir: None,
            rpc_endpoint: None,
            enable_get_dump: false,
            suppress_config_dump: false,
            strict_config_value: false,
            strict: false,
            file_permission: None,
            dir_permission: None,
            workers: 1,
            threads: 0,
            without_source: false,
            with_source_only: false,
            umask: None,
            shutdown_timeout: 5.0,
            config_include_dir: None,
            process_name: None,
        }
    }
}

/// `log_rotate_age`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotateAge {
    /// So many files, the present one among them; 0 rotates never.
    Count(u32),
    /// A new file each day; all are kept.
    Daily,
    /// A new file each week.
    Weekly,
    /// A new file each month.
    Monthly,
}

impl std::str::FromStr for RotateAge {
    type Err = String;

    fn from_str(text: &str) -> Result<RotateAge, String> {
        match text {
            "daily" => Ok(RotateAge::Daily),
            "weekly" => Ok(RotateAge::Weekly),
            "monthly" => Ok(RotateAge::Monthly),
            number => number.parse().map(RotateAge::Count).map_err(|_| {
                format!("{text:?} is no age of log files: it is daily, weekly, monthly or a number of files")
            }),
        }
    }
}

fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RotateAge>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|t| t.parse().map_err(D::Error::custom)).transpose()
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let size = size(&text, true).map_err(D::Error::custom)?;
    u64::try_from(size.value).map(Some).map_err(|_| D::Error::custom(format!("{text:?} must not be negative")))
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let time = time(&text, true).map_err(D::Error::custom)?;
    Duration::try_from_secs_f64(time.value)
        .map(Some)
        .map_err(|_| D::Error::custom(format!("{text:?} is no length of time")))
}

/// Reads all layers. `flags` are those that were given on the command line, by setting name.
///
/// Errors: the setting, its layer and what is wrong with it.
pub fn load(system: Option<&Section>, flags: &HashMap<&str, String>) -> Result<Settings, ConfigError> {
    layered(system, Environment::with_prefix(ENV_PREFIX).prefix_separator("_"), flags)
}

fn layered(
    system: Option<&Section>,
    environment: Environment,
    flags: &HashMap<&str, String>,
) -> Result<Settings, ConfigError> {
    let mut builder = config::Config::builder();
    if let Some(section) = system {
        builder = builder.add_source(SystemSection(collect(section)));
    }
    builder = builder.add_source(environment);
    for (name, value) in flags {
        builder = builder.set_override(*name, value.as_str())?;
    }
    let settings: Settings = builder.build()?.try_deserialize()?;
    let octal = [
        ("file_permission", &settings.file_permission),
        ("dir_permission", &settings.dir_permission),
        ("umask", &settings.umask),
    ];
    for (name, text) in octal {
        if let Some(Err(fault)) = text.as_deref().map(permission) {
            return Err(ConfigError::Message(format!("{name}: {fault}")));
        }
    }
    Ok(settings)
}

/// `<system>` as a layer.
#[derive(Clone, Debug)]
struct SystemSection(Map<String, Value>);

impl Source for SystemSection {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

fn collect(section: &Section) -> Map<String, Value> {
    let mut out = Map::new();
    let place = "<system>".to_owned();
    let mut add = |name: &str, text: &str| {
        // Fluentd's empty boolean means true.
        let text = if text.is_empty() { "true" } else { text };
        out.insert(name.to_owned(), Value::new(Some(&place), ValueKind::String(text.to_owned())));
    };
    for param in &section.params {
        add(&param.name, param.value.text().unwrap_or(""));
    }
    for log in section.children_named("log") {
        for param in &log.params {
            add(&format!("log_{}", param.name), param.value.text().unwrap_or(""));
        }
    }
    out
}

impl Settings {
    /// `shutdown_timeout` as a time.
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.shutdown_timeout).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Span;

    fn system(params: &[(&str, &str)]) -> Section {
        let mut section = Section::new("system", Span::nowhere());
        params.iter().for_each(|(k, v)| section.set_text(k, *v));
        section
    }

    fn variables(pairs: &[(&str, &str)]) -> Environment {
        let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Environment::with_prefix(ENV_PREFIX).prefix_separator("_").source(Some(map))
    }

    #[test]
    fn later_layers_win() {
        let section = system(&[("log_level", "debug"), ("workers", "2"), ("suppress_config_dump", "")]);
        let env = variables(&[("SUIRO_LOG_LEVEL", "warn")]);
        let none = HashMap::new();
        let got = layered(Some(&section), env.clone(), &none).unwrap();
        assert_eq!((got.log_level.as_str(), got.workers, got.suppress_config_dump), ("warn", 2, true));
        let flags = HashMap::from([("log_level", "error".to_owned())]);
        assert_eq!(layered(Some(&section), env, &flags).unwrap().log_level, "error");
        assert_eq!(layered(None, variables(&[]), &none).unwrap().log_level, "info");
    }

    #[test]
    fn a_permission_that_is_not_octal_names_its_setting() {
        let section = system(&[("file_permission", "rw-r--r--")]);
        let error = layered(Some(&section), variables(&[]), &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("file_permission") && error.contains("octal"), "{error}");
        let section = system(&[("dir_permission", "0750")]);
        assert!(layered(Some(&section), variables(&[]), &HashMap::new()).is_ok());
    }

    #[test]
    fn times_sizes_and_ages_are_written_as_in_fluentd() {
        let section = system(&[
            ("ignore_same_log_interval", "1m"),
            ("log_rotate_size", "10m"),
            ("log_rotate_age", "weekly"),
            ("emit_error_log_interval", "30"),
        ]);
        let got = layered(Some(&section), variables(&[]), &HashMap::new()).unwrap();
        assert_eq!(got.ignore_same_log_interval, Some(Duration::from_secs(60)));
        assert_eq!(got.emit_error_log_interval, Some(Duration::from_secs(30)));
        assert_eq!((got.log_rotate_size, got.log_rotate_age), (Some(10 << 20), Some(RotateAge::Weekly)));
        let section = system(&[("log_rotate_age", "hourly")]);
        let error = layered(Some(&section), variables(&[]), &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("daily, weekly, monthly"), "{error}");
    }

    #[test]
    fn a_bad_value_names_its_setting() {
        let section = system(&[("workers", "many")]);
        let error = layered(Some(&section), variables(&[]), &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("workers") && error.contains("<system>"), "{error}");
    }
}
