//! Files of suiro's own that somebody has changed (checklist 45).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::harness::{MIB, Suiro, files, port, post_json, source, wait_for};

fn config(dir: &Path, http: u16, interval: &str) -> String {
    let path = dir.display();
    source("http", http, "")
        + &format!(
            "<source>\n@type tail\ntag tail\npath {path}/in.log\npos_file {path}/pos/file\nread_from_head true\nrefresh_interval 1s\n<parse>\n@type none\n</parse>\n</source>\n"
        )
        + &format!(
            "<match **>\n@type file\npath {path}/out/events\nappend true\n<format>\n@type json\n</format>\n<buffer tag>\n@type file\npath {path}/buffer\n{interval}\n</buffer>\n</match>\n"
        )
}

/// Writes over every file of a directory.
fn damage(dir: &Path, change: impl Fn(usize, &mut Vec<u8>)) {
    for (n, file) in files(dir).iter().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        change(n, &mut bytes);
        fs::write(file, bytes).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn changed_chunks_and_positions_are_set_aside_and_end_nothing() {
    let changes: [fn(usize, &mut Vec<u8>); 6] = [
        |n, b| b.iter_mut().skip(n % 7).step_by(37).for_each(|b| *b ^= 0x80),
        |_, b| b.iter_mut().for_each(|b| *b = 0xff),
        |_, b| b.truncate(b.len() / 2),
        |_, b| b.extend_from_within(..),
        |_, b| *b = vec![b'A'; 100_000],
        |_, b| b.iter_mut().skip(64).take(64).for_each(|b| *b = 0xff),
    ];
    for change in changes {
        let http = port();
        let suiro = Suiro::start(|dir| {
            fs::write(dir.join("in.log"), "line\n".repeat(100)).unwrap();
            config(dir, http, "flush_interval 1h")
        });
        for n in 0..20 {
            assert_eq!(post_json(http, &format!("/t{n}"), &format!(r#"{{"a":"{}"}}"#, "x".repeat(n * 50))), 200);
        }
        wait_for("positions", || (!files(&suiro.dir.path().join("pos")).is_empty()).then_some(()));
        let (_, dir) = suiro.end();
        damage(&dir.path().join("buffer"), change);
        damage(&dir.path().join("pos"), change);
        let suiro = Suiro::start_in(dir, |dir| config(dir, http, "flush_mode immediate"));
        assert_eq!(post_json(http, "/t", r#"{"a":"last"}"#), 200);
        suiro.wait_delivered("last");
        assert!(suiro.peak() < 300 * MIB);
        suiro.end();
    }
}
