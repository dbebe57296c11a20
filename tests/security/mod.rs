//! Attacks on a running suiro, from outside; `SECURITY.md` names the test of each item of the checklist.
//!
//! Sizes are smaller than an attacker's so that a run takes a minute or two; `SUIRO_SECURITY_FULL=1` gives the real ones.
#![allow(clippy::unwrap_used)]

mod auth;
mod bombs;
mod configuration;
mod damage;
mod files;
pub mod harness;
mod lines;
mod logs;
mod noise;
mod sinks;
mod slow;
mod tls;
mod web;
mod wire;

#[test]
fn every_item_of_the_checklist_has_a_test_that_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    for item in 1..=47 {
        assert!(document.contains(&format!("\n| {item} | ")), "item {item} is missing");
    }
    let quoted = document.split('`').skip(1).step_by(2);
    let named: Vec<(&str, &str)> = quoted.filter_map(|q| q.split_once(".rs::")).collect();
    assert!(named.len() > 40);
    for (file, name) in named {
        let text = std::fs::read_to_string(root.join(format!("{file}.rs"))).unwrap();
        assert!(text.contains(&format!("fn {name}()")), "{file}.rs has no {name}");
    }
}
