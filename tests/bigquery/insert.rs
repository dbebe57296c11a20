//! Rows one request after the other: ids of rows, bad rows apart, requests of a size that is taken.

use super::standin::{Kind, StandIn, Trick};
use super::*;

#[test]
fn lost_answers_and_refusals_lose_and_double_nothing() {
    let service = StandIn::start();
    let site = Site::insert(service.port, &format!("{}auto_create_table true\n", columns()));
    let tricks = [
        Trick::Lose,
        Trick::Say(503, "backendError"),
        Trick::Cut,
        Trick::Say(403, "rateLimitExceeded"),
        Trick::Lose,
        Trick::Say(500, "internalError"),
    ];
    tricks.into_iter().for_each(|trick| service.trick(Kind::Insert, trick, 1));
    let mut daemon = site.start();
    for n in 0..10 {
        site.post(&numbered(n * 10..n * 10 + 10));
    }
    wait_for_rows(&service, 100);
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    assert!(service.has_played());
    assert_eq!(service.values(TABLE, "n"), wanted(0..100));
    assert!(site.balances().contains("100 in = 100 out"));
}

#[test]
fn bad_rows_become_dead_letters_and_do_not_hold_up_the_others() {
    for more in ["", "skip_invalid_rows true\n"] {
        let service = StandIn::start();
        service.make(TABLE, &["n:INTEGER", "text:STRING"]);
        let site = Site::insert(service.port, more);
        let mut daemon = site.start();
        site.post(
            &numbered(0..50).replace("{\"n\":7,", "{\"n\":\"seven\",").replace("{\"n\":42,", "{\"n\":42,\"x\":1,"),
        );
        wait_for_rows(&service, 48);
        wait_for("the end", || is_drained(site.path()).then_some(()));
        daemon.end();
        let left: Vec<String> = wanted(0..50).into_iter().filter(|n| n != "7" && n != "42").collect();
        assert_eq!(service.values(TABLE, "n"), left);
        let dead = format!("{:?}", site.dead());
        for part in ["could not convert value", "no such field: x", "event 7\\", "event 42\\", "rejected"] {
            assert!(dead.contains(part.trim_end_matches('\\')), "{part}: {dead}");
        }
        assert!(!dead.contains("event 43"), "{dead}");
        assert!(site.balances().contains("50 in = 48 out + 2 dropped"));
    }
}

#[test]
fn a_request_that_is_too_large_is_divided_and_a_row_that_is_goes_apart() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    service.take_at_most(1_000);
    let site = Site::insert(service.port, "");
    let mut daemon = site.start();
    let long = "x".repeat(2_000);
    site.post(&numbered(0..40).replace("event 9\"", &format!("{long}\"")));
    wait_for_rows(&service, 39);
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    assert_eq!(service.values(TABLE, "n").len(), 39);
    assert!(format!("{:?}", site.dead()).contains("payload size exceeds"));
}

#[test]
fn an_id_of_the_events_own_tells_rows_apart_and_columns_are_added() {
    let service = StandIn::start();
    let more = "insert_id_field $.n\nadd_insert_timestamp sent\nauto_create_table true\nauto_add_columns true\n";
    let site = Site::insert(service.port, more);
    let mut daemon = site.start();
    site.post(&numbered(0..5));
    wait_for_rows(&service, 5);
    // The same ids once more, with a field that is new.
    site.post(&numbered(0..5));
    site.post(r#"{"n":5,"city":"Kobe"}"#);
    wait_for_rows(&service, 6);
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    assert_eq!(service.values(TABLE, "n"), wanted(0..6));
    let columns = service.table(TABLE).unwrap().columns();
    let expected = [("n", "INTEGER"), ("text", "STRING"), ("sent", "TIMESTAMP"), ("city", "STRING")];
    assert_eq!(columns, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
}

#[test]
fn columns_are_asked_for_and_values_take_their_types() {
    let service = StandIn::start();
    service.make(TABLE, &["n:STRING", "many:INTEGER:REPEATED", "j:JSON"]);
    let site = Site::insert(service.port, "fetch_schema true\n");
    let mut daemon = site.start();
    site.post(r#"{"n":1,"many":2,"j":{"a":1},"none":null}"#);
    wait_for_rows(&service, 1);
    daemon.end();
    let row = serde_json::json!({"n": "1", "many": [2], "j": "{\"a\":1}"});
    assert_eq!(service.table(TABLE).unwrap().rows, [row]);
}
