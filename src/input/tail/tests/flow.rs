//! Backpressure, refusals and rate limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::harness::{World, quiet_time, until};

#[tokio::test]
async fn a_full_buffer_holds_up_only_the_files_that_lead_to_it() {
    let world = World { include: vec!["*.log".into()], tag: "*".into(), ..World::new() };
    let tag = |name: &str| super::super::params::TagRule::new("*").tag(&world.path(name)).to_string();
    world.collector.set_full(&tag("a.log"), true);
    world.write("a.log", "a1\n".repeat(1000));
    world.write("b.log", "b1\n");
    let running = world.start().await;
    world.until_messages(&["b1"]).await;
    world.append("b.log", "b2\n");
    world.until_messages(&["b1", "b2"]).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(world.pos_text().contains("a.log\t0000000000000000\t"), "{}", world.pos_text());
    world.collector.set_full(&tag("a.log"), false);
    world.until_events(1002).await;
    world.until_saved("a.log").await;
    running.stop().await;
}

#[tokio::test]
async fn a_stop_with_a_full_buffer_keeps_the_position() {
    let world = World::new();
    world.collector.set_full("t", true);
    world.write("in.log", "a1\n");
    let running = world.start().await;
    until(|| world.pos_text(), || world.pos_text().contains("in.log")).await;
    let began = Instant::now();
    running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5));
    world.collector.set_full("t", false);
    let running = world.start().await;
    world.until_messages(&["a1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn an_event_that_is_refused_costs_itself_alone() {
    let world = World::new();
    world.collector.refuse("poison");
    world.write("in.log", "a1\na2\npoison\na3\na4\n");
    let running = world.start().await;
    world.until_messages(&["a1", "a2", "a3", "a4"]).await;
    world.until_saved("in.log").await;
    running.stop().await;
    assert_eq!(world.collector.failed.lock().unwrap()[0].field("message"), "poison");
}

#[tokio::test]
async fn reading_goes_on_while_a_buffer_syncs_but_no_further_than_one_batch() {
    let world = World::with(|settings| settings.lines_per_batch = 1);
    world.write("in.log", "a1\na2\na3\na4\n");
    let gate = world.collector.set_gate();
    let running = world.start().await;
    until(|| world.pos_text(), || world.pos_text().contains("in.log")).await;
    quiet_time().await;
    assert!(world.collector.messages().is_empty());
    gate.send_replace(true);
    world.until_messages(&["a1", "a2", "a3", "a4"]).await;
    assert_eq!(*world.collector.batches.lock().unwrap(), [1, 1, 1, 1]);
    running.stop().await;
}

#[tokio::test]
async fn batches_have_as_many_lines_as_asked_for() {
    let world = World::with(|settings| settings.lines_per_batch = 40);
    world.write("in.log", "line\n".repeat(100));
    let running = world.start().await;
    world.until_events(100).await;
    running.stop().await;
    assert_eq!(*world.collector.batches.lock().unwrap(), [40, 40, 20]);
}

#[tokio::test]
async fn bytes_per_second_are_kept_to() {
    let world = World::with(|settings| settings.bytes_per_second = Some(64 * 1024));
    let line = "x".repeat(1023) + "\n";
    world.write("in.log", line.repeat(160));
    let running = world.start().await;
    let began = Instant::now();
    world.until_events(64).await;
    quiet_time().await;
    assert_eq!(world.collector.events().len(), 64);
    world.until_events(160).await;
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
    running.stop().await;
}

#[tokio::test]
async fn groups_are_kept_to_and_rotated_files_wait_for_them() {
    let world = World::with(|settings| {
        settings.groups = Some(super::super::group::Groups::of_all(10, Duration::from_secs(1)));
    });
    world.write("in.log", "line\n".repeat(25));
    let running = world.start().await;
    world.until_events(10).await;
    quiet_time().await;
    assert_eq!(world.collector.events().len(), 10);
    world.rename("in.log", "in.log.1");
    world.until_events(25).await;
    running.stop().await;
}

#[tokio::test]
async fn events_that_wait_in_a_blocking_buffer_take_bounded_memory() {
    let world = World { include: vec!["*.log".into()], tag: "*".into(), ..World::new() };
    let text = ("x".repeat(1000) + "\n").repeat(1000);
    for n in 0..100 {
        world.write(&format!("{n}.log"), &text);
    }
    let gate = world.collector.set_gate();
    let running = world.start().await;
    until(|| world.pos_text(), || world.pos_text().contains("99.log")).await;
    quiet_time().await;
    gate.send_replace(true);
    world.until_events(100_000).await;
    running.stop().await;
    assert_eq!(Arc::strong_count(&world.collector), 1);
}
