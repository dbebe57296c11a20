//! Messages that a parser reads as they are: `tcp` and `udp`.

use std::sync::Arc;

use super::{Batches, Handler, Sender, Senders, log_gate};
use crate::config::Diagnostic;
use crate::event::{Arena, EventTime};
use crate::net::LogGate;
use crate::plugin::{BuildContext, Extract, Parser};

/// Parser, tag and fields of one input.
pub(in crate::input) struct Plain {
    parser: Arc<dyn Parser>,
    extract: Option<Extract>,
    extracts_time: bool,
    tag: String,
    senders: Senders,
    gate: LogGate,
}

impl Plain {
    /// Reads `<parse>`, which must be there, and `<extract>`.
    pub(in crate::input) fn new(tag: String, senders: Senders, cx: &mut BuildContext<'_>) -> Result<Plain, Diagnostic> {
        let Some(parse) = cx.section.child("parse") else {
            return Err(cx.fault("@type", "<parse> section is required."));
        };
        if tag.is_empty() {
            return Err(cx.fault("tag", "'tag' parameter is required"));
        }
        // As in Fluentd: a parser that takes the present leaves nothing for <extract> to find out.
        let extracts_time = parse.text("estimate_current_event") == Some("false");
        let extract = cx.extract()?;
        if !extracts_time && cx.section.child("extract").is_some_and(|e| e.has("time_key")) {
            let remedy = "<extract> time_key has no effect unless <parse> has 'estimate_current_event false'; or use time_key in <parse>";
            cx.warn("extract", remedy);
        }
        Ok(Plain { parser: cx.parser(None)?, extract, extracts_time, tag, senders, gate: log_gate() })
    }
}

impl Handler for Plain {
    fn handle(&self, text: &[u8], sender: &Sender, batches: &mut Batches) {
        let (arena, mut record) = (Arena::new(), batches.record());
        let parsed = self.parser.parse_each(text, &arena, &mut record, &mut |time, record| {
            let extracted = self.extract.as_ref();
            let tag = extracted.and_then(|e| e.tag(record));
            let now = EventTime::now();
            let extracted = extracted.filter(|_| time.is_none() && self.extracts_time);
            let time = time.or_else(|| extracted.and_then(|e| e.time(record, now))).unwrap_or(now);
            self.senders.put(sender, record);
            batches.push(tag.as_deref().unwrap_or(&self.tag), time, record);
        });
        batches.give_back(record);
        if let Err(e) = parsed
            && let Some(left_out) = self.gate.pass()
        {
            let message = String::from_utf8_lossy(text);
            tracing::warn!(?message, left_out, "{e}");
        }
    }

    fn senders(&self) -> &Senders {
        &self.senders
    }
}
