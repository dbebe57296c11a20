//! One input, several file buffers: each has everything, and has it once, whatever one of them refused before a kill.

use std::time::Duration;

use super::kills::{followed_log, lives, report};
use super::logs::Writing;
use super::place::{Place, QUICK, forward_output, forward_source, matching, tail_source};
use super::senders::{Load, forward_sender};
use super::target::{Conduct, Protocol, Target};
use super::{Daemon, free_port};

/// A buffer that is full after a few lines.
const SMALL: &str = "chunk_limit_size 1k\ntotal_limit_size 2k";

/// Time enough for lines to be offered from memory a few times, then to be read again.
const TRIES: Duration = Duration::from_millis(1500);

/// An output with a name of its own.
fn store(place: &Place, target: &Target, name: &str, more: &str) -> String {
    let buffer = place.buffer(name, &format!("{QUICK}\n{more}"));
    forward_output(target.port, "", &buffer).replace("@id out_forward", &format!("@id {name}"))
}

fn copy(stores: &[String]) -> String {
    matching(&copying(stores))
}

fn copying(stores: &[String]) -> String {
    let stores: String = stores.iter().map(|store| format!("<store>\n{store}</store>\n")).collect();
    format!("@type copy\n{stores}")
}

fn targets(count: usize) -> Vec<Target> {
    (0..count).map(|_| Target::start(Protocol::Forward, Conduct::Slow(Duration::from_millis(10)))).collect()
}

/// Three stores, each with a buffer of its own.
fn three_stores(place: &Place, targets: &[Target]) -> String {
    let stores = targets.iter().enumerate().map(|(n, target)| store(place, target, &format!("store{n}"), ""));
    copy(&stores.collect::<Vec<_>>())
}

fn each_has_once(name: &str, targets: &[Target], ids: &[String]) {
    for (n, target) in targets.iter().enumerate() {
        target.wait_for_all(ids);
        let seen = target.seen();
        report(&format!("{name}, store {}", n + 1), seen.ids.judge(ids), seen.sent_again());
    }
}

#[test]
fn each_of_several_stores_gets_tailed_lines_once_across_kills() {
    let (place, targets) = (Place::new(), targets(3));
    let config = tail_source(place.path(), "logs/*.log", "rotate_wait 1") + &three_stores(&place, &targets);
    // A rotation every few lines: most batches are the first of their stream.
    let log = followed_log(&place, &config, "a.log", &targets[0]);
    let writing = Writing::start(log, 10);
    let mut daemon = lives(&config, place.path());
    let written = writing.finish();
    each_has_once("tail, copy", &targets, &written);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn each_of_several_stores_gets_acknowledged_chunks_once_across_kills() {
    let (place, targets, port) = (Place::new(), targets(3), free_port());
    let config = forward_source(port) + &three_stores(&place, &targets);
    let load = Load::start(4, || forward_sender(port));
    let mut daemon = lives(&config, place.path());
    load.wait_for_more(1);
    each_has_once("forward, copy", &targets, &load.finish());
    daemon.end_within(Duration::from_secs(5));
}

/// Lines of one batch under several tags, which all end in one buffer: none of them is taken for another that is there.
#[test]
fn lines_whose_tags_are_rewritten_land_once_across_kills() {
    let (place, targets) = (Place::new(), targets(1));
    let rule = "<rule>\nkey id\npattern /(\\d)$/\ntag digit.$1\n</rule>\n";
    let retag = format!("<match app.**>\n@type rewrite_tag_filter\n{rule}</match>\n");
    let source = tail_source(place.path(), "logs/*.log", "rotate_wait 1");
    let config = source + &retag + &matching(&store(&place, &targets[0], "one", ""));
    let log = followed_log(&place, &config, "a.log", &targets[0]);
    let writing = Writing::start(log, 200);
    let mut daemon = lives(&config, place.path());
    let written = writing.finish();
    each_has_once("tail, rewrite_tag_filter", &targets, &written);
    daemon.end_within(Duration::from_secs(5));
}

/// One of two buffers has its part of a batch at a kill, and the next start sends the other part there too: it is not taken
/// for what is there.
#[test]
fn lines_that_a_changed_configuration_sends_elsewhere_are_not_lost_by_a_kill() {
    let (place, targets) = (Place::new(), targets(2));
    targets[1].set(Conduct::Hang);
    let rules = [("k", "/A/", "a"), ("id", "/[02468]$/", "a"), ("id", "/./", "b")];
    let rules =
        rules.map(|(key, pattern, tag)| format!("<rule>\nkey {key}\npattern {pattern}\ntag n.{tag}\n</rule>\n"));
    let retag = format!("<match app.**>\n@type rewrite_tag_filter\n{}</match>\n", rules.concat());
    let full = format!("{SMALL}\noverflow_action throw_exception");
    let all = store(&place, &targets[0], "all", "");
    let small = store(&place, &targets[1], "small", &full).replace("ack_response_timeout 2", "ack_response_timeout 60");
    let outputs = format!("<match n.a>\n{all}</match>\n<match n.b>\n{small}</match>\n");
    let config = |filter: &str| tail_source(place.path(), "logs/*.log", "") + filter + &retag + &outputs;
    let mut first = place.log("first.log");
    first.write_at_once(200);
    let daemon = place.start(&config(""));
    let even = |ids: &[String]| ids.iter().step_by(2).cloned().collect::<Vec<_>>();
    targets[0].wait_for_all(&even(&first.written));
    let mut second = place.log("second.log");
    second.write_at_once(50);
    targets[0].wait_for_all(&even(&second.written));
    std::thread::sleep(TRIES);
    drop(daemon);
    let filter = "<filter app.**>\n@type record_transformer\n<record>\nk A\n</record>\n</filter>\n";
    let mut daemon = place.start(&config(filter));
    targets[0].wait_for_all(&second.written);
    targets[1].set(Conduct::Take);
    daemon.end_within(Duration::from_secs(5));
}

/// Two stores; the second has a small buffer and a target that hangs. Lines of `first.log` fill it.
struct Lopsided {
    place: Place,
    targets: Vec<Target>,
    config: String,
    written: Vec<String>,
}

impl Lopsided {
    fn new() -> Lopsided {
        let (place, targets) = (Place::new(), targets(2));
        targets[1].set(Conduct::Hang);
        let stores = [store(&place, &targets[0], "large", ""), store(&place, &targets[1], "small", SMALL)];
        let small = stores[1].replace("ack_response_timeout 2", "ack_response_timeout 60");
        let more = "overflow_action throw_exception";
        let small = small.replace(SMALL, &format!("{SMALL}\n{more}"));
        let config = tail_source(place.path(), "logs/*.log", "") + &copy(&[stores[0].clone(), small]);
        Lopsided { place, targets, config, written: Vec::new() }
    }

    fn start(&mut self) -> Daemon {
        let mut log = self.place.log("first.log");
        log.write_at_once(200);
        self.written.append(&mut log.written);
        let daemon = self.place.start(&self.config);
        self.targets[0].wait_for_all(&self.written);
        daemon
    }

    /// Lines in another file: a stream that only the first store takes now.
    fn refused_lines(&mut self) {
        let mut log = self.place.log("second.log");
        log.write_at_once(50);
        self.written.append(&mut log.written);
        self.targets[0].wait_for_all(&self.written);
    }

    fn everything_once(&self) {
        self.targets[1].set(Conduct::Take);
        for target in &self.targets {
            target.wait_for_all(&self.written);
            target.seen().ids.assert_exactly(&self.written);
        }
    }
}

#[test]
fn a_batch_that_one_of_two_stores_refused_enters_each_once() {
    let mut both = Lopsided::new();
    let mut daemon = both.start();
    both.refused_lines();
    // More lines come while the first few are offered again and again.
    let mut log = both.place.log("third.log");
    log.write_at_once(5);
    let first = log.written.clone();
    both.targets[0].wait_for_all(&first);
    log.write(95);
    std::thread::sleep(TRIES);
    both.written.append(&mut log.written);
    both.everything_once();
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn a_store_that_never_saw_a_stream_gets_all_of_it_after_a_kill() {
    let mut both = Lopsided::new();
    let mut daemon = both.start();
    both.refused_lines();
    daemon.kill();
    let mut daemon = both.place.start(&both.config);
    both.everything_once();
    daemon.end_within(Duration::from_secs(5));
}

/// A label that writes its name before the ids.
fn naming_label(name: &str, output: &str) -> String {
    let filter = format!(
        "<filter **>\n@type record_transformer\n<record>\nid {name}-${{record[\"id\"]}}\n</record>\n</filter>\n"
    );
    format!("<label @{name}>\n{filter}{}</label>\n", matching(output))
}

fn to_label(name: &str) -> String {
    format!("@type relabel\n@label @{name}\n")
}

fn named(name: &str, ids: &[String]) -> Vec<String> {
    ids.iter().map(|id| format!("{name}-{id}")).collect()
}

#[test]
fn two_labels_that_end_in_one_buffer_give_it_both_copies() {
    let (place, target, port) = (Place::new(), Target::start(Protocol::Forward, Conduct::Take), free_port());
    let label = |name: &str| naming_label(name, "@type relabel\n@label @OUT\n");
    let ways = ["X", "Y"].map(to_label);
    let out = format!("<label @OUT>\n{}</label>\n", matching(&store(&place, &target, "out", "")));
    let tail = tail_source(place.path(), "logs/*.log", "");
    let config = forward_source(port) + &tail + &copy(&ways) + &label("X") + &label("Y") + &out;
    let mut log = place.log("a.log");
    log.write(10);
    let mut daemon = place.start(&config);
    let load = Load::start(1, || forward_sender(port));
    load.wait_for_more(3);
    let ids: Vec<String> = load.finish().into_iter().chain(log.written).collect();
    let both = ["X", "Y"].map(|name| named(name, &ids)).concat();
    target.wait_for_all(&both);
    target.seen().ids.assert_exactly(&both);
    daemon.end_within(Duration::from_secs(5));
}

/// A buffer has one copy of lines at a kill, and the next start, with the stores in another order, sends it another one too.
#[test]
fn stores_that_change_places_between_a_kill_and_the_start_are_told_apart() {
    let (place, targets) = (Place::new(), targets(2));
    targets[1].set(Conduct::Hang);
    let full = format!("{SMALL}\noverflow_action throw_exception");
    let small = store(&place, &targets[1], "small", &full).replace("ack_response_timeout 2", "ack_response_timeout 60");
    let label = |name: &str, output: &str| format!("<label @{name}>\n{}</label>\n", matching(output));
    let ends = label("OUT", &store(&place, &targets[0], "out", "")) + &label("SMALL", &small);
    let config = |names: [&str; 2], y: &str| {
        let labels = naming_label("X", &to_label("OUT")) + &naming_label("Y", &to_label(y)) + &ends;
        tail_source(place.path(), "logs/*.log", "") + &copy(&names.map(to_label)) + &labels
    };
    let mut first = place.log("first.log");
    first.write_at_once(200);
    let mut daemon = place.start(&config(["X", "Y"], "SMALL"));
    targets[0].wait_for_all(&named("X", &first.written));
    let mut second = place.log("second.log");
    second.write_at_once(50);
    targets[0].wait_for_all(&named("X", &second.written));
    std::thread::sleep(TRIES);
    daemon.kill();
    let mut daemon = place.start(&config(["Y", "X"], "OUT"));
    targets[1].set(Conduct::Take);
    let all = [named("X", &first.written), ["X", "Y"].map(|name| named(name, &second.written)).concat()].concat();
    targets[0].wait_for_all(&all);
    targets[0].seen().ids.assert_exactly(&all);
    daemon.end_within(Duration::from_secs(5));
}
