//! Texts: configurations, JSON, syslog and other lines, expressions, times, the Ruby subset.

use std::sync::{Arc, LazyLock};

use super::{line_and_rest, now, split, with_context};
use crate::config::{Language, LoadOptions, Regexp, Surroundings, load_text};
use crate::event::json::{append_value, write_value};
use crate::event::timefmt::{TimeFormatter, Zone, by_format, guess};
use crate::event::{Arena, EventTime, Record, Tag, Value, msgpack};
use crate::filter::RUBY_FUNCTIONS;
use crate::net::lines::{Framing, Lines};
use crate::plugin::Parser;
use crate::plugin::ruby::{Context, Options, Scratch, TagInfo, Template};

/// A moment that results do not depend on.
const NOW: EventTime = EventTime::from_secs(1_700_000_000);

/// A configuration; the first byte chooses its language. What is read is printed and read again.
pub fn config(data: &[u8]) {
    const LANGUAGES: [Language; 4] = [Language::Fluentd, Language::Yaml, Language::Toml, Language::FluentdV0];
    let (choice, text) = split(data);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let mut options = LoadOptions::new(Surroundings::default());
    options.language = LANGUAGES[choice % LANGUAGES.len()];
    match load_text("fuzz", text, &options) {
        Ok(loaded) => {
            let printed = loaded.root.to_fluentd_text(&|_| false);
            options.language = Language::Fluentd;
            let _ = load_text("again", &printed, &options);
        }
        Err(faults) => drop(faults.render()),
    }
}

/// JSON text to MessagePack, back to text, and to MessagePack again: nothing changes on the second way.
pub fn json(data: &[u8]) {
    let (mut packed, mut text, mut again) = (Vec::new(), Vec::new(), Vec::new());
    if append_value(data, &mut packed).is_err() {
        return;
    }
    let Ok(value) = Value::decode(&packed) else { panic!("what is written can't be read: {packed:?}") };
    write_value(value, &mut text);
    assert!(append_value(&text, &mut again).is_ok(), "{}", String::from_utf8_lossy(&text));
    let mut last = Vec::new();
    if let Ok(value) = Value::decode(&again) {
        write_value(value, &mut last);
    }
    assert_eq!(text, last);
}

static PARSERS: LazyLock<Vec<Arc<dyn Parser>>> = LazyLock::new(|| {
    let sections = [
        "@type syslog\nmessage_format auto\nwith_priority true",
        "@type syslog\nmessage_format rfc3164",
        "@type syslog\nmessage_format rfc5424\nwith_priority true",
        "@type apache2",
        "@type nginx",
        "@type ltsv",
        "@type csv\nkeys a,b,c",
        "@type json",
        "@type msgpack",
        "@type multiline\nformat_firstline /^a/\nformat1 /^(?<a>a+)\\n?(?<b>.*)$/",
        "@type regexp\nexpression /^(?<a>\\w+) (?<time>[^ ]*) (?=x)(?<b>.*)$/",
    ];
    let parser = |parse: &&str| {
        let config = format!("<source>\n@type tcp\n<parse>\n{parse}\n</parse>\n</source>\n");
        with_context(&config, |cx| cx.parser(None).ok())
    };
    sections.iter().filter_map(parser).collect()
});

/// A line in the first byte's format, and the rest as frames of a stream.
pub fn syslog(data: &[u8]) {
    let (choice, text) = split(data);
    let parser = &PARSERS[choice % PARSERS.len()];
    let arena = Arena::new();
    let _ = parser.parse(text, &arena, &mut Record::new());
    let _ = parser.parse_each(text, &arena, &mut Record::new(), &mut |_, _| {});
    for framing in [Framing::OctetCount, Framing::Delimiter(b"\n".to_vec())] {
        let (mut lines, mut stream) = (Lines::new(&framing, 1024), text);
        while let Some(Ok(1..)) = now(lines.read(&mut stream)) {
            if lines.drain(|_| {}).is_err() {
                break;
            }
        }
    }
}

/// A pattern of Ruby's in the first line, searched for in the rest.
pub fn regexp(data: &[u8]) {
    let (pattern, text) = line_and_rest(data);
    let Ok(pattern) = std::str::from_utf8(pattern) else { return };
    let text = &text[..text.len().min(1024)];
    for regexp in [Regexp::new(pattern), Regexp::from_literal(pattern)].into_iter().flatten() {
        if let Some(range) = regexp.find_at(text, 0) {
            assert!(range.start <= range.end && range.end <= text.len());
        }
        let _ = (regexp.captures(text), regexp.names().len());
        let _ = regexp.find_iter(text).take(1024).count();
    }
}

/// A value of `record_transformer` with Ruby in it.
pub fn ruby(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let options = Options { enable_ruby: true, auto_typecast: true, functions: RUBY_FUNCTIONS };
    let Ok(template) = Template::parse(text, &options) else { return };
    let (arena, scratch, tag) = (Arena::new(), Scratch::new(), TagInfo::new(&Tag::from("a.b")));
    let mut record = Record::new();
    record.set(b"a", Value::Int(2));
    record.set(b"s", Value::Str(b"text \xff"));
    let cx = Context::new(&scratch, &tag, "host", NOW, &record);
    if let Ok(value) = template.expand(&cx, &arena) {
        let mut out = Vec::new();
        write_value(value, &mut out);
        let _ = msgpack::skip(&out);
    }
}

/// A format in the first line; the rest is read by it, and as a time without one.
pub fn time_format(data: &[u8]) {
    let (format, text) = line_and_rest(data);
    let _ = guess(text, NOW);
    let Ok(format) = std::str::from_utf8(format) else { return };
    let mut times = vec![NOW, EventTime::from_secs(i64::from(i32::MIN)), EventTime::from_secs(253_402_300_800)];
    if let Ok(Some((time, _))) = by_format(text, format, NOW) {
        times.push(time);
    }
    for time in times {
        TimeFormatter::strftime(format, Zone::utc()).format(time, &mut Vec::new());
    }
}
