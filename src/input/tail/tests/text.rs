//! From bytes to events.

use std::sync::Arc;
use std::time::Duration;

use super::super::charset::Charset;
use super::super::params::Multiline;
use super::harness::{Lines, Rule, World, quiet_time};

#[tokio::test]
async fn line_ends_are_cut_off_and_an_unfinished_line_waits() {
    let world = World::new();
    world.write("in.log", "first\n\n  spaces  \nwith crlf\r\ntab\there\n日本語\nunfinished");
    let running = world.start().await;
    let expected = ["first", "", "  spaces  ", "with crlf", "tab\there", "日本語"];
    world.until_messages(&expected).await;
    quiet_time().await;
    world.until_messages(&expected).await;
    world.append("in.log", " line\n");
    world.until_events(7).await;
    assert_eq!(world.collector.messages()[6], "unfinished line");
    running.stop().await;
}

#[tokio::test]
async fn a_line_over_the_limit_is_left_out_and_the_next_is_read() {
    let world = World::with(|settings| settings.max_line = Some(16));
    world.write("in.log", format!("short\n{}\nfifteen chars..\n0123456789abcdef\nend\n", "x".repeat(40)));
    let running = world.start().await;
    world.until_messages(&["short", "fifteen chars..", "end"]).await;
    running.stop().await;
}

#[tokio::test]
async fn a_line_longer_than_blocks_is_read_and_one_longer_than_all_is_not() {
    let world = World::new();
    let long = "y".repeat(3 << 20);
    world.write("in.log", format!("a\n{long}\nb\n{}\nc\n", "z".repeat(20 << 20)));
    let running = world.start().await;
    world.until_events(4).await;
    assert_eq!(world.collector.messages(), ["a", &long, "b", "c"]);
    world.until_saved("in.log").await;
    // One that grows without end, in pieces.
    for _ in 0..10 {
        world.append("in.log", "w".repeat(1 << 20));
    }
    world.append("in.log", "\nd\n");
    world.until_events(5).await;
    running.stop().await;
}

#[tokio::test]
async fn lines_that_do_not_match_are_left_out_or_kept_as_asked() {
    for keep in [false, true] {
        let world = if keep { World::with(|settings| settings.emit_unmatched = true) } else { World::new() };
        world.write("in.log", "a\nunmatched x\ninvalid y\nb\n");
        let running = world.start().await;
        world.until_events(if keep { 3 } else { 2 }).await;
        running.stop().await;
        let unmatched: Vec<_> = world.collector.events().iter().map(|e| e.field("unmatched_line")).collect();
        assert_eq!(unmatched, if keep { vec!["", "unmatched x", ""] } else { vec!["", ""] });
    }
}

fn first_line(settings: &mut super::super::params::Settings) {
    settings.parser = Arc::new(Lines { rule: Some(Rule::Digit) });
    settings.multiline = Multiline::FirstLine;
}

#[tokio::test]
async fn a_first_line_ends_the_event_before_it() {
    let world = World::with(first_line);
    world.write("in.log", "orphan\n1 boom\n\tat a\n\n\tat b\n2 single\n3 last\nof last\n");
    let running = world.start().await;
    world.until_messages(&["1 boom\n\tat a\n\n\tat b", "2 single"]).await;
    world.append("in.log", "still last\n");
    quiet_time().await;
    world.append("in.log", "4 next\n");
    world.until_events(3).await;
    assert_eq!(world.collector.messages()[2], "3 last\nof last\nstill last");
    // What is quiet counts as whole at a stop, as in Fluentd.
    tokio::time::sleep(Duration::from_millis(300)).await;
    running.stop().await;
    assert_eq!(world.collector.messages()[3], "4 next");
}

#[tokio::test]
async fn an_event_still_being_written_at_a_stop_is_read_whole_by_the_next_start() {
    let world = World::with(first_line);
    world.write("in.log", "1 a\n2 b\n");
    let running = world.start().await;
    world.until_events(1).await;
    world.append("in.log", "of b\n");
    running.stop().await;
    assert_eq!(world.collector.messages(), ["1 a"]);
    world.append("in.log", "still b\n3 c\n");
    let running = world.start().await;
    world.until_messages(&["1 a", "2 b\nof b\nstill b"]).await;
    running.stop().await;
}

#[tokio::test]
async fn an_event_ends_when_nothing_comes_for_the_interval() {
    let world = World::with(|settings| {
        first_line(settings);
        settings.multiline_flush = Some(Duration::from_millis(300));
        settings.emit_unmatched = true;
    });
    world.write("in.log", "orphan\n1 a\nof a\n");
    let running = world.start().await;
    world.until_events(2).await;
    assert_eq!(world.collector.messages(), ["orphan", "1 a\nof a"]);
    world.until_saved("in.log").await;
    running.stop().await;
}

#[tokio::test]
async fn without_a_first_line_lines_are_collected_until_they_parse() {
    let world = World::with(|settings| {
        settings.parser = Arc::new(Lines { rule: Some(Rule::Whole) });
        settings.multiline = Multiline::Collect;
    });
    world.write("in.log", "BEGIN 1\nx\nEND\nBEGIN 2\ny\n");
    let running = world.start().await;
    world.until_messages(&["BEGIN 1\nx\nEND"]).await;
    quiet_time().await;
    world.append("in.log", "z\n");
    quiet_time().await;
    world.append("in.log", "END\n");
    world.until_messages(&["BEGIN 1\nx\nEND", "BEGIN 2\ny\nz\nEND"]).await;
    world.until_saved("in.log").await;
    running.stop().await;
}

#[tokio::test]
async fn an_event_without_end_is_cut_and_a_huge_line_in_it_left_out() {
    let world = World::with(first_line);
    let filler = ("f".repeat(1023) + "\n").repeat(6 << 10);
    world.write("in.log", format!("1 a\n{filler}2 b\n{}\n3 c\n4 d\n", "h".repeat(12 << 20)));
    let running = world.start().await;
    world.until_events(3).await;
    let messages = world.collector.messages();
    assert!(messages[0].len() > 4 << 20 && messages[0].len() < 6 << 20);
    assert_eq!(&messages[1..], ["2 b", "3 c"]);
    running.stop().await;
}

#[tokio::test]
async fn collected_lines_that_never_parse_do_not_pile_up() {
    let world = World::with(|settings| {
        settings.parser = Arc::new(Lines { rule: Some(Rule::Whole) });
        settings.multiline = Multiline::Collect;
        settings.emit_unmatched = true;
    });
    world.write("in.log", "junk\n".repeat(1000) + &"j".repeat(1 << 20) + "\nBEGIN\nEND\n");
    let running = world.start().await;
    world.until_events(3).await;
    running.stop().await;
    let events = world.collector.events();
    assert_eq!(events[0].field("unmatched_line").len(), 4999);
    assert_eq!(events[1].field("unmatched_line").len(), 1 << 20);
    assert_eq!(events[2].field("message"), "BEGIN\nEND");
}

#[tokio::test]
async fn other_charsets_become_utf8() {
    let world = World::with(|s| s.charset = Charset::new(Some("UTF-8"), Some("UTF-16LE")).unwrap());
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    world.write("in.log", wide("\u{feff}café\r\n日\u{0a0a}本\nhal"));
    let running = world.start().await;
    world.until_events(2).await;
    let rest = wide("f\n");
    world.append("in.log", &rest[..1]);
    quiet_time().await;
    world.append("in.log", &rest[1..]);
    world.until_messages(&["café", "日\u{0a0a}本", "half"]).await;
    running.stop().await;
}
