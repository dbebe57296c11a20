//! `file://`: what a cloud would get, without one.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::daemon::{check, text};

/// Files below a directory without hidden ones, sorted.
pub fn objects(dir: &Path) -> Vec<PathBuf> {
    let mut left = vec![dir.to_path_buf()];
    let mut found = Vec::new();
    while let Some(at) = left.pop() {
        for path in fs::read_dir(at).into_iter().flatten().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                left.push(path);
            } else if !path.file_name().unwrap().as_encoded_bytes().starts_with(b".") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Lines of all objects, sorted.
fn lines(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for path in objects(dir) {
        let packed = fs::read(&path).unwrap();
        let mut text = String::new();
        if path.extension().is_some_and(|e| e == "gz") {
            flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(packed).unwrap();
        }
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

fn wanted(ids: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = ids.iter().map(|id| format!("{{\"message\":\"{id}\"}}")).collect();
    lines.sort();
    lines
}

fn output(dir: &Path, more: &str) -> String {
    let buffer = if more.contains("<buffer") { String::new() } else { buffer(dir) };
    format!("@type object\nurl file://{}\n<format>\n@type json\n</format>\n{more}\n{buffer}", dir.join("out").display())
}

#[test]
fn events_become_numbered_objects() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = output(dir.path(), "path logs/${tag[1]}/");
    let mut daemon = Daemon::start(&config(port, &output), dir.path());
    send_all(port, &ids(3));
    wait_for("the objects", || (objects(&dir.path().join("out")).len() == 3).then_some(()));
    let names: Vec<String> = objects(&dir.path().join("out/logs/web"))
        .iter()
        .map(|p| p.file_name().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["_0.gz", "_1.gz", "_2.gz"]);
    assert_eq!(lines(&dir.path().join("out")), wanted(&ids(3)));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_day_is_an_object_with_its_date() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let slice = format!(
        "<buffer time,tag>\n@type file\npath {}\ntimekey 1d\ntimekey_wait 0s\ntimekey_use_utc true\nflush_at_shutdown true\n</buffer>",
        dir.path().join("buffer").display()
    );
    let more = format!("path %Y/%m/${{tag}}/\nstore_as text\n{slice}");
    let mut daemon = Daemon::start(&config(port, &output(dir.path(), &more)), dir.path());
    send_all(port, &ids(2));
    // The events' slice, of 2023, is long over.
    let found = wait_for("the object", || Some(objects(&dir.path().join("out"))).filter(|o| !o.is_empty()));
    assert_eq!(found[0].strip_prefix(dir.path().join("out")).unwrap(), Path::new("2023/11/app.web/20231114_0.txt"));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    assert_eq!(lines(&dir.path().join("out")), wanted(&ids(2)));
}

#[test]
fn nothing_is_lost_or_doubled_across_kills() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let config = config(port, &output(dir.path(), "store_as text"));
    let all = ids(60);
    for (life, some) in all.chunks(12).enumerate() {
        let mut daemon = Daemon::start(&config, dir.path());
        send_all(port, some);
        std::thread::sleep(Duration::from_millis(life as u64 * 4));
        daemon.kill();
    }
    let mut daemon = Daemon::start(&config, dir.path());
    wait_for("the rest", || {
        (lines(&dir.path().join("out")).len() >= all.len() && is_drained(dir.path())).then_some(())
    });
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    assert_eq!(lines(&dir.path().join("out")), wanted(&all));
}

#[test]
fn names_that_lead_out_are_set_aside_and_hold_nothing_up() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let root = format!("<system>\nroot_dir {}\n</system>\n", dir.path().join("root").display());
    let fields = buffer(dir.path()).replace("<buffer tag>", "<buffer message>");
    let more = format!("store_as text\nobject_key_format users/${{message}}/x_%{{index}}\n{fields}");
    let mut daemon = Daemon::start(&(root + &config(port, &output(dir.path(), &more))), dir.path());
    let sent = ["../../../escaped", "good", "a/../../b", "/etc/x"].map(str::to_owned);
    send_all(port, &sent);
    wait_for("the good one", || (lines(&dir.path().join("out")) == wanted(&sent[1..2])).then_some(()));
    wait_for("the refusals", || (daemon.log().matches("can't stand in").count() >= 3).then_some(()));
    assert!(!dir.path().join("escaped").exists());
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    assert_eq!(objects(&dir.path().join("out")), [dir.path().join("out/users/good/x_0")]);
}

#[test]
fn configurations_that_can_not_work_say_what_to_write() {
    for (output, wanted) in [
        ("@type object\n", "'url' parameter is required"),
        ("@type object\nurl ftp://x\n", "write s3://bucket/directory"),
        ("@type object\nurl file:///x\nstore_as lzo\n", "use zstd"),
        ("@type object\nurl file:///x\nregion r\n", "region has no effect here"),
        ("@type s3\n", "'s3_bucket' parameter is required"),
        ("@type gcs\n", "'bucket' parameter is required"),
        ("@type gcs\nbucket b\nacl all\n", "none of auth_read"),
        ("@type gcs\nbucket b\nclient_retries 3\n", "client_retries has no effect here"),
        ("@type gcs\nbucket b\nencryption_key short\n", "32 bytes"),
        ("@type azurestorage\n", "azure_container is needed"),
        ("@type azurestorage\nazure_container c\nazure_storage_type tables\n", "there is blob alone"),
        ("@type file\npath /x\n<format>\n@type parquet\n</format>\n", "format of whole files"),
        ("@type object\nurl file:///x\nstore_as gzip\n<format>\n@type parquet\n</format>\n", "packed inside"),
        ("@type s3\ns3_bucket b\n", "in memory alone"),
    ] {
        let said = text(&check(&config(24224, output)));
        assert!(said.contains(wanted), "{output}: {said}");
    }
}
