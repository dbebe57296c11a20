//! Flags: first read as they are; what they mean is decided in the subcommands.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use super::backfill::BackfillArgs;
use super::buffer::BufferCommand;
use super::daemonize::Stage;
use super::dlq::DlqCommand;
use super::fluentd::FluentdFlags;
use super::jobs::JobsCommand;
use super::report::ReportArgs;
use super::sql::SqlArgs;

/// Where the configuration is looked for: Fluentd's place.
pub const DEFAULT_CONFIG: &str = "/etc/fluent/fluent.conf";

/// Where a first configuration is written.
const DEFAULT_SETUP: &str = "/etc/fluent";
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
    #[arg(short, long, global = true, env = "FLUENT_CONF", default_value = DEFAULT_CONFIG, value_name = "PATH")]
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
    /// Log files that are kept, or daily, weekly or monthly.
    #[arg(long, value_name = "AGE")]
    pub log_rotate_age: Option<String>,
    /// Size in bytes at which the log file is rotated.
    #[arg(long, value_name = "BYTES")]
    pub log_rotate_size: Option<String>,
    /// More log lines: -v debug, -vv trace.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Fewer log lines: -q warn, -qq error.
    #[arg(short, long, action = ArgAction::Count)]
    pub quiet: u8,
    /// Do not print the configuration at the start.
    #[arg(long)]
    pub suppress_config_dump: bool,
    /// Unknown parameters and loose values are faults.
    #[arg(long)]
    pub strict: bool,
    /// Loose values are faults, as 1x for a number.
    #[arg(long)]
    pub strict_config_value: bool,
    /// Start without inputs, to empty buffers.
    #[arg(long)]
    pub without_source: bool,
    /// Start only inputs: what they take is kept in files until SIGWINCH.
    #[arg(long, conflicts_with = "without_source")]
    pub with_source_only: bool,
    /// Go to the background and write the process's number to a file.
    #[arg(short = 'd', long, value_name = "PIDFILE")]
    pub daemon: Option<PathBuf>,
    /// Which start of a process in the background this is.
    #[arg(long, hide = true, value_enum)]
    pub daemon_stage: Option<Stage>,
    /// Go on as this user.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Go on as this group.
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Write a first configuration to a directory, then end.
    #[arg(short = 's', long, value_name = "DIR", num_args = 0..=1, default_missing_value = DEFAULT_SETUP)]
    pub setup: Option<PathBuf>,
    /// Log events (fluent.*) are made during the stop too.
    #[arg(long)]
    pub log_event_verbose: bool,
    /// Least time between two lines about refused emits.
    #[arg(long, value_name = "SECONDS")]
    pub emit_error_log_interval: Option<String>,
    /// The configuration is in Fluentd's language before version 1.
    #[arg(long)]
    pub use_v0_config: bool,
    /// Number of workers; one process does the work of all.
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// File mode creation mask, in octal.
    #[arg(long, value_name = "OCTAL")]
    pub umask: Option<String>,
    /// Flags that mean little here.
    #[command(flatten)]
    pub fluentd: FluentdFlags,
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
    /// Look into a buffer on the disk, repair it, take chunks out or send them once more.
    Buffer {
        #[command(subcommand)]
        command: BufferCommand,
    },
    /// Dead letters: what was set aside, and why.
    Dlq {
        #[command(subcommand)]
        command: DlqCommand,
    },
    /// Jobs that loaders have given their targets: what became of them, and loading anew.
    Jobs {
        #[command(subcommand)]
        command: JobsCommand,
    },
    /// The ledger: what came in, went out, was dropped and is buffered; status 1 when events are missing.
    Report(ReportArgs),
    /// Query the tables of a warehouse.
    Sql(SqlArgs),
    /// Read objects of a range of time once more and send their events through the configuration.
    Backfill(BackfillArgs),
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
            ("log_rotate_age", self.log_rotate_age.clone()),
            ("log_rotate_size", self.log_rotate_size.clone()),
            ("workers", self.workers.map(|n| n.to_string())),
            ("suppress_config_dump", self.suppress_config_dump.then(|| "true".to_owned())),
            ("strict", self.strict.then(|| "true".to_owned())),
            ("strict_config_value", self.strict_config_value.then(|| "true".to_owned())),
            ("without_source", self.without_source.then(|| "true".to_owned())),
            ("with_source_only", self.with_source_only.then(|| "true".to_owned())),
            ("log_event_verbose", self.log_event_verbose.then(|| "true".to_owned())),
            ("emit_error_log_interval", self.emit_error_log_interval.clone()),
            ("umask", self.umask.clone()),
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
    fn every_flag_of_fluentd_is_understood() {
        let all = "-c x.conf --dry-run -p a -p b -I lib --no-supervisor --workers 2 --user u --group g --umask 022 -o log \
                   --log-rotate-age weekly --log-rotate-size 10 --log-event-verbose -i text --emit-error-log-interval 5 \
                   --suppress-repeated-stacktrace --with-source-only --config-file-type yaml --use-v1-config \
                   --strict-config-value --enable-input-metrics --disable-input-metrics --enable-size-metrics -v -q \
                   --suppress-config-dump -g Gemfile -G gems --conf-encoding utf-8 --disable-shared-socket -d pid";
        let flags = Flags::try_parse_from(["suiro"].into_iter().chain(all.split_whitespace())).unwrap();
        assert!(flags.fluentd.refused().is_none());
        let warned = flags.fluentd.warnings().join("\n");
        for flag in [
            "-p a",
            "-p b",
            "-I lib",
            "-g",
            "-G",
            "--suppress-repeated-stacktrace",
            "--disable-input-metrics",
            "--disable-shared-socket",
        ] {
            assert!(warned.contains(flag), "{flag}: {warned}");
        }
        let settings = flags.settings();
        assert_eq!(
            (settings["log_rotate_age"].as_str(), settings["emit_error_log_interval"].as_str()),
            ("weekly", "5")
        );
        assert_eq!((settings["with_source_only"].as_str(), settings["umask"].as_str()), ("true", "022"));
        for refused in ["-r x", "--under-supervisor", "--show-plugin-config=input:dummy", "--reg-winsvc i", "-x name"] {
            let flags = Flags::try_parse_from(["suiro"].into_iter().chain(refused.split_whitespace())).unwrap();
            assert!(flags.fluentd.refused().is_some(), "{refused}");
        }
    }

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
