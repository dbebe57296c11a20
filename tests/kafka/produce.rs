//! `kafka2` against a real broker: what a message is, what is refused, kills of either side, answers that are lost.

use super::broker::{Broker, Seen};
use super::*;
use crate::daemon::wait_for;
use crate::databases::cutter::Cut;

/// EndTxn of version 1, as a request's head has it.
const END_TXN: &[u8] = b"\x00\x1a\x00\x01";
/// TxnOffsetCommit of version 3.
const TXN_OFFSET_COMMIT: &[u8] = b"\x00\x1c\x00\x03";

#[test]
fn an_event_becomes_a_message_with_topic_key_partition_headers_and_time() {
    let Some(broker) = Broker::start() else { return };
    broker.create("orders", 3, &[]);
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "default_topic rest\nexclude_topic_key true\nexclude_partition true\nexclude_message_key true\n\
                use_event_time true\nheaders {\"from\":\"suiro\"}\nheaders_from_record {\"trace\":\"$.meta.trace\"}\n\
                exclude_fields $.meta\n<inject>\ntag_key tag\n</inject>";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(broker.port, more, dir.path())), dir.path());
    let event = r#"{"topic":"orders","partition":2,"message_key":"user-1","n":1,"meta":{"trace":"abc"}}"#;
    assert!(post(port, "app.web?time=1700000000.5", event));
    assert!(post(port, "app.web?time=1700000000.5", r#"{"n":2}"#));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let wanted = vec![Seen {
        partition: 2,
        key: Some("user-1".into()),
        text: r#"{"n":1,"tag":"app.web"}"#.into(),
        headers: vec![header("from", "suiro"), header("trace", "abc")],
        millis: Some(1_700_000_000_500),
    }];
    eventually(&wanted, &daemon, || broker.messages("orders"));
    eventually(&vec![r#"{"n":2,"tag":"app.web"}"#.to_owned()], &daemon, || {
        broker.messages("rest").into_iter().map(|seen| seen.text).collect()
    });
    daemon.end_within(END);
}

#[test]
fn a_partition_key_chooses_the_partition_and_a_field_can_be_the_message() {
    let Some(broker) = Broker::start() else { return };
    broker.create("app.web", 12, &[]);
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "partition_key_key user\nexclude_partition_key true\nrecord_key $.body";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(broker.port, more, dir.path())), dir.path());
    // CRC-32 of 123456789 is cbf43926.
    assert!(post(
        port,
        "app.web",
        r#"[{"user":"123456789","body":{"a":1}},{"user":"123456789","body":"text"},{"user":"x"}]"#
    ));
    let seen = || broker.messages("app.web").into_iter().map(|m| (m.partition, m.text)).collect::<Vec<_>>();
    let partition = (0xcbf4_3926_u32 % 12) as i32;
    eventually(&vec![(partition, r#"{"a":1}"#.to_owned()), (partition, "text".to_owned())], &daemon, seen);
    wait_for("the dead letter", || letters(dir.path()).contains("record_key").then_some(()));
    daemon.end_within(END);
}

#[test]
fn every_codec_is_read_by_others() {
    let Some(broker) = Broker::start() else { return };
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let more = format!("topic {codec}\ncompression_codec {codec}\nidempotent true");
        let mut daemon = Daemon::start(&config(port, dir.path(), &output(broker.port, &more, dir.path())), dir.path());
        let events: Vec<String> =
            (0..500).map(|id| format!("{{\"id\":{id},\"text\":\"{}\"}}", "x".repeat(100))).collect();
        assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
        eventually(&(0..500).collect::<Vec<u64>>(), &daemon, || broker.ids(codec));
        daemon.end_within(END);
    }
}

#[test]
fn messages_that_are_too_large_are_set_aside_and_the_others_are_there_once() {
    let Some(broker) = Broker::start() else { return };
    for (name, more) in [("plain", ""), ("once", "transactional_id once")] {
        // Batches of small messages are larger than this too.
        broker.create(name, 1, &[("max.message.bytes", "3000")]);
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let more = format!("topic {name}\nmax_send_limit_bytes 20k\n{more}");
        let mut daemon = Daemon::start(&config(port, dir.path(), &output(broker.port, &more, dir.path())), dir.path());
        let event = |id: usize| {
            let size = match id {
                7 => 5_000,
                11 => 30_000,
                _ => 300,
            };
            format!("{{\"id\":{id},\"text\":\"{}\"}}", "x".repeat(size))
        };
        let events: Vec<String> = (0..40).map(event).collect();
        assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
        let wanted: Vec<u64> = (0..40).filter(|id| ![7, 11].contains(id)).collect();
        eventually(&wanted, &daemon, || {
            let mut ids = broker.ids(name);
            ids.sort_unstable();
            ids
        });
        wait_for("the dead letters", || {
            let said = letters(dir.path());
            (said.contains("MessageSizeTooLarge") && said.contains("max_send_limit_bytes")).then_some(())
        });
        daemon.end_within(END);
    }
}

#[test]
fn events_of_a_topic_that_is_not_there_go_to_the_default_where_that_is_said() {
    let Some(broker) = Broker::with("auto.create.topics.enable=false") else { return };
    broker.create("rest", 1, &[]);
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "default_topic rest\nuse_default_for_unknown_topic true\nrdkafka_options {\"topic.metadata.propagation.max.ms\":\"500\"}";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(broker.port, more, dir.path())), dir.path());
    assert!(post(port, "app.web", r#"[{"id":1,"topic":"gone"},{"id":2,"topic":"rest"}]"#));
    eventually(&vec![1, 2], &daemon, || {
        let mut ids = broker.ids("rest");
        ids.sort_unstable();
        ids
    });
    daemon.wait_for_log("there is no topic gone");
    daemon.end_within(END);
}

/// A buffer that is emptied quickly.
fn quick(dir: &Path) -> String {
    buffer(dir, "tag").replace("flush_interval 0.1", "flush_interval 0.02")
}

#[test]
fn kills_of_suiro_in_mid_load_lose_and_double_nothing() {
    let Some(broker) = Broker::start() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = format!("topic load\ntransactional_id kills\n{}", quick(dir.path()));
    let config = config(port, dir.path(), &output(broker.proxy.port, &more, dir.path()));
    let load = Load::start(port);
    for life in 0..9 {
        let mut daemon = Daemon::start(&config, dir.path());
        // The kill comes while a commit is answered, or the note of the chunk, or at any time.
        let cut = [Some(Cut::Hang(END_TXN)), Some(Cut::Hang(TXN_OFFSET_COMMIT)), None][life % 3];
        broker.proxy.next(cut.as_slice());
        if cut.is_some() {
            wait_for("the cut", || broker.proxy.is_done().then_some(()));
        }
        std::thread::sleep(Duration::from_millis(50 * life as u64));
        daemon.kill();
    }
    let mut daemon = Daemon::start(&config, dir.path());
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = load.finish();
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    assert_once(&acknowledged, || broker.ids("load"), &daemon);
    daemon.end_within(END);
}

#[test]
fn answers_that_are_lost_double_nothing() {
    let Some(broker) = Broker::start() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = format!("topic load\ntransactional_id answers\n{}", quick(dir.path()));
    let config = config(port, dir.path(), &output(broker.proxy.port, &more, dir.path()));
    let mut daemon = Daemon::start(&config, dir.path());
    let load = Load::start(port);
    for round in 0..6 {
        let cut = [Cut::Answer(END_TXN), Cut::Answer(TXN_OFFSET_COMMIT), Cut::Middle(END_TXN)][round % 3];
        broker.proxy.next(&[cut]);
        wait_for("the cut", || broker.proxy.is_done().then_some(()));
    }
    let acknowledged = load.finish();
    assert_once(&acknowledged, || broker.ids("load"), &daemon);
    daemon.end_within(END);
}

#[test]
fn kills_of_the_broker_in_mid_load_lose_and_double_nothing() {
    let Some(broker) = Broker::start() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = format!("topic load\ntransactional_id crashes\n{}", quick(dir.path()));
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(broker.port, &more, dir.path())), dir.path());
    let load = Load::start(port);
    for pause in [700, 1500] {
        std::thread::sleep(Duration::from_millis(pause));
        broker.kill();
        std::thread::sleep(Duration::from_millis(pause));
        broker.up().unwrap();
    }
    std::thread::sleep(Duration::from_millis(500));
    let acknowledged = load.finish();
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    assert_once(&acknowledged, || broker.ids("load"), &daemon);
    daemon.end_within(END);
}

#[test]
fn without_transactions_nothing_is_lost() {
    let Some(broker) = Broker::start() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = format!("topic load\n{}", quick(dir.path()));
    let config = config(port, dir.path(), &output(broker.port, &more, dir.path()));
    let load = Load::start(port);
    for life in 0..3 {
        let mut daemon = Daemon::start(&config, dir.path());
        std::thread::sleep(Duration::from_millis(300 + 100 * life));
        daemon.kill();
    }
    let mut daemon = Daemon::start(&config, dir.path());
    broker.kill();
    std::thread::sleep(Duration::from_millis(500));
    broker.up().unwrap();
    let acknowledged = load.finish();
    let mut lost = acknowledged.clone();
    wait_for("every id", || {
        let mut found = broker.ids("load");
        found.sort_unstable();
        lost.retain(|id| found.binary_search(id).is_err());
        lost.is_empty().then_some(())
    });
    daemon.end_within(END);
}

#[test]
fn a_broker_that_is_away_slows_nobody_else_and_gets_everything_later() {
    let Some(broker) = Broker::start() else { return };
    broker.kill();
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = format!("topic load\ntransactional_id away\n{}", buffer(&dir.path().join("k"), "tag"));
    let both = format!(
        "@type copy\n<store>\n{}</store>\n<store>\n{}</store>\n",
        output(broker.port, &more, dir.path()),
        to_file(dir.path())
    );
    let mut daemon = Daemon::start(&config(port, dir.path(), &both), dir.path());
    for id in 0..20 {
        assert!(post(port, "app.web", &format!("{{\"id\":{id}}}")));
    }
    eventually(&(0..20).collect::<Vec<u64>>(), &daemon, || file_ids(dir.path()));
    broker.up().unwrap();
    eventually(&(0..20).collect::<Vec<u64>>(), &daemon, || broker.ids("load"));
    daemon.end_within(END);
}

#[test]
fn a_daemon_stops_in_time_while_the_broker_is_away() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    for (at, more) in ["", "\ntransactional_id away"].into_iter().enumerate() {
        let dir = dir.path().join(at.to_string());
        std::fs::create_dir(&dir).unwrap();
        let config = config(port, &dir, &output(free_port(), &format!("topic load{more}"), &dir));
        let mut daemon = Daemon::start(&config, &dir);
        assert!(post(port, "app.web", "{\"id\":1}"));
        std::thread::sleep(Duration::from_millis(300));
        let started = std::time::Instant::now();
        daemon.end();
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}: {}", started.elapsed(), daemon.log());
    }
}
