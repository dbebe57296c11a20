//! `<group>`: how many lines files of one group may bring per `rate_period`.
//!
//! A pattern takes names out of a file's path; rules say which names may bring how many lines. A rule's limit is shared
//! evenly by the files that are followed under it, as in Fluentd.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tracing::warn;

use crate::config::{Pairs, Regexp, TimeSpan};

/// Fluentd's pattern of container logs.
const CONTAINER_LOGS: &str = r"/^\/var\/log\/containers\/(?<podname>[a-z0-9]([-a-z0-9]*[a-z0-9])?(\/[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)_(?<namespace>[^_]+)_(?<container>.+)-(?<docker_id>[a-z0-9]{64})\.log$/";
/// Fluentd's `rate_period`.
const RATE_PERIOD: f64 = 5.0;

/// `<group>`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct GroupParams {
    /// Pattern whose named groups are the names that rules match.
    pattern: String,
    /// Time in which the limits count.
    rate_period: TimeSpan,
    /// The rules; the one with the most names that matches counts.
    rule: Vec<RuleParams>,
}

impl Default for GroupParams {
    fn default() -> Self {
        GroupParams { pattern: CONTAINER_LOGS.into(), rate_period: TimeSpan::secs(RATE_PERIOD), rule: Vec::new() }
    }
}

/// `<rule>`
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct RuleParams {
    /// Names and the patterns that their values match.
    r#match: Pairs,
    /// Most lines per `rate_period` of all files under the rule; -1 is no limit, 0 reads nothing.
    limit: i64,
}

impl Default for RuleParams {
    fn default() -> Self {
        RuleParams { r#match: Pairs::default(), limit: -1 }
    }
}

/// Compiled rules.
pub(super) struct Groups {
    pattern: Regexp,
    rules: Vec<(Regexp, Arc<Group>)>,
    others: Arc<Group>,
}

/// What shares one limit.
#[derive(Debug)]
pub(super) struct Group {
    limit: Option<u64>,
    period: Duration,
    files: Mutex<u64>,
}

/// A file's part in its group; leaving is dropping.
#[derive(Debug)]
pub(super) struct Member {
    group: Arc<Group>,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    lines: u64,
}

impl Groups {
    /// Errors: a pattern or a limit that can't be used; the name of the parameter comes first.
    pub(super) fn new(params: &GroupParams) -> Result<Groups, (&'static str, String)> {
        let pattern = Regexp::from_literal(&params.pattern).map_err(|e| ("pattern", e.to_string()))?;
        if params.rule.is_empty() {
            return Err(("group", "<group> needs at least one <rule> section".into()));
        }
        let period = params.rate_period.duration();
        let mut rules: Vec<&RuleParams> = params.rule.iter().collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.r#match.len()));
        let names: Vec<&str> = pattern.names().map(|n| &**n).collect();
        let mut groups = Groups { rules: Vec::new(), others: Group::new(-1, period), pattern: pattern.clone() };
        for rule in rules {
            if rule.limit < -1 {
                return Err(("limit", format!("limit must be -1 or more, not {}", rule.limit)));
            }
            match key_pattern(&names, &rule.r#match).map_err(|e| ("match", e))? {
                Some(key) => groups.rules.push((key, Group::new(rule.limit, period))),
                None => groups.others = Group::new(rule.limit, period),
            }
        }
        Ok(groups)
    }

    /// The membership of a file.
    pub(super) fn join(&self, path: &Path) -> Member {
        let group = self.find(path.as_os_str().as_encoded_bytes());
        *group.files() += 1;
        Member { group, window: Mutex::default() }
    }

    /// One group of all files.
    #[cfg(test)]
    pub(super) fn of_all(limit: i64, period: Duration) -> Groups {
        let pattern = Regexp::new("(?<all>.*)").unwrap_or_else(|e| panic!("{e}"));
        Groups { pattern, rules: Vec::new(), others: Group::new(limit, period) }
    }

    fn find(&self, path: &[u8]) -> Arc<Group> {
        let Some(slots) = self.pattern.captures(path) else {
            warn!("Cannot find group from metadata, Adding file in the default group");
            return self.others.clone();
        };
        let values: Vec<&[u8]> =
            self.pattern.named(&slots).map(|(_, found)| found.map_or(&b""[..], |range| &path[range])).collect();
        let key = values.join(&b'_');
        self.rules.iter().find(|(pattern, _)| pattern.is_match(&key)).map_or(&self.others, |(_, group)| group).clone()
    }
}

/// Fluentd joins a file's names with `_` and matches that against the rule's patterns, joined in the same way.
/// `None` for a rule that names nothing: it is the default for all others.
fn key_pattern(names: &[&str], rule: &Pairs) -> Result<Option<Regexp>, String> {
    if !names.iter().any(|name| rule.get(name).is_some()) {
        return Ok(None);
    }
    let parts: Vec<String> = names.iter().map(|name| rule.get(name).map_or("(?:.*)".into(), embedded)).collect();
    Regexp::new(&parts.join("_")).map(Some).map_err(|e| e.to_string())
}

/// `/pattern/i` as a part of another pattern.
fn embedded(literal: &str) -> String {
    match literal.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) {
        Some((inner, "")) => format!("(?:{inner})"),
        Some((inner, flags)) if flags.bytes().all(|b| b"imx".contains(&b)) => format!("(?{flags}:{inner})"),
        _ => format!("(?:{literal})"),
    }
}

impl Group {
    fn new(limit: i64, period: Duration) -> Arc<Group> {
        Arc::new(Group { limit: u64::try_from(limit).ok(), period, files: Mutex::new(0) })
    }

    fn files(&self) -> MutexGuard<'_, u64> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    /// Lines that the file may bring now, or when it may again.
    pub(super) fn allowance(&self, now: Instant) -> Result<u64, Instant> {
        let Some(limit) = self.group.limit else { return Ok(u64::MAX) };
        let share = limit / (*self.group.files()).max(1);
        let mut window = self.window();
        let since = *window.since.get_or_insert(now);
        if now.duration_since(since) >= self.group.period {
            *window = Window { since: Some(now), lines: 0 };
        }
        let end = window.since.unwrap_or(now) + self.group.period;
        let left = share.saturating_sub(window.lines);
        if left == 0 { Err(end) } else { Ok(left) }
    }

    /// Counts lines that were read.
    pub(super) fn count(&self, lines: u64) {
        if self.group.limit.is_some() {
            self.window().lines += lines;
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut files = self.group.files();
        *files = files.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{LoadOptions, Options, Surroundings, from_section, load_text};

    fn params(text: &str) -> GroupParams {
        let options = LoadOptions::new(Surroundings::default());
        let root = load_text("test.conf", &format!("<group>\n{text}\n</group>\n"), &options).unwrap().root;
        from_section(root.child("group").unwrap(), Options::default()).into_result().unwrap().0
    }

    fn groups(rules: &[(&str, i64)]) -> Groups {
        let rule = |(names, limit): &(&str, i64)| {
            let names = if names.is_empty() { String::new() } else { format!("match {names}\n") };
            format!("<rule>\n{names}limit {limit}\n</rule>\n")
        };
        let rules: String = rules.iter().map(rule).collect();
        let pattern = r"/^\/logs\/(?<pod>[^_]+)_(?<namespace>[^_]+)\.log$/";
        Groups::new(&params(&format!("pattern {pattern}\nrate_period 60s\n{rules}"))).unwrap()
    }

    fn limit(groups: &Groups, path: &str) -> Option<u64> {
        groups.join(Path::new(path)).group.limit
    }

    #[test]
    fn the_rule_with_the_most_names_counts() {
        let groups = groups(&[
            (r#"{"namespace": "/^shop$/"}"#, 10),
            (r#"{"namespace": "/shop/", "pod": "/front-[0-9]/"}"#, 20),
            ("", 30),
        ]);
        assert_eq!(limit(&groups, "/logs/front-1_shop.log"), Some(20));
        assert_eq!(limit(&groups, "/logs/back-1_other.log"), Some(30));
        assert_eq!(limit(&groups, "/elsewhere"), Some(30));
    }

    #[test]
    fn files_of_a_group_share_its_limit() {
        let groups = groups(&[("pod:/./", 10)]);
        let now = Instant::now();
        let a = groups.join(Path::new("/logs/a_n.log"));
        let b = groups.join(Path::new("/logs/b_n.log"));
        assert_eq!(a.allowance(now), Ok(5));
        a.count(3);
        assert_eq!(a.allowance(now), Ok(2));
        a.count(2);
        assert_eq!(a.allowance(now), Err(now + Duration::from_secs(60)));
        assert_eq!(b.allowance(now), Ok(5));
        drop(b);
        assert_eq!(a.allowance(now), Ok(5));
        assert_eq!(a.allowance(now + Duration::from_secs(60)), Ok(10));
    }

    #[test]
    fn zero_reads_nothing_and_no_limit_reads_all() {
        let groups = groups(&[("pod:/^a/", 0), ("pod:/^b/", -1)]);
        assert!(groups.join(Path::new("/logs/a_n.log")).allowance(Instant::now()).is_err());
        assert_eq!(groups.join(Path::new("/logs/b_n.log")).allowance(Instant::now()), Ok(u64::MAX));
    }

    #[test]
    fn the_pattern_of_container_logs_is_the_default() {
        let of = |text: &str| Groups::new(&params(&format!("<rule>\nmatch namespace:{text}\nlimit 7\n</rule>")));
        let path = format!("/var/log/containers/coredns-abc_kube-system_coredns-{}.log", "0f".repeat(32));
        // `^` is at the start of the joined names too, where the pod's name is: such a rule matches nothing in Fluentd.
        assert_eq!(limit(&of("/^kube-system$/").unwrap(), &path), None);
        assert_eq!(limit(&of("/kube-system/").unwrap(), &path), Some(7));
    }

    #[test]
    fn rules_that_can_not_be_used_are_faults() {
        assert_eq!(Groups::new(&params("")).err().unwrap().0, "group");
        assert_eq!(Groups::new(&params("<rule>\nlimit -2\n</rule>")).err().unwrap().0, "limit");
        assert_eq!(Groups::new(&params("pattern /(/\n<rule>\n</rule>")).err().unwrap().0, "pattern");
    }
}
