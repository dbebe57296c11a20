//! The name of a file: path, time slice, number, endings. Fluentd's rules, so that names stay what they were.

use super::{Compress, FileParams};

/// Parts of names that are made here.
pub mod slice_format {
    /// Stands for the number of a file that must be new; the same mark as Fluentd's.
    pub const INDEX: &str = "_**";

    /// The time part for slices of this many seconds.
    pub fn of(timekey: u64) -> &'static str {
        match timekey {
            0..60 => "%Y%m%d%H%M%S",
            60..3600 => "%Y%m%d%H%M",
            3600..86_400 => "%Y%m%d%H",
            _ => "%Y%m%d",
        }
    }
}

/// What a file's name is made of.
pub struct FileName<'a> {
    /// The output's parameters.
    pub params: &'a FileParams,
    /// `path`
    pub path: &'a str,
    /// Seconds of a slice, where `time` is a chunk key.
    pub timekey: Option<u64>,
}

impl FileName<'_> {
    /// The template of the name.
    ///
    /// Errors: a `*` without a time slice, some but not all parts of the slice's time.
    pub fn text(&self) -> Result<String, String> {
        let index = if self.params.append { "" } else { slice_format::INDEX };
        let ending = self.ending();
        let Some(timekey) = self.timekey else {
            return match self.path.contains('*') {
                true => Err("path includes '*', but chunk key 'time' is not configured".into()),
                false => Ok(format!("{}{index}{ending}", self.path)),
            };
        };
        let slice = self.params.time_slice_format.as_deref().unwrap_or(slice_format::of(timekey));
        if self.path.contains('*') {
            return Ok(self.path.replace('*', &format!("{slice}{index}")));
        }
        if self.params.time_slice_format.is_some() || !self.has_any(slice) {
            return Ok(format!("{}.{slice}{index}{ending}", self.path));
        }
        match directives(slice).find(|d| !self.path.contains(d)) {
            Some(missing) => Err(format!("insufficient timestamp placeholders in path: {missing} is missing")),
            None => Ok(format!("{}{index}{ending}", self.path)),
        }
    }

    fn has_any(&self, slice: &str) -> bool {
        directives(slice).any(|d| self.path.contains(d))
    }

    fn ending(&self) -> String {
        let suffix = if self.params.add_path_suffix { self.params.path_suffix.as_str() } else { "" };
        let packed = match self.params.compress {
            Compress::Text => "",
            Compress::Gzip => ".gz",
            Compress::Zstd => ".zstd",
        };
        format!("{suffix}{packed}")
    }
}

fn directives(slice: &str) -> impl Iterator<Item = &str> {
    (0..slice.len() / 2).filter_map(|n| slice.get(2 * n..2 * n + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, timekey: Option<u64>, change: impl FnOnce(&mut FileParams)) -> Result<String, String> {
        let mut params = FileParams::default();
        change(&mut params);
        FileName { params: &params, path, timekey }.text()
    }

    #[test]
    fn the_slice_stands_behind_the_path_or_in_place_of_the_star() {
        assert_eq!(name("/o/x", Some(86_400), |_| ()), Ok("/o/x.%Y%m%d_**.log".into()));
        assert_eq!(name("/o/x", Some(3600), |p| p.append = true), Ok("/o/x.%Y%m%d%H.log".into()));
        assert_eq!(name("/o/x.*.txt", Some(60), |_| ()), Ok("/o/x.%Y%m%d%H%M_**.txt".into()));
        assert_eq!(name("/o/x", None, |p| p.append = true), Ok("/o/x.log".into()));
    }

    #[test]
    fn a_path_with_its_own_time_has_it_whole() {
        assert_eq!(name("/o/%Y%m%d/x", Some(86_400), |p| p.append = true), Ok("/o/%Y%m%d/x.log".into()));
        assert!(name("/o/%Y/x", Some(86_400), |_| ()).is_err());
        assert!(name("/o/x.*", None, |_| ()).is_err());
    }

    #[test]
    fn endings_follow_suffix_and_compression() {
        assert_eq!(name("x", None, |p| (p.append, p.compress) = (true, Compress::Gzip)), Ok("x.log.gz".into()));
        assert_eq!(name("x", None, |p| (p.append, p.add_path_suffix) = (true, false)), Ok("x".into()));
    }
}
