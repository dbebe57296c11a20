//! What documents cost: events in a second of processor time of suiro alone, from the HTTP input to the answer of a bulk
//! request. `SUIRO_BINARY=target/release/suiro cargo test --test integration search::pace -- --ignored --nocapture
//! --test-threads=1` prints a line for each output.

use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;

use super::real::OpenSearch;
use super::standin::StandIn;
use super::*;
use crate::daemon::{Daemon, free_port, is_drained, wait_at_most};
use crate::databases::{config, post};

/// Posts, and events of each.
const POSTS: u64 = 100;
const EVENTS: u64 = 2_000;
/// Longest run.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(600);

/// Runs an output until its buffer is empty; prints a line.
fn measure(name: &str, output: impl Fn(&Path) -> String) {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(dir.path())), dir.path());
    let (before, started) = (daemon.processor_time(), Instant::now());
    for n in 0..POSTS {
        let ids = n * EVENTS..(n + 1) * EVENTS;
        let events: Vec<String> = ids
            .map(|id| format!("{{\"id\":{id},\"s\":\"GET /index.html?page={id} HTTP/1.1\",\"n\":{}}}", id % 1000))
            .collect();
        assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
    }
    // SIGUSR1 seals what is staged.
    daemon.signal("USR1");
    let done = wait_at_most(LONGEST, || is_drained(dir.path()).then_some(()));
    assert!(done.is_some(), "{}", daemon.log());
    let used = (daemon.processor_time() - before).as_secs_f64();
    let took = started.elapsed().as_secs_f64();
    println!("| {name} | {:.0} | {:.0} |", (POSTS * EVENTS) as f64 / used, (POSTS * EVENTS) as f64 / took);
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
#[ignore = "a measurement"]
fn events_for_each_second_of_processor_time() {
    println!("| output | events per second of processor time | events per second |");
    let buffered = |dir: &Path| buffer(dir, "tag").replace("flush_interval 0.1", "flush_interval 1s");
    measure("null", |dir| format!("@type null\n{}", buffered(dir)));
    for (name, more) in [
        ("opensearch", "index_name logs"),
        ("opensearch, logstash_format", "logstash_format true"),
        ("opensearch, gzip", "index_name logs\ncompression_level best_speed"),
        ("opensearch, remove_keys", "index_name logs\nremove_keys none"),
    ] {
        let target = StandIn::start();
        let hosts = format!("hosts 127.0.0.1:{}", target.port);
        measure(name, |dir| format!("@type opensearch\n{hosts}\n{more}\n{}", buffered(dir)));
        let count: usize = target.indices().iter().map(|index| target.documents(index).len()).sum();
        assert_eq!(count as u64, POSTS * EVENTS);
    }
    if let Some(server) = OpenSearch::start() {
        let hosts = format!("hosts 127.0.0.1:{}", server.port);
        measure("opensearch, the real one", |dir| {
            format!("@type opensearch\n{hosts}\nindex_name logs\n{}", buffered(dir))
        });
        assert_eq!(server.numbers("logs").len() as u64, POSTS * EVENTS);
    }
}
