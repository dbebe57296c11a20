//! `suiro report`: the ledger on a dead directory and beside a living process, two hops beside each other, and what is
//! shown when events are missing.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::{Daemon, free_port, suiro, text, wait_for};
use crate::databases::must_post;

/// Runs `suiro report`; gives its status and what it printed.
fn report(args: &[&str]) -> (i32, String) {
    let output = suiro().arg("report").args(args).output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

/// An HTTP source, a filter that drops events with `"drop":"yes"`, and a file buffer that keeps what it has.
fn keeping(port: u16, dir: &Path, target: u16) -> String {
    let dir = dir.display();
    format!(
        "<source>\n@type http\n@id in_http\nbind 127.0.0.1\nport {port}\n</source>\n\
         <filter app.**>\n@type grep\n<exclude>\nkey drop\npattern /yes/\n</exclude>\n</filter>\n\
         <match app.**>\n@type forward\n@id out\nrequire_ack_response true\nheartbeat_type none\n\
         <server>\nhost 127.0.0.1\nport {target}\n</server>\n\
         <buffer tag>\n@type file\npath {dir}/buffer\nflush_interval 0.1\nretry_type periodic\nretry_wait 0.2\n\
         retry_forever true\nflush_at_shutdown false\n</buffer>\n</match>\n\
         <system>\nroot_dir {dir}/root\n</system>\n"
    )
}

fn forward_to_file(port: u16, dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "<source>\n@type forward\n@id in_forward\nbind 127.0.0.1\nport {port}\n</source>\n\
         <match **>\n@type file\n@id landed\npath {dir}/out/landed\nappend true\n\
         <buffer tag>\n@type file\npath {dir}/buffer\nflush_interval 0.1\n</buffer>\n</match>\n\
         <label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n"
    )
}

#[test]
fn a_killed_process_leaves_accounts_that_balance() {
    let dir = TempDir::new().unwrap();
    let port = free_port();
    // Nobody listens at the target: everything stays in the buffer.
    let mut daemon = Daemon::start(&keeping(port, dir.path(), free_port()), dir.path());
    must_post(port, "app.a", r#"[{"n":1},{"n":2,"drop":"yes"},{"n":3}]"#);
    must_post(port, "app.b", r#"{"n":4}"#);
    let config = dir.path().join("suiro.conf");
    let config = config.to_str().unwrap();
    // Beside the living process.
    let (status, live) = report(&[config, "--by", "tag,output"]);
    assert_eq!(status, 0, "{live}");
    assert!(live.contains("balanced: 3 in = 0 out + 0 dropped + 3 buffered"), "{live}");
    daemon.kill();
    let (status, dead) = report(&[config, "--format", "json"]);
    assert_eq!(status, 0, "{dead}");
    for part in [r#""input":"in_http","tag":"app.a","output":"out","in":2,"out":0"#, r#""tag":"app.b""#] {
        assert!(dead.contains(part), "{dead}");
    }
    // What a filter drops is written down in order at the end.
    let mut daemon = Daemon::start_file(Path::new(config), dir.path());
    must_post(port, "app.a", r#"{"n":5,"drop":"yes"}"#);
    daemon.end();
    let (status, ended) = report(&[config]);
    assert_eq!(status, 0, "{ended}");
    assert!(ended.contains("filtered 1"), "{ended}");
    assert!(ended.contains("balanced: 4 in = 0 out + 1 dropped + 3 buffered"), "{ended}");
    // A chunk file that somebody deletes is missed.
    let chunk = chunks(&dir.path().join("buffer")).remove(0);
    fs::remove_file(chunk).unwrap();
    let (status, robbed) = report(&[config]);
    assert_eq!(status, 1, "{robbed}");
    assert!(robbed.contains("NOT balanced in 1 of 3 accounts"), "{robbed}");
}

fn chunks(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "chunk")).collect()
}

#[test]
fn two_hops_are_compared_by_tag() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (port, between) = (free_port(), free_port());
    let mut far = Daemon::start(&forward_to_file(between, second.path()), second.path());
    let mut near = Daemon::start(&keeping(port, first.path(), between), first.path());
    for n in 0..20 {
        must_post(port, "app.a", &format!(r#"[{{"n":{n}}},{{"n":{n}}}]"#));
    }
    let config = |dir: &TempDir| dir.path().join("suiro.conf").to_str().unwrap().to_owned();
    let (a, b) = (config(&first), config(&second));
    wait_for("all to be delivered", || report(&[&a, "--by", "output"]).1.contains("40 in = 40 out").then_some(()));
    near.end_within(Duration::from_secs(5));
    far.end_within(Duration::from_secs(5));
    let (status, same) = report(&["--compare", &a, &b]);
    assert_eq!(status, 0, "{same}");
    assert!(same.contains("nothing lost, nothing doubled"), "{same}");
    // A saved report serves as well as a configuration, and one that lacks events shows it.
    let (_, saved) = report(&[&b, "--format", "json"]);
    let file = first.path().join("saved.json");
    fs::write(&file, saved.replace(r#""in":40"#, r#""in":38"#)).unwrap();
    let (status, lost) = report(&["--compare", &a, file.to_str().unwrap(), "--output", "out"]);
    assert_eq!(status, 1, "{lost}");
    assert!(lost.contains("2 events lost and 0 doubled"), "{lost}");
}

#[test]
fn what_can_not_be_read_is_named() {
    let dir = TempDir::new().unwrap();
    let (status, none) = report(&["/no/such/file"]);
    assert_eq!(status, 1);
    assert!(none.contains("/no/such/file"), "{none}");
    let file = dir.path().join("x.json");
    fs::write(&file, "{\"version\":9,\"rows\":[]}").unwrap();
    let (status, unknown) = report(&[file.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(unknown.contains("version 9"), "{unknown}");
    let (status, one) = report(&["--compare", file.to_str().unwrap()]);
    assert!(status == 1 && one.contains("needs two sources"), "{one}");
}
