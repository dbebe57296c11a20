//! When the log file is put aside, and under which name. The names are those of Ruby's `Logger`, which Fluentd uses.

use std::path::{Path, PathBuf};

use crate::config::{RotateAge, Settings};
use crate::event::EventTime;
use crate::event::timefmt::{TimeFormatter, Zone};

/// Files that are kept, the present one among them, where only a size is given.
const DEFAULT_AGE: RotateAge = RotateAge::Count(7);
/// Size at which a file is put aside where only a number is given, in bytes.
const DEFAULT_SIZE: u64 = 1 << 20;

/// Rotation of one file.
pub(super) enum Rotation {
    /// `log`, `log.0`, `log.1`, ... at a size.
    Size { limit: u64, kept: u32 },
    /// `log.20240131` at the end of a day, a week or a month.
    Period { key: TimeFormatter, day: TimeFormatter, last: EventTime },
}

impl Rotation {
    /// What the settings ask for; `began`: when the file was last written.
    pub(super) fn new(settings: &Settings, began: EventTime) -> Option<Rotation> {
        let (age, size) = (settings.log_rotate_age, settings.log_rotate_size);
        if age.is_none() && size.is_none() {
            return None;
        }
        let formatter = |format| TimeFormatter::strftime(format, Zone::local());
        let period = |format| Rotation::Period { key: formatter(format), day: formatter("%Y%m%d"), last: began };
        match age.unwrap_or(DEFAULT_AGE) {
            RotateAge::Count(0) => None,
            RotateAge::Count(kept) => Some(Rotation::Size { limit: size.unwrap_or(DEFAULT_SIZE), kept }),
            RotateAge::Daily => Some(period("%Y%m%d")),
            // Weeks begin on Sunday.
            RotateAge::Weekly => Some(period("%Y %U")),
            RotateAge::Monthly => Some(period("%Y%m")),
        }
    }

    /// Renames the file where it is due; gives whether it was.
    pub(super) fn put_aside(&mut self, path: &Path, size: u64, now: EventTime) -> bool {
        match self {
            Rotation::Size { limit, kept } if size > *limit => {
                let numbered = |n: u32| PathBuf::from(format!("{}.{n}", path.display()));
                for n in (0..kept.saturating_sub(2)).rev() {
                    // A missing number only means that there were not that many yet.
                    let _ = std::fs::rename(numbered(n), numbered(n + 1));
                }
                std::fs::rename(path, numbered(0)).is_ok()
            }
            Rotation::Period { key, day, last } if text(key, *last) != text(key, now) => {
                let name = format!("{}.{}", path.display(), text(day, *last));
                *last = now;
                !Path::new(&name).exists() && std::fs::rename(path, name).is_ok()
            }
            _ => false,
        }
    }
}

fn text(formatter: &TimeFormatter, time: EventTime) -> String {
    let mut out = Vec::new();
    formatter.format(time, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_day_ends_a_file_under_its_date() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "x").unwrap();
        let settings = Settings { log_rotate_age: Some(RotateAge::Daily), ..Settings::default() };
        let noon = EventTime::from_secs(1_706_700_000);
        let mut rotation = Rotation::new(&settings, noon).unwrap();
        assert!(!rotation.put_aside(&path, 1, noon));
        assert!(rotation.put_aside(&path, 1, EventTime::from_secs(1_706_700_000 + 86_400)));
        assert!(dir.path().join("log.20240131").exists());
    }

    #[test]
    fn one_of_the_two_is_enough_and_none_keeps_the_file() {
        let now = EventTime::from_secs(0);
        assert!(Rotation::new(&Settings::default(), now).is_none());
        let never = Settings { log_rotate_age: Some(RotateAge::Count(0)), ..Settings::default() };
        assert!(Rotation::new(&never, now).is_none());
        let sized = Settings { log_rotate_size: Some(5), ..Settings::default() };
        assert!(matches!(Rotation::new(&sized, now), Some(Rotation::Size { limit: 5, kept: 7 })));
        let counted = Settings { log_rotate_age: Some(RotateAge::Count(3)), ..Settings::default() };
        assert!(matches!(Rotation::new(&counted, now), Some(Rotation::Size { limit: DEFAULT_SIZE, kept: 3 })));
    }
}
