//! Targets that are down, slow, hang or answer the wrong thing: nothing is lost, nothing is taken as delivered that was
//! not, the daemon ends in time, and its memory stays what it was.

use std::time::Duration;

use super::place::{Place, QUICK, forward_output, forward_source, http_output, http_source, matching};
use super::senders::Http;
use super::target::{Conduct, Protocol, Target};
use super::{Daemon, free_port, wait_for};

/// How soon SIGTERM ends the process, and how soon where a target hangs.
const END: Duration = Duration::from_secs(5);
const END_HANGING: Duration = Duration::from_secs(10);
/// What endless answers may add to the memory in use.
const GROWTH: u64 = 64 << 20;
/// Both kinds of targets.
const PROTOCOLS: [Protocol; 2] = [Protocol::Http, Protocol::Forward];

/// A daemon that takes HTTP and sends to a target.
struct Relay {
    place: Place,
    port: u16,
    config: String,
    sent: Vec<String>,
}

impl Relay {
    fn to(protocol: Protocol, port: u16, more: &str) -> Relay {
        let (place, source) = (Place::new(), free_port());
        let buffer = place.buffer("buffer", QUICK);
        let output = match protocol {
            Protocol::Http => http_output(port, more, &buffer),
            Protocol::Forward => forward_output(port, more, &buffer),
        };
        let config = place.system() + &http_source(source) + &matching(&output);
        Relay { place, port: source, config, sent: Vec::new() }
    }

    fn start(&self) -> Daemon {
        self.place.start(&self.config)
    }

    /// Sends events; all are acknowledged.
    fn send(&mut self, count: usize) {
        let from = self.sent.len();
        let ids: Vec<String> = (from..from + count).map(|n| format!("e{n}")).collect();
        assert_eq!(Http::new(self.port).post("app.test", &ids, None).unwrap(), 200);
        self.sent.extend(ids);
    }
}

/// A target does the wrong thing at first; once it does the right thing everything arrives.
fn arrives_after(protocol: Protocol, conduct: Conduct, more: &str) -> (Relay, Target) {
    let target = Target::start(protocol, conduct);
    let mut relay = Relay::to(protocol, target.port, more);
    let mut daemon = relay.start();
    relay.send(10);
    target.wait_for_requests(2);
    target.set(Conduct::Take);
    target.wait_for_all(&relay.sent);
    daemon.end_within(END);
    (relay, target)
}

#[test]
fn what_comes_while_a_target_is_down_arrives_once_it_is_up() {
    for protocol in PROTOCOLS {
        let port = free_port();
        let mut relay = Relay::to(protocol, port, "");
        let mut daemon = relay.start();
        relay.send(10);
        daemon.wait_for_log("failed to flush the buffer");
        relay.send(10);
        let target = Target::start_at(port, protocol, Conduct::Take);
        target.wait_for_all(&relay.sent);
        daemon.end_within(END);
        target.seen().ids.assert_exactly(&relay.sent);
    }
}

#[test]
fn a_slow_target_gets_everything_once() {
    for protocol in PROTOCOLS {
        let target = Target::start(protocol, Conduct::Slow(Duration::from_millis(300)));
        let mut relay = Relay::to(protocol, target.port, "");
        let mut daemon = relay.start();
        (0..5).for_each(|_| relay.send(10));
        target.wait_for_all(&relay.sent);
        daemon.end_within(END);
        target.seen().ids.assert_exactly(&relay.sent);
    }
}

#[test]
fn a_target_that_hangs_does_not_hold_up_the_end_and_gets_everything_after_a_restart() {
    for (protocol, more) in [(Protocol::Http, "read_timeout 60"), (Protocol::Forward, "ack_response_timeout 60")] {
        let target = Target::start(protocol, Conduct::Hang);
        let mut relay = Relay::to(protocol, target.port, "");
        relay.config = relay.config.replace("read_timeout 2", "").replace("ack_response_timeout 2", "");
        relay.config = relay
            .config
            .replace("open_timeout 2", more)
            .replace("heartbeat_type none", &format!("heartbeat_type none\n{more}"));
        let mut daemon = relay.start();
        relay.send(10);
        target.wait_for_requests(1);
        relay.send(10);
        daemon.end_within(END_HANGING);
        target.set(Conduct::Take);
        let mut daemon = relay.start();
        target.wait_for_all(&relay.sent);
        daemon.end_within(END);
    }
}

#[test]
fn a_time_limit_ends_the_wait_for_a_target_that_hangs() {
    for protocol in PROTOCOLS {
        let target = Target::start(protocol, Conduct::Hang);
        let mut relay = Relay::to(protocol, target.port, "");
        let mut daemon = relay.start();
        relay.send(10);
        daemon.wait_for_log("failed to flush the buffer");
        target.set(Conduct::Take);
        target.wait_for_all(&relay.sent);
        daemon.end_within(END);
    }
}

#[test]
fn an_answer_that_is_cut_off_is_no_answer() {
    for protocol in PROTOCOLS {
        arrives_after(protocol, Conduct::CutAnswer, "");
    }
}

#[test]
fn a_closed_connection_is_no_answer() {
    for protocol in PROTOCOLS {
        arrives_after(protocol, Conduct::Close, "");
    }
}

#[test]
fn the_acknowledgement_of_another_chunk_is_none() {
    arrives_after(Protocol::Forward, Conduct::WrongAck, "");
}

#[test]
fn a_chunk_whose_acknowledgement_was_lost_comes_again_under_the_same_id() {
    let (relay, target) = arrives_after(Protocol::Forward, Conduct::TakeAndClose, "");
    target.seen().ids.assert_exactly(&relay.sent);
    assert!(target.seen().sent_again() >= 1);
}

#[test]
fn a_server_error_is_tried_again_and_a_refusal_is_set_aside_with_its_reason() {
    arrives_after(Protocol::Http, Conduct::Status(503, ""), "");
    let target = Target::start(Protocol::Http, Conduct::Status(422, ""));
    let mut relay = Relay::to(Protocol::Http, target.port, "");
    let mut daemon = relay.start();
    relay.send(10);
    daemon.wait_for_log("was set aside in");
    daemon.end_within(END);
    let reasons = find(&relay.place, ".reason.json");
    assert!(reasons.iter().any(|reason| reason.contains("422")), "{reasons:?}");
}

#[test]
fn a_chunk_that_is_refused_does_not_hold_up_the_others() {
    let target = Target::start(Protocol::Http, Conduct::Take);
    target.refuse("poison");
    let mut relay = Relay::to(Protocol::Http, target.port, "");
    let mut daemon = relay.start();
    assert_eq!(Http::new(relay.port).post("app.test", &["poison".into()], None).unwrap(), 200);
    daemon.wait_for_log("was set aside in");
    relay.send(10);
    target.wait_for_all(&relay.sent);
    daemon.end_within(END);
}

/// The texts of files below the place whose names end so.
fn find(place: &Place, ending: &str) -> Vec<String> {
    let mut dirs = vec![place.path().to_owned()];
    let mut found = Vec::new();
    while let Some(dir) = dirs.pop() {
        for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_redirect_is_not_followed() {
    for status in [301, 302, 307] {
        let elsewhere = Target::start(Protocol::Http, Conduct::Take);
        let header: &'static str =
            Box::leak(format!("Location: http://127.0.0.1:{}/", elsewhere.port).into_boxed_str());
        let target = Target::start(Protocol::Http, Conduct::Status(status, header));
        let mut relay = Relay::to(Protocol::Http, target.port, "");
        let mut daemon = relay.start();
        relay.send(1);
        target.wait_for_requests(1);
        wait_for("an outcome", || {
            let log = daemon.log();
            (log.contains("failed to flush") || log.contains("set aside")).then_some(())
        });
        daemon.end_within(END);
        assert_eq!(elsewhere.seen().requests, 0);
    }
}

#[test]
fn endless_answers_take_no_memory_and_are_no_answers() {
    let cases = [
        (Protocol::Http, Conduct::EndlessHead),
        (Protocol::Http, Conduct::EndlessBody),
        (Protocol::Forward, Conduct::EndlessBody),
    ];
    for (protocol, conduct) in cases {
        let target = Target::start(protocol, conduct.clone());
        let mut relay = Relay::to(protocol, target.port, "");
        let mut daemon = relay.start();
        let before = daemon.memory("VmRSS");
        relay.send(10);
        target.wait_for_requests(3);
        let growth = daemon.memory("VmHWM").saturating_sub(before);
        assert!(growth < GROWTH, "{conduct:?}: {growth} bytes more");
        let poured = target.seen().poured;
        assert!(poured < GROWTH, "{conduct:?}: {poured} bytes were read in three attempts");
        target.set(Conduct::Take);
        target.wait_for_all(&relay.sent);
        daemon.end_within(END);
    }
}

#[test]
fn the_sender_of_a_chunk_is_not_answered_while_there_is_no_room() {
    use super::senders::Forward;
    let (place, port) = (Place::new(), free_port());
    let target = Target::start(Protocol::Forward, Conduct::Hang);
    let small = format!("{QUICK}\nchunk_limit_size 2k\ntotal_limit_size 4k");
    let output = forward_output(target.port, "", &place.buffer("buffer", &small));
    let mut daemon = place.start(&(forward_source(port) + &matching(&output)));
    let mut client = Forward::new(port);
    client.set_patience(Duration::from_millis(500));
    let mut acknowledged = Vec::new();
    let refused = (0..100).find_map(|n| {
        let ids: Vec<String> = (0..20).map(|i| format!("c{n}-{i}")).collect();
        let stored = client.send("app.test", &ids, &format!("c{n}")).is_ok();
        acknowledged.extend(ids.clone().into_iter().filter(|_| stored));
        (!stored).then_some((n, ids))
    });
    let (n, ids) = refused.expect("a buffer that is full at last");
    target.set(Conduct::Take);
    client.set_patience(Duration::from_secs(20));
    client.send("app.test", &ids, &format!("c{n}")).unwrap();
    acknowledged.extend(ids);
    target.wait_for_all(&acknowledged);
    daemon.end_within(END);
    target.seen().ids.assert_exactly(&acknowledged);
}
