//! `parser`: parses a field and puts what it finds into the record, or in its place.

use std::sync::Arc;

use serde::Deserialize;

use crate::config::Diagnostic;
use crate::event::{EventTime, Record, RecordPath, Value};
use crate::plugin::{BuildContext, Configure, Event, Filter, ParseError, Parser as ParserPlugin, Verdict};

/// Parameters of `parser`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ParserParams {
    /// The field to parse.
    key_name: Option<String>,
    /// The other fields stay.
    reserve_data: bool,
    /// The event's own time stays.
    reserve_time: bool,
    /// The parsed field is taken out.
    remove_key_name_field: bool,
    /// In front of the names of parsed fields.
    inject_key_prefix: Option<String>,
    /// Bytes that are no UTF-8 become `?` before parsing.
    replace_invalid_sequence: bool,
    /// The parsed fields go into this one, as a map.
    hash_value_field: Option<String>,
    /// What can't be parsed goes to `@ERROR`.
    emit_invalid_record_to_error: bool,
}

impl Default for ParserParams {
    fn default() -> Self {
        ParserParams {
            key_name: None,
            reserve_data: false,
            reserve_time: false,
            remove_key_name_field: false,
            inject_key_prefix: None,
            replace_invalid_sequence: false,
            hash_value_field: None,
            emit_invalid_record_to_error: true,
        }
    }
}

/// The filter.
pub struct Parser {
    key: RecordPath,
    key_name: String,
    parser: Arc<dyn ParserPlugin>,
    /// A text without a time has the present one; else the event keeps its own.
    estimates_time: bool,
    params: ParserParams,
}

impl Configure for Parser {
    type Config = ParserParams;

    fn new(params: ParserParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let key_name =
            params.key_name.clone().ok_or_else(|| cx.fault("key_name", "'key_name' parameter is required"))?;
        let key = RecordPath::parse(&key_name).map_err(|e| cx.fault("key_name", e.to_string()))?;
        let estimates_time = cx.estimates_time()?;
        Ok(Parser { key, key_name, parser: cx.parser(None)?, estimates_time, params })
    }
}

impl Filter for Parser {
    fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
        let Some(raw) = self.key.get(&event.record).filter(|v| *v != Value::Nil) else {
            self.fail(event, format!("{} does not exist", self.key_name));
            return self.unparsed(event);
        };
        let Some(text) = self.text(raw, event) else {
            self.fail(event, format!("parse failed: {} is neither text nor a number", self.key_name));
            return self.unparsed(event);
        };
        // One text may hold several events, as an array of JSON objects does.
        let (mut found, mut scratch) = (Vec::new(), Record::new());
        let result = self.parser.parse_each(text, event.arena, &mut scratch, &mut |time, record| {
            found.push((time, std::mem::take(record)));
        });
        match (result, found.is_empty()) {
            (_, false) => self.merge_all(event, found),
            (Err(ParseError::Invalid(fault)), _) => {
                self.fail(event, format!("parse failed {}", fault.why));
                Verdict::Drop
            }
            _ => {
                self.fail(event, format!("pattern not matched with data '{}'", String::from_utf8_lossy(text)));
                self.unparsed(event)
            }
        }
    }
}

impl Parser {
    fn fail(&self, event: &mut Event<'_>, reason: String) {
        if self.params.emit_invalid_record_to_error {
            event.fail(reason);
        }
    }

    /// The text of a field; numbers and the like are parsed through their text. Maps and arrays have none.
    fn text<'a>(&self, raw: Value<'a>, event: &Event<'a>) -> Option<&'a [u8]> {
        let text = match raw {
            Value::Str(text) | Value::Bin(text) => text,
            Value::Map(_) | Value::Array(_) => return None,
            other => {
                let mut out = Vec::new();
                crate::event::json::write_value(other, &mut out);
                event.arena.bytes(&out)
            }
        };
        if self.params.replace_invalid_sequence && std::str::from_utf8(text).is_err() {
            let safe: String = String::from_utf8_lossy(text).replace(char::REPLACEMENT_CHARACTER, "?");
            return Some(event.arena.bytes(safe.as_bytes()));
        }
        Some(text)
    }

    /// What could not be parsed goes on only where the other fields are kept.
    fn unparsed<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
        if !self.params.reserve_data {
            return Verdict::Drop;
        }
        if let Some(field) = &self.params.hash_value_field {
            event.record.set(field.as_bytes(), Value::Map(&[0x80]));
        }
        Verdict::Keep
    }

    /// The first one found becomes the event; the others come out of it.
    fn merge_all<'a>(&'a self, event: &mut Event<'a>, mut found: Vec<(Option<EventTime>, Record<'a>)>) -> Verdict {
        if let [(time, parsed)] = found.as_mut_slice() {
            self.merge(event, std::mem::take(parsed), *time);
            return Verdict::Keep;
        }
        let (time, original) = (event.time, event.record.clone());
        let mut merged = Vec::with_capacity(found.len());
        for (parsed_time, parsed) in found {
            (event.time, event.record) = (time, original.clone());
            self.merge(event, parsed, parsed_time);
            merged.push((event.time, std::mem::take(&mut event.record)));
        }
        let mut merged = merged.into_iter();
        let Some(first) = merged.next() else { return Verdict::Drop };
        (event.time, event.record) = first;
        event.more.extend(merged);
        Verdict::Keep
    }

    fn merge<'a>(&'a self, event: &mut Event<'a>, parsed: Record<'a>, time: Option<EventTime>) {
        if !self.params.reserve_time {
            let without = || if self.estimates_time { EventTime::now() } else { event.time };
            event.time = time.unwrap_or_else(without);
        }
        if self.params.remove_key_name_field {
            self.key.remove(&mut event.record, event.arena);
        }
        if !self.params.reserve_data {
            event.record.clear();
        }
        let parsed = self.prefixed(parsed, event);
        match &self.params.hash_value_field {
            Some(field) => {
                let mut map = Vec::new();
                parsed.encode(&mut map);
                event.record.set(field.as_bytes(), Value::Map(event.arena.bytes(&map)));
            }
            None => parsed.into_iter().for_each(|(name, value)| event.record.set(name, value)),
        }
    }

    fn prefixed<'a>(&self, mut parsed: Record<'a>, event: &Event<'a>) -> Record<'a> {
        if let Some(prefix) = &self.params.inject_key_prefix {
            for (name, _) in parsed.iter_mut() {
                *name = event.arena.bytes(&[prefix.as_bytes(), name].concat());
            }
        }
        parsed
    }
}
