//! Much of something: one huge line, very many connections, clients that never end their heads.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::free_port;
use super::place::{Place, QUICK, forward_source, http_source, matching, tail_source};
use super::senders::Http;

/// A line that is far over every limit.
const HUGE_LINE: usize = 100 << 20;
/// What it may add to the memory in use.
const LINE_GROWTH: u64 = 64 << 20;
/// Connections at once.
const IDLE: u64 = 10_000;
/// What they may add to the memory in use.
const IDLE_GROWTH: u64 = 400 << 20;
/// Descriptors of a process besides those of the connections.
const OTHER_DESCRIPTORS: u64 = 500;
/// How soon the head of a request that does not end is cut off, and what a loaded machine may add.
const HEAD_TIME: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn a_line_of_100_mb_takes_little_memory_and_the_lines_around_it_land() {
    let place = Place::new();
    let mut log = place.log("a.log");
    log.write(5);
    let config = tail_source(place.path(), "logs/a.log", "") + &matching(&place.file("all", QUICK));
    let mut daemon = place.start(&config);
    place.wait_for_all(&log.written);
    let before = daemon.memory("VmRSS");
    let mut file = OpenOptions::new().append(true).open(place.join("logs/a.log")).unwrap();
    let piece = vec![b'x'; 1 << 20];
    (0..HUGE_LINE / piece.len()).for_each(|_| file.write_all(&piece).unwrap());
    file.write_all(b"\n").unwrap();
    log.write(5);
    place.wait_for_all(&log.written);
    let growth = daemon.memory("VmHWM").saturating_sub(before);
    assert!(growth <= LINE_GROWTH, "{} MiB more", growth >> 20);
    eprintln!("a line of {} MiB: {} MiB more", HUGE_LINE >> 20, growth >> 20);
    let said = daemon.log().matches("received line length is longer than").count();
    assert_eq!(said, 1, "{}", daemon.log());
    daemon.end_within(Duration::from_secs(5));
    place.landed().assert_exactly(&log.written);
}

/// Lets this process open as many files as it may; gives how many connections that allows.
fn connections_allowed() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    limit.maximum.map_or(IDLE, |most| most.saturating_sub(OTHER_DESCRIPTORS).min(IDLE))
}

#[test]
fn ten_thousand_idle_connections_take_little_memory_and_keep_nobody_from_being_served() {
    let (place, http, forward) = (Place::new(), free_port(), free_port());
    let source = http_source(http).replace("bind", "keepalive_timeout 300\nbind");
    let config = source + &forward_source(forward) + &matching(&place.file("all", QUICK));
    let count = connections_allowed();
    // The daemon inherits the limit.
    let mut daemon = place.start(&config);
    let before = daemon.memory("VmRSS");
    let ports = [http, forward];
    let idle: Vec<TcpStream> =
        (0..count).map(|n| TcpStream::connect(("127.0.0.1", ports[(n % 2) as usize])).unwrap()).collect();
    let ids = vec!["meanwhile".to_owned()];
    assert_eq!(Http::new(http).post("app", &ids, None).unwrap(), 200);
    let growth = daemon.memory("VmHWM").saturating_sub(before);
    // Fewer connections, where the machine allows no more, may take a share.
    assert!(growth < IDLE_GROWTH * count / IDLE, "{count} connections: {} MiB more", growth >> 20);
    eprintln!("{count} idle connections: {} MiB more", growth >> 20);
    place.wait_for_all(&ids);
    drop(idle);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn heads_that_do_not_end_are_cut_off_in_ten_seconds() {
    let (place, port) = (Place::new(), free_port());
    let mut daemon = place.start(&(http_source(port) + &matching(&place.file("all", QUICK))));
    let started = Instant::now();
    let mut clients: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    clients.iter_mut().for_each(|client| {
        client.set_nonblocking(true).unwrap();
        client.write_all(b"POST /app HTTP/1.1\r\nHost: x\r\n").unwrap();
    });
    while !clients.is_empty() {
        std::thread::sleep(Duration::from_millis(100));
        assert!(started.elapsed() < HEAD_TIME + SLACK, "{} of 50 still stand", clients.len());
        clients.retain_mut(|client| {
            // One byte more each time: somebody who is merely slow.
            let _ = client.write_all(b"x");
            match client.read(&mut [0; 1024]) {
                Err(e) => e.kind() == ErrorKind::WouldBlock,
                Ok(got) => got > 0,
            }
        });
    }
    eprintln!("heads were cut off within {:?}", started.elapsed());
    let ids = vec!["after".to_owned()];
    assert_eq!(Http::new(port).post("app", &ids, None).unwrap(), 200);
    place.wait_for_all(&ids);
    daemon.end_within(Duration::from_secs(5));
}
