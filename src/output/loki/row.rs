//! From an event to an entry: labels, line, structured metadata.

use crate::event::{Arena, Entry, Record, RecordPath, Tag, Value, json};
use crate::plugin::Inject;

/// How a record becomes a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineFormat {
    /// A JSON object.
    Json,
    /// `key=value` pairs.
    #[default]
    KeyValue,
}

/// What becomes of an event.
pub struct Shape {
    /// Labels that all entries get, sorted.
    pub extra: Vec<(String, String)>,
    /// Labels from fields, which are taken out of the record.
    pub labels: Vec<(String, RecordPath)>,
    /// Structured metadata from fields, which are taken out too.
    pub metadata: Vec<(String, RecordPath)>,
    /// Fields to take out.
    pub remove: Vec<RecordPath>,
    /// Whether `kubernetes.labels` become labels.
    pub kubernetes: bool,
    /// Whether a record of one field is a line of its value.
    pub drop_single: bool,
    /// How else a record becomes a line.
    pub format: LineFormat,
    /// What is put into records first.
    pub inject: Option<Inject>,
}

/// An entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Labels, as a JSON object with sorted names.
    pub labels: Vec<u8>,
    /// Nanoseconds since the epoch.
    pub time: i64,
    /// The line.
    pub text: Vec<u8>,
    /// Structured metadata, as a JSON object; empty where there is none.
    pub metadata: Vec<u8>,
}

impl Line {
    /// Its share of a push.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.metadata.len() + 32
    }
}

impl Shape {
    /// An event as an entry. `thread`: the label `fluentd_thread`.
    ///
    /// Errors: it has no label at all, which Loki never takes.
    pub fn line(&self, tag: &Tag, entry: &Entry<'_>, thread: Option<&str>) -> Result<Line, String> {
        let arena = Arena::new();
        let mut record =
            Record::decode(entry.record, &arena).map_err(|e| format!("its record can't be read: {e:?}"))?;
        if let Some(inject) = &self.inject {
            inject.apply(tag, entry.time, &mut record, &arena);
        }
        let mut labels = taken(&self.labels, &mut record, &arena);
        if self.kubernetes
            && let Some(value @ Value::Map(_)) = record.get(b"kubernetes")
            && let Some((_, map)) = value.pairs().find(|(name, _)| name.as_bytes() == Some(b"labels"))
        {
            let each = map.pairs().filter_map(|(name, value)| {
                let name = String::from_utf8_lossy(name.as_bytes()?).into_owned();
                Some((label_name(&name), json::string_of(value)?))
            });
            labels.extend(each);
        }
        if let Some(thread) = thread {
            labels.push(("fluentd_thread".into(), thread.to_owned()));
        }
        // Those of the configuration win.
        labels.retain(|(name, _)| !self.extra.iter().any(|(other, _)| other == name));
        labels.extend(self.extra.iter().cloned());
        labels.sort();
        labels.dedup_by(|later, earlier| later.0 == earlier.0);
        if labels.is_empty() {
            return Err("it has no label: none of the fields of <label> is in it, and there are no extra_labels".into());
        }
        let metadata = taken(&self.metadata, &mut record, &arena);
        for path in &self.remove {
            path.remove(&mut record, &arena);
        }
        Ok(Line {
            labels: object(&labels),
            time: entry.time.nanos(),
            text: self.text(&record),
            metadata: if metadata.is_empty() { Vec::new() } else { object(&metadata) },
        })
    }

    fn text(&self, record: &Record<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        if let (true, 1, Some((_, value))) = (self.drop_single, record.len(), record.iter().next()) {
            return json::string_of(*value).unwrap_or_default().into_bytes();
        }
        if self.format == LineFormat::Json {
            json::write_record(record, &mut out);
            return out;
        }
        for (place, (name, value)) in record.iter().enumerate() {
            if place > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(name);
            out.push(b'=');
            let value = json::string_of(*value).unwrap_or_default();
            let quoted = value.contains([' ', '=']);
            out.extend(quoted.then_some(b'"'));
            for byte in value.bytes() {
                out.extend(matches!(byte, b'"' | b'\\').then_some(b'\\'));
                out.push(byte);
            }
            out.extend(quoted.then_some(b'"'));
        }
        out
    }
}

/// Names and values of fields that are taken out of the record.
fn taken<'a>(fields: &[(String, RecordPath)], record: &mut Record<'a>, arena: &'a Arena) -> Vec<(String, String)> {
    let each = fields.iter().filter_map(|(name, path)| {
        let value = path.remove(record, arena)?;
        Some((name.clone(), json::string_of(value)?))
    });
    each.collect()
}

/// The name of a label, as the plugin makes it.
pub fn label_name(name: &str) -> String {
    name.replace(['.', '-', '/'], "_")
}

/// Appends bytes as a JSON string.
pub fn text(bytes: &[u8], out: &mut Vec<u8>) {
    json::write_value(Value::Str(bytes), out);
}

fn object(pairs: &[(String, String)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (n, (name, value)) in pairs.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        text(name.as_bytes(), &mut out);
        out.push(b':');
        text(value.as_bytes(), &mut out);
    }
    out.push(b'}');
    out
}
