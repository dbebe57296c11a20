//! Reloads under load: no request fails, nothing is lost; a faulty configuration changes nothing.

use std::time::Duration;

use super::free_port;
use super::place::{Place, QUICK, http_source, matching};
use super::senders::{Http, Load, http_sender};

const DONE: &str = "the new configuration is in force";

#[test]
fn reloads_of_unchanged_parts_fail_no_request() {
    let (place, port) = (Place::new(), free_port());
    let config = http_source(port) + &matching(&place.file("all", QUICK));
    let mut daemon = place.start(&config);
    let load = Load::start(4, || http_sender(port));
    for _ in 0..10 {
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
fn outputs_that_change_under_load_lose_nothing() {
    let (place, port) = (Place::new(), free_port());
    let config = |more: &str| http_source(port) + &matching(&place.file("all", &format!("{QUICK}\n{more}")));
    let mut daemon = place.start(&config(""));
    let load = Load::start(4, || http_sender(port));
    for n in 0..6 {
        load.wait_for_more(5);
        daemon.reload(&config(&format!("flush_thread_count {}", n % 2 + 1)), place.path(), DONE);
    }
    let acknowledged = load.finish();
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
