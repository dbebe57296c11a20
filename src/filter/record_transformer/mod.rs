//! `record_transformer`: sets, renames and removes fields by templates.

mod functions;

use std::cell::RefCell;

use serde::Deserialize;
use smallvec::SmallVec;

#[cfg(any(test, fuzzing))]
pub(crate) use self::functions::FUNCTIONS;
#[cfg(not(any(test, fuzzing)))]
use self::functions::FUNCTIONS;
use self::functions::seconds;
use crate::config::{Diagnostic, Pair, Pairs};
use crate::event::{Added, Arena, EventTime, Field, RecordPath, Tag, Value};
use crate::plugin::ruby::{Context, Options, Scratch, TagInfo, Template};
use crate::plugin::{BuildContext, Configure, Event, Filter, Verdict};

/// Parameters of `record_transformer`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct RecordTransformerParams {
    /// Fields that are taken out; record accessors too.
    remove_keys: Vec<String>,
    /// Fields that stay in a new record.
    keep_keys: Option<Vec<String>>,
    /// Begin with an empty record.
    renew_record: bool,
    /// Field whose value, in seconds, becomes the event's time.
    renew_time_key: Option<String>,
    /// `${...}` holds the documented subset of Ruby.
    enable_ruby: bool,
    /// A placeholder that is the whole value keeps its type.
    auto_typecast: bool,
    /// The fields to set.
    record: Vec<Pairs>,
}

impl Default for RecordTransformerParams {
    fn default() -> Self {
        RecordTransformerParams {
            remove_keys: Vec::new(),
            keep_keys: None,
            renew_record: false,
            renew_time_key: None,
            enable_ruby: false,
            auto_typecast: true,
            record: Vec::new(),
        }
    }
}

/// The filter.
pub struct RecordTransformer {
    /// Names and values; a value that the configuration sets to nil has no template.
    fields: Vec<(Template, Option<Template>)>,
    remove: Vec<RecordPath>,
    keep: Vec<String>,
    renew: bool,
    time_key: Option<String>,
    hostname: String,
    /// All that it does is to set fields to what is the same for every event of a tag.
    fixed: bool,
}

/// The fields to set in one event, each once.
type Expanded<'a> = SmallVec<[Field<'a>; 8]>;

thread_local! {
    /// Memory for expressions, kept from event to event of one thread.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
    /// The tag of the last event of this thread, taken apart.
    static TAG: RefCell<Option<TagInfo>> = const { RefCell::new(None) };
}

impl Configure for RecordTransformer {
    type Config = RecordTransformerParams;

    fn new(config: RecordTransformerParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if config.keep_keys.is_some() && !config.renew_record {
            return Err(cx.fault("keep_keys", "`renew_record` must be true to use `keep_keys`"));
        }
        let options =
            Options { enable_ruby: config.enable_ruby, auto_typecast: config.auto_typecast, functions: FUNCTIONS };
        let mut fields: Vec<(Template, Option<Template>)> = Vec::new();
        for pair in config.record.iter().flat_map(Pairs::iter) {
            let fault = |e: &dyn std::fmt::Display| Diagnostic::error(format!("{}: {e}", pair.name), &pair.span);
            let key = Template::parse_key(&pair.name, &options).map_err(|e| fault(&e))?;
            let value = pair.value.text().map(|t| Template::parse(t, &options)).transpose().map_err(|e| fault(&e))?;
            if let Some(warning) = value.as_ref().and_then(Template::warning) {
                cx.warn("record", warning);
            }
            fields.push((key, value));
        }
        let paths: Result<Vec<_>, _> = config.remove_keys.iter().map(|k| RecordPath::parse(k)).collect();
        let fixed = |(key, value): &(Template, Option<Template>)| {
            key.is_fixed() && value.as_ref().is_none_or(Template::is_fixed)
        };
        let only_sets = config.remove_keys.is_empty() && !config.renew_record && config.renew_time_key.is_none();
        Ok(RecordTransformer {
            fixed: only_sets && fields.iter().all(fixed),
            fields,
            remove: paths.map_err(|e| cx.fault("remove_keys", e.to_string()))?,
            keep: config.keep_keys.unwrap_or_default(),
            renew: config.renew_record,
            time_key: config.renew_time_key,
            hostname: cx.process.hostname.clone(),
        })
    }
}

impl RecordTransformer {
    /// One that sets a field by an expression of Ruby's subset, and keeps the type of what that gives.
    ///
    /// Errors: as [`Configure::new`].
    pub(super) fn setting(pair: Pair, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let record = vec![Pairs::from_iter([pair])];
        Self::new(RecordTransformerParams { enable_ruby: true, record, ..RecordTransformerParams::default() }, cx)
    }
}

impl Filter for RecordTransformer {
    fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
        match self.expanded(event) {
            Ok(expanded) => {
                self.reform(event, expanded);
                Verdict::Keep
            }
            Err(reason) => {
                event.fail(reason);
                Verdict::Drop
            }
        }
    }

    fn sets(&self, tag: &Tag) -> Option<Added> {
        if !self.fixed {
            return None;
        }
        let arena = Arena::new();
        let event = Event::new(tag, &arena);
        let mut added = Added::default();
        for (name, value) in self.expanded(&event).ok()? {
            added.push(name, value);
        }
        Some(added)
    }
}

impl RecordTransformer {
    fn expanded<'a>(&'a self, event: &Event<'a>) -> Result<Expanded<'a>, String> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.reset();
            TAG.with_borrow_mut(|tag| {
                if tag.as_ref().is_none_or(|t| t.tag() != &**event.tag) {
                    *tag = Some(TagInfo::new(event.tag));
                }
                match tag {
                    Some(tag) => self.expand(event, scratch, tag),
                    None => Ok(Expanded::new()),
                }
            })
        })
    }

    fn expand<'a>(&'a self, event: &Event<'a>, scratch: &Scratch, tag: &TagInfo) -> Result<Expanded<'a>, String> {
        let cx = Context::new(scratch, tag, &self.hostname, event.time, &event.record);
        let mut out = Expanded::new();
        for (key, value) in &self.fields {
            let value = match value {
                Some(value) => value.expand(&cx, event.arena).map_err(|e| e.to_string())?,
                None => Value::Nil,
            };
            let key = key.expand_key(&cx, event.arena).map_err(|e| e.to_string())?;
            match out.iter_mut().find(|(name, _)| *name == key) {
                Some(field) => field.1 = value,
                None => out.push((key, value)),
            }
        }
        for (name, value) in cx.changed(event.arena)? {
            // A field that an expression changed in place shows the change, as in Ruby; set fields come after it.
            if out.iter().all(|(known, _)| *known != name) {
                out.push((event.arena.bytes(name), value));
            }
        }
        Ok(out)
    }

    fn reform<'a>(&'a self, event: &mut Event<'a>, expanded: Expanded<'a>) {
        if self.renew {
            let keep = &self.keep;
            event.record.retain(|(name, _)| keep.iter().any(|k| k.as_bytes() == *name));
        }
        for (name, value) in expanded {
            event.record.set(name, value);
        }
        if let Some(secs) = self.time_key.as_ref().and_then(|k| event.record.get(k.as_bytes())).map(to_seconds) {
            event.time = EventTime::from_f64(secs);
        }
        for path in &self.remove {
            path.remove(&mut event.record, event.arena);
        }
    }
}

fn to_seconds(value: Value<'_>) -> f64 {
    seconds(value).unwrap_or(0.0)
}
