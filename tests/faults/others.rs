//! What broke other collectors, as far as no other file here shows it: each test names what it is after. The table in
//! `docs/reliability.md` has all of them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::place::{Place, QUICK, forward_output, forward_source, http_output, http_source, matching, tail_source};
use super::senders::{Forward, Http, Load, forward_sender};
use super::target::{Conduct, Protocol, Target};
use super::{Daemon, PATIENCE, free_port, wait_at_most, wait_for};

/// How soon SIGTERM ends the process.
const END: Duration = Duration::from_secs(5);

fn ids(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// Files of a buffer with this ending.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.is_file() && path.to_string_lossy().ends_with(ending)).collect()
}

fn post(port: u16, ids: &[String]) {
    assert_eq!(Http::new(port).post("app", ids, None).unwrap(), 200);
}

/// HTTP in, forward out, a file buffer in the folder `buffer` with these parameters besides.
struct Relay {
    place: Place,
    source: u16,
    target: u16,
    buffer: String,
}

impl Relay {
    fn new() -> Relay {
        Relay { place: Place::new(), source: free_port(), target: free_port(), buffer: "buffer".into() }
    }

    fn config(&self, more: &str) -> String {
        let buffer = self.place.buffer(&self.buffer, &format!("{QUICK}\n{more}"));
        http_source(self.source) + &matching(&forward_output(self.target, "", &buffer))
    }

    fn start(&self, more: &str) -> Daemon {
        self.place.start(&self.config(more))
    }

    fn target(&self) -> Target {
        Target::start_at(self.target, Protocol::Forward, Conduct::Take)
    }

    fn dir(&self) -> PathBuf {
        self.place.join(&self.buffer)
    }
}

#[test]
fn a_buffer_whose_path_looks_like_a_pattern_is_found_again() {
    let relay = Relay { buffer: "b[ab]*?{x} y".into(), ..Relay::new() };
    let sent = ids("p", 20);
    let mut daemon = relay.start("");
    post(relay.source, &sent);
    daemon.kill();
    let target = relay.target();
    let mut daemon = relay.start("");
    target.wait_for_all(&sent);
    target.seen().ids.assert_exactly(&sent);
    daemon.end_within(END);
}

#[test]
fn a_buffer_that_was_full_when_it_was_killed_has_room_again_once_it_is_empty() {
    let relay = Relay::new();
    let small = "chunk_limit_size 1k\ntotal_limit_size 8k\noverflow_action throw_exception";
    let mut daemon = relay.start(small);
    let mut client = Http::new(relay.source);
    let mut sent = Vec::new();
    for n in 0.. {
        let id = format!("full{n}-{}", "x".repeat(100));
        match client.post("app", std::slice::from_ref(&id), None).unwrap() {
            200 => sent.push(id),
            503 => break,
            status => panic!("{status}"),
        }
    }
    for _ in 0..3 {
        daemon.kill();
        daemon = relay.start(small);
        // It counts what is there, no more and no less: it is still full.
        assert_eq!(Http::new(relay.source).post("app", &ids("refused", 1), None).unwrap(), 503);
    }
    let target = relay.target();
    target.wait_for_all(&sent);
    let more = ids("more", 20);
    let mut client = Http::new(relay.source);
    for id in &more {
        wait_for("room", || (client.post("app", std::slice::from_ref(id), None).ok()? == 200).then_some(()));
    }
    sent.extend(more);
    target.wait_for_all(&sent);
    target.seen().ids.assert_exactly(&sent);
    daemon.end_within(END);
}

#[test]
fn without_its_journal_a_buffer_loses_nothing_and_keeps_its_tags() {
    let damages: [fn(&Path); 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, vec![0; fs::metadata(path).unwrap().len() as usize]).unwrap(),
        |path| fs::write(path, "garbage").unwrap(),
    ];
    for damage in damages {
        let relay = Relay::new();
        let sent = ids("j", 30);
        let mut daemon = relay.start("");
        sent.chunks(10).for_each(|some| post(relay.source, some));
        daemon.kill();
        damage(&relay.dir().join("origins.log"));
        let target = relay.target();
        let mut daemon = relay.start("");
        target.wait_for_all(&sent);
        target.seen().ids.assert_exactly(&sent);
        assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
        assert_eq!(daemon.end().code(), Some(0));
    }
}

#[test]
fn other_limits_and_packing_leave_a_backlog_as_it_is() {
    let relay = Relay::new();
    let mut sent = Vec::new();
    let settings = [
        "chunk_limit_size 1k\ntotal_limit_size 1m",
        "chunk_limit_size 512\ntotal_limit_size 600k\ncompress gzip",
        "chunk_limit_size 8m\ntotal_limit_size 64m\ncompress zstd",
        "chunk_limit_size 2k\nchunk_limit_records 3",
    ];
    for (life, setting) in settings.iter().enumerate() {
        let mut daemon = relay.start(setting);
        let some = ids(&format!("l{life}-"), 60);
        some.chunks(4).for_each(|some| post(relay.source, some));
        sent.extend(some);
        if life % 2 == 0 { daemon.kill() } else { daemon.end_within(END) }
    }
    let target = relay.target();
    let mut daemon = relay.start(settings[0]);
    target.wait_for_all(&sent);
    target.seen().ids.assert_exactly(&sent);
    daemon.end_within(END);
}

#[test]
fn a_stop_in_order_while_the_target_is_away_keeps_everything() {
    for protocol in [Protocol::Http, Protocol::Forward] {
        let (place, source, port) = (Place::new(), free_port(), free_port());
        let buffer = place.buffer("buffer", QUICK);
        let output = match protocol {
            Protocol::Http => http_output(port, "", &buffer),
            Protocol::Forward => forward_output(port, "", &buffer),
        };
        let config = http_source(source) + &matching(&output);
        let mut sent = Vec::new();
        for life in 0..3 {
            let mut daemon = place.start(&config);
            let some = ids(&format!("a{life}-"), 10);
            post(source, &some);
            sent.extend(some);
            daemon.end_within(END);
        }
        let target = Target::start_at(port, protocol, Conduct::Take);
        let mut daemon = place.start(&config);
        target.wait_for_all(&sent);
        target.seen().ids.assert_exactly(&sent);
        daemon.end_within(END);
    }
}

#[test]
fn a_target_that_fails_for_a_while_makes_nothing_grow_and_gets_everything_once() {
    let (place, source) = (Place::new(), free_port());
    let target = Target::start(Protocol::Http, Conduct::Status(503, ""));
    let output = http_output(target.port, "", &place.buffer("buffer", QUICK));
    let mut daemon = place.start(&(http_source(source) + &matching(&output)));
    let sent = ids("g", 50);
    post(source, &sent);
    target.wait_for_requests(3);
    let size =
        || -> u64 { files(&place.join("buffer"), ".chunk").iter().map(|f| fs::metadata(f).unwrap().len()).sum() };
    let before = size();
    let requests = target.seen().requests;
    target.wait_for_requests(requests + 5);
    assert_eq!(size(), before);
    target.set(Conduct::Take);
    target.wait_for_all(&sent);
    target.seen().ids.assert_exactly(&sent);
    daemon.end_within(END);
}

#[test]
fn garbage_of_one_peer_spoils_no_other_peers_acknowledgements() {
    let (place, port) = (Place::new(), free_port());
    let mut daemon = place.start(&(forward_source(port) + &matching(&place.file("all", QUICK))));
    let load = Load::start(3, || forward_sender(port));
    for round in 0..60_usize {
        let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let noise: Vec<u8> = (0..200).map(|n| ((n * 37 + round * 101) % 256) as u8 | 0x80).collect();
        // It may be cut off before all of it is written.
        let _ = peer.write_all(&noise);
        let mut answer = Vec::new();
        let _ = peer.shutdown(std::net::Shutdown::Write);
        let _ = peer.read_to_end(&mut answer);
        assert!(answer.is_empty(), "noise was acknowledged: {answer:?}");
    }
    load.wait_for_more(10);
    // Each sender saw the acknowledgements of its own chunks alone, and they asserted so.
    let failures = load.failures();
    let sent = load.finish();
    assert_eq!(failures, 0);
    place.wait_for_all(&sent);
    daemon.end_within(END);
    place.landed().assert_exactly(&sent);
}

#[test]
fn a_kept_connection_that_the_target_closed_costs_neither_a_loss_nor_a_double() {
    for protocol in [Protocol::Http, Protocol::Forward] {
        let (place, source) = (Place::new(), free_port());
        let mut target = Target::start(protocol, Conduct::Take);
        let port = target.port;
        let buffer = place.buffer("buffer", QUICK);
        let output = match protocol {
            Protocol::Http => http_output(port, "reuse_connections true", &buffer),
            Protocol::Forward => forward_output(port, "keepalive true", &buffer),
        };
        let mut daemon = place.start(&(http_source(source) + &matching(&output)));
        for round in 0..4 {
            let some = ids(&format!("k{round}-"), 5);
            post(source, &some);
            target.wait_for_all(&some);
            target.seen().ids.assert_exactly(&some);
            // The connection that is kept dies with the target, as soon as its thread has looked.
            drop(target);
            std::thread::sleep(Duration::from_secs(1));
            target = Target::start_at(port, protocol, Conduct::Take);
        }
        assert!(daemon.processor_time() < PATIENCE / 10, "{:?}", daemon.processor_time());
        daemon.end_within(END);
    }
}

#[test]
fn lines_of_a_file_that_is_tailed_while_the_target_is_away_outlive_a_kill() {
    let (place, port) = (Place::new(), free_port());
    let output = forward_output(port, "", &place.buffer("buffer", QUICK));
    let config = tail_source(place.path(), "logs/*.log", "") + &matching(&output);
    let mut log = place.log("a.log");
    for _ in 0..3 {
        log.write(50);
        let mut daemon = place.start(&config);
        log.write(50);
        wait_for("a chunk", || (!files(&place.join("buffer"), ".chunk").is_empty()).then_some(()));
        daemon.kill();
    }
    let target = Target::start_at(port, Protocol::Forward, Conduct::Take);
    let mut daemon = place.start(&config);
    target.wait_for_all(&log.written);
    target.seen().ids.assert_exactly(&log.written);
    daemon.end_within(END);
}

#[test]
fn a_line_that_a_rotation_parts_in_two_is_one_line() {
    let place = Place::new();
    let config = tail_source(place.path(), "logs/*.log", "rotate_wait 1") + &matching(&place.file("all", QUICK));
    let mut log = place.log("a.log");
    log.write(3);
    let mut daemon = place.start(&config);
    place.wait_for_all(&log.written);
    let mut whole = log.written.clone();
    for round in 0..4 {
        log.write_text("{\"id\":\"halved");
        std::thread::sleep(Duration::from_millis(150));
        log.rename_away();
        log.write_text(&format!("-{round}\"}}\n"));
        whole.push(format!("halved-{round}"));
        log.reopen();
        log.write(5);
        whole.extend(log.written[log.written.len() - 5..].to_vec());
        place.wait_for_all(&whole);
    }
    daemon.end_within(END);
    place.landed().assert_exactly(&whole);
    assert_eq!(place.logged("pattern not matched"), 0);
}

#[test]
fn files_that_come_and_go_in_a_moment_end_nothing_and_those_that_stay_are_read() {
    let place = Place::new();
    let config = tail_source(place.path(), "logs/*.log", "rotate_wait 1") + &matching(&place.file("all", QUICK));
    fs::create_dir_all(place.join("logs")).unwrap();
    let mut daemon = place.start(&config);
    let mut stay = Vec::new();
    for n in 0..60 {
        let mut short = place.log(&format!("short{n}.log"));
        short.write(3);
        if n % 3 > 0 {
            // What is removed at once may or may not have been seen: that stays outside the promise.
            fs::remove_file(place.join(&format!("logs/short{n}.log"))).unwrap();
        } else {
            stay.append(&mut short.written);
        }
    }
    let mut last = place.log("last.log");
    last.write(5);
    stay.append(&mut last.written);
    place.wait_for_all(&stay);
    assert!(daemon.is_running());
    daemon.end_within(END);
    let landed = place.landed();
    assert!(landed.doubled().is_empty(), "{:?}", landed.doubled());
}

#[test]
fn the_first_lines_of_files_that_appear_while_it_runs_are_not_lost() {
    let place = Place::new();
    // Without read_from_head too: a file that comes later has no lines from before.
    let config = tail_source(place.path(), "logs/*.log", "").replace("read_from_head true\n", "")
        + &matching(&place.file("all", QUICK));
    fs::create_dir_all(place.join("logs")).unwrap();
    let mut daemon = place.start(&config);
    let mut sent = Vec::new();
    for n in 0..20 {
        let mut log = place.log(&format!("new{n}.log"));
        log.write(4);
        if n % 2 == 0 {
            // A file that is renamed before anybody looked was never one of the path.
            place.wait_for_all(&log.written);
            log.rotate();
            log.write(2);
        }
        sent.append(&mut log.written);
        std::thread::sleep(Duration::from_millis(20));
    }
    place.wait_for_all(&sent);
    daemon.end_within(END);
    place.landed().assert_exactly(&sent);
}

#[test]
fn a_rotated_file_is_not_read_again_by_any_later_start() {
    let place = Place::new();
    // A target that tells chunks apart: one of them may come again after a kill.
    let target = Target::start(Protocol::Forward, Conduct::Take);
    let output = forward_output(target.port, "", &place.buffer("buffer", QUICK));
    let config = tail_source(place.path(), "logs/a.log*", "rotate_wait 1") + &matching(&output);
    let mut log = place.log("a.log");
    for life in 0..4 {
        log.write(10);
        let mut daemon = place.start(&config);
        target.wait_for_all(&log.written);
        if life % 2 == 0 {
            log.rotate();
            log.write(3);
            target.wait_for_all(&log.written);
            daemon.end_within(END);
        } else {
            daemon.kill();
            log.rotate();
        }
    }
    log.write(1);
    let mut daemon = place.start(&config);
    target.wait_for_all(&log.written);
    daemon.end_within(END);
    target.seen().ids.assert_exactly(&log.written);
}

#[test]
fn a_chunk_file_of_zeros_keeps_nothing_from_starting_and_is_not_sent() {
    let relay = Relay::new();
    let sent = ids("z", 10);
    let mut daemon = relay.start("");
    post(relay.source, &sent);
    daemon.kill();
    let chunk = files(&relay.dir(), ".chunk").pop().unwrap();
    let name = chunk.file_name().unwrap().to_string_lossy().into_owned();
    // The same name but for its last digit: a page that was made and never written.
    let (head, last) = name.split_at(name.len() - ".chunk".len() - 1);
    let other = if last.starts_with('0') { '1' } else { '0' };
    fs::write(relay.dir().join(format!("{head}{other}.chunk")), vec![0; 1 << 20]).unwrap();
    let target = relay.target();
    let mut daemon = relay.start("");
    target.wait_for_all(&sent);
    let more = ids("z-more", 10);
    post(relay.source, &more);
    target.wait_for_all(&more);
    target.seen().ids.assert_exactly(&[sent, more].concat());
    daemon.end_within(END);
    // Nobody tries it again at the next start.
    let left = wait_at_most(Duration::ZERO, || files(&relay.dir(), ".chunk").pop());
    assert_eq!(left, None);
}

#[test]
fn what_is_sent_again_after_a_kill_is_acknowledged_and_stored_once() {
    let (place, port) = (Place::new(), free_port());
    // A target that tells chunks apart: one of them may come again after a kill.
    let target = Target::start(Protocol::Forward, Conduct::Take);
    let output = forward_output(target.port, "", &place.buffer("buffer", QUICK));
    let config = forward_source(port) + &matching(&output);
    let mut sent = Vec::new();
    let mut daemon = place.start(&config);
    for life in 0..4 {
        let (some, chunk) = (ids(&format!("r{life}-"), 10), format!("chunk{life}"));
        Forward::new(port).send("app", &some, &chunk).unwrap();
        sent.extend(some);
        daemon.kill();
        daemon = place.start(&config);
        // The sender did not hear of it, say: it sends everything again.
        for again in 0..=life {
            let some = ids(&format!("r{again}-"), 10);
            Forward::new(port).send("app", &some, &format!("chunk{again}")).unwrap();
        }
    }
    target.wait_for_all(&sent);
    daemon.end_within(END);
    target.seen().ids.assert_exactly(&sent);
}
