//! The metrics: the ledger, and outputs under the names of fluent-plugin-prometheus. Labels are ids from the configuration
//! and words of this program, never tags: their number does not depend on what clients send.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType::{self, Counter, Gauge};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::buffer::{Account, BufferStats, Fate};
use crate::plugin::{BufferView, Category, LedgerRow, PluginView, Process};

pub(super) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// Outputs' counts by Fluentd's names, with what they say.
const COUNTS: &[(&str, &str)] = &[
    ("retry_count", "Failed writes"),
    ("emit_records", "Events that came to the output"),
    ("emit_count", "Batches that came to the output"),
    ("emit_size", "Bytes of entries that came to the output"),
    ("write_count", "Chunks written"),
    ("write_secondary_count", "Chunks that the secondary wrote"),
    ("rollback_count", "Chunks given back to the buffer"),
    ("slow_flush_count", "Writes slower than slow_flush_log_threshold"),
    ("flush_time_count", "Time spent in writes, in milliseconds"),
];

/// Counts that only some outputs have, with what they say.
const OWN_COUNTS: &[(&str, &str)] = &[("rest_values", "Values that did not fit their column and were kept in _rest")];

/// A figure of a buffer.
type Figure = fn(&BufferStats) -> f64;
/// A figure of an account.
type Value = fn(&Account) -> f64;

/// Buffers' figures by fluent-plugin-prometheus's names.
const FIGURES: &[(&str, &str, Figure)] = &[
    ("buffer_total_bytes", "Bytes in the buffer", |s| s.total_bytes as f64),
    ("buffer_stage_length", "Staged chunks", |s| s.stage_length as f64),
    ("buffer_stage_byte_size", "Bytes of staged chunks", |s| s.stage_bytes as f64),
    ("buffer_queue_length", "Queued chunks", |s| s.queue_length as f64),
    ("queue_byte_size", "Bytes of queued chunks", |s| s.queue_bytes as f64),
    ("buffer_available_space_ratio", "Room in the buffer, in per cent", |s| s.available_ratio * 100.0),
];

/// The labels of a value.
type Labels<'a> = Vec<(&'a str, &'a str)>;

/// What takes metrics, one after the other.
type Each<'e> = &'e mut dyn FnMut(&Family<'_>);

/// A metric: a value for each set of labels.
pub(super) struct Family<'a> {
    kind: MetricType,
    name: &'a str,
    help: &'a str,
    /// Labels and values.
    pub(super) rows: Vec<(Labels<'a>, f64)>,
}

impl<'a> Family<'a> {
    fn new<const N: usize>(
        kind: MetricType,
        name: &'a str,
        help: &'a str,
        rows: impl Iterator<Item = ([(&'a str, &'a str); N], f64)>,
    ) -> Family<'a> {
        Family { kind, name, help, rows: rows.map(|(labels, value)| (labels.to_vec(), value)).collect() }
    }

    /// What a scrape calls its values: the text form gives counters this ending.
    pub(super) fn series(&self) -> Cow<'a, str> {
        match self.kind {
            Counter => format!("{}_total", self.name).into(),
            _ => self.name.into(),
        }
    }

    fn encode(&self, to: &mut DescriptorEncoder) -> fmt::Result {
        let mut metric = to.encode_descriptor(self.name, self.help, None, self.kind)?;
        for (labels, value) in &self.rows {
            let one = metric.encode_family(labels)?;
            match self.kind {
                Counter => ConstCounter::new(*value).encode(one)?,
                _ => ConstGauge::new(*value).encode(one)?,
            }
        }
        Ok(())
    }
}

/// What a scrape reads.
struct Metrics(Arc<Process>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Collector for Metrics {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let mut outcome = Ok(());
        each(&self.0, &mut |family: &Family<'_>| outcome = outcome.and_then(|()| family.encode(&mut to)));
        outcome
    }
}

/// Everything as text, in Prometheus' format 0.0.4.
pub(super) fn text(process: &Arc<Process>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(process.clone())));
    let mut out = String::new();
    prometheus_text::encode(&mut out, &registry)?;
    Ok(out)
}

/// Gives every metric as it is now: what a scrape shows and what remote write sends.
pub(super) fn each(process: &Process, to: Each<'_>) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    to(&Family::new(Gauge, "suiro_build_info", "The version that runs", [(version, 1.0)].into_iter()));
    let Some(inspect) = process.inspect() else { return };
    ledger(&inspect.ledger(), to);
    let views = inspect.plugins();
    let outputs: Vec<&PluginView> = views.iter().filter(|view| view.category == Category::Output).collect();
    counts(&outputs, to);
    buffers(&outputs, to);
}

fn ledger(rows: &[LedgerRow], to: Each<'_>) {
    let mut sums = BTreeMap::<(&str, &str), Account>::new();
    for row in rows {
        sums.entry((&row.key.input, &row.output)).or_default().merge(&row.account);
    }
    let simple: [(MetricType, &str, &str, Value); 3] = [
        (Counter, "suiro_events_in", "Events that came to an output, or to none", |a| a.taken_in as f64),
        (Gauge, "suiro_events_buffered", "Events in the buffer", |a| a.held as f64),
        (Gauge, "suiro_events_missing", "Events that are accounted for nowhere", |a| a.missing() as f64),
    ];
    for (kind, name, help, value) in simple {
        let rows =
            sums.iter().map(|((input, output), account)| ([("input", *input), ("output", *output)], value(account)));
        to(&Family::new(kind, name, help, rows));
    }
    let fates = |out: bool| {
        let all =
            sums.iter().flat_map(|(way, account)| account.fates().map(move |(fate, events)| (*way, fate, events)));
        all.filter(move |(_, fate, _)| matches!(fate, Fate::Delivered | Fate::Secondary) == out)
    };
    to(&Family::new(
        Counter,
        "suiro_events_out",
        "Events that went out",
        fates(true)
            .map(|((input, output), fate, n)| ([("input", input), ("output", output), ("to", fate.word())], n as f64)),
    ));
    to(&Family::new(
        Counter,
        "suiro_events_dropped",
        "Events that were dropped or set aside",
        fates(false).map(|((input, output), fate, n)| {
            ([("input", input), ("output", output), ("reason", fate.word())], n as f64)
        }),
    ));
}

fn labels(view: &PluginView) -> [(&str, &str); 2] {
    [("plugin_id", &view.id), ("type", &view.kind)]
}

fn counts(outputs: &[&PluginView], to: Each<'_>) {
    let own = OWN_COUNTS.iter().map(|(name, help)| (format!("suiro_output_{name}"), name, help));
    let common = COUNTS.iter().map(|(name, help)| (format!("fluentd_output_status_{name}"), name, help));
    for (metric, name, help) in common.chain(own) {
        let rows = outputs.iter().filter_map(|view| {
            let (_, count) = view.counts.iter().find(|(known, _)| *known == *name)?;
            Some((labels(view), *count as f64))
        });
        to(&Family::new(Gauge, &metric, help, rows));
    }
}

fn buffers(outputs: &[&PluginView], to: Each<'_>) {
    let buffered: Vec<(&PluginView, &BufferView)> =
        outputs.iter().filter_map(|view| Some((*view, view.buffer.as_ref()?))).collect();
    for (name, help, figure) in FIGURES {
        let metric = format!("fluentd_output_status_{name}");
        let rows = buffered.iter().map(|(view, buffer)| (labels(view), figure(&buffer.stats)));
        to(&Family::new(Gauge, &metric, help, rows));
    }
    let retrying = buffered.iter().map(|(view, buffer)| (labels(view), buffer.retrying as f64));
    to(&Family::new(Gauge, "suiro_chunks_retrying", "Chunks that wait for a retry", retrying));
}
