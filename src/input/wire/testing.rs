//! For tests: inputs from configuration text, their answers over HTTP, collected events as text.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::{Diagnostics, LoadOptions, load_text};
use crate::event::json::write_map;
use crate::input::forward::testing::Collector;
use crate::plugin::testing::process;
use crate::plugin::{BuildContext, Configure, Process, Registry};

static REGISTRY: Registry = Registry {
    inputs: crate::input::INPUTS,
    filters: &[],
    outputs: &[],
    parsers: crate::parser::PARSERS,
    formatters: &[],
};

fn configured<P: Configure>(config: &str) -> (Option<P>, Diagnostics, Arc<Process>) {
    let text = format!("<source>\n{config}\n</source>\n");
    let options = LoadOptions::new(crate::config::Surroundings::default());
    let root = load_text("test.conf", &text, &options).unwrap().root;
    let section = root.child("source").unwrap();
    let process = process(true);
    let mut faults = Diagnostics::new();
    let plugin = BuildContext::new(section, &process, &REGISTRY, &mut faults).configure();
    (plugin, faults, process)
}

/// An input from the body of a `<source>`, and its process.
pub(in crate::input) fn build_in<P: Configure>(config: &str) -> (P, Arc<Process>) {
    let (plugin, faults, process) = configured(config);
    (plugin.unwrap_or_else(|| panic!("{}", faults.render())), process)
}

/// An input from the body of a `<source>`.
pub(in crate::input) fn build<P: Configure>(config: &str) -> P {
    build_in(config).0
}

/// What is wrong with the body of a `<source>`.
pub(in crate::input) fn faults<P: Configure>(config: &str) -> String {
    let (plugin, faults, _) = configured::<P>(config);
    assert!(plugin.is_none(), "{config} has no fault");
    faults.render()
}

/// The answer to a GET, whole.
pub(in crate::input) async fn get(address: SocketAddr, target: &str) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Collected events as `tag {json}`.
pub(in crate::input) fn shown(collector: &Collector) -> Vec<String> {
    let state = collector.state();
    let mut out = Vec::new();
    for batch in &state.batches {
        for entry in batch.entries() {
            let mut json = Vec::new();
            write_map(entry.unwrap().record, &mut json).unwrap();
            out.push(format!("{} {}", batch.tag, String::from_utf8(json).unwrap()));
        }
    }
    out
}
