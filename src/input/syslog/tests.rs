//! Tests of the syslog input over real sockets.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

use super::*;
use crate::input::forward::testing::Collector;
use crate::input::wire::testing::{build, faults, shown};
use crate::plugin::Stopper;

/// Runs an input, sends over UDP or TCP, and gives so many events as text.
async fn events(config: &str, pieces: &[&str], count: u32) -> Vec<String> {
    let mut input: Syslog = build(&format!("@type syslog\nport 0\nbind 127.0.0.1\ntag s\n{config}"));
    input.open().await.unwrap();
    let (address, udp) = (input.local_addr(), input.params.is_udp());
    let (collector, emit) = Collector::emitter();
    let stopper = Stopper::new();
    let running = tokio::spawn(input.run(emit, stopper.listener()));
    if udp {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for piece in pieces {
            socket.send_to(piece.as_bytes(), address).await.unwrap();
        }
    } else {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        for piece in pieces {
            tcp.write_all(piece.as_bytes()).await.unwrap();
        }
    }
    collector.wait_events(count).await;
    stopper.stop();
    running.await.unwrap().unwrap();
    shown(&Arc::clone(&collector))
}

#[tokio::test]
async fn the_tag_has_facility_and_severity() {
    let config = "severity_key sev\nfacility_key fac\nsource_address_key addr\nemit_unmatched_lines true";
    let sent = ["<34>Oct 11 22:14:15 box su[1]: m\n", "<13>Oct  1 22:14:15 box a: b", "bad"];
    let mut found = events(config, &sent, 3).await;
    found.sort();
    assert_eq!(
        found,
        [
            r#"s.auth.crit {"host":"box","ident":"su","pid":"1","message":"m","sev":"crit","fac":"auth","addr":"127.0.0.1"}"#,
            r#"s.unmatched {"unmatched_line":"bad","addr":"127.0.0.1"}"#,
            r#"s.user.notice {"host":"box","ident":"a","message":"b","sev":"notice","fac":"user","addr":"127.0.0.1"}"#,
        ]
    );
}

#[tokio::test]
async fn streams_have_both_frames() {
    let config = "<transport tcp>\n</transport>";
    let sent = ["<6>Oct 11 22:14:15 b a: one\n<6>Oct 11 22:", "14:15 b a: two\n"];
    let expected = ["one", "two"].map(|m| format!(r#"s.kern.info {{"host":"b","ident":"a","message":"{m}"}}"#));
    assert_eq!(events(config, &sent, 2).await, expected);
    let sent = ["27 <6>Oct 11 22:14:15 b a: one27 <6>Oct 11 22:", "14:15 b a: two"];
    assert_eq!(events("frame_type octet_count\nprotocol_type tcp", &sent, 2).await, expected);
}

#[tokio::test]
async fn another_parser_reads_what_follows_the_priority() {
    let config = "<parse>\n@type none\n</parse>";
    assert_eq!(events(config, &["<6>hello\n"], 1).await, [r#"s.kern.info {"message":"hello"}"#]);
    assert_eq!(events(config, &["<999>hello"], 1).await, [r#"s..debug {"message":"hello"}"#]);
}

#[test]
fn what_can_not_be_is_a_fault() {
    let base = "@type syslog\ntag s\n";
    for (config, word) in [
        ("<transport icmp>\n</transport>", "icmp"),
        ("send_keepalive_packet true", "tcp/tls"),
        ("source_hostname_key h\nresolve_hostname false", "resolve_hostname"),
        ("<transport tls>\n</transport>", "cert_path"),
    ] {
        let faults = faults::<Syslog>(&format!("{base}{config}"));
        assert!(faults.contains(word), "{config}: {faults}");
    }
    assert!(faults::<Syslog>("@type syslog").contains("'tag' parameter is required"));
}
