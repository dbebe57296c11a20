//! Flat parameters of configurations from before Fluentd 0.14 become the sections that took their place. Source of the
//! names: Fluentd's `compat_parameters` helper.

use super::section::{Param, Section, Value};

/// What a section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginKind {
    /// `<source>`
    Input,
    /// `<filter>`
    Filter,
    /// `<match>`, `<store>`
    Output,
}

/// Old and new names of parameters that moved to `<buffer>`.
const BUFFER: &[(&str, &str)] = &[
    ("buffer_type", "@type"),
    ("buffer_path", "path"),
    ("num_threads", "flush_thread_count"),
    ("flush_interval", "flush_interval"),
    ("try_flush_interval", "flush_thread_interval"),
    ("queued_chunk_flush_interval", "flush_thread_burst_interval"),
    ("disable_retry_limit", "retry_forever"),
    ("retry_limit", "retry_max_times"),
    ("max_retry_wait", "retry_max_interval"),
    ("retry_wait", "retry_wait"),
    ("buffer_chunk_limit", "chunk_limit_size"),
    ("buffer_queue_limit", "queue_limit_length"),
    ("buffer_queue_full_action", "overflow_action"),
    ("flush_at_shutdown", "flush_at_shutdown"),
];
/// Parameters of a parser that stood beside `format`.
const PARSE: &[&str] = &[
    "expression", "types", "time_key", "keep_time_key", "time_format", "timezone", "localtime", "utc", "keys", "delimiter",
    "delimiter_pattern", "label_delimiter", "null_value_pattern", "null_empty_string", "message_key", "with_priority",
    "format_firstline", "json_parser", "message_format", "estimate_current_event",
];
/// Parameters of a formatter that stood beside `format`.
const FORMAT: &[&str] = &[
    "delimiter", "force_quotes", "keys", "fields", "json_parser", "label_delimiter", "output_time", "output_tag",
    "localtime", "timezone", "message_key", "add_newline", "output_type", "time_format", "utc",
];

/// Moves what is flat into sections. A section that is written already stays as it is.
pub fn normalize(mut section: Section, kind: PluginKind) -> Section {
    if matches!(kind, PluginKind::Input | PluginKind::Filter) && section.has("format") {
        parse(&mut section);
    }
    if kind == PluginKind::Output {
        slices(&mut section);
        buffer(&mut section);
        inject(&mut section);
        if section.has("format") && section.plugin_type() != Some("stdout") {
            format(&mut section);
        }
    }
    section
}

fn take(section: &mut Section, name: &str) -> Option<Param> {
    let at = section.params.iter().position(|p| p.name == name)?;
    Some(section.params.remove(at))
}

fn renamed(mut param: Param, name: &str) -> Param {
    param.name = name.to_owned();
    param
}

fn parse(section: &mut Section) {
    if section.child("parse").is_some() {
        return;
    }
    let Some(format) = take(section, "format") else { return };
    let mut parse = Section::new("parse", format.name_span.clone());
    let text = format.value.text().unwrap_or("").to_owned();
    if text.starts_with('/') && text.ends_with('/') && text.len() > 1 {
        parse.set_text("@type", "regexp");
        parse.set(renamed(format, "expression"));
    } else {
        parse.set(renamed(format, "@type"));
    }
    let numbered = |name: &str| name.strip_prefix("format").is_some_and(|n| n.parse::<u32>().is_ok());
    let names: Vec<String> = section.params.iter().map(|p| p.name.clone()).collect();
    for name in names.iter().filter(|n| PARSE.contains(&n.as_str()) || numbered(n)) {
        if let Some(param) = take(section, name) {
            parse.set(param);
        }
    }
    section.children.push(parse);
}

fn format(section: &mut Section) {
    if section.child("format").is_some() {
        return;
    }
    let Some(format) = take(section, "format") else { return };
    let mut inner = Section::new("format", format.name_span.clone());
    inner.set(renamed(format, "@type"));
    for name in FORMAT {
        if let Some(param) = take(section, name) {
            inner.set(param);
        }
    }
    section.children.push(inner);
}

/// `time_slice_format` says how long a slice is; it is the name of the old time key.
fn slices(section: &mut Section) {
    let timed = ["time_slice_format", "time_slice_wait"].iter().any(|n| section.has(n));
    if !timed || section.child("buffer").is_some() {
        return;
    }
    let mut buffer = Section::new("buffer", section.span.clone());
    buffer.args.value = Value::bare("time");
    let form = section.text("time_slice_format").unwrap_or("%Y%m%d").to_owned();
    buffer.set_text("timekey", slice_length(&form));
    if let Some(wait) = take(section, "time_slice_wait") {
        buffer.set(renamed(wait, "timekey_wait"));
    }
    for (old, new) in [("utc", "timekey_use_utc"), ("timezone", "timekey_zone")] {
        if let Some(value) = section.get(old).cloned() {
            buffer.set(renamed(value, new));
        }
    }
    section.children.push(buffer);
}

fn slice_length(form: &str) -> &'static str {
    match form {
        f if f.contains("%S") => "1s",
        f if f.contains("%M") => "1m",
        f if f.contains("%H") => "1h",
        _ => "1d",
    }
}

fn buffer(section: &mut Section) {
    let flat: Vec<(Param, &str)> =
        BUFFER.iter().filter_map(|(old, new)| take(section, old).map(|param| (param, *new))).collect();
    if flat.is_empty() {
        return;
    }
    if section.child("buffer").is_none() {
        section.children.push(Section::new("buffer", section.span.clone()));
    }
    let Some(buffer) = section.children.iter_mut().find(|c| c.name == "buffer") else { return };
    for (param, new) in flat {
        if !buffer.has(new) {
            // A flush interval outside of <buffer> always meant to flush by it.
            if new == "flush_interval" && !buffer.has("flush_mode") {
                buffer.set_text("flush_mode", "interval");
            }
            buffer.set(renamed(param, new));
        }
    }
}

fn inject(section: &mut Section) {
    let wanted = [("include_time_key", "time_key", "time"), ("include_tag_key", "tag_key", "tag")];
    for (switch, key, default) in wanted {
        let on = take(section, switch).is_some_and(|p| matches!(p.value.text(), Some("true" | "yes" | "")));
        if !on || section.child("inject").is_some_and(|i| i.has(key)) {
            continue;
        }
        let value = take(section, key);
        if section.child("inject").is_none() {
            section.children.push(Section::new("inject", section.span.clone()));
        }
        let Some(inject) = section.children.iter_mut().find(|c| c.name == "inject") else { return };
        match value {
            Some(value) => {
                inject.set(value);
            }
            None => inject.set_text(key, default),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    fn section(params: &[(&str, &str)]) -> Section {
        let mut section = Section::new("match", Span::nowhere());
        params.iter().for_each(|(k, v)| section.set_text(k, *v));
        section
    }

    #[test]
    fn a_flat_format_becomes_a_parse_section() {
        let s = normalize(section(&[("format", "/(?<a>.*)/"), ("time_format", "%s"), ("tag", "t")]), PluginKind::Input);
        let parse = s.child("parse").map(|p| (p.text("@type"), p.text("expression"), p.text("time_format")));
        assert_eq!(parse, Some((Some("regexp"), Some("/(?<a>.*)/"), Some("%s"))));
        assert!(s.has("tag") && !s.has("time_format"));
    }

    #[test]
    fn flat_buffer_parameters_become_a_buffer_section() {
        let old = [("buffer_type", "file"), ("buffer_path", "/b"), ("flush_interval", "5s"), ("retry_limit", "3")];
        let s = normalize(section(&old), PluginKind::Output);
        let buffer = s.child("buffer").map(|b| (b.text("@type"), b.text("path"), b.text("flush_mode"), b.text("retry_max_times")));
        assert_eq!(buffer, Some((Some("file"), Some("/b"), Some("interval"), Some("3"))));
    }

    #[test]
    fn slices_and_injection_follow() {
        let s = normalize(section(&[("time_slice_format", "%Y%m%d%H"), ("include_tag_key", "true")]), PluginKind::Output);
        assert_eq!(s.child("buffer").map(|b| (b.arg(), b.text("timekey"))), Some(("time", Some("1h"))));
        assert_eq!(s.child("inject").and_then(|i| i.text("tag_key")), Some("tag"));
    }
}
