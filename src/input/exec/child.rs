//! A command while it runs, in a process group of its own, so that what it started ends with it.

use std::io;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::plugin::Stop;

/// How long a command may take to end once it was asked to; then it is killed.
const EXIT_WAIT: Duration = Duration::from_secs(5);

/// A running command.
pub(super) struct Running(Child);

impl Running {
    /// Starts a command; gives its output, with its errors where wanted.
    pub(super) fn spawn(command: &str, with_stderr: bool) -> io::Result<(Running, pipe::Receiver)> {
        let (reader, writer) = io::pipe()?;
        let errors = if with_stderr { Stdio::from(writer.try_clone()?) } else { Stdio::null() };
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(writer).stderr(errors);
        let child = shell.process_group(0).kill_on_drop(true).spawn()?;
        // The output ends when nobody holds its other end, and `shell` does until it goes.
        drop(shell);
        Ok((Running(child), pipe::Receiver::from_owned_fd(reader.into())?))
    }

    /// Waits for `reading` and then, so long as `patience` allows, for the command; at the stop both are cut short.
    pub(super) async fn finish(
        mut self,
        command: &str,
        reading: impl Future<Output = ()>,
        patience: Duration,
        stop: &mut Stop,
    ) {
        let mut reading = pin!(reading);
        if stop.or(&mut reading).await.is_none() {
            self.signal(Signal::TERM);
            // What it prints while it ends is still wanted.
            let _ = timeout(EXIT_WAIT, reading).await;
        } else {
            match timeout(patience, stop.or(self.0.wait())).await {
                Ok(Some(status)) => return ended(command, status),
                Ok(None) => self.signal(Signal::TERM),
                Err(_) => {
                    tracing::warn!(command, "child process timed out");
                    self.signal(Signal::KILL);
                }
            }
        }
        if let Ok(status) = timeout(EXIT_WAIT, self.0.wait()).await {
            return ended(command, status);
        }
        tracing::warn!(command, "the command does not end, killing it");
        self.signal(Signal::KILL);
        ended(command, self.0.wait().await);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = pid {
            // A group that is gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    /// One that was not waited for ends with everything that it started.
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn ended(command: &str, status: io::Result<std::process::ExitStatus>) {
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::debug!(command, %status, "the command ended"),
        Err(error) => tracing::warn!(command, %error, "can't wait for the command"),
    }
}
