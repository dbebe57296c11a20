//! Kills, damage, a full disk's like, several writers: nothing is lost and nothing is doubled.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tempfile::TempDir;

use super::tables::files_below;
use super::*;
use crate::faults::kills::{Chance, one_life};

/// The numbers in a table; each once, or the test fails.
fn numbers(dir: &Path, table: &str) -> HashSet<usize> {
    let all = rows(dir, &format!("select n from {table}")).unwrap_or_default();
    let distinct: HashSet<usize> = all.iter().map(|n| n.parse().unwrap()).collect();
    assert_eq!(all.len(), distinct.len(), "some are doubled");
    distinct
}

fn kills() -> usize {
    std::env::var("SUIRO_KILLS").map_or(8, |n| n.parse().unwrap())
}

#[test]
fn acknowledged_events_are_there_once_across_kills() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "compact_min_files 2\nmaintenance_interval 1\nsnapshot_retention 1\norphan_grace 5";
    let text = config(
        port,
        &warehouse(dir.path(), more).replace("flush_interval 0.1", "flush_mode immediate\nflush_thread_count 3"),
    );
    let done = Arc::new(AtomicBool::new(false));
    let stop = done.clone();
    let sender = std::thread::spawn(move || {
        let (mut next, mut acknowledged) = (0, Vec::new());
        while !stop.load(SeqCst) {
            // A number that was not acknowledged is not sent again: whether it is there is open.
            match post(port, "t", &numbered(next..next + 5)) {
                true => acknowledged.extend(next..next + 5),
                false => std::thread::sleep(Duration::from_millis(10)),
            }
            next += 5;
        }
        acknowledged
    });
    let mut chance = Chance::new();
    (0..kills()).for_each(|_| one_life(&text, dir.path(), &mut chance));
    let mut daemon = Daemon::start(&text, dir.path());
    std::thread::sleep(Duration::from_millis(500));
    done.store(true, SeqCst);
    let acknowledged = sender.join().unwrap();
    assert!(acknowledged.len() > 50, "{} acknowledged", acknowledged.len());
    let all = wait_at_most(PATIENCE, || {
        let there = numbers(dir.path(), "t");
        acknowledged.iter().all(|n| there.contains(n)).then_some(there.len())
    });
    println!("{} kills: {} acknowledged, {:?} in the table, none doubled", kills(), acknowledged.len(), all);
    assert!(all.is_some(), "some are missing: {}", daemon.log());
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

/// Kills a daemon the moment that a condition holds, again and again.
fn killed_when(name: &str, condition: impl Fn(&Path) -> bool) {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let text =
        config(port, &warehouse(dir.path(), "compact false").replace("flush_interval 0.1", "flush_mode immediate"));
    let mut sent = 0;
    for _ in 0..6 {
        let mut daemon = Daemon::start(&text, dir.path());
        fs::create_dir_all(dir.path().join("lake/raw/t/data")).unwrap();
        assert!(post(port, "t", &numbered(sent..sent + 10)), "{name}");
        sent += 10;
        // Looked at without a pause: the moment is short.
        let until = std::time::Instant::now() + Duration::from_secs(2);
        while !condition(dir.path()) && std::time::Instant::now() < until {}
        daemon.kill();
    }
    let mut daemon = Daemon::start(&text, dir.path());
    let all = wait_at_most(PATIENCE, || (numbers(dir.path(), "t").len() == sent).then_some(()));
    assert!(all.is_some(), "{name}: {}", daemon.log());
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

/// Data files, and rows of metadata, that there are.
fn counts(dir: &Path) -> (usize, usize) {
    let table = dir.join("lake/raw/t");
    let versions = fs::read_dir(table.join("metadata")).into_iter().flatten().map(|e| e.unwrap().file_name());
    (
        files_below(&table.join("data")),
        versions.filter(|name| name.to_string_lossy().ends_with(".metadata.json")).count(),
    )
}

#[test]
fn a_kill_between_data_files_and_commit_doubles_nothing() {
    let last = std::cell::Cell::new(0);
    killed_when("before the commit", |dir| {
        let (files, _) = counts(dir);
        files > last.replace(files)
    });
}

#[test]
fn a_kill_behind_the_commit_doubles_nothing() {
    let last = std::cell::Cell::new(2);
    killed_when("behind the commit", |dir| {
        let (_, versions) = counts(dir);
        versions > last.replace(versions.max(last.get()))
    });
}

#[test]
fn two_processes_write_to_one_table() {
    let lake = TempDir::new().unwrap();
    let writers: Vec<(TempDir, u16, Daemon)> = (0..2)
        .map(|_| {
            let (dir, port) = (TempDir::new().unwrap(), free_port());
            let output = format!(
                "path {}\ncompact_min_files 2\nmaintenance_interval 1\n{}",
                lake.path().join("lake").display(),
                buffer(dir.path(), "flush_mode immediate\nflush_thread_count 2")
            );
            let daemon = Daemon::start(&config(port, &output), dir.path());
            (dir, port, daemon)
        })
        .collect();
    std::thread::scope(|scope| {
        for (worker, (_, port, _)) in writers.iter().enumerate() {
            scope.spawn(move || {
                for part in 0..20 {
                    let from = worker * 1_000 + part * 10;
                    assert!(post(*port, "t", &numbered(from..from + 10)));
                }
            });
        }
    });
    wait_for_row(lake.path(), &writers[0].2, "select count(n), count(distinct n) from t", "400,400");
    for (_, _, mut daemon) in writers {
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    }
    assert_eq!(numbers(lake.path(), "t").len(), 400);
}

#[test]
fn a_damaged_catalog_is_told_and_its_events_wait() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let text = config(port, &warehouse(dir.path(), ""));
    let mut daemon = Daemon::start(&text, dir.path());
    assert!(post(port, "t", &numbered(0..10)));
    wait_for_row(dir.path(), &daemon, "select count(*) from t", "10");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let metadata = dir.path().join("lake/raw/t/metadata");
    let newest = fs::read_to_string(metadata.join("version-hint.text")).unwrap();
    let broken = metadata.join(format!("v{newest}.metadata.json"));
    let whole = fs::read(&broken).unwrap();
    fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    let asked = sql(dir.path(), &["select count(*) from t"]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(text_of(&asked).contains("is no Iceberg metadata"), "{}", text_of(&asked));
    let mut daemon = Daemon::start(&text, dir.path());
    assert!(post(port, "t", &numbered(10..20)));
    daemon.wait_for_log("is no Iceberg metadata");
    fs::write(&broken, whole).unwrap();
    wait_for_row(dir.path(), &daemon, "select count(*), count(distinct n) from t", "20,20");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

fn text_of(output: &Output) -> String {
    text(output)
}
