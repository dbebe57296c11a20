//! Connections over in-process pipes.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::Forward;
use super::connection::serve;
use super::shared::{Peer, Settings, Shared};
use super::testing::{Collector, ack, configured, entry, one, packed, settings as usual};
use crate::event::{EventTime, Packing, pack};
use crate::net::forward::{Credentials, Gate, Hello, Network, User};
use crate::plugin::{EmitError, Input, Stopper};

fn settings() -> Settings {
    Settings { inflate_limit: 1 << 20, ..usual() }
}

struct Server {
    got: Arc<Collector>,
    shared: Arc<Shared>,
    stopper: Stopper,
}

impl Server {
    fn new(settings: Settings) -> Server {
        let (got, emit) = Collector::emitter();
        let stopper = Stopper::new();
        let shared = Shared::new(settings, emit, stopper.listener());
        Server { got, shared, stopper }
    }

    fn connect(&self) -> Client {
        let (near, far) = duplex(1 << 16);
        let peer = Peer::new("10.0.0.9".parse().unwrap(), "sender".into(), &self.shared.settings);
        Client { stream: near, served: tokio::spawn(serve(far, peer, self.shared.clone())) }
    }
}

struct Client {
    stream: DuplexStream,
    served: JoinHandle<()>,
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn expect(&mut self, answer: &[u8]) {
        let mut got = vec![0; answer.len()];
        self.stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, answer);
    }

    /// Ends the sending side and gives what still comes back.
    async fn end(mut self) -> Vec<u8> {
        self.stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        self.served.await.unwrap();
        rest
    }

    /// Waits until the server closes; gives what it sent before.
    async fn closed(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await.unwrap();
        self.served.await.unwrap();
        rest
    }
}

#[tokio::test]
async fn every_mode_is_stored_and_acknowledged_by_its_chunk_id() {
    let server = Server::new(settings());
    let mut client = server.connect();
    client.send(&one("m", 1, 1, Some("a"))).await;
    client.expect(&ack("a")).await;
    let entries = [entry(2, 2), entry(3, 3)].concat();
    client.send(&packed("p", &entries, None, Some("b"))).await;
    client.expect(&ack("b")).await;
    let gzip = pack::deflate(&entries, Packing::Gzip).unwrap();
    client.send(&packed("g", &gzip, Some("gzip"), Some("c"))).await;
    client.expect(&ack("c")).await;
    let mut listed = b"\x92\xa1l\x92".to_vec();
    listed.extend(&entries);
    client.send(&listed).await;
    assert_eq!(client.end().await, b"");
    assert_eq!(server.got.numbers(), [1, 2, 3, 2, 3, 2, 3]);
    assert_eq!(server.got.events()[0], ("m".into(), EventTime::from_secs(1), 1));
}

#[tokio::test]
async fn json_text_is_taken_and_answered_in_json() {
    let server = Server::new(settings());
    let mut client = server.connect();
    client.send(br#"["j",7,{"n":1},{"chunk":"x"}]["j",[[8,{"n":2}]]]"#).await;
    assert_eq!(client.end().await, br#"{"ack":"x"}"#);
    assert_eq!(server.got.numbers(), [1, 2]);
}

#[tokio::test]
async fn single_events_of_one_tag_are_put_together() {
    let server = Server::new(settings());
    let mut client = server.connect();
    let messages: Vec<u8> = (0..100).flat_map(|n| one(if n < 90 { "a" } else { "b" }, 1, n, None)).collect();
    client.send(&messages).await;
    client.end().await;
    assert_eq!(server.got.numbers(), (0..100).collect::<Vec<_>>());
    assert_eq!(server.got.state().batches.len(), 2);
}

#[tokio::test]
async fn broken_messages_are_left_out_and_the_connection_goes_on() {
    let server = Server::new(settings());
    let mut client = server.connect();
    client.send(&[0xc2, 0x91, 0xa1, b'a', 0xc0]).await;
    let payload = [entry(1, 1), b"\x92\x01\xa3str".to_vec(), entry(2, 2)].concat();
    client.send(&packed("v", &payload, None, Some("x"))).await;
    assert_eq!(client.end().await, ack("x"));
    assert_eq!(server.got.numbers(), [1, 2]);
}

#[tokio::test]
async fn what_can_not_be_read_closes_the_connection_without_an_acknowledgement() {
    let bomb = pack::deflate(&vec![0; 2 << 20], Packing::Gzip).unwrap();
    let members = pack::deflate(&vec![0; 600 << 10], Packing::Gzip).unwrap().repeat(2);
    let zstd = pack::deflate(&vec![0; 2 << 20], Packing::Zstd).unwrap();
    let nested = vec![0x91; 100_000];
    for bytes in [
        packed("t", &bomb, Some("gzip"), Some("x")),
        packed("t", &members, Some("gzip"), Some("x")),
        packed("t", &zstd, Some("zstd"), Some("x")),
        packed("t", b"no gzip", Some("gzip"), Some("x")),
        packed("t", &entry(1, 1), Some("lz4"), Some("x")),
        packed("t", &nested, None, Some("x")),
        packed("t", b"\xdd\xff\xff\xff\xff", None, Some("x")),
        nested,
        vec![0xdd, 0xff, 0xff, 0xff, 0xff],
        vec![0x93, 0xa1, b't', 0xc6, 0x40, 0, 0, 0],
        vec![0xc1],
        b"[1,}]".to_vec(),
    ] {
        let server = Server::new(settings());
        let mut client = server.connect();
        // The server may close before it has read everything.
        let _ = client.stream.write_all(&bytes).await;
        assert_eq!(client.closed().await, b"", "{:?}", &bytes[..bytes.len().min(20)]);
        assert!(server.got.numbers().is_empty());
    }
}

#[tokio::test]
async fn what_came_before_a_fault_is_stored() {
    let server = Server::new(settings());
    let mut client = server.connect();
    client.send(&[one("t", 1, 1, Some("a")), vec![0xc1]].concat()).await;
    assert_eq!(client.closed().await, ack("a"));
    assert_eq!(server.got.numbers(), [1]);
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_taken() {
    let server = Server::new(Settings { message_limit: 1000, ..settings() });
    let mut client = server.connect();
    client.send(&packed("t", &entry(1, 1).repeat(300), None, Some("x"))).await;
    assert_eq!(client.closed().await, b"");
    assert!(server.got.numbers().is_empty());
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_stored_and_answers_keep_their_order() {
    let server = Server::new(settings());
    server.got.shut(true);
    let mut client = server.connect();
    for (n, id) in [(1, "a"), (2, "b"), (3, "c")] {
        client.send(&packed("t", &entry(n, n), None, Some(id))).await;
    }
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), client.stream.read_u8()).await;
    assert!(early.is_err(), "answered before it was stored");
    server.got.shut(false);
    client.expect(&[ack("a"), ack("b"), ack("c")].concat()).await;
    assert_eq!(server.got.numbers(), [1, 2, 3]);
}

#[tokio::test]
async fn a_chunk_that_comes_again_is_acknowledged_and_not_stored_again() {
    let server = Server::new(settings());
    let message = packed("t", &entry(1, 1), None, Some("a"));
    for _ in 0..2 {
        let mut client = server.connect();
        client.send(&message).await;
        client.expect(&ack("a")).await;
    }
    let mut client = server.connect();
    client.send(&packed("t", &entry(2, 2), None, Some("a"))).await;
    client.send(&packed("u", &entry(1, 3), None, Some("a"))).await;
    client.expect(&[ack("a"), ack("a")].concat()).await;
    assert_eq!(server.got.numbers(), [1, 2, 3], "other events under a used id are stored");
}

#[tokio::test]
async fn a_chunk_that_comes_again_while_it_is_being_stored_is_stored_once() {
    let server = Server::new(settings());
    server.got.shut(true);
    let message = packed("t", &entry(1, 1), None, Some("a"));
    let (mut first, mut second) = (server.connect(), server.connect());
    first.send(&message).await;
    second.send(&message).await;
    tokio::task::yield_now().await;
    server.got.shut(false);
    first.expect(&ack("a")).await;
    second.expect(&ack("a")).await;
    assert_eq!(server.got.numbers(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_makes_the_sender_wait_and_loses_nothing() {
    let server = Server::new(settings());
    server.got.refuse((0..20).map(|_| EmitError::Full("full".into())));
    let mut client = server.connect();
    client.send(&packed("t", &entry(1, 1), None, Some("a"))).await;
    client.send(&one("t", 2, 2, None)).await;
    client.expect(&ack("a")).await;
    server.got.wait_events(2).await;
    let mut numbers = server.got.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn refused_events_are_not_acknowledged_and_go_to_the_error_label_where_nobody_has_them() {
    let server = Server::new(settings());
    server.got.refuse([EmitError::Refused("no".into()), EmitError::Refused("no".into())]);
    let mut client = server.connect();
    client.send(&one("t", 1, 1, Some("a"))).await;
    client.send(&one("t", 2, 2, None)).await;
    assert_eq!(client.end().await, b"");
    assert_eq!(server.got.state().failed.len(), 1);
}

#[tokio::test]
async fn a_stop_ends_connections_and_answers_what_was_stored() {
    let server = Server::new(settings());
    server.got.shut(true);
    let mut client = server.connect();
    client.send(&packed("t", &entry(1, 1), None, Some("a"))).await;
    tokio::task::yield_now().await;
    let idle = server.connect();
    server.stopper.stop();
    assert_eq!(idle.closed().await, b"");
    server.got.shut(false);
    assert_eq!(client.closed().await, ack("a"));
}

#[tokio::test]
async fn tags_are_replaced_prefixed_and_checked() {
    let server = Server::new(Settings { add_tag_prefix: Some("p".into()), ..settings() });
    let mut client = server.connect();
    client.send(&one("t", 1, 1, None)).await;
    client.send(&one("bad\ntag", 1, 2, Some("x"))).await;
    client.send(&one(&"t".repeat(2000), 1, 3, Some("y"))).await;
    client.send(b"\x93\xa2\xff\xfe\x01\x80").await;
    assert_eq!(client.end().await, b"", "what has no usable tag stays with its sender");
    assert_eq!(server.got.events(), [("p.t".to_owned(), EventTime::from_secs(1), 1)]);
    let server = Server::new(Settings { tag: Some("fixed".into()), ..settings() });
    let mut client = server.connect();
    client.send(&[one("a", 1, 1, None), one("b", 1, 2, None)].concat()).await;
    client.end().await;
    assert_eq!(server.got.events().iter().map(|e| e.0.as_str()).collect::<Vec<_>>(), ["fixed", "fixed"]);
}

#[tokio::test]
async fn the_peer_is_named_in_every_record_where_asked_for() {
    let keys = Settings { address_key: Some("addr".into()), hostname_key: Some("n".into()), ..settings() };
    let server = Server::new(keys);
    let mut client = server.connect();
    client.send(&[one("t", 1, 1, None), packed("t", &entry(2, 2), None, None)].concat()).await;
    client.end().await;
    let state = server.got.state();
    for batch in &state.batches {
        let entry = batch.entries().next().unwrap().unwrap();
        assert_eq!(entry.record, b"\x82\xa1n\xa6sender\xa4addr\xa810.0.0.9");
    }
    assert_eq!(state.batches.len(), 2);
}

#[tokio::test]
async fn without_keepalive_a_connection_ends_after_one_message() {
    let server = Server::new(Settings { deny_keepalive: true, ..settings() });
    let mut client = server.connect();
    client.send(&[one("t", 1, 1, Some("a")), one("t", 2, 2, Some("b"))].concat()).await;
    assert_eq!(client.closed().await, ack("a"));
    assert_eq!(server.got.numbers(), [1]);
}

fn secured() -> Settings {
    let gate = Gate {
        self_hostname: "server".into(),
        shared_key: "key".into(),
        user_auth: true,
        users: vec![User { username: "u".into(), password: "p".into() }],
        allow_anonymous_source: false,
        clients: vec![crate::net::forward::Client {
            network: Network::parse("10.0.0.0/8").unwrap(),
            shared_key: None,
            users: Vec::new(),
        }],
    };
    Settings { gate: Some(gate), ..settings() }
}

async fn message(stream: &mut DuplexStream) -> Vec<u8> {
    let mut got = Vec::new();
    while crate::event::msgpack::skip(&got).is_err() {
        got.push(stream.read_u8().await.unwrap());
    }
    got
}

#[tokio::test]
async fn the_handshake_lets_in_who_knows_key_and_password() {
    let server = Server::new(secured());
    let mut client = server.connect();
    let mut credentials = Credentials {
        self_hostname: "client".into(),
        shared_key: "key".into(),
        username: "u".into(),
        password: "p".into(),
    };
    let hello = Hello::read(&message(&mut client.stream).await).unwrap();
    // The first message may come along with the PING.
    client.send(&[credentials.ping(&hello), one("t", 1, 1, Some("a"))].concat()).await;
    credentials.check_pong(&hello, &message(&mut client.stream).await).unwrap();
    client.expect(&ack("a")).await;
    credentials.password = "q".into();
    let mut client = server.connect();
    let hello = Hello::read(&message(&mut client.stream).await).unwrap();
    client.send(&[credentials.ping(&hello), one("t", 2, 2, Some("b"))].concat()).await;
    assert!(credentials.check_pong(&hello, &message(&mut client.stream).await).is_err());
    assert_eq!(client.closed().await, b"");
    assert_eq!(server.got.numbers(), [1]);
}

#[tokio::test]
async fn without_the_handshake_nothing_is_taken() {
    for bytes in [one("t", 1, 1, Some("a")), b"\x95\xa4PONG\xc3\xa0\xa0\xa0".to_vec(), vec![0xc1], vec![0xdd; 5]] {
        let server = Server::new(secured());
        let mut client = server.connect();
        message(&mut client.stream).await;
        client.send(&bytes).await;
        let answer = client.closed().await;
        assert!(!answer.windows(3).any(|w| w == b"ack"), "{answer:?}");
        assert!(server.got.numbers().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_in_the_handshake_is_let_go() {
    let server = Server::new(secured());
    let mut client = server.connect();
    message(&mut client.stream).await;
    assert_eq!(client.closed().await, b"");
}

fn fault(inner: &str) -> String {
    match configured::<Forward>(&format!("<source>\n@type forward\n{inner}\n</source>\n")) {
        Ok(_) => panic!("taken: {inner}"),
        Err(faults) => faults.join("\n"),
    }
}

#[test]
fn parameters_that_do_not_go_together_are_faults() {
    let security = "self_hostname s\nshared_key k\n";
    for (inner, part) in [
        ("tag \"\"", "'tag' parameter must not be empty"),
        ("add_tag_prefix \"\"", "'add_tag_prefix' parameter must not be empty"),
        ("source_hostname_key h\nresolve_hostname false", "resolve_hostname must be true"),
        ("send_keepalive_packet true\ndeny_keepalive true", "cannot be set to true"),
        ("<security>\nself_hostname s\nshared_key \"\"\n</security>", "not empty"),
        (&format!("<security>\n{security}user_auth true\n</security>"), "<user> sections required"),
        (&format!("<security>\n{security}allow_anonymous_source false\n</security>"), "<client> sections required"),
        (
            &format!("<security>\n{security}<client>\nhost a\nnetwork 10.0.0.0/8\n</client>\n</security>"),
            "both of 'host' and 'network'",
        ),
        (&format!("<security>\n{security}<client>\n</client>\n</security>"), "Either of 'host' and 'network'"),
        (
            &format!("<security>\n{security}<client>\nnetwork 10.0.0.0/99\n</client>\n</security>"),
            "address format is invalid",
        ),
        ("<security>\nself_hostname s\n</security>", "shared_key"),
        ("<transport tls>\n</transport>", "cert"),
    ] {
        let said = fault(inner);
        assert!(said.contains(part), "{inner}: {said}");
    }
}

#[tokio::test]
async fn the_plugin_takes_events_and_heartbeats_until_it_is_stopped() {
    let text = "<source>\n@type forward\nport 0\nbind 127.0.0.1\n<security>\nself_hostname s\n\
                shared_key k\n<client>\nhost 127.0.0.1\nshared_key own\n</client>\n</security>\n</source>\n";
    let (mut input, said) = configured::<Forward>(text).unwrap();
    assert!(said.is_empty(), "{said:?}");
    input.open().await.unwrap();
    let address = input.local_addr().unwrap();
    let (got, emit) = Collector::emitter();
    let stopper = Stopper::new();
    let running = tokio::spawn(input.run(emit, stopper.listener()));
    let mut tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let credentials = Credentials {
        self_hostname: "client".into(),
        shared_key: "own".into(),
        username: String::new(),
        password: String::new(),
    };
    let mut helo = Vec::new();
    while crate::event::msgpack::skip(&helo).is_err() {
        helo.push(tcp.read_u8().await.unwrap());
    }
    let hello = Hello::read(&helo).unwrap();
    tcp.write_all(&[credentials.ping(&hello), one("t", 1, 1, None)].concat()).await.unwrap();
    got.wait_events(1).await;
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.send_to(&[0], address).await.unwrap();
    assert_eq!(udp.recv(&mut [0; 8]).await.unwrap(), 1);
    stopper.stop();
    running.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
