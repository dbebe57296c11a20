//! `prometheus_monitor`, `prometheus_output_monitor`, `prometheus_tail_monitor`: in Ruby they fill in what `prometheus`
//! shows. Here `prometheus` reads the counts when it is asked, so these only have to be there.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::{Diagnostic, TimeSpan};
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Stop};

/// Parameters of these inputs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PresenceParams {
    /// Time between two readings; each scrape reads anew here.
    interval: Option<TimeSpan>,
    /// Whether plugins with a made-up `@id` count too: they always do.
    monitor_all: Option<bool>,
    /// Labels of their metrics; there are none but `plugin_id` and `type`.
    labels: Option<BTreeMap<String, String>>,
}

/// The input.
pub struct Presence;

impl Configure for Presence {
    type Config = PresenceParams;

    fn new(params: PresenceParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if params.interval.is_some() {
            cx.warn("interval", "interval changes nothing: counts are read when they are asked for");
        }
        if params.monitor_all == Some(false) {
            cx.warn("monitor_all", "monitor_all changes nothing: every output is shown");
        }
        if params.labels.is_some() {
            cx.warn("labels", "<labels> are not added: metrics have plugin_id and type alone. Add them when scraping");
        }
        Ok(Presence)
    }
}

impl Input for Presence {
    async fn run(self, _emit: Emitter, mut stop: Stop) -> Result<(), InputError> {
        stop.wait().await;
        Ok(())
    }
}
