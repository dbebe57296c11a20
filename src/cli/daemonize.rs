//! `-d PIDFILE`: the process goes to the background, by starting itself again twice.
//!
//! The first start begins a session of its own, the second can never get a terminal again. Until it runs, the second writes
//! to the caller's terminal; then it says so through a pipe that the caller waits for, and lets go of both.

use std::fs::{self, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use rustix::process::{Pid, setsid, test_kill_process};
use rustix::stdio::{dup2_stderr, dup2_stdout};

/// What the second start says once it runs.
const READY: &[u8] = b"\0suiro is ready\n";
/// Most bytes that are kept of what it prints before.
const MAX_PRINTED: usize = 64 << 10;
/// The hidden flag that tells the starts apart; it stands last.
const STAGE: &str = "--daemon-stage";

/// Which start this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// Begins a session and starts the second.
    Launch,
    /// Runs.
    Run,
}

/// What the process is after `-d` was looked at.
pub enum Role {
    /// Only another start's parent: it ends now, with this status.
    Parent(u8),
    /// It runs; the pid file is to be written once it does.
    Runs(Option<PidFile>),
}

/// Does what `-d` asks for.
///
/// Errors: a process that runs already, a process that can't be started.
pub fn daemonize(pid_file: Option<&Path>, stage: Option<Stage>) -> Result<Role, String> {
    let Some(path) = pid_file else { return Ok(Role::Runs(None)) };
    match stage {
        None => {
            refuse_second(path)?;
            launch().map(Role::Parent).map_err(|e| format!("can't go to the background: {e}"))
        }
        Some(Stage::Launch) => {
            setsid().map_err(|e| format!("can't begin a session: {e}"))?;
            let child = again(Stage::Run).spawn().map_err(|e| format!("can't start again: {e}"))?;
            drop(child);
            Ok(Role::Parent(0))
        }
        Some(Stage::Run) => Ok(Role::Runs(Some(PidFile(path.to_owned())))),
    }
}

fn refuse_second(path: &Path) -> Result<(), String> {
    let Some(pid) = running(path) else { return Ok(()) };
    Err(format!("{} says that process {pid} runs already. Stop it, or give another pid file", path.display()))
}

/// The process that a pid file names, where it runs and is the same program.
fn running(path: &Path) -> Option<i32> {
    let pid: i32 = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    test_kill_process(Pid::from_raw(pid)?).ok()?;
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    (Some(program) == std::env::current_exe().ok()).then_some(pid)
}

/// The same command line for another stage.
fn again(stage: Stage) -> Command {
    let mut args: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(at) = args.iter().rposition(|a| a == STAGE) {
        args.truncate(at);
    }
    let name = match stage {
        Stage::Launch => "launch",
        Stage::Run => "run",
    };
    // Where the path can't be told the name may still be found.
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("suiro"));
    let mut command = Command::new(program);
    command.args(args).args([STAGE, name]).stdin(Stdio::null());
    command
}

/// Starts the first start and waits until the second runs; gives the status to end with.
fn launch() -> io::Result<u8> {
    let (reader, writer) = io::pipe()?;
    let mut command = again(Stage::Launch);
    let mut child = command.stdout(writer).spawn()?;
    // The command holds an end of the pipe too.
    drop(command);
    let status = child.wait()?;
    let started = status.success() && is_ready(reader)?;
    Ok(u8::from(!started))
}

/// Reads until every writer let go; whether the last word was that it runs.
fn is_ready(mut reader: PipeReader) -> io::Result<bool> {
    let (mut printed, mut block) = (Vec::new(), [0; 4096]);
    loop {
        let size = reader.read(&mut block)?;
        if size == 0 {
            return Ok(printed.ends_with(READY));
        }
        printed.extend_from_slice(&block[..size]);
        let surplus = printed.len().saturating_sub(MAX_PRINTED);
        printed.drain(..surplus);
    }
}

/// The pid file of a process in the background.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Called once the process runs: writes the file, and lets go of the caller's terminal.
    ///
    /// Errors: a file that can't be written.
    pub fn ready(&self) -> Result<(), String> {
        let path = &self.0;
        fs::write(path, format!("{}\n", std::process::id()))
            .map_err(|e| format!("can't write the pid file {}: {e}", path.display()))?;
        let mut stdout = io::stdout().lock();
        // A caller that went away needs no answer.
        let _ = stdout.write_all(READY).and_then(|()| stdout.flush());
        let null = OpenOptions::new().write(true).open("/dev/null").map_err(|e| e.to_string())?;
        dup2_stdout(&null).and_then(|()| dup2_stderr(&null)).map_err(|e| e.to_string())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        if fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == own) {
            // It is only a file; the next start knows that its process is gone.
            let _ = fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_running_process_of_this_program_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        assert_eq!(running(&path), None);
        fs::write(&path, "1\n").unwrap();
        assert_eq!(running(&path), None, "another program");
        fs::write(&path, "999999999").unwrap();
        assert_eq!(running(&path), None);
        let own = i32::try_from(std::process::id()).unwrap();
        fs::write(&path, own.to_string()).unwrap();
        assert_eq!(running(&path), Some(own));
        assert!(refuse_second(&path).unwrap_err().contains(&own.to_string()));
    }

    #[test]
    fn the_last_word_counts() {
        let said = |text: &[u8]| {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(text).unwrap();
            drop(writer);
            is_ready(reader).unwrap()
        };
        assert!(said(&[b"printed\n", READY].concat()));
        assert!(!said(b"printed\n"));
        assert!(!said(b""));
    }
}
