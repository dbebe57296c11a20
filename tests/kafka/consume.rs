//! `kafka_group` and `kafka` against a real broker: what an event is, kills, members that come and go.

use std::collections::BTreeSet;

use super::broker::Broker;
use super::*;
use crate::daemon::{PATIENCE, wait_at_most, wait_for};

/// A member of the group.
fn source(more: &str) -> String {
    format!("consumer_group loaders\ntopics load\nsession_timeout 6\n{more}")
}

/// Waits until all ids are in one of the directories, and sees that none is there twice.
fn assert_each_once(wanted: std::ops::Range<u64>, dirs: &[&Path], daemons: &[&Daemon]) {
    let all = || dirs.iter().flat_map(|dir| file_ids(dir)).collect::<Vec<u64>>();
    let logs = || daemons.iter().map(|daemon| daemon.log()).collect::<Vec<_>>().join("\n----\n");
    let count = wanted.end - wanted.start;
    let found = wait_at_most(PATIENCE * 2, || {
        let found: BTreeSet<u64> = all().into_iter().collect();
        wanted.clone().all(|id| found.contains(&id)).then_some(())
    });
    let mut ids = all();
    if found.is_none() {
        let there: BTreeSet<u64> = ids.iter().copied().collect();
        let lost: Vec<u64> = wanted.filter(|id| !there.contains(id)).collect();
        panic!("{} of {count} are lost: {:?}...: {}", lost.len(), &lost[..lost.len().min(10)], logs());
    }
    // What comes twice comes with the next look.
    std::thread::sleep(Duration::from_millis(1000));
    ids.extend(all());
    let ids = all();
    assert_eq!(ids.len() as u64, count, "doubled: {}", logs());
}

#[test]
fn a_message_becomes_an_event_with_what_was_asked_for() {
    let Some(broker) = Broker::start() else { return };
    broker.put(
        "load.a",
        [
            (Some("key".into()), Some(r#"{"id":1,"at":"2023-11-14T22:13:20Z"}"#.into())),
            (Some("dead".into()), None),
            (None, Some("no json".into())),
            (None, Some(r#"[{"id":2,"at":1700000001},{"id":3}]"#.into())),
        ],
    );
    let dir = TempDir::new().unwrap();
    let source = "consumer_group g\ntopics /^load\\./\nadd_prefix kafka\nadd_suffix x\nkafka_message_key key\n\
                  add_offset_in_record true\ntime_source record\nrecord_time_key at";
    let out = to_file(dir.path()).replace("@type json\n", "@type json\n</format>\n<inject>\ntag_key tag\ntime_key t\ntime_type unixtime\n</inject>\n<format>\n@type json\n");
    let out = out.replacen("<format>\n@type json\n</format>\n", "", 1);
    let error = format!(
        "<label @ERROR>\n<match **>\n@type file\npath {}\nappend true\n<buffer []>\n@type memory\nflush_interval 0.05\n</buffer>\n</match>\n</label>\n",
        dir.path().join("error").display()
    );
    let config = loader(broker.port, source, dir.path(), &out) + &error;
    let mut daemon = Daemon::start(&config, dir.path());
    wait_for("three events", || (lines(dir.path()).len() >= 3).then_some(()));
    let events: Vec<serde_json::Value> = lines(dir.path()).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events[0]["tag"], "kafka.load.a.x");
    assert_eq!((events[0]["key"].as_str(), events[0]["t"].as_i64()), (Some("key"), Some(1_700_000_000)));
    assert_eq!((events[0]["kafka_topic"].as_str(), events[0]["kafka_offset"].as_i64()), (Some("load.a"), Some(0)));
    assert_eq!((events[1]["id"].as_i64(), events[1]["t"].as_i64()), (Some(2), Some(1_700_000_001)));
    assert_eq!((events[2]["id"].as_i64(), events[2]["kafka_offset"].as_i64()), (Some(3), Some(3)));
    let said = wait_for("the malformed one", || {
        std::fs::read_to_string(dir.path().join("error.log")).ok().filter(|text| text.contains("no json"))
    });
    assert!(said.contains("\"kafka_offset\":2"), "{said}");
    daemon.end_within(END);
    assert!(daemon.log().contains("1 messages could not be read, 1 had no value"), "{}", daemon.log());
}

#[test]
fn kills_of_the_loader_in_mid_load_lose_and_double_nothing() {
    let Some(broker) = Broker::start() else { return };
    broker.create("load", 4, &[]);
    let dir = TempDir::new().unwrap();
    // The same member comes back, so its partitions wait for it.
    let config = loader(broker.port, &source("group_instance_id one"), dir.path(), &to_file(dir.path()));
    let count = 60_000;
    let (mut put, step) = (0, 6_000);
    for life in 0..6 {
        let mut daemon = Daemon::start(&config, dir.path());
        broker.put("load", numbered(put..put + step));
        put += step;
        std::thread::sleep(Duration::from_millis(40 * life));
        daemon.kill();
    }
    broker.put("load", numbered(put..count));
    let mut daemon = Daemon::start(&config, dir.path());
    assert_each_once(0..count, &[dir.path()], &[&daemon]);
    daemon.end_within(END);
}

#[test]
fn kills_of_the_broker_in_mid_load_lose_and_double_nothing() {
    let Some(broker) = Broker::start() else { return };
    broker.create("load", 2, &[]);
    let dir = TempDir::new().unwrap();
    let mut daemon = Daemon::start(&loader(broker.port, &source(""), dir.path(), &to_file(dir.path())), dir.path());
    for life in 0..3 {
        broker.put("load", numbered(life * 10_000..(life + 1) * 10_000));
        broker.kill();
        broker.up().unwrap();
    }
    assert_each_once(0..30_000, &[dir.path()], &[&daemon]);
    daemon.end_within(END);
}

#[test]
fn partitions_that_move_between_loaders_lose_and_double_nothing() {
    let Some(broker) = Broker::start() else { return };
    broker.create("load", 6, &[]);
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let config = |dir: &Path| loader(broker.port, &source(""), dir, &to_file(dir));
    let mut first = Daemon::start(&config(one.path()), one.path());
    broker.put("load", numbered(0..20_000));
    // A second comes, the first goes and comes again.
    let mut second = Daemon::start(&config(two.path()), two.path());
    broker.put("load", numbered(20_000..40_000));
    wait_for("a share of the second", || (!file_ids(two.path()).is_empty()).then_some(()));
    assert_eq!(first.end().code(), Some(0), "{}", first.log());
    broker.put("load", numbered(40_000..60_000));
    let mut third = Daemon::start(&config(one.path()), one.path());
    broker.put("load", numbered(60_000..80_000));
    assert_each_once(0..80_000, &[one.path(), two.path()], &[&second, &third]);
    second.end_within(END);
    third.end_within(END);
}

#[test]
fn a_loader_that_is_killed_is_replaced_and_nothing_is_lost() {
    let Some(broker) = Broker::start() else { return };
    broker.create("load", 6, &[]);
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let config = |dir: &Path| loader(broker.port, &source("offset_commit_interval 0.02"), dir, &to_file(dir));
    let mut first = Daemon::start(&config(one.path()), one.path());
    let mut second = Daemon::start(&config(two.path()), two.path());
    let mut sent = 0;
    wait_for("a share of both", || {
        broker.put("load", numbered(sent..sent + 2_000));
        sent += 2_000;
        std::thread::sleep(Duration::from_millis(100));
        (!file_ids(one.path()).is_empty() && !file_ids(two.path()).is_empty()).then_some(())
    });
    broker.put("load", numbered(sent..sent + 20_000));
    first.kill();
    broker.put("load", numbered(sent + 20_000..sent + 30_000));
    let count = sent as usize + 30_000;
    // The second gets all partitions; what the first holds and had no time to send, it sends when it comes back.
    let all = || [one.path(), two.path()].into_iter().flat_map(file_ids).collect::<Vec<u64>>();
    let mut again = Daemon::start(&config(one.path()), one.path());
    let found =
        wait_at_most(PATIENCE * 2, || (all().into_iter().collect::<BTreeSet<u64>>().len() == count).then_some(()));
    assert!(found.is_some(), "{}\n{}", second.log(), again.log());
    std::thread::sleep(Duration::from_millis(500));
    // Only what was stored and not yet committed may be read by the other too.
    let doubled = all().len() - count;
    eprintln!("{doubled} of {count} messages were read by two loaders");
    assert!(doubled < 20_000, "{doubled}");
    again.end_within(END);
    second.end_within(END);
}

#[test]
fn memory_buffers_commit_what_is_delivered() {
    let Some(broker) = Broker::start() else { return };
    broker.put("load", numbered(0..1000));
    let dir = TempDir::new().unwrap();
    let out = to_file(dir.path()).replace(
        &format!("@type file\npath {}\nflush_interval 0.05", dir.path().join("buffer").display()),
        "@type memory\nflush_interval 0.05",
    );
    assert!(out.contains("@type memory"), "{out}");
    let config = loader(broker.port, &source(""), dir.path(), &out);
    let mut daemon = Daemon::start(&config, dir.path());
    eventually(&1000, &daemon, || file_ids(dir.path()).len());
    daemon.end_within(END);
    broker.put("load", numbered(1000..1500));
    let mut daemon = Daemon::start(&config, dir.path());
    assert_each_once(0..1500, &[dir.path()], &[&daemon]);
    daemon.end_within(END);
}

#[test]
fn what_memory_holds_at_the_stop_is_delivered_and_then_committed() {
    let Some(broker) = Broker::start() else { return };
    broker.put("load", numbered(0..1000));
    let dir = TempDir::new().unwrap();
    let out = to_file(dir.path()).replace(
        &format!("@type file\npath {}\nflush_interval 0.05", dir.path().join("buffer").display()),
        "@type memory\nflush_interval 3600",
    );
    let config = loader(broker.port, &source(""), dir.path(), &out);
    let mut daemon = Daemon::start(&config, dir.path());
    // Nothing is delivered before the stop. Joining a group takes some seconds.
    std::thread::sleep(Duration::from_secs(10));
    assert!(lines(dir.path()).is_empty());
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let taken = file_ids(dir.path()).len();
    assert_eq!(taken, 1000, "{}", daemon.log());
    let mut daemon = Daemon::start(&config.replace("flush_interval 3600", "flush_interval 0.05"), dir.path());
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(file_ids(dir.path()).len(), 1000, "{}", daemon.log());
    daemon.end_within(END);
}

#[test]
fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    let Some(broker) = Broker::start() else { return };
    broker.create("load", 1, &[]);
    broker.put("load", numbered(0..100));
    let dir = TempDir::new().unwrap();
    let config = loader(broker.port, &source(""), dir.path(), &to_file(dir.path()));
    let mut daemon = Daemon::start(&config, dir.path());
    eventually(&100, &daemon, || file_ids(dir.path()).len());
    daemon.end_within(END);
    broker.delete("load");
    wait_for("the topic to be gone", || broker.messages("load").is_empty().then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    broker.create("load", 1, &[]);
    broker.put("load", numbered(100..250));
    let mut daemon = Daemon::start(&config, dir.path());
    assert_each_once(0..250, &[dir.path()], &[&daemon]);
    daemon.end_within(END);
}

#[test]
fn a_buffer_without_room_holds_partitions_back_and_memory_stays_bounded() {
    let Some(broker) = Broker::start() else { return };
    broker.create("load", 2, &[]);
    let text = "x".repeat(1000);
    let messages = (0..60_000).map(|id| (Some(format!("k{id}")), Some(format!("{{\"id\":{id},\"text\":\"{text}\"}}"))));
    broker.put("load", messages);
    let dir = TempDir::new().unwrap();
    // Nobody listens where it sends to, and the buffer holds 8 MiB.
    let out = format!(
        "@type forward\n<server>\nhost 127.0.0.1\nport {}\n</server>\n<buffer>\n@type file\npath {}\ntotal_limit_size 8m\n\
         chunk_limit_size 1m\nflush_interval 0.05\nretry_type periodic\nretry_wait 0.2\nretry_forever true\n</buffer>\n",
        free_port(),
        dir.path().join("buffer").display()
    );
    let mut daemon = Daemon::start(&loader(broker.port, &source(""), dir.path(), &out), dir.path());
    let before = daemon.memory("VmRSS");
    std::thread::sleep(Duration::from_secs(6));
    let after = daemon.memory("VmHWM");
    assert!(after.saturating_sub(before) < 120 << 20, "{before} {after}: {}", daemon.log());
    daemon.end_within(Duration::from_secs(30));
    // The rest comes once there is room.
    let mut daemon = Daemon::start(&loader(broker.port, &source(""), dir.path(), &to_file(dir.path())), dir.path());
    assert_each_once(0..60_000, &[dir.path()], &[&daemon]);
    daemon.end_within(END);
}

#[test]
fn a_partition_without_a_group_goes_on_where_its_buffer_stands() {
    let Some(broker) = Broker::start() else { return };
    broker.create("load", 1, &[]);
    broker.put("load", numbered(0..100));
    let dir = TempDir::new().unwrap();
    let config =
        loader(broker.port, "topics load\noffset -2", dir.path(), &to_file(dir.path())).replace("kafka_group", "kafka");
    let mut daemon = Daemon::start(&config, dir.path());
    eventually(&100, &daemon, || file_ids(dir.path()).len());
    daemon.kill();
    broker.put("load", numbered(100..150));
    let mut daemon = Daemon::start(&config, dir.path());
    assert_each_once(0..150, &[dir.path()], &[&daemon]);
    daemon.end_within(END);
}
