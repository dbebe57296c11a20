//! `buffer`: keeps events in a buffer of its own, then gives them out again to `@label` (lib/fluent/plugin/out_buffer.rb).
//!
//! A chunk is done once every buffer behind the label has it. Each block of a chunk is given out under an id made of the chunk's, so that what comes again after a crash is known.

use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;

use crate::buffer::{Chunk, Origin};
use crate::config::Diagnostic;
use crate::event::Batch;
use crate::plugin::{BufferDefaults, BuildContext, Configure, EmitError, Emitter, Output, WriteError};

/// `flush_interval` where `<buffer>` says nothing: Fluentd's.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// `buffer` has only `@label` and `<buffer>`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct BufferParams {}

/// The output.
pub struct Buffer {
    emit: OnceLock<Emitter>,
}

impl Configure for Buffer {
    type Config = BufferParams;

    fn new(_: BufferParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if cx.section.label().is_none() {
            let remedy = "buffer needs '@label': without it, it would be given its own events again";
            return Err(cx.fault("@type", remedy));
        }
        cx.buffer_defaults(BufferDefaults {
            buffered: true,
            file: true,
            keys: &["tag"],
            flush_interval: Some(FLUSH_INTERVAL),
            ..BufferDefaults::default()
        });
        Ok(Buffer { emit: OnceLock::new() })
    }
}

impl Output for Buffer {
    const EMITS: bool = true;

    fn connect(&self, emit: Emitter) {
        // Called once only.
        let _ = self.emit.set(emit);
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let Some(emit) = self.emit.get() else { return Err(WriteError::Retry("not connected yet".into())) };
        for (at, block) in chunk.blocks().enumerate() {
            let block = block?;
            let once = format!("buffer:{}:{at}", chunk.id());
            let batch = Batch::new(block.tag, block.entries, block.count);
            // As for every sender: what a memory buffer behind the label took is safe as long as the process runs.
            let _ = emit.emit_from(batch, Origin::Once(once.into())).await.map_err(|e| match e {
                EmitError::Refused(why) => WriteError::Reject(why),
                e => WriteError::Retry(e.to_string()),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::Tag;
    use crate::input::forward::testing::{Collector, configured, entry};

    #[tokio::test]
    async fn events_come_out_under_their_tags_and_a_second_time_they_are_known() {
        let (output, _) = configured::<Buffer>("<match **>\n@type buffer\n@label @X\n</match>\n").unwrap();
        let (collector, emit) = Collector::emitter();
        output.connect(emit);
        let chunk = Chunk::direct(&Batch::new(Tag::from("a.b"), entry(1, 7).into(), 1));
        output.write(&chunk).await.unwrap();
        assert_eq!(collector.numbers(), [7]);
        assert!(crate::plugin::Route::seen(&*collector, format!("buffer:{}:0", chunk.id()).as_bytes()));
        collector.refuse([EmitError::Full("later".into())]);
        assert!(matches!(output.write(&chunk).await, Err(WriteError::Retry(_))));
    }

    #[test]
    fn a_label_is_required() {
        let faults = configured::<Buffer>("<match **>\n@type buffer\n</match>\n").err().unwrap();
        assert!(faults[0].contains("@label"), "{faults:?}");
    }
}
