//! Tests of the metrics over real sockets.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::buffer::{Account, AccountKey, Cause, Fate};
use crate::input::forward::testing::Collector;
use crate::input::wire::testing::{build_in, get};
use crate::plugin::{Category, Inspect, LedgerRow, PluginView, Stopper};

/// What is running: an output, and a ledger of so many inputs.
pub(super) struct Shown {
    pub(super) inputs: usize,
}

impl Default for Shown {
    fn default() -> Shown {
        Shown { inputs: 1 }
    }
}

impl Inspect for Shown {
    fn plugins(&self) -> Vec<PluginView> {
        vec![PluginView {
            id: "out".into(),
            kind: "file".into(),
            category: Category::Output,
            config: Vec::new(),
            counts: vec![("emit_records", 7)],
            buffer: None,
        }]
    }

    fn ledger(&self) -> Vec<LedgerRow> {
        let mut account = Account::new(10, 4);
        account.add(Fate::Delivered, 5);
        account.add(Fate::SetAside(Cause::Rejected), 1);
        let row = |input: &str, tag: &str| {
            let key = AccountKey { day: 20_786, input: input.into(), tag: tag.into() };
            LedgerRow::new(&"out".into(), &key, account)
        };
        let more = (1..self.inputs).map(|n| row(&format!("in{n}"), "a"));
        [row("in", "a"), row("in", "b")].into_iter().chain(more).collect()
    }

    fn plugin_for_tag(&self, _tag: &str) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn the_ledger_and_the_outputs_are_there_for_prometheus() {
    let (mut input, process) = build_in::<Prometheus>("@type prometheus\nport 0");
    process.publish(Arc::new(Shown::default()));
    input.open().await.unwrap();
    let address = input.opened.as_ref().unwrap().0.local_addr().unwrap();
    let (_collector, emit) = Collector::emitter();
    let stopper = Stopper::new();
    let running = tokio::spawn(input.run(emit, stopper.listener()));
    let text = get(address, "/metrics").await;
    assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
    for line in [
        "# TYPE suiro_events_in_total counter",
        "suiro_events_in_total{input=\"in\",output=\"out\"} 20",
        "suiro_events_out_total{input=\"in\",output=\"out\",to=\"delivered\"} 10",
        "suiro_events_dropped_total{input=\"in\",output=\"out\",reason=\"rejected\"} 2",
        "suiro_events_buffered{input=\"in\",output=\"out\"} 8",
        "suiro_events_missing{input=\"in\",output=\"out\"} 0",
        "fluentd_output_status_emit_records{plugin_id=\"out\",type=\"file\"} 7",
    ] {
        let found = text.lines().any(|l| l.strip_prefix(line).is_some_and(|rest| rest.is_empty() || rest == ".0"));
        assert!(found, "{line}\n{text}");
    }
    assert!(get(address, "/aggregated_metrics").await.contains("suiro_events_in_total"));
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    stopper.stop();
    running.await.unwrap().unwrap();
}
