//! What goes wrong between suiro and a target: nothing is lost, nothing comes twice, and one document does not hold up the
//! others.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::standin::{StandIn, Trick};
use super::*;
use crate::daemon::{Daemon, free_port, is_drained, wait_for};
use crate::databases::{Load, assert_once, config, eventually, letters, post};

/// A running suiro before a stand-in.
struct Site {
    dir: TempDir,
    port: u16,
    daemon: Daemon,
}

impl Site {
    fn start(kind: &str, target: u16, more: &str) -> Site {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let output = output(kind, target, more, dir.path());
        let daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
        Site { dir, port, daemon }
    }

    fn post(&self, body: &str) {
        assert!(post(self.port, "app.web", body), "{}", self.daemon.log());
    }

    fn drained(&self) {
        wait_for("the buffer to be empty", || is_drained(self.dir.path()).then_some(()));
    }

    fn end(mut self) {
        self.daemon.end_within(Duration::from_secs(5));
    }
}

#[test]
fn answers_that_are_lost_cut_or_late_double_and_lose_nothing() {
    for kind in ["elasticsearch", "opensearch"] {
        let target = StandIn::start();
        let site = Site::start(kind, target.port, "index_name logs");
        let tricks = [
            Trick::Lose,
            Trick::Cut(3),
            Trick::Break,
            Trick::Hang,
            Trick::Short,
            Trick::Say(503, "{}"),
            Trick::Say(502, "<html>no upstream</html>"),
            Trick::Say(429, "{}"),
        ];
        let mut sent = 0;
        for trick in tricks {
            target.next(&[trick]);
            site.post(&numbered(sent..sent + 20));
            sent += 20;
            wait_for("the trick", || target.has_played().then_some(()));
            eventually(&(0..sent).collect::<Vec<_>>(), &site.daemon, || target.numbers("logs"));
        }
        site.drained();
        assert_eq!(target.rewritten(), 0, "{}", site.daemon.log());
        assert_eq!(letters(site.dir.path()), "");
        site.end();
    }
}

#[test]
fn documents_that_are_put_off_are_sent_again_alone() {
    let target = StandIn::start();
    let site = Site::start("opensearch", target.port, "index_name logs");
    target.next(&[Trick::Half(429, "rejected_execution_exception"), Trick::All(503, "unavailable_shards_exception")]);
    site.post(&numbered(0..100));
    eventually(&(0..100).collect::<Vec<_>>(), &site.daemon, || target.numbers("logs"));
    site.drained();
    assert_eq!(target.bulks(), [100, 50, 50]);
    assert_eq!(target.rewritten(), 0);
    site.end();
}

#[test]
fn what_the_mapping_refuses_becomes_a_dead_letter_and_the_rest_goes_on() {
    let target = StandIn::start();
    let site = Site::start("opensearch", target.port, "index_name logs\nlog_os_400_reason true");
    let events: Vec<String> = (0..50)
        .map(|id| match id {
            7 => "{\"id\":7,\"n\":\"seven\"}".to_owned(),
            42 => "{\"id\":42,\"n\":{}}".to_owned(),
            _ => format!("{{\"id\":{id},\"n\":{id}}}"),
        })
        .collect();
    target.next(&[Trick::Cut(10)]);
    site.post(&format!("[{}]", events.join(",")));
    let wanted: Vec<u64> = (0..50).filter(|id| ![7, 42].contains(id)).collect();
    eventually(&wanted, &site.daemon, || target.numbers("logs"));
    wait_for("the letter", || letters(site.dir.path()).contains("\"events\":2").then_some(()));
    let letter = letters(site.dir.path());
    for part in ["mapper_parsing_exception", "For input string", "seven"] {
        assert!(letter.contains(part), "{part}: {letter}");
    }
    assert!(site.daemon.log().contains("a document was refused"), "{}", site.daemon.log());
    site.end();
}

#[test]
fn refused_events_go_where_the_configuration_says() {
    let target = StandIn::start();
    let site = Site::start("elasticsearch", target.port, "index_name logs\nrefused_index refused");
    site.post("[{\"id\":1,\"n\":1},{\"id\":2,\"n\":\"two\"},{\"id\":3,\"n\":3}]");
    eventually(&vec![1, 3], &site.daemon, || target.numbers("logs"));
    let kept = wait_for("the second index", || target.documents("refused").into_iter().next());
    assert_eq!(kept.1["record"], "{\"id\":2,\"n\":\"two\"}");
    assert_eq!(kept.1["tag"], "app.web");
    assert!(kept.1["error"].as_str().unwrap().contains("mapper_parsing_exception"), "{}", kept.1);
    site.drained();
    assert_eq!(letters(site.dir.path()), "");
    site.end();

    let target = StandIn::start();
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = output("opensearch", target.port, "index_name logs\nemit_error_label_event true", dir.path());
    let errors = "<label @ERROR>\n<match **>\n@type stdout\n</match>\n</label>\n";
    let config = config(port, dir.path(), &output);
    let mut daemon = Daemon::start(&format!("{config}{errors}"), dir.path());
    assert!(post(port, "app.web", "[{\"id\":1,\"n\":1},{\"id\":2,\"n\":\"two\"}]"));
    wait_for("the error event", || daemon.output().contains("app.web: {\"id\":2,\"n\":\"two\"}").then_some(()));
    eventually(&vec![1], &daemon, || target.numbers("logs"));
    wait_for("the buffer to be empty", || is_drained(dir.path()).then_some(()));
    assert_eq!(letters(dir.path()), "");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn what_is_put_off_comes_out_under_the_retry_tag() {
    let target = StandIn::start();
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = output("elasticsearch", target.port, "index_name logs\nretry_tag again", dir.path());
    let config = config(port, dir.path(), &output)
        .replace("<match **>\n@type elasticsearch", "<match app.**>\n@type elasticsearch");
    let more = "<match again>\n@type stdout\n</match>\n";
    let mut daemon = Daemon::start(&format!("{config}{more}"), dir.path());
    target.next(&[Trick::Half(429, "es_rejected_execution_exception")]);
    assert!(post(port, "app.web", "[{\"id\":1},{\"id\":2}]"));
    wait_for("the event", || daemon.output().contains("again: {\"id\":2}").then_some(()));
    wait_for("the buffer to be empty", || is_drained(dir.path()).then_some(()));
    assert_eq!(target.numbers("logs"), [1]);
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn requests_that_are_too_large_or_spoiled_are_divided() {
    let target = StandIn::start();
    target.take_at_most(2_000);
    let site = Site::start("opensearch", target.port, "index_name logs");
    let long = format!("{{\"id\":999,\"text\":\"{}\"}}", "x".repeat(5_000));
    let events = numbered(0..100).replace(']', &format!(",{long},{{\"id\":500,\"spoil\":true}}]"));
    site.post(&events);
    eventually(&(0..100).collect::<Vec<_>>(), &site.daemon, || target.numbers("logs"));
    wait_for("the letter", || letters(site.dir.path()).contains("\"events\":2").then_some(()));
    let letter = letters(site.dir.path());
    assert!(letter.contains("413") && letter.contains("spoiled"), "{letter}");
    assert_eq!(target.rewritten(), 0);
    site.drained();
    // What was learned of the size is kept.
    let before = target.bulks().len();
    site.post(&numbered(1000..1010));
    eventually(&110, &site.daemon, || target.numbers("logs").len());
    assert!(target.bulks().len() > before);
    site.end();
}

#[test]
fn an_answer_without_an_end_is_given_up() {
    let target = StandIn::start();
    let site = Site::start("elasticsearch", target.port, "index_name logs");
    target.next(&[Trick::Endless]);
    site.post(&numbered(0..10));
    eventually(&(0..10).collect::<Vec<_>>(), &site.daemon, || target.numbers("logs"));
    assert!(site.daemon.memory("VmHWM") < 400 << 20, "{}", site.daemon.memory("VmHWM"));
    site.end();
}

#[test]
fn several_requests_are_under_way_and_not_more_than_asked_for() {
    let target = StandIn::start();
    target.answer_after(Duration::from_millis(100));
    let more = "index_name logs\nbulk_message_max_documents 50\nbulk_requests_at_once 3\ncompression_level best_speed";
    let site = Site::start("opensearch", target.port, more);
    let started = Instant::now();
    site.post(&numbered(0..1000));
    eventually(&1000, &site.daemon, || target.numbers("logs").len());
    assert_eq!(target.most_under_way(), 3, "{:?}", started.elapsed());
    assert!(target.bulks().iter().all(|documents| *documents == 50), "{:?}", target.bulks());
    assert!(target.heads().iter().any(|head| head.to_lowercase().contains("content-encoding: gzip")));
    site.end();
}

#[test]
fn another_host_takes_over() {
    let (first, second) = (StandIn::start(), StandIn::start());
    let gone = free_port();
    let hosts =
        format!("index_name logs\nhosts 127.0.0.1:{},127.0.0.1:{gone},http://127.0.0.1:{}/", first.port, second.port);
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = format!("@type elasticsearch\n@id out\nrequest_timeout 2\n{hosts}\n{}", buffer(dir.path(), "tag"));
    let mut daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    let seen = || {
        let mut all = first.numbers("logs");
        all.extend(second.numbers("logs"));
        all.sort_unstable();
        all
    };
    for round in 0..10 {
        assert!(post(port, "app.web", &numbered(round * 10..round * 10 + 10)));
        eventually(&((round + 1) * 10), &daemon, || seen().len() as u64);
    }
    assert_eq!(seen(), (0..100).collect::<Vec<_>>());
    assert!(!first.numbers("logs").is_empty() && !second.numbers("logs").is_empty());
    assert!(!daemon.log().contains("failed to flush"), "a host that is gone holds nothing up: {}", daemon.log());
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn kills_lose_and_double_nothing() {
    let target = StandIn::start();
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let config = config(port, dir.path(), &output("opensearch", target.port, "index_name logs", dir.path()));
    let load = Load::start(port);
    for life in 0..6 {
        let mut daemon = Daemon::start(&config, dir.path());
        if life % 2 == 0 {
            target.next(&[Trick::Hang]);
            wait_for("the hang", || target.has_played().then_some(()));
        }
        std::thread::sleep(Duration::from_millis(20 * life));
        daemon.kill();
    }
    let mut daemon = Daemon::start(&config, dir.path());
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = load.finish();
    assert_once(&acknowledged, || target.numbers("logs"), &daemon);
    assert_eq!(target.rewritten(), 0);
    daemon.end_within(Duration::from_secs(5));
}
