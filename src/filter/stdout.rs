//! `stdout`: prints events on their way.

use std::sync::Arc;

use serde::Deserialize;

use crate::config::Diagnostic;
use crate::plugin::{BuildContext, Configure, Event, Filter, Formatter, Inject, Process, Verdict};

/// `stdout` has only `<format>` and `<inject>`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct StdoutParams {
    /// Old form of `<format>`.
    output_type: Option<String>,
}

/// The filter.
pub struct Stdout {
    formatter: Arc<dyn Formatter>,
    inject: Option<Inject>,
    process: Arc<Process>,
}

impl Configure for Stdout {
    type Config = StdoutParams;

    fn new(config: StdoutParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if config.output_type.is_some() {
            cx.warn("output_type", "output_type outside of <format> is not used; write <format> @type stdout");
        }
        Ok(Stdout { formatter: cx.formatter("stdout")?, inject: cx.inject()?, process: cx.process.clone() })
    }
}

impl Filter for Stdout {
    fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
        let mut out = Vec::new();
        let mut shown = event.record.clone();
        if let Some(inject) = &self.inject {
            inject.apply(event.tag, event.time, &mut shown, event.arena);
        }
        self.formatter.format(event.tag, event.time, &shown, &mut out);
        // A closed standard output is no reason to lose the event.
        let _ = self.process.print(&out, true);
        Verdict::Keep
    }
}
