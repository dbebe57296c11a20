//! The metrics: the ledger, and outputs under the names of fluent-plugin-prometheus. Labels are ids from the configuration
//! and words of this program, never tags: their number does not depend on what clients send.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
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

/// What a scrape reads.
struct Metrics(Arc<Process>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
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

impl Collector for Metrics {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        build_info(&mut to)?;
        let Some(inspect) = self.0.inspect() else { return Ok(()) };
        ledger(&inspect.ledger(), &mut to)?;
        let views = inspect.plugins();
        let outputs: Vec<&PluginView> = views.iter().filter(|view| view.category == Category::Output).collect();
        counts(&outputs, &mut to)?;
        buffers(&outputs, &mut to)
    }
}

/// A metric's name, what it says, and its kind.
struct Told<'a>(&'a str, &'a str, bool);

impl Told<'_> {
    /// Writes the metric with a value for each set of labels.
    fn put<'l, const N: usize>(
        &self,
        to: &mut DescriptorEncoder,
        rows: impl Iterator<Item = ([(&'l str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let Told(name, help, is_counter) = *self;
        let kind = match is_counter {
            true => prometheus_client::metrics::MetricType::Counter,
            false => prometheus_client::metrics::MetricType::Gauge,
        };
        let mut metric = to.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in rows {
            let one = metric.encode_family(&labels)?;
            match is_counter {
                true => ConstCounter::new(value).encode(one)?,
                false => ConstGauge::new(value).encode(one)?,
            }
        }
        Ok(())
    }
}

fn build_info(to: &mut DescriptorEncoder) -> fmt::Result {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    Told("suiro_build_info", "The version that runs", false).put(to, [(version, 1.0)].into_iter())
}

fn ledger(rows: &[LedgerRow], to: &mut DescriptorEncoder) -> fmt::Result {
    let mut sums = BTreeMap::<(&str, &str), Account>::new();
    for row in rows {
        sums.entry((&row.key.input, &row.output)).or_default().merge(&row.account);
    }
    let simple: [(Told<'_>, Value); 3] = [
        (Told("suiro_events_in", "Events that came to an output, or to none", true), |a| a.taken_in as f64),
        (Told("suiro_events_buffered", "Events in the buffer", false), |a| a.held as f64),
        (Told("suiro_events_missing", "Events that are accounted for nowhere", false), |a| a.missing() as f64),
    ];
    for (told, value) in simple {
        let rows = sums.iter().map(|(way, account)| (*way, value(account)));
        told.put(to, rows.map(|((input, output), value)| ([("input", input), ("output", output)], value)))?;
    }
    let fates = |out: bool| {
        let all =
            sums.iter().flat_map(|(way, account)| account.fates().map(move |(fate, events)| (*way, fate, events)));
        all.filter(move |(_, fate, _)| matches!(fate, Fate::Delivered | Fate::Secondary) == out)
    };
    Told("suiro_events_out", "Events that went out", true).put(
        to,
        fates(true)
            .map(|((input, output), fate, n)| ([("input", input), ("output", output), ("to", fate.word())], n as f64)),
    )?;
    Told("suiro_events_dropped", "Events that were dropped or set aside", true).put(
        to,
        fates(false).map(|((input, output), fate, n)| {
            ([("input", input), ("output", output), ("reason", fate.word())], n as f64)
        }),
    )
}

fn labels(view: &PluginView) -> [(&str, &str); 2] {
    [("plugin_id", &view.id), ("type", &view.kind)]
}

fn counts(outputs: &[&PluginView], to: &mut DescriptorEncoder) -> fmt::Result {
    let own = OWN_COUNTS.iter().map(|(name, help)| (format!("suiro_output_{name}"), name, help));
    let common = COUNTS.iter().map(|(name, help)| (format!("fluentd_output_status_{name}"), name, help));
    for (metric, name, help) in common.chain(own) {
        let rows = outputs.iter().filter_map(|view| {
            let (_, count) = view.counts.iter().find(|(known, _)| *known == *name)?;
            Some((labels(view), *count as f64))
        });
        Told(&metric, help, false).put(to, rows)?;
    }
    Ok(())
}

fn buffers(outputs: &[&PluginView], to: &mut DescriptorEncoder) -> fmt::Result {
    let buffered: Vec<(&PluginView, &BufferView)> =
        outputs.iter().filter_map(|view| Some((*view, view.buffer.as_ref()?))).collect();
    for (name, help, figure) in FIGURES {
        let metric = format!("fluentd_output_status_{name}");
        Told(&metric, help, false)
            .put(to, buffered.iter().map(|(view, buffer)| (labels(view), figure(&buffer.stats))))?;
    }
    let retrying = buffered.iter().map(|(view, buffer)| (labels(view), buffer.retrying as f64));
    Told("suiro_chunks_retrying", "Chunks that wait for a retry", false).put(to, retrying)
}
