//! The process's own log: lines as Fluentd writes them, or JSON.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Settings;
use crate::event::EventTime;
use crate::event::timefmt::TimeFormatter;

/// Longest line that is written, in bytes; client bytes in messages can't make it longer.
const MAX_LINE: usize = 16 << 10;
/// Log files that are kept where only a size is given: Fluentd's.
const DEFAULT_KEPT_FILES: u32 = 5;

/// Starts logging.
///
/// Errors: an unknown level or format, a file that can't be opened.
pub fn init(settings: &Settings) -> Result<LogOutput, String> {
    let level = level(&settings.log_level)?;
    let json = match settings.log_format.as_str() {
        "text" => false,
        "json" => true,
        other => return Err(format!("log format {other:?} is neither text nor json")),
    };
    let output = LogOutput::open(settings)?;
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(output.clone())
        .event_format(Line { json, time: TimeFormatter::log() });
    // A second start in one process (tests) keeps the first log.
    let _ = tracing::subscriber::set_global_default(subscriber.finish());
    Ok(output)
}

fn level(name: &str) -> Result<Level, String> {
    match name.to_ascii_lowercase().as_str() {
        "trace" => Ok(Level::TRACE),
        "debug" => Ok(Level::DEBUG),
        "info" => Ok(Level::INFO),
        "warn" => Ok(Level::WARN),
        "error" | "fatal" => Ok(Level::ERROR),
        other => Err(format!("log level {other:?} is none of fatal, error, warn, info, debug, trace")),
    }
}

/// Where lines go. Cloning shares the file.
#[derive(Clone)]
pub struct LogOutput(Arc<Mutex<Option<LogFile>>>);

struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    rotate_at: Option<u64>,
    kept: u32,
}

impl LogOutput {
    fn open(settings: &Settings) -> Result<LogOutput, String> {
        let file = match &settings.log_path {
            None => None,
            Some(path) => {
                let (file, size) =
                    append(path).map_err(|e| format!("can't open the log file {}: {e}", path.display()))?;
                let kept = settings.log_rotate_age.unwrap_or(DEFAULT_KEPT_FILES);
                Some(LogFile { path: path.clone(), file, size, rotate_at: settings.log_rotate_size, kept })
            }
        };
        Ok(LogOutput(Arc::new(Mutex::new(file))))
    }

    /// Opens the file again after a log rotator moved it (SIGUSR1).
    pub fn reopen(&self) {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = output.as_mut()
            && let Ok((file, size)) = append(&log.path)
        {
            (log.file, log.size) = (file, size);
        }
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

impl LogFile {
    fn rotate(&mut self) {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (0..self.kept.saturating_sub(1)).rev() {
            // A missing number only means that there were not that many yet.
            let _ = std::fs::rename(numbered(n), numbered(n + 1));
        }
        let _ = std::fs::rename(&self.path, numbered(0));
        if let Ok((file, size)) = append(&self.path) {
            (self.file, self.size) = (file, size);
        }
    }
}

impl Write for LogOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = output.as_mut() else {
            return io::stderr().write_all(line).map(|()| line.len());
        };
        log.file.write_all(line)?;
        log.size += line.len() as u64;
        if log.rotate_at.is_some_and(|limit| log.size >= limit) {
            log.rotate();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogOutput {
    type Writer = LogOutput;
    fn make_writer(&'a self) -> LogOutput {
        self.clone()
    }
}

/// `2024-01-01 00:00:00 +0000 [info]: message key=value`, or one JSON object.
struct Line {
    json: bool,
    time: TimeFormatter,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut message = Message::default();
        event.record(&mut message);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let mut time = Vec::new();
        self.time.format(EventTime::now(), &mut time);
        let time = String::from_utf8_lossy(&time);
        if self.json {
            let text = serde_json::json!({ "time": time, "level": level, "message": message.json_text() });
            writeln!(out, "{text}")
        } else {
            writeln!(out, "{time} [{level}]: {}", message.one_line())
        }
    }
}

/// The text of an event and its fields.
#[derive(Default)]
struct Message(String);

impl Message {
    /// Control characters are escaped, so that no client can forge a line or reach the terminal.
    fn one_line(&self) -> String {
        self.escaped(|c| c != '\t' && c.is_control())
    }

    /// The same for a JSON string, which has escapes of its own for the control characters of ASCII but for the last.
    fn json_text(&self) -> String {
        self.escaped(|c| c >= '\u{7f}' && c.is_control())
    }

    fn escaped(&self, escapes: impl Fn(char) -> bool) -> String {
        let mut out = String::with_capacity(self.0.len().min(MAX_LINE));
        for c in self.0.chars() {
            if out.len() >= MAX_LINE {
                out.push_str("...");
                break;
            }
            if escapes(c) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        out
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write;
        // Writing to a String can't fail.
        let _ = if field.name() == "message" {
            write!(self.0, "{value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_client_can_forge_no_line() {
        let line = Message("a\nb\u{1b}[31m".into()).one_line();
        assert_eq!(line, "a\\nb\\u{1b}[31m");
        assert!(Message("x".repeat(1 << 20)).one_line().len() < MAX_LINE + 10);
        assert_eq!(Message("a\nb\u{9b}31m\u{7f}".into()).json_text(), "a\nb\\u{9b}31m\\u{7f}");
        assert!(Message("x".repeat(1 << 20)).json_text().len() < MAX_LINE + 10);
    }

    #[test]
    fn a_file_is_rotated_at_its_size_and_kept_as_often_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let settings = Settings {
            log_path: Some(path.clone()),
            log_rotate_size: Some(10),
            log_rotate_age: Some(2),
            ..Settings::default()
        };
        let mut output = LogOutput::open(&settings).unwrap();
        for _ in 0..4 {
            output.write_all(b"0123456789\n").unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log", "log.0", "log.1"]);
    }

    #[test]
    fn unknown_levels_and_formats_are_named() {
        assert!(level("loud").unwrap_err().contains("loud"));
        let settings = Settings { log_format: "xml".into(), ..Settings::default() };
        assert!(init(&settings).err().unwrap().contains("xml"));
    }
}
