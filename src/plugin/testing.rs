//! For tests of plugins: the process around them.

use std::sync::Arc;

use super::context::Process;
use crate::net::Sockets;

/// A process without anything in it. `strict`: unknown parameters are faults.
pub(crate) fn process(strict: bool) -> Arc<Process> {
    Arc::new(Process {
        hostname: "host.example".into(),
        worker_id: 0,
        workers: 1,
        root_dir: None,
        file_permission: Some(0o600),
        dir_permission: Some(0o700),
        strict,
        strict_values: strict,
        emit_error_log_interval: None,
        log_file: None,
        sockets: Sockets::new(),
        view: Default::default(),
    })
}
