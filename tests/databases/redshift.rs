//! `redshift` against the stand-in: COPY from manifests, lines that are refused, upserts, answers that are lost, kills.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::cluster::{Cluster, Conduct};
use super::*;
use crate::daemon::wait_for;

fn output(cluster: &Cluster, more: &str, dir: &Path) -> String {
    format!(
        "@type redshift\n@id out_rs\naws_key_id AK\naws_sec_key SK\ns3_bucket logs\ns3_endpoint http://127.0.0.1:{}\n\
         path raw\nutc true\nredshift_host 127.0.0.1\nredshift_port {}\nredshift_dbname postgres\nredshift_user postgres\n\
         {more}\n{}",
        cluster.bucket.port,
        cluster.port,
        buffer(dir, "tag")
    )
}

const IDS: &str = "SELECT id FROM load";

#[test]
fn chunks_go_through_objects_into_the_table() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.database.ask("CREATE SCHEMA app; CREATE TABLE app.load (id int, s varchar(20), at timestamp)");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let timed = buffer(dir.path(), "tag,time")
        .replace("flush_interval 0.1", "timekey 60\ntimekey_wait 0s\ntimekey_use_utc true");
    let more = "redshift_tablename load\nredshift_schemaname app\n<inject>\ntime_key at\ntime_type string\n\
                time_format %Y-%m-%d %H:%M:%S\ntimezone +00:00\n</inject>";
    let output = output(&cluster, more, dir.path()).replace(&buffer(dir.path(), "tag"), &timed);
    let mut daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    assert!(post(port, "app.web?time=1700000000", r#"[{"id":1,"s":"it's"},{"id":2,"other":true}]"#));
    let wanted = vec!["1|it's|2023-11-14 22:13:20".to_owned(), "2||2023-11-14 22:13:20".to_owned()];
    eventually(&wanted, &daemon, || cluster.database.ask("SELECT * FROM app.load ORDER BY id"));
    let names: Vec<String> = cluster.bucket.objects().into_keys().collect();
    assert_eq!(names.len(), 2);
    assert!(names[0].starts_with("/logs/raw/year=2023/month=11/day=14/hour=22/20231114-2213_"), "{names:?}");
    assert_eq!(format!("{}.manifest", names[0]), names[1]);
    let copy = &cluster.copies()[0];
    assert!(
        copy.contains("ACCESS_KEY_ID 'AK' SECRET_ACCESS_KEY 'SK'") && copy.contains("REGION 'us-east-1'"),
        "{copy}"
    );
    assert_eq!(cluster.database.ask("SELECT target, events FROM app.suiro_loads"), ["app.load|2"]);
    assert!(!daemon.log().contains("SK"), "{}", daemon.log());
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn lines_that_are_refused_become_dead_letters_and_the_rest_goes_on() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.database.ask("CREATE TABLE load (id int, s varchar(5))");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "redshift_tablename load\nmax_load_errors 5";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(&cluster, more, dir.path())), dir.path());
    let mut events: Vec<String> = (0..100).map(|id| format!("{{\"id\":{id}}}")).collect();
    events[10] = "{\"id\":\"x\"}".into();
    events[99] = "{\"id\":99,\"s\":\"too long\"}".into();
    assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
    eventually(&vec![98], &daemon, || cluster.database.numbers("SELECT count(*) FROM load"));
    wait_for("the letter", || letters(dir.path()).contains("\"events\":2").then_some(()));
    let letter = letters(dir.path());
    assert!(letter.contains("1207 invalid input syntax") && letter.contains("value too long"), "{letter}");
    let bad: Vec<String> = (0..6).map(|n| format!("{{\"id\":\"bad {n}\"}}")).collect();
    assert!(post(port, "app.web", &format!("[{{\"id\":1000}},{}]", bad.join(","))));
    wait_for("the second letter", || letters(dir.path()).contains("max_load_errors").then_some(()));
    assert_eq!(cluster.database.numbers("SELECT count(*) FROM load"), [98]);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn answers_that_are_lost_and_sessions_that_break_double_nothing() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.database.ask("CREATE TABLE load (id int)");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "redshift_tablename load";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(&cluster, more, dir.path())), dir.path());
    for (round, conduct) in [Conduct::SwallowCommit, Conduct::CutCopy, Conduct::SwallowCommit].into_iter().enumerate() {
        cluster.next(&[conduct]);
        cluster.bucket.swallow(round);
        let events: Vec<String> = (0..20).map(|n| format!("{{\"id\":{}}}", 100 * round + n)).collect();
        assert!(post(port, "app.web", &format!("[{},{{\"id\":\"bad\"}}]", events.join(","))));
        wait_for("the fault", || cluster.is_done().then_some(()));
        eventually(&vec![20 * (round as u64 + 1)], &daemon, || cluster.database.numbers("SELECT count(*) FROM load"));
    }
    wait_for("the letters", || (letters(dir.path()).lines().count() == 3).then_some(()));
    assert_eq!(cluster.database.ask("SELECT count(*), count(DISTINCT id) FROM load"), ["60|60"]);
    assert!(daemon.log().contains("its answer was lost"), "{}", daemon.log());
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn kills_lose_and_double_nothing() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.database.ask("CREATE TABLE load (id bigint)");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let config = config(port, dir.path(), &output(&cluster, "redshift_tablename load", dir.path()));
    let load = Load::start(port);
    for life in 0..6 {
        let mut daemon = Daemon::start(&config, dir.path());
        if life % 2 == 0 {
            cluster.next(&[Conduct::HangCommit]);
            wait_for("the hang", || cluster.is_done().then_some(()));
        }
        std::thread::sleep(Duration::from_millis(30 * life));
        daemon.kill();
    }
    let mut daemon = Daemon::start(&config, dir.path());
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = load.finish();
    assert_once(&acknowledged, || cluster.database.numbers(IDS), &daemon);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn rows_with_the_same_keys_are_replaced() {
    let Some(cluster) = Cluster::start() else { return };
    cluster.database.ask(
        "CREATE TABLE users (id int, v int, name varchar(9)); INSERT INTO users VALUES (1, 1, 'old'), (9, 1, 'stays')",
    );
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "redshift_tablename users\nupsert_keys id\nupsert_order v";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(&cluster, more, dir.path())), dir.path());
    assert!(post(
        port,
        "t",
        r#"[{"id":1,"v":3,"name":"new"},{"id":1,"v":2,"name":"mid"},{"id":2,"v":1,"name":"two"}]"#
    ));
    let wanted = ["1|3|new", "2|1|two", "9|1|stays"].map(str::to_owned).to_vec();
    eventually(&wanted, &daemon, || cluster.database.ask("SELECT * FROM users ORDER BY id"));
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn tables_are_made_after_tags() {
    let Some(cluster) = Cluster::start() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "tag_table true\nmake_auto_table true\nvarchar_length 50";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(&cluster, more, dir.path())), dir.path());
    assert!(post(port, "app.web", r#"[{"id":1,"name":"n","ok":true,"f":1.5}]"#));
    eventually(&vec!["1.5|1|n|t".to_owned()], &daemon, || {
        cluster
            .database
            .try_ask("SELECT f, id, name, ok FROM app_web")
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    });
    let length = "SELECT character_maximum_length FROM information_schema.columns WHERE table_name = 'app_web' AND column_name = 'name'";
    assert_eq!(cluster.database.ask(length), ["50"]);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn configurations_that_can_not_work_say_what_to_write() {
    let check = |more: &str| {
        let base = "@type redshift\ns3_bucket b\nredshift_host h\nredshift_dbname d\nredshift_user u\n";
        checked(&format!("{base}{more}\n<buffer tag>\n@type memory\n</buffer>\n"))
    };
    for (more, wanted) in [
        ("", "name the table in redshift_tablename"),
        ("redshift_tablename t\ntag_table true", "one of them"),
        ("redshift_tablename t\nmax_load_errors 100000", "at most 10000"),
        ("redshift_tablename t\nloads_retention 1h", "shorter than a day"),
        ("redshift_tablename t\nupsert_order v", "upsert_order without upsert_keys"),
        ("redshift_tablename t\ndelimiter |", "it is for file_type csv and tsv alone"),
        ("redshift_tablename t\nfile_type csv\ndelimiter ||", "not one ASCII character"),
        ("redshift_tablename t\nfile_type csv\nmake_auto_table true", "create the table yourself"),
        ("redshift_tablename t\niam_role admin", "iam_role is an ARN"),
        ("redshift_tablename t\nfile_type avro", "parquet"),
        ("redshift_tablename t\naws_key_id x", "aws_key_id without aws_sec_key"),
    ] {
        let said = check(more);
        assert!(said.contains(wanted), "{more}: {said}");
    }
}
