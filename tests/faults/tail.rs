//! Rotations that happened while nobody looked, and files that were cut.

use std::time::Duration;

use super::place::{Place, QUICK, forward_output, matching, tail_source};
use super::target::{Conduct, Protocol, Target};

#[test]
fn a_file_rotated_twice_while_down_is_read_to_its_end_in_all_parts() {
    let (place, target) = (Place::new(), Target::start(Protocol::Forward, Conduct::Take));
    let output = matching(&forward_output(target.port, "", &place.buffer("buffer", QUICK)));
    let config = tail_source(place.path(), "logs/*.log", "") + &output;
    let mut log = place.log("a.log");
    log.write(10);
    let mut daemon = place.start(&config);
    target.wait_for_all(&log.written);
    daemon.end_within(Duration::from_secs(5));
    for _ in 0..2 {
        log.write(10);
        log.rotate();
    }
    log.write(10);
    let mut daemon = place.start(&config);
    target.wait_for_all(&log.written);
    daemon.end_within(Duration::from_secs(5));
    target.seen().ids.assert_exactly(&log.written);
}

#[test]
fn a_file_that_was_cut_is_read_from_its_head() {
    let (place, target) = (Place::new(), Target::start(Protocol::Forward, Conduct::Take));
    let output = matching(&forward_output(target.port, "", &place.buffer("buffer", QUICK)));
    let mut log = place.log("a.log");
    log.write(20);
    let mut daemon = place.start(&(tail_source(place.path(), "logs/*.log", "") + &output));
    target.wait_for_all(&log.written);
    log.truncate();
    log.write(5);
    target.wait_for_all(&log.written);
    daemon.end_within(Duration::from_secs(5));
    target.seen().ids.assert_exactly(&log.written);
}
