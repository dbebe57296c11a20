//! How much loading costs. Figures of a release build:
//!
//! ```text
//! cargo build --release
//! SUIRO_BINARY=target/release/suiro cargo test --test integration bigquery::pace -- --ignored --nocapture
//! ```

use std::time::{Duration, Instant};

use super::standin::StandIn;
use super::*;
use crate::daemon::wait_at_most;

/// Events of a run, and of one request that brings them in.
const EVENTS: usize = 400_000;
const AT_ONCE: usize = 2_000;
/// Ticks of a second in `/proc/PID/stat`.
const TICKS: f64 = 100.0;
/// Longest run.
const LONGEST: Duration = Duration::from_secs(600);

/// Seconds of processors that a process has used.
fn used(daemon: &Daemon) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

fn events(from: usize) -> String {
    let one = |n: usize| {
        format!(
            "{{\"n\":{n},\"text\":\"GET /items/{n} HTTP/1.1\",\"host\":\"10.0.{}.{}\",\"status\":200,\"took\":0.{:03},\
             \"agent\":\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\"}}",
            n / 256 % 256,
            n % 256,
            n % 1000
        )
    };
    format!("[{}]", (from..from + AT_ONCE).map(one).collect::<Vec<_>>().join(","))
}

#[test]
#[ignore = "figures, of a release build"]
fn events_in_a_second_of_a_processor() {
    let site = Site::load(free_port(), "");
    let output = site.output.replace("flush_interval 0.1", "flush_interval 1\nchunk_limit_size 64m");
    let site = Site { output, ..site };
    let mut daemon = site.start();
    // All of it is stored before the service is there: what follows is loading alone.
    let mut bytes = 0;
    for from in (0..EVENTS).step_by(AT_ONCE) {
        let body = events(from);
        bytes += body.len();
        site.post(&body);
    }
    let before = used(&daemon);
    let service = StandIn::start_on(site.target);
    let columns = ["n:INTEGER", "text:STRING", "host:STRING", "status:INTEGER", "took:FLOAT", "agent:STRING"];
    service.make(TABLE, &columns);
    let started = Instant::now();
    let done = wait_at_most(LONGEST, || is_drained(site.path()).then_some(()));
    let (took, cpu) = (started.elapsed().as_secs_f64(), used(&daemon) - before);
    assert!(done.is_some(), "{}", daemon.log());
    daemon.end();
    assert_eq!(service.table(TABLE).unwrap().rows.len(), EVENTS);
    let (jobs, mib) = (service.jobs().len(), bytes as f64 / f64::from(1 << 20));
    eprintln!(
        "{EVENTS} events, {mib:.0} MiB of JSON, {jobs} jobs: {cpu:.2} s of processors in {took:.1} s, \
         {:.0} events and {:.0} MiB in a second of a processor",
        EVENTS as f64 / cpu,
        mib / cpu
    );
}
