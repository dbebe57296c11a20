//! `clickhouse` against the real engine, and against a stand-in with faults.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::house::{Conduct, Engine, House, ask};
use super::*;
use crate::daemon::{suiro, wait_for};

fn output(port: u16, more: &str, dir: &Path) -> String {
    let endpoint = format!("endpoint http://127.0.0.1:{port}");
    format!("@type clickhouse\n@id out_ch\n{endpoint}\n{more}\n{}", buffer(dir, "tag"))
}

fn numbers(port: u16, sql: &str) -> Vec<u64> {
    ask(port, sql).lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn fields_become_columns_and_the_rest_json() {
    let Some(engine) = Engine::start() else { return };
    let create = "CREATE TABLE default.access (at DateTime64(3, 'UTC'), tag LowCardinality(String), code UInt16, ok Bool, \
                  tags Array(String), m Map(String, Int64), txt Nullable(String), host String DEFAULT 'none', rest String, \
                  twice UInt32 MATERIALIZED code * 2) ENGINE = MergeTree ORDER BY at \
                  SETTINGS non_replicated_deduplication_window = 1000";
    assert_eq!(ask(engine.port, create), "");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "table access\ntime_column at\ntag_column tag\njson_column rest";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(engine.port, more, dir.path())), dir.path());
    let events = r#"[{"code":200,"ok":true,"tags":["a","b\n"],"m":{"k":1},"txt":{"deep":[1]},"x":"y\t"},
                     {"code":404,"ok":false,"txt":5,"host":"h"}]"#;
    assert!(post(port, "app.web?time=1700000000.25", events));
    let sql = "SELECT at, tag, code, ok, tags, m, txt, host, rest, twice FROM default.access ORDER BY code FORMAT JSONCompactEachRow";
    let wanted = vec![
        r#"["2023-11-14 22:13:20.250","app.web",200,true,["a","b\n"],{"k":"1"},"{\"deep\":[1]}","none","{\"x\":\"y\\t\"}",400]"#.to_owned(),
        r#"["2023-11-14 22:13:20.250","app.web",404,false,[],{},"5","h","{}",808]"#.to_owned(),
    ];
    // The quotes around 64-bit numbers are the version's choice.
    let look =
        || ask(engine.port, sql).lines().map(|l| l.replace(", ", ",").replace("{\"k\":1}", "{\"k\":\"1\"}")).collect();
    eventually(&wanted, &daemon, look);
    assert!(!daemon.log().contains("keeps no window"), "{}", daemon.log());
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn rows_that_are_refused_become_dead_letters_and_the_rest_goes_on() {
    let Some(engine) = Engine::start() else { return };
    let create = "CREATE TABLE default.load (id UInt32, n UInt8, CONSTRAINT small CHECK n < 100) ENGINE = MergeTree ORDER BY id \
                  SETTINGS non_replicated_deduplication_window = 1000";
    assert_eq!(ask(engine.port, create), "");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon =
        Daemon::start(&config(port, dir.path(), &output(engine.port, "table load", dir.path())), dir.path());
    let mut events: Vec<String> = (0..300).map(|id| format!("{{\"id\":{id},\"n\":{}}}", id % 90)).collect();
    events[3] = "{\"id\":3,\"n\":\"abc\"}".into();
    events[299] = "{\"id\":\"x\"}".into();
    assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
    eventually(&vec![298], &daemon, || numbers(engine.port, "SELECT count() FROM default.load"));
    wait_for("the letter", || letters(dir.path()).contains("\"events\":2").then_some(()));
    assert!(post(port, "app.other", "[{\"id\":1000,\"n\":1},{\"id\":1001,\"n\":200},{\"id\":1002,\"n\":2}]"));
    eventually(&vec![300], &daemon, || numbers(engine.port, "SELECT count() FROM default.load"));
    wait_for("the second letter", || letters(dir.path()).contains("\"events\":1").then_some(()));
    assert!(letters(dir.path()).contains("469"), "{}", letters(dir.path()));
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn the_engine_recognises_the_token_of_a_chunk_that_comes_again() {
    let Some(engine) = Engine::start() else { return };
    let create = "CREATE TABLE default.load (id UInt64) ENGINE = MergeTree ORDER BY id \
                  SETTINGS non_replicated_deduplication_window = 1000";
    assert_eq!(ask(engine.port, create), "");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let proxy = cutter::Cutter::before(engine.port);
    let mut daemon = Daemon::start(
        &config(port, dir.path(), &output(proxy.port, "table load\ncompress text", dir.path())),
        dir.path(),
    );
    for round in 0..3 {
        proxy.next(&[cutter::Cut::Answer(b"insert_deduplication_token")]);
        assert!(post(port, "app.web", &format!("[{{\"id\":{}}},{{\"id\":{}}}]", 2 * round, 2 * round + 1)));
        wait_for("the cut", || proxy.is_done().then_some(()));
    }
    eventually(&vec![6], &daemon, || numbers(engine.port, "SELECT count() FROM default.load"));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(numbers(engine.port, "SELECT id FROM default.load ORDER BY id"), [0, 1, 2, 3, 4, 5], "{}", daemon.log());
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn answers_that_are_lost_or_late_double_and_lose_nothing() {
    let house = House::start();
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon =
        Daemon::start(&config(port, dir.path(), &output(house.port, "table load", dir.path())), dir.path());
    let conducts = [Conduct::Swallow, Conduct::Gateway, Conduct::Late, Conduct::Swallow];
    let mut sent = Vec::new();
    for (round, conduct) in conducts.into_iter().enumerate() {
        house.next(&[conduct]);
        let ids: Vec<u64> = (0..20).map(|n| round as u64 * 100 + n).collect();
        let events: Vec<String> = ids.iter().map(|id| format!("{{\"id\":{id}}}")).collect();
        assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
        wait_for("the fault", || house.is_done().then_some(()));
        sent.extend(ids);
        wait_for("the rows", || (house.rows().len() >= sent.len()).then_some(()));
    }
    daemon.wait_for_log("502 Bad Gateway");
    daemon.wait_for_log("Memory limit exceeded");
    wait_for("the second attempts", || (house.recognised() >= 2).then_some(()));
    assert_once(&sent, || house.rows(), &daemon);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn bad_rows_under_a_lost_answer_are_kept_once() {
    let house = House::start();
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon =
        Daemon::start(&config(port, dir.path(), &output(house.port, "table load", dir.path())), dir.path());
    // The first insert finds the bad row, the second is that of the rest, whose answer is lost.
    house.next(&[Conduct::Swallow, Conduct::Swallow, Conduct::Swallow]);
    assert!(post(port, "app.web", "[{\"id\":1},{\"id\":\"bad\"},{\"id\":2},{\"id\":\"worse\"},{\"id\":3}]"));
    wait_for("the letter", || letters(dir.path()).contains("\"events\":2").then_some(()));
    assert_once(&[1, 2, 3], || house.rows(), &daemon);
    assert_eq!(letters(dir.path()).lines().count(), 1);
    assert!(letters(dir.path()).contains("at row 1"), "{}", letters(dir.path()));
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn kills_lose_and_double_nothing() {
    let house = House::start();
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let config = config(port, dir.path(), &output(house.port, "table load", dir.path()));
    let load = Load::start(port);
    for life in 0..6 {
        let mut daemon = Daemon::start(&config, dir.path());
        if life % 2 == 0 {
            house.next(&[Conduct::Hang]);
            wait_for("the hang", || house.is_done().then_some(()));
        }
        std::thread::sleep(Duration::from_millis(20 * life));
        daemon.kill();
    }
    let mut daemon = Daemon::start(&config, dir.path());
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = load.finish();
    assert_once(&acknowledged, || house.rows(), &daemon);
    assert!(house.recognised() > 0);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn refusals_name_the_parameter_and_what_helps() {
    let house = House::start();
    house.lock();
    let dir = TempDir::new().unwrap();
    let login = "table load\nusername u\npassword wrong-word";
    let config = config(free_port(), dir.path(), &output(house.port, login, dir.path()));
    let mut daemon = Daemon::launch(suiro(), &config, dir.path());
    assert_ne!(daemon.wait_for_end().code(), Some(0), "{}", daemon.log());
    assert!(daemon.log().contains("look at username and password"), "{}", daemon.log());
    assert!(!daemon.log().contains("wrong-word"), "{}", daemon.log());
}

#[test]
fn configurations_that_can_not_work_say_what_to_write() {
    for (output, wanted) in [
        ("@type clickhouse\n", "'table' parameter is required"),
        ("@type clickhouse\ntable t\nendpoint tcp://x:9000\n", "write http://host:8123"),
        ("@type clickhouse\ntable t\nendpoint http://u:p@x\n", "username, password and database are parameters"),
        ("@type clickhouse\ntable t\npassword p\n", "password without username"),
        ("@type clickhouse\ntable t\ntls_verify false\n", "the endpoint is not https"),
        ("@type clickhouse\ntable t\ntime_column a\njson_column a\n", "a column of its own"),
        ("@type clickhouse\ntable t\ncompress lz4\n", "gzip"),
    ] {
        let said = checked(output);
        assert!(said.contains(wanted), "{output}: {said}");
    }
}
