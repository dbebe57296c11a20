//! Reloads under load: no request fails, nothing is lost; a faulty configuration changes nothing.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use super::free_port;
use super::place::{Place, QUICK, forward_source, http_source, matching};
use super::senders::{Forward, Http, Load, http_sender};

const DONE: &str = "the new configuration is in force";
/// Reloads where `SUIRO_RELOADS` says nothing.
const RELOADS: usize = 10;

fn reloads() -> usize {
    std::env::var("SUIRO_RELOADS").map_or(RELOADS, |n| n.parse().unwrap())
}

#[test]
fn reloads_of_unchanged_parts_fail_no_request() {
    let (place, port) = (Place::new(), free_port());
    let config = http_source(port) + &matching(&place.file("all", QUICK));
    let mut daemon = place.start(&config);
    let load = Load::start(4, || http_sender(port));
    for _ in 0..reloads() {
        load.wait_for_more(5);
        daemon.reload(&config, place.path(), DONE);
    }
    assert_eq!(load.failures(), 0, "{}", daemon.log());
    let acknowledged = load.finish();
    place.wait_for_all(&acknowledged);
    daemon.end_within(Duration::from_secs(5));
    place.landed().assert_exactly(&acknowledged);
}

#[test]
fn outputs_that_change_under_load_lose_nothing_and_fail_no_request() {
    let (place, port) = (Place::new(), free_port());
    let config = |more: &str| http_source(port) + &matching(&place.file("all", &format!("{QUICK}\n{more}")));
    let mut daemon = place.start(&config(""));
    let load = Load::start(4, || http_sender(port));
    for n in 0..reloads() {
        load.wait_for_more(5);
        daemon.reload(&config(&format!("flush_thread_count {}", n % 2 + 1)), place.path(), DONE);
    }
    assert_eq!(load.failures(), 0, "{}", daemon.log());
    let acknowledged = load.finish();
    eprintln!("{} reloads, {} events, no request failed", reloads(), acknowledged.len());
    place.wait_for_all(&acknowledged);
    daemon.end_within(Duration::from_secs(5));
    place.landed().assert_exactly(&acknowledged);
}

#[test]
fn a_faulty_configuration_is_refused_and_a_port_may_change() {
    let (place, ports) = (Place::new(), [free_port(), free_port()]);
    let config = |port| http_source(port) + &matching(&place.file("all", QUICK));
    let mut daemon = place.start(&config(ports[0]));
    daemon.reload("<source>\n@type htp\n</source>\n", place.path(), "the old one goes on");
    let ids = ["before", "after"].map(str::to_owned);
    assert_eq!(Http::new(ports[0]).post("app", &ids[..1], None).unwrap(), 200);
    daemon.reload(&config(ports[1]), place.path(), DONE);
    assert_eq!(Http::new(ports[1]).post("app", &ids[1..], None).unwrap(), 200);
    assert!(Http::new(ports[0]).post("app", &ids, None).is_err());
    place.wait_for_all(&ids);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn an_input_that_changes_keeps_its_port_open_through_the_reload() {
    let (place, port) = (Place::new(), free_port());
    let config = |timeout: usize| {
        http_source(port).replace("bind", &format!("keepalive_timeout {timeout}\nbind"))
            + &matching(&place.file("all", QUICK))
    };
    let mut daemon = place.start(&config(10));
    let load = Load::start(4, || http_sender(port));
    let stop = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        // Somebody is always there to take a connection: the listening socket goes from one input to the next.
        let knocking = scope.spawn(|| {
            let mut refused = 0;
            while !stop.load(SeqCst) {
                refused += usize::from(TcpStream::connect(("127.0.0.1", port)).is_err());
                std::thread::sleep(Duration::from_millis(1));
            }
            refused
        });
        for n in 0..reloads() {
            load.wait_for_more(5);
            daemon.reload(&config(11 + n), place.path(), DONE);
        }
        stop.store(true, SeqCst);
        knocking.join().unwrap()
    });
    assert_eq!(refused, 0, "connections were refused");
    let acknowledged = load.finish();
    place.wait_for_all(&acknowledged);
    daemon.end_within(Duration::from_secs(5));
    place.landed().assert_exactly(&acknowledged);
}

#[test]
fn two_inputs_exchange_their_ports_in_a_reload() {
    let (place, ports) = (Place::new(), [free_port(), free_port()]);
    let config = |http, forward| http_source(http) + &forward_source(forward) + &matching(&place.file("all", QUICK));
    let mut daemon = place.start(&config(ports[0], ports[1]));
    let ids: Vec<String> = (0..4).map(|n| format!("x{n}")).collect();
    let both = |http, forward, ids: &[String]| {
        assert_eq!(Http::new(http).post("app", &ids[..1], None).unwrap(), 200);
        Forward::new(forward).send("app", &ids[1..], &ids[1]).unwrap();
    };
    both(ports[0], ports[1], &ids[..2]);
    daemon.reload(&config(ports[1], ports[0]), place.path(), DONE);
    both(ports[1], ports[0], &ids[2..]);
    place.wait_for_all(&ids);
    daemon.end_within(Duration::from_secs(5));
    place.landed().assert_exactly(&ids);
}
