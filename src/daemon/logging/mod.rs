//! The process's own log: lines as Fluentd writes them, or JSON, and the same lines as events (`fluent.info` and so on).
//!
//! - [`output`] is where lines go, and the rotation of the file; [`rotate`] decides when.
//! - [`line`] is a line's text; no client can forge one.
//! - [`repeats`] leaves out what was said already.
//! - [`events`] is the bounded queue of lines that are to become events.
//! - [`layer`] puts them together, and knows each plugin's own level.

mod events;
mod layer;
mod line;
mod output;
mod repeats;
mod rotate;

use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;

pub use self::events::{Delivery, LogEvents};
pub use self::layer::Levels;
use self::layer::LogLayer;
use self::line::Line;
pub use self::output::LogOutput;
use self::repeats::Repeats;
use crate::config::Settings;

/// The running log.
#[derive(Clone)]
pub struct Log {
    /// Where its lines go.
    pub output: LogOutput,
    /// Lines that are to become events.
    pub events: LogEvents,
    /// Levels in force.
    pub levels: Levels,
}

/// Starts logging.
///
/// Errors: an unknown level or format, a file that can't be opened.
pub fn init(settings: &Settings) -> Result<Log, String> {
    let levels = Levels::new(layer::level(&settings.log_level)?);
    let line = Line::new(settings)?;
    let log = Log { output: LogOutput::open(settings)?, events: LogEvents::new(), levels };
    let repeats = Repeats::new(settings.ignore_repeated_log_interval, settings.ignore_same_log_interval);
    let layer = LogLayer { log: log.clone(), line, repeats: Arc::new(repeats) };
    // A second start in one process (tests) keeps the first log.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
    Ok(log)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn unknown_levels_and_formats_are_named() {
        let settings = Settings { log_level: "loud".into(), ..Settings::default() };
        assert!(init(&settings).err().unwrap().contains("loud"));
        let settings = Settings { log_format: "xml".into(), ..Settings::default() };
        assert!(init(&settings).err().unwrap().contains("xml"));
    }
}
