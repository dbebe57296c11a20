//! Every way in which a log is rotated, with an input that runs.

use std::os::unix::fs::symlink;

use super::super::params::Settings;
use super::harness::{World, quiet_time, until};

#[tokio::test]
async fn after_a_rename_the_old_file_is_read_to_its_end_and_then_the_new_one() {
    let world = World::new();
    world.write("in.log", "a1\na2\n");
    let running = world.start().await;
    world.until_messages(&["a1", "a2"]).await;
    world.append("in.log", "a3\n");
    world.rename("in.log", "in.log.1");
    world.append("in.log.1", "a4 late\n");
    world.write("in.log", "b1\nb2\n");
    world.until_messages(&["a1", "a2", "a3", "a4 late", "b1", "b2"]).await;
    world.append("in.log.1", "a5 later\n");
    world.until_events(7).await;
    world.append("in.log", "b3\n");
    world.until_messages(&["a1", "a2", "a3", "a4 late", "b1", "b2", "a5 later", "b3"]).await;
    world.until_saved("in.log").await;
    assert!(!world.pos_text().contains("in.log.1"));
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_was_cut_is_read_from_its_head() {
    let world = World::new();
    world.write("in.log", "a1 long enough line\na2\n");
    let running = world.start().await;
    world.until_events(2).await;
    world.copy_truncate("in.log", "in.log.1");
    world.append("in.log", "b1\n");
    world.until_events(3).await;
    world.append("in.log", "b2\n");
    world.until_messages(&["a1 long enough line", "a2", "b1", "b2"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_was_cut_within_its_last_line_goes_on_there() {
    type Change = fn(&mut Settings);
    let worlds: [(Change, usize); 4] = [
        (|_| {}, 10_000),
        (|_| {}, 100_000),
        (|settings| settings.max_line = Some(15_000), 20_000),
        (|settings| settings.max_line = Some(1_000), 2_000),
    ];
    for (change, unfinished) in worlds {
        let world = World::with(change);
        world.write("in.log", format!("a1\n{}", "u".repeat(unfinished)));
        let running = world.start().await;
        world.until_events(1).await;
        quiet_time().await;
        std::fs::OpenOptions::new().write(true).open(world.path("in.log")).unwrap().set_len(503).unwrap();
        quiet_time().await;
        let after: Vec<String> = (0..300).map(|n| format!("b{n} {}", "x".repeat(200))).collect();
        world.append("in.log", format!("\n{}\n", after.join("\n")));
        let cut = "u".repeat(500);
        let wanted: Vec<&str> = ["a1", &cut].into_iter().chain(after.iter().map(String::as_str)).collect();
        world.until_messages(&wanted).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_file_written_anew_is_read_from_its_head_even_if_it_is_longer() {
    let world = World::new();
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    world.write("in.log", "b1 is longer than all before\nb2\n");
    world.until_messages(&["a1", "b1 is longer than all before", "b2"]).await;
    running.stop().await;
}

#[tokio::test]
async fn the_same_first_lines_do_not_hide_that_a_file_was_written_anew() {
    let header = "#".repeat(300);
    let world = World::new();
    world.write("in.log", format!("{header}\na1\n"));
    let running = world.start().await;
    world.until_events(2).await;
    world.write("in.log", format!("{header}\nb1\nb2\nb3\n"));
    world.until_messages(&[&header, "a1", &header, "b1", "b2", "b3"]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_was_not_read_before_a_file_was_cut_is_read_in_its_copy() {
    let world = World::with(|settings| settings.lines_per_batch = 1);
    world.write("in.log", "a1\na2\na3\na4\na5\na6\n");
    let gate = world.collector.set_gate();
    let running = world.start().await;
    until(|| "a turn".into(), || world.pos_text().contains("in.log")).await;
    world.copy_truncate("in.log", "in.log.1");
    world.append("in.log", "b1\n");
    quiet_time().await;
    gate.send_replace(true);
    world.until_messages(&["a1", "a2", "a3", "a4", "a5", "a6", "b1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_a_rotation() {
    let world = World::new();
    world.write("one", "a1\n");
    symlink(world.path("one"), world.path("in.log")).unwrap();
    let running = world.start().await;
    world.until_events(1).await;
    world.append("one", "a2\n");
    world.until_events(2).await;
    world.write("two", "b1\n");
    symlink(world.path("two"), world.path("new")).unwrap();
    world.rename("new", "in.log");
    world.until_events(3).await;
    world.append("two", "b2\n");
    world.until_messages(&["a1", "a2", "b1", "b2"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_is_missing_for_a_moment_is_followed_on() {
    let world = World::new();
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    world.rename("in.log", "aside");
    quiet_time().await;
    world.rename("aside", "in.log");
    world.append("in.log", "a2\n");
    world.until_events(2).await;
    // Long enough for the file to be let go of in between.
    world.rename("in.log", "aside");
    until(|| "unwatched".into(), || world.pos_text().contains("ffffffffffffffff")).await;
    world.append("aside", "a3\n");
    world.rename("aside", "in.log");
    world.until_messages(&["a1", "a2", "a3"]).await;
    world.until_saved("in.log").await;
    assert!(!world.pos_text().contains("ffffffffffffffff"));
    running.stop().await;
}

#[tokio::test]
async fn a_file_deleted_while_it_waits_is_read_to_its_end() {
    let world = World::new();
    world.collector.set_full("t", true);
    world.write("in.log", "a1\na2\n");
    let running = world.start().await;
    until(|| "the file to be seen".into(), || world.pos_text().contains("in.log")).await;
    world.remove("in.log");
    quiet_time().await;
    world.collector.set_full("t", false);
    world.until_messages(&["a1", "a2"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_came_and_went_between_two_looks_is_read() {
    // Nobody tells of changes, so a look is made once a second.
    let world = World::with(|settings| settings.stat_watcher = false);
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    world.append("in.log", "a2\n");
    world.rename("in.log", "in.log.2");
    world.write("in.log", "b1\n");
    world.rename("in.log", "in.log.1");
    world.write("in.log", "c1\n");
    world.until_messages(&["a1", "a2", "b1", "c1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_rotated_file_that_matches_as_well_is_not_read_again() {
    for follow_inodes in [false, true] {
        let change =
            if follow_inodes { |settings: &mut Settings| settings.follow_inodes = true } else { |_: &mut Settings| {} };
        let world = World { include: vec!["in.log*".into()], tag: "*".into(), ..World::with(change) };
        world.write("in.log", "a1\n");
        let running = world.start().await;
        world.until_events(1).await;
        for n in 0..3 {
            if n == 1 {
                world.rename("in.log.1", "in.log.2");
            }
            if n < 2 {
                world.rename("in.log", "in.log.1");
                world.write("in.log", format!("b{n}\n"));
            }
            quiet_time().await;
        }
        world.until_messages(&["a1", "b0", "b1"]).await;
        // Past `rotate_wait` files are followed under their new names.
        until(|| world.pos_text(), || world.pos_text().contains("in.log.2") && world.pos_text().contains("in.log.1"))
            .await;
        quiet_time().await;
        world.append("in.log.2", "a2\n");
        world.until_events(4).await;
        assert!(world.collector.events()[3].tag.ends_with("in.log.2"));
        assert_eq!(world.collector.messages(), ["a1", "b0", "b1", "a2"]);
        running.stop().await;
    }
}

#[tokio::test]
async fn the_last_line_of_a_rotated_file_needs_no_line_end() {
    let world = World::new();
    world.write("in.log", "a1\nunfini");
    let running = world.start().await;
    world.until_events(1).await;
    world.rename("in.log", "in.log.1");
    world.append("in.log.1", "shed");
    world.write("in.log", "b1\n");
    world.until_events(3).await;
    let mut messages = world.collector.messages();
    messages.sort();
    assert_eq!(messages, ["a1", "b1", "unfinished"]);
    running.stop().await;
}

#[tokio::test]
async fn a_recycled_inode_is_another_file() {
    let world = World::with(|settings| {
        settings.open_on_every_update = true;
        settings.rotate_wait = std::time::Duration::ZERO;
    });
    let running = world.start().await;
    let mut expected = Vec::new();
    for n in 0..10 {
        let text = format!("line {n} {}", "x".repeat(10 + n));
        world.write("in.log", format!("{text}\n"));
        expected.push(text);
        world.until_events(expected.len()).await;
        world.remove("in.log");
    }
    assert_eq!(world.collector.messages(), expected);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_under_load_loses_and_doubles_nothing() {
    let world = World::with(|settings| settings.rotate_wait = std::time::Duration::from_millis(50));
    world.write("in.log", "");
    let running = world.start().await;
    until(|| "the first look".into(), || world.pos_text().contains("in.log")).await;
    let mut expected = Vec::new();
    for round in 0..30 {
        for n in 0..50 {
            let line = format!("{round}-{n}");
            world.append("in.log", format!("{line}\n"));
            expected.push(line);
        }
        for n in (1..40).rev().filter(|n| world.path(&format!("in.log.{n}")).exists()) {
            world.rename(&format!("in.log.{n}"), &format!("in.log.{}", n + 1));
        }
        world.rename("in.log", "in.log.1");
        tokio::time::sleep(std::time::Duration::from_millis(round % 4 * 5)).await;
    }
    world.until_exactly(&expected).await;
    running.stop().await;
}
