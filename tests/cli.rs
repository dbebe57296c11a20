//! The built binary from outside: flags, checks, exit status, and one whole run from a socket to a file.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::daemon::{Daemon, PATIENCE, free_port, suiro, text, wait_for};

fn run(args: &[&str]) -> Output {
    suiro().args(args).output().unwrap()
}

/// A file in a directory; gives its path.
pub fn written(dir: &TempDir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

// ---- flags and checks ----

#[test]
fn version_is_that_of_the_package() {
    let output = run(&["--version"]);
    assert!(output.status.success());
    assert_eq!(text(&output).trim(), concat!("suiro ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_flag_is_a_fault_of_use() {
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn plugins_lists_every_kind() {
    let output = text(&run(&["plugins"]));
    for kind in ["input", "filter", "output", "parser", "formatter"] {
        assert!(output.lines().any(|line| line.split_whitespace().next() == Some(kind)), "{kind}: {output}");
    }
}

const GOOD: &str = "<match **>\n  @type null\n</match>\n";
const FAULTY: &str = "<source>\n  @type forwrd\n</source>\n<match a>\n  @type file\n</match>\n<match **>\n  @type null\n  never_flush maybe\n</match>\n";
/// Where the faults of `FAULTY` are: line and column.
const FAULTS: [(u32, u32); 3] = [(2, 9), (4, 1), (9, 15)];

#[test]
fn a_good_configuration_passes_both_checks() {
    let dir = TempDir::new().unwrap();
    let path = written(&dir, "good.conf", GOOD);
    let checked = run(&["check", &path]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    let dry = run(&["--dry-run", "-c", &path]);
    assert_eq!(dry.status.code(), Some(0), "{}", text(&dry));
    assert!(text(&dry).contains("finished dry run mode"), "{}", text(&dry));
}

#[test]
fn every_fault_is_reported_at_once_with_its_place() {
    let dir = TempDir::new().unwrap();
    let path = written(&dir, "faulty.conf", FAULTY);
    let checked = run(&["check", &path]);
    assert_eq!(checked.status.code(), Some(1));
    for (line, column) in FAULTS {
        assert!(text(&checked).contains(&format!("{path}:{line}:{column}")), "{line}: {}", text(&checked));
    }
    assert!(text(&checked).contains("did you mean 'forward'?"), "{}", text(&checked));
    let places = FAULTS.map(|(line, column)| text(&checked).find(&format!(":{line}:{column}")));
    assert!(places.is_sorted(), "{}", text(&checked));
    assert!(text(&checked).ends_with(&format!("\n\n{path}: 3 faults\n")), "{}", text(&checked));
}

#[test]
fn a_dry_run_logs_every_fault_and_opens_nothing() {
    let dir = TempDir::new().unwrap();
    let path = written(&dir, "faulty.conf", FAULTY);
    let dry = run(&["--dry-run", "-c", &path]);
    assert_eq!(dry.status.code(), Some(1));
    for (line, _) in FAULTS {
        assert!(text(&dry).contains(&format!("line={line} ")), "{line}: {}", text(&dry));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("absent.conf");
    let output = suiro().arg("-c").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("absent.conf"), "{}", text(&output));
    assert!(text(&output).contains("-c PATH"), "{}", text(&output));
}

#[test]
fn a_folder_of_ruby_plugins_is_warned_of_and_keeps_nothing_from_running() {
    let dir = TempDir::new().unwrap();
    let output = run(&["--dry-run", "-p", "/fluentd/plugins", "-c", &written(&dir, "good.conf", GOOD)]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("-p /fluentd/plugins: suiro runs no Ruby"), "{}", text(&output));
}

#[test]
fn a_first_configuration_is_written_once_and_is_good() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new/fluent.conf");
    let folder = dir.path().join("new").to_str().unwrap().to_owned();
    assert!(text(&run(&["--setup", &folder])).contains("Installed"));
    assert!(text(&run(&["-s", &folder])).contains("already exists"));
    assert_eq!(run(&["check", path.to_str().unwrap()]).status.code(), Some(0));
}

#[test]
fn a_process_in_the_background_says_where_it_is_and_lets_the_caller_go() {
    let dir = TempDir::new().unwrap();
    let (config, log) = (written(&dir, "good.conf", GOOD), dir.path().join("log"));
    let pid_file = dir.path().join("pid").to_str().unwrap().to_owned();
    let args = ["-c", &config, "-o", log.to_str().unwrap(), "-d", &pid_file];
    assert_eq!(run(&args).status.code(), Some(0), "{}", fs::read_to_string(&log).unwrap_or_default());
    let pid = fs::read_to_string(&pid_file).unwrap();
    let again = run(&args);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("runs already"), "{}", text(&again));
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success());
    wait_for("the end", || (!Path::new(&pid_file).exists()).then_some(()));
    wait_for("the last line", || fs::read_to_string(&log).unwrap().contains("suiro stopped").then_some(()));
}

#[test]
fn a_start_in_the_background_that_fails_is_told_to_the_caller() {
    let dir = TempDir::new().unwrap();
    let output = run(&["-c", &written(&dir, "faulty.conf", FAULTY), "-d", dir.path().join("pid").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("never_flush"), "{}", text(&output));
    assert!(!dir.path().join("pid").exists());
}

#[test]
fn flags_that_load_ruby_are_refused() {
    let output = run(&["-r", "fluent/plugin/own"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("Ruby"), "{}", text(&output));
}

// ---- a whole run ----

fn short_text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 32, "a longer text has another head");
    let mut bytes = vec![0xa0 | length];
    bytes.extend(text.as_bytes());
    bytes
}

/// A message of the forward protocol: `[tag, time, {"message": text}, {"chunk": id}]`.
fn message(tag: &str, text: &str, chunk: &str) -> Vec<u8> {
    let time = [&[0xce][..], &1_700_000_000_u32.to_be_bytes()].concat();
    let record = [vec![0x81], short_text("message"), short_text(text)].concat();
    let option = [vec![0x81], short_text("chunk"), short_text(chunk)].concat();
    [vec![0x94], short_text(tag), time, record, option].concat()
}

/// Sends a message and waits for its acknowledgement: `{"ack": id}`.
pub fn send(port: u16, tag: &str, text: &str, chunk: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&message(tag, text, chunk)).unwrap();
    let expected = [vec![0x81], short_text("ack"), short_text(chunk)].concat();
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, expected);
}

/// The lines of all files below the directory of results.
fn results(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path().join("out")).into_iter().flatten();
    let files = entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "log"));
    let mut lines: Vec<String> = files.flat_map(|p| lines_of(&p)).collect();
    lines.sort();
    lines
}

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn forward_to_file(port: u16, dir: &TempDir, flush: &str) -> String {
    let dir = dir.path().display();
    format!(
        "<source>\n  @type forward\n  bind 127.0.0.1\n  port {port}\n</source>\n\
         <match app.**>\n  @type file\n  path {dir}/out/${{tag}}\n  append true\n  <format>\n    @type json\n  </format>\n  \
         <buffer tag>\n    @type file\n    path {dir}/buffer\n    {flush}\n  </buffer>\n</match>\n"
    )
}

#[test]
fn what_is_acknowledged_comes_out_and_the_end_is_orderly() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon = Daemon::start(&forward_to_file(port, &dir, "flush_interval 1s"), dir.path());
    send(port, "app.test", "one", "id-1");
    send(port, "app.test", "two", "id-2");
    let expected = [r#"{"message":"one"}"#, r#"{"message":"two"}"#];
    wait_for("the results", || (results(&dir) == expected).then_some(()));
    let status = daemon.end();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert_eq!(results(&dir), expected);
}

#[test]
fn a_port_that_is_taken_is_named_with_its_section() {
    let (dir, taken) = (TempDir::new().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = taken.local_addr().unwrap().port();
    let path = written(&dir, "suiro.conf", &forward_to_file(port, &dir, "flush_interval 1s"));
    let output = run(&["-c", &path]);
    assert_eq!(output.status.code(), Some(1));
    let wanted = format!("{path}:1): can't listen on tcp 127.0.0.1:{port}");
    assert!(text(&output).contains(&wanted), "{}", text(&output));
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let config = forward_to_file(port, &dir, "flush_interval 1h");
    let mut daemon = Daemon::start(&config, dir.path());
    send(port, "app.test", "kept", "id-1");
    daemon.kill();
    assert!(results(&dir).is_empty());

    let mut daemon = Daemon::start(&config, dir.path());
    daemon.signal("USR1");
    wait_for("the results", || (results(&dir) == [r#"{"message":"kept"}"#]).then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}
