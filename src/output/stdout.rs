//! `stdout`: prints events, one line each.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use crate::buffer::{Block, Chunk};
use crate::config::Diagnostic;
use crate::plugin::{BufferDefaults, BuildContext, Configure, Output, Process, Render, WriteError};

/// Parameters of `stdout`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct StdoutParams {
    /// Events go to the log file, where there is one (`-o`); else to standard output.
    use_logger: bool,
    /// Old form of `<format> @type`.
    output_type: Option<String>,
}

impl Default for StdoutParams {
    fn default() -> Self {
        StdoutParams { use_logger: true, output_type: None }
    }
}

/// The output.
pub struct Stdout {
    render: Render,
    process: Arc<Process>,
    use_logger: bool,
    out: Mutex<Vec<u8>>,
}

impl Configure for Stdout {
    type Config = StdoutParams;

    fn new(config: StdoutParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if config.output_type.is_some() {
            cx.warn("output_type", "output_type outside of <format> is not used; write <format> @type stdout");
        }
        cx.buffer_defaults(BufferDefaults { buffered: false, keys: &["tag"], ..BufferDefaults::default() });
        let (process, use_logger) = (cx.process.clone(), config.use_logger);
        Ok(Stdout { render: cx.render("stdout")?, process, use_logger, out: Mutex::default() })
    }
}

impl Stdout {
    fn print(&self, block: &Block) -> std::io::Result<()> {
        // One buffer for all threads: lines of two blocks are never mixed. It holds no state between calls.
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.clear();
        self.render.block(block, &mut out);
        self.process.print(&out, self.use_logger)
    }
}

impl Output for Stdout {
    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        for block in chunk.blocks() {
            self.print(&block?)?;
        }
        Ok(())
    }
}
