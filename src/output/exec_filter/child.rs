//! The commands: started, started again, given text in turn, ended.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Instrument, info, warn};

use super::printed::Printed;
use crate::plugin::{Emitter, Stop, Stopper};

/// How long a command may take to end once its input has ended; then it is killed.
const EXIT_WAIT: Duration = Duration::from_secs(3);
/// Pause before a command is started again.
const RESPAWN_PAUSE: Duration = Duration::from_millis(200);

/// Where a command takes its text; none while it does not run.
type Slot = Arc<tokio::sync::Mutex<Option<ChildStdin>>>;

/// All commands of one output.
pub(super) struct Children {
    slots: Vec<Slot>,
    keepers: Mutex<JoinSet<()>>,
    stopper: Stopper,
}

impl Children {
    pub(super) fn new(count: usize) -> Children {
        let slots = (0..count).map(|_| Slot::default()).collect();
        Children { slots, keepers: Mutex::default(), stopper: Stopper::new() }
    }

    /// Starts them all. Errors: a command that can't be started.
    pub(super) fn start(
        &self,
        command: &str,
        respawns: Option<u32>,
        printed: &Arc<Printed>,
        emit: &Emitter,
    ) -> io::Result<()> {
        let mut keepers = self.keepers.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, slot) in self.slots.iter().enumerate() {
            let keeper = Keeper {
                number,
                command: command.to_owned(),
                left: respawns,
                slot: slot.clone(),
                printed: printed.clone(),
                emit: emit.clone(),
                stop: self.stopper.listener(),
            };
            let (running, stdin) = spawn(command)?;
            // Nobody else has it yet.
            if let Ok(mut input) = slot.try_lock() {
                *input = Some(stdin);
            }
            keepers.spawn(keeper.keep(running).in_current_span());
        }
        Ok(())
    }

    /// Gives all of a text to the command whose turn it is, or else to the next that takes it.
    ///
    /// Errors: none does.
    pub(super) async fn give(&self, first: usize, text: &[u8]) -> Result<(), ()> {
        for turn in 0..self.slots.len() {
            let Some(slot) = self.slots.get((first + turn) % self.slots.len()) else { break };
            let mut input = slot.lock().await;
            let Some(stdin) = input.as_mut() else { continue };
            match stdin.write_all(text).await {
                Ok(()) if stdin.flush().await.is_ok() => return Ok(()),
                // It has ended or is ending: its keeper finds out by its output.
                _ => *input = None,
            }
        }
        Err(())
    }

    /// Ends the input of every command and waits for what they still print.
    pub(super) async fn end(&self) {
        self.stopper.stop();
        for slot in &self.slots {
            // A write that is stuck ends with its command.
            if let Ok(mut input) = slot.try_lock() {
                *input = None;
            }
        }
        let mut keepers = std::mem::take(&mut *self.keepers.lock().unwrap_or_else(PoisonError::into_inner));
        while keepers.join_next().await.is_some() {}
    }
}

struct Keeper {
    number: usize,
    command: String,
    /// How often it may still be started again; without end where there is no number.
    left: Option<u32>,
    slot: Slot,
    printed: Arc<Printed>,
    emit: Emitter,
    stop: Stop,
}

struct Running {
    child: Child,
    stdout: ChildStdout,
}

fn spawn(command: &str) -> io::Result<(Running, ChildStdin)> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = shell.process_group(0).kill_on_drop(true).spawn()?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("the command has no pipes"));
    };
    Ok((Running { child, stdout }, stdin))
}

impl Keeper {
    async fn keep(mut self, first: Running) {
        let mut running = Some(first);
        loop {
            match running.take() {
                Some(now) => self.attend(now).await,
                None => match spawn(&self.command) {
                    Ok((again, stdin)) => {
                        *self.slot.lock().await = Some(stdin).filter(|_| !self.stop.is_stopped());
                        running = Some(again);
                        continue;
                    }
                    Err(error) => warn!(command = self.command, %error, "can't run the command"),
                },
            }
            if self.left == Some(0) || self.stop.is_stopped() {
                return;
            }
            self.left = self.left.map(|n| n - 1);
            if self.stop.or(tokio::time::sleep(RESPAWN_PAUSE)).await.is_none() {
                return;
            }
            let left = self.left.map_or(-1, i64::from);
            info!(num = self.number, respawn_counter = left, "respawning child process");
        }
    }

    /// From a command's start to its end.
    async fn attend(&mut self, running: Running) {
        let Running { mut child, stdout } = running;
        let mut told = self.stop.clone();
        let mut stop = self.stop.clone();
        let reading = self.printed.read(stdout, &self.emit, &mut told);
        let ended = async {
            stop.wait().await;
            tokio::time::sleep(EXIT_WAIT).await;
        };
        tokio::select! {
            () = reading => {}
            () = ended => {
                warn!(command = self.command, "the command does not end, killing it");
                signal(&child, Signal::KILL);
            }
        }
        // A writer that still fills its pipe holds the slot until the command is gone.
        if let Ok(mut input) = self.slot.try_lock() {
            *input = None;
        }
        let status = match timeout(EXIT_WAIT, child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                signal(&child, Signal::KILL);
                child.wait().await
            }
        };
        *self.slot.lock().await = None;
        if !self.stop.is_stopped() {
            let code = status.map_or_else(|e| e.to_string(), |s| s.to_string());
            warn!(code, command = self.command, "child process exits with error code");
        }
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = pid {
        // A group that is gone needs no signal.
        let _ = kill_process_group(group, signal);
    }
}
