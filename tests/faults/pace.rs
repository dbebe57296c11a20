//! What an acknowledgement costs. Figures of a release build on a machine with nothing else to do, so these are run by hand:
//! `SUIRO_BINARY=$PWD/target/release/suiro cargo test --test integration faults::pace -- --ignored --nocapture --test-threads=1`.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::place::{Place, QUICK, forward_source, http_source, matching};
use super::senders::{Send, forward_sender, http_sender};
use super::{Daemon, free_port};

/// Senders at once, each with one request on its way.
const SENDERS: usize = 16;
/// How long they send.
const TIME: Duration = Duration::from_secs(10);
/// Most syncs for each request.
const MOST_SYNCS: f64 = 0.2;
/// How soon 99 of 100 requests are acknowledged.
const SOON: Duration = Duration::from_millis(10);

/// How long each request took, in order of length.
fn times(sender: impl Fn() -> Send) -> Vec<Duration> {
    let work = |number: usize, mut send: Send| {
        let (mut times, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < TIME {
            let name = format!("p{number}-{}", times.len());
            let ids: Vec<String> = (0..10).map(|n| format!("{name}-{n}")).collect();
            let sent = Instant::now();
            send(&ids, &name).unwrap();
            times.push(sent.elapsed());
        }
        times
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|number| (number, sender())).collect();
        let threads: Vec<_> = senders.into_iter().map(|(n, send)| scope.spawn(move || work(n, send))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    times.sort_unstable();
    times
}

/// The kinds of inputs: a name, a source, what sends to it.
type Kind = (&'static str, fn(u16) -> String, fn(u16) -> Send);
const KINDS: [Kind; 2] = [("http", http_source, http_sender), ("forward", forward_source, forward_sender)];

#[test]
#[ignore = "a figure, to be taken by hand"]
fn acknowledgements_come_soon() {
    for (name, source, sender) in KINDS {
        let (place, port) = (Place::new(), free_port());
        let mut daemon = place.start(&(source(port) + &matching(&place.file("all", QUICK))));
        let times = times(|| sender(port));
        let at = |share: usize| times[times.len() * share / 1000];
        println!(
            "| {name} | {} requests | half in {:?} | 99 % in {:?} | 99.9 % in {:?} |",
            times.len(),
            at(500),
            at(990),
            at(999)
        );
        assert!(at(990) <= SOON, "{name}: {:?}", at(990));
        daemon.end_within(Duration::from_secs(5));
    }
}

/// Calls of the kind that `strace -c` has counted.
fn counted(summary: &str) -> usize {
    let calls = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        ["fsync", "fdatasync"].contains(fields.last()?).then(|| fields[3].parse::<usize>().unwrap())
    };
    summary.lines().filter_map(calls).sum()
}

#[test]
#[ignore = "a figure, to be taken by hand; needs strace"]
fn senders_share_their_syncs() {
    for (name, source, sender) in KINDS {
        let (place, port) = (Place::new(), free_port());
        let summary = place.join("syncs");
        // Nothing is flushed meanwhile: syncs of the target are not those of the buffer.
        let config = source(port) + &matching(&place.file("all", "flush_mode lazy\nflush_at_shutdown false"));
        let daemon = start_traced(&format!("-c -o {}", summary.display()), &config, &place);
        let requests = times(|| sender(port)).len();
        end_traced(daemon);
        let syncs = counted(&fs::read_to_string(&summary).unwrap());
        let each = syncs as f64 / requests as f64;
        println!("| {name} | {requests} requests | {syncs} syncs | {each:.3} each |");
        assert!(syncs > 0 && each <= MOST_SYNCS, "{name}: {each}");
    }
}

/// Behind `strace` with its options; gives the daemon and the process that is traced.
fn start_traced(options: &str, config: &str, place: &Place) -> (Daemon, String) {
    let strace = format!("exec strace -f --seccomp-bpf -e trace=fsync,fdatasync {options} \"$0\" \"$@\"");
    let tracer = Daemon::start_behind(&strace, config, place.path());
    let children = Command::new("pgrep").args(["-P", &tracer.pid().to_string()]).output().unwrap();
    let child = String::from_utf8(children.stdout).unwrap().trim().to_owned();
    (tracer, child)
}

/// The tracer ends with what it traces.
fn end_traced((mut tracer, child): (Daemon, String)) {
    assert!(Command::new("kill").args(["-TERM", &child]).status().unwrap().success());
    tracer.wait_for_end();
}

#[test]
#[ignore = "a figure, to be taken by hand; needs strace"]
fn stores_of_a_copy_sync_side_by_side() {
    let half = |stores: usize| {
        let (place, port) = (Place::new(), free_port());
        // Nothing is flushed meanwhile: syncs of the target are not those of the buffer.
        let kept = "flush_mode lazy\nflush_at_shutdown false";
        let stores: Vec<String> =
            (0..stores).map(|n| format!("<store>\n{}</store>\n", place.file(&format!("s{n}"), kept))).collect();
        let config = http_source(port) + &matching(&format!("@type copy\n{}", stores.concat()));
        // A disk whose syncs take 10 ms.
        let slow = "-o /dev/null -e inject=fsync,fdatasync:delay_enter=10000";
        let daemon = start_traced(slow, &config, &place);
        let mut send = http_sender(port);
        let mut times: Vec<Duration> = (0..200)
            .map(|n| {
                let sent = Instant::now();
                send(&[format!("c{n}")], &format!("c{n}")).unwrap();
                sent.elapsed()
            })
            .collect();
        times.sort_unstable();
        let half = times[times.len() / 2];
        println!("| {} stores | one sender, {} requests | half in {half:?} |", stores.len(), times.len());
        end_traced(daemon);
        half
    };
    let (one, three) = (half(1), half(3));
    assert!(three < 2 * one, "one store {one:?}, three {three:?}");
}
