//! `exec`: hands each chunk to a command, as a file whose path is the last argument.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use crate::buffer::Chunk;
use crate::config::{Diagnostic, TimeSpan};
use crate::plugin::{BufferDefaults, BuildContext, Configure, Output, Render, WriteError};

/// Longest part of a command's error output that is logged, in bytes.
const MAX_SHOWN: usize = 1024;

/// Parameters of `exec`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ExecParams {
    /// The command, run by the shell.
    command: Option<String>,
    /// Longest run.
    command_timeout: TimeSpan,
}

impl Default for ExecParams {
    fn default() -> Self {
        ExecParams { command: None, command_timeout: TimeSpan::secs(270.0) }
    }
}

/// The output.
pub struct Exec {
    command: String,
    timeout: Duration,
    render: Render,
}

impl Configure for Exec {
    type Config = ExecParams;

    fn new(config: ExecParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let command = config.command.ok_or_else(|| cx.fault("command", "'command' parameter is required"))?;
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        Ok(Exec {
            command,
            timeout: config.command_timeout.duration(),
            render: cx.render_with("tsv", &[("time_type", "string"), ("localtime", "false")])?,
        })
    }
}

impl Output for Exec {
    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let file = self.file(chunk)?;
        // The path is the process's own; nothing of an event reaches the shell.
        let line = format!("{} {}", self.command, file.path().display());
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &line])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let run = command.output();
        let Ok(output) = tokio::time::timeout(self.timeout, run).await else {
            return Err(WriteError::Retry(format!("command did not end within {:?}: {}", self.timeout, self.command)));
        };
        let output = output?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(MAX_SHOWN)]).into_owned();
        Err(WriteError::Retry(format!("command exits with error code: {} {said:?}", output.status)))
    }

    fn patience(&self) -> Duration {
        self.timeout
    }
}

impl Exec {
    fn file(&self, chunk: &Chunk) -> Result<tempfile::NamedTempFile, WriteError> {
        let mut file = tempfile::Builder::new().prefix("suiro-exec-").tempfile()?;
        let mut text = Vec::new();
        for block in chunk.blocks() {
            text.clear();
            self.render.block(&block?, &mut text);
            file.write_all(&text)?;
        }
        file.flush()?;
        Ok(file)
    }
}
