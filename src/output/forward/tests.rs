//! An output against servers in the same process, good ones and bad ones.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::balance::Weighted;
use super::discovery::Discovery;
use super::params::{Compress, ForwardParams, Heartbeat, SecurityParams, Transport};
use super::server::Server;
use super::{Forward, Output};
use crate::buffer::Chunk;
use crate::config::{Secret, TimeSpan};
use crate::event::{Batch, Tag};
use crate::input::forward::testing::{Collector, ack, configured, entry, settings};
use crate::input::forward::{MAX_MESSAGE_BYTES, Peer, Settings, Shared, serve_connection};
use crate::net::forward::{Decoder, Gate, Message, User};
use crate::net::tls::{Protocol, ServerTls, Stream, Transport as ServerTransport};
use crate::plugin::{Stopper, WriteError};

fn params() -> ForwardParams {
    ForwardParams {
        heartbeat_type: Heartbeat::None,
        require_ack_response: true,
        ack_response_timeout: TimeSpan::secs(5.0),
        ..ForwardParams::default()
    }
}

/// A started output; dropping the stopper stops it.
async fn started(params: ForwardParams, servers: Vec<Server>) -> (Forward, Stopper) {
    let stopper = Stopper::new();
    let output = Forward::of(params, Discovery { fixed: servers, ..Discovery::default() });
    output.start(stopper.listener()).await.unwrap();
    (output, stopper)
}

fn chunk(numbers: std::ops::Range<i64>) -> Chunk {
    let count = (numbers.end - numbers.start) as u32;
    let entries: Vec<u8> = numbers.flat_map(|n| entry(1_700_000_000, n)).collect();
    Chunk::direct(&Batch::new(Tag::from("a.b"), entries.into(), count))
}

fn is_retry(done: Result<(), WriteError>, part: &str) -> bool {
    matches!(&done, Err(WriteError::Retry(why)) if why.contains(part)) || panic!("{done:?}")
}

/// An `in_forward` on a port of its own.
struct Receiver {
    got: Arc<Collector>,
    server: Server,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
    _stopper: Stopper,
}

impl Receiver {
    async fn new(gate: Option<Gate>, tls: Option<ServerTls>) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Receiver::on(listener, gate, tls)
    }

    fn on(listener: TcpListener, gate: Option<Gate>, tls: Option<ServerTls>) -> Receiver {
        let (got, emit) = Collector::emitter();
        let stopper = Stopper::new();
        let shared = Shared::new(Settings { gate, ..settings() }, emit, stopper.listener());
        let server = Server::at("127.0.0.1", listener.local_addr().unwrap().port());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((tcp, peer)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                let (shared, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    let stream = match tls {
                        Some(tls) => tls.accept(tcp).await,
                        None => Ok(Stream::Plain(tcp)),
                    };
                    let Ok(stream) = stream else { return };
                    let peer = Peer::new(peer.ip(), "test".into(), &settings());
                    serve_connection(stream, peer, shared).await;
                });
            }
        });
        Receiver { got, server, connections, accepting, _stopper: stopper }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// How a bad server answers one message.
#[derive(Clone, Copy)]
enum Answer {
    /// With the right acknowledgement.
    Ack,
    /// With the right one, and more.
    AckAndMore,
    /// With that of another chunk.
    Other,
    /// With half of the right one, and then the end.
    Cut,
    /// With the end of the connection.
    End,
    /// With something else.
    Garbage,
    /// Not at all.
    Nothing,
}

/// A server that answers its messages as told, the last way for ever. Tells the number of each connection on which a
/// message came.
async fn bad_server(answers: &'static [Answer]) -> (Server, mpsc::UnboundedReceiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::at("127.0.0.1", listener.local_addr().unwrap().port());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut next = 0;
        for number in 0.. {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut decoder = Decoder::binary(MAX_MESSAGE_BYTES);
            while let Some(id) = chunk_id(&mut tcp, &mut decoder).await {
                let _ = tell.send(number);
                let answer = answers[next.min(answers.len() - 1)];
                next += 1;
                if !give(&mut tcp, answer, &id).await {
                    break;
                }
            }
        }
    });
    (server, told)
}

async fn chunk_id(tcp: &mut TcpStream, decoder: &mut Decoder) -> Option<String> {
    loop {
        if let Some(message) = decoder.next().unwrap() {
            let Message::Events(events) = Message::parse(&message) else { panic!("no events") };
            return Some(String::from_utf8(events.chunk?[1..].to_vec()).unwrap());
        }
        let read = tcp.read_buf(decoder.room(usize::MAX)).await.unwrap_or(0);
        decoder.filled(read);
        if read == 0 {
            return None;
        }
    }
}

/// `false` where the connection is to be closed.
async fn give(tcp: &mut TcpStream, answer: Answer, id: &str) -> bool {
    let (bytes, stay) = match answer {
        Answer::Ack => (ack(id), true),
        Answer::AckAndMore => ([ack(id), ack("more")].concat(), true),
        Answer::Other => (ack("another"), true),
        Answer::Cut => (ack(id)[..10].to_vec(), false),
        Answer::End => (Vec::new(), false),
        Answer::Garbage => (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), true),
        Answer::Nothing => (Vec::new(), true),
    };
    tcp.write_all(&bytes).await.is_ok() && stay
}

#[tokio::test]
async fn a_chunk_arrives_whole_however_it_is_sent() {
    let receiver = Receiver::new(None, None).await;
    let mut sent = 0;
    for compress in [Compress::Text, Compress::Gzip, Compress::Zstd] {
        for require_ack_response in [true, false] {
            let params = ForwardParams { compress, require_ack_response, ..params() };
            let (output, _stopper) = started(params, vec![receiver.server.clone()]).await;
            output.write(&chunk(0..3)).await.unwrap();
            sent += 3;
            receiver.got.wait_events(sent).await;
        }
    }
    assert_eq!(receiver.got.numbers(), [0, 1, 2].repeat(6));
    assert!(receiver.got.events().iter().all(|(tag, time, _)| tag == "a.b" && time.secs() == 1_700_000_000));
}

#[tokio::test]
async fn a_large_chunk_is_streamed() {
    let receiver = Receiver::new(None, None).await;
    let mut large = vec![0x92, 5, 0x82, 0xa1, b'n', 7, 0xa1, b'x', 0xc6, 0, 0x10, 0, 0];
    large.resize(large.len() + (1 << 20), b'x');
    let chunk = Chunk::direct(&Batch::new(Tag::from("t"), large.repeat(20).into(), 20));
    let (output, _stopper) = started(params(), vec![receiver.server.clone()]).await;
    output.write(&chunk).await.unwrap();
    assert_eq!(receiver.got.numbers(), [7; 20]);
}

#[tokio::test]
async fn anything_but_the_acknowledgement_of_this_chunk_is_a_failure_and_drops_the_connection() {
    for (answers, why) in [
        (&[Answer::Other, Answer::Ack][..], "different"),
        (&[Answer::Cut, Answer::Ack], "closed the connection"),
        (&[Answer::End, Answer::Ack], "closed the connection"),
        (&[Answer::Garbage, Answer::Ack], "no ack"),
    ] {
        let answers: &'static [Answer] = Box::leak(answers.to_vec().into_boxed_slice());
        let (server, mut told) = bad_server(answers).await;
        let (output, _stopper) = started(ForwardParams { keepalive: true, ..params() }, vec![server]).await;
        let chunk = chunk(0..1);
        assert!(is_retry(output.write(&chunk).await, why));
        output.write(&chunk).await.unwrap();
        assert_eq!((told.recv().await, told.recv().await), (Some(0), Some(1)), "a connection of its own");
    }
}

#[tokio::test]
async fn no_answer_in_time_is_a_failure() {
    let (server, _told) = bad_server(&[Answer::Nothing]).await;
    let params = ForwardParams { ack_response_timeout: TimeSpan::secs(0.05), ..params() };
    let (output, _stopper) = started(params, vec![server]).await;
    assert!(is_retry(output.write(&chunk(0..1)).await, "no response from node"));
}

#[tokio::test]
async fn what_comes_behind_an_acknowledgement_does_not_count_for_the_next_chunk() {
    let (server, mut told) = bad_server(&[Answer::AckAndMore, Answer::Ack]).await;
    let (output, _stopper) = started(ForwardParams { keepalive: true, ..params() }, vec![server]).await;
    output.write(&chunk(0..1)).await.unwrap();
    output.write(&chunk(1..2)).await.unwrap();
    assert_eq!((told.recv().await, told.recv().await), (Some(0), Some(1)));
}

#[tokio::test]
async fn connections_are_kept_where_asked_for() {
    for keepalive in [true, false] {
        let receiver = Receiver::new(None, None).await;
        let (output, _stopper) = started(ForwardParams { keepalive, ..params() }, vec![receiver.server.clone()]).await;
        for n in 0..3 {
            output.write(&chunk(n..n + 1)).await.unwrap();
        }
        assert_eq!(receiver.connections.load(Relaxed), if keepalive { 1 } else { 3 });
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_not_used() {
    for require_ack_response in [true, false] {
        let receiver = Receiver::new(None, None).await;
        let params = ForwardParams { keepalive: true, require_ack_response, ..params() };
        let (output, _stopper) = started(params, vec![receiver.server.clone()]).await;
        output.write(&chunk(0..1)).await.unwrap();
        receiver.got.wait_events(1).await;
        // The receiver restarts on the same port.
        let port = receiver.server.port;
        receiver._stopper.stop();
        drop(receiver);
        let listener = loop {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let receiver = Receiver::on(listener, None, None);
        output.write(&chunk(1..2)).await.unwrap();
        receiver.got.wait_events(1).await;
        assert_eq!(receiver.got.numbers(), [1]);
    }
}

#[tokio::test]
async fn a_chunk_goes_to_the_next_server_when_one_can_not_be_reached() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = Server::at("127.0.0.1", gone.local_addr().unwrap().port());
    drop(gone);
    let receiver = Receiver::new(None, None).await;
    let (output, _stopper) = started(params(), vec![dead.clone(), receiver.server.clone()]).await;
    for n in 0..10 {
        output.write(&chunk(n..n + 1)).await.unwrap();
    }
    assert_eq!(receiver.got.numbers(), (0..10).collect::<Vec<_>>());
    let (output, _stopper) = started(params(), vec![dead]).await;
    assert!(is_retry(output.write(&chunk(0..1)).await, "can't connect"));
}

#[tokio::test]
async fn load_is_shared_by_weight() {
    let (one, two) = (Receiver::new(None, None).await, Receiver::new(None, None).await);
    let servers = vec![Server { weight: 20, ..one.server.clone() }, Server { weight: 10, ..two.server.clone() }];
    let (output, _stopper) = started(params(), servers).await;
    for n in 0..36 {
        output.write(&chunk(n..n + 1)).await.unwrap();
    }
    assert_eq!((one.got.numbers().len(), two.got.numbers().len()), (24, 12));
}

#[tokio::test]
async fn a_chunk_whose_answer_was_lost_goes_to_the_same_server_which_knows_it() {
    let (one, two) = (Receiver::new(None, None).await, Receiver::new(None, None).await);
    // Between output and receiver: takes the first answer away.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Server { weight: 1000, ..Server::at("127.0.0.1", listener.local_addr().unwrap().port()) };
    let behind = one.server.port;
    tokio::spawn(async move {
        for number in 0.. {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
            if number > 0 {
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
                continue;
            }
            let (mut from, _) = near.split();
            let (mut answer, mut to) = far.split();
            tokio::select! {
                _ = tokio::io::copy(&mut from, &mut to) => {}
                _ = answer.read_u8() => {}
            }
        }
    });
    let (output, _stopper) = started(params(), vec![proxy, Server { weight: 1, ..two.server.clone() }]).await;
    let mut lost = chunk(0..1);
    // The proxy is asked first almost always; a chunk that went the other way does not count.
    while output.write(&lost).await.is_ok() {
        lost = chunk(0..1);
    }
    let before = two.got.numbers().len();
    output.write(&lost).await.unwrap();
    assert_eq!(one.got.numbers(), [0], "stored once");
    assert_eq!(two.got.numbers().len(), before);
}

fn gate() -> Gate {
    Gate {
        self_hostname: "server".into(),
        shared_key: "key".into(),
        user_auth: true,
        users: vec![User { username: "u".into(), password: "p".into() }],
        allow_anonymous_source: true,
        clients: Vec::new(),
    }
}

fn secured(key: &str) -> ForwardParams {
    let security = SecurityParams { self_hostname: "client".into(), shared_key: Secret::new(key) };
    ForwardParams { security: Some(security), ..params() }
}

#[tokio::test]
async fn a_secured_server_takes_chunks_from_who_knows_key_and_password_only() {
    let receiver = Receiver::new(Some(gate()), None).await;
    let known = Server { username: "u".into(), password: Secret::new("p"), ..receiver.server.clone() };
    let own_key = Server { shared_key: Some(Secret::new("key")), ..known.clone() };
    for (params, server) in [(secured("key"), &known), (secured("other"), &own_key)] {
        let (output, _stopper) = started(params, vec![server.clone()]).await;
        output.write(&chunk(0..1)).await.unwrap();
    }
    let stranger = Server { password: Secret::new("x"), ..known.clone() };
    for (params, server, why) in [
        (secured("wrong"), known, "shared_key mismatch"),
        (secured("key"), stranger, "username/password mismatch"),
        (params(), receiver.server.clone(), ""),
    ] {
        let (output, _stopper) = started(params, vec![server]).await;
        assert!(is_retry(output.write(&chunk(1..2)).await, why));
    }
    assert_eq!(receiver.got.numbers(), [0, 0]);
}

#[tokio::test]
async fn a_server_that_starts_no_handshake_is_given_up_in_time() {
    let (silent, _told) = bad_server(&[Answer::Nothing]).await;
    let params = ForwardParams { hard_timeout: TimeSpan::secs(0.05), ..secured("key") };
    let (output, _stopper) = started(params, vec![silent]).await;
    assert!(is_retry(output.write(&chunk(0..1)).await, "handshake timeout"));
}

#[tokio::test]
async fn tls_is_spoken_and_a_certificate_that_nobody_trusts_is_refused() {
    let transport = ServerTransport { protocol: Some(Protocol::Tls), insecure: true, ..Default::default() };
    let tls = ServerTls::open(&transport, "localhost").unwrap();
    let receiver = Receiver::new(None, Some(tls)).await;
    for keepalive in [false, true] {
        let trusting = ForwardParams { transport: Transport::Tls, tls_insecure_mode: true, keepalive, ..params() };
        let (output, _stopper) = started(trusting, vec![receiver.server.clone()]).await;
        output.write(&chunk(0..1)).await.unwrap();
        output.write(&chunk(1..2)).await.unwrap();
    }
    assert_eq!(receiver.connections.load(Relaxed), 3);
    let checking = ForwardParams { transport: Transport::Tls, ..params() };
    let stopper = Stopper::new();
    let output = Forward::of(checking, Discovery { fixed: vec![receiver.server.clone()], ..Discovery::default() });
    // Where the system trusts nobody at all, the start says so.
    if output.start(stopper.listener()).await.is_ok() {
        assert!(output.write(&chunk(2..3)).await.is_err());
    }
    assert_eq!(receiver.got.numbers(), [0, 1, 0, 1]);
}

fn beating(heartbeat_type: Heartbeat) -> ForwardParams {
    ForwardParams {
        heartbeat_type,
        heartbeat_interval: TimeSpan::secs(0.02),
        hard_timeout: TimeSpan::secs(0.2),
        recover_wait: TimeSpan::secs(0.06),
        ..params()
    }
}

#[tokio::test]
async fn a_standby_server_takes_over_while_another_is_gone_and_hands_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let standby = Receiver::new(None, None).await;
    let second = Server { standby: true, ..standby.server.clone() };
    let (output, stopper) = started(beating(Heartbeat::Transport), vec![Server::at("127.0.0.1", port), second]).await;
    assert!(
        output.write(&chunk(0..1)).await.is_err(),
        "the standby server is not used before the other is known to be gone"
    );
    while output.write(&chunk(1..2)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(standby.got.numbers(), [1]);
    let main = Receiver::on(TcpListener::bind(("127.0.0.1", port)).await.unwrap(), None, None);
    while main.got.numbers().is_empty() {
        output.write(&chunk(2..3)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = standby.got.numbers().len();
    for n in 0..10 {
        output.write(&chunk(n..n + 1)).await.unwrap();
    }
    assert_eq!(standby.got.numbers().len(), before, "the standby server is at rest again");
    stopper.stop();
    output.close().await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_datagrams_counts_as_gone() {
    let receiver = Receiver::new(None, None).await;
    let (output, stopper) = started(beating(Heartbeat::Udp), vec![receiver.server.clone()]).await;
    let node = output.cluster.get().unwrap().nodes()[0].clone();
    while node.is_available() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(is_retry(output.write(&chunk(0..1)).await, "no nodes are available"));
    let socket = UdpSocket::bind(("127.0.0.1", receiver.server.port)).await.unwrap();
    let answering = tokio::spawn(async move {
        let mut beat = [0; 8];
        while let Ok((_, peer)) = socket.recv_from(&mut beat).await {
            let _ = socket.send_to(&[0], peer).await;
        }
    });
    while output.write(&chunk(0..1)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    answering.abort();
    stopper.stop();
    output.close().await;
}

#[tokio::test]
async fn servers_of_a_file_come_and_go() {
    let (one, two) = (Receiver::new(None, None).await, Receiver::new(None, None).await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sd.yaml");
    let list =
        |server: &Server| std::fs::write(&path, format!("- host: 127.0.0.1\n  port: {}\n", server.port)).unwrap();
    list(&one.server);
    let discovery = Discovery { files: vec![path.clone()], ..Discovery::default() };
    let output = Forward::of(params(), discovery.clone());
    let stopper = Stopper::new();
    output.start(stopper.listener()).await.unwrap();
    output.write(&chunk(0..1)).await.unwrap();
    list(&two.server);
    let cluster = output.cluster.get().unwrap();
    // What the watch does every few seconds.
    cluster.set_servers(&discovery.servers().await.unwrap());
    output.write(&chunk(1..2)).await.unwrap();
    assert_eq!((one.got.numbers(), two.got.numbers()), (vec![0], vec![1]));
}

#[tokio::test]
async fn a_start_that_must_reach_its_servers_fails_without_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::at("127.0.0.1", listener.local_addr().unwrap().port());
    drop(listener);
    let start = |params: ForwardParams, server: Server| async move {
        let output = Forward::of(params, Discovery { fixed: vec![server], ..Discovery::default() });
        output.start(Stopper::new().listener()).await.is_ok()
    };
    let verifying = || ForwardParams { verify_connection_at_startup: true, ..params() };
    assert!(!start(verifying(), server).await);
    let nameless = || Server::at("no.such.host.invalid", 1);
    let looking_up = || ForwardParams { heartbeat_type: Heartbeat::Transport, ..params() };
    assert!(!start(looking_up(), nameless()).await);
    assert!(start(ForwardParams { ignore_network_errors_at_startup: true, ..looking_up() }, nameless()).await);
}

fn said(inner: &str) -> Result<Vec<String>, String> {
    let text = format!("<match **>\n@type forward\n{inner}\n</match>\n");
    configured::<Forward>(&text).map(|(_, warnings)| warnings).map_err(|faults| faults.join("\n"))
}

#[test]
fn parameters_that_do_not_go_together_are_faults() {
    let server = "<server>\nhost 127.0.0.1\n</server>\n";
    for (inner, part) in [
        ("", "at least one node is required"),
        (&format!("{server}<buffer time>\ntimekey 60\n</buffer>"), "buffer chunk key must include 'tag'"),
        (&format!("{server}host 127.0.0.1"), "use <server> section"),
        (&format!("{server}heartbeat_type udp\ndns_round_robin true"), "to use dns_round_robin"),
        (&format!("{server}send_keepalive_packet true"), "'keepalive' is not"),
        (&format!("{server}ack_response_timeout 0"), "must be a positive integer"),
        (&format!("{server}heartbeat_interval 0"), "more than 0"),
        (&format!("{server}tls_cert_thumbprint x"), "Windows"),
        (&format!("{server}transport tls\ntls_ca_cert_path /no/such/file"), "does not exist"),
        ("<service_discovery>\n@type srv\nservice s\n</service_discovery>", "'hostname' parameter is required"),
        ("<service_discovery>\n@type etcd\n</service_discovery>", "etcd"),
        ("<service_discovery>\n</service_discovery>", "'@type' is required"),
        ("<service_discovery>\n@type static\n<service>\nport 1\n</service>\n</service_discovery>", "host"),
        ("<server>\nport 1\n</server>", "host"),
        (&format!("{server}compress lzo"), "compress"),
    ] {
        let why = said(inner).expect_err(inner);
        assert!(why.contains(part), "{inner}: {why}");
    }
}

#[test]
fn every_parameter_of_fluentd_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sd.yaml");
    let full = format!(
        "send_timeout 60s\nconnect_timeout 5s\nheartbeat_type transport\nheartbeat_interval 1s\nrecover_wait 10s\n\
         hard_timeout 60s\nphi_threshold 16\nphi_failure_detector true\nrequire_ack_response true\n\
         ack_response_timeout 190s\nexpire_dns_cache 0\ndns_round_robin false\nignore_network_errors_at_startup true\n\
         verify_connection_at_startup false\ncompress gzip\nkeepalive true\nkeepalive_timeout 30s\n\
         send_keepalive_packet true\ntls_insecure_mode false\ntls_allow_self_signed_cert false\n\
         tls_verify_hostname true\n<security>\nself_hostname c\nshared_key k\n</security>\n\
         <server>\nname a\nhost 127.0.0.1\nport 24224\nshared_key k\nusername u\npassword p\nstandby true\nweight 60\n\
         </server>\n<service_discovery>\n@type file\npath {}\n</service_discovery>\n\
         <service_discovery>\n@type static\n<service>\nhost 127.0.0.1\n</service>\n</service_discovery>\n\
         <buffer tag, time>\ntimekey 60\n</buffer>\n",
        file.display()
    );
    assert_eq!(said(&full), Ok(Vec::new()));
    for (inner, part) in [
        ("heartbeat_type tcp", "deprecated"),
        ("time_as_integer true", "deprecated"),
        ("keepalive_timeout 1s", "keepalive true"),
        ("read_length 512", "no effect"),
        ("transport tls\ntls_insecure_mode true", "insecure"),
        ("no_such_parameter 1", "no_such_parameter"),
    ] {
        let warnings = said(&format!("<server>\nhost 127.0.0.1\n</server>\n{inner}")).unwrap();
        assert!(warnings.iter().any(|w| w.contains(part)), "{inner}: {warnings:?}");
    }
}

#[tokio::test]
async fn a_chunk_without_a_tag_can_not_be_sent() {
    let receiver = Receiver::new(None, None).await;
    let (output, _stopper) = started(params(), vec![receiver.server.clone()]).await;
    let batch = Batch::new(Tag::from("t"), entry(1, 1).into(), 1);
    let chunk = Chunk::of(Default::default(), &batch);
    assert!(matches!(output.write(&chunk).await, Err(WriteError::Reject(_))));
}
