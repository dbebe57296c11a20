//! Chunks through commands and back.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::config::{Diagnostics, LoadOptions, Surroundings, load_text};
use crate::event::json::write_map;
use crate::event::{Batch, BatchBuilder, EventTime, Record, Value};
use crate::input::forward::testing::Collector;
use crate::plugin::testing::process;
use crate::plugin::{Registry, Stopper};

static REGISTRY: Registry = Registry {
    inputs: &[],
    filters: &[],
    outputs: &[],
    parsers: crate::parser::PARSERS,
    formatters: crate::formatter::FORMATTERS,
};

fn configured(config: &str) -> Result<ExecFilter, String> {
    let text = format!("<match **>\n@type exec_filter\n{config}\n</match>\n");
    let mut root = load_text("test.conf", &text, &LoadOptions::new(Surroundings::default())).unwrap().root;
    crate::config::exec_filter_parts(&mut root.children[0]);
    let (process, mut faults) = (process(true), Diagnostics::new());
    let built = BuildContext::new(&root.children[0], &process, &REGISTRY, &mut faults).configure();
    built.ok_or_else(|| faults.render())
}

fn batch(tag: &str, numbers: std::ops::Range<i64>) -> Batch {
    let mut builder = BatchBuilder::new();
    for n in numbers {
        let mut record = Record::new();
        record.set(b"n", Value::Int(n));
        builder.push(EventTime::from_secs(5), &record);
    }
    builder.finish(Tag::from(tag))
}

fn shown(collector: &Collector) -> Vec<String> {
    let mut out = Vec::new();
    for batch in &collector.state().batches {
        for entry in batch.entries() {
            let (entry, mut json) = (entry.unwrap(), Vec::new());
            write_map(entry.record, &mut json).unwrap();
            out.push(format!("{} {}", batch.tag, String::from_utf8(json).unwrap()));
        }
    }
    out
}

/// A started output and what it emits.
async fn started(config: &str) -> (ExecFilter, Arc<Collector>) {
    let output = configured(config).unwrap();
    let (collector, emit) = Collector::emitter();
    output.connect(emit);
    output.start(Stopper::new().listener()).await.unwrap();
    (output, collector)
}

const JSON: &str = "<format>\n@type json\n</format>\n<parse>\n@type json\n</parse>\n";

#[tokio::test]
async fn events_go_through_the_command_and_come_back_under_its_tag() {
    let (output, got) = started(&format!("command sed -u s/n/m/\ntag out\n{JSON}")).await;
    output.write(&Chunk::direct(&batch("in", 0..3))).await.unwrap();
    got.wait_events(3).await;
    assert_eq!(shown(&got), [r#"out {"m":0}"#, r#"out {"m":1}"#, r#"out {"m":2}"#]);
    output.close().await;
}

#[tokio::test]
async fn tags_and_times_travel_in_fields_and_prefixes_are_changed() {
    let config =
        "command cat\nremove_prefix a\nadd_prefix z\ntag_key t\ntime_key when\nin_keys t,when,n\nout_keys t,when,n";
    let (output, got) = started(config).await;
    output.write(&Chunk::direct(&batch("a.b", 7..8))).await.unwrap();
    got.wait_events(1).await;
    assert_eq!(shown(&got), [r#"z.b {"n":"7"}"#]);
    assert_eq!(got.events()[0].1, EventTime::from_secs(5));
    output.close().await;
}

#[tokio::test]
async fn what_a_command_prints_only_at_its_end_is_emitted_before_the_close_is_done() {
    let (output, got) = started(&format!("command sort -r\ntag out\n{JSON}")).await;
    output.write(&Chunk::direct(&batch("in", 0..3))).await.unwrap();
    output.close().await;
    assert_eq!(shown(&got).len(), 3);
}

#[tokio::test]
async fn chunks_go_to_several_commands_in_turn() {
    let config = format!("command sed -u s/}}/,\\\"p\\\":$$}}/\ntag out\nnum_children 2\n{JSON}");
    let (output, got) = started(&config).await;
    for n in 0..4 {
        output.write(&Chunk::direct(&batch("in", n..n + 1))).await.unwrap();
    }
    got.wait_events(4).await;
    let processes: std::collections::HashSet<String> =
        shown(&got).iter().map(|line| line.split("\"p\":").nth(1).unwrap().to_owned()).collect();
    assert_eq!(processes.len(), 2, "{:?}", shown(&got));
    output.close().await;
}

#[tokio::test]
async fn a_command_that_ended_is_started_again_as_often_as_asked() {
    let config = format!("command head -n 1\ntag out\nchild_respawn inf\n{JSON}");
    let (output, got) = started(&config).await;
    let chunk = Chunk::direct(&batch("in", 0..1));
    // What is given to a command that is about to end is lost with it.
    while got.numbers().len() < 3 {
        let _ = output.write(&chunk).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    output.close().await;
}

#[tokio::test]
async fn without_a_command_that_runs_a_chunk_comes_again() {
    let (output, _) = started(&format!("command true\ntag out\n{JSON}")).await;
    let chunk = Chunk::direct(&batch("in", 0..1));
    // The pipe of a command that is about to end may still take a text.
    while output.write(&chunk).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(output.write(&chunk).await, Err(WriteError::Retry(why)) if why.contains("no healthy child")));
    output.close().await;
}

#[test]
fn what_is_missing_or_wrong_is_a_fault() {
    let fault = |config: &str| configured(&format!("{config}\n{JSON}")).err().unwrap();
    assert!(fault("tag t").contains("command"));
    assert!(fault("command c").contains("'tag' or '<extract> tag_key"));
    assert!(fault("command c\ntag t\nnum_children 0").contains("num_children"));
    assert!(fault("command c\ntag t\nchild_respawn often").contains("child_respawn"));
}
