//! `suiro jobs`: what is listed, shown and loaded anew, beside a living daemon and behind a dead one.

use super::standin::StandIn;
use super::*;

#[test]
fn jobs_are_listed_and_shown_and_a_failed_one_is_loaded_anew() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    service.fail_jobs(&["notImplemented"]);
    let site = Site::load(service.port, "");
    let mut daemon = site.start();
    site.post(&numbered(0..5));
    // It will never go through: the chunk is set aside.
    daemon.wait_for_log("got unrecoverable error");
    wait_for("the end", || is_drained(site.path()).then_some(()));
    site.post(&numbered(5..10));
    wait_for_rows(&service, 5);
    wait_for("the end", || is_drained(site.path()).then_some(()));
    let (good, list) = site.run(&["jobs", "ls"]);
    assert!(good, "{list}");
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("failed") && list.contains("notImplemented") && list.contains("done"), "{list}");
    let (_, lines) = site.run(&["jobs", "ls", "--format", "json"]);
    let jobs: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let id = |state: &str| jobs.iter().find(|job| job["state"] == state).unwrap()["id"].as_str().unwrap().to_owned();
    let (failed, done) = (id("failed"), id("done"));
    let (good, shown) = site.run(&["jobs", "show", &failed[..12]]);
    assert!(good && shown.contains("by script") && shown.contains("\"events\": 5"), "{shown}");
    let (good, refused) = site.run(&["jobs", "redo", &done]);
    assert!(!good && refused.contains("again they would be there twice"), "{refused}");
    let (good, unknown) = site.run(&["jobs", "show", "suiro_nothing"]);
    assert!(!good && unknown.contains("there is no job"), "{unknown}");
    // Beside the living daemon, and once more behind its end.
    let (good, redone) = site.run(&["jobs", "redo", &failed]);
    assert!(good && redone.contains("5 events of chunk"), "{redone}");
    daemon.end();
    assert_eq!(service.values(TABLE, "n"), wanted(0..10));
    let (good, gone) = site.run(&["jobs", "redo", &failed]);
    assert!(!good && gone.contains("would double them"), "{gone}");
    assert_eq!(service.values(TABLE, "n"), wanted(0..10));
}
