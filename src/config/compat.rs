//! Old flat parameters as sections: `format json` as `<parse>` or `<format>`, `buffer_type file` as `<buffer>`, ...
//!
//! Fluentd's plugins up to v0.12 had no sub-sections, and such configurations still run. The tables and rules are those of
//! Fluentd's `plugin_helper/compat_parameters.rb`: a section is only made if none of its kind is written and a flat parameter
//! of the table is; the flat ones stay, since a plugin may read one itself.

use super::convert;
use super::diagnostic::Diagnostics;
use super::json::Json;
use super::section::{Param, Section, Value, ValueKind};

/// A sub-section that flat parameters may stand for. A plugin says which of them it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `<buffer>`, with the chunk key of a plugin that had one before there were chunk keys: ``, `tag` or `time`.
    Buffer(&'static str),
    /// `<inject>`.
    Inject,
    /// `<extract>`.
    Extract,
    /// `<parse>`.
    Parse,
    /// `<format>`.
    Format,
}

/// Flat name and name in the section; `None` where a rule below makes something else of it.
type Names = &'static [(&'static str, Option<&'static str>)];

const BUFFER: Names = &[
    ("buffer_type", Some("@type")),
    ("buffer_path", Some("path")),
    ("num_threads", Some("flush_thread_count")),
    ("flush_interval", Some("flush_interval")),
    ("try_flush_interval", Some("flush_thread_interval")),
    ("queued_chunk_flush_interval", Some("flush_thread_burst_interval")),
    ("disable_retry_limit", Some("retry_forever")),
    ("retry_limit", Some("retry_max_times")),
    ("retry_wait", Some("retry_wait")),
    ("max_retry_wait", Some("retry_max_interval")),
    ("buffer_chunk_limit", Some("chunk_limit_size")),
    ("buffer_queue_limit", Some("queue_limit_length")),
    ("buffer_queue_full_action", Some("overflow_action")),
    ("flush_at_shutdown", Some("flush_at_shutdown")),
    ("time_slice_format", None),
    ("time_slice_wait", Some("timekey_wait")),
    ("timezone", Some("timekey_zone")),
];

const PARSE: Names = &[
    ("format", None),
    ("types", None),
    ("types_delimiter", None),
    ("types_label_delimiter", None),
    ("keys", Some("keys")),
    ("time_key", Some("time_key")),
    ("time_format", Some("time_format")),
    ("localtime", None),
    ("utc", None),
    ("delimiter", Some("delimiter")),
    ("keep_time_key", Some("keep_time_key")),
    ("null_empty_string", Some("null_empty_string")),
    ("null_value_pattern", Some("null_value_pattern")),
    ("json_parser", Some("json_parser")),
    ("label_delimiter", Some("label_delimiter")),
    ("format_firstline", Some("format_firstline")),
    ("message_key", Some("message_key")),
    ("with_priority", Some("with_priority")),
    ("message_format", Some("message_format")),
    ("rfc5424_time_format", Some("rfc5424_time_format")),
];

const INJECT: Names = &[
    ("include_time_key", None),
    ("time_key", Some("time_key")),
    ("time_format", Some("time_format")),
    ("timezone", Some("timezone")),
    ("include_tag_key", None),
    ("tag_key", Some("tag_key")),
    ("localtime", None),
    ("utc", None),
];

const EXTRACT: Names = &[
    ("time_key", Some("time_key")),
    ("time_format", Some("time_format")),
    ("timezone", Some("timezone")),
    ("tag_key", Some("tag_key")),
    ("localtime", None),
    ("utc", None),
];

const FORMAT: Names = &[
    ("format", Some("@type")),
    ("delimiter", Some("delimiter")),
    ("force_quotes", Some("force_quotes")),
    ("keys", Some("keys")),
    ("fields", Some("fields")),
    ("json_parser", Some("json_parser")),
    ("label_delimiter", Some("label_delimiter")),
    ("output_time", Some("output_time")),
    ("output_tag", Some("output_tag")),
    ("localtime", Some("localtime")),
    ("utc", Some("utc")),
    ("timezone", Some("timezone")),
    ("message_key", Some("message_key")),
    ("add_newline", Some("add_newline")),
    ("output_type", Some("output_type")),
];

/// How many `formatN` lines the multiline parser has.
const MULTILINE_FORMATS: &[&str] = &[
    "format1", "format2", "format3", "format4", "format5", "format6", "format7", "format8", "format9", "format10",
    "format11", "format12", "format13", "format14", "format15", "format16", "format17", "format18", "format19",
    "format20",
];

/// Adds the sections that the flat parameters of `section` stand for. Gives the names of those parameters: they are used,
/// whether or not the plugin reads them too.
pub fn normalize(section: &mut Section, parts: &[Part], faults: &mut Diagnostics) -> Vec<&'static str> {
    let mut used = Vec::new();
    let mut made = Vec::new();
    for part in parts {
        let (name, names) = part.table();
        let written = section.child(name).is_some();
        let found = names.iter().map(|(flat, _)| *flat).filter(|flat| section.has(flat));
        let mut found: Vec<_> = found.collect();
        if *part == Part::Extract && section.has("format") {
            found.push("format");
        }
        if written || found.is_empty() {
            continue;
        }
        made.push(Maker { flat: section, made: Section::new(name, section.span.clone()), faults }.make(*part, names));
        used.extend(found);
        used.extend(part.also().iter().copied().filter(|name| section.has(name)));
    }
    section.children.extend(made);
    used
}

impl Part {
    fn table(self) -> (&'static str, Names) {
        match self {
            Part::Buffer(_) => ("buffer", BUFFER),
            Part::Inject => ("inject", INJECT),
            Part::Extract => ("extract", EXTRACT),
            Part::Parse => ("parse", PARSE),
            Part::Format => ("format", FORMAT),
        }
    }

    /// Parameters that are taken along if the section is made, but don't make it.
    fn also(self) -> &'static [&'static str] {
        match self {
            Part::Parse => MULTILINE_FORMATS,
            Part::Inject | Part::Extract | Part::Format => &["time_as_epoch"],
            Part::Buffer(_) => &["localtime", "utc"],
        }
    }
}

/// One section in the making.
struct Maker<'a> {
    flat: &'a Section,
    made: Section,
    faults: &'a mut Diagnostics,
}

impl Maker<'_> {
    fn make(mut self, part: Part, names: Names) -> Section {
        for (flat, name) in names {
            if let Some(name) = name {
                self.take(flat, name);
            }
        }
        match part {
            Part::Buffer(key) => self.buffer(key),
            Part::Inject => self.inject(),
            Part::Extract => self.extract(),
            Part::Parse => self.parse(),
            Part::Format => self.epoch_type(),
        }
        self.made
    }

    /// Copies the parameter `flat` as `name`; faults of its value then point at what was written.
    fn take(&mut self, flat: &str, name: &str) {
        if let Some(param) = self.flat.get(flat) {
            self.made.set(Param { name: name.to_owned(), ..param.clone() });
        }
    }

    /// Sets `name` because of the parameter `flat`.
    fn put(&mut self, name: &str, value: Value, flat: &str) {
        if let Some(param) = self.flat.get(flat) {
            self.made.set(Param { name: name.to_owned(), value, ..param.clone() });
        }
    }

    fn put_unless_set(&mut self, name: &str, text: &str, flat: &str) {
        if self.made.text(name).is_none() {
            self.put(name, Value::bare(text), flat);
        }
    }

    /// Whether the parameter is written and true.
    fn is_true(&mut self, flat: &str) -> bool {
        let Some(text) = self.flat.text(flat) else {
            return false;
        };
        convert::boolean(text).unwrap_or_else(|message| {
            self.faults.error(format!("{flat}: {message}"), self.flat.span_of(flat));
            false
        })
    }

    fn both_zones(&mut self) {
        self.faults.error("both of utc and localtime are specified, use only one of them", self.flat.span_of("utc"));
    }

    /// `localtime` of a section from `localtime` or `utc`.
    fn localtime(&mut self) {
        if self.flat.has("localtime") && self.flat.has("utc") {
            return self.both_zones();
        }
        self.zone("localtime", "utc", "localtime");
    }

    /// Sets `name` to what `same` says, or to the opposite of what `opposite` says.
    fn zone(&mut self, same: &str, opposite: &str, name: &str) {
        let flat = if self.flat.has(same) { same } else { opposite };
        if self.flat.has(flat) {
            let value = self.is_true(flat) == (flat == same);
            self.put(name, Value::new(value.to_string(), ValueKind::Bool), flat);
        }
    }

    fn buffer(&mut self, default_key: &str) {
        if self.made.text("overflow_action") == Some("exception") {
            self.put("overflow_action", Value::bare("throw_exception"), "buffer_queue_full_action");
        }
        let mut key = default_key;
        if let Some(format) = self.flat.text("time_slice_format") {
            key = "time";
            let units = [("%S", "1"), ("%M", "60"), ("%H", "3600"), ("%d", "86400")];
            match units.iter().find(|(unit, _)| format.contains(unit)) {
                Some((_, seconds)) => self.put("timekey", Value::bare(*seconds), "time_slice_format"),
                None => {
                    let span = self.flat.span_of("time_slice_format");
                    self.faults.error("time_slice_format only with %Y or %m is too long", span);
                }
            }
            if self.flat.has("localtime") && self.flat.has("utc") {
                self.both_zones();
            } else {
                self.zone("utc", "localtime", "timekey_use_utc");
            }
        } else if key == "time" {
            self.made.set_text("timekey", "86400");
        }
        self.made.args.value = Value::bare(key);
    }

    fn inject(&mut self) {
        if self.is_true("include_time_key") {
            self.put_unless_set("time_key", "time", "include_time_key");
            self.put_unless_set("time_type", "string", "include_time_key");
        }
        self.epoch_key();
        let says = |name: &str| self.flat.text(name).is_some_and(|text| text != "false");
        if self.flat.has("localtime") && self.flat.has("utc") && says("localtime") == says("utc") {
            self.both_zones();
        } else {
            self.zone("localtime", "utc", "localtime");
        }
        if self.is_true("include_tag_key") {
            self.put_unless_set("tag_key", "tag", "include_tag_key");
        }
    }

    fn extract(&mut self) {
        let is_regexp = self.flat.text("format").is_some_and(|format| regexp_inside(format).is_some());
        if !self.epoch_key() && is_regexp {
            self.put_unless_set("time_key", "time", "format");
            self.put_unless_set("time_type", "string", "format");
        }
        self.localtime();
    }

    fn parse(&mut self) {
        if let Some(format) = self.flat.text("format") {
            match regexp_inside(format) {
                Some(inside) => {
                    self.put("@type", Value::bare("regexp"), "format");
                    // with the slashes, so that the pattern is not taken for one that starts with a slash
                    self.put("expression", Value::new(format!("/{inside}/"), ValueKind::SingleQuoted), "format");
                }
                None => self.put("@type", Value::bare(format), "format"),
            }
        }
        for name in MULTILINE_FORMATS {
            self.take(name, name);
        }
        if let Some(types) = self.flat.text("types") {
            let json = self.types(types);
            self.put("types", Value::new(json.to_string(), ValueKind::Json), "types");
        }
        self.localtime();
    }

    /// `a:integer,b:time`, with the two signs in between as given.
    fn types(&self, text: &str) -> Json {
        let delimiter = self.flat.text("types_delimiter").filter(|text| !text.is_empty()).unwrap_or(",");
        let label = self.flat.text("types_label_delimiter").filter(|text| !text.is_empty()).unwrap_or(":");
        let pairs = text.split(delimiter).filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) =
                pair.split_once(label).map_or((pair, Json::Null), |(name, value)| (name, Json::String(value.into())));
            (name.to_owned(), value)
        });
        Json::Object(pairs.collect())
    }

    /// `time_as_epoch` makes a time key of that type; `false` if it is not set.
    fn epoch_key(&mut self) -> bool {
        let epoch = self.is_true("time_as_epoch");
        if epoch {
            self.put_unless_set("time_key", "time", "time_as_epoch");
            self.put("time_type", Value::bare("unixtime"), "time_as_epoch");
        }
        epoch
    }

    fn epoch_type(&mut self) {
        if self.is_true("time_as_epoch") {
            self.put("time_type", Value::bare("unixtime"), "time_as_epoch");
        }
    }
}

/// The inside of `/.../`.
fn regexp_inside(text: &str) -> Option<&str> {
    text.strip_prefix('/')?.strip_suffix('/')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::load::{LoadOptions, load_text};
    use crate::config::ruby::Surroundings;

    /// The sections made, the names used and the faults.
    fn convert(text: &str, parts: &[Part]) -> (String, Vec<&'static str>, Vec<String>) {
        let options = LoadOptions::new(Surroundings::default());
        let mut section = load_text("t.conf", &format!("<s>\n{text}\n</s>"), &options).unwrap().root.children.remove(0);
        let written = section.children.len();
        let mut faults = Diagnostics::new();
        let used = normalize(&mut section, parts, &mut faults);
        let made: String = section.children[written..].iter().map(|child| child.to_fluentd_text(&|_| false)).collect();
        let made = made.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        (made, used, faults.iter().map(|fault| format!("{} {}", fault.span.line(), fault.message)).collect())
    }

    fn made(text: &str, parts: &[Part]) -> String {
        let (made, _, faults) = convert(text, parts);
        assert!(faults.is_empty(), "{faults:?}");
        made
    }

    #[test]
    fn buffer_parameters_make_a_buffer() {
        for (text, key, expected) in [
            (
                "buffer_type file\nbuffer_path /x\nbuffer_chunk_limit 8m\nbuffer_queue_limit 64\nnum_threads 2\nflush_interval 10s",
                "tag",
                "<buffer tag> @type file path /x flush_thread_count 2 flush_interval 10s chunk_limit_size 8m queue_limit_length 64 </buffer>",
            ),
            (
                "retry_limit 5\nretry_wait 1s\nmax_retry_wait 1m\ndisable_retry_limit\nbuffer_queue_full_action exception",
                "",
                "<buffer> retry_forever retry_max_times 5 retry_wait 1s retry_max_interval 1m overflow_action throw_exception </buffer>",
            ),
            ("flush_interval 1s", "time", "<buffer time> flush_interval 1s timekey 86400 </buffer>"),
            (
                "time_slice_format %Y%m%d%H\ntime_slice_wait 5m\nutc\ntimezone +0900",
                "tag",
                "<buffer time> timekey_wait 5m timekey_zone +0900 timekey 3600 timekey_use_utc true </buffer>",
            ),
            ("time_slice_format %M\nlocaltime", "", "<buffer time> timekey 60 timekey_use_utc false </buffer>"),
            ("flush_interval 1s\n<buffer>\n</buffer>", "", ""),
            ("path x", "time", ""),
        ] {
            assert_eq!(made(text, &[Part::Buffer(key)]), expected, "{text}");
        }
        let (_, _, faults) = convert("time_slice_format %Y", &[Part::Buffer("")]);
        assert_eq!(faults, ["2 time_slice_format only with %Y or %m is too long"]);
    }

    #[test]
    fn format_of_an_input_makes_a_parser() {
        for (text, expected) in [
            (
                "format json\ntime_key t\ntime_format %s\nkeep_time_key",
                "<parse> time_key t time_format %s keep_time_key @type json </parse>",
            ),
            ("format /^(?<a>.)$/\nutc", "<parse> @type regexp expression /^(?<a>.)$/ localtime false </parse>"),
            (
                "format multiline\nformat_firstline /^a/\nformat1 /^a(?<x>.)/\nformat2 /b/",
                "<parse> format_firstline /^a/ @type multiline format1 /^a(?<x>.)/ format2 /b/ </parse>",
            ),
            (
                "format csv\nkeys a,b\ntypes a:integer,b:time:%s",
                "<parse> keys a,b @type csv types {\"a\":\"integer\",\"b\":\"time:%s\"} </parse>",
            ),
            (
                "format tsv\ntypes a->integer|b\ntypes_delimiter |\ntypes_label_delimiter ->",
                "<parse> @type tsv types {\"a\":\"integer\",\"b\":null} </parse>",
            ),
            ("format json\n<parse>\n@type none\n</parse>", ""),
        ] {
            assert_eq!(made(text, &[Part::Parse]), expected, "{text}");
        }
    }

    #[test]
    fn format_of_an_output_makes_a_formatter_and_keys_make_inject() {
        let parts = [Part::Format, Part::Inject];
        for (text, expected) in [
            ("format ltsv\noutput_tag false", "<format> @type ltsv output_tag false </format>"),
            ("include_time_key\ninclude_tag_key true", "<inject> time_key time time_type string tag_key tag </inject>"),
            ("include_tag_key true\ntag_key t\ntime_format %s", "<inject> time_format %s tag_key t </inject>"),
            ("include_tag_key false", "<inject> </inject>"),
            ("time_key a\ntime_as_epoch", "<inject> time_key a time_type unixtime </inject>"),
            ("format json\ntime_as_epoch", "<format> @type json time_type unixtime </format>"),
        ] {
            assert_eq!(made(text, &parts), expected, "{text}");
        }
        assert_eq!(made("time_key t\nutc", &[Part::Inject]), "<inject> time_key t localtime false </inject>");
        assert_eq!(made("localtime true\nutc false", &[Part::Inject]), "<inject> localtime true </inject>");
        assert_eq!(
            convert("localtime\nutc", &[Part::Inject]).2,
            ["3 both of utc and localtime are specified, use only one of them"]
        );
    }

    #[test]
    fn extract_follows_the_format() {
        for (text, expected) in [
            ("format /a/", "<extract> time_key time time_type string </extract>"),
            ("format json\ntag_key t", "<extract> tag_key t </extract>"),
            (
                "time_key x\ntime_as_epoch true\nlocaltime false",
                "<extract> time_key x time_type unixtime localtime false </extract>",
            ),
        ] {
            assert_eq!(made(text, &[Part::Extract]), expected, "{text}");
        }
    }

    #[test]
    fn used_names_are_told_and_bad_booleans_are_faults() {
        let (_, used, _) = convert("format json\nformat1 /x/\nother 1\ntime_key t", &[Part::Parse]);
        assert_eq!(used, ["format", "time_key", "format1"]);
        assert_eq!(
            convert("include_time_key True", &[Part::Inject]).2,
            ["2 include_time_key: invalid bool value: \"True\""]
        );
    }

    #[test]
    fn made_parameters_point_at_what_was_written() {
        let options = LoadOptions::new(Surroundings::default());
        let mut section = load_text("t.conf", "<s>\nnum_threads 2\n</s>", &options).unwrap().root.children.remove(0);
        normalize(&mut section, &[Part::Buffer("")], &mut Diagnostics::new());
        let param = section.child("buffer").unwrap().get("flush_thread_count").unwrap();
        assert_eq!((param.name_span.text(), param.value_span.line()), ("num_threads", 2));
    }
}
