//! Plugins of Fluentd that there are not here, with the reason and what to use.

const RUBY: &str =
    "it looks into Ruby's own process, and there is none here; take it out. monitor_agent shows what suiro does";
const WINDOWS: &str = "it is for Windows, where suiro does not run";
const STREAM: &str = "Fluentd's own is older than forward, which speaks the same protocol; use @type forward";

/// Kind, name, reason.
const ABSENT: &[(&str, &str, &str)] = &[
    ("input", "debug_agent", RUBY),
    ("input", "gc_stat", RUBY),
    ("input", "object_space", RUBY),
    ("input", "windows_eventlog", WINDOWS),
    ("input", "windows_eventlog2", WINDOWS),
    ("input", "windows_exporter", WINDOWS),
    (
        "output",
        "bigquery",
        "with version 2 the plugin became two: write bigquery_insert (method insert) or bigquery_load",
    ),
    ("output", "unix", STREAM),
    (
        "filter",
        "geoip",
        "it needs a library and a database that suiro does not bring; look places up where the events go",
    ),
];

/// Why a plugin of Fluentd is absent.
pub(super) fn reason(kind: &str, name: &str) -> Option<&'static str> {
    ABSENT.iter().find(|(k, n, _)| (*k, *n) == (kind, name)).map(|(_, _, why)| *why)
}
