//! `kill -9` again and again under load: what was acknowledged lands, and lands once where the target tells chunks apart.
//!
//! `SUIRO_KILLS` is the number of kills, `SUIRO_SEED` what decides about their moments. `scripts/kills.sh` runs these with
//! many kills and prints their lines as a table.

use std::path::Path;
use std::time::Duration;

use super::logs::{Log, Writing};
use super::place::{Place, QUICK, forward_output, forward_source, http_source, matching, tail_source};
use super::senders::{Load, forward_sender, http_sender};
use super::tally::Verdict;
use super::target::{Conduct, Protocol, Target};
use super::{Daemon, free_port, suiro};

/// Kills where `SUIRO_KILLS` says nothing.
const KILLS: usize = 5;
/// Senders at once.
const SENDERS: usize = 4;
/// How long a target takes, so that kills meet chunks on their way.
const ON_ITS_WAY: Duration = Duration::from_millis(20);
/// Longest life of a process before it is killed.
const LONGEST_LIFE: u64 = 250;
/// Longest life of a process that is killed while it starts.
const LONGEST_START: u64 = 40;

pub fn kills() -> usize {
    std::env::var("SUIRO_KILLS").map_or(KILLS, |n| n.parse().unwrap())
}

/// Moments that look random and come again under the same seed.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Chance {
        let seed = std::env::var("SUIRO_SEED").map_or_else(|_| u64::from(std::process::id()), |n| n.parse().unwrap());
        eprintln!("SUIRO_SEED={seed}");
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// One life of a process that ends with SIGKILL, now and then before it has started.
pub fn one_life(config: &str, dir: &Path, chance: &mut Chance) {
    if chance.below(4) == 0 {
        let mut daemon = Daemon::launch(suiro(), config, dir);
        std::thread::sleep(Duration::from_millis(chance.below(LONGEST_START)));
        daemon.kill();
    } else {
        let mut daemon = Daemon::start(config, dir);
        std::thread::sleep(Duration::from_millis(chance.below(LONGEST_LIFE)));
        daemon.kill();
        assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    }
}

/// Lives that end with SIGKILL, and one that goes on.
pub fn lives(config: &str, dir: &Path) -> Daemon {
    let mut chance = Chance::new();
    (0..kills()).for_each(|_| one_life(config, dir, &mut chance));
    Daemon::start(config, dir)
}

/// A line of the table, and the promise.
pub fn report(name: &str, verdict: Verdict, sent_again: usize) {
    let Verdict { acknowledged, lost, doubled } = verdict;
    println!("| {name} | {} | {acknowledged} | {lost} | {doubled} | {sent_again} |", kills());
    assert_eq!((lost, doubled), (0, 0), "{name}");
}

/// `before` is how many processes were killed before the load began.
fn assert_and_report(name: &str, acknowledged: &[String], place: &Place, target: &Target, before: usize) {
    target.wait_for_all(acknowledged);
    let seen = target.seen();
    report(name, seen.ids.judge(acknowledged), seen.sent_again());
    // One flush thread: each kill leaves one chunk at most whose acknowledgement nobody took, and, where the disk is slow, one
    // before it whose end waits for its sync in the buffer's writer. On a busy machine an acknowledgement may also come too
    // late for `ack_response_timeout`.
    let late = place.logged("failed to flush the buffer");
    let reasons = 2 * (kills() + before) + late;
    assert!(seen.sent_again() <= reasons, "{name}: {} sent again, {late} came late", seen.sent_again());
}

fn to_target(place: &Place, target: &Target) -> String {
    matching(&forward_output(target.port, "", &place.buffer("buffer", QUICK)))
}

/// A log whose file a process has seen: what is rotated away before nobody can know.
pub fn followed_log(place: &Place, config: &str, name: &str, target: &Target) -> Log {
    let mut log = place.log(name);
    log.write(5);
    let mut daemon = place.start(config);
    target.wait_for_all(&log.written);
    daemon.kill();
    log
}

#[test]
fn acknowledged_http_events_land_once_across_kills() {
    let (place, port) = (Place::new(), free_port());
    let target = Target::start(Protocol::Forward, Conduct::Slow(ON_ITS_WAY));
    let config = http_source(port) + &to_target(&place, &target);
    let load = Load::start(SENDERS, || http_sender(port));
    let mut daemon = lives(&config, place.path());
    load.wait_for_more(1);
    assert_and_report("http", &load.finish(), &place, &target, 0);
    daemon.end_within(Duration::from_secs(5));
}

/// A file is asked what an earlier run has written of a chunk.
#[test]
fn acknowledged_http_events_are_in_a_file_once_across_kills() {
    let (place, port) = (Place::new(), free_port());
    let config = http_source(port) + &matching(&place.file("all", QUICK));
    let load = Load::start(SENDERS, || http_sender(port));
    let mut daemon = lives(&config, place.path());
    load.wait_for_more(1);
    let acknowledged = load.finish();
    place.wait_for_all(&acknowledged);
    report("http to file", place.landed().judge(&acknowledged), 0);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn acknowledged_forward_chunks_land_once_across_kills() {
    let (place, port) = (Place::new(), free_port());
    let target = Target::start(Protocol::Forward, Conduct::Slow(ON_ITS_WAY));
    let config = forward_source(port) + &to_target(&place, &target);
    let load = Load::start(SENDERS, || forward_sender(port));
    let mut daemon = lives(&config, place.path());
    load.wait_for_more(1);
    assert_and_report("forward", &load.finish(), &place, &target, 0);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn tailed_lines_land_once_across_kills_and_rotations() {
    let place = Place::new();
    let target = Target::start(Protocol::Forward, Conduct::Slow(ON_ITS_WAY));
    let config = tail_source(place.path(), "logs/*.log", "rotate_wait 1") + &to_target(&place, &target);
    let logs = ["a.log", "b.log"].map(|name| followed_log(&place, &config, name, &target));
    let writers: Vec<Writing> =
        logs.into_iter().zip([200, 1500]).map(|(log, lines)| Writing::start(log, lines)).collect();
    let mut daemon = lives(&config, place.path());
    let written: Vec<String> = writers.into_iter().flat_map(Writing::finish).collect();
    assert_and_report("tail", &written, &place, &target, 2);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn two_hops_deliver_once_when_both_are_killed() {
    let (first, second, ports) = (Place::new(), Place::new(), [free_port(), free_port()]);
    let target = Target::start(Protocol::Forward, Conduct::Slow(ON_ITS_WAY));
    let hop = matching(&forward_output(ports[1], "", &first.buffer("buffer", QUICK)));
    let configs = [forward_source(ports[0]) + &hop, forward_source(ports[1]) + &to_target(&second, &target)];
    let load = Load::start(SENDERS, || forward_sender(ports[0]));
    let [mut near, mut far] = std::thread::scope(|scope| {
        let [near, far] = [(&configs[0], &first), (&configs[1], &second)];
        let near = scope.spawn(|| lives(near.0, near.1.path()));
        let far = scope.spawn(|| lives(far.0, far.1.path()));
        [near.join().unwrap(), far.join().unwrap()]
    });
    load.wait_for_more(1);
    let acknowledged = load.finish();
    target.wait_for_all(&acknowledged);
    let seen = target.seen();
    report("forward, two hops", seen.ids.judge(&acknowledged), seen.sent_again());
    drop(seen);
    near.end_within(Duration::from_secs(5));
    far.end_within(Duration::from_secs(5));
}
