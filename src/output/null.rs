//! `null`: takes everything and keeps nothing.

use serde::Deserialize;

use crate::buffer::Chunk;
use crate::config::Diagnostic;
use crate::plugin::{BuildContext, Configure, Output, WriteError};

/// Parameters of `null`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NullParams {
    /// Never answers, as in Fluentd's tests of delayed commits; refused here.
    never_flush: bool,
}

/// The output.
pub struct Null;

impl Configure for Null {
    type Config = NullParams;

    fn new(config: NullParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if config.never_flush {
            return Err(cx.fault("never_flush", "never_flush is for Fluentd's own tests; remove it"));
        }
        Ok(Null)
    }
}

impl Output for Null {
    async fn write(&self, _chunk: &Chunk) -> Result<(), WriteError> {
        Ok(())
    }
}
