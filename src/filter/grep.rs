//! `grep`: keeps or drops events by regular expressions on their fields.

use std::convert::Infallible;

use serde::Deserialize;

use crate::config::{Diagnostic, Regexp};
use crate::event::{RecordPath, Value, json};
use crate::plugin::{BuildContext, Configure, Event, Filter, Verdict};

/// Old numbered parameters: `regexp1` to `regexp20`, `exclude1` to `exclude20`.
const OLD_NUMBERS: std::ops::RangeInclusive<u32> = 1..=20;

/// `<regexp>` or `<exclude>`.
#[derive(Debug, Deserialize)]
struct ConditionParams {
    /// The field.
    key: String,
    /// The expression.
    pattern: Regexp,
}

/// `<and>` or `<or>`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupParams {
    regexp: Vec<ConditionParams>,
    exclude: Vec<ConditionParams>,
}

/// Parameters of `grep`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct GrepParams {
    /// All must match.
    regexp: Vec<ConditionParams>,
    /// None may match.
    exclude: Vec<ConditionParams>,
    /// Groups of which all must match.
    and: Vec<GroupParams>,
    /// Groups of which one must match.
    or: Vec<GroupParams>,
}

struct Condition {
    key: RecordPath,
    pattern: Regexp,
}

/// The filter.
#[derive(Default)]
pub struct Grep {
    all: Vec<Condition>,
    one_of: Vec<Condition>,
    not_all: Vec<Condition>,
    none_of: Vec<Condition>,
}

impl Configure for Grep {
    type Config = GrepParams;
    const READ_ELSEWHERE: &'static [&'static str] = &OLD_NAMES;

    fn new(config: GrepParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let mut grep = Grep::default();
        for n in OLD_NUMBERS {
            grep.all.extend(old(cx, &format!("regexp{n}"))?);
            grep.none_of.extend(old(cx, &format!("exclude{n}"))?);
        }
        add(&mut grep.all, config.regexp, "<regexp>", cx)?;
        add(&mut grep.none_of, config.exclude, "<exclude>", cx)?;
        for group in config.and {
            check(&group, "and", cx)?;
            add(&mut grep.all, group.regexp, "<and>", cx)?;
            add(&mut grep.not_all, group.exclude, "<and>", cx)?;
        }
        for group in config.or {
            check(&group, "or", cx)?;
            add(&mut grep.one_of, group.regexp, "<or>", cx)?;
            add(&mut grep.none_of, group.exclude, "<or>", cx)?;
        }
        Ok(grep)
    }
}

/// The names of the old parameters, for the reader of the section.
static OLD_NAMES: [&str; 40] = [
    "regexp1",
    "regexp2",
    "regexp3",
    "regexp4",
    "regexp5",
    "regexp6",
    "regexp7",
    "regexp8",
    "regexp9",
    "regexp10",
    "regexp11",
    "regexp12",
    "regexp13",
    "regexp14",
    "regexp15",
    "regexp16",
    "regexp17",
    "regexp18",
    "regexp19",
    "regexp20",
    "exclude1",
    "exclude2",
    "exclude3",
    "exclude4",
    "exclude5",
    "exclude6",
    "exclude7",
    "exclude8",
    "exclude9",
    "exclude10",
    "exclude11",
    "exclude12",
    "exclude13",
    "exclude14",
    "exclude15",
    "exclude16",
    "exclude17",
    "exclude18",
    "exclude19",
    "exclude20",
];

fn old(cx: &BuildContext<'_>, name: &str) -> Result<Option<Condition>, Diagnostic> {
    let Some(text) = cx.section.text(name) else { return Ok(None) };
    let Some((key, pattern)) = text.split_once(' ') else {
        return Err(cx.fault(name, format!("{name} does not contain 2 parameters")));
    };
    let pattern = Regexp::new(pattern).map_err(|e| cx.fault(name, e.to_string()))?;
    condition(key, pattern, cx).map(Some)
}

fn check(group: &GroupParams, name: &str, cx: &BuildContext<'_>) -> Result<(), Diagnostic> {
    if !group.regexp.is_empty() && !group.exclude.is_empty() {
        return Err(cx.fault(name, format!("Do not specify both <regexp> and <exclude> in <{name}>")));
    }
    Ok(())
}

fn add(
    to: &mut Vec<Condition>,
    from: Vec<ConditionParams>,
    place: &str,
    cx: &BuildContext<'_>,
) -> Result<(), Diagnostic> {
    for params in from {
        let new = condition(&params.key, params.pattern, cx)?;
        if to.iter().any(|c| c.key == new.key) {
            return Err(cx.fault("key", format!("Duplicate key in {place}: {}", params.key)));
        }
        to.push(new);
    }
    Ok(())
}

fn condition(key: &str, pattern: Regexp, cx: &BuildContext<'_>) -> Result<Condition, Diagnostic> {
    let key = RecordPath::parse(key).map_err(|e| cx.fault("key", e.to_string()))?;
    Ok(Condition { key, pattern })
}

impl Condition {
    /// What is no text is matched through its text; a missing field is the empty text.
    fn matches(&self, found: Option<Value<'_>>) -> bool {
        self.pattern.is_match(&found.and_then(json::text_of).unwrap_or_default())
    }
}

impl Grep {
    /// Decides by the fields that `find` finds; errors are its.
    fn decide<'v, E>(&self, find: impl Fn(&RecordPath) -> Result<Option<Value<'v>>, E>) -> Result<Verdict, E> {
        let any = |conditions: &[Condition], wanted: bool| {
            for condition in conditions {
                if condition.matches(find(&condition.key)?) == wanted {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let dropped = any(&self.all, false)?
            || (!self.one_of.is_empty() && !any(&self.one_of, true)?)
            || (!self.not_all.is_empty() && !any(&self.not_all, false)?)
            || any(&self.none_of, true)?;
        Ok(if dropped { Verdict::Drop } else { Verdict::Keep })
    }
}

impl Filter for Grep {
    fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
        let decided: Result<Verdict, Infallible> = self.decide(|key| Ok(key.get(&event.record)));
        decided.unwrap_or_else(|never| match never {})
    }

    fn judge(&self, record: &[u8]) -> Option<Verdict> {
        self.decide(|key| key.find(record)).ok()
    }
}
