//! Flags: first read as they are; what they mean is decided in the subcommands.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

/// Where the configuration is looked for: Fluentd's place.
pub const DEFAULT_CONFIG: &str = "/etc/fluent/fluent.conf";

/// What stands below the flags.
const FIRST_STEPS: &str = "\
First steps:
  suiro check fluent.conf       what suiro makes of a configuration
  suiro -c fluent.conf          run it; ctrl-c stops in order, SIGHUP reads the configuration again";

/// A log collector that never loses what it accepted. Runs in the foreground with an existing fluent.conf.
#[derive(Debug, Parser)]
#[command(name = "suiro", version, args_conflicts_with_subcommands = false, after_help = FIRST_STEPS)]
pub struct Flags {
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Configuration file.
    #[arg(short, long, env = "FLUENT_CONF", default_value = DEFAULT_CONFIG, value_name = "PATH")]
    pub config: PathBuf,
    /// Check the configuration, then end.
    #[arg(long)]
    pub dry_run: bool,
    /// More configuration text, added behind the file's.
    #[arg(short, long, value_name = "TEXT")]
    pub inline_config: Option<String>,
    /// Form of the configuration file: fluentd (v1), yaml, toml, or guess from its name.
    #[arg(long, default_value = "guess", value_name = "FORM")]
    pub config_file_type: String,
    /// Character set of the configuration file.
    #[arg(long, default_value = "utf-8", value_name = "NAME")]
    pub conf_encoding: String,
    /// Log file; standard error where there is none.
    #[arg(short = 'o', long, value_name = "PATH")]
    pub log: Option<PathBuf>,
    /// Log files that are kept.
    #[arg(long, value_name = "COUNT")]
    pub log_rotate_age: Option<u32>,
    /// Size in bytes at which the log file is rotated.
    #[arg(long, value_name = "BYTES")]
    pub log_rotate_size: Option<u64>,
    /// More log lines: -v debug, -vv trace.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Fewer log lines: -q warn, -qq error.
    #[arg(short, long, action = ArgAction::Count)]
    pub quiet: u8,
    /// Do not print the configuration at the start.
    #[arg(long)]
    pub suppress_config_dump: bool,
    /// Unknown parameters are faults.
    #[arg(long, alias = "strict-config-value")]
    pub strict: bool,
    /// Start without inputs, to empty buffers.
    #[arg(long)]
    pub without_source: bool,
    /// Number of workers; one process does the work of all.
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// File mode creation mask, in octal.
    #[arg(long, value_name = "OCTAL")]
    pub umask: Option<String>,
    /// Fluentd's flag; there is no supervisor here to leave out.
    #[arg(long, hide = true)]
    pub no_supervisor: bool,
    /// Fluentd's flag for Ruby plugins.
    #[arg(short = 'p', long, hide = true)]
    pub plugin: Vec<PathBuf>,
    /// Fluentd's flag for Ruby libraries.
    #[arg(short = 'r', hide = true)]
    pub require: Vec<String>,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print every fault of a configuration at once; status 1 when there is one.
    Check {
        /// Configuration file; that of -c where none is given.
        file: Option<PathBuf>,
        /// Unknown parameters are faults.
        #[arg(long)]
        strict: bool,
    },
    /// List the plugins.
    Plugins,
}

impl Flags {
    /// The flags that are settings, by the setting's name.
    pub fn settings(&self) -> HashMap<&'static str, String> {
        let mut out = HashMap::new();
        if let Some(level) = self.level() {
            out.insert("log_level", level.to_owned());
        }
        let texts = [
            ("log_path", self.log.as_ref().map(|p| p.display().to_string())),
            ("log_rotate_age", self.log_rotate_age.map(|n| n.to_string())),
            ("log_rotate_size", self.log_rotate_size.map(|n| n.to_string())),
            ("workers", self.workers.map(|n| n.to_string())),
            ("suppress_config_dump", self.suppress_config_dump.then(|| "true".to_owned())),
            ("strict_config_value", self.strict.then(|| "true".to_owned())),
            ("without_source", self.without_source.then(|| "true".to_owned())),
        ];
        out.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text?))));
        out
    }

    fn level(&self) -> Option<&'static str> {
        match (self.verbose, self.quiet) {
            (0, 0) => None,
            (0, 1) => Some("warn"),
            (0, _) => Some("error"),
            (1, _) => Some("debug"),
            _ => Some("trace"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn flags_are_whole_and_become_settings() {
        use clap::CommandFactory;
        Flags::command().debug_assert();
        let flags = Flags::parse_from(["suiro", "-c", "x.conf", "-vv", "-o", "log", "--workers", "3"]);
        assert_eq!(flags.config, PathBuf::from("x.conf"));
        let settings = flags.settings();
        assert_eq!(settings["log_level"], "trace");
        assert_eq!(settings["log_path"], "log");
        assert_eq!(settings["workers"], "3");
        assert!(!settings.contains_key("suppress_config_dump"));
    }
}
