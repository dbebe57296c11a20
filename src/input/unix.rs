//! `unix`: forward messages on a Unix socket.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::forward::{MAX_MESSAGE_BYTES, Peer, Settings, Shared, serve_connection};
use crate::config::Diagnostic;
use crate::net::accept::{self, Listener, Options};
use crate::net::forward::Rules;
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Process, Stop};

/// Fluentd's default path.
const DEFAULT_PATH: &str = "/var/run/fluent/fluent.sock";

/// Most bytes that a compressed payload may have when inflated.
const INFLATE_LIMIT_BYTES: usize = 256 * 1024 * 1024;

/// Parameters of `in_unix`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct UnixParams {
    /// Path of the socket; by default what `FLUENT_SOCKET` says, else `/var/run/fluent/fluent.sock`.
    path: PathBuf,
    /// Length of the kernel's queue of connections that are not accepted yet.
    backlog: Option<i32>,
    /// In place of the sender's tag.
    tag: Option<String>,
}

impl Default for UnixParams {
    fn default() -> Self {
        let path = std::env::var_os("FLUENT_SOCKET").map_or_else(|| DEFAULT_PATH.into(), PathBuf::from);
        UnixParams { path, backlog: None, tag: None }
    }
}

/// The input.
pub struct Unix {
    params: UnixParams,
    process: Arc<Process>,
    listener: Option<std::os::unix::net::UnixListener>,
}

impl Configure for Unix {
    type Config = UnixParams;

    fn new(params: UnixParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if params.tag.as_deref() == Some("") {
            return Err(cx.fault("tag", "'tag' parameter must not be empty"));
        }
        Ok(Unix { params, process: cx.process.clone(), listener: None })
    }
}

impl Input for Unix {
    const ACKNOWLEDGES: bool = true;

    async fn open(&mut self) -> Result<(), InputError> {
        if let Some(directory) = self.params.path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let listener = self.process.sockets.unix(&self.params.path)?;
        if let Some(backlog) = self.params.backlog {
            // A socket that listens already takes another length of its queue.
            rustix::net::listen(&listener, backlog)?;
        }
        self.listener = Some(listener);
        tracing::info!("listening fluent socket on {}", self.params.path.display());
        Ok(())
    }

    async fn run(mut self, emit: Emitter, stop: Stop) -> Result<(), InputError> {
        let listener = self.listener.take().ok_or_else(|| InputError("in_unix was not opened".into()))?;
        let shared = Shared::new(settings(self.params.tag), emit, stop.clone());
        let handler = move |stream, _| serve_connection(stream, Peer::local(), shared.clone());
        let mut stop = stop;
        let stopped = async move { stop.wait().await };
        accept::serve(Listener::try_from(listener)?, Options::new("unix"), stopped, handler).await;
        Ok(())
    }
}

/// Local senders are believed more: a time that is missing or a float is a time.
fn settings(tag: Option<String>) -> Settings {
    Settings {
        rules: Rules { skip_invalid: true, any_time: true },
        tag,
        add_tag_prefix: None,
        message_limit: MAX_MESSAGE_BYTES,
        warn_limit: None,
        inflate_limit: INFLATE_LIMIT_BYTES,
        address_key: None,
        hostname_key: None,
        deny_keepalive: false,
        gate: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::input::forward::testing::{Collector, ack, configured, entry, one, packed};
    use crate::plugin::Stopper;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn messages_on_the_socket_are_events() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/s.sock");
        let text = format!("<source>\n@type unix\npath {}\nbacklog 16\n</source>\n", path.display());
        let (mut input, said) = configured::<Unix>(&text).unwrap();
        assert!(said.is_empty(), "{said:?}");
        input.open().await.unwrap();
        let (got, emit) = Collector::emitter();
        let stopper = Stopper::new();
        let running = tokio::spawn(input.run(emit, stopper.listener()));
        let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
        // Local loggers may leave the time out.
        client.write_all(b"\x93\xa1u\xc0\x81\xa1n\x00").await.unwrap();
        client.write_all(&one("u", 1, 1, None)).await.unwrap();
        client.write_all(&packed("u", &entry(2, 2), None, Some("x"))).await.unwrap();
        let mut answer = vec![0; ack("x").len()];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, ack("x"));
        assert_eq!(got.numbers(), [0, 1, 2]);
        stopper.stop();
        running.await.unwrap().unwrap();
    }
}
