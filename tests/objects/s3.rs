//! `s3` against servers, with answers that are lost, refusals, and kills.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use object_store::Attribute;
use tempfile::TempDir;

use super::bucket::Bucket;
use super::proxy::{Conduct, Proxy};
use super::servers::{self, KEY, SECRET, Server, skip};
use super::*;
use crate::daemon::{PATIENCE, suiro, wait_at_most};

/// An `s3` output of a bucket behind a port.
fn output(port: u16, bucket: &str, more: &str, dir: &Path) -> String {
    format!(
        "@type s3\ns3_bucket {bucket}\ns3_endpoint http://127.0.0.1:{port}\ns3_region us-east-1\naws_key_id {KEY}\n\
         aws_sec_key {SECRET}\npath logs/\nstore_as text\n<format>\n@type json\n</format>\n{more}\n{}",
        buffer(dir)
    )
}

fn wanted(ids: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = ids.iter().map(|id| format!("{{\"message\":\"{id}\"}}")).collect();
    lines.sort();
    lines
}

fn wait_drained(dir: &Path, daemon: &Daemon) {
    if wait_at_most(PATIENCE, || is_drained(dir).then_some(())).is_none() {
        panic!("the buffer is not drained: {}", daemon.log());
    }
}

/// One test on each server there is.
fn on_each(test: impl Fn(&Server)) {
    for server in servers::s3() {
        test(&server);
    }
}

#[test]
fn a_bucket_is_made_and_objects_say_what_they_are() {
    on_each(|server| {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let more = "acl private\ntagging team=web\ns3_metadata {\"origin\":\"${tag}\",\"number\":\"%{index}\"}\n\
                    checksum_algorithm SHA256";
        let mut daemon = Daemon::start(&config(port, &output(server.port, "made", more, dir.path())), dir.path());
        send_all(port, &ids(3));
        let bucket = Bucket::of(server, "made");
        wait_for("the objects", || (bucket.names("logs").len() == 3).then_some(()));
        assert_eq!(bucket.names("logs"), ["logs/_0.txt", "logs/_1.txt", "logs/_2.txt"], "{}", server.name);
        assert_eq!(bucket.lines("logs"), wanted(&ids(3)), "{}", server.name);
        let said = |what| bucket.said("logs/_2.txt", &what);
        assert_eq!(said(Attribute::ContentType).as_deref(), Some("text/plain"), "{}", server.name);
        assert_eq!(said(Attribute::Metadata("origin".into())).as_deref(), Some("app.web"), "{}", server.name);
        assert_eq!(said(Attribute::Metadata("number".into())).as_deref(), Some("2"), "{}", server.name);
        assert_eq!(said(Attribute::Metadata("suirochunkid".into())).map(|id| id.len()), Some(32), "{}", server.name);
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    });
}

#[test]
fn an_answer_that_is_lost_doubles_nothing() {
    on_each(|server| {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let proxy = Proxy::before(server.port);
        let mut daemon = Daemon::start(&config(port, &output(proxy.port, "lost", "", dir.path())), dir.path());
        let all = ids(6);
        for (n, id) in all.iter().enumerate() {
            if n % 2 == 0 {
                proxy.next(&[Conduct::Swallow]);
            }
            send_all(port, std::slice::from_ref(id));
            wait_for("the put", || proxy.is_done().then_some(()));
        }
        wait_drained(dir.path(), &daemon);
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        let bucket = Bucket::of(server, "lost");
        assert_eq!(bucket.lines("logs"), wanted(&all), "{}: {}", server.name, daemon.log());
        assert!(daemon.log().contains("its answer was lost"), "{}: {}", server.name, daemon.log());
        // One for the bucket; for each answer that was lost one by its chunk, one by a chunk that met the name, and one for
        // the name behind.
        assert!(proxy.count("HEAD") <= 1 + 3 * 3, "{} questions", proxy.count("HEAD"));
    });
}

#[test]
fn a_busy_store_is_tried_again_and_refuses_in_words() {
    on_each(|server| {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let proxy = Proxy::before(server.port);
        let mut daemon = Daemon::start(&config(port, &output(proxy.port, "busy", "", dir.path())), dir.path());
        proxy.next(&[Conduct::Busy, Conduct::Busy]);
        send_all(port, &ids(2));
        wait_for("the objects", || (Bucket::of(server, "busy").names("logs").len() == 2).then_some(()));
        wait_drained(dir.path(), &daemon);
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        assert_eq!(Bucket::of(server, "busy").lines("logs"), wanted(&ids(2)));
        assert_eq!(proxy.count("HEAD"), 1, "nobody is asked ahead of time, but for the bucket");
        assert!(daemon.log().contains("SlowDown") && daemon.log().contains("go slower"), "{}", daemon.log());
    });
}

#[test]
fn a_kill_in_the_middle_of_a_put_loses_and_doubles_nothing() {
    on_each(|server| {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let proxy = Proxy::before(server.port);
        let config = config(port, &output(proxy.port, "killed", "", dir.path()));
        let all = ids(8);
        for some in all.chunks(2) {
            let mut daemon = Daemon::start(&config, dir.path());
            proxy.next(&[Conduct::Hang]);
            send_all(port, some);
            wait_for("the put", || proxy.is_done().then_some(()));
            daemon.kill();
        }
        let mut daemon = Daemon::start(&config, dir.path());
        wait_drained(dir.path(), &daemon);
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        assert_eq!(Bucket::of(server, "killed").lines("logs"), wanted(&all), "{}", server.name);
    });
}

/// A file of lines that gzip can't make small.
fn large_log(path: &Path, lines: u64) -> u64 {
    let mut file = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for n in 0..lines {
        write!(file, "{n:08}").unwrap();
        for _ in 0..12 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            write!(file, "{state:016x}").unwrap();
        }
        writeln!(file).unwrap();
    }
    lines
}

#[test]
fn large_chunks_go_in_parts_also_when_answers_are_lost() {
    on_each(|server| {
        let dir = TempDir::new().unwrap();
        let proxy = Proxy::before(server.port);
        let count = large_log(&dir.path().join("large.log"), 200_000);
        let path = dir.path().display();
        let source = format!(
            "<source>\n@type tail\ntag app.web\npath {path}/large.log\npos_file {path}/pos\nread_from_head true\n<parse>\n\
             @type none\n</parse>\n</source>\n"
        );
        let slow = "<buffer tag>\n@type file\nflush_mode interval\nflush_interval 2\nchunk_limit_size 256m\nretry_wait 0.2\n\
                    retry_type periodic\nretry_forever true\n";
        let output =
            output(proxy.port, "large", "", dir.path()).replace("<format>\n@type json", "<format>\n@type single_value");
        let (head, _) = output.split_once("<buffer").unwrap();
        let buffer = format!("{slow}path {path}/buffer\n</buffer>\n");
        let config = format!("{source}<match app.**>\n{head}{buffer}</match>\n");
        proxy.next(&[Conduct::Swallow]);
        let mut daemon = Daemon::start(&config, dir.path());
        let bucket = Bucket::of(server, "large");
        wait_for("the lost answer", || proxy.is_done().then_some(()));
        let whole =
            || bucket.names("logs").iter().map(|name| bucket.get(name).len() as u64).sum::<u64>() >= count * 201;
        wait_for("the objects", || (whole() && is_drained(dir.path())).then_some(()));
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        let lines = bucket.lines("logs");
        assert_eq!(lines.len() as u64, count, "{}: {}", server.name, daemon.log());
        assert!((0..count).zip(&lines).all(|(n, line)| line.starts_with(&format!("{n:08}"))), "{}", server.name);
        assert!(proxy.count("POST") >= 2, "{}: no upload in parts", server.name);
        assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    });
}

#[test]
fn refusals_at_the_start_say_what_to_do() {
    let Some(server) = servers::strict() else { return };
    let start = |change: &dyn Fn(String) -> String| {
        let dir = TempDir::new().unwrap();
        let output = change(output(server.port, "absent", "", dir.path()));
        let mut daemon = Daemon::launch(suiro(), &config(free_port(), &output), dir.path());
        let status = daemon.wait_for_end();
        assert_ne!(status.code(), Some(0), "{}", daemon.log());
        daemon.log()
    };
    let said = start(&|text| text.replace(SECRET, "wrong"));
    assert!(said.contains("can't call S3 API. Please check your credentials"), "{said}");
    let said = start(&|text| format!("auto_create_bucket false\n{text}"));
    assert!(said.contains("The specified bucket does not exist: bucket = absent. Create it"), "{said}");
}

#[test]
fn refusals_of_puts_say_what_to_do_and_keep_the_events() {
    let absent = servers::broad().map(|server| (server, SECRET, "NoSuchBucket"));
    let wrong = servers::strict().map(|server| (server, "wrong", "the secret key does not belong"));
    for (server, secret, wanted) in [absent, wrong].into_iter().flatten() {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let unchecked = "check_bucket false\ncheck_apikey_on_start false";
        let output = output(server.port, "absent", unchecked, dir.path()).replace(SECRET, secret);
        let mut daemon = Daemon::start(&config(port, &output), dir.path());
        send_all(port, &ids(1));
        daemon.wait_for_log("What helps: ");
        daemon.wait_for_log(wanted);
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        assert!(!is_drained(dir.path()));
        assert!(!daemon.log().contains(SECRET), "{}", daemon.log());
    }
}

#[test]
fn a_store_that_is_away_at_the_start_keeps_nothing_from_starting() {
    let servers = servers::s3();
    let Some(server) = servers.first() else { return skip("a store that comes later", "no server") };
    let (dir, port, away) = (TempDir::new().unwrap(), free_port(), free_port());
    let mut daemon = Daemon::start(&config(port, &output(away, "later", "", dir.path())), dir.path());
    assert!(daemon.log().contains("is not known"), "{}", daemon.log());
    send_all(port, &ids(1));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!is_drained(dir.path()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let mut daemon = Daemon::start(&config(port, &output(server.port, "later", "", dir.path())), dir.path());
    wait_drained(dir.path(), &daemon);
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    assert_eq!(Bucket::of(server, "later").lines("logs"), wanted(&ids(1)));
}

#[test]
fn object_takes_its_keys_from_the_environment() {
    on_each(|server| {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let output = format!(
            "@type object\nurl s3://url/deep\nendpoint http://127.0.0.1:{}\nauto_create_bucket true\nstore_as text\n<format>\n\
             @type json\n</format>\n{}",
            server.port,
            buffer(dir.path())
        );
        let keys = format!("export AWS_ACCESS_KEY_ID={KEY} AWS_SECRET_ACCESS_KEY={SECRET} AWS_REGION=us-east-1");
        let mut daemon = Daemon::start_behind(&keys, &config(port, &output), dir.path());
        send_all(port, &ids(2));
        wait_drained(dir.path(), &daemon);
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        let bucket = Bucket::of(server, "url");
        assert_eq!(bucket.names("deep"), ["deep/_0.txt", "deep/_1.txt"], "{}", server.name);
        assert_eq!(bucket.lines("deep"), wanted(&ids(2)));
    });
}

#[test]
fn a_role_is_assumed_and_a_lifecycle_is_set() {
    let Some(server) = &servers::broad() else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = format!(
        "<assume_role_credentials>\nrole_arn arn:aws:iam::123456789012:role/logs\nrole_session_name suiro\n\
         sts_endpoint_url http://127.0.0.1:{0}\n</assume_role_credentials>\n<bucket_lifecycle_rule>\nid old\nprefix logs/\n\
         expiration_days 30\n</bucket_lifecycle_rule>",
        server.port
    );
    let config = config(port, &output(server.port, "role", &more, dir.path()));
    let mut daemon = Daemon::start(&config, dir.path());
    send_all(port, &ids(1));
    wait_drained(dir.path(), &daemon);
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    assert_eq!(Bucket::of(server, "role").lines("logs"), wanted(&ids(1)));
    assert!(daemon.log().contains("configuring bucket lifecycle rules"), "{}", daemon.log());
    // The second start finds them as they should be.
    let mut daemon = Daemon::start(&config, dir.path());
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    assert!(!daemon.log().contains("configuring bucket lifecycle rules"), "{}", daemon.log());
}
