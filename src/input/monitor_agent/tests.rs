//! Tests of the monitoring input over real sockets.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::buffer::{Account, AccountKey};
use crate::input::forward::testing::Collector;
use crate::input::wire::testing::{self, build_in, shown};
use crate::plugin::{Category, Inspect, LedgerRow, PluginView, Stopper};

struct Two;

impl Inspect for Two {
    fn plugins(&self) -> Vec<PluginView> {
        let view = |id: &str, kind: &str, category| PluginView {
            id: id.into(),
            kind: kind.into(),
            category,
            config: vec![("@type".into(), kind.into())],
            counts: vec![("emit_records", 2)],
            buffer: None,
        };
        vec![view("in", "forward", Category::Input), view("out", "null", Category::Output)]
    }

    fn ledger(&self) -> Vec<LedgerRow> {
        let key = AccountKey { day: 20_786, input: "in".into(), tag: "a".into() };
        vec![LedgerRow::new(&"out".into(), &key, Account::new(3, 3))]
    }

    fn plugin_for_tag(&self, tag: &str) -> Option<String> {
        (tag == "a").then(|| "out".into())
    }
}

/// Status and body of an answer.
async fn get(address: std::net::SocketAddr, target: &str) -> String {
    let answer = testing::get(address, target).await;
    let status = answer.split(' ').nth(1).unwrap();
    format!("{status} {}", answer.split_once("\r\n\r\n").unwrap().1)
}

#[tokio::test]
async fn plugins_are_shown_and_emitted_with_fluentds_names() {
    let config = "@type monitor_agent\nport 0\ntag m\nemit_interval 0.01\ninclude_config true";
    let (mut input, process) = build_in::<MonitorAgent>(config);
    process.publish(Arc::new(Two));
    input.open().await.unwrap();
    let address = input.opened.as_ref().unwrap().0.local_addr().unwrap();
    let (collector, emit) = Collector::emitter();
    let stopper = Stopper::new();
    let running = tokio::spawn(input.run(emit, stopper.listener()));
    collector.wait_events(2).await;
    let out = r#"{"plugin_id":"out","plugin_category":"output","type":"null","output_plugin":true,"retry_count":null,"emit_records":2}"#;
    assert_eq!(shown(&collector)[1], format!("m {out}"));
    let list = format!("200 {{\"plugins\":[{out}]}}");
    assert_eq!(get(address, "/api/plugins.json?tag=a&with_config=no").await, list);
    assert_eq!(get(address, "/api/plugins.json?@id=out&with_config=no").await, list);
    assert_eq!(get(address, "/api/plugins.json?@id=other").await, "200 {\"plugins\":[]}");
    assert!(get(address, "/api/plugins.json?@type=forward").await.contains(r#""config":{"@type":"forward"}"#));
    let line = "plugin_id:in\tplugin_category:input\ttype:forward\toutput_plugin:false\tretry_count:\temit_records:2\n";
    assert!(get(address, "/api/plugins").await.starts_with(&format!("200 {line}")));
    assert!(get(address, "/api/config.json").await.contains("\"pid\":"));
    let row = r#""day":"2026-11-29","input":"in","tag":"a","output":"out","in":3,"out":0"#;
    assert!(get(address, "/api/ledger.json").await.contains(row));
    assert_eq!(get(address, "/healthz").await, "200 ok\n");
    assert_eq!(get(address, "/other").await, r#"404 {"message":"Not found"}"#);
    stopper.stop();
    running.await.unwrap().unwrap();
}
