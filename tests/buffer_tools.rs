//! `suiro buffer` and `suiro dlq` from outside: on dead directories, on damaged ones, and on one that a daemon is using.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use tempfile::TempDir;

use crate::daemon::{Daemon, free_port, suiro, text, wait_for};
use crate::databases::must_post;

const FRAME: &[u8] = &[0xf5, b'S', b'F', 1];

fn run(args: &[&str]) -> Output {
    suiro().args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs and gives what was printed; fails where the status is another.
fn ran(status: i32, args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {}", text(&output));
    stdout(&output)
}

/// From HTTP into a file buffer whose output is `output`.
fn config(port: u16, output: &str, buffer: &Path, flush: &str) -> String {
    format!(
        "<source>\n  @type http\n  bind 127.0.0.1\n  port {port}\n</source>\n<match app.**>\n  @id out\n  {output}\n  \
         <buffer tag>\n    @type file\n    path {}\n    {flush}\n  </buffer>\n</match>\n",
        buffer.display()
    )
}

/// An output that can't deliver.
fn dead_end() -> String {
    format!("@type http\n  endpoint http://127.0.0.1:{}/", free_port())
}

/// A buffer with three chunks of two tags, `app.a` twice, whose daemon has stopped in order.
fn filled() -> (TempDir, PathBuf) {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let buffer = dir.path().join("buffer");
    let mut daemon = Daemon::start(&config(port, &dead_end(), &buffer, "flush_interval 1h"), dir.path());
    must_post(port, "app.a", r#"[{"n":1},{"n":2}]"#);
    daemon.signal("USR1");
    wait_for("a sealed chunk", || names(&buffer, "buffer.q").first().cloned());
    must_post(port, "app.b", r#"{"n":3}"#);
    must_post(port, "app.a", r#"{"n":4}"#);
    daemon.end();
    (dir, buffer)
}

fn names(dir: &Path, start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|e| e.path());
    let mut found: Vec<PathBuf> =
        entries.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(start)).collect();
    found.sort();
    found
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut data = fs::read(path).unwrap();
    change(&mut data);
    fs::write(path, data).unwrap();
}

fn find(data: &[u8], text: &[u8]) -> usize {
    data.windows(text.len()).position(|w| w == text).unwrap()
}

fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The numbers in JSON lines with `"n":NUMBER`, sorted.
fn numbers(lines: &str) -> Vec<u64> {
    let digits = |l: &str| l.split_once("\"n\":").map(|(_, n)| n.chars().take_while(char::is_ascii_digit).collect());
    let mut found: Vec<u64> = lines.lines().filter_map(digits).map(|n: String| n.parse().unwrap()).collect();
    found.sort_unstable();
    found
}

// ---- dead directories ----

#[test]
fn a_stopped_buffer_is_listed_printed_and_found_sound() {
    let (dir, buffer) = filled();
    let rows = ran(0, &["buffer", "ls", utf8(&buffer)]);
    let rows: Vec<&str> = rows.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows[0].contains("sealed") && rows[0].contains("tag=app.a"), "{rows:?}");
    assert!(rows[1].contains("staged"), "{rows:?}");
    let json = ran(0, &["buffer", "ls", "--format", "json", utf8(&buffer)]);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((first["events"].as_u64(), first["damaged"].as_u64()), (Some(2), Some(0)));
    assert_eq!(first["tag"], "app.a");
    let events = ran(0, &["buffer", "cat", utf8(&buffer)]);
    assert_eq!(numbers(&events), [1, 2, 3, 4]);
    assert_eq!(ran(0, &["buffer", "cat", "--limit", "2", utf8(&buffer)]).lines().count(), 2);
    assert!(ran(0, &["buffer", "verify", utf8(&buffer)]).contains("3 chunks with 4 good events: no damage"));
    // By configuration and output, as an operator has them at hand.
    let file = dir.path().join("suiro.conf");
    assert_eq!(numbers(&ran(0, &["buffer", "cat", "-c", utf8(&file), "--id", "out"])), [1, 2, 3, 4]);
    let unknown = text(&run(&["buffer", "ls", "-c", utf8(&file), "--id", "uot"]));
    assert!(unknown.contains("there is no output \"uot\"; there are out"), "{unknown}");
}

#[test]
fn one_chunk_is_chosen_by_the_beginning_of_its_id_or_by_its_file() {
    let (_dir, buffer) = filled();
    let path = names(&buffer, "buffer.q").remove(0);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let id = &name["buffer.q".len()..name.len() - ".chunk".len()];
    assert_eq!(numbers(&ran(0, &["buffer", "cat", utf8(&buffer), "--chunk", id])), [1, 2]);
    assert_eq!(numbers(&ran(0, &["buffer", "cat", utf8(&path)])), [1, 2]);
    assert_eq!(numbers(&ran(0, &["buffer", "cat", utf8(&buffer), "--chunk", "0000"])), [0; 0]);
}

#[test]
fn damage_is_told_with_file_offset_and_reason_and_costs_its_frame() {
    let (_dir, buffer) = filled();
    let path = names(&buffer, "buffer.q").remove(0);
    let (mut frame, mut entry) = (0, 0);
    edit(&path, |data| {
        frame = find(data, FRAME);
        entry = frame + find(&data[frame..], b"\xa1n");
        data[entry] ^= 1;
    });
    let checked = ran(1, &["buffer", "verify", utf8(&buffer)]);
    assert!(checked.contains(&format!("{}: offset {frame}: ", path.display())), "{checked}");
    assert!(checked.contains("2 events: the entries do not match their checksum"), "{checked}");
    let json = ran(1, &["buffer", "verify", "--format", "json", utf8(&buffer)]);
    let row: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((row["offset"].as_u64(), row["events"].as_u64()), (Some(frame as u64), Some(2)));
    assert_eq!(numbers(&ran(1, &["buffer", "cat", utf8(&buffer)])), [3, 4]);
    let rows = ran(0, &["buffer", "ls", "--format", "json", utf8(&buffer)]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(rows.lines().next().unwrap()).unwrap()["damaged"], 1);
}

#[test]
fn a_torn_end_is_repaired_and_what_was_cut_is_kept() {
    let (_dir, buffer) = filled();
    let staged = names(&buffer, "buffer.b").remove(0);
    edit(&staged, |data| data.extend_from_slice(b"half a frame"));
    assert!(ran(1, &["buffer", "verify", utf8(&buffer)]).contains("12 bytes: bytes that are no whole frame"));
    let said = ran(0, &["buffer", "repair", utf8(&buffer)]);
    assert!(said.contains("the rest is in backup/"), "{said}");
    ran(0, &["buffer", "verify", utf8(&buffer)]);
    let letters = ran(0, &["dlq", "ls", utf8(&buffer)]);
    assert!(letters.lines().any(|line| line.starts_with("torn")), "{letters}");
    let tail =
        names(&buffer.join("backup"), "buffer.b").into_iter().find(|p| p.extension().unwrap() == "tail").unwrap();
    assert_eq!(fs::read(tail).unwrap(), b"half a frame");
}

#[test]
fn a_dropped_chunk_is_out_of_the_buffer_and_its_copy_can_be_replayed() {
    let (_dir, buffer) = filled();
    assert!(text(&run(&["buffer", "drop", utf8(&buffer)])).contains("name the chunks with --chunk ID"));
    let path = names(&buffer, "buffer.q").remove(0);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let id = &name["buffer.q".len()..name.len() - ".chunk".len()];
    let told = ran(1, &["buffer", "drop", utf8(&buffer), "--chunk", id]);
    assert!(told.contains("would be dropped") && path.exists(), "{told}");
    ran(0, &["buffer", "drop", utf8(&buffer), "--chunk", id, "--yes"]);
    assert_eq!(numbers(&ran(0, &["buffer", "cat", utf8(&buffer)])), [3, 4]);
    assert_eq!(numbers(&ran(0, &["buffer", "cat", utf8(&buffer.join("backup"))])), [1, 2]);
    ran(0, &["buffer", "drop", utf8(&buffer), "--all", "--yes", "--no-backup"]);
    assert_eq!(ran(0, &["buffer", "cat", utf8(&buffer)]), "");
    assert!(ran(0, &["dlq", "ls", "--format", "json", utf8(&buffer)]).contains("\"cause\":\"dropped\""));
}

// ---- directories in use ----

/// Posts numbered events until it is told to stop; gives how many were acknowledged.
fn load(port: u16, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut n = 0;
        while !stop.load(Relaxed) {
            must_post(port, &format!("app.{}", n % 5), &format!("{{\"n\":{n}}}"));
            n += 1;
        }
        n
    })
}

#[test]
fn a_directory_under_load_is_read_without_a_false_alarm() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let buffer = dir.path().join("buffer");
    let output = format!("@type file\n  path {}/out/${{tag}}\n  append true", dir.path().display());
    let mut daemon = Daemon::start(&config(port, &output, &buffer, "flush_interval 0.1s"), dir.path());
    let stop = Arc::new(AtomicBool::new(false));
    let sender = load(port, &stop);
    for _ in 0..15 {
        for command in [&["buffer", "ls"][..], &["buffer", "cat"], &["buffer", "verify"], &["buffer", "export"]] {
            let args = [command, &[utf8(&buffer)]].concat();
            ran(0, &args);
        }
    }
    let pid = format!("pid {}", daemon.pid());
    for args in [&["buffer", "repair"][..], &["buffer", "drop", "--all", "--yes"]] {
        let refused = run(&[args, &[utf8(&buffer)]].concat());
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains(&pid) || text(&refused).contains("no such chunk"), "{}", text(&refused));
    }
    stop.store(true, Relaxed);
    let sent = sender.join().unwrap();
    daemon.end();
    let mut lines = String::new();
    for file in names(&dir.path().join("out"), "app.").into_iter().chain(names(&buffer, "buffer.")) {
        lines += &match file.extension().unwrap().to_str() {
            Some("chunk") => ran(0, &["buffer", "cat", utf8(&file)]),
            _ => fs::read_to_string(&file).unwrap_or_default(),
        };
    }
    assert_eq!(numbers(&lines), (0..sent).collect::<Vec<_>>(), "nothing was lost or doubled by being looked at");
}

// ---- sending once more ----

/// A suiro that takes forwarded events and writes them to one file.
struct Target {
    dir: TempDir,
    port: u16,
    daemon: Daemon,
}

impl Target {
    fn start() -> Target {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let place = dir.path().display();
        let config = format!(
            "<source>\n  @type forward\n  bind 127.0.0.1\n  port {port}\n</source>\n<match app.**>\n  @type file\n  \
             path {place}/out\n  append true\n  <buffer tag>\n    @type file\n    path {place}/buffer\n    \
             flush_interval 0.1s\n  </buffer>\n</match>\n"
        );
        let daemon = Daemon::start(&config, dir.path());
        Target { dir, port, daemon }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until it has so many events, stops it, and gives the numbers in what it has.
    fn end(mut self, events: usize) -> Vec<u64> {
        let path = self.dir.path().join("out.log");
        let read = || fs::read_to_string(&path).unwrap_or_default();
        wait_for("the events", || (read().lines().count() >= events).then_some(()));
        assert_eq!(self.daemon.end().code(), Some(0));
        numbers(&read())
    }
}

#[test]
fn what_is_replayed_twice_arrives_once() {
    let (dir, buffer) = filled();
    let target = Target::start();
    let exported = dir.path().join("export");
    ran(0, &["buffer", "export", utf8(&buffer), "--to", utf8(&exported)]);
    assert_eq!(run(&["buffer", "export", utf8(&buffer), "--to", utf8(&exported)]).status.code(), Some(1));
    for source in [&buffer, &exported, &buffer] {
        let said = ran(0, &["buffer", "replay", utf8(source), "--to", &target.address()]);
        assert!(said.contains("4 events were taken"), "{said}");
    }
    assert_eq!(target.end(4), [1, 2, 3, 4]);
}

#[test]
fn json_lines_are_replayed_too_and_known_the_second_time() {
    let (dir, buffer) = filled();
    let target = Target::start();
    let exported = dir.path().join("export.json");
    ran(0, &["buffer", "export", "--format", "json", utf8(&buffer), "--to", utf8(&exported)]);
    for _ in 0..2 {
        ran(0, &["buffer", "replay", utf8(&exported), "--to", &target.address()]);
    }
    assert_eq!(target.end(4), [1, 2, 3, 4]);
}

#[test]
fn a_chunk_is_replayed_through_an_output_of_a_configuration() {
    let (dir, buffer) = filled();
    let out = dir.path().join("out");
    let file = dir.path().join("other.conf");
    let output = format!("@type file\n  path {}\n  append true\n  <buffer tag>\n  </buffer>", out.display());
    fs::write(&file, format!("<match **>\n  @id files\n  {output}\n</match>\n")).unwrap();
    ran(0, &["buffer", "replay", utf8(&buffer), "-c", utf8(&file), "--via", "files"]);
    assert_eq!(numbers(&fs::read_to_string(dir.path().join("out.log")).unwrap()), [1, 2, 3, 4]);
}

#[test]
fn a_target_that_is_not_there_or_does_not_acknowledge_is_a_failure() {
    let (_dir, buffer) = filled();
    let absent = format!("127.0.0.1:{}", free_port());
    assert!(text(&run(&["buffer", "replay", utf8(&buffer), "--to", &absent])).contains("can't connect to"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let closing = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let failed = run(&["buffer", "replay", utf8(&buffer), "--to", &address]);
    closing.join().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed));
}

// ---- dead letters ----

/// A server that answers one request after the other with 422 and a body, until its listener is dropped.
fn refusing() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = r#"{"error":"no such field"}"#;
            let _ =
                write!(stream, "HTTP/1.1 422 No\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        }
    });
    port
}

#[test]
fn a_dead_letter_tells_its_reason_and_answer_and_is_gone_once_it_was_taken() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let (buffer, root) = (dir.path().join("buffer"), dir.path().join("root"));
    let output = format!("@type http\n  endpoint http://127.0.0.1:{}/", refusing());
    let system = format!("<system>\n  root_dir {}\n</system>\n", root.display());
    let config = system + &config(port, &output, &buffer, "flush_interval 0.1s");
    let mut daemon = Daemon::start(&config, dir.path());
    must_post(port, "app.a", r#"{"n":7}"#);
    daemon.wait_for_log("was set aside in");
    daemon.end();
    let file = dir.path().join("suiro.conf");
    let chosen = ["-c", utf8(&file), "--id", "out"];
    let json = ran(0, &[&["dlq", "ls", "--format", "json"][..], &chosen].concat());
    let letter: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!((letter["cause"].as_str(), letter["output"].as_str()), (Some("rejected"), Some("out")));
    assert_eq!(letter["response"], r#"{"error":"no such field"}"#);
    assert!(letter["reason"].as_str().unwrap().contains("422"), "{letter}");
    let events = ran(0, &[&["dlq", "cat"][..], &chosen].concat());
    assert!(events.contains("\"cause\":\"rejected\"") && events.contains("\"tag\":\"app.a\""), "{events}");
    let target = Target::start();
    let address = target.address();
    let replay = [&["dlq", "replay", "--remove", "--to", &address][..], &chosen].concat();
    assert!(ran(0, &replay).contains("1 events were taken"));
    assert_eq!(ran(0, &[&["dlq", "ls"][..], &chosen].concat()).lines().count(), 1, "only the head of the list is left");
    assert_eq!(target.end(1), [7]);
}

#[test]
fn an_event_that_is_too_large_for_a_chunk_is_a_dead_letter_like_the_others() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let (buffer, root) = (dir.path().join("buffer"), dir.path().join("root"));
    let system = format!("<system>\n  root_dir {}\n</system>\n", root.display());
    let limits = "flush_interval 1h\n    chunk_limit_size 1k";
    let mut daemon = Daemon::start(&(system + &config(port, &dead_end(), &buffer, limits)), dir.path());
    must_post(port, "app.a", &format!("{{\"n\":8,\"text\":\"{}\"}}", "x".repeat(2000)));
    daemon.end();
    let file = dir.path().join("suiro.conf");
    assert!(ran(0, &["dlq", "ls", "-c", utf8(&file)]).lines().any(|line| line.starts_with("oversize")));
    assert_eq!(numbers(&ran(0, &["dlq", "cat", "-c", utf8(&file)])), [8]);
}
