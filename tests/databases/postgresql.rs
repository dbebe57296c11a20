//! `postgresql` against a real server: columns, rows that are refused, answers that are lost, kills of either side.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::cutter::{Cut, Cutter};
use super::server::Postgres;
use super::*;
use crate::daemon::{suiro, text, wait_at_most, wait_for};

/// An output to a table behind a port.
fn output(port: u16, more: &str, dir: &Path) -> String {
    let buffer = if more.contains("<buffer") { String::new() } else { buffer(dir, "tag") };
    format!(
        "@type postgresql\n@id out_pg\nhost 127.0.0.1\nport {port}\ndatabase postgres\nusername postgres\n{more}\n{buffer}"
    )
}

const IDS: &str = "SELECT id FROM load";
/// Longest wait for a connection that is to be cut.
const A_CUT: Duration = Duration::from_secs(5);

#[test]
fn fields_become_columns_and_the_rest_json() {
    let Some(server) = Postgres::start() else { return };
    server.ask(
        "CREATE TABLE access (at timestamptz, tag text, code smallint, price numeric, ok boolean, raw bytea, tags text[], \
         seen timestamp, host text NOT NULL DEFAULT 'none', rest jsonb, id serial)",
    );
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "table access\ntime_column at\ntag_column tag\njson_column rest";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(server.port, more, dir.path())), dir.path());
    let events = r#"[{"code":200,"price":0.1,"ok":true,"tags":["a\"b","c"],"seen":1700000000,"host":"h","x":{"y":"tab\there \\ \n"}},
                     {"code":404.0,"price":12345678901234567890,"ok":false,"raw":"bytes","z":null}]"#;
    assert!(post(port, "app.web?time=1700000000", events));
    let wanted = vec![
        "2023-11-14 22:13:20+00|app.web|200|0.1|t||{\"a\\\"b\",c}|2023-11-14 22:13:20|h|{\"x\": {\"y\": \"tab\\there \\\\ \\n\"}}".to_owned(),
        "2023-11-14 22:13:20+00|app.web|404|12345678901234567890|f|\\x6279746573|||none|{\"z\": null}".to_owned(),
    ];
    let sql =
        "SET timezone='UTC'; SELECT at, tag, code, price, ok, raw, tags, seen, host, rest FROM access ORDER BY code";
    eventually(&wanted, &daemon, || server.ask(sql));
    assert_eq!(server.ask("SELECT target, events, refused FROM suiro_batches"), ["access|2|"]);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn tables_are_made_and_widened_where_that_is_wanted() {
    let Some(server) = Postgres::start() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "table ${tag}\ntime_column at\nauto_create_table true\nadd_columns true";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(server.port, more, dir.path())), dir.path());
    assert!(post(port, "app.web", r#"[{"n":1,"f":1.5},{"n":2,"s":"x","empty":null}]"#));
    let columns = || {
        let sql = "SELECT column_name || ' ' || data_type FROM information_schema.columns WHERE table_name = 'app_web' ORDER BY 1";
        server.ask(sql)
    };
    let first = ["at timestamp with time zone", "f double precision", "n bigint", "s text"].map(str::to_owned).to_vec();
    eventually(&first, &daemon, columns);
    assert!(post(port, "app.web", r#"[{"n":3,"m":{"a":[1]},"q\"; DROP":true}]"#));
    eventually(&vec!["3|{\"a\": [1]}|t".to_owned()], &daemon, || {
        server
            .try_ask("SELECT n, m, \"q\"\"; DROP\" FROM app_web WHERE m IS NOT NULL")
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    });
    assert_eq!(server.ask("SELECT count(*) FROM app_web"), ["3"]);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn mapped_fields_alone_are_written() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE TABLE mapped (who text, deep int, plain text)");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "table mapped\ncolumn_mapping user:who, $.req.n:deep, plain";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(server.port, more, dir.path())), dir.path());
    assert!(post(port, "t", r#"{"user":"u","req":{"n":7},"plain":"p","other":1}"#));
    eventually(&vec!["u|7|p".to_owned()], &daemon, || server.ask("SELECT * FROM mapped"));
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn rows_that_are_refused_become_dead_letters_and_the_rest_goes_on() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE TABLE load (id int UNIQUE, n smallint CHECK (n < 100), s varchar(5))");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon =
        Daemon::start(&config(port, dir.path(), &output(server.port, "table load", dir.path())), dir.path());
    let mut events: Vec<String> = (0..500).map(|id| format!("{{\"id\":{id},\"n\":{}}}", id % 90)).collect();
    events[3] = "{\"id\":3,\"n\":\"abc\"}".into();
    events[250] = "{\"id\":250,\"n\":100}".into();
    events[251] = "{\"id\":1}".into();
    events[499] = "{\"id\":499,\"s\":\"too long\"}".into();
    assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
    eventually(&vec![496], &daemon, || server.numbers("SELECT count(*) FROM load"));
    wait_for("the letter", || letters(dir.path()).contains("\"events\":4").then_some(()));
    let letter = letters(dir.path());
    for answer in ["22P02", "line 1, column n", "23514", "23505", "22001", "the target refused these 4 events"] {
        assert!(letter.contains(answer), "{answer}: {letter}");
    }
    assert_eq!(server.ask("SELECT json_array_length(refused::json) FROM suiro_batches"), ["4"]);
    daemon.end_within(Duration::from_secs(5));
    let report = suiro().arg("report").arg(dir.path().join("suiro.conf")).output().unwrap();
    let said = text(&report);
    assert!(said.contains("496") && said.contains("rejected"), "{said}");
}

#[test]
fn a_chunk_whose_rows_are_all_refused_is_set_aside_whole() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE TABLE load (id int)");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon =
        Daemon::start(&config(port, dir.path(), &output(server.port, "table load", dir.path())), dir.path());
    assert!(post(port, "app.web", r#"[{"id":"a"},{"id":"b"}]"#));
    wait_for("the letter", || letters(dir.path()).contains("every row was refused").then_some(()));
    assert_eq!(server.ask("SELECT count(*) FROM suiro_batches"), ["0"]);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn a_lost_answer_to_commit_doubles_nothing() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE TABLE load (id int)");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let proxy = Cutter::before(server.port);
    let more = "table load\nsslmode disable";
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(proxy.port, more, dir.path())), dir.path());
    let cuts = [Cut::Answer(b"COMMIT"), Cut::Middle(b"COPY"), Cut::Answer(b"RELEASE")];
    for (round, cut) in cuts.into_iter().enumerate() {
        proxy.next(&[cut]);
        let events: Vec<String> = (0..50).map(|n| format!("{{\"id\":{}}}", round * 100 + n)).collect();
        let bad = format!("{{\"id\":\"bad {round}\"}}");
        assert!(post(port, "app.web", &format!("[{},{bad}]", events.join(","))));
        wait_for("the cut", || proxy.is_done().then_some(()));
        eventually(&vec![50 * (round as u64 + 1)], &daemon, || server.numbers("SELECT count(*) FROM load"));
    }
    wait_for("the letters", || (letters(dir.path()).lines().count() == 3).then_some(()));
    assert_eq!(server.ask("SELECT count(*), count(DISTINCT id) FROM load"), ["150|150"]);
    assert!(daemon.log().contains("its answer was lost"), "{}", daemon.log());
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn kills_of_suiro_lose_and_double_nothing() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE TABLE load (id bigint)");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let proxy = Cutter::before(server.port);
    let more = format!(
        "table load\nsslmode disable\n{}",
        buffer(dir.path(), "tag").replace("flush_interval 0.1", "flush_interval 0.02")
    );
    let config = config(port, dir.path(), &output(proxy.port, &more, dir.path()));
    let load = Load::start(port);
    let mut cuts = 0;
    for life in 0..8 {
        let mut daemon = Daemon::start(&config, dir.path());
        // The kill comes while COMMIT is answered, or while rows are on their way, or at any time.
        let cut = [Some(Cut::Hang(b"COMMIT")), Some(Cut::Hang(b"COPY")), None][life % 3];
        proxy.next(cut.as_slice());
        // Where a life has no chunk to send at all, its kill comes at another time.
        if cut.is_some() && wait_at_most(A_CUT, || proxy.is_done().then_some(())).is_some() {
            cuts += 1;
        }
        std::thread::sleep(Duration::from_millis(20 * life as u64));
        daemon.kill();
    }
    assert!(cuts >= 2, "{cuts} of 6 kills came in the middle of a chunk");
    let mut daemon = Daemon::start(&config, dir.path());
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = load.finish();
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    assert_once(&acknowledged, || server.numbers(IDS), &daemon);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn crashes_of_the_server_lose_and_double_nothing() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE TABLE load (id bigint)");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon =
        Daemon::start(&config(port, dir.path(), &output(server.port, "table load", dir.path())), dir.path());
    let load = Load::start(port);
    for pause in [50, 150, 300] {
        std::thread::sleep(Duration::from_millis(pause));
        server.crash();
        std::thread::sleep(Duration::from_millis(pause));
        server.up().unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = load.finish();
    assert_once(&acknowledged, || server.numbers(IDS), &daemon);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn a_server_that_comes_late_gets_everything() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE TABLE load (id int)");
    server.crash();
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon =
        Daemon::start(&config(port, dir.path(), &output(server.port, "table load", dir.path())), dir.path());
    assert!(daemon.log().contains("(host, port)"), "{}", daemon.log());
    assert!(post(port, "app.web", r#"[{"id":1},{"id":2}]"#));
    daemon.wait_for_log("failed to flush the buffer");
    server.up().unwrap();
    eventually(&vec![1, 2], &daemon, || server.numbers(IDS));
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn refusals_name_the_parameter_and_what_helps() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE ROLE app LOGIN PASSWORD 'secret'");
    server.ask("GRANT CREATE ON SCHEMA public TO app");
    let start = |change: &dyn Fn(String) -> String| {
        let dir = TempDir::new().unwrap();
        let output = change(output(server.port, "table load\npassword secret", dir.path()));
        let mut daemon = Daemon::launch(suiro(), &config(free_port(), dir.path(), &output), dir.path());
        let status = daemon.wait_for_end();
        assert_ne!(status.code(), Some(0), "{}", daemon.log());
        daemon.log()
    };
    let app = |text: String| text.replace("username postgres", "username app");
    let said = start(&|text| app(text).replace("secret", "wrong-word"));
    assert!(said.contains("28P01") && said.contains("look at username and password"), "{said}");
    assert!(!said.contains("wrong-word"), "{said}");
    let said = start(&|text| text.replace("database postgres", "database nowhere"));
    assert!(said.contains("3D000") && said.contains("look at database"), "{said}");
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let good = app(output(server.port, "table absent\npassword secret", dir.path()));
    let mut daemon = Daemon::start(&config(port, dir.path(), &good), dir.path());
    assert!(post(port, "app.web", r#"{"id":1}"#));
    daemon.wait_for_log("there is no table absent. What helps: look at table");
    server.ask("CREATE TABLE absent (id int)");
    daemon.wait_for_log("this username may not do that: GRANT");
    server.ask("GRANT INSERT ON absent TO app");
    eventually(&vec![1], &daemon, || server.numbers("SELECT id FROM absent"));
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn certificates_are_checked_where_that_is_asked_for() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE TABLE load (id int)");
    for (more, works) in [
        (format!("sslmode verify-full\ntls_ca_cert_path {}", server.authority().display()), true),
        ("sslmode verify-full".to_owned(), false),
        ("sslmode require".to_owned(), true),
    ] {
        server.ask("TRUNCATE load");
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let output = output(server.port, &format!("table load\n{more}"), dir.path());
        let mut daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
        assert!(post(port, "app.web", r#"{"id":1}"#));
        if works {
            eventually(&vec![1], &daemon, || server.numbers(IDS));
        } else {
            daemon.wait_for_log("invalid peer certificate");
            assert!(server.numbers(IDS).is_empty());
        }
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    }
}

#[test]
fn configurations_that_can_not_work_say_what_to_write() {
    let base = "@type postgresql\ndatabase d\nusername u\n";
    for (output, wanted) in [
        ("@type postgresql\n".to_owned(), "'database' parameter is required"),
        (base.to_owned(), "'table' parameter is required"),
        (format!("{base}table a.b.\u{1}\n"), "can't be the name of a table"),
        (format!("{base}table t\ncolumn_mapping a:x,b:x\n"), "each column is named once"),
        (format!("{base}table t\ntime_column a\ntag_column a\n"), "a column of its own"),
        (format!("{base}table t\nbatch_retention 1h\n"), "shorter than a day"),
        (format!("{base}table t\nhost /run/x\nsslmode verify-full\n"), "no TLS over a Unix socket"),
        (format!("{base}table t\nadd_columns true\njson_column j\n"), "add_columns has no effect here"),
        (format!("{base}table t\ntls_ca_cert_path /x\n"), "tls_ca_cert_path has no effect here"),
        (format!("{base}table t\nsslmode never\n"), "verify-full"),
    ] {
        let said = checked(&output);
        assert!(said.contains(wanted), "{output}: {said}");
    }
}
