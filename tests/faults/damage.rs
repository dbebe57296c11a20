//! Damaged files: suiro starts, delivers what is good, and sets aside what is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::free_port;
use super::place::{Place, QUICK, http_source, matching};
use super::senders::Http;

/// Batches in the chunk that is damaged.
const BATCHES: usize = 20;

fn config(place: &Place, port: u16, more: &str) -> String {
    place.system() + &http_source(port) + &matching(&place.file("all", more))
}

/// A buffer with one chunk of twenty frames, left by a kill.
fn filled() -> (Place, Vec<String>, PathBuf) {
    let (place, port) = (Place::new(), free_port());
    let mut daemon = place.start(&config(&place, port, "flush_interval 1h"));
    let ids: Vec<String> = (0..BATCHES).map(|n| format!("d{n}")).collect();
    let mut client = Http::new(port);
    ids.iter().for_each(|id| assert_eq!(client.post("app", std::slice::from_ref(id), None).unwrap(), 200));
    daemon.kill();
    let mut files: Vec<PathBuf> = fs::read_dir(place.join("buffer-all")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let chunk = files.pop().unwrap();
    (place, ids, chunk)
}

/// Starts over what was damaged; gives how many of the events came out.
fn survivors(place: &Place, ids: &[String]) -> usize {
    let port = free_port();
    let mut daemon = place.start(&config(place, port, QUICK));
    let after = vec!["after".to_owned()];
    assert_eq!(Http::new(port).post("app", &after, None).unwrap(), 200);
    daemon.signal("USR1");
    place.wait_for_all(&after);
    daemon.end_within(Duration::from_secs(5));
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    let landed = place.landed();
    assert!(landed.doubled().is_empty(), "{:?}", landed.doubled());
    ids.iter().filter(|id| landed.count(id) > 0).count()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_byte_costs_its_frame_at_most() {
    for place_in_file in 0..8 {
        let (place, ids, chunk) = filled();
        change(&chunk, |bytes| {
            let at = bytes.len() * place_in_file / 8;
            bytes[at] ^= 0x55;
        });
        let left = survivors(&place, &ids);
        assert!(left >= BATCHES - 1, "byte {place_in_file}/8: {left} of {BATCHES}");
    }
}

#[test]
fn a_torn_or_zeroed_end_costs_what_it_covers() {
    let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() - 5);
    let zeroed: fn(&mut Vec<u8>) = |bytes| bytes.extend([0; 4096]);
    for (damage, least) in [(cut, BATCHES - 1), (zeroed, BATCHES)] {
        let (place, ids, chunk) = filled();
        change(&chunk, damage);
        assert!(survivors(&place, &ids) >= least);
    }
}

#[test]
fn an_empty_file_and_what_is_no_chunk_at_all_keep_nothing_from_starting() {
    let (place, ids, chunk) = filled();
    let dir = place.join("buffer-all");
    let named = |name: &str| dir.join(format!("{name}{}", chunk.file_name().unwrap().to_string_lossy()));
    fs::write(named("0"), "").unwrap();
    fs::write(dir.join("notes.txt"), "not a chunk").unwrap();
    fs::create_dir(dir.join("folder")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", dir.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", named("1")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(named("2")).status().unwrap().success());
    assert_eq!(survivors(&place, &ids), BATCHES);
}
