//! What the Ruby subset borrows: JSON, times, regular expressions.

use crate::config::{Regexp, RegexpFlags};
use crate::event::timefmt::{self, TimeFormatter, Zone};
use crate::event::{EventTime, Value, json};
use crate::plugin::ruby::{CompiledRegex, Functions, Moment, ParsedTime, RegexFlags, Spans};

/// The table that templates are parsed with.
pub const FUNCTIONS: Functions = Functions {
    json_write: |value, out| json::write_value(value, out),
    json_parse,
    strftime,
    time_parse: |text| timefmt::guess(text, EventTime::now()).map(|t| parsed(t, text)).ok_or_else(|| no_time(text)),
    strptime,
    regex,
};

fn json_parse(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let used = json::append_value(text, out).map_err(|e| e.to_string())?;
    match text[used..].trim_ascii() {
        b"" => Ok(()),
        _ => Err("text follows the JSON value".into()),
    }
}

fn strftime(moment: &Moment<'_>, format: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let format = std::str::from_utf8(format).map_err(|e| e.to_string())?;
    let zone = if moment.zone == "UTC" { Zone::utc() } else { Zone::fixed(moment.offset) };
    TimeFormatter::strftime(format, zone).format(moment.time, out);
    Ok(())
}

fn strptime(text: &[u8], format: &[u8]) -> Result<ParsedTime, String> {
    let format = std::str::from_utf8(format).map_err(|e| e.to_string())?;
    timefmt::by_format(text, format, EventTime::now())?.map(|t| parsed(t, text)).ok_or_else(|| no_time(text))
}

/// Ruby tells UTC itself (`Z`, `UTC`) from an offset of zero: they print differently.
fn parsed((time, offset): (EventTime, Option<i32>), text: &[u8]) -> ParsedTime {
    let text = text.trim_ascii_end();
    let named = text.ends_with(b"Z") || text.ends_with(b"UTC");
    ParsedTime { time, offset, utc: offset == Some(0) && named }
}

fn no_time(text: &[u8]) -> String {
    format!("no time information in {:?}", String::from_utf8_lossy(&text[..text.len().min(100)]))
}

#[derive(Debug)]
struct Compiled {
    regexp: Regexp,
    names: Vec<Option<String>>,
}

impl CompiledRegex for Compiled {
    fn find_at(&self, text: &[u8], start: usize, spans: &mut Spans) -> bool {
        let mut slots = self.regexp.slots();
        if !self.regexp.captures_at(text, start, &mut slots) {
            return false;
        }
        spans.clear();
        spans.extend((0..self.names.len()).map(|at| slots.get(at).map(|r| (r.start, r.end))));
        true
    }

    fn group_names(&self) -> &[Option<String>] {
        &self.names
    }
}

fn regex(source: &str, flags: RegexFlags) -> Result<Box<dyn CompiledRegex>, String> {
    let flags = RegexpFlags { ignore_case: flags.ignore_case, dot_all: flags.dot_all, extended: flags.extended };
    let regexp = Regexp::with_flags(source, flags).map_err(|e| e.to_string())?;
    let names = regexp.group_names();
    Ok(Box::new(Compiled { regexp, names }))
}

/// A value as a time in seconds, by Ruby's `to_f`.
pub fn seconds(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(n) => Some(n as f64),
        Value::UInt(n) => Some(n as f64),
        Value::Float(f) => Some(f),
        Value::Str(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
        _ => None,
    }
}
