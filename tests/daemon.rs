//! The binary as a process: started on a configuration, watched, told to stop, killed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Longest wait for a condition; only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Ports that the kernel gives to no outgoing connection by itself: one of a test that is not listened on for a moment is
/// still there afterwards.
const PORTS: std::ops::Range<u16> = 11_000..31_000;
/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// The binary that is tested: another where `SUIRO_BINARY` names one, for figures of a release build.
fn binary() -> PathBuf {
    std::env::var_os("SUIRO_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_suiro").into(), PathBuf::from)
}

/// The binary, without settings of the environment that the tests run in.
pub fn suiro() -> Command {
    let mut command = Command::new(binary());
    command.env_remove("FLUENT_CONF").env("RUST_BACKTRACE", "0");
    command
}

/// The same, run by a shell behind commands that must succeed: `umask 0`, `ulimit -n 64`, `export A=b`.
fn suiro_behind(commands: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("set -e\n{commands}\nexec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(binary()).env_remove("FLUENT_CONF").env("RUST_BACKTRACE", "0");
    command
}

/// What a run printed on both ways out.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether the folder `buffer` of a directory holds no chunk any more.
pub fn is_drained(dir: &Path) -> bool {
    has_no_chunk(&dir.join("buffer"))
}

/// Whether a buffer's folder holds no chunk any more.
pub fn has_no_chunk(folder: &Path) -> bool {
    let mut paths = fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path());
    !paths.any(|path| path.extension().is_some_and(|e| e == "chunk"))
}

/// What `suiro check` says of a configuration.
pub fn check(config: &str) -> Output {
    let dir = tempfile::TempDir::new().unwrap();
    suiro().arg("check").arg(Daemon::configure(config, dir.path())).output().unwrap()
}

/// Looks until there is something; fails after [`PATIENCE`].
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_at_most(PATIENCE, look).unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// Looks until there is something, for so long at most.
pub fn wait_at_most<T>(longest: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + longest;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(PAUSE);
    }
}

/// The text of a file, whatever bytes are in it; nothing where it is not there.
fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A port that nobody listens on, and that no other test of this process is given.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Runs at the same time begin in different places.
    let start = u16::try_from(std::process::id().wrapping_mul(7919) % u32::from(u16::MAX)).unwrap();
    loop {
        let n = start.wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = PORTS.start + n % (PORTS.end - PORTS.start);
        let address = ("127.0.0.1", port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}

/// A running suiro that does not outlive its test.
pub struct Daemon {
    child: Child,
    config: PathBuf,
    log: PathBuf,
    out: PathBuf,
}

impl Daemon {
    /// Starts a configuration and waits until it runs. Each run logs to a file of its own in `dir`.
    pub fn start(config: &str, dir: &Path) -> Daemon {
        let mut daemon = Daemon::launch(suiro(), config, dir);
        daemon.wait_until_running();
        daemon
    }

    /// Starts a configuration behind commands of the shell, such as `ulimit -n 64`.
    pub fn start_behind(commands: &str, config: &str, dir: &Path) -> Daemon {
        let mut daemon = Daemon::launch(suiro_behind(commands), config, dir);
        daemon.wait_until_running();
        daemon
    }

    /// Starts a configuration without waiting for anything.
    pub fn launch(command: Command, config: &str, dir: &Path) -> Daemon {
        Daemon::launch_file(command, &Daemon::configure(config, dir), dir)
    }

    /// Starts suiro with a file and waits until it runs.
    pub fn start_file(config: &Path, dir: &Path) -> Daemon {
        let mut daemon = Daemon::launch_file(suiro(), config, dir);
        daemon.wait_until_running();
        daemon
    }

    /// Each run has files of its own in `dir` for what it logs and prints.
    fn launch_file(mut command: Command, config: &Path, dir: &Path) -> Daemon {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let run = RUNS.fetch_add(1, Relaxed);
        let (log, out) = (dir.join(format!("suiro.{run}.log")), dir.join(format!("suiro.{run}.out")));
        let (errors, prints) = (fs::File::create(&log).unwrap(), fs::File::create(&out).unwrap());
        let child = command.arg("-c").arg(config).stdin(Stdio::null()).stdout(prints).stderr(errors).spawn().unwrap();
        Daemon { child, config: config.to_owned(), log, out }
    }

    /// What it printed on standard output.
    pub fn output(&self) -> String {
        lossy(&self.out)
    }

    /// Writes the configuration that a start or a reload reads.
    pub fn configure(config: &str, dir: &Path) -> PathBuf {
        let path = dir.join("suiro.conf");
        fs::write(&path, config).unwrap();
        path
    }

    fn wait_until_running(&mut self) {
        wait_for("the start", || {
            let log = self.log();
            assert!(self.child.try_wait().unwrap().is_none(), "ended early: {log}");
            log.contains("is now running").then_some(())
        });
    }

    /// The files that its log and its standard output go to.
    pub fn files(&self) -> [&Path; 2] {
        [&self.log, &self.out]
    }

    /// Everything that was logged.
    pub fn log(&self) -> String {
        lossy(&self.log)
    }

    /// Waits until the log holds a text.
    pub fn wait_for_log(&self, text: &str) {
        if wait_at_most(PATIENCE, || self.log().contains(text).then_some(())).is_none() {
            panic!("not logged: {text}\n{}", self.log());
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Reads its configuration again and waits until the log says `outcome` once more.
    pub fn reload(&self, config: &str, dir: &Path, outcome: &str) {
        Daemon::configure(config, dir);
        let before = self.log().matches(outcome).count();
        self.signal("USR2");
        if wait_at_most(PATIENCE, || (self.log().matches(outcome).count() > before).then_some(())).is_none() {
            panic!("not logged: {outcome}\n{}", self.log());
        }
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it with SIGTERM.
    pub fn end(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_for_end()
    }

    /// Waits until it has ended by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        wait_for("the end", || self.child.try_wait().unwrap())
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it with SIGTERM and sees that it ends well within `longest`.
    pub fn end_within(&mut self, longest: Duration) {
        let started = Instant::now();
        let status = self.end();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        assert!(started.elapsed() <= longest, "took {:?}: {}", started.elapsed(), self.log());
        self.assert_balanced();
    }

    /// Sees that its ledger balances, as its buffers have it on the disk.
    pub fn assert_balanced(&self) {
        let report = suiro().arg("report").arg(&self.config).output().unwrap();
        assert!(report.status.success(), "{}\n{}", text(&report), self.log());
    }

    /// A figure of `/proc/PID/status` that is given in kB, in bytes: `VmRSS`, `VmHWM`.
    pub fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Processor time used so far.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
