//! What a command prints, as events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;

use super::ExecFilterParams;
use crate::event::{Arena, BatchBuilder, EventTime, Record, Tag};
use crate::net::LogGate;
use crate::plugin::{Cut, EmitError, Emitter, Extract, Parser, Pieces, Stop};

/// Waits between attempts while a buffer has no room: the first and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How what is printed is read.
pub(super) struct Printed {
    cut: Cut,
    parser: Arc<dyn Parser>,
    extract: Option<Extract>,
    tag: Option<String>,
    prefix: Option<String>,
    gate: LogGate,
}

type Batches = HashMap<Tag, BatchBuilder>;

impl Printed {
    pub(super) fn new(
        params: &ExecFilterParams,
        cut: Cut,
        parser: Arc<dyn Parser>,
        extract: Option<Extract>,
    ) -> Printed {
        Printed {
            cut,
            parser,
            extract,
            tag: params.tag.clone(),
            prefix: params.add_prefix.as_ref().map(|p| format!("{p}.")),
            gate: LogGate::new(params.suppress_error_log_interval.duration()),
        }
    }

    /// Reads until the end; what is read is emitted before more is read, so that a full buffer holds the command up.
    pub(super) async fn read(&self, mut output: impl AsyncRead + Unpin, emit: &Emitter, stop: &mut Stop) {
        let mut pieces = Pieces::new(self.cut);
        loop {
            let more = pieces.read(&mut output).await;
            let mut batches = Batches::new();
            let taken = pieces.take(!more, |text| self.handle(text, &mut batches));
            for (tag, mut batch) in batches {
                self.emit(batch.finish(tag), emit, stop).await;
            }
            if let Err(error) = taken {
                tracing::error!("{error}; the rest of the output is dropped");
                return;
            }
            if !more {
                return;
            }
        }
    }

    fn handle(&self, text: &[u8], batches: &mut Batches) {
        let arena = Arena::new();
        let mut record = Record::new();
        let parsed = self.parser.parse_each(text, &arena, &mut record, &mut |time, record| {
            let tag = self.tag(record);
            let now = EventTime::now();
            let extracted = || self.extract.as_ref().and_then(|e| e.time(record, now));
            let time = time.or_else(extracted).unwrap_or(now);
            match tag {
                Some(tag) => batches.entry(Tag::from(tag.as_str())).or_default().push(time, record),
                None => self.complain(text, "the record has no field with a tag"),
            }
        });
        if let Err(e) = parsed {
            self.complain(text, &e.to_string());
        }
    }

    fn tag(&self, record: &mut Record<'_>) -> Option<String> {
        let extracted = self.extract.as_ref().and_then(|e| e.tag(record));
        match (extracted, &self.prefix) {
            (Some(tag), Some(prefix)) => Some(format!("{prefix}{tag}")),
            (Some(tag), None) => Some(tag.to_string()),
            (None, _) => self.tag.clone(),
        }
    }

    fn complain(&self, text: &[u8], why: &str) {
        if let Some(left_out) = self.gate.pass() {
            let message = String::from_utf8_lossy(text);
            tracing::error!(?message, left_out, "exec_filter failed to emit: {why}");
        }
    }

    async fn emit(&self, batch: crate::event::Batch, emit: &Emitter, stop: &mut Stop) {
        let mut wait = FIRST_WAIT;
        loop {
            match emit.emit(batch.clone()).await {
                Ok(_) => return,
                Err(EmitError::Full(_)) if !stop.is_stopped() => {
                    let _ = stop.or(tokio::time::sleep(wait)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(e) => {
                    if let Some(left_out) = self.gate.pass() {
                        let (tag, events) = (batch.tag.escape_debug(), batch.len());
                        tracing::error!(%tag, events, left_out, "exec_filter failed to emit: {e}");
                    }
                    return emit.fail(batch, &e.to_string()).await;
                }
            }
        }
    }
}
