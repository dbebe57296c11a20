//! Events in, rows out.

use std::io::{Read, Write};
use std::net::TcpStream;

use tempfile::TempDir;

use super::*;

#[test]
fn events_are_queried_in_every_form() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon = Daemon::start(&config(port, &warehouse(dir.path(), "")), dir.path());
    let events = [r#"{"level":"info","ms":1,"userId":"a"}"#, r#"{"level":"warn","ms":2}"#, r#"{"level":"x\u0007y"}"#];
    assert!(post(port, "app.web", &events.map(str::to_owned)));
    wait_for_row(dir.path(), &daemon, "select count(*), sum(ms) from raw.app_web", "3,3");
    let all = "select level, ms, userId from app_web order by ms";
    let json = sql(dir.path(), &["--format", "json", all]);
    let wanted = "{\"level\":\"info\",\"ms\":1,\"userId\":\"a\"}\n{\"level\":\"warn\",\"ms\":2}\n";
    assert!(text(&json).starts_with(wanted), "{}", text(&json));
    let table = text(&sql(dir.path(), &[all]));
    assert!(table.contains("| warn") && table.contains("3 rows") && !table.contains('\u{7}'), "{table}");
    let file = dir.path().join("out.parquet");
    let written = sql(dir.path(), &["--format", "parquet", "-o", file.to_str().unwrap(), all]);
    assert!(written.status.success(), "{}", text(&written));
    assert!(std::fs::read(&file).unwrap().starts_with(b"PAR1"));
    let recent = "select count(*) from raw.app_web where time > now() - interval '1 hour' and time <= now()";
    assert_eq!(rows(dir.path(), recent).unwrap(), ["3"]);
    let listed = text(&sql(dir.path(), &["show tables"]));
    assert!(listed.contains("app_web"), "{listed}");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    daemon.assert_balanced();
}

#[test]
fn a_wrong_question_is_answered_with_what_there_is() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let nothing = sql(dir.path(), &["select 1"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing).contains("is no directory"), "{}", text(&nothing));
    let mut daemon = Daemon::start(&config(port, &warehouse(dir.path(), "")), dir.path());
    assert!(post(port, "app", &numbered(0..1)));
    wait_for_row(dir.path(), &daemon, "select count(*) from app", "1");
    for (statement, wanted) in
        [("select * from raw.ap", "There are raw.app"), ("select m from app", "n"), ("drop table app", "DROP")]
    {
        let output = sql(dir.path(), &[statement]);
        assert_eq!(output.status.code(), Some(1), "{statement}");
        assert!(text(&output).to_uppercase().contains(&wanted.to_uppercase()), "{statement}: {}", text(&output));
    }
    daemon.end();
}

#[test]
fn new_fields_become_columns_and_what_conflicts_is_counted() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let monitor = free_port();
    let text = config(port, &warehouse(dir.path(), ""))
        + &format!("<source>\n@type monitor_agent\nbind 127.0.0.1\nport {monitor}\n</source>\n");
    let mut daemon = Daemon::start(&text, dir.path());
    assert!(post(port, "t", &numbered(0..10)));
    wait_for_row(dir.path(), &daemon, "select count(*) from t", "10");
    assert!(post(port, "t", &["{\"n\":\"ten\",\"color\":\"red\"}".into(), "{\"n\":11}".into()]));
    wait_for_row(dir.path(), &daemon, "select count(*), count(color), count(n), count(_rest) from t", "12,1,11,1");
    assert_eq!(rows(dir.path(), "select json_get(_rest, 'n') from t where color = 'red'").unwrap(), ["ten"]);
    assert!(daemon.log().contains("kept in _rest"), "{}", daemon.log());
    let mut stream = TcpStream::connect(("127.0.0.1", monitor)).unwrap();
    stream.write_all(b"GET /api/plugins.json HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"rest_values\":1"), "{answer}");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn small_files_are_put_together_while_queries_run() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "compact_min_files 3\nmaintenance_interval 1\nsnapshot_retention 2\norphan_grace 2";
    let mut daemon = Daemon::start(&config(port, &warehouse(dir.path(), more)), dir.path());
    let mut sent = 0;
    while sent < 400 {
        assert!(post(port, "t", &numbered(sent..sent + 20)));
        sent += 20;
        // Whatever is put together meanwhile: no number is doubled, none between is missing.
        if let Some(seen) = rows(dir.path(), "select count(n), count(distinct n), coalesce(max(n), -1) + 1 from t") {
            let counts: Vec<&str> = seen[0].split(',').collect();
            assert!(counts[0] == counts[1] && counts[1] == counts[2], "{seen:?}");
        }
    }
    wait_for_row(dir.path(), &daemon, "select count(n), sum(n) from t", "400,79800");
    daemon.wait_for_log("small files were put together");
    let files = || files_below(&dir.path().join("lake/raw/t/data"));
    wait_for("the files that were put together to go", || (files() < 8).then_some(()));
    assert_eq!(rows(dir.path(), "select count(n), sum(n) from t").unwrap(), ["400,79800"]);
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

/// Files below a directory.
pub fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|e| e.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[test]
fn events_past_their_time_go() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "retention 30d\nmaintenance_interval 1";
    let mut daemon = Daemon::start(&config(port, &warehouse(dir.path(), more)), dir.path());
    // The time of the events is that of the request; an old one is from 2023.
    assert!(post(port, "t", &numbered(0..10)));
    assert!(post(port, "t?time=1700000000", &numbered(10..20)));
    daemon.wait_for_log("1 were too old");
    wait_for_row(dir.path(), &daemon, "select count(*), max(n) from t", "10,9");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}
