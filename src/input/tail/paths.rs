//! Which files the configuration names right now: `path`, `exclude_path`, `glob_policy`, `limit_recently_modified`.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tracing::warn;

use super::glob::{Found, Glob, MAX_MATCHES};
use super::identity::Meta;
use crate::event::EventTime;
use crate::event::timefmt::{TimeFormatter, Zone};

/// `glob_policy`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum GlobPolicy {
    /// A path with `*` is a pattern.
    #[default]
    BackwardCompatible,
    /// A path with `*`, `?` or `[..]` is.
    Extended,
    /// A path with `{a,b}` is as well; it needs another `path_delimiter`.
    Always,
}

impl GlobPolicy {
    /// Whether `path` is a pattern.
    pub(super) fn is_pattern(self, path: &str) -> bool {
        match self {
            GlobPolicy::BackwardCompatible => path.contains('*'),
            GlobPolicy::Extended => has_wildcard(path),
            GlobPolicy::Always => has_wildcard(path) || has_braces(path),
        }
    }
}

/// `*`, `?` or `[..]`.
pub(super) fn has_wildcard(path: &str) -> bool {
    let bracket = path.find('[').is_some_and(|at| path[at..].contains(']'));
    path.contains(['*', '?']) || bracket
}

/// `{..,..}`
pub(super) fn has_braces(path: &str) -> bool {
    let inside = path.find('{').and_then(|open| path.rfind('}').filter(|close| *close > open).map(|c| &path[open..c]));
    inside.is_some_and(|inside| inside.contains(','))
}

/// A file that is named and there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) meta: Meta,
}

/// What the configuration names at one moment.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// In the order of the configuration, each path once.
    pub(super) files: Vec<Target>,
    /// Where new ones may appear.
    pub(super) directories: BTreeSet<PathBuf>,
}

/// The parameters, ready to be looked up again and again.
#[derive(Debug)]
pub(super) struct Paths {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    policy: GlobPolicy,
    recently: Option<Duration>,
    complained: HashSet<PathBuf>,
}

#[derive(Debug)]
struct Pattern {
    text: String,
    /// Where the text has time directives.
    time: Option<TimeFormatter>,
    /// The pattern compiled last, and the text it is of.
    compiled: Option<(String, Glob)>,
}

impl Pattern {
    fn new(text: &str, zone: &Zone) -> Pattern {
        let time = text.contains('%').then(|| TimeFormatter::strftime(text, zone.clone()));
        Pattern { text: text.to_owned(), time, compiled: None }
    }

    fn now(&self, now: EventTime) -> String {
        let Some(time) = &self.time else { return self.text.clone() };
        let mut text = Vec::new();
        time.format(now, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn find(&mut self, now: EventTime, policy: GlobPolicy) -> (Found, bool) {
        let text = self.now(now);
        if !policy.is_pattern(&text) {
            let path = PathBuf::from(text);
            let directories = path.parent().map(Path::to_owned).into_iter().collect();
            return (Found { paths: vec![path], directories, cut: false }, false);
        }
        let mut found = Found::default();
        if self.compiled.as_ref().is_none_or(|(of, _)| *of != text) {
            self.compiled = Some((text.clone(), Glob::new(&text)));
        }
        if let Some((_, glob)) = &self.compiled {
            glob.walk(&mut found);
        }
        if found.cut {
            warn!(
                "path {text:?} matches more than {MAX_MATCHES} files; the others are not read. Write a narrower pattern"
            );
        }
        (found, true)
    }
}

impl Paths {
    pub(super) fn new(
        include: &[String],
        exclude: &[String],
        policy: GlobPolicy,
        zone: &Zone,
        recently: Option<Duration>,
    ) -> Paths {
        let compile = |texts: &[String]| texts.iter().map(|text| Pattern::new(text, zone)).collect();
        Paths { include: compile(include), exclude: compile(exclude), policy, recently, complained: HashSet::new() }
    }

    /// What is named and there.
    pub(super) fn expand(&mut self, now: SystemTime) -> Targets {
        let time = EventTime::from(now);
        let mut targets = Targets::default();
        let mut seen: HashSet<PathBuf> = HashSet::new();
        for pattern in &mut self.exclude {
            seen.extend(pattern.find(time, self.policy).0.paths);
        }
        for at in 0..self.include.len() {
            let (found, is_pattern) = self.include[at].find(time, self.policy);
            targets.directories.extend(found.directories.into_iter().map(existing_directory));
            for path in found.paths {
                if let Some(meta) = self.look(&path, is_pattern, now)
                    && seen.insert(path.clone())
                {
                    targets.files.push(Target { path, meta });
                }
            }
        }
        targets
    }

    /// Paths that are no patterns, whether they are there or not.
    pub(super) fn fixed(&self, now: SystemTime) -> Vec<PathBuf> {
        let texts = self.include.iter().map(|pattern| pattern.now(EventTime::from(now)));
        texts.filter(|text| !self.policy.is_pattern(text)).map(PathBuf::from).collect()
    }

    fn look(&mut self, path: &Path, is_pattern: bool, now: SystemTime) -> Option<Meta> {
        let meta = Meta::of_path(path).ok()?;
        if !meta.regular {
            // What matches a pattern by chance is passed over silently; what is named is worth a word.
            if !is_pattern && self.complained.insert(path.to_owned()) {
                warn!("{} is no regular file and is not read", path.display());
            }
            return None;
        }
        let oldest = self.recently.and_then(|age| now.checked_sub(age)).filter(|_| is_pattern);
        oldest.is_none_or(|oldest| meta.modified >= oldest).then_some(meta)
    }
}

/// The directory, or the nearest one above it that is there.
fn existing_directory(directory: PathBuf) -> PathBuf {
    let mut at = directory.as_path();
    while !at.as_os_str().is_empty() && !at.is_dir() {
        at = at.parent().unwrap_or(Path::new(""));
    }
    if at.as_os_str().is_empty() { PathBuf::from(".") } else { at.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn expand(dir: &Path, include: &[&str], exclude: &[&str], policy: GlobPolicy) -> Vec<String> {
        let absolute = |texts: &[&str]| texts.iter().map(|t| format!("{}/{t}", dir.display())).collect::<Vec<_>>();
        let mut paths = Paths::new(&absolute(include), &absolute(exclude), policy, &Zone::utc(), None);
        let files = paths.expand(SystemTime::now()).files;
        files.iter().map(|t| t.path.strip_prefix(dir).unwrap().display().to_string()).collect()
    }

    fn tree(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        dir
    }

    #[test]
    fn the_policy_says_what_is_a_pattern() {
        let dir = tree(&["a.log", "b.log", "[ab].log", "{a,b}.log"]);
        let path = dir.path();
        assert_eq!(expand(path, &["[ab].log"], &[], GlobPolicy::BackwardCompatible), ["[ab].log"]);
        assert_eq!(expand(path, &["[ab].log"], &[], GlobPolicy::Extended), ["a.log", "b.log"]);
        assert_eq!(expand(path, &["{a,b}.log"], &[], GlobPolicy::Extended), ["{a,b}.log"]);
        assert_eq!(expand(path, &["{a,b}.log"], &[], GlobPolicy::Always), ["a.log", "b.log"]);
        assert_eq!(expand(path, &["[ab].lo*"], &[], GlobPolicy::BackwardCompatible), ["a.log", "b.log"]);
    }

    #[test]
    fn each_path_comes_once_and_excluded_ones_never() {
        let dir = tree(&["a.log", "b.log", "c.log"]);
        fs::create_dir(dir.path().join("d.log")).unwrap();
        let got = expand(dir.path(), &["b.log", "*.log", "missing.log", "d.log"], &["c.*"], GlobPolicy::default());
        assert_eq!(got, ["b.log", "a.log"]);
    }

    #[test]
    fn time_directives_follow_the_zone() {
        let dir = tree(&["app.20240101.log", "app.20231231.log"]);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200 - 3600);
        let name = |zone: &Zone| {
            let text = format!("{}/app.%Y%m%d.log", dir.path().display());
            let mut paths = Paths::new(&[text], &[], GlobPolicy::default(), zone, None);
            paths.expand(at).files[0].path.file_name().unwrap().to_owned()
        };
        assert_eq!(name(&Zone::utc()), "app.20231231.log");
        assert_eq!(name(&Zone::parse("+09:00").unwrap()), "app.20240101.log");
    }

    #[test]
    fn files_that_are_old_are_left_out_of_patterns_only() {
        let dir = tree(&["a.log"]);
        let text = |name: &str| format!("{}/{name}", dir.path().display());
        let count = |name: &str| {
            let recently = Some(Duration::from_secs(10));
            let mut paths = Paths::new(&[text(name)], &[], GlobPolicy::default(), &Zone::utc(), recently);
            paths.expand(SystemTime::now() + Duration::from_secs(60)).files.len()
        };
        assert_eq!((count("*.log"), count("a.log")), (0, 1));
    }

    #[test]
    fn a_missing_directory_is_waited_for_in_the_one_above() {
        let dir = tree(&[]);
        let text = format!("{}/no/such/x.log", dir.path().display());
        let mut paths = Paths::new(&[text], &[], GlobPolicy::default(), &Zone::utc(), None);
        assert_eq!(paths.expand(SystemTime::now()).directories.into_iter().collect::<Vec<_>>(), [dir.path()]);
    }
}
