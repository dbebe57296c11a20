//! Services as targets, by the real binary against stand-ins with faults: `loki`, `splunk_hec`, `opentelemetry` to itself,
//! syslog over TCP.
#![allow(clippy::unwrap_used)]

pub mod standin;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use self::standin::{Conduct, StandIn};
use crate::daemon::{Daemon, PATIENCE, free_port, suiro, wait_for};
use crate::databases::{Load, assert_once, buffer, config, eventually, letters, post};

/// Ids of the lines that a stand-in for Loki keeps: entries that it has are taken once, as Loki does.
fn loki_ids(service: &StandIn) -> Vec<u64> {
    let mut entries: Vec<String> = Vec::new();
    for push in service.taken("/loki/api/v1/push") {
        for stream in push["streams"].as_array().unwrap() {
            let entry = |value: &Json| format!("{} {} {}", stream["stream"], value[0], value[1]);
            entries.extend(stream["values"].as_array().unwrap().iter().map(entry));
        }
    }
    entries.sort();
    entries.dedup();
    let id = |entry: &String| {
        let (_, rest) = entry.split_once("{\\\"id\\\":").unwrap();
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    entries.iter().map(id).collect()
}

fn loki(dir: &TempDir, port: u16) -> String {
    format!(
        "@type loki\n@id out\nurl http://127.0.0.1:{port}\nread_timeout 1\nline_format json\nextra_labels {{\"job\":\"a\"}}\n{}",
        buffer(dir.path(), "tag")
    )
}

#[test]
fn loki_has_each_event_once_through_kills_and_faults_of_every_kind() {
    let (dir, port, service) = (TempDir::new().unwrap(), free_port(), StandIn::start());
    let text = config(port, dir.path(), &loki(&dir, service.port));
    let mut daemon = Daemon::start(&text, dir.path());
    let load = Load::start(port);
    for conducts in [
        [Conduct::Swallow, Conduct::Cut, Conduct::Status("503 Service Unavailable")],
        [Conduct::Hang, Conduct::Pour, Conduct::Status("429 Too Many Requests\r\nRetry-After: 0")],
    ] {
        service.next(&conducts);
        wait_for("the faults", || service.is_done().then_some(()));
        daemon.kill();
        daemon = Daemon::start(&text, dir.path());
    }
    std::thread::sleep(Duration::from_millis(500));
    let acknowledged = load.finish();
    assert!(acknowledged.len() > 20, "{}", daemon.log());
    assert_once(&acknowledged, || loki_ids(&service), &daemon);
}

#[test]
fn an_entry_that_loki_refuses_is_a_dead_letter() {
    let (dir, port, service) = (TempDir::new().unwrap(), free_port(), StandIn::start());
    service.refuse("poison");
    let daemon = Daemon::start(&config(port, dir.path(), &loki(&dir, service.port)), dir.path());
    let events: Vec<Json> =
        (0..50).map(|id| if id == 31 { json!({"id": id, "m": "poison"}) } else { json!({"id": id}) }).collect();
    assert!(post(port, "app.a", &Json::from(events).to_string()));
    let wanted: Vec<u64> = (0..50).filter(|id| *id != 31).collect();
    eventually(&wanted, &daemon, || {
        let mut ids = loki_ids(&service);
        ids.sort_unstable();
        ids
    });
    eventually(&true, &daemon, || letters(dir.path()).contains("refused these 1 events"));
}

#[test]
fn a_target_that_hangs_holds_up_no_other() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let (good, hanging) = (StandIn::start(), StandIn::start());
    hanging.always(Conduct::Hang);
    let splunk = format!(
        "@type splunk_hec\n@id hanging\nprotocol http\nhec_host 127.0.0.1\nhec_port {}\nhec_token t\n\
         <buffer tag>\n@type file\npath {}\nflush_interval 0.1\n</buffer>\n",
        hanging.port,
        dir.path().join("splunk").display()
    );
    let stores = format!("@type copy\n<store>\n{}</store>\n<store>\n{splunk}</store>\n", loki(&dir, good.port));
    let mut daemon = Daemon::start(&config(port, dir.path(), &stores), dir.path());
    assert!(post(port, "app.a", "{\"id\":0}"));
    wait_for("the hanging request", || (hanging.asked() > 0).then_some(()));
    let began = Instant::now();
    for id in 1..20 {
        assert!(post(port, "app.a", &format!("{{\"id\":{id}}}")));
    }
    eventually(&20, &daemon, || loki_ids(&good).len());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}: {}", began.elapsed(), daemon.log());
    // What hangs does not hold up the stop for longer than it may take either; its chunk stays in the buffer.
    daemon.kill();
}

#[test]
fn splunk_is_believed_when_its_indexers_have_the_events() {
    let (dir, port, service) = (TempDir::new().unwrap(), free_port(), StandIn::start());
    let output = format!(
        "@type splunk_hec\n@id out\nprotocol http\nhec_host 127.0.0.1\nhec_port {}\nhec_token t\nuse_ack true\nack_interval 0.05\n\
         ack_timeout 1\nread_timeout 1\n{}",
        service.port,
        buffer(dir.path(), "tag")
    );
    let daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    // The first request is never acknowledged.
    service.forget_acks(1);
    assert!(post(port, "app.a", "{\"id\":7}"));
    wait_for("a second attempt", || (service.taken("/services/collector").len() >= 2).then_some(()));
    eventually(&true, &daemon, || daemon.log().contains("retry succeeded"));
    assert!(daemon.log().contains("were not acknowledged by the indexers"), "{}", daemon.log());
    let events = service.taken("/services/collector");
    assert!(events.iter().all(|event| event["event"]["id"] == 7), "{events:?}");
}

#[test]
fn logs_go_by_otlp_from_one_suiro_to_another() {
    let (dir, far, near, http) = (TempDir::new().unwrap(), TempDir::new().unwrap(), free_port(), free_port());
    let receiver = format!(
        "<source>\n@type opentelemetry\ntag far\n<http>\nbind 127.0.0.1\nport {http}\n</http>\n</source>\n\
         <match **>\n@type stdout\n</match>\n"
    );
    let output = format!(
        "@type opentelemetry\n@id out\nresource_attributes {{\"service.name\":\"shop\"}}\n\
         <http>\nendpoint http://127.0.0.1:{http}\ncompress gzip\n</http>\n{}",
        buffer(dir.path(), "tag")
    );
    let sender = Daemon::start(&config(near, dir.path(), &output), dir.path());
    // The other side is not there yet.
    assert!(post(near, "app.a", "{\"message\":\"hello\",\"n\":1}"));
    sender.wait_for_log("failed to flush");
    let receiver = Daemon::start(&receiver, far.path());
    let wanted = "far: {\"body\":\"hello\",\"attributes\":{\"n\":1},\"resource\":{\"service.name\":\"shop\"}}";
    wait_for("the event", || receiver.output().contains(wanted).then_some(()));
}

/// Posts to the input `opentelemetry`; the status.
fn otlp(port: u16, headers: &str, body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = match headers.contains("Content-Length") {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    let head = format!("POST /v1/logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n{length}\r\n");
    // A body that is refused is not read to its end.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

#[test]
fn hostile_requests_of_otlp_are_refused_in_bounded_memory() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let text = format!(
        "<source>\n@type opentelemetry\ntag a\n<http>\nbind 127.0.0.1\nport {port}\n</http>\n</source>\n\
         <match **>\n@type null\n</match>\n"
    );
    let daemon = Daemon::start(&text, dir.path());
    let (json, proto) = ("Content-Type: application/json", "Content-Type: application/x-protobuf");
    let before = daemon.memory("VmHWM");
    // Records of two bytes each, which all have the resource of 100 kB: terabytes of events.
    let records = "{},".repeat(2_000_000);
    let wide = format!(
        "{{\"resourceLogs\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"{}\"}}]}},\"scopeLogs\":[{{\"logRecords\":[{records}{{}}]}}]}}]}}",
        "k".repeat(100_000)
    );
    let nested = "{\"arrayValue\":{\"values\":[".repeat(100_000);
    let deep = format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{{\"body\":{nested}");
    let zeros = gzip(&vec![0; 200 << 20]);
    let attacks: [(&str, &[u8], u16); 5] = [
        (json, wide.as_bytes(), 413),
        (json, deep.as_bytes(), 400),
        (&format!("{proto}\r\nContent-Encoding: gzip"), &zeros, 400),
        (&format!("{proto}\r\nContent-Length: 40000000"), b"\x0a", 413),
        (proto, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 400),
    ];
    for (headers, body, status) in attacks {
        assert_eq!(otlp(port, headers, body), status, "{headers}");
    }
    let grown = daemon.memory("VmHWM").saturating_sub(before);
    assert!(grown < 400 << 20, "{} MiB more than at the start", grown >> 20);
    assert_eq!(otlp(port, json, b"{}"), 200);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[test]
fn syslog_over_tcp_loses_nothing_that_the_target_had_not_read_to_its_end() {
    let (dir, port, target) = (TempDir::new().unwrap(), free_port(), standin::Lines::start(2));
    let output = format!(
        "@type remote_syslog\n@id out\nhost 127.0.0.1\nport {}\nprotocol tcp\nconfirm close\nhostname h\nprogram p\ntimeout 2\n\
         <format>\n@type single_value\nmessage_key id\n</format>\n{}",
        target.port,
        buffer(dir.path(), "tag")
    );
    let daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    for id in 0..10 {
        assert!(post(port, "app.a", &format!("{{\"id\":{id}}}")));
    }
    let wanted: Vec<String> = (0..10).map(|id| id.to_string()).collect();
    eventually(&wanted, &daemon, || {
        let mut ids: Vec<String> =
            target.lines().iter().map(|line| line.rsplit_once(" p: ").unwrap().1.to_owned()).collect();
        ids.sort();
        ids.dedup();
        ids
    });
}

#[test]
fn the_new_plugins_are_listed() {
    let listed = String::from_utf8(suiro().arg("plugins").output().unwrap().stdout).unwrap();
    for name in ["loki", "splunk_hec", "remote_syslog|syslog", "slack|buffered_slack", "opentelemetry", "tcp", "udp"] {
        assert!(listed.contains(name), "{name}: {listed}");
    }
}
