//! Chunks over sockets to servers in the same process, good ones and bad ones.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::buffer::{Chunk, ChunkKey};
use crate::event::{Arena, BatchBuilder, EventTime, Record, Tag, json};
use crate::output::service::testing::{fault, start};
use crate::plugin::{Output, WriteError};

/// Events with these records as JSON, at 1,700,000,000 s.
fn chunk(tag: &str, records: &[&str]) -> Chunk {
    let (arena, mut builder) = (Arena::new(), BatchBuilder::new());
    for text in records {
        let mut record = Record::new();
        json::parse_object(text.as_bytes(), &arena, &mut record).unwrap();
        builder.push(EventTime::from_secs(1_700_000_000), &record);
    }
    let key = ChunkKey { tag: Some(Tag::from(tag)), ..ChunkKey::default() };
    Chunk::of(key, &builder.finish(Tag::from(tag)))
}

const MESSAGES: &str = "<format>\n@type single_value\n</format>";

/// Takes one connection to its end, whatever that is.
async fn read_all(listener: &TcpListener) -> String {
    let (mut tcp, mut got) = (listener.accept().await.unwrap().0, Vec::new());
    let _ = tcp.read_to_end(&mut got).await;
    String::from_utf8(got).unwrap()
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn texts_follow_each_other_over_one_connection() {
    for (format, wanted) in [
        (MESSAGES, "a\nb c\n\n5\nlast\n"),
        ("", "{\"message\":\"a\"}\n{\"message\":\"b c\"}\n{}\n{\"message\":5}\n{\"message\":\"last\"}\n"),
        ("delimiter null\n<format>\n@type single_value\n</format>", "a\0b c\0\x005\0last\0"),
        ("delimiter none\n<format>\n@type single_value\nadd_newline false\n</format>", "ab c5last"),
    ] {
        let (listener, port) = listener().await;
        let reading = tokio::spawn(async move { read_all(&listener).await });
        let output: Tcp = start(&format!("host 127.0.0.1\nport {port}\n{format}")).await;
        output
            .write(&chunk("t", &[r#"{"message":"a"}"#, r#"{"message":"b c"}"#, "{}", r#"{"message":5}"#]))
            .await
            .unwrap();
        output.write(&chunk("t", &[r#"{"message":"last"}"#])).await.unwrap();
        output.close().await;
        assert_eq!(reading.await.unwrap(), wanted, "{format}");
    }
}

#[tokio::test]
async fn many_lines_are_whole_however_the_kernel_takes_them() {
    let (listener, port) = listener().await;
    let reading = tokio::spawn(async move { read_all(&listener).await });
    let output: Tcp = start(&format!("host localhost\nport {port}\n{MESSAGES}")).await;
    let lines: Vec<String> = (0..30_000).map(|n| format!("line {n} {}", "x".repeat(n % 300))).collect();
    let records: Vec<String> = lines.iter().map(|line| format!("{{\"message\":\"{line}\"}}")).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    output.write(&chunk("t", &records)).await.unwrap();
    output.close().await;
    assert!(reading.await.unwrap().lines().eq(lines.iter().map(String::as_str)));
}

#[tokio::test]
async fn the_next_server_takes_what_the_first_does_not() {
    let ((gone, first), (listener, second)) = (listener().await, listener().await);
    drop(gone);
    let reading = tokio::spawn(async move { read_all(&listener).await });
    let servers = [first, second].map(|port| format!("<server>\nhost 127.0.0.1\nport {port}\n</server>\n")).concat();
    let output: Tcp = start(&format!("{servers}{MESSAGES}")).await;
    output.write(&chunk("t", &[r#"{"message":"a"}"#])).await.unwrap();
    // The first is passed over while the second answers.
    let back = TcpListener::bind(("127.0.0.1", first)).await.unwrap();
    output.write(&chunk("t", &[r#"{"message":"b"}"#])).await.unwrap();
    output.close().await;
    assert_eq!(reading.await.unwrap(), "a\nb\n");
    drop(back);
    let outcome = output.write(&chunk("t", &[r#"{"message":"c"}"#])).await;
    assert!(matches!(outcome, Err(WriteError::Retry(why)) if why.matches("refused").count() == 2));
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_replaced() {
    let (listener, port) = listener().await;
    let (told, mut tell) = (tokio::sync::mpsc::unbounded_channel(), 0);
    let (telling, mut told) = told;
    let serving = tokio::spawn(async move {
        let mut all = String::new();
        for _ in 0..2 {
            let mut tcp = listener.accept().await.unwrap().0;
            let mut buf = [0; 100];
            let n = tcp.read(&mut buf).await.unwrap();
            all.push_str(std::str::from_utf8(&buf[..n]).unwrap());
            drop(tcp);
            telling.send(()).unwrap();
        }
        all
    });
    let output: Tcp = start(&format!("host 127.0.0.1\nport {port}\n{MESSAGES}")).await;
    for text in ["a", "b"] {
        output.write(&chunk("t", &[&format!("{{\"message\":\"{text}\"}}")])).await.unwrap();
        told.recv().await.unwrap();
        tell += 1;
    }
    assert_eq!((serving.await.unwrap().as_str(), tell), ("a\nb\n", 2));
}

#[tokio::test]
async fn with_confirm_close_only_what_was_read_to_the_end_is_delivered() {
    let (listener, port) = listener().await;
    let serving = tokio::spawn(async move {
        // Closed with bytes unread: the kernel says so by a reset.
        let mut tcp = listener.accept().await.unwrap().0;
        tcp.read_exact(&mut [0]).await.unwrap();
        drop(tcp);
        // Neither read nor closed.
        let silent = listener.accept().await.unwrap().0;
        let good = read_all(&listener).await;
        drop(silent);
        good
    });
    let parameters =
        format!("host 127.0.0.1\nport {port}\nconfirm close\nsend_timeout 0.3\nrecover_wait 0\n{MESSAGES}");
    let output: Tcp = start(&parameters).await;
    let chunk = chunk("t", &[r#"{"message":"abc"}"#]);
    assert!(matches!(output.write(&chunk).await, Err(WriteError::Retry(_))));
    let late = output.write(&chunk).await;
    assert!(matches!(&late, Err(WriteError::Retry(why)) if why.contains("has not closed its side")), "{late:?}");
    output.write(&chunk).await.unwrap();
    assert_eq!(serving.await.unwrap(), "abc\n");
}

#[tokio::test]
async fn a_target_that_reads_nothing_is_given_up() {
    let (listener, port) = listener().await;
    let output: Tcp = start(&format!("host 127.0.0.1\nport {port}\nsend_timeout 0.3\n{MESSAGES}")).await;
    let record = format!("{{\"message\":\"{}\"}}", "x".repeat(1 << 20));
    let records: Vec<&str> = std::iter::repeat_n(record.as_str(), 32).collect();
    let began = Instant::now();
    let outcome = output.write(&chunk("t", &records)).await;
    assert!(matches!(outcome, Err(WriteError::Retry(why)) if why.contains("took nothing")));
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(listener);
}

#[tokio::test]
async fn tls_is_spoken_where_it_is_asked_for() {
    use crate::net::tls::{Protocol, ServerTls, Transport};
    let transport = Transport { protocol: Some(Protocol::Tls), insecure: true, ..Transport::default() };
    let tls = ServerTls::open(&transport, "localhost").unwrap();
    let (listener, port) = listener().await;
    let serving = tokio::spawn(async move {
        assert!(tls.accept(listener.accept().await.unwrap().0).await.is_err(), "an unknown certificate was trusted");
        let mut all = String::new();
        for _ in 0..2 {
            let mut stream = tls.accept(listener.accept().await.unwrap().0).await.unwrap();
            stream.read_to_string(&mut all).await.unwrap();
        }
        all
    });
    let parameters = format!("host localhost\nport {port}\ntls true\n{MESSAGES}");
    let chunk = chunk("t", &[r#"{"message":"a"}"#]);
    assert!(matches!(start::<Tcp>(&parameters).await.write(&chunk).await, Err(WriteError::Retry(_))));
    let output: Tcp = start(&format!("tls_verify_mode none\nconfirm close\n{parameters}")).await;
    output.write(&chunk).await.unwrap();
    let syslog = format!(
        "host localhost\nport {port}\nprotocol tcp\ntls true\nverify_mode 0\nframing octet_counting\nconfirm close\n\
         message_format rfc5424\nhostname h\n{MESSAGES}"
    );
    start::<RemoteSyslog>(&syslog).await.write(&chunk).await.unwrap();
    assert_eq!(serving.await.unwrap(), "a\n51 <13>1 2023-11-14T22:13:20.000000Z h fluentd - - - a");
}

async fn datagrams(socket: &UdpSocket, count: usize) -> Vec<String> {
    let (mut buf, mut all) = ([0; 65_536], Vec::new());
    for _ in 0..count {
        let n = socket.recv(&mut buf).await.unwrap();
        all.push(String::from_utf8(buf[..n].to_vec()).unwrap());
    }
    all
}

#[tokio::test]
async fn datagrams_hold_an_event_each_and_too_large_ones_are_refused_alone() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let output: Udp = start(&format!("host 127.0.0.1\nport {port}\n{MESSAGES}")).await;
    let large = format!("{{\"message\":\"{}\"}}", "x".repeat(66_000));
    let outcome = output.write(&chunk("t", &[r#"{"message":"a"}"#, &large, r#"{"message":"b\nc"}"#])).await;
    let Err(WriteError::Partial(refused)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(refused.iter().map(|event| event.place).collect::<Vec<_>>(), [1]);
    assert_eq!(datagrams(&socket, 2).await, ["a", "b\nc"]);
    drop(socket);
    let many: Vec<&str> = std::iter::repeat_n(r#"{"message":"a"}"#, 100).collect();
    let outcome = output.write(&chunk("t", &many)).await;
    assert!(matches!(&outcome, Err(WriteError::Retry(why)) if why.contains("refused")), "{outcome:?}");
}

#[tokio::test]
async fn syslog_messages_are_datagrams_cut_to_their_size() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let parameters = format!(
        "host 127.0.0.1\nport {port}\nhostname ${{tag[1]}}\nprogram p\nfacility local0\nseverity_key level\npacket_size 480\n\
         <buffer tag>\n</buffer>\n{MESSAGES}"
    );
    let output: RemoteSyslog = start(&parameters).await;
    let long = format!("{{\"message\":\"{}\"}}", "é".repeat(300));
    let records = [r#"{"message":"a\r\n \n\nb","level":"error"}"#, &long];
    output.write(&chunk("app.web", &records)).await.unwrap();
    let got = datagrams(&socket, 3).await;
    let ends: Vec<&str> = got.iter().map(|m| m.split_once(" web p: ").unwrap().1).collect();
    assert_eq!(ends[..2], ["a", "b"]);
    assert!(got[0].starts_with("<131>Nov 1") && got[2].starts_with("<133>"), "{got:?}");
    assert!((479..=480).contains(&got[2].len()) && ends[2].chars().all(|c| c == 'é'));
    assert_eq!(output.counts()[0], ("cut_messages", 1));
}

#[tokio::test]
async fn syslog_messages_in_a_stream_are_told_apart() {
    for (framing, wanted) in [("newline", ["p: a\n", "p: b\n"]), ("octet_counting", ["p: a\nb", ""])] {
        let (listener, port) = listener().await;
        let reading = tokio::spawn(async move { read_all(&listener).await });
        let parameters = format!(
            "host_with_port 127.0.0.1:{port}\nprotocol tcp\nhostname h\nprogram p\nframing {framing}\n{MESSAGES}"
        );
        let output: RemoteSyslog = start(&parameters).await;
        output.write(&chunk("t", &[r#"{"message":"a\nb"}"#])).await.unwrap();
        output.close().await;
        let got = reading.await.unwrap();
        assert!(wanted.iter().all(|part| got.contains(part)), "{framing}: {got:?}");
        assert_eq!(got.starts_with("28 <13>"), framing == "octet_counting", "{got:?}");
    }
}

#[tokio::test]
async fn events_choose_among_allowed_hosts_only() {
    let (listener, port) = listener().await;
    let reading = tokio::spawn(async move { read_all(&listener).await });
    let host = format!("host_with_port ${{tag}}:{port}\nprotocol tcp\n<buffer tag>\n</buffer>\n{MESSAGES}");
    assert!(fault::<RemoteSyslog>(&host).contains("allowed_hosts"));
    let output: RemoteSyslog = start(&format!("allowed_hosts 127.0.0.1\n{host}")).await;
    output.write(&chunk("127.0.0.1", &[r#"{"message":"a"}"#])).await.unwrap();
    for evil in ["evil.example", "a/b", "127.0.0.1:1"] {
        let outcome = output.write(&chunk(evil, &[r#"{"message":"a"}"#])).await;
        assert!(matches!(outcome, Err(WriteError::Reject(_))), "{evil}: {outcome:?}");
    }
    output.close().await;
    assert!(reading.await.unwrap().ends_with(": a\n"));
}

#[test]
fn faults_are_named() {
    assert!(fault::<Tcp>("port 1").contains("'host' parameter is required"));
    assert!(fault::<Tcp>("host a").contains("'port' parameter is required"));
    assert!(fault::<Tcp>("host a\nport 0").contains("can't be empty or 0"));
    assert!(fault::<Tcp>("host a\nport 1\nconfirm maybe").contains("maybe"));
    assert!(fault::<Tcp>("host a\nport 1\nsend_timeout 0").contains("send_timeout"));
    assert!(fault::<Udp>("host a\nport 1\n<server>\nhost b\nport 1\n</server>").contains("<server>"));
    assert!(fault::<RemoteSyslog>("port 1").contains("host or host_with_port"));
    assert!(fault::<RemoteSyslog>("host a\nfacility moon").contains("no facility"));
    assert!(fault::<RemoteSyslog>("host a\nseverity loud").contains("no severity"));
    assert!(fault::<RemoteSyslog>("host a\ntls true").contains("protocol tcp"));
    assert!(fault::<RemoteSyslog>("host a\npacket_size 10").contains("480"));
    assert!(fault::<RemoteSyslog>("host ${tag}\nallowed_hosts a").contains("chunk key 'tag'"));
    assert!(fault::<RemoteSyslog>("host ::1").contains("[::1]:514"));
}
