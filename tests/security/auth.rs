//! Who may send over the forward protocol (checklist 31 to 33).

use std::io::{Read, Write};
use std::time::Duration;

use sha2::{Digest, Sha512};

use super::harness::{PATIENCE, Suiro, answer, connect, is_closed, port, source, to_file};
use super::wire::{event, text};

const KEY: &str = "the shared key";

fn security(more: &str) -> String {
    format!("<security>\nself_hostname server\nshared_key {KEY}\n{more}\n</security>")
}

fn hex(parts: &[&[u8]]) -> String {
    let mut digest = Sha512::new();
    parts.iter().for_each(|p| digest.update(p));
    digest.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

/// The 16 bytes behind a name in a HELO.
fn salt(helo: &[u8], name: &[u8]) -> Vec<u8> {
    let at = helo.windows(name.len()).position(|w| w == name).unwrap() + name.len();
    helo[at + 2..at + 18].to_vec()
}

/// What a client shows.
struct Shown<'a> {
    key: &'a str,
    user: &'a str,
    password: &'a str,
}

fn ping(helo: &[u8], shown: &Shown<'_>) -> Vec<u8> {
    let digest = hex(&[b"salt", b"client", &salt(helo, b"nonce"), shown.key.as_bytes()]);
    let password = hex(&[&salt(helo, b"auth"), shown.user.as_bytes(), shown.password.as_bytes()]);
    let password = if shown.user.is_empty() { String::new() } else { password };
    let parts = ["PING", "client", "salt", &digest, shown.user, &password];
    parts.iter().fold(vec![0x96], |mut out, p| {
        out.extend(text(p.as_bytes()));
        out
    })
}

/// Shakes hands and sends an event at once; gives whether it was acknowledged.
fn admitted(port: u16, shown: &Shown<'_>, message: &str) -> bool {
    let mut stream = connect(port);
    let mut helo = [0; 256];
    let n = stream.read(&mut helo).unwrap();
    stream.write_all(&ping(&helo[..n], shown)).unwrap();
    let _ = stream.write_all(&event("t", message, "id-of-it"));
    let got = answer(&mut stream, Duration::from_secs(2));
    got.windows(3).any(|w| w == b"ack")
}

#[test]
fn without_the_shared_key_nothing_is_taken() {
    let port = port();
    let suiro = Suiro::start(|dir| source("forward", port, &security("")) + &to_file(dir));
    // Data first, what a client never sends, and what is no message at all.
    let pong = [&[0x95][..], &text(b"PONG"), &[0xc3], &text(b""), &text(b"x"), &text(b"y")].concat();
    let half = [&[0x96][..], &text(b"PING"), &text(b"client")].concat();
    let many = [&[0x9f][..], &text(b"PING").repeat(15)].concat();
    for first in [
        event("t", "bad", "id"),
        pong,
        vec![0xc0; 1000],
        half,
        many,
        vec![0xdb, 0xff, 0xff, 0xff, 0xff],
        vec![b'{'; 100],
    ] {
        let mut stream = connect(port);
        stream.write_all(&first).unwrap();
        let _ = stream.write_all(&event("t", "bad", "id"));
        let got = answer(&mut stream, Duration::from_millis(500));
        assert!(!got.windows(3).any(|w| w == b"ack"));
    }
    for key in ["", "wrong", "the shared ke", "the shared key ", "THE SHARED KEY"] {
        assert!(!admitted(port, &Shown { key, user: "", password: "" }, "bad"), "{key:?}");
    }
    assert!(admitted(port, &Shown { key: KEY, user: "", password: "" }, "last"));
    suiro.wait_delivered("last");
    assert_eq!(suiro.delivered().len(), 1, "{:?}", suiro.delivered());
    assert!(!suiro.log().contains(KEY), "the key is in the log");
    suiro.end();
}

#[test]
fn a_handshake_that_was_heard_is_of_no_use_again() {
    let port = port();
    let suiro = Suiro::start(|dir| source("forward", port, &security("")) + &to_file(dir));
    let mut helo = [0; 256];
    let mut first = connect(port);
    let n = first.read(&mut helo).unwrap();
    let heard = ping(&helo[..n], &Shown { key: KEY, user: "", password: "" });
    let mut second = connect(port);
    let mut other = [0; 256];
    let m = second.read(&mut other).unwrap();
    assert_ne!(salt(&helo[..n], b"nonce"), salt(&other[..m], b"nonce"));
    second.write_all(&heard).unwrap();
    let _ = second.write_all(&event("t", "bad", "id"));
    assert!(!answer(&mut second, Duration::from_secs(1)).windows(3).any(|w| w == b"ack"));
    assert!(is_closed(&mut second, PATIENCE));
    suiro.end();
}

#[test]
fn users_are_asked_for_their_password_beside_the_key() {
    let port = port();
    let users = "user_auth true\n<user>\nusername alice\npassword right\n</user>\n<user>\nusername bob\npassword other\n</user>";
    let suiro = Suiro::start(|dir| source("forward", port, &security(users)) + &to_file(dir));
    for (key, user, password) in [
        (KEY, "alice", "wrong"),
        (KEY, "alice", ""),
        (KEY, "alice", "other"),
        (KEY, "mallory", "right"),
        (KEY, "", ""),
        ("wrong", "alice", "right"),
        ("", "alice", "right"),
    ] {
        assert!(!admitted(port, &Shown { key, user, password }, "bad"), "{key:?} {user:?} {password:?}");
    }
    assert!(admitted(port, &Shown { key: KEY, user: "alice", password: "right" }, "last"));
    suiro.wait_delivered("last");
    assert_eq!(suiro.delivered().len(), 1);
    suiro.end();
}

#[test]
fn users_without_a_key_do_not_switch_the_check_off() {
    let dir = tempfile::tempdir().unwrap();
    let users = "<security>\nself_hostname s\nuser_auth true\n<user>\nusername a\npassword b\n</user>\n</security>";
    for security in [users.to_owned(), users.replace("user_auth", "shared_key \"\"\nuser_auth")] {
        let path = dir.path().join("c.conf");
        std::fs::write(&path, source("forward", 24224, &security) + "<match **>\n@type null\n</match>\n").unwrap();
        let checked = crate::daemon::suiro().arg("check").arg(&path).output().unwrap();
        assert_eq!(checked.status.code(), Some(1), "{}", crate::daemon::text(&checked));
        assert!(crate::daemon::text(&checked).contains("shared_key"));
    }
}

#[test]
fn listeners_that_anybody_can_reach_are_warned_of_by_name() {
    let (forward, http) = (port(), port());
    let suiro = Suiro::start(|dir| {
        source("forward", forward, "").replace("127.0.0.1", "0.0.0.0")
            + &source("http", http, "").replace("127.0.0.1", "0.0.0.0")
            + &to_file(dir)
    });
    for (name, number) in [("in_forward", forward), ("in_http", http)] {
        assert!(suiro.log().contains(&format!("{name} listens on 0.0.0.0:{number}")), "{}", suiro.log());
    }
    suiro.end();
    let quiet = port();
    let suiro =
        Suiro::start(|dir| source("forward", quiet, &security("")).replace("127.0.0.1", "0.0.0.0") + &to_file(dir));
    assert!(!suiro.log().contains("takes events from anybody"));
    suiro.end();
}
