//! The systemd unit: hardened, and with paths and flags that exist.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use crate::daemon::{suiro, text};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `Name=value` lines of the unit, in order.
fn settings() -> Vec<(String, String)> {
    let unit = fs::read_to_string(root().join("conf/suiro.service")).unwrap();
    let lines = unit.lines().filter(|l| !l.starts_with(['#', '[']));
    lines.filter_map(|l| l.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn values(name: &str) -> Vec<String> {
    settings().into_iter().filter(|(n, _)| n == name).map(|(_, v)| v).collect()
}

#[test]
fn the_unit_runs_the_binary_with_flags_that_exist() {
    let help = text(&suiro().arg("--help").output().unwrap());
    let dockerfile = fs::read_to_string(root().join("docker/Dockerfile")).unwrap();
    for command in values("ExecStart").iter().chain(&values("ExecStartPre")) {
        let mut words = command.split_whitespace();
        assert_eq!(words.next(), Some("/usr/local/bin/suiro"), "{command}");
        for word in words {
            assert!(!word.starts_with("--") || help.contains(word), "{command}: {word}");
            assert!(!word.starts_with('/') || dockerfile.contains(word), "{command}: the image has another {word}");
        }
    }
}

#[test]
fn the_unit_may_write_where_its_directories_are_and_nowhere_else() {
    let writable = values("ReadWritePaths").join(" ");
    let owned = [("StateDirectory", "/var/lib/"), ("LogsDirectory", "/var/log/")];
    let owned: Vec<String> =
        owned.iter().flat_map(|(n, at)| values(n).into_iter().map(move |v| format!("{at}{v}"))).collect();
    assert_eq!(writable.split(' ').collect::<Vec<_>>(), owned);
    let work = values("Environment");
    assert!(owned.iter().any(|dir| work.contains(&format!("SUIRO_WORK={dir}"))), "{work:?}");
}

#[test]
fn the_unit_gives_the_process_no_more_than_it_needs() {
    assert!(!values("User").is_empty() && values("User") != ["root"]);
    let must = [
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("PrivateDevices", "yes"),
        ("PrivateTmp", "yes"),
        ("RestrictNamespaces", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("LimitCORE", "0"),
        ("UMask", "0077"),
        ("CapabilityBoundingSet", "CAP_DAC_READ_SEARCH"),
        ("AmbientCapabilities", "CAP_DAC_READ_SEARCH"),
        ("StateDirectoryMode", "0700"),
    ];
    for (name, value) in must {
        assert_eq!(values(name), [value], "{name}");
    }
    assert_eq!(values("SystemCallFilter")[..2], ["@system-service", "~@privileged @resources"]);
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    let unit = root().join("conf/suiro.service");
    let checked = std::process::Command::new("systemd-analyze").arg("verify").arg(unit).output();
    // Where systemd is not installed the other tests have to do.
    let Ok(checked) = checked else { return };
    let said = text(&checked);
    let unknown: Vec<&str> = said.lines().filter(|l| l.contains("suiro.service") && l.contains("Unknown")).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
