//! What the machine refuses: room on the disk, descriptors, a directory that another process owns.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::place::{Place, QUICK, http_source, matching};
use super::senders::Http;
use super::{Daemon, free_port, suiro};

/// Keeps everything in the buffer.
const NEVER: &str = "flush_mode lazy\nflush_at_shutdown false";

fn to_file(place: &Place, port: u16, more: &str) -> String {
    http_source(port) + &matching(&place.file("all", more))
}

#[test]
fn a_full_disk_refuses_and_loses_nothing_that_was_acknowledged() {
    let (place, port) = (Place::new(), free_port());
    // A file may have 64 KiB.
    let mut daemon = Daemon::start_behind("ulimit -f 128", &to_file(&place, port, "flush_interval 1h"), place.path());
    let (mut client, mut acknowledged, mut refused) = (Http::new(port), Vec::new(), 0);
    for n in 0..300 {
        let ids: Vec<String> = (0..40).map(|i| format!("f{n}-{i}")).collect();
        match client.post("app", &ids, None).unwrap() {
            200 => acknowledged.extend(ids),
            503 => refused += 1,
            status => panic!("status {status}"),
        }
    }
    assert!(refused > 0, "nothing was refused: {}", daemon.log());
    daemon.end_within(Duration::from_secs(10));
    let mut daemon = place.start(&to_file(&place, port, QUICK));
    assert_eq!(Http::new(port).post("app", &["after".into()], None).unwrap(), 200);
    acknowledged.push("after".into());
    daemon.signal("USR1");
    place.wait_for_all(&acknowledged);
    daemon.end_within(Duration::from_secs(5));
    place.landed().assert_exactly(&acknowledged);
}

#[test]
fn too_few_descriptors_end_nothing_and_take_no_processor() {
    let (place, port) = (Place::new(), free_port());
    let mut daemon = Daemon::start_behind("ulimit -n 64", &to_file(&place, port, QUICK), place.path());
    let clients: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let (before, started) = (daemon.processor_time(), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let used = daemon.processor_time() - before;
    assert!(used < started.elapsed() / 5, "{used:?} of {:?}", started.elapsed());
    assert!(daemon.is_running());
    drop(clients);
    let ids = vec!["after".to_owned()];
    assert_eq!(Http::new(port).post("app", &ids, None).unwrap(), 200);
    place.wait_for_all(&ids);
    daemon.end_within(Duration::from_secs(5));
}

#[test]
fn a_second_owner_of_a_buffer_is_refused_by_name_and_pid() {
    let (place, other) = (Place::new(), Place::new());
    let mut first = place.start(&to_file(&place, free_port(), NEVER));
    let mut second = Daemon::launch(suiro(), &to_file(&place, free_port(), NEVER), other.path());
    assert_eq!(second.wait_for_end().code(), Some(1));
    let log = second.log();
    assert!(log.contains("buffer-all") && log.contains(&first.pid().to_string()), "{log}");
    assert!(first.is_running());
    first.end_within(Duration::from_secs(5));
}
