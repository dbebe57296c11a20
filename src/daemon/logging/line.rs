//! One line: `2024-01-01 00:00:00 +0000 [info]: message key=value`, or one JSON object.

use std::fmt::{self, Write};

use tracing::Event;
use tracing::field::{Field, Visit};

use crate::config::Settings;
use crate::event::timefmt::{TimeFormatter, Zone};
use crate::event::{Arena, EventTime, Record, Value};

/// Longest message that is written, in bytes; client bytes in messages can't make it longer.
const MAX_LINE: usize = 16 << 10;
/// Most fields of a message that an event keeps.
const MAX_FIELDS: usize = 32;

/// The form of lines.
pub(super) struct Line {
    json: bool,
    time: TimeFormatter,
}

impl Line {
    pub(super) fn new(settings: &Settings) -> Result<Line, String> {
        let json = match settings.log_format.as_str() {
            "text" => false,
            "json" => true,
            other => return Err(format!("log format {other:?} is neither text nor json")),
        };
        let time = match &settings.log_time_format {
            Some(format) => TimeFormatter::strftime(format, Zone::local()),
            None => TimeFormatter::log(),
        };
        Ok(Line { json, time })
    }

    /// The line of a message, with its end.
    pub(super) fn text(&self, time: EventTime, level: &str, message: &Message) -> String {
        let mut stamp = Vec::new();
        self.time.format(time, &mut stamp);
        let stamp = String::from_utf8_lossy(&stamp);
        if self.json {
            let text = serde_json::json!({ "time": stamp, "level": level, "message": message.json_text() });
            format!("{text}\n")
        } else {
            format!("{stamp} [{level}]: {}\n", message.one_line())
        }
    }
}

/// The text of a log event, with its fields behind it, and the fields apart.
#[derive(Default)]
pub(super) struct Message {
    pub(super) text: String,
    fields: Vec<(&'static str, Part)>,
}

/// The value of a field.
enum Part {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
}

impl Message {
    /// Of a log event.
    pub(super) fn of(event: &Event<'_>) -> Message {
        let mut message = Message::default();
        event.record(&mut message);
        shorten(&mut message.text);
        message
    }

    /// Control characters are escaped, so that no client can forge a line or reach the terminal.
    fn one_line(&self) -> String {
        escaped(&self.text, |c| c != '\t' && c.is_control())
    }

    /// The same for a JSON string, which has escapes of its own for the control characters of ASCII but for the last.
    fn json_text(&self) -> String {
        escaped(&self.text, |c| c >= '\u{7f}' && c.is_control())
    }

    /// The record of the event that Fluentd makes of a line: the fields, and `message`.
    pub(super) fn record(&self) -> Vec<u8> {
        let arena = Arena::new();
        let mut record = Record::new();
        for (name, part) in &self.fields {
            let value = match part {
                Part::Int(n) => Value::Int(*n),
                Part::Float(n) => Value::Float(*n),
                Part::Bool(b) => Value::Bool(*b),
                Part::Text(text) => arena.str(text),
            };
            record.set(name.as_bytes(), value);
        }
        record.set(b"message", arena.str(&self.text));
        let mut out = Vec::new();
        record.encode(&mut out);
        out
    }

    fn add(&mut self, field: &Field, shown: &dyn fmt::Debug, part: Part) {
        // Writing to a String can't fail.
        let _ = write!(self.text, " {}={shown:?}", field.name());
        if self.fields.len() < MAX_FIELDS {
            self.fields.push((field.name(), part));
        }
    }
}

fn escaped(text: &str, escapes: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if escapes(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn shorten(text: &mut String) {
    if text.len() > MAX_LINE {
        let mut end = MAX_LINE;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // The message comes first, whatever the order of the fields.
            self.text.insert_str(0, &format!("{value:?}"));
        } else {
            let mut text = format!("{value:?}");
            shorten(&mut text);
            self.add(field, value, Part::Text(text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.text.insert_str(0, value);
        }
        let mut text = value.to_owned();
        shorten(&mut text);
        self.add(field, &value, Part::Text(text));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value, Part::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value, i64::try_from(value).map_or_else(|_| Part::Text(value.to_string()), Part::Int));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value, Part::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value, Part::Bool(value));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::json;

    #[test]
    fn a_client_can_forge_no_line() {
        let message = Message { text: "a\nb\u{1b}[31m".into(), ..Message::default() };
        assert_eq!(message.one_line(), "a\\nb\\u{1b}[31m");
        let message = Message { text: "a\nb\u{9b}31m\u{7f}".into(), ..Message::default() };
        assert_eq!(message.json_text(), "a\nb\\u{9b}31m\\u{7f}");
        let mut long = "x".repeat(1 << 20);
        shorten(&mut long);
        assert!(long.len() < MAX_LINE + 10);
    }

    #[test]
    fn lines_have_the_form_and_the_time_that_the_settings_ask_for() {
        let message = Message { text: "said".into(), ..Message::default() };
        let settings = Settings { log_time_format: Some("%s".into()), ..Settings::default() };
        let line = Line::new(&settings).unwrap();
        assert_eq!(line.text(EventTime::from_secs(7), "info", &message), "7 [info]: said\n");
        let json = Line::new(&Settings { log_format: "json".into(), ..settings }).unwrap();
        let text = json.text(EventTime::from_secs(7), "warn", &message);
        assert_eq!(text.trim(), r#"{"level":"warn","message":"said","time":"7"}"#);
    }

    #[test]
    fn an_event_has_the_fields_and_the_whole_message() {
        let fields = vec![("worker", Part::Int(0)), ("why", Part::Text("x".into()))];
        let message = Message { text: "it runs worker=0 why=\"x\"".into(), fields };
        let mut text = Vec::new();
        json::write_map(&message.record(), &mut text).unwrap();
        let expected = r#"{"worker":0,"why":"x","message":"it runs worker=0 why=\"x\""}"#;
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
