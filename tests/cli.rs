//! The built binary from outside: flags, checks, exit status, and one whole run from a socket to a file.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longest wait for a condition; only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// The binary, without settings of the environment that the tests run in.
pub fn suiro() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_suiro"));
    command.env_remove("FLUENT_CONF").env("RUST_BACKTRACE", "0");
    command
}

/// What a run printed on both ways out.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn run(args: &[&str]) -> Output {
    suiro().args(args).output().unwrap()
}

fn written(dir: &TempDir, name: &str, content: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(PAUSE);
    }
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
fn flags_that_load_ruby_are_refused() {
    let output = run(&["-p", "/tmp/plugins"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("Ruby"), "{}", text(&output));
}

// ---- a whole run ----

/// A running suiro that does not outlive its test.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    out: PathBuf,
}

impl Daemon {
    fn start(config: &str, dir: &TempDir) -> Daemon {
        let path = written(dir, "suiro.conf", config);
        Daemon::start_file(Path::new(&path), dir.path(), "suiro")
    }

    /// Starts suiro with a file; what it prints goes to `NAME.log` and `NAME.out` of `dir`.
    pub fn start_file(config: &Path, dir: &Path, name: &str) -> Daemon {
        let (log, out) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.out")));
        let (errors, prints) = (fs::File::create(&log).unwrap(), fs::File::create(&out).unwrap());
        let child = suiro().arg("-c").arg(config).stdout(prints).stderr(errors).spawn().unwrap();
        let mut daemon = Daemon { child, log, out };
        daemon.wait_until_running();
        daemon
    }

    fn wait_until_running(&mut self) {
        wait_for("the start", || {
            let log = self.log();
            assert!(self.child.try_wait().unwrap().is_none(), "ended early: {log}");
            log.contains("is now running").then_some(())
        });
    }

    /// What it printed on standard output.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Stops it in order.
    pub fn end(&mut self) -> ExitStatus {
        self.signal("TERM");
        wait_for("the end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

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
    let mut daemon = Daemon::start(&forward_to_file(port, &dir, "flush_interval 1s"), &dir);
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
    let mut daemon = Daemon::start(&config, &dir);
    send(port, "app.test", "kept", "id-1");
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert!(results(&dir).is_empty());

    let mut daemon = Daemon::start(&config, &dir);
    daemon.signal("USR1");
    wait_for("the results", || (results(&dir) == [r#"{"message":"kept"}"#]).then_some(()));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}
