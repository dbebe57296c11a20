//! `rewrite_tag_filter`: events under other tags, by what is in their fields (fluent-plugin-rewrite-tag-filter 2).
//!
//! A part of the routes like `relabel`: events go on to the buffers behind it in the same step, and their sender hears once
//! they are stored there. Events of one batch under one tag are a stream of their own, so that each buffer knows which of them
//! it has when the batch comes again. Records are looked at as they are encoded and go on as the same bytes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};

use serde::Deserialize;

use super::build::Builder;
use super::copy::side_by_side;
use super::graph::{Graph, MAX_INFLATED, ROOT, Source};
use super::ways::digest;
use crate::buffer::{Fate, Origin, Receipt};
use crate::config::{Diagnostic, Regexp, Section};
use crate::event::{Arena, Batch, BatchBuilder, Entry, MAX_TAG_BYTES, Record, RecordPath, Tag, json};
use crate::plugin::{EmitError, Failure};

/// Tags of one batch that are on their way at the same time; the others follow as these are stored.
const MAX_TAGS_AT_ONCE: usize = 64;

/// `<rule>`
#[derive(Debug, Deserialize)]
struct RuleParams {
    /// The field.
    key: String,
    /// The expression that its text must match.
    pattern: Regexp,
    /// The new tag, with `$1` and the like for groups of the expression, `${tag}`, `${tag_parts[0]}`, `${hostname}`.
    tag: String,
    /// The label that the event goes to.
    label: Option<String>,
    /// Fields that do not match are meant, missing ones too.
    #[serde(default)]
    invert: bool,
}

/// Parameters of `rewrite_tag_filter`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RetagParams {
    /// In order; the first that fits counts.
    rule: Vec<RuleParams>,
    /// What `$1` and the like stand for begins with a capital and goes on in small letters.
    capitalize_regex_backreference: bool,
    /// What `${tag}` and `${tag_parts[0]}` are without, with the dot behind it.
    remove_tag_prefix: Option<String>,
    /// The same as an expression.
    remove_tag_regexp: Option<Regexp>,
    /// `hostname` or `hostname -s`; no other command is run.
    hostname_command: Option<String>,
    /// Whether events of one batch that get the same tag go on together.
    emit_mode: EmitMode,
}

/// `emit_mode`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum EmitMode {
    /// In the order they came, over all tags.
    Record,
    #[default]
    Batch,
}

/// A part of a new tag.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(String),
    Group(usize),
    Tag,
    TagPart(usize),
}

struct Rule {
    key: RecordPath,
    pattern: Regexp,
    tag: Vec<Piece>,
    /// The pipeline that the event goes to.
    label: Option<usize>,
    invert: bool,
}

/// The rules of one `rewrite_tag_filter`.
pub struct Retag {
    rules: Vec<Rule>,
    capitalize: bool,
    removed: Option<Removed>,
    together: bool,
    /// The pipeline that events go to where their rule names none.
    home: usize,
    /// Digest of the rules and of what may come before them: a change of it may give an event to another stream, which does
    /// not have it where it seems to.
    version: String,
}

/// What is taken off an old tag before placeholders mean it.
enum Removed {
    /// A prefix, with the dot behind it.
    Prefix(String),
    /// The first that matches.
    Pattern(Regexp),
}

/// Events of a batch that go the same way.
struct Group {
    tag: Tag,
    pipeline: usize,
    /// How many groups of the batch with this tag and pipeline come before.
    turn: usize,
    events: BatchBuilder,
}

/// What the rules make of a batch.
#[derive(Default)]
struct Sorted {
    groups: Vec<Group>,
    /// The last group of each tag and pipeline, and how many there are.
    places: HashMap<(String, usize), (usize, usize)>,
    /// Events that no rule gives another tag.
    dropped: u64,
    failures: Vec<Failure>,
}

impl Sorted {
    fn add(&mut self, entry: &Entry<'_>, tag: String, pipeline: usize, together: bool) {
        let last = self.groups.len().saturating_sub(1);
        let stays = self.groups.last().is_some_and(|group| group.pipeline == pipeline && *group.tag == *tag);
        if stays {
            self.groups[last].events.push_run(entry.raw, 1);
            return;
        }
        let new = self.groups.len();
        let group = Group { tag: Tag::from(tag.as_str()), pipeline, turn: 0, events: BatchBuilder::new() };
        let place = match self.places.entry((tag, pipeline)) {
            Vacant(first) => {
                first.insert((new, 1));
                self.groups.push(group);
                new
            }
            Occupied(known) if together => known.get().0,
            Occupied(mut known) => {
                self.groups.push(Group { turn: known.get().1, ..group });
                *known.get_mut() = (new, known.get().1 + 1);
                new
            }
        };
        self.groups[place].events.push_run(entry.raw, 1);
    }
}

fn too_long(entry: &Entry<'_>, bytes: usize) -> Failure {
    let reason = format!("rewrite_tag_filter: the new tag has {bytes} bytes, more than {MAX_TAG_BYTES}");
    Failure { time: entry.time, record: entry.record.to_vec(), reason }
}

impl Builder<'_> {
    pub(super) fn retag(&mut self, section: &Section) -> Option<Retag> {
        let params: RetagParams = self.params(section)?;
        if let Some(old) = section.params.iter().find(|p| p.name.starts_with("rewriterule")) {
            let message = "\"rewriterule<num>\" support has been dropped. Use <rule> section instead.";
            self.diagnostics.push(Diagnostic::error(message, section.span_of(&old.name)));
            return None;
        }
        if params.rule.is_empty() {
            self.fault("missing rewriterules: rewrite_tag_filter needs at least one <rule>", section);
            return None;
        }
        if params.remove_tag_prefix.is_some() && params.remove_tag_regexp.is_some() {
            self.fault("remove_tag_prefix and remove_tag_regexp are exclusive", section);
        }
        let host = self.host(params.hostname_command.as_deref(), section)?;
        let home = self.home(section)?;
        let rules = section.children_named("rule").zip(params.rule);
        let rules: Vec<Option<Rule>> = rules.map(|(inner, rule)| self.rule(rule, inner, &host)).collect();
        let rules = rules.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Retag {
            rules,
            capitalize: params.capitalize_regex_backreference,
            removed: params.remove_tag_prefix.map(Removed::Prefix).or(params.remove_tag_regexp.map(Removed::Pattern)),
            together: params.emit_mode == EmitMode::Batch,
            home,
            version: self.passage.clone(),
        })
    }

    /// What `${hostname}` stands for.
    fn host(&mut self, command: Option<&str>, section: &Section) -> Option<String> {
        let whole = self.process.hostname.clone();
        match command.map(str::trim) {
            None | Some("hostname") => Some(whole),
            Some("hostname -s" | "hostname --short") => Some(whole.split('.').next().unwrap_or_default().to_owned()),
            Some(other) => {
                let message = format!(
                    "hostname_command '{other}' is not run; write hostname, hostname -s, or the name itself into the tags"
                );
                self.diagnostics.push(Diagnostic::error(message, section.span_of("hostname_command")));
                None
            }
        }
    }

    /// The pipeline of `@label`, else the one that the section stands in.
    fn home(&mut self, section: &Section) -> Option<usize> {
        match section.label() {
            Some(label) => self.label_index(label, section),
            None => Some(self.place.as_ref().and_then(|place| self.graph.labels.get(place)).copied().unwrap_or(ROOT)),
        }
    }

    fn rule(&mut self, params: RuleParams, section: &Section, host: &str) -> Option<Rule> {
        let key = RecordPath::parse(&params.key);
        let key = key.map_err(|e| self.diagnostics.push(Diagnostic::error(e.to_string(), section.span_of("key")))).ok();
        let tag = pieces(&params.tag, host);
        let tag = tag.map_err(|e| self.diagnostics.push(Diagnostic::error(e, section.span_of("tag")))).ok();
        let label = match params.label.as_deref().filter(|label| !label.is_empty()) {
            Some(label) => Some(self.label_index(label, section)?),
            None => None,
        };
        Some(Rule { key: key?, pattern: params.pattern, tag: tag?, label, invert: params.invert })
    }
}

/// The parts of a new tag.
///
/// Errors: a placeholder that is not known.
fn pieces(text: &str, host: &str) -> Result<Vec<Piece>, String> {
    let mut found = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let Some((piece, length)) = placeholder(rest)? else {
            plain.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        if let Placeholder::Host = piece {
            plain.push_str(host);
        } else {
            found.extend(Some(Piece::Text(std::mem::take(&mut plain))).filter(|p| *p != Piece::Text(String::new())));
            found.extend(piece.changing());
        }
        rest = &rest[length..];
    }
    found.extend(Some(Piece::Text(plain)).filter(|p| *p != Piece::Text(String::new())));
    Ok(found)
}

enum Placeholder {
    Host,
    Changing(Piece),
}

impl Placeholder {
    fn changing(self) -> Option<Piece> {
        match self {
            Placeholder::Host => None,
            Placeholder::Changing(piece) => Some(piece),
        }
    }
}

/// The placeholder that a text begins with, and its length.
fn placeholder(text: &str) -> Result<Option<(Placeholder, usize)>, String> {
    if let Some(behind) = text.strip_prefix('$')
        && behind.starts_with(|c: char| c.is_ascii_digit())
    {
        let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
        // A number that large is that of no group.
        let group = behind[..digits].parse().unwrap_or(usize::MAX);
        return Ok(Some((Placeholder::Changing(Piece::Group(group)), 1 + digits)));
    }
    let (name, length) = match (text.strip_prefix("${"), text.strip_prefix("__")) {
        (Some(inside), _) => match inside.find('}') {
            Some(end) => (&inside[..end], end + 3),
            None => return Ok(None),
        },
        (None, Some(inside)) => match inside.find("__") {
            Some(end) if inside.starts_with(|c: char| c.is_ascii_uppercase()) => (&inside[..end], end + 4),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let piece = match name.to_ascii_lowercase().as_str() {
        "hostname" => Placeholder::Host,
        "tag" => Placeholder::Changing(Piece::Tag),
        other => match other.strip_prefix("tag_parts[").and_then(|n| n.strip_suffix(']')) {
            Some(range) if range.contains("..") => {
                let message = "${tag_parts[n]} and __TAG_PARTS[n]__ placeholder does not support range specify";
                return Err(message.to_owned());
            }
            Some(number) => {
                let number =
                    number.parse().map_err(|_| format!("tag_parts[{number}] is not tag_parts[0] or the like"))?;
                Placeholder::Changing(Piece::TagPart(number))
            }
            None => {
                let known = "${tag}, ${tag_parts[0]}, ${hostname}, $1";
                return Err(format!("unknown placeholder {:?}; known are {known}", &text[..length]));
            }
        },
    };
    Ok(Some((piece, length)))
}

impl Retag {
    /// The pipelines that events may go to.
    pub(super) fn pipelines(&self) -> impl Iterator<Item = usize> + '_ {
        self.rules.iter().map(|rule| rule.label.unwrap_or(self.home))
    }

    /// The new tag of an event and the pipeline it goes to; `None` where no rule gives another.
    fn decide(&self, old: &OldTag<'_>, entry: &Entry<'_>) -> Option<(String, usize)> {
        let arena = Arena::new();
        let mut decoded = None;
        for rule in &self.rules {
            let value = match rule.key.find(entry.record) {
                Ok(value) => value,
                Err(_) => {
                    let decoded = decoded.get_or_insert_with(|| Record::decode(entry.record, &arena).ok());
                    decoded.as_ref().and_then(|record| rule.key.get(record))
                }
            };
            let text = value.and_then(json::text_of).unwrap_or_default();
            if let Some(new) = self.apply(rule, old, &text) {
                let is_new = rule.label.is_some() || new != old.tag;
                return is_new.then(|| (new, rule.label.unwrap_or(self.home)));
            }
        }
        None
    }

    /// The tag that a rule gives to an event whose field has this text; `None` where the rule does not fit.
    fn apply(&self, rule: &Rule, old: &OldTag<'_>, text: &[u8]) -> Option<String> {
        if rule.invert {
            return (!rule.pattern.is_match(text)).then(|| self.tag(rule, old, |_| String::new()));
        }
        if text.is_empty() {
            return None;
        }
        let slots = rule.pattern.captures(text)?;
        let group = |number: usize| {
            let range = slots.get(number).filter(|_| number > 0);
            String::from_utf8_lossy(range.map_or(&[][..], |range| &text[range])).into_owned()
        };
        Some(self.tag(rule, old, group))
    }

    fn tag(&self, rule: &Rule, old: &OldTag<'_>, group: impl Fn(usize) -> String) -> String {
        let mut tag = String::new();
        for piece in &rule.tag {
            match piece {
                Piece::Text(text) => tag.push_str(text),
                Piece::Tag => tag.push_str(&old.short),
                Piece::TagPart(at) => tag.push_str(old.short.split('.').nth(*at).unwrap_or_default()),
                Piece::Group(number) if self.capitalize => tag.push_str(&capitalized(&group(*number))),
                Piece::Group(number) => tag.push_str(&group(*number)),
            }
        }
        tag
    }

    /// The events of a plain batch by where they go.
    fn sort(&self, batch: &Batch) -> Sorted {
        let old = OldTag::new(&batch.tag, self.removed.as_ref());
        let mut sorted = Sorted::default();
        for entry in batch.entries().map_while(Result::ok) {
            match self.decide(&old, &entry) {
                Some((tag, _)) if tag.len() > MAX_TAG_BYTES => sorted.failures.push(too_long(&entry, tag.len())),
                Some((tag, pipeline)) => sorted.add(&entry, tag, pipeline, self.together),
                None => sorted.dropped += 1,
            }
        }
        sorted
    }
}

/// The tag that events come with.
struct OldTag<'t> {
    tag: &'t str,
    /// What placeholders mean by it.
    short: Cow<'t, str>,
}

impl<'t> OldTag<'t> {
    fn new(tag: &'t Tag, removed: Option<&Removed>) -> OldTag<'t> {
        let short = match removed {
            None => Cow::Borrowed(&**tag),
            Some(Removed::Prefix(prefix)) => {
                let rest = tag.strip_prefix(prefix.as_str());
                Cow::Borrowed(rest.map_or(&**tag, |rest| rest.strip_prefix('.').unwrap_or(rest)))
            }
            Some(Removed::Pattern(pattern)) => {
                let rest = pattern.substitute(tag.as_bytes(), b"", false);
                Cow::Owned(String::from_utf8_lossy(&rest).into_owned())
            }
        };
        OldTag { tag, short }
    }
}

/// Ruby's `capitalize`.
fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars.as_str().chars().flat_map(char::to_lowercase)).collect()
}

impl Graph {
    /// Sends the events of a batch on under their new tags. Ends once all of them are stored, or one group failed and no
    /// other is under way.
    pub(super) async fn retag(
        &self,
        retag: &Retag,
        batch: Batch,
        from: &Source,
        depth: usize,
    ) -> Result<Receipt, EmitError> {
        let plain = batch.inflate(MAX_INFLATED).map_err(|e| EmitError::Refused(e.to_string()))?;
        let Sorted { groups, dropped, failures, .. } = retag.sort(&plain);
        self.books.book(None, &from.input, &batch.tag, Fate::Filtered, dropped);
        for failure in failures {
            self.fail(&plain, failure, from, depth).await;
        }
        let ways = groups.into_iter().map(|mut group| {
            let from = Source { origin: self.group_origin(retag, &group, &from.origin), ..from.clone() };
            async move { self.deliver(group.pipeline, group.events.finish(group.tag), &from, depth + 1).await }
        });
        side_by_side(ways, MAX_TAGS_AT_ONCE).await
    }

    /// What a buffer is to know a group by. One of several groups of a stream under one tag says nothing: where the stream is
    /// read again and cut otherwise, they hold other events.
    fn group_origin(&self, retag: &Retag, group: &Group, of: &Origin) -> Origin {
        if !retag.together && matches!(of, Origin::Stream { .. }) {
            return Origin::None;
        }
        let label = self.pipelines.get(group.pipeline).map_or("", |pipeline| &pipeline.name);
        let turn = group.turn.to_string();
        of.branch(digest([retag.version.as_bytes(), label.as_bytes(), group.tag.as_bytes(), turn.as_bytes()]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| format!("{piece:?} ")).collect()
    }

    #[test]
    fn a_new_tag_is_taken_apart_once() {
        let found = pieces("a.$1.${tag}.__TAG_PARTS[2]__.${hostname}$12x", "web").unwrap();
        let expected = [
            Piece::Text("a.".into()),
            Piece::Group(1),
            Piece::Text(".".into()),
            Piece::Tag,
            Piece::Text(".".into()),
            Piece::TagPart(2),
            Piece::Text(".web".into()),
            Piece::Group(12),
            Piece::Text("x".into()),
        ];
        assert_eq!(text(&found), text(&expected));
    }

    #[test]
    fn placeholders_that_nothing_stands_for_are_faults() {
        for (tag, part) in [("${tga}", "unknown placeholder"), ("${tag_parts[0..1]}", "range"), ("__FOO__", "__FOO__")]
        {
            let fault = pieces(tag, "web").unwrap_err();
            assert!(fault.contains(part), "{tag}: {fault}");
        }
        assert_eq!(text(&pieces("a__b$", "web").unwrap()), text(&[Piece::Text("a__b$".into())]));
    }

    #[test]
    fn what_is_taken_off_the_old_tag_is_no_part_of_placeholders() {
        let prefix = Removed::Prefix("app.web".into());
        for (tag, short) in
            [("app.web.a", "a"), ("app.webs", "s"), ("app+web.a", "app+web.a"), ("x.app.web", "x.app.web")]
        {
            assert_eq!(OldTag::new(&Tag::from(tag), Some(&prefix)).short, short, "{tag}");
        }
        let pattern = Removed::Pattern(Regexp::new(r"\.\d+").unwrap());
        assert_eq!(OldTag::new(&Tag::from("a.12.b.3"), Some(&pattern)).short, "a.b.3");
    }

    #[test]
    fn capitals_are_rubys() {
        for (text, expected) in [("gET", "Get"), ("", ""), ("éTÉ", "Été")] {
            assert_eq!(capitalized(text), expected);
        }
    }
}
