//! What may stand in `<system>`: names, types, and what of it has no effect here. What it means is in [`super::settings`].

use std::collections::BTreeMap;

use serde::Deserialize;

use super::de::{Options, from_section};
use super::diagnostic::{Diagnostic, Diagnostics};
use super::section::Section;
use super::types::{Size, TimeSpan};

/// Every parameter of `<system>` with its type, so that a bad value is a fault at its place. Only names and types count
/// here: the settings are read in layers, from text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SystemParams {
    workers: Option<u32>,
    restart_worker_interval: Option<TimeSpan>,
    root_dir: Option<String>,
    log_level: Option<Level>,
    log_path: Option<String>,
    log_format: Option<Form>,
    log_rotate_age: Option<String>,
    log_rotate_size: Option<Size>,
    log_time_format: Option<String>,
    suppress_repeated_stacktrace: Option<bool>,
    ignore_repeated_log_interval: Option<TimeSpan>,
    ignore_same_log_interval: Option<TimeSpan>,
    emit_error_log_interval: Option<TimeSpan>,
    suppress_config_dump: Option<bool>,
    log_event_verbose: Option<bool>,
    without_source: Option<bool>,
    with_source_only: Option<bool>,
    rpc_endpoint: Option<String>,
    enable_get_dump: Option<bool>,
    process_name: Option<String>,
    strict_config_value: Option<bool>,
    enable_msgpack_time_support: Option<bool>,
    disable_shared_socket: Option<bool>,
    enable_input_metrics: Option<bool>,
    enable_size_metrics: Option<bool>,
    enable_jit: Option<bool>,
    file_permission: Option<String>,
    dir_permission: Option<String>,
    config_include_dir: Option<String>,
    umask: Option<String>,
    threads: Option<u32>,
    shutdown_timeout: Option<TimeSpan>,
    log: Option<LogParams>,
    source_only_buffer: Option<SourceOnlyParams>,
    counter_server: Option<Section>,
    counter_client: Option<Section>,
    metrics: Option<MetricsParams>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Text,
    Json,
}

/// `<log>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LogParams {
    path: Option<String>,
    format: Option<Form>,
    time_format: Option<String>,
    rotate_age: Option<String>,
    rotate_size: Option<Size>,
    forced_stacktrace_level: Option<String>,
}

/// `<source_only_buffer>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SourceOnlyParams {
    flush_thread_count: Option<u32>,
    overflow_action: Option<String>,
    path: Option<String>,
    flush_interval: Option<TimeSpan>,
    chunk_limit_size: Option<Size>,
    total_limit_size: Option<Size>,
    compress: Option<String>,
}

/// `<metrics>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MetricsParams {
    labels: Option<BTreeMap<String, String>>,
}

/// Parameters that change nothing here, and why.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("restart_worker_interval", "there is one process; the service manager starts it again (systemd: RestartSec)"),
    ("suppress_repeated_stacktrace", "no stack traces are logged"),
    ("enable_msgpack_time_support", "times inside records are passed on as they came"),
    ("disable_shared_socket", "one process listens, and shares its sockets with nobody"),
    ("enable_jit", "no Ruby runs here"),
];

/// Sections that change nothing here, and why.
const SECTIONS_WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("counter_server", "its counters serve Ruby plugins, of which there are none. monitor_agent shows what is counted"),
    ("counter_client", "its counters serve Ruby plugins, of which there are none. monitor_agent shows what is counted"),
];

/// Looks at the `<system>` sections below `root`.
pub fn check_system(root: &Section, options: Options<'_>) -> Diagnostics {
    let mut found = Diagnostics::new();
    for (at, system) in root.children_named("system").enumerate() {
        if at > 0 {
            let message = "<system> is duplicated. <system> should be only one";
            found.push(Diagnostic::error(message, &system.span));
        }
        found.extend(from_section::<SystemParams>(system, options).faults);
        without_effect(system, &mut found);
    }
    found
}

fn without_effect(system: &Section, found: &mut Diagnostics) {
    let mut warn = |name: &str, why: &str, span| {
        found.push(Diagnostic::warning(format!("{name} in <system> has no effect here: {why}"), span));
    };
    for (name, why) in WITHOUT_EFFECT {
        if let Some(param) = system.get(name) {
            warn(name, why, &param.name_span);
        }
    }
    if system.text("enable_input_metrics") == Some("false") {
        let why = "what inputs take is counted in any case";
        warn("enable_input_metrics", why, system.span_of("enable_input_metrics"));
    }
    for (name, why) in SECTIONS_WITHOUT_EFFECT {
        for section in system.children_named(name) {
            warn(&format!("<{name}>"), why, &section.span);
        }
    }
    for metrics in system.children_named("metrics") {
        let why = "counts are kept in the process. monitor_agent shows them";
        if metrics.plugin_type().is_some_and(|kind| kind != "local") || metrics.has("labels") {
            warn("<metrics>", why, &metrics.span);
        }
    }
    for log in system.children_named("log") {
        if let Some(param) = log.get("forced_stacktrace_level") {
            warn("<log> forced_stacktrace_level", "no stack traces are logged", &param.name_span);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{LoadOptions, Surroundings, load_text};

    fn found(text: &str) -> Vec<String> {
        let options = LoadOptions::new(Surroundings::default());
        let root = load_text("t.conf", text, &options).unwrap().root;
        let line = |d: &Diagnostic| format!("{} {} {}", d.is_error(), d.span.line(), d.message);
        check_system(&root, Options::default()).iter().map(line).collect()
    }

    #[test]
    fn every_parameter_of_fluentd_is_known() {
        let text = "<system>\nworkers 2\nroot_dir /x\nlog_level debug\nsuppress_config_dump\nrpc_endpoint 127.0.0.1:1\n\
            without_source false\nwith_source_only false\nprocess_name p\nstrict_config_value false\nfile_permission 0644\n\
            enable_input_metrics true\nenable_size_metrics true\numask 022\nignore_same_log_interval 1m\n\
            <log>\npath /l\nformat json\ntime_format %s\nrotate_age daily\nrotate_size 10m\n</log>\n\
            <source_only_buffer>\npath /b\nflush_interval 1s\n</source_only_buffer>\n<metrics>\n@type local\n</metrics>\n</system>";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn what_has_no_effect_says_why() {
        let text = "<system>\nenable_jit true\nenable_input_metrics false\ndisable_shared_socket\n<counter_server>\nscope s\n\
            </counter_server>\n<metrics>\n@type cmetrics\n</metrics>\n<log>\nforced_stacktrace_level warn\n</log>\n</system>";
        let found = found(text);
        let place = |name: &str| found.iter().find(|f| f.contains(name)).and_then(|f| f.split(' ').nth(1)).unwrap();
        assert!(found.iter().all(|f| f.starts_with("false ") && f.contains("has no effect here: ")), "{found:?}");
        assert_eq!(found.len(), 6, "{found:?}");
        assert_eq!(
            (place("enable_jit"), place("<counter_server>"), place("forced_stacktrace_level")),
            ("2", "5", "12")
        );
    }

    #[test]
    fn unknown_names_bad_values_and_a_second_section_are_told_of() {
        let found = found(
            "<system>\nlog_levl info\nenable_get_dump maybe\n<log>\nformat xml\n</log>\n</system>\n<system>\n</system>",
        );
        assert!(found.iter().any(|f| f.starts_with("false 2 ") && f.contains("log_levl")), "{found:?}");
        for fault in ["true 3 ", "true 5 ", "true 8 <system> is duplicated"] {
            assert!(found.iter().any(|f| f.starts_with(fault)), "{fault} {found:?}");
        }
    }
}
