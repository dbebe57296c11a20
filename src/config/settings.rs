//! Settings of the process: defaults, then `<system>`, then `SUIRO_*` variables, then flags; the later wins.
//!
//! The `config` crate layers them. Plugin parameters are not settings: they come from their sections alone.

use std::collections::HashMap;
use std::path::PathBuf;

use config::{ConfigError, Environment, Map, Source, Value, ValueKind};
use serde::Deserialize;

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
    /// Log files that are kept; a number.
    pub log_rotate_age: Option<u32>,
    /// Size in bytes at which the log file is rotated.
    pub log_rotate_size: Option<u64>,
    /// Where buffers and storages without a path of their own live.
    pub root_dir: Option<PathBuf>,
    /// `host:port` of the control API.
    pub rpc_endpoint: Option<String>,
    /// Whether the control API may show the configuration.
    pub enable_get_dump: bool,
    /// The configuration is not printed at the start.
    pub suppress_config_dump: bool,
    /// Unknown parameters and loose values are faults.
    pub strict_config_value: bool,
    /// Permissions of files that outputs create, in octal.
    pub file_permission: Option<String>,
    /// Permissions of directories that outputs create, in octal.
    pub dir_permission: Option<String>,
    /// Number of workers that the configuration asks for; one process does the work of all.
    pub workers: u32,
    /// Threads; as many as there are cores where it is 0.
    pub threads: usize,
    /// Inputs are not started.
    pub without_source: bool,
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
            log_rotate_age: None,
            log_rotate_size: None,
            root_dir: None,
            rpc_endpoint: None,
            enable_get_dump: false,
            suppress_config_dump: false,
            strict_config_value: false,
            file_permission: None,
            dir_permission: None,
            workers: 1,
            threads: 0,
            without_source: false,
            shutdown_timeout: 5.0,
            config_include_dir: None,
            process_name: None,
        }
    }
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
    for (name, text) in [("file_permission", &settings.file_permission), ("dir_permission", &settings.dir_permission)] {
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
    pub fn shutdown_timeout(&self) -> std::time::Duration {
        std::time::Duration::try_from_secs_f64(self.shutdown_timeout).unwrap_or_default()
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
    fn a_bad_value_names_its_setting() {
        let section = system(&[("workers", "many")]);
        let error = layered(Some(&section), variables(&[]), &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("workers") && error.contains("<system>"), "{error}");
    }
}
