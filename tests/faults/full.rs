//! Buffers that are full, and targets that take nothing more: each `overflow_action`, and the `<secondary>`.

use std::time::Duration;

use super::place::{Place, QUICK, forward_output, forward_source, http_output, http_source, matching};
use super::senders::{Forward, Http};
use super::target::{Conduct, Protocol, Target};
use super::{Daemon, free_port, wait_for};

/// A buffer that is full after a few batches.
const SMALL: &str = "chunk_limit_size 1k\ntotal_limit_size 4k";
/// How long a sender is kept waiting before it counts as waiting for room.
const WAITING: Duration = Duration::from_millis(500);
/// Events of a batch.
const BATCH: usize = 10;

/// A daemon whose small buffer fills, since its target hangs.
struct Full {
    place: Place,
    target: Target,
    daemon: Daemon,
    port: u16,
    sent: usize,
}

impl Full {
    fn start(action: &str, source: fn(u16) -> String) -> Full {
        let (place, port, target) = (Place::new(), free_port(), Target::start(Protocol::Forward, Conduct::Hang));
        let buffer = place.buffer("buffer", &format!("{QUICK}\n{SMALL}\noverflow_action {action}"));
        let output =
            forward_output(target.port, "", &buffer).replace("ack_response_timeout 2", "ack_response_timeout 60");
        let daemon = place.start(&(source(port) + &matching(&output)));
        Full { place, target, daemon, port, sent: 0 }
    }

    /// Ids of the next batch.
    fn batch(&mut self) -> Vec<String> {
        self.sent += BATCH;
        (self.sent - BATCH..self.sent).map(|n| format!("full-{n:06}")).collect()
    }

    /// Sends batches over HTTP until one is refused; gives the ids of those that were taken.
    fn until_refused(&mut self, client: &mut Http) -> Vec<String> {
        let mut taken = Vec::new();
        loop {
            let ids = self.batch();
            match client.post("app", &ids, None).unwrap() {
                200 => taken.extend(ids),
                503 => return taken,
                status => panic!("status {status}"),
            }
            assert!(taken.len() < 10_000, "nothing was refused");
        }
    }
}

#[test]
fn throw_exception_refuses_and_takes_again_once_there_is_room() {
    let mut full = Full::start("throw_exception", http_source);
    let mut client = Http::new(full.port);
    let mut taken = full.until_refused(&mut client);
    assert!(!taken.is_empty());
    assert_eq!(client.post("app", &full.batch(), None).unwrap(), 503, "still full");
    full.target.set(Conduct::Take);
    full.target.wait_for_all(&taken);
    let after = full.batch();
    wait_for("room", || (client.post("app", &after, None).unwrap() == 200).then_some(()));
    taken.extend(after);
    full.target.wait_for_all(&taken);
    full.daemon.end_within(Duration::from_secs(5));
    full.target.seen().ids.assert_exactly(&taken);
}

#[test]
fn throw_exception_acknowledges_no_chunk_that_has_no_room() {
    let mut full = Full::start("throw_exception", forward_source);
    let mut client = Forward::new(full.port);
    client.set_patience(WAITING);
    let mut taken = Vec::new();
    let refused = loop {
        let ids = full.batch();
        if client.send("app", &ids, &ids[0]).is_err() {
            break ids;
        }
        taken.extend(ids);
    };
    full.target.set(Conduct::Take);
    wait_for("room", || client.send("app", &refused, &refused[0]).ok());
    taken.extend(refused);
    full.target.wait_for_all(&taken);
    full.daemon.end_within(Duration::from_secs(5));
    full.target.seen().ids.assert_exactly(&taken);
}

#[test]
fn block_answers_once_there_is_room_and_not_before() {
    let mut full = Full::start("block", forward_source);
    let mut client = Forward::new(full.port);
    client.set_patience(WAITING);
    let mut taken = Vec::new();
    let waiting = loop {
        let ids = full.batch();
        if client.send("app", &ids, &ids[0]).is_err() {
            break ids;
        }
        taken.extend(ids);
        assert!(taken.len() < 10_000, "nothing had to wait");
    };
    let (target, port, ids) = (&full.target, full.port, &waiting);
    std::thread::scope(|scope| {
        let patient = scope.spawn(move || Forward::new(port).send("app", ids, &ids[0]));
        std::thread::sleep(WAITING);
        assert!(!patient.is_finished(), "answered without room");
        target.set(Conduct::Take);
        patient.join().unwrap().unwrap();
    });
    taken.extend(waiting);
    full.target.wait_for_all(&taken);
    full.daemon.end_within(Duration::from_secs(5));
    full.target.seen().ids.assert_exactly(&taken);
}

#[test]
fn drop_oldest_chunk_refuses_nothing_keeps_the_newest_and_says_what_it_dropped() {
    let mut full = Full::start("drop_oldest_chunk", http_source);
    let mut client = Http::new(full.port);
    let mut taken = Vec::new();
    for _ in 0..100 {
        let ids = full.batch();
        assert_eq!(client.post("app", &ids, None).unwrap(), 200);
        taken.extend(ids);
    }
    let log = full.daemon.log();
    let dropped: usize = log
        .lines()
        .filter(|line| line.contains("dropping oldest chunk"))
        .map(|line| {
            let (_, rest) = line.split_once(" with ").unwrap();
            rest.split(' ').next().unwrap().parse::<usize>().unwrap()
        })
        .sum();
    assert!(dropped > 0, "{log}");
    full.target.set(Conduct::Take);
    full.target.wait_for_all(&taken[taken.len() - BATCH..]);
    wait_for("the rest", || {
        let seen = full.target.seen();
        (taken.iter().filter(|id| seen.ids.count(id) > 0).count() + dropped >= taken.len()).then_some(())
    });
    full.daemon.end_within(Duration::from_secs(5));
    let seen = full.target.seen();
    assert!(seen.ids.doubled().is_empty(), "{:?}", seen.ids.doubled());
    let lost = taken.iter().filter(|id| seen.ids.count(id) == 0).count();
    assert_eq!(lost, dropped, "what is missing is what was said to be dropped");
    assert!(full.place.join("buffer").is_dir());
}

/// An output to an HTTP target that has little patience, and a secondary that writes files.
fn with_secondary(place: &Place, target: &Target, source: u16) -> String {
    let buffer = place.buffer("buffer", "flush_interval 0.1\nretry_type periodic\nretry_wait 0.1\nretry_max_times 3");
    let out = place.join("out");
    let secondary =
        format!("<secondary>\n@type secondary_file\ndirectory {}\nbasename rest\n</secondary>\n", out.display());
    http_source(source) + &matching(&(http_output(target.port, "", &buffer) + &secondary))
}

#[test]
fn what_a_target_does_not_take_in_time_goes_to_the_secondary_and_later_events_to_the_target() {
    for conduct in [Conduct::Status(503, ""), Conduct::Status(400, ""), Conduct::Close] {
        let (place, source, target) = (Place::new(), free_port(), Target::start(Protocol::Http, conduct.clone()));
        let mut daemon = place.start(&with_secondary(&place, &target, source));
        let ids: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
        let mut client = Http::new(source);
        assert_eq!(client.post("app", &ids[..10], None).unwrap(), 200);
        place.wait_for_all(&ids[..10]);
        target.set(Conduct::Take);
        assert_eq!(client.post("app", &ids[10..], None).unwrap(), 200);
        target.wait_for_all(&ids[10..]);
        daemon.end_within(Duration::from_secs(5));
        place.landed().assert_exactly(&ids[..10]);
        target.seen().ids.assert_exactly(&ids[10..]);
    }
}

#[test]
fn chunks_on_their_way_to_the_secondary_outlive_a_kill() {
    let (place, source, target) = (Place::new(), free_port(), Target::start(Protocol::Http, Conduct::Status(503, "")));
    let config = with_secondary(&place, &target, source).replace("retry_max_times 3", "retry_max_times 30");
    let mut daemon = place.start(&config);
    let ids: Vec<String> = (0..20).map(|n| format!("k{n}")).collect();
    assert_eq!(Http::new(source).post("app", &ids, None).unwrap(), 200);
    target.wait_for_requests(2);
    daemon.kill();
    let mut daemon = place.start(&config);
    place.wait_for_all(&ids);
    daemon.end_within(Duration::from_secs(5));
    place.landed().assert_none_lost(&ids);
}
