//! Which files are followed, and how soon.

use std::os::unix::fs::symlink;
use std::time::Duration;

use super::harness::{World, quiet_time, until};

fn sorted(world: &World) -> Vec<String> {
    let mut messages = world.collector.messages();
    messages.sort();
    messages
}

#[tokio::test]
async fn tags_and_paths_come_from_the_file() {
    let world = World {
        include: vec!["logs/*.log".into(), "logs/sub-*/x.txt".into()],
        exclude: vec!["logs/*.skip.log".into()],
        tag: "pre.*.post".into(),
        ..World::with(|settings| settings.path_key = Some("src".into()))
    };
    world.write("logs/a.log", "a1\n");
    world.write("logs/b.skip.log", "no\n");
    world.write("logs/sub-1/x.txt", "s1\n");
    world.write("logs/c.txt", "no\n");
    let running = world.start().await;
    world.until_events(2).await;
    world.write("logs/new.log", "n1\n");
    world.until_events(3).await;
    world.append("logs/a.log", "a2\n");
    world.until_events(4).await;
    assert_eq!(sorted(&world), ["a1", "a2", "n1", "s1"]);
    let dotted = super::super::params::TagRule::new("*").tag(world.dir.path());
    for event in world.collector.events() {
        let file = event.field("src").rsplit("logs/").next().unwrap().replace('/', ".");
        assert_eq!(event.tag, format!("pre.{dotted}.logs.{file}.post"));
    }
    running.stop().await;
}

#[tokio::test]
async fn only_files_that_come_later_are_read_from_their_head() {
    let world = World { include: vec!["*.log".into()], ..World::with(|settings| settings.read_from_head = false) };
    world.write("old.log", "no\n");
    let tail = world.open().await.unwrap();
    // After the start, before the first look.
    world.append("old.log", "o1\n");
    world.write("new.log", "n1\n");
    let running = world.run(tail);
    world.until_events(2).await;
    world.append("old.log", "o2\n");
    world.until_events(3).await;
    assert_eq!(sorted(&world), ["n1", "o1", "o2"]);
    running.stop().await;
}

#[tokio::test]
async fn new_directories_are_looked_into() {
    let world = World { include: vec!["logs/**/*.log".into(), "later/x/y.log".into()], ..World::new() };
    let running = world.start().await;
    world.write("logs/one/two/a.log", "a\n");
    world.until_events(1).await;
    world.write("later/x/y.log", "y\n");
    world.until_events(2).await;
    world.write("logs/one/three/b.log", "b\n");
    world.until_events(3).await;
    running.stop().await;
}

#[tokio::test]
async fn without_the_kernels_word_files_are_looked_at_each_second() {
    let world = World { include: vec!["*.log".into()], ..World::with(|settings| settings.stat_watcher = false) };
    world.write("a.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    world.append("a.log", "a2\n");
    world.write("b.log", "b1\n");
    world.until_events(3).await;
    running.stop().await;
}

#[tokio::test]
async fn without_the_timer_the_kernels_word_is_enough() {
    let world = World::with(|settings| settings.watch_timer = false);
    let running = world.start().await;
    world.write("in.log", "a1\n");
    world.until_events(1).await;
    world.append("in.log", "a2\n");
    world.rename("in.log", "in.log.1");
    world.append("in.log.1", "a3\n");
    world.write("in.log", "b1\n");
    world.until_events(4).await;
    assert_eq!(sorted(&world), ["a1", "a2", "a3", "b1"]);
    running.stop().await;
}

#[tokio::test]
async fn changes_behind_a_link_are_seen_at_once() {
    let world = World { include: vec!["links/*.log".into()], ..World::with(|settings| settings.watch_timer = false) };
    world.write("pods/1/0.log", "a1\n");
    world.write("links/none", "");
    symlink(world.path("pods/1/0.log"), world.path("links/pod.log")).unwrap();
    let running = world.start().await;
    world.until_events(1).await;
    quiet_time().await;
    world.append("pods/1/0.log", "a2\n");
    world.until_messages(&["a1", "a2"]).await;
    // As the kubelet rotates: the file behind the link is replaced.
    world.rename("pods/1/0.log", "pods/1/0.log.20240101");
    world.write("pods/1/0.log", "b1\n");
    world.until_messages(&["a1", "a2", "b1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn two_names_of_a_file_are_two_files_unless_inodes_are_followed() {
    for (follow_inodes, count) in [(false, 4), (true, 2)] {
        let world = World { include: vec!["*.log".into()], tag: "*".into(), ..World::new() };
        let world = if follow_inodes { World { change: |s| s.follow_inodes = true, ..world } } else { world };
        world.write("a.log", "1\n");
        std::fs::hard_link(world.path("a.log"), world.path("b.log")).unwrap();
        let running = world.start().await;
        world.until_events(count / 2).await;
        world.append("a.log", "2\n");
        world.until_events(count).await;
        quiet_time().await;
        assert_eq!(world.collector.events().len(), count);
        running.stop().await;
        let running = world.start().await;
        world.append("a.log", "3\n");
        world.until_events(count + count / 2).await;
        quiet_time().await;
        assert_eq!(world.collector.events().len(), count + count / 2);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_file_left_out_for_its_age_is_not_read_again_when_it_comes_back() {
    let world = World {
        include: vec!["*.log".into()],
        recently: Some(Duration::from_secs(3600)),
        ..World::with(|settings| {
            settings.rotate_wait = Duration::from_millis(50);
            settings.refresh_interval = Duration::from_millis(200);
        })
    };
    world.write("a.log", "a1\n");
    let running = world.start().await;
    world.until_saved("a.log").await;
    let age = |ago: u64| {
        let file = std::fs::File::options().append(true).open(world.path("a.log")).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(ago)).unwrap();
    };
    age(7200);
    until(|| world.pos_text(), || world.pos_text().contains("ffffffffffffffff")).await;
    world.append("a.log", "a2\n");
    world.until_messages(&["a1", "a2"]).await;
    running.stop().await;
}

#[tokio::test]
async fn the_first_look_can_be_left_for_later() {
    let world = World::with(|settings| {
        settings.skip_refresh_on_startup = true;
        settings.refresh_interval = Duration::from_secs(1);
        settings.read_from_head = false;
    });
    world.write("in.log", "no\n");
    let running = world.start().await;
    until(|| world.pos_text(), || world.pos_text().contains("in.log")).await;
    world.append("in.log", "a1\n");
    world.until_messages(&["a1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn files_closed_between_reads_are_read_all_the_same() {
    let world = World::with(|settings| settings.open_on_every_update = true);
    world.write("in.log", "a1\n");
    let running = world.start().await;
    world.until_events(1).await;
    world.append("in.log", "a2\n");
    world.until_events(2).await;
    world.append("in.log", "a3\n");
    world.rename("in.log", "in.log.1");
    world.write("in.log", "b1\n");
    world.until_messages(&["a1", "a2", "a3", "b1"]).await;
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_regular_file_is_left_alone() {
    let world = World { include: vec!["*.log".into(), "dir".into()], ..World::new() };
    std::fs::create_dir(world.path("dir")).unwrap();
    std::fs::create_dir(world.path("d.log")).unwrap();
    symlink(world.path("nowhere"), world.path("dangling.log")).unwrap();
    let fifo = std::ffi::CString::new(world.path("f.log").to_str().unwrap()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    world.write("a.log", "a1\n");
    let running = world.start().await;
    world.until_messages(&["a1"]).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_file_does_not_hold_up_a_new_one() {
    const LINES: usize = 1_000_000;
    let world = World { include: vec!["*.log".into()], tag: "*".into(), ..World::new() };
    world.write("huge.log", "a line of some length in a huge file\n".repeat(LINES));
    world.write("other.log", "");
    let running = world.start().await;
    until(|| "a first batch".into(), || world.collector.count() > 0).await;
    world.append("other.log", "new\n");
    until(|| "all lines".into(), || world.collector.count() == LINES + 1).await;
    running.stop().await;
    let at = world.collector.events().iter().position(|e| e.tag.ends_with("other.log")).unwrap();
    assert!(at < LINES, "{at}");
}

#[tokio::test]
async fn many_files_are_all_read() {
    let world = World { include: vec!["*.log".into()], tag: "*".into(), ..World::new() };
    for n in 0..500 {
        world.write(&format!("{n}.log"), format!("{n}\n"));
    }
    let running = world.start().await;
    world.until_events(500).await;
    for n in 0..500 {
        world.append(&format!("{n}.log"), format!("{n} again\n"));
    }
    world.until_events(1000).await;
    running.stop().await;
    let running = world.start().await;
    quiet_time().await;
    running.stop().await;
    assert_eq!(world.collector.events().len(), 1000);
}
