//! `s3` with `<sqs>`: a queue says which objects are new. Against moto, whose buckets tell its queues.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::servers::{self, KEY, SECRET, Server};
use crate::backfill::{config, gzip, landed, lines};
use crate::daemon::{Daemon, PATIENCE, free_port, wait_for};
use crate::databases::eventually;

/// The queue's name.
const QUEUE: &str = "new-objects";

/// Sends a request whose signature nobody looks at; its answer's body.
fn ask(port: u16, head: &str, service: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let who = format!("AWS4-HMAC-SHA256 Credential={KEY}/20261130/us-east-1/{service}/aws4_request");
    let length = body.len();
    write!(
        stream,
        "{head}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Authorization: {who}, SignedHeaders=host, Signature=0\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 2"), "{answer}");
    body.to_owned()
}

/// A bucket `logs`, and a queue that it tells of each new object.
struct Told {
    server: Server,
}

impl Told {
    /// None where there is no moto. Messages that were received are hidden for so many seconds.
    fn start(hidden: u64) -> Option<Told> {
        let told = Told::untold(hidden)?;
        let rule = format!(
            "<NotificationConfiguration><QueueConfiguration><Id>n</Id><Queue>arn:aws:sqs:us-east-1:123456789012:{QUEUE}</Queue>\
             <Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>"
        );
        told.put("?notification", rule.as_bytes());
        Some(told)
    }

    /// The same, with a bucket that tells nobody.
    fn untold(hidden: u64) -> Option<Told> {
        let told = Told { server: servers::broad()? };
        told.put("", b"");
        let attributes = json!({ "VisibilityTimeout": hidden.to_string() });
        told.sqs("CreateQueue", &json!({ "QueueName": QUEUE, "Attributes": attributes }));
        Some(told)
    }

    fn port(&self) -> u16 {
        self.server.port
    }

    /// Puts an object, or the bucket itself under no name.
    fn put(&self, name: &str, bytes: &[u8]) {
        ask(self.port(), &format!("PUT /logs/{name} HTTP/1.1"), "s3", bytes);
    }

    fn sqs(&self, action: &str, what: &Value) -> Value {
        let head =
            format!("POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.{action}\r\nContent-Type: application/x-amz-json-1.0");
        let said = ask(self.port(), &head, "sqs", what.to_string().as_bytes());
        serde_json::from_str(&said).unwrap_or_default()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/123456789012/{QUEUE}", self.port())
    }

    fn send(&self, message: &str) {
        self.sqs("SendMessage", &json!({ "QueueUrl": self.url(), "MessageBody": message }));
    }

    /// Messages that anybody can receive now, and those that someone has.
    fn messages(&self) -> (u64, u64) {
        let said = self.sqs("GetQueueAttributes", &json!({ "QueueUrl": self.url(), "AttributeNames": ["All"] }));
        let count = |name: &str| said["Attributes"][name].as_str().unwrap().parse().unwrap();
        (count("ApproximateNumberOfMessages"), count("ApproximateNumberOfMessagesNotVisible"))
    }

    /// The source of a configuration.
    fn source(&self, more: &str, sqs: &str) -> String {
        let port = self.port();
        format!(
            "@type s3\ns3_bucket logs\ns3_endpoint http://127.0.0.1:{port}\ns3_region us-east-1\naws_key_id {KEY}\n\
             aws_sec_key {SECRET}\n{more}\n<sqs>\nqueue_name {QUEUE}\nendpoint http://127.0.0.1:{port}\n{sqs}\n</sqs>"
        )
    }
}

fn notification(bucket: &str, key: &str) -> String {
    json!({ "Records": [{ "eventName": "ObjectCreated:Put", "s3": { "bucket": { "name": bucket }, "object": { "key": key } } }] })
        .to_string()
}

fn positions(dir: &Path) -> String {
    format!("position_file {}/positions", dir.display())
}

#[test]
fn objects_that_messages_name_are_taken_once_and_the_messages_are_deleted() {
    // Soon there again: moto gives messages to the poll of a daemon that was killed.
    let Some(told) = Told::start(3) else { return };
    let dir = TempDir::new().unwrap();
    told.put("raw/a%20b%2Bc.json", lines(0..10).as_bytes());
    told.put("raw/b.gz", &gzip(&lines(10..20)));
    told.put("other/left-out.json", lines(900..910).as_bytes());
    told.put("raw/empty.json", b"");
    let config = config(dir.path(), &told.source(&format!("prefix raw/\n{}", positions(dir.path())), ""));
    let mut daemon = Daemon::start(&config, dir.path());
    eventually(&(0..20).collect::<Vec<u64>>(), &daemon, || landed(dir.path()));
    // What is there is passed over, what is new under an old name is not.
    told.send(&notification("logs", "raw/b.gz"));
    told.put("raw/b.gz", &gzip(&lines(20..30)));
    eventually(&(0..30).collect::<Vec<u64>>(), &daemon, || landed(dir.path()));
    eventually(&(0, 0), &daemon, || told.messages());
    daemon.kill();
    told.send(&notification("logs", "raw/b.gz"));
    told.put("raw/c.json", lines(30..40).as_bytes());
    let mut daemon = Daemon::start(&config, dir.path());
    eventually(&(0..40).collect::<Vec<u64>>(), &daemon, || landed(dir.path()));
    eventually(&(0, 0), &daemon, || told.messages());
    // The long poll of 20 s ends with the stop.
    daemon.end_within(Duration::from_secs(5));
    assert_eq!(landed(dir.path()), (0..40).collect::<Vec<u64>>());
    let noted = std::fs::read_to_string(dir.path().join("positions")).unwrap();
    assert_eq!(noted.lines().count(), 4, "{noted}");
}

#[test]
fn every_form_is_read_and_what_is_no_notification_stops_nothing() {
    let Some(told) = Told::untold(30) else { return };
    let dir = TempDir::new().unwrap();
    told.send(&format!("garbage {}", "g".repeat(200_000)));
    told.send(&notification("others", "x.json"));
    told.send(&notification("logs", "never-there.json"));
    told.send("{\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\",\"Bucket\":\"logs\"}");
    told.put("by-sns.json", lines(0..5).as_bytes());
    told.put("by-bridge.json", lines(5..10).as_bytes());
    told.put("unencoded%2Bname.json", lines(10..15).as_bytes());
    let envelope = json!({ "Type": "Notification", "Message": notification("logs", "by-sns.json") });
    told.send(&envelope.to_string());
    let detail = json!({ "bucket": { "name": "logs" }, "object": { "key": "by-bridge.json" } });
    told.send(&json!({ "detail-type": "Object Created", "source": "aws.s3", "detail": detail }).to_string());
    told.send(&notification("logs", "unencoded+name.json"));
    let mut daemon = Daemon::start(&config(dir.path(), &told.source(&positions(dir.path()), "")), dir.path());
    eventually(&(0..15).collect::<Vec<u64>>(), &daemon, || landed(dir.path()));
    // The garbage and what is about another bucket stay, for the redrive policy or their reader.
    eventually(&(0, 2), &daemon, || told.messages());
    daemon.end_within(Duration::from_secs(5));
    let log = daemon.log();
    assert!(log.contains("it is no notification of S3") && log.contains("garbage ggg"), "{log}");
    assert!(!log.contains(&"g".repeat(300)), "the whole message is logged");
    assert!(log.contains("about another bucket: s3://others/x.json"), "{log}");
    assert!(log.contains("s3://logs/never-there.json is gone"), "{log}");
}

#[test]
fn a_daemon_that_is_killed_loses_and_doubles_nothing() {
    let Some(told) = Told::start(1) else { return };
    let dir = TempDir::new().unwrap();
    let each = 40_000;
    for n in 0..5 {
        told.put(&format!("{n}.gz"), &gzip(&lines(n * each..(n + 1) * each)));
    }
    // Without a position file buffers alone know what they have.
    let config = config(dir.path(), &told.source("", "wait_time_seconds 1"));
    for life in 0..6 {
        let mut daemon = Daemon::start(&config, dir.path());
        std::thread::sleep(Duration::from_millis(150 * life));
        daemon.kill();
    }
    let mut daemon = Daemon::start(&config, dir.path());
    eventually(&(0, 0), &daemon, || told.messages());
    eventually(&(5 * each as usize), &daemon, || landed(dir.path()).len());
    daemon.end_within(Duration::from_secs(10));
    assert!(landed(dir.path()).into_iter().eq(0..5 * each), "something came twice: {}", daemon.log());
}

#[test]
fn a_message_stays_hidden_in_the_queue_until_its_events_are_delivered() {
    let Some(told) = Told::start(2) else { return };
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    told.put("a.json", lines(0..10).as_bytes());
    let source = told.source(&positions(dir.path()), "wait_time_seconds 1");
    // Memory holds the events, and nobody takes them.
    let config = config(dir.path(), &source);
    let away = config[..config.find("<match t>").unwrap()].to_owned()
        + &format!(
            "<match t>\n@type http\nendpoint http://127.0.0.1:{port}/\n<buffer>\n@type memory\nflush_mode immediate\n\
             retry_forever true\nretry_type periodic\nretry_wait 0.2\n</buffer>\n</match>\n"
        );
    let mut daemon = Daemon::start(&away, dir.path());
    wait_for("the message", || (told.messages() == (0, 1)).then_some(()));
    // Longer than the queue hides a message, again and again: nobody else may have it meanwhile.
    for _ in 0..50 {
        assert_eq!(told.messages(), (0, 1), "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    daemon.kill();
    let mut daemon = Daemon::start(&config, dir.path());
    eventually(&(0..10).collect::<Vec<u64>>(), &daemon, || landed(dir.path()));
    eventually(&(0, 0), &daemon, || told.messages());
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn a_queue_that_comes_later_is_followed_then() {
    let Some(told) = Told::start(30) else { return };
    let dir = TempDir::new().unwrap();
    told.sqs("DeleteQueue", &json!({ "QueueUrl": told.url() }));
    let source = told.source(&positions(dir.path()), "retry_error_interval 0.2\nskip_delete true");
    let mut daemon = Daemon::start(&config(dir.path(), &source), dir.path());
    daemon.wait_for_log("queue new-objects: GetQueueUrl: QueueDoesNotExist");
    daemon.wait_for_log("look at queue_name, region and queue_owner_aws_account_id");
    told.sqs("CreateQueue", &json!({ "QueueName": QUEUE }));
    told.put("a.json", lines(0..10).as_bytes());
    eventually(&(0..10).collect::<Vec<u64>>(), &daemon, || landed(dir.path()));
    // Its message is not deleted.
    assert_eq!(told.messages(), (0, 1));
    told.sqs("DeleteQueue", &json!({ "QueueUrl": told.url() }));
    daemon.wait_for_log("queue new-objects: ReceiveMessage: ");
    daemon.end_within(Duration::from_secs(5));
    assert!(!daemon.log().contains(SECRET), "{}", daemon.log());
}

#[test]
fn an_object_whose_bucket_does_not_answer_keeps_its_message() {
    let Some(told) = Told::start(1) else { return };
    let dir = TempDir::new().unwrap();
    told.send(&notification("absent", "a.json"));
    let source = told.source(&positions(dir.path()), "wait_time_seconds 1");
    let source = source.replace("s3_bucket logs", "s3_bucket absent");
    let mut daemon = Daemon::start(&config(dir.path(), &source), dir.path());
    daemon.wait_for_log("s3://absent/a.json: s3://absent: can't get a.json: NoSuchBucket");
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
    let (seen, hidden) = told.messages();
    assert_eq!(seen + hidden, 1, "{}", daemon.log());
}
