//! Requests of remote write 1.0 (prometheus.io, "Prometheus Remote-Write 1.0 specification"): `WriteRequest`s of protobuf in
//! snappy's block format.

use bytes::Bytes;

use crate::input::prometheus::metrics;
use crate::net::proto::{put_bytes, put_fixed64, put_message, put_number};
use crate::plugin::Process;

/// Most series of a request: what Prometheus itself sends together.
pub(super) const MAX_SERIES: usize = 2_000;

/// Numbers of fields: `WriteRequest.timeseries`; `TimeSeries.labels`, `.samples`; `Label.name`, `.value`; `Sample.value`,
/// `.timestamp`.
const TIMESERIES: u32 = 1;
const LABELS: u32 = 1;
const SAMPLES: u32 = 2;
const NAME: u32 = 1;
const TEXT: u32 = 2;
const VALUE: u32 = 1;
const TIMESTAMP: u32 = 2;

/// Every metric as it is now, `labels` with it, under a time in milliseconds. Labels that a metric has itself stay its own.
pub(super) fn requests(process: &Process, labels: &[(String, String)], at: u64) -> Result<Vec<Bytes>, snap::Error> {
    let (mut messages, mut count) = (Vec::<Vec<u8>>::new(), 0);
    metrics::each(process, &mut |family| {
        let name = family.series();
        for (own, value) in &family.rows {
            if count % MAX_SERIES == 0 {
                messages.push(Vec::new());
            }
            count += 1;
            let Some(message) = messages.last_mut() else { return };
            let labels = merged(&name, own, labels);
            put_message(message, TIMESERIES, |out| put_series(out, &labels, *value, at));
        }
    });
    messages.iter().map(|message| snap::raw::Encoder::new().compress_vec(message).map(Bytes::from)).collect()
}

/// The labels of a series, by name; none without a value.
fn merged<'a>(name: &'a str, own: &[(&'a str, &'a str)], more: &'a [(String, String)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![("__name__", name)];
    all.extend(own.iter().filter(|(_, value)| !value.is_empty()));
    let is_new = |name: &str| own.iter().all(|(known, _)| *known != name);
    all.extend(more.iter().filter(|(name, _)| is_new(name)).map(|(name, value)| (name.as_str(), value.as_str())));
    all.sort_unstable();
    all
}

fn put_series(out: &mut Vec<u8>, labels: &[(&str, &str)], value: f64, at: u64) {
    for (name, text) in labels {
        put_message(out, LABELS, |out| {
            put_bytes(out, NAME, name.as_bytes());
            put_bytes(out, TEXT, text.as_bytes());
        });
    }
    put_message(out, SAMPLES, |out| {
        put_fixed64(out, VALUE, value.to_bits());
        put_number(out, TIMESTAMP, at);
    });
}
