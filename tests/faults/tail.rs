//! Rotations one by one, each while suiro runs and while it does not; files that were cut; damaged position files.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Daemon;
use super::logs::Log;
use super::place::{Place, QUICK, forward_output, matching, tail_source};
use super::target::{Conduct, Protocol, Target};

/// How long a rotation leaves no file at the path.
const MISSING: Duration = Duration::from_millis(300);
/// Time enough for something unwanted to be read.
const QUIET: Duration = Duration::from_millis(1500);

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

/// A log that is followed, and where its lines go.
struct Follow {
    place: Place,
    target: Target,
    config: String,
    log: Log,
    daemon: Option<Daemon>,
}

impl Follow {
    /// Follows `path` with these parameters, where `DIR` is the test's directory; ten lines of `a.log` are read.
    fn start(path: &str, more: &str) -> Follow {
        let (place, target) = (Place::new(), Target::start(Protocol::Forward, Conduct::Take));
        let output = matching(&forward_output(target.port, "", &place.buffer("buffer", QUICK)));
        let more = format!("rotate_wait 1\n{}", more.replace("DIR", &place.path().display().to_string()));
        let config = tail_source(place.path(), path, &more) + &output;
        let log = place.log("a.log");
        let mut follow = Follow { place, target, config, log, daemon: None };
        follow.log.write(10);
        follow.up();
        follow.settle();
        follow
    }

    fn up(&mut self) {
        self.daemon = Some(self.place.start(&self.config));
    }

    fn down(&mut self) {
        self.daemon.take().unwrap().end_within(Duration::from_secs(5));
    }

    /// Waits until everything written is delivered.
    fn settle(&self) {
        self.target.wait_for_all(&self.log.written);
    }

    /// Does something to the log while suiro runs, then while it does not. Each time everything is delivered, and once.
    fn through(mut self, mut happens: impl FnMut(&mut Log)) {
        happens(&mut self.log);
        self.settle();
        self.down();
        happens(&mut self.log);
        self.up();
        self.settle();
        std::thread::sleep(QUIET);
        self.target.seen().ids.assert_exactly(&self.log.written);
        let log = self.daemon.as_ref().unwrap().log();
        assert!(!log.contains("panicked") && !log.contains("pattern not matched"), "{log}");
        self.down();
    }
}

#[test]
fn a_renamed_file_is_read_to_its_end() {
    Follow::start("logs/a.log", "").through(|log| {
        log.write(5);
        log.rename_away();
        // The writer notices late.
        log.write(5);
        log.reopen();
        log.write(5);
    });
}

#[test]
fn a_file_that_is_missing_for_a_moment_during_a_rotation_is_followed_again() {
    Follow::start("logs/a.log", "").through(|log| {
        for _ in 0..3 {
            log.rename_away();
            log.write(5);
            std::thread::sleep(MISSING);
            log.reopen();
            log.write(5);
        }
    });
}

#[test]
fn files_with_the_same_first_lines_are_not_mixed_up() {
    let header = format!("{{\"note\":\"{}\"}}\n", "the same first line ".repeat(30));
    Follow::start("logs/a.log", "").through(|log| {
        for _ in 0..3 {
            log.rotate();
            log.write_text(&header);
            log.write(5);
        }
    });
}

#[test]
fn a_file_in_the_place_of_a_removed_one_is_read_whatever_inode_it_has() {
    let mut recycled = 0;
    Follow::start("logs/a.log", "").through(|log| {
        recycled += usize::from(log.recycle());
        log.write(30);
    });
    // While suiro holds the old one open it can't be; which inode a new file has is the file system's choice.
    eprintln!("{recycled} of 2 files had the inode of the one before");
}

#[test]
fn the_same_inode_with_other_bytes_is_another_file() {
    Follow::start("logs/a.log", "").through(|log| {
        log.truncate();
        log.write(30);
    });
}

#[test]
fn a_rotated_file_that_was_packed_is_not_read_again() {
    Follow::start("logs/a.log*", "exclude_path [\"DIR/logs/*.gz\"]").through(|log| {
        let old = log.rotate();
        log.write(5);
        std::thread::sleep(QUIET);
        assert!(Command::new("gzip").arg(&old).status().unwrap().success());
        log.write(5);
    });
}

#[test]
fn what_was_copied_before_a_file_was_cut_is_read_once() {
    Follow::start("logs/a.log", "").through(|log| {
        log.write(5);
        log.copy_and_truncate();
        log.write(5);
    });
}

#[test]
fn with_follow_inodes_a_renamed_file_that_is_named_still_is_not_read_again() {
    Follow::start("logs/a.log*", "follow_inodes true").through(|log| {
        for _ in 0..3 {
            log.write(5);
            log.rotate();
            log.write(5);
        }
    });
}

#[test]
fn more_rotations_than_files_may_be_open_are_read_all_the_same() {
    let mut follow = Follow::start("logs/a.log", "");
    follow.down();
    for _ in 0..150 {
        follow.log.write(2);
        follow.log.rotate();
    }
    follow.log.write(2);
    follow.daemon = Some(Daemon::start_behind("ulimit -n 120", &follow.config, follow.place.path()));
    follow.settle();
    follow.target.seen().ids.assert_exactly(&follow.log.written);
    follow.down();
}

/// What happens to both position files while suiro is down.
fn damaged(damage: impl Fn(&Path, &Path)) -> Follow {
    let mut follow = Follow::start("logs/a.log", "");
    follow.log.write(10);
    follow.settle();
    follow.down();
    follow.log.write(5);
    damage(&follow.place.join("pos"), &follow.place.join("pos.suiro"));
    follow.up();
    follow.settle();
    std::thread::sleep(QUIET);
    follow.down();
    follow
}

fn cut_in_half(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn one_damaged_position_file_of_the_two_loses_and_doubles_nothing() {
    let garbage = |path: &Path| fs::write(path, "\u{1}garbage\n\n\0\0\0").unwrap();
    let zeros = |path: &Path| fs::write(path, [0; 4096]).unwrap();
    let zeroed_end = |path: &Path| fs::write(path, [fs::read(path).unwrap(), vec![0; 100]].concat()).unwrap();
    let ways: [&dyn Fn(&Path); 4] = [&garbage, &zeros, &zeroed_end, &cut_in_half];
    for (n, way) in ways.iter().enumerate() {
        for first in [true, false] {
            let follow = damaged(|lines, hints| way(if first { lines } else { hints }));
            eprintln!("damage {n}, position file: {first}");
            follow.target.seen().ids.assert_exactly(&follow.log.written);
        }
    }
    let follow = damaged(|_, hints| fs::remove_file(hints).unwrap());
    follow.target.seen().ids.assert_exactly(&follow.log.written);
}

#[test]
fn with_both_position_files_damaged_nothing_is_lost() {
    let follow = damaged(|lines, hints| [lines, hints].iter().for_each(|path| fs::write(path, [7; 300]).unwrap()));
    follow.target.seen().ids.assert_none_lost(&follow.log.written);
}
