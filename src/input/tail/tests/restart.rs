//! Stops, crashes and what happens while nobody looks.

use std::time::Duration;

use super::harness::{Collector, World, quiet_time, until};

#[tokio::test]
async fn a_restart_goes_on_where_the_last_run_stopped() {
    let world = World::new();
    world.write("in.log", "a1\na2\nhalf");
    let running = world.start().await;
    world.until_events(2).await;
    running.stop().await;
    let inode = world.inode("in.log");
    assert_eq!(world.pos_text(), format!("{}\t{:016x}\t{inode:016x}\n", world.path("in.log").display(), 6));
    world.append("in.log", " done\na4\n");
    let running = world.start().await;
    world.until_messages(&["a1", "a2", "half done", "a4"]).await;
    running.stop().await;
}

#[tokio::test]
async fn fluentds_position_file_is_read() {
    let world = World::new();
    world.write("in.log", "a1\na2\na3\n");
    let (path, inode) = (world.path("in.log"), world.inode("in.log"));
    let gone = format!("{}\t{:016x}\t{:016x}\n", world.path("gone.log").display(), 77, 12345);
    let unwatched = format!("{}\tffffffffffffffff\t{:016x}\n", world.path("old.log").display(), 12346);
    world.write_pos(&format!("{unwatched}{}\t{:016x}\t{inode:016x}\n{gone}\0\0\0\0\n", path.display(), 3));
    let running = world.start().await;
    world.until_messages(&["a2", "a3"]).await;
    running.stop().await;
    assert_eq!(world.pos_text(), format!("{}\t{:016x}\t{inode:016x}\n", path.display(), 9));
}

#[tokio::test]
async fn a_position_past_the_end_or_of_another_inode_means_the_head() {
    for (position, inode_offset) in [(1000, 0), (3, 1)] {
        let world = World::with(|settings| settings.read_from_head = false);
        world.write("in.log", "a1\na2\n");
        let inode = world.inode("in.log") + inode_offset;
        world.write_pos(&format!("{}\t{position:016x}\t{inode:016x}\n", world.path("in.log").display()));
        let running = world.start().await;
        world.until_messages(&["a1", "a2"]).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn after_a_crash_what_the_buffer_holds_is_not_read_again() {
    let world = World::new();
    world.write("in.log", "a1\na2\n");
    let running = world.start().await;
    world.until_events(2).await;
    running.crash(&world).await;
    world.append("in.log", "a3\n");
    let running = world.start().await;
    world.until_messages(&["a1", "a2", "a3"]).await;
    running.stop().await;
}

#[tokio::test]
async fn crashes_at_any_moment_lose_and_double_nothing() {
    let world = World::with(|settings| {
        settings.lines_per_batch = 3;
        settings.rotate_wait = Duration::from_millis(20);
    });
    let mut expected = Vec::new();
    for round in 0..30u64 {
        let running = world.start().await;
        for n in 0..(round % 7 + 1) {
            let line = format!("{round}-{n}");
            world.append("in.log", format!("{line}\n"));
            expected.push(line);
            if n == 3 {
                world.rename("in.log", &format!("in.log.{round}"));
            }
            tokio::time::sleep(Duration::from_millis(round % 5)).await;
        }
        if round % 3 == 0 { running.stop().await } else { running.crash(&world).await }
    }
    let running = world.start().await;
    world.until_exactly(&expected).await;
    running.stop().await;
}

#[tokio::test]
async fn a_position_waits_for_the_delivery_of_a_memory_buffer() {
    let world = World::new().with_collector(Collector::in_memory());
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(world.pos_text().contains("in.log\t0000000000000000\t"), "{}", world.pos_text());
    world.collector.deliver().await;
    world.until_saved("in.log").await;
    world.append("in.log", "a2\n");
    world.until_events(2).await;
    running.crash(&world).await;
    // The memory buffer is gone with the process.
    let world = world.with_collector(Collector::default());
    let running = world.start().await;
    world.until_messages(&["a2"]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_a_stop_delivers_after_the_input_ended_is_not_read_again() {
    let world = World::new().with_collector(Collector::in_memory());
    world.write("in.log", "a1\na2\n");
    let running = world.start().await;
    world.until_events(2).await;
    running.stop().await;
    assert!(world.pos_text().contains("in.log\t0000000000000000\t"), "{}", world.pos_text());
    world.collector.deliver().await;
    let lingering = std::mem::take(&mut *world.collector.lingering.lock().unwrap());
    for work in lingering {
        work.await.unwrap();
    }
    world.until_saved("in.log").await;
    let world = world.with_collector(Collector::default());
    world.append("in.log", "a3\n");
    let running = world.start().await;
    world.until_messages(&["a3"]).await;
    running.stop().await;
}

#[tokio::test]
async fn an_input_that_takes_over_waits_for_its_predecessors_deliveries() {
    let world = World::new().with_collector(Collector::in_memory());
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    running.stop().await;
    // A reload: the buffers stay, the input is another.
    let running = world.start().await;
    world.append("in.log", "a2\n");
    world.until_messages(&["a1", "a2"]).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(world.pos_text().contains("in.log\t0000000000000000\t"), "{}", world.pos_text());
    world.collector.deliver().await;
    world.until_saved("in.log").await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_rotated_while_nobody_looked_is_finished_first() {
    let world = World::with(|settings| settings.read_from_head = false);
    world.write("in.log", "");
    let running = world.start().await;
    world.append("in.log", "a1\n");
    world.until_events(1).await;
    running.stop().await;
    world.append("in.log", "a2\n");
    world.rename("in.log", "in.log.2");
    world.write("in.log", "b1\n");
    world.rename("in.log", "in.log.1");
    world.write("in.log", "c1\n");
    let running = world.start().await;
    world.until_messages(&["a1", "a2", "b1", "c1"]).await;
    running.stop().await;
    let running = world.start().await;
    world.append("in.log", "c2\n");
    world.until_messages(&["a1", "a2", "b1", "c1", "c2"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_came_while_nobody_looked_is_read_from_its_head() {
    let world = World { include: vec!["*.log".into()], ..World::with(|settings| settings.read_from_head = false) };
    world.write("old.log", "no\n");
    let running = world.start().await;
    until(|| world.pos_text(), || world.pos_text().contains("old.log")).await;
    running.stop().await;
    // Births are stamped by a clock that goes in steps.
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.write("new.log", "n1\n");
    world.append("old.log", "o1\n");
    let running = world.start().await;
    world.until_exactly(&["n1".into(), "o1".into()]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_rotated_away_before_anybody_saw_it_is_read() {
    let world = World::new();
    let running = world.start().await;
    quiet_time().await;
    running.stop().await;
    world.write("in.log", "a1\n");
    world.rename("in.log", "in.log.1");
    world.write("in.log-debug", "no\n");
    let running = world.start().await;
    world.until_messages(&["a1"]).await;
    world.write("in.log", "b1\n");
    world.until_messages(&["a1", "b1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn however_many_rotations_there_were_while_nobody_looked_all_is_read() {
    let world = World::with(|settings| settings.rotate_wait = Duration::from_millis(50));
    world.write("in.log", "first\n");
    let running = world.start().await;
    world.until_events(1).await;
    running.stop().await;
    let mut expected = vec!["first".to_owned()];
    for n in 0..250 {
        world.append("in.log", format!("{n}\n"));
        world.rename("in.log", &format!("in.log-{n:06}"));
        expected.push(n.to_string());
    }
    world.write("in.log", "last\n");
    expected.push("last".to_owned());
    let running = world.start().await;
    world.until_exactly(&expected).await;
    assert_eq!(world.collector.messages(), expected);
    running.stop().await;
}

#[tokio::test]
async fn what_comes_and_goes_while_the_input_starts_is_read() {
    let world = World::new();
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    running.stop().await;
    let opened = world.open().await.unwrap();
    world.rename("in.log", "in.log-1");
    world.write("in.log", "b1\n");
    world.rename("in.log", "in.log-2");
    world.write("in.log", "c1\n");
    quiet_time().await;
    let running = world.run(opened);
    world.until_messages(&["a1", "b1", "c1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn fluentds_position_finds_a_file_rotated_meanwhile_by_inode_and_name() {
    let world = World::new();
    world.write("in.log", "a1\na2\n");
    world.write_pos(&format!("{}\t{:016x}\t{:016x}\n", world.path("in.log").display(), 3, world.inode("in.log")));
    world.rename("in.log", "in.log.1");
    world.write("in.log", "b1\n");
    let running = world.start().await;
    world.until_messages(&["a2", "b1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_file_copied_and_cut_while_nobody_looked_is_finished_in_its_copy() {
    let world = World::new();
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    running.stop().await;
    world.append("in.log", "a2\n");
    world.copy_truncate("in.log", "in.log.1");
    world.append("in.log", "b1 much longer than the file was before\n");
    let running = world.start().await;
    world.until_messages(&["a1", "a2", "b1 much longer than the file was before"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_recycled_inode_with_other_content_is_read_from_its_head() {
    let world = World::new();
    world.write("in.log", "a1\na2\n");
    let running = world.start().await;
    world.until_events(2).await;
    running.stop().await;
    // The very inode, with other bytes and more of them.
    world.write("in.log", "b1 and\nb2 and\nb3 and\n");
    let running = world.start().await;
    world.until_messages(&["a1", "a2", "b1 and", "b2 and", "b3 and"]).await;
    running.stop().await;
}

#[tokio::test]
async fn without_its_position_file_everything_is_read_again() {
    let world = World::new();
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    running.stop().await;
    world.remove("positions/tail.pos");
    let running = world.start().await;
    world.until_messages(&["a1", "a1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_position_set_back_by_hand_is_obeyed() {
    let world = World::new();
    world.write("in.log", "a1\na2\na3\n");
    let running = world.start().await;
    world.until_events(3).await;
    running.stop().await;
    world.write_pos(&world.pos_text().replace("\t0000000000000009\t", "\t0000000000000003\t"));
    let running = world.start().await;
    world.until_messages(&["a1", "a2", "a3", "a2", "a3"]).await;
    running.stop().await;
}

#[tokio::test]
async fn without_hints_the_inode_decides() {
    let world = World::new();
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    running.stop().await;
    world.write("positions/tail.pos.suiro", "garbage\0\n");
    world.append("in.log", "a2\n");
    let running = world.start().await;
    world.until_messages(&["a1", "a2"]).await;
    running.stop().await;
}

#[tokio::test]
async fn two_inputs_can_not_share_a_position_file() {
    let world = World::new();
    let running = world.start().await;
    let refused = world.open().await.err().unwrap().0;
    assert!(refused.contains("Other 'in_tail' plugin already use same pos_file path"), "{refused}");
    running.stop().await;
    assert!(world.open().await.is_ok());
}

#[tokio::test]
async fn a_file_that_is_gone_is_marked_and_compacted() {
    let world =
        World { include: vec!["*.log".into()], ..World::with(|s| s.compaction = Some(Duration::from_millis(1500))) };
    world.write("a.log", "a1\n");
    world.write("b.log", "b1\n");
    let running = world.start().await;
    world.until_events(2).await;
    world.remove("a.log");
    let marked = format!("{}\tffffffffffffffff\t", world.path("a.log").display());
    until(|| world.pos_text(), || world.pos_text().contains(&marked)).await;
    until(|| world.pos_text(), || !world.pos_text().contains("a.log")).await;
    assert!(world.pos_text().contains("b.log"));
    running.stop().await;
}

#[tokio::test]
async fn without_a_position_file_each_start_is_a_new_one() {
    let world = World { pos_file: false, ..World::new() };
    world.write("in.log", "a1\n");
    for _ in 0..2 {
        let running = world.start().await;
        world.append("in.log", "a2\n");
        world.until_events(if world.collector.events().len() < 2 { 2 } else { 5 }).await;
        running.stop().await;
    }
    assert_eq!(world.collector.messages(), ["a1", "a2", "a1", "a2", "a2"]);
}
