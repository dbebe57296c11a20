//! Objects as a source, and `suiro backfill`: what was stored comes back once, however often it is asked for.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::{Daemon, free_port, suiro, text, wait_for};
use crate::databases::bucket::Bucket;
use crate::databases::{buffer, eventually, post};

/// An object of lines with these numbers.
pub fn lines(ids: std::ops::Range<u64>) -> String {
    ids.map(|id| format!("{{\"id\":{id}}}\n")).collect()
}

pub fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// A source of objects, and an output that stores each chunk once.
pub fn config(dir: &Path, source: &str) -> String {
    let dir_shown = dir.display();
    let buffer = buffer(dir, "tag");
    format!(
        "<system>\nroot_dir {dir_shown}/root\n</system>\n<source>\n{source}\ntag t\n<parse>\n@type json\n</parse>\n</source>\n\
         <match t>\n@type object\nurl file://{dir_shown}/out\nstore_as text\n<format>\n@type json\n</format>\n{buffer}</match>\n\
         <label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n"
    )
}

/// Ids of all that came out, in order.
pub fn landed(dir: &Path) -> Vec<u64> {
    let files = fs::read_dir(dir.join("out")).into_iter().flatten().map(|e| e.unwrap().path()).filter(|p| p.is_file());
    let mut ids = Vec::new();
    for path in files.filter(|p| !p.file_name().unwrap().as_encoded_bytes().starts_with(b".")) {
        let text = fs::read_to_string(path).unwrap();
        ids.extend(text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["id"].as_u64().unwrap()));
    }
    ids.sort_unstable();
    ids
}

fn backfill(dir: &Path, more: &[&str]) -> Output {
    let mut command = suiro();
    command.arg("backfill").arg("-c").arg(dir.join("suiro.conf"));
    command.args(["--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z", "--patience", "20"]).args(more);
    command.stdin(Stdio::null()).output().unwrap()
}

/// Objects of every packing below a directory: ids 0 to 400.
fn stored(dir: &Path) {
    let objects = dir.join("objects/dt=2024-05-06");
    fs::create_dir_all(&objects).unwrap();
    // A gzip of two members, one of them ending within a line.
    let text = lines(0..100);
    let (head, tail) = text.split_at(text.len() / 2 + 3);
    fs::write(objects.join("a.gz"), [gzip(head), gzip(tail)].concat()).unwrap();
    fs::write(objects.join("b.zst"), zstd::encode_all(lines(100..200).as_bytes(), 1).unwrap()).unwrap();
    fs::write(objects.join("c.txt"), lines(200..300)).unwrap();
    fs::write(dir.join("objects/d.json"), lines(300..400).trim_end()).unwrap();
}

#[test]
fn a_backfill_that_is_run_twice_doubles_nothing() {
    let dir = TempDir::new().unwrap();
    stored(dir.path());
    let source = format!("@type object\nurl file://{0}/objects\nposition_file {0}/positions", dir.path().display());
    Daemon::configure(&config(dir.path(), &source), dir.path());
    for _ in 0..2 {
        let output = backfill(dir.path(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("4/4 objects"), "{}", text(&output));
        assert_eq!(landed(dir.path()), (0..400).collect::<Vec<u64>>(), "{}", text(&output));
    }
    // Only what was written in the range, and what the expression names.
    let other = TempDir::new().unwrap();
    Daemon::configure(&config(other.path(), &format!("{source}\nmatch_regexp \\.zst$")), other.path());
    let output = backfill(other.path(), &[]);
    assert_eq!(landed(other.path()), (100..200).collect::<Vec<u64>>(), "{}", text(&output));
    let mut command = suiro();
    command.arg("backfill").arg("-c").arg(other.path().join("suiro.conf"));
    let output = command.args(["--from", "2001-01-01T00:00:00Z", "--to", "2002-01-01T00:00:00Z"]).output().unwrap();
    assert!(text(&output).contains("0 events were read"), "{}", text(&output));
}

#[test]
fn a_backfill_that_is_killed_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("objects")).unwrap();
    for n in 0..4 {
        fs::write(dir.path().join(format!("objects/{n}.gz")), gzip(&lines(n * 200_000..(n + 1) * 200_000))).unwrap();
    }
    let source = format!("@type object\nurl file://{0}/objects\nposition_file {0}/positions", dir.path().display());
    Daemon::configure(&config(dir.path(), &source), dir.path());
    for life in 0..4 {
        let mut command = suiro();
        command.arg("backfill").arg("-c").arg(dir.path().join("suiro.conf"));
        command.args(["--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200 + 300 * life));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = backfill(dir.path(), &[]);
    assert!(output.status.success(), "{}", text(&output));
    let found = landed(dir.path());
    assert_eq!(found.len(), 800_000, "{}", text(&output));
    assert!(found.iter().copied().eq(0..800_000), "something came twice: {}", text(&output));
}

#[test]
fn new_objects_are_found_and_taken_once_across_restarts() {
    let dir = TempDir::new().unwrap();
    stored(dir.path());
    let source = format!(
        "@type object\nurl file://{0}/objects\nposition_file {0}/positions\ninterval 0.1\nadd_object_metadata true",
        dir.path().display()
    );
    let config = config(dir.path(), &source);
    let mut daemon = Daemon::start(&config, dir.path());
    eventually(&400, &daemon, || landed(dir.path()).len());
    fs::write(dir.path().join("objects/.half"), lines(400..450)).unwrap();
    fs::rename(dir.path().join("objects/.half"), dir.path().join("objects/e.txt")).unwrap();
    eventually(&450, &daemon, || landed(dir.path()).len());
    daemon.kill();
    let mut daemon = Daemon::start(&config, dir.path());
    fs::write(dir.path().join("objects/f.gz"), gzip(&lines(450..460))).unwrap();
    eventually(&(0..460).collect::<Vec<u64>>(), &daemon, || landed(dir.path()));
    daemon.end_within(Duration::from_secs(5));
    let positions = fs::read_to_string(dir.path().join("positions")).unwrap();
    assert_eq!(positions.lines().count(), 6, "{positions}");
}

#[test]
fn damage_costs_the_rest_of_its_object_and_is_said() {
    let dir = TempDir::new().unwrap();
    stored(dir.path());
    let whole = gzip(&lines(1000..1100));
    fs::write(dir.path().join("objects/bad.gz"), &whole[..whole.len() / 2]).unwrap();
    let source = format!("@type object\nurl file://{}/objects\nonce true", dir.path().display());
    let mut daemon = Daemon::start(&config(dir.path(), &source), dir.path());
    daemon.wait_for_log("1 objects could not be read to their end");
    assert!(daemon.log().contains("objects/bad.gz: "), "{}", daemon.log());
    wait_for("the others", || (landed(dir.path()).iter().filter(|id| **id < 400).count() == 400).then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn what_s3_has_stored_comes_back_from_there() {
    let bucket = Bucket::start();
    let (first, second, port) = (TempDir::new().unwrap(), TempDir::new().unwrap(), free_port());
    let output = format!(
        "@type s3\naws_key_id AK\naws_sec_key SK\ns3_bucket logs\ns3_endpoint http://127.0.0.1:{}\n\
         check_apikey_on_start false\npath raw/\n<format>\n@type json\n</format>\n{}",
        bucket.port,
        buffer(first.path(), "tag")
    );
    let mut daemon = Daemon::start(&crate::databases::config(port, first.path(), &output), first.path());
    for n in 0..5 {
        let events: Vec<String> = (n * 10..n * 10 + 10).map(|id| format!("{{\"id\":{id}}}")).collect();
        assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
        wait_for("the object", || (bucket.objects().len() > n).then_some(()));
    }
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let source = format!(
        "@type s3\ns3_bucket logs\ns3_endpoint http://127.0.0.1:{}\nprefix raw/\naws_key_id AK\naws_sec_key SK\n\
         position_file {}/positions\ninterval 0.2",
        bucket.port,
        second.path().display()
    );
    let mut daemon = Daemon::start(&config(second.path(), &source), second.path());
    eventually(&(0..50).collect::<Vec<u64>>(), &daemon, || landed(second.path()));
    daemon.end_within(Duration::from_secs(5));
    let output = backfill(second.path(), &[]);
    assert!(output.status.success() && text(&output).contains("5/5 objects"), "{}", text(&output));
    assert_eq!(landed(second.path()), (0..50).collect::<Vec<u64>>());
}

#[test]
fn configurations_that_can_not_work_say_what_to_write() {
    for (source, wanted) in [
        ("@type object\nonce true", "'url' parameter is required"),
        ("@type object\nurl gs://x\nonce true", "write s3://bucket/prefix or file:///directory"),
        ("@type object\nurl file:///x", "'position_file' parameter is required"),
        ("@type s3\ns3_bucket b\nurl s3://b\nonce true", "give one of them"),
        ("@type s3\ns3_bucket b\nonce true\naws_key_id x", "belong together"),
        ("@type s3\ns3_bucket b\nonce true\n<sqs>\nqueue_name q\n</sqs>", "a queue has no end"),
        ("@type s3\ns3_bucket b\n<sqs>\n</sqs>", "'queue_name' parameter is required"),
        ("@type s3\ns3_bucket b\n<sqs>\nqueue_name https://sqs/1/q\n</sqs>", "write the name alone"),
        ("@type s3\ns3_bucket b\n<sqs>\nqueue_name q\naws_key_id x\n</sqs>", "belong together"),
        ("@type s3\ns3_bucket b\n<sqs>\nqueue_name q\nwait_time_seconds 21\n</sqs>", "must be 20 or less"),
        ("@type s3\ns3_bucket b\n<sqs>\nqueue_name q\nretry_error_interval 0\n</sqs>", "must be more than 0"),
        ("@type s3\ns3_bucket b\n<sqs>\nqueue_name q\nendpoint sqs\n</sqs>", "it is no address"),
        ("@type object\nurl file:///x\n<sqs>\nqueue_name q\n</sqs>", "are about a bucket"),
        ("@type s3\ns3_bucket b\ninterval 5\n<sqs>\nqueue_name q\n</sqs>", "interval has no effect here"),
        (
            "@type s3\ns3_bucket b\n<sqs>\nqueue_name q\nevent_bridge_mode true\n</sqs>",
            "event_bridge_mode of <sqs> has no effect here",
        ),
        ("@type object\nurl file:///x\nonce true\nfrom yesterday", "write 2026-05-06T07:00:00Z"),
    ] {
        let dir = TempDir::new().unwrap();
        let path = Daemon::configure(&config(dir.path(), source), dir.path());
        let said = text(&suiro().arg("check").arg(path).output().unwrap());
        assert!(said.contains(wanted), "{source}: {said}");
    }
    let dir = TempDir::new().unwrap();
    Daemon::configure("<match **>\n@type null\n</match>\n", dir.path());
    assert!(text(&backfill(dir.path(), &[])).contains("give --url"));
}
