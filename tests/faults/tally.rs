//! Which events landed, how often, and what that says about those that were acknowledged.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Ids and how often each landed.
#[derive(Clone, Debug, Default)]
pub struct Tally(HashMap<String, usize>);

/// What became of acknowledged events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub acknowledged: usize,
    pub lost: usize,
    pub doubled: usize,
}

impl Tally {
    pub fn add(&mut self, id: String) {
        *self.0.entry(id).or_default() += 1;
    }

    /// Ids in all files below a directory, in lines such as `{"id":"x"}`.
    pub fn of_files(dir: &Path) -> Tally {
        let mut tally = Tally::default();
        let entries = fs::read_dir(dir).into_iter().flatten();
        for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            // A file may be renamed between the look and the read.
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            ids_of(&text).for_each(|id| tally.add(id));
        }
        tally
    }

    pub fn count(&self, id: &str) -> usize {
        self.0.get(id).copied().unwrap_or(0)
    }

    /// Whether all of these are there.
    pub fn has_all(&self, ids: &[String]) -> bool {
        ids.iter().all(|id| self.count(id) > 0)
    }

    /// Those of `ids` that are not there, a few of them.
    pub fn missing<'i>(&self, ids: &'i [String]) -> Vec<&'i String> {
        ids.iter().filter(|id| self.count(id) == 0).take(10).collect()
    }

    /// Ids that landed more than once, a few of them.
    pub fn doubled(&self) -> Vec<(&String, usize)> {
        self.0.iter().filter(|(_, times)| **times > 1).map(|(id, times)| (id, *times)).take(10).collect()
    }

    pub fn judge(&self, acknowledged: &[String]) -> Verdict {
        Verdict {
            acknowledged: acknowledged.len(),
            lost: acknowledged.iter().filter(|id| self.count(id) == 0).count(),
            doubled: self.0.values().filter(|times| **times > 1).count(),
        }
    }

    /// Fails unless each acknowledged event is there exactly once.
    pub fn assert_exactly(&self, acknowledged: &[String]) {
        self.assert_none_lost(acknowledged);
        assert!(self.doubled().is_empty(), "doubled: {:?}", self.doubled());
    }

    /// Fails unless each acknowledged event is there.
    pub fn assert_none_lost(&self, acknowledged: &[String]) {
        assert!(self.has_all(acknowledged), "of {} lost: {:?}", acknowledged.len(), self.missing(acknowledged));
    }
}

/// The ids in a text of JSON.
pub fn ids_of(text: &str) -> impl Iterator<Item = String> {
    text.split("\"id\":\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(id, _)| id.to_owned())
}
