//! From `tracing` to lines and log events. A plugin with a level of its own works inside a span that says so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::Log;
use super::events::LogEvent;
use super::line::{Line, Message};
use super::repeats::Repeats;
use crate::event::EventTime;
use crate::plugin::SCOPE_TARGET;

/// The level of a name in a configuration.
pub(super) fn level(name: &str) -> Result<Level, String> {
    match name.to_ascii_lowercase().as_str() {
        "trace" => Ok(Level::TRACE),
        "debug" => Ok(Level::DEBUG),
        "info" => Ok(Level::INFO),
        "warn" => Ok(Level::WARN),
        "error" | "fatal" => Ok(Level::ERROR),
        other => Err(format!("log level {other:?} is none of fatal, error, warn, info, debug, trace")),
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::TRACE => "trace",
        Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

const ALL: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// The process's level, and the most talkative of all plugins' own.
#[derive(Clone)]
pub struct Levels {
    own: Level,
    most: Arc<AtomicU8>,
}

impl Levels {
    pub(super) fn new(own: Level) -> Levels {
        Levels { own, most: Arc::new(AtomicU8::new(rank(own))) }
    }

    /// Lets lines through that a plugin with this `@log_level` wants; a name that is none changes nothing.
    pub fn allow(&self, wanted: &str) {
        let Ok(wanted) = level(wanted) else { return };
        if self.most.fetch_max(rank(wanted), Relaxed) < rank(wanted) {
            tracing::callsite::rebuild_interest_cache();
        }
    }

    fn most(&self) -> Level {
        ALL.get(usize::from(self.most.load(Relaxed))).copied().unwrap_or(self.own)
    }
}

fn rank(level: Level) -> u8 {
    ALL.iter().position(|l| *l == level).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

/// What a span says about the lines inside it.
#[derive(Clone, Copy, Default)]
struct Scope {
    level: Option<Level>,
    silent: bool,
}

impl Visit for Scope {
    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "log_level" {
            self.level = level(value).ok();
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "silent" {
            self.silent = value;
        }
    }
}

/// Writes lines and makes log events.
pub(super) struct LogLayer {
    pub(super) log: Log,
    pub(super) line: Line,
    pub(super) repeats: Arc<Repeats>,
}

impl LogLayer {
    /// The innermost level and whether anything around is silent.
    fn scope<S: Subscriber + for<'a> LookupSpan<'a>>(context: &Context<'_, S>) -> Scope {
        let mut found = Scope::default();
        let spans = context.lookup_current().into_iter().flat_map(|span| span.scope());
        for span in spans {
            if let Some(scope) = span.extensions().get::<Scope>() {
                found.level = found.level.or(scope.level);
                found.silent |= scope.silent;
            }
        }
        found
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_span() {
            let ours = metadata.target() == SCOPE_TARGET;
            return if ours { Interest::always() } else { Interest::never() };
        }
        // A peer makes it warn as often as it likes; what matters of a connection is told by who serves it.
        if metadata.target().starts_with("h2::") && *metadata.level() > Level::ERROR {
            return Interest::never();
        }
        // Which lines are wanted depends on the plugin whose work they belong to.
        if *metadata.level() <= self.log.levels.most() { Interest::sometimes() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        if metadata.is_span() {
            return metadata.target() == SCOPE_TARGET;
        }
        *metadata.level() <= Self::scope(&context).level.unwrap_or(self.log.levels.own)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.log.levels.most()))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut scope = Scope::default();
        attributes.record(&mut scope);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(scope);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let message = Message::of(event);
        if self.repeats.leaves_out(&message.text, Instant::now()) {
            return;
        }
        let (time, level) = (EventTime::now(), name(*event.metadata().level()));
        if self.log.events.is_enabled() && !Self::scope(&context).silent {
            self.log.events.push(LogEvent { level, time, record: message.record() });
        }
        // Where the log itself can't be written there is nobody to tell.
        let _ = self.log.output.write(self.line.text(time, level, &message).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tracing::{debug, error, info, subscriber, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::{LogEvents, LogOutput};
    use super::*;
    use crate::config::Settings;
    use crate::plugin::scope;

    /// What `work` logs at level info, without the times.
    fn logged(work: impl FnOnce(&Log)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let settings =
            Settings { log_path: Some(path.clone()), log_time_format: Some(String::new()), ..Settings::default() };
        let levels = Levels::new(Level::INFO);
        let log = Log { output: LogOutput::open(&settings).unwrap(), events: LogEvents::new(), levels };
        let repeats = Arc::new(Repeats::new(None, None));
        let layer = LogLayer { log: log.clone(), line: Line::new(&settings).unwrap(), repeats };
        subscriber::with_default(tracing_subscriber::registry().with(layer), || work(&log));
        std::fs::read_to_string(path).unwrap().lines().map(|l| l.trim().to_owned()).collect()
    }

    #[test]
    fn a_plugin_has_a_level_of_its_own() {
        let got = logged(|log| {
            log.levels.allow("debug");
            debug!("left out");
            scope(Some("debug"), false).in_scope(|| debug!("wanted"));
            scope(Some("error"), false).in_scope(|| warn!("left out"));
            info!(worker = 0, "runs");
        });
        assert_eq!(got, ["[debug]: wanted", "[info]: runs worker=0"]);
    }

    #[test]
    fn what_a_peer_can_make_http2_say_is_not_logged() {
        let got = logged(|_| {
            warn!(target: "h2::proto::ping_pong", "recv PING ack that we never sent");
            error!(target: "h2::proto", "told");
            warn!(target: "h2o", "told too");
        });
        assert_eq!(got, ["[error]: told", "[warn]: told too"]);
    }

    #[test]
    fn what_is_said_while_log_events_are_handled_becomes_no_event() {
        logged(|log| {
            log.events.enable(true);
            warn!("an event");
            scope(None, true).in_scope(|| scope(Some("debug"), false).in_scope(|| warn!("no event")));
            log.events.enable(false);
            warn!("no event either");
            assert_eq!(log.events.waiting(), 1);
        });
    }
}
