//! `sample` (`dummy`): made-up events at a given rate (lib/fluent/plugin/in_sample.rb).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::wire::deliver;
use crate::config::Diagnostic;
use crate::event::json::{Elements, parse_object};
use crate::event::{Arena, BatchBuilder, EventTime, Record, Tag, Value};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Stop};

/// A second is cut in so many parts, each with its share of the rate; the rest follows at the second's end.
const PARTS: u64 = 10;
/// Length of a part.
const PART: Duration = Duration::from_millis(100);
/// Size of a batch after which it is emitted, in bytes.
const BATCH_BYTES: usize = 1024 * 1024;

/// Parameters of `in_sample`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct SampleParams {
    /// Tag of the events. Required.
    tag: String,
    /// Events of one emit.
    size: u64,
    /// Emits in a second.
    rate: u64,
    /// Field that counts the events, from 0.
    auto_increment_key: Option<String>,
    /// Ignored, as in Fluentd.
    suspend: Option<bool>,
    /// No effect: samples are encoded once in any case.
    reuse_record: Option<bool>,
    /// A record, or an array of records that are taken in turn, in JSON.
    #[serde(alias = "dummy")]
    sample: String,
}

impl Default for SampleParams {
    fn default() -> Self {
        SampleParams {
            tag: String::new(),
            size: 1,
            rate: 1,
            auto_increment_key: None,
            suspend: None,
            reuse_record: None,
            sample: r#"[{"message":"sample"}]"#.into(),
        }
    }
}

/// The input.
pub struct Sample {
    params: SampleParams,
    samples: Samples,
}

impl Configure for Sample {
    type Config = SampleParams;
    const READ_ELSEWHERE: &'static [&'static str] = &["storage"];

    fn new(params: SampleParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if params.tag.is_empty() {
            return Err(cx.fault("tag", "'tag' parameter is required"));
        }
        if params.suspend.is_some() {
            cx.warn("suspend", "'suspend' parameter is ignored");
        }
        if params.reuse_record.is_some() {
            cx.without_effect("reuse_record", "samples are encoded once in any case; take it out");
        }
        if cx.section.child("storage").is_some() {
            cx.warn("storage", "<storage> is not used: auto_increment_key counts from 0 at each start");
        }
        let named = if cx.section.has("dummy") { "dummy" } else { "sample" };
        let records = read(params.sample.as_bytes()).map_err(|e| cx.fault(named, e))?;
        let samples = Samples { records, next: 0, key: params.auto_increment_key.clone(), count: 0 };
        Ok(Sample { params, samples })
    }
}

/// Samples as encoded maps.
///
/// Errors: text that is no JSON, or something in it that is no object, or nothing at all.
fn read(text: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let arena = Arena::new();
    let mut record = Record::new();
    let mut records = Vec::new();
    let encoded = |record: &Record<'_>| {
        let mut map = Vec::new();
        record.encode(&mut map);
        map
    };
    let Some(mut elements) = Elements::new(text) else {
        parse_object(text, &arena, &mut record).map_err(|e| format!("sample is no JSON object or array: {e}"))?;
        return Ok(vec![encoded(&record)]);
    };
    while let Some(read) = elements.next_record(&arena, &mut record) {
        read.map_err(|e| format!("{}th element of sample is not a hash: {e}", records.len()))?;
        records.push(encoded(&record));
    }
    if records.is_empty() {
        return Err("sample needs at least one record".into());
    }
    Ok(records)
}

struct Samples {
    records: Vec<Vec<u8>>,
    next: usize,
    key: Option<String>,
    count: i64,
}

impl Samples {
    fn push(&mut self, builder: &mut BatchBuilder) {
        let map = &self.records[self.next];
        self.next = (self.next + 1) % self.records.len();
        let Some(key) = &self.key else {
            return builder.push_with(EventTime::now(), |out| out.extend_from_slice(map));
        };
        let arena = Arena::new();
        // The map was encoded here, so it can be read.
        if let Ok(mut record) = Record::decode(map, &arena) {
            record.set(key.as_bytes(), Value::Int(self.count));
            builder.push(EventTime::now(), &record);
        }
        self.count += 1;
    }
}

impl Input for Sample {
    async fn run(mut self, emit: Emitter, mut stop: Stop) -> Result<(), InputError> {
        let (part, rest) = (self.params.rate / PARTS, self.params.rate % PARTS);
        while !stop.is_stopped() {
            let second = now().as_secs();
            for _ in 0..PARTS {
                if stop.is_stopped() || now().as_secs() > second {
                    break;
                }
                let until = tokio::time::Instant::now() + PART;
                self.emit(part, &emit, &mut stop).await;
                let _ = stop.or(tokio::time::sleep_until(until)).await;
            }
            if !stop.is_stopped() {
                self.emit(rest, &emit, &mut stop).await;
            }
            let left = Duration::from_secs(second + 1).saturating_sub(now());
            let _ = stop.or(tokio::time::sleep(left)).await;
        }
        Ok(())
    }
}

impl Sample {
    async fn emit(&mut self, times: u64, emit: &Emitter, stop: &mut Stop) {
        let tag = Tag::from(self.params.tag.as_str());
        let mut builder = BatchBuilder::new();
        for n in 0..times.saturating_mul(self.params.size) {
            self.samples.push(&mut builder);
            if builder.bytes() >= BATCH_BYTES {
                deliver(builder.finish(tag.clone()), emit, stop).await;
            }
            if n % 1024 == 0 && stop.is_stopped() {
                break;
            }
        }
        deliver(builder.finish(tag), emit, stop).await;
    }
}

fn now() -> Duration {
    // A clock before 1970 counts as 1970.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::input::forward::testing::Collector;
    use crate::input::wire::testing::{build, faults, shown};
    use crate::plugin::Stopper;

    #[tokio::test]
    async fn samples_take_turns_and_are_counted() {
        let input: Sample =
            build("@type dummy\ntag s\nrate 5\nauto_increment_key id\ndummy [{\"m\":\"a\"},{\"m\":\"b\"}]");
        let (collector, emit) = Collector::emitter();
        let stopper = Stopper::new();
        let running = tokio::spawn(input.run(emit, stopper.listener()));
        collector.wait_events(5).await;
        stopper.stop();
        running.await.unwrap().unwrap();
        assert_eq!(shown(&collector)[..3], [r#"s {"m":"a","id":0}"#, r#"s {"m":"b","id":1}"#, r#"s {"m":"a","id":2}"#]);
    }

    #[test]
    fn samples_must_be_objects() {
        for sample in ["[]", "[1]", "1", "{\"a\"", "[{},2]"] {
            assert!(
                faults::<Sample>(&format!("@type sample\ntag s\nsample '{sample}'")).contains("sample"),
                "{sample}"
            );
        }
        assert_eq!(read(b"{}").unwrap().len(), 1);
    }
}
