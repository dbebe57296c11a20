//! Stand-ins for the functions of other layers, as simple as the tests allow.

use jiff::fmt::strtime;
use jiff::tz::{Offset, TimeZone};

use crate::event::{EventTime, Value, msgpack};
use crate::plugin::ruby::bridge::{CompiledRegex, Functions, Moment, ParsedTime, RegexFlags, Spans};

pub(crate) const FUNCTIONS: Functions = Functions { json_write, json_parse, strftime, time_parse, strptime, regex };

fn json_write(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Nil | Value::Ext(..) => out.extend_from_slice(b"null"),
        Value::Bool(v) => out.extend_from_slice(v.to_string().as_bytes()),
        Value::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::UInt(n) => out.extend_from_slice(n.to_string().as_bytes()),
        Value::Float(f) => out.extend_from_slice(crate::plugin::ruby::lib::number::float_text(f).as_bytes()),
        Value::Str(t) | Value::Bin(t) => quote(t, out),
        Value::Array(_) => list(value.items(), out, b"[]", |item, out| json_write(item, out)),
        Value::Map(_) => list(value.pairs(), out, b"{}", |(k, v), out| {
            json_write(k, out);
            out.push(b':');
            json_write(v, out);
        }),
    }
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.extend(serde_json::to_vec(&String::from_utf8_lossy(text)).unwrap());
}

fn list<T>(items: impl Iterator<Item = T>, out: &mut Vec<u8>, ends: &[u8; 2], mut one: impl FnMut(T, &mut Vec<u8>)) {
    out.push(ends[0]);
    for (n, item) in items.enumerate() {
        out.extend_from_slice(if n > 0 { b"," } else { b"" });
        one(item, out);
    }
    out.push(ends[1]);
}

fn json_parse(text: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let mut read = serde_json::Deserializer::from_slice(text);
    serde::Deserializer::deserialize_any(&mut read, Packer(out)).map_err(|e| e.to_string())?;
    read.end().map_err(|e| e.to_string())
}

/// Writes what serde reads, keys in order.
struct Packer<'o>(&'o mut Vec<u8>);

impl<'d> serde::de::DeserializeSeed<'d> for Packer<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'d>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'d> serde::de::Visitor<'d> for Packer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        msgpack::put_nil(self.0);
        Ok(())
    }

    fn visit_bool<E>(self, v: bool) -> Result<(), E> {
        msgpack::put_bool(self.0, v);
        Ok(())
    }

    fn visit_i64<E>(self, v: i64) -> Result<(), E> {
        msgpack::put_int(self.0, v);
        Ok(())
    }

    fn visit_u64<E>(self, v: u64) -> Result<(), E> {
        msgpack::put_uint(self.0, v);
        Ok(())
    }

    fn visit_f64<E>(self, v: f64) -> Result<(), E> {
        msgpack::put_f64(self.0, v);
        Ok(())
    }

    fn visit_str<E>(self, v: &str) -> Result<(), E> {
        msgpack::put_str(self.0, v.as_bytes());
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'d>>(self, mut seq: A) -> Result<(), A::Error> {
        let (mut body, mut len) = (Vec::new(), 0);
        while seq.next_element_seed(Packer(&mut body))?.is_some() {
            len += 1;
        }
        msgpack::put_array_len(self.0, len);
        self.0.extend(body);
        Ok(())
    }

    fn visit_map<A: serde::de::MapAccess<'d>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut body, mut len) = (Vec::new(), 0);
        while map.next_key_seed(Packer(&mut body))?.is_some() {
            map.next_value_seed(Packer(&mut body))?;
            len += 1;
        }
        msgpack::put_map_len(self.0, len);
        self.0.extend(body);
        Ok(())
    }
}

fn strftime(moment: &Moment<'_>, format: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let format = std::str::from_utf8(format).map_err(|e| e.to_string())?;
    let offset = Offset::from_seconds(moment.offset).map_err(|e| e.to_string())?;
    let at = jiff::Timestamp::from_nanosecond(moment.time.nanos().into()).map_err(|e| e.to_string())?;
    let text = strtime::format(format, &at.to_zoned_datetime(TimeZone::fixed(offset))).map_err(|e| e.to_string())?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn time_parse(text: &[u8]) -> Result<ParsedTime, String> {
    let text = String::from_utf8_lossy(text);
    let refuse = |_| format!("no time information in {text:?}");
    let time: jiff::Timestamp = text.parse().map_err(refuse)?;
    let utc = text.ends_with('Z');
    let offset = if utc { 0 } else { 9 * 3600 };
    let nanos = i64::try_from(time.as_nanosecond()).unwrap();
    Ok(ParsedTime { time: EventTime::from_nanos(nanos), offset: Some(offset), utc })
}

fn strptime(text: &[u8], format: &[u8]) -> Result<ParsedTime, String> {
    let (text, format) = (String::from_utf8_lossy(text), String::from_utf8_lossy(format));
    let date = jiff::civil::Date::strptime(format.as_bytes(), text.as_bytes()).map_err(|e| e.to_string())?;
    let time = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).map_err(|e| e.to_string())?;
    Ok(ParsedTime { time: EventTime::from_secs(time.as_second()), offset: Some(0), utc: false })
}

#[derive(Debug)]
struct Simple {
    regex: regex::bytes::Regex,
    names: Vec<Option<String>>,
}

impl CompiledRegex for Simple {
    fn find_at(&self, text: &[u8], start: usize, spans: &mut Spans) -> bool {
        let Some(found) = self.regex.captures_at(text, start) else { return false };
        spans.clear();
        spans.extend(found.iter().map(|group| group.map(|m| (m.start(), m.end()))));
        true
    }

    fn group_names(&self) -> &[Option<String>] {
        &self.names
    }
}

fn regex(source: &str, flags: RegexFlags) -> Result<Box<dyn CompiledRegex>, String> {
    let source = source.replace("\\Z", "\\n?\\z");
    let mut builder = regex::bytes::RegexBuilder::new(&source);
    builder.multi_line(true).case_insensitive(flags.ignore_case).dot_matches_new_line(flags.dot_all);
    let regex = builder.ignore_whitespace(flags.extended).build().map_err(|e| e.to_string())?;
    let names = regex.capture_names().map(|n| n.map(str::to_owned)).collect();
    Ok(Box::new(Simple { regex, names }))
}
