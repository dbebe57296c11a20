//! Heads of messages: `<PRI>Nov 14 22:13:20 host program[pid]: ` (RFC 3164, section 4.1) and
//! `<PRI>1 2023-11-14T22:13:20.000000Z host program pid msgid [data] ` (RFC 5424, section 6).

use crate::buffer::Chunk;
use crate::event::timefmt::{TimeFormatter, Zone};
use crate::event::{EventTime, Record, RecordPath, Value, json};
use crate::plugin::Template;

/// Longest fields, in bytes. RFC 5424, section 6; the tag of RFC 3164 has 32.
const MAX_HOST: usize = 255;
const MAX_PROGRAM: usize = 48;
const MAX_TAG: usize = 32;
const MAX_PID: usize = 128;
const MAX_MSGID: usize = 32;

/// Names of facilities by their numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "at", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// Other names of facilities (Fluentd's and other senders').
const OTHER_FACILITIES: &[(&str, u8)] =
    &[("security", 13), ("console", 14), ("clock", 15), ("solaris-cron", 15), ("logaudit", 13), ("logalert", 14)];
/// Names of severities by their numbers.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
/// Other names of severities.
const OTHER_SEVERITIES: &[(&str, u8)] = &[
    ("panic", 0),
    ("emergency", 0),
    ("critical", 2),
    ("fatal", 2),
    ("error", 3),
    ("warning", 4),
    ("information", 6),
    ("informational", 6),
    ("trace", 7),
];

/// The number of a facility, by name or number.
pub fn facility(text: &str) -> Option<u8> {
    number(text, &FACILITIES, OTHER_FACILITIES)
}

/// The number of a severity, by name or number.
pub fn severity(text: &str) -> Option<u8> {
    number(text, &SEVERITIES, OTHER_SEVERITIES)
}

fn number(text: &str, names: &[&str], others: &[(&str, u8)]) -> Option<u8> {
    let same = |name: &str| name.eq_ignore_ascii_case(text.trim());
    if let Some(at) = names.iter().position(|name| same(name)) {
        return u8::try_from(at).ok();
    }
    if let Some((_, number)) = others.iter().find(|(name, _)| same(name)) {
        return Some(*number);
    }
    text.trim().parse().ok().filter(|n: &u8| usize::from(*n) < names.len())
}

/// Which RFC messages follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The old format.
    #[default]
    Rfc3164,
    /// The new one.
    Rfc5424,
}

/// Fields of a record that go into the head, by the part that they become.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Keys {
    pub facility: Option<RecordPath>,
    pub severity: Option<RecordPath>,
    pub hostname: Option<RecordPath>,
    pub program: Option<RecordPath>,
    pub procid: Option<RecordPath>,
    pub msgid: Option<RecordPath>,
    pub data: Option<RecordPath>,
}

/// Writes heads.
#[allow(missing_docs, reason = "the names say it")]
pub struct Writer {
    pub format: Format,
    pub facility: Template,
    pub severity: Template,
    pub hostname: Template,
    pub program: Template,
    pub keys: Keys,
    pub time: TimeFormatter,
}

/// What is the same for all events of a chunk.
pub struct Fixed {
    facility: u8,
    severity: u8,
    hostname: String,
    program: String,
}

/// How times are written.
pub fn time(format: Format) -> TimeFormatter {
    match format {
        Format::Rfc3164 => TimeFormatter::strftime("%b %e %H:%M:%S", Zone::local()),
        Format::Rfc5424 => TimeFormatter::strftime("%Y-%m-%dT%H:%M:%S.%6NZ", Zone::utc()),
    }
}

impl Writer {
    /// Fills the placeholders in.
    ///
    /// Errors: a facility or severity that there is not.
    pub fn fixed(&self, chunk: &Chunk) -> Result<Fixed, String> {
        let keep = |value: &str| Some(value.to_owned());
        let text = |template: &Template| template.expand(chunk, keep);
        let (named, ranked) = (text(&self.facility)?, text(&self.severity)?);
        Ok(Fixed {
            facility: facility(&named).ok_or_else(|| format!("{named:?} is no facility of syslog"))?,
            severity: severity(&ranked).ok_or_else(|| format!("{ranked:?} is no severity of syslog"))?,
            hostname: text(&self.hostname)?,
            program: text(&self.program)?,
        })
    }

    /// Appends the head of an event's message. A field that has no such value counts as missing.
    pub fn write(&self, time: EventTime, record: &Record<'_>, fixed: &Fixed, out: &mut Vec<u8>) {
        let field = |path: &Option<RecordPath>| path.as_ref().and_then(|path| path.get(record)).and_then(plain);
        let facility = field(&self.keys.facility).and_then(|text| facility(&text)).unwrap_or(fixed.facility);
        let severity = field(&self.keys.severity).and_then(|text| severity(&text)).unwrap_or(fixed.severity);
        let hostname = field(&self.keys.hostname).unwrap_or_else(|| fixed.hostname.clone());
        let program = field(&self.keys.program).unwrap_or_else(|| fixed.program.clone());
        let procid = field(&self.keys.procid);
        out.push(b'<');
        out.extend_from_slice(itoa::Buffer::new().format(u16::from(facility) * 8 + u16::from(severity)).as_bytes());
        out.push(b'>');
        if self.format == Format::Rfc3164 {
            self.time.format(time, out);
            out.push(b' ');
            word(&hostname, MAX_HOST, out);
            out.push(b' ');
            word(&program, MAX_TAG, out);
            if let Some(procid) = procid {
                out.push(b'[');
                word(&procid, MAX_PID, out);
                out.push(b']');
            }
            return out.extend_from_slice(b": ");
        }
        out.extend_from_slice(b"1 ");
        self.time.format(time, out);
        let msgid = field(&self.keys.msgid);
        let words = [
            (hostname.as_str(), MAX_HOST),
            (&program, MAX_PROGRAM),
            (procid.as_deref().unwrap_or("-"), MAX_PID),
            (msgid.as_deref().unwrap_or("-"), MAX_MSGID),
        ];
        for (text, most) in words {
            out.push(b' ');
            word(text, most, out);
        }
        out.push(b' ');
        data(self.keys.data.as_ref().and_then(|path| path.get(record)), out);
        out.push(b' ');
    }
}

/// A value as text; `None` for what has none.
fn plain(value: Value<'_>) -> Option<String> {
    let is_flat = !matches!(value, Value::Array(_) | Value::Map(_) | Value::Ext(..));
    json::string_of(value).filter(|_| is_flat)
}

/// A word of a head: printable ASCII without blanks, as both RFCs want it; other characters become `_`, no word becomes `-`.
fn word(text: &str, most: usize, out: &mut Vec<u8>) {
    if text.is_empty() {
        return out.push(b'-');
    }
    let printable = |c: char| if c.is_ascii_graphic() { c as u8 } else { b'_' };
    out.extend(text.chars().take(most).map(printable));
}

/// Structured data: a map of maps, or the text that the parser of syslog left (`extradata`); `-` for anything else.
fn data(value: Option<Value<'_>>, out: &mut Vec<u8>) {
    let start = out.len();
    match value {
        Some(Value::Str(text)) if text.starts_with(b"[") && text.ends_with(b"]") && !text.contains(&b'\n') => {
            out.extend_from_slice(text);
        }
        Some(map @ Value::Map(_)) => {
            for (id, params) in map.pairs() {
                let (Value::Str(id), Value::Map(_)) = (id, params) else { continue };
                out.push(b'[');
                name(id, out);
                for (key, value) in params.pairs() {
                    let (Value::Str(key), Some(text)) = (key, plain(value)) else { continue };
                    out.push(b' ');
                    name(key, out);
                    out.extend_from_slice(b"=\"");
                    for byte in text.bytes() {
                        match byte {
                            b'"' | b'\\' | b']' => out.extend_from_slice(&[b'\\', byte]),
                            b'\n' | b'\r' => out.push(b' '),
                            _ => out.push(byte),
                        }
                    }
                    out.push(b'"');
                }
                out.push(b']');
            }
        }
        _ => {}
    }
    if out.len() == start {
        out.push(b'-');
    }
}

/// A name within structured data (RFC 5424, section 6.3.2).
fn name(text: &[u8], out: &mut Vec<u8>) {
    let allowed = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"');
    out.extend(text.iter().take(MAX_MSGID).map(|byte| if allowed(byte) { *byte } else { b'_' }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Arena;

    fn parse<'a>(text: &'a str, arena: &'a Arena) -> Record<'a> {
        let mut record = Record::new();
        json::parse_object(text.as_bytes(), arena, &mut record).unwrap();
        record
    }

    fn head(format: Format, record: &str) -> String {
        let path = |name: &str| Some(RecordPath::parse(name).unwrap());
        let template = |text: &str| Template::parse(text, None).unwrap();
        let writer = Writer {
            format,
            facility: template("local3"),
            severity: template("notice"),
            hostname: template("ho st"),
            program: template("fluentd"),
            keys: Keys {
                facility: path("f"),
                severity: path("s"),
                hostname: path("h"),
                program: path("p"),
                procid: path("pid"),
                msgid: path("m"),
                data: path("d"),
            },
            time: match format {
                Format::Rfc3164 => TimeFormatter::strftime("%b %e %H:%M:%S", Zone::utc()),
                Format::Rfc5424 => time(format),
            },
        };
        let batch = crate::event::Batch::new(crate::event::Tag::from("t"), bytes::Bytes::new(), 0);
        let fixed = writer.fixed(&Chunk::direct(&batch)).unwrap();
        let (arena, mut out) = (Arena::new(), Vec::new());
        writer.write(EventTime::new(1_700_000_000, 123_456_789), &parse(record, &arena), &fixed, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn heads_are_as_the_rfcs_have_them() {
        assert_eq!(head(Format::Rfc3164, "{}"), "<157>Nov 14 22:13:20 ho_st fluentd: ");
        assert_eq!(head(Format::Rfc3164, r#"{"pid":12,"p":"a b"}"#), "<157>Nov 14 22:13:20 ho_st a_b[12]: ");
        assert_eq!(head(Format::Rfc5424, "{}"), "<157>1 2023-11-14T22:13:20.123456Z ho_st fluentd - - - ");
        let full =
            r#"{"f":"kern","s":"Warning","h":"h\n1","p":"","pid":"7","m":"id","d":{"a@1":{"k":"x\"]\\\n"},"b":1}}"#;
        let wanted = "<4>1 2023-11-14T22:13:20.123456Z h_1 - 7 id [a@1 k=\"x\\\"\\]\\\\ \"] ";
        assert_eq!(head(Format::Rfc5424, full), wanted);
        assert!(head(Format::Rfc5424, r#"{"d":"[x y=\"1\"]"}"#).ends_with(" - - [x y=\"1\"] "));
        assert!(head(Format::Rfc5424, r#"{"d":"x","f":"none","s":9}"#).starts_with("<157>1 "));
    }

    #[test]
    fn facilities_and_severities_have_names_and_numbers() {
        assert_eq!(
            [facility("user"), facility("LOCAL7"), facility("16"), facility("24")],
            [Some(1), Some(23), Some(16), None]
        );
        assert_eq!(
            [severity("warning"), severity("err"), severity("7"), severity("8")],
            [Some(4), Some(3), Some(7), None]
        );
        assert_eq!([facility(""), severity("loud")], [None, None]);
    }
}
