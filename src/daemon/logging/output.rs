//! Where the log's lines go: standard error, or a file that is rotated.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::rotate::Rotation;
use crate::config::Settings;
use crate::event::EventTime;

/// Where lines go. Cloning shares the file.
#[derive(Clone)]
pub struct LogOutput(Arc<Mutex<Option<LogFile>>>);

struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    rotation: Option<Rotation>,
}

impl LogOutput {
    /// Opens the log file, where the settings name one.
    pub(super) fn open(settings: &Settings) -> Result<LogOutput, String> {
        // As in Fluentd, `-` is no file.
        let path = settings.log_path.as_ref().filter(|p| p.as_os_str() != "-");
        let file = match path {
            None => None,
            Some(path) => {
                let (file, size) =
                    append(path).map_err(|e| format!("can't open the log file {}: {e}", path.display()))?;
                let began =
                    file.metadata().and_then(|m| m.modified()).map_or_else(|_| EventTime::now(), EventTime::from);
                let rotation = Rotation::new(settings, began);
                Some(LogFile { path: path.clone(), file, size, rotation })
            }
        };
        Ok(LogOutput(Arc::new(Mutex::new(file))))
    }

    /// Whether the log is a file.
    pub fn is_file(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
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

    /// Writes whole lines.
    pub fn write(&self, lines: &[u8]) -> io::Result<()> {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = output.as_mut() else { return io::stderr().write_all(lines) };
        log.rotate_if_due();
        log.file.write_all(lines)?;
        log.size += lines.len() as u64;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

impl LogFile {
    /// Puts the file aside under the name that its turn gives, and begins a new one. What can't be renamed goes on.
    fn rotate_if_due(&mut self) {
        let Some(rotation) = &mut self.rotation else { return };
        if !rotation.put_aside(&self.path, self.size, EventTime::now()) {
            return;
        }
        if let Ok((file, size)) = append(&self.path) {
            (self.file, self.size) = (file, size);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::RotateAge;

    #[test]
    fn a_file_is_rotated_at_its_size_and_as_many_are_kept_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let settings = Settings {
            log_path: Some(path.clone()),
            log_rotate_size: Some(10),
            log_rotate_age: Some(RotateAge::Count(3)),
            ..Settings::default()
        };
        let output = LogOutput::open(&settings).unwrap();
        for n in 0..5 {
            output.write(format!("{n}123456789\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["log", "log.0", "log.1"]);
        assert!(std::fs::read_to_string(dir.path().join("log.1")).unwrap().starts_with('2'));
    }

    #[test]
    fn a_dash_is_no_file() {
        let settings = Settings { log_path: Some("-".into()), ..Settings::default() };
        assert!(!LogOutput::open(&settings).unwrap().is_file());
    }
}
