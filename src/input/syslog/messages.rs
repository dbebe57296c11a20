//! From a syslog message to an event with its tag.

use std::sync::Arc;

use memchr::memchr;

use super::params::SyslogParams;
use crate::config::Diagnostic;
use crate::event::{Arena, EventTime, Record, Value};
use crate::input::wire::{Batches, Handler, Sender, Senders, log_gate};
use crate::net::LogGate;
use crate::plugin::{BuildContext, ParseError, Parser};

/// Names of facilities by number, as Fluentd's tags have them.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "at", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// Names of severities by number, as Fluentd's tags have them.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];

/// Reads messages.
pub(super) struct Messages {
    parser: Arc<dyn Parser>,
    /// Whether the parser reads the priority; else it is taken off before.
    parses_priority: bool,
    /// By facility (those unknown last) and severity.
    tags: Vec<String>,
    unmatched_tag: Option<String>,
    severity_key: Option<String>,
    facility_key: Option<String>,
    senders: Senders,
    gate: LogGate,
}

impl Messages {
    pub(super) fn new(params: &SyslogParams, cx: &mut BuildContext<'_>) -> Result<Messages, Diagnostic> {
        let parse = cx.section.child("parse");
        let is_syslog = parse.and_then(|p| p.plugin_type()).is_none_or(|kind| kind == "syslog");
        let declined = parse.is_some_and(|p| matches!(p.text("with_priority"), Some("false" | "no")));
        let defaults: &[_] = if is_syslog { &[("with_priority", "true")] } else { &[] };
        let facilities = FACILITIES.iter().chain(&[""]);
        let tag = |facility: &&str, severity: &str| format!("{}.{facility}.{severity}", params.tag);
        Ok(Messages {
            parser: cx.parser_with("syslog", defaults).and_then(|p| cx.timed(p))?,
            parses_priority: is_syslog && !declined,
            tags: facilities.flat_map(|f| SEVERITIES.map(|s| tag(f, s))).collect(),
            unmatched_tag: params.emit_unmatched_lines.then(|| format!("{}.unmatched", params.tag)),
            severity_key: params.severity_key.clone(),
            facility_key: params.facility_key.clone(),
            senders: params.senders(),
            gate: log_gate(),
        })
    }

    /// Adds the fields of a priority and gives the tag.
    fn classify<'a>(&'a self, priority: u64, record: &mut Record<'a>) -> &'a str {
        let known = usize::try_from(priority >> 3).ok().filter(|f| *f < FACILITIES.len());
        let severity = (priority & 7) as usize;
        if let Some(key) = &self.severity_key {
            record.set(key.as_bytes(), Value::str(SEVERITIES[severity]));
        }
        if let Some(key) = &self.facility_key {
            record.set(key.as_bytes(), known.map_or(Value::Nil, |f| Value::str(FACILITIES[f])));
        }
        &self.tags[known.unwrap_or(FACILITIES.len()) * SEVERITIES.len() + severity]
    }

    fn unmatched(&self, data: &[u8], sender: &Sender, batches: &mut Batches, error: &ParseError) {
        if let Some(tag) = &self.unmatched_tag {
            let mut record = Record::new();
            record.set(b"unmatched_line", Value::Str(data));
            self.senders.put(sender, &mut record);
            batches.push(tag, EventTime::now(), &record);
        }
        let Some(left_out) = self.gate.pass() else { return };
        let data = String::from_utf8_lossy(data);
        match error {
            ParseError::Unmatched => tracing::warn!(?data, left_out, "failed to parse message"),
            ParseError::Invalid(fault) => tracing::error!(?data, error = fault.why, left_out, "invalid input"),
        }
    }
}

impl Handler for Messages {
    fn handle(&self, data: &[u8], sender: &Sender, batches: &mut Batches) {
        let (given, text) = if self.parses_priority {
            (None, data)
        } else if let Some((priority, text)) = any_priority(data) {
            (Some(priority), text)
        } else {
            return self.unmatched(data, sender, batches, &ParseError::Unmatched);
        };
        let (arena, mut record) = (Arena::new(), batches.record());
        let parsed = self.parser.parse_each(text, &arena, &mut record, &mut |time, record| {
            let found = match (given, self.parses_priority.then(|| record.remove(b"pri")).flatten()) {
                (None, Some(Value::Int(n))) => u64::try_from(n).ok(),
                _ => given,
            };
            let tag = self.classify(found.unwrap_or(u64::MAX), record);
            self.senders.put(sender, record);
            batches.push(tag, time.unwrap_or_else(EventTime::now), record);
        });
        batches.give_back(record);
        if let Err(e) = parsed {
            self.unmatched(data, sender, batches, &e);
        }
    }

    fn senders(&self) -> &Senders {
        &self.senders
    }
}

/// The number in `<13>`, of any length, and the rest of its line.
fn any_priority(data: &[u8]) -> Option<(u64, &[u8])> {
    let text = data.strip_prefix(b"<")?;
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = text[digits..].strip_prefix(b">")?;
    (digits > 0).then_some(())?;
    let digit = |n: u64, d: &u8| n.saturating_mul(10).saturating_add(u64::from(d - b'0'));
    Some((text[..digits].iter().fold(0, digit), &rest[..memchr(b'\n', rest).unwrap_or(rest.len())]))
}
