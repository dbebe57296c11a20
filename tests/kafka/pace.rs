//! How much sending and reading costs. Figures of a release build:
//!
//! ```text
//! cargo build --release
//! SUIRO_BINARY=target/release/suiro cargo test --test integration kafka::pace -- --ignored --nocapture --test-threads=1
//! ```

use std::time::Instant;

use super::broker::Broker;
use super::*;
use crate::daemon::{is_drained, wait_at_most};

/// Events of a run, and of one request that brings them in.
const EVENTS: u64 = 400_000;
const AT_ONCE: u64 = 2_000;
/// Longest run.
const LONGEST: Duration = Duration::from_secs(600);

fn event(n: u64) -> String {
    format!(
        "{{\"id\":{n},\"text\":\"GET /items/{n} HTTP/1.1\",\"host\":\"10.0.{}.{}\",\"status\":200,\"took\":0.{:03},\
         \"agent\":\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"}}",
        n / 256 % 256,
        n % 256,
        n % 1000
    )
}

fn say(what: &str, daemon: &Daemon, before: Duration, started: Instant) {
    let (cpu, took) = ((daemon.processor_time() - before).as_secs_f64(), started.elapsed().as_secs_f64());
    eprintln!(
        "{what}: {EVENTS} events: {cpu:.2} s of processors in {took:.1} s, {:.0} events in a second of a processor",
        EVENTS as f64 / cpu
    );
}

#[test]
#[ignore = "figures, of a release build"]
fn events_in_a_second_of_a_processor() {
    let Some(broker) = Broker::start() else { return };
    for (topic, more) in [("plain", ""), ("zstd", "compression_codec zstd\n"), ("once", "transactional_id once\n")] {
        broker.create(topic, 3, &[]);
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        broker.kill();
        let buffer = buffer(dir.path(), "tag").replace("flush_interval 0.1", "flush_interval 1\nchunk_limit_size 8m");
        let more = format!("topic {topic}\n{more}{buffer}");
        let mut daemon = Daemon::start(&config(port, dir.path(), &output(broker.port, &more, dir.path())), dir.path());
        // All of it is stored before the broker is there: what follows is sending alone.
        for from in (0..EVENTS).step_by(AT_ONCE as usize) {
            let events: Vec<String> = (from..from + AT_ONCE).map(event).collect();
            assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
        }
        broker.up().unwrap();
        let (before, started) = (daemon.processor_time(), Instant::now());
        let done = wait_at_most(LONGEST, || is_drained(dir.path()).then_some(()));
        assert!(done.is_some(), "{}", daemon.log());
        say(&format!("to Kafka, {topic}"), &daemon, before, started);
        assert!(broker.ids(topic).len() as u64 >= EVENTS);
        daemon.end();
    }
    let dir = TempDir::new().unwrap();
    let out = format!(
        "@type null\n<buffer>\n@type file\npath {}\nflush_interval 1\n</buffer>\n",
        dir.path().join("buffer").display()
    );
    let mut daemon =
        Daemon::start(&loader(broker.port, "consumer_group pace\ntopics plain", dir.path(), &out), dir.path());
    let (before, started) = (daemon.processor_time(), Instant::now());
    let taken = || {
        let report = text(&suiro().arg("report").arg("--json").arg(dir.path().join("suiro.conf")).output().unwrap());
        report.contains(&EVENTS.to_string()).then_some(())
    };
    assert!(wait_at_most(LONGEST, taken).is_some(), "{}", daemon.log());
    say("from Kafka", &daemon, before, started);
    daemon.end();
}
