//! `<inject>` and `<extract>`: what goes into a record beside its fields, and what is taken out of it.

use serde::Deserialize;

use super::context::BuildContext;
use super::timeparams::TimeParams;
use crate::config::{Diagnostic, Section};
use crate::event::timefmt::{TimeFormatter, TimeParser};
use crate::event::{Arena, EventTime, Record, Tag, Value};

/// `<inject>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InjectParams {
    /// Field for the host's name.
    hostname_key: Option<String>,
    /// Name to use instead of the host's.
    hostname: Option<String>,
    /// Field for the worker's number.
    worker_id_key: Option<String>,
    /// Field for the tag.
    tag_key: Option<String>,
    /// Field for the time.
    time_key: Option<String>,
}

/// What is put into each record.
pub struct Inject {
    hostname: Option<(String, String)>,
    worker_id: Option<(String, u32)>,
    tag_key: Option<String>,
    time: Option<(String, TimeFormatter)>,
}

impl Inject {
    pub(super) fn build(section: &Section, cx: &mut BuildContext<'_>) -> Result<Inject, Diagnostic> {
        let params: InjectParams = cx.read(section)?;
        let times: TimeParams = cx.read(section)?;
        let time = match params.time_key {
            Some(key) => {
                let times = times.with_defaults(Some("float"), None);
                let format = times.formatter().map_err(|e| Diagnostic::error(e, &section.span))?;
                Some((key, format))
            }
            None => None,
        };
        let name = params.hostname.unwrap_or_else(|| cx.process.hostname.clone());
        Ok(Inject {
            hostname: params.hostname_key.map(|key| (key, name)),
            worker_id: params.worker_id_key.map(|key| (key, cx.process.worker_id)),
            tag_key: params.tag_key,
            time,
        })
    }

    /// Puts the fields into a record.
    pub fn apply<'a>(&'a self, tag: &'a Tag, time: EventTime, record: &mut Record<'a>, arena: &'a Arena) {
        if let Some((key, name)) = &self.hostname {
            record.set(key.as_bytes(), Value::str(name));
        }
        if let Some((key, id)) = &self.worker_id {
            record.set(key.as_bytes(), Value::Int(i64::from(*id)));
        }
        if let Some(key) = &self.tag_key {
            record.set(key.as_bytes(), Value::str(tag));
        }
        if let Some((key, format)) = &self.time {
            record.set(key.as_bytes(), format.value(time, arena));
        }
    }
}

/// `<extract>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ExtractParams {
    /// Field that holds the tag.
    tag_key: Option<String>,
    /// Whether the tag's field stays.
    keep_tag_key: bool,
    /// Field that holds the time.
    time_key: Option<String>,
    /// Whether the time's field stays.
    keep_time_key: bool,
}

/// What is taken out of each record.
pub struct Extract {
    tag: Option<(String, bool)>,
    time: Option<(String, bool, TimeParser)>,
}

impl Extract {
    pub(super) fn build(section: &Section, cx: &mut BuildContext<'_>) -> Result<Extract, Diagnostic> {
        let params: ExtractParams = cx.read(section)?;
        let times: TimeParams = cx.read(section)?;
        let time = match params.time_key {
            Some(key) => {
                let parser = times.parser().map_err(|e| Diagnostic::error(e, &section.span))?;
                Some((key, params.keep_time_key, parser))
            }
            None => None,
        };
        Ok(Extract { tag: params.tag_key.map(|key| (key, params.keep_tag_key)), time })
    }

    /// The tag that the record names, taken out unless it is kept.
    pub fn tag(&self, record: &mut Record<'_>) -> Option<Tag> {
        let (key, keep) = self.tag.as_ref()?;
        let value = if *keep { record.get(key.as_bytes()) } else { record.remove(key.as_bytes()) };
        Some(Tag::from(String::from_utf8_lossy(value?.as_bytes()?).into_owned()))
    }

    /// The time that the record names, taken out unless it is kept.
    pub fn time(&self, record: &mut Record<'_>, now: EventTime) -> Option<EventTime> {
        let (key, keep, parser) = self.time.as_ref()?;
        let value = if *keep { record.get(key.as_bytes()) } else { record.remove(key.as_bytes()) };
        parser.parse_value(value?, || now).ok()
    }
}
