//! `record_modifier`: sets fields by expressions one after the other, removes others, replaces text
//! (fluent-plugin-record-modifier 2).

use encoding_rs::Encoding;
use serde::Deserialize;

use super::record_transformer::RecordTransformer;
use crate::config::{Diagnostic, Pairs, Regexp};
use crate::event::{Arena, Owned, Record, RecordPath, Value};
use crate::plugin::{BuildContext, Configure, Event, Filter, Verdict};

/// `<replace>`
#[derive(Debug, Deserialize)]
struct ReplaceParams {
    /// The field, at the top of the record.
    key: String,
    /// What is replaced in its text, wherever it matches.
    expression: Regexp,
    /// What comes in its place; `\1` and the like are groups.
    replace: String,
}

/// Parameters of `record_modifier`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RecordModifierParams {
    /// Ruby code: none is run.
    prepare_value: Option<String>,
    /// `FROM:TO` changes the encoding of texts, TO being utf-8. One name alone only says what the bytes are.
    char_encoding: Option<String>,
    /// Fields that are taken out; record accessors too.
    remove_keys: Option<Vec<String>>,
    /// Fields that stay, besides those that `<record>` sets.
    whitelist_keys: Option<String>,
    /// The fields to set, in order: each sees what those before it set.
    record: Vec<Pairs>,
    replace: Vec<ReplaceParams>,
}

/// What happens to the other fields.
enum Others {
    Stay,
    Remove(Vec<RecordPath>),
    Keep(Vec<String>),
}

/// The filter.
pub struct RecordModifier {
    /// One field each.
    set: Vec<RecordTransformer>,
    others: Others,
    replaces: Vec<ReplaceParams>,
    decode: Option<&'static Encoding>,
}

impl Configure for RecordModifier {
    type Config = RecordModifierParams;

    fn new(config: RecordModifierParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if config.prepare_value.is_some() {
            let remedy =
                "no Ruby is run: write the value itself into <record>, or \"#{...}\" for what is known at the start";
            return Err(cx.fault("prepare_value", format!("prepare_value is not supported: {remedy}")));
        }
        let names: Vec<String> = config.record.iter().flat_map(Pairs::iter).map(|pair| pair.name.clone()).collect();
        let others = match (config.remove_keys, config.whitelist_keys) {
            (Some(_), Some(_)) => {
                let message = "remove_keys and whitelist_keys are exclusive with each other.";
                return Err(cx.fault("whitelist_keys", message));
            }
            (Some(keys), None) => {
                let paths: Result<_, _> = keys.iter().map(|key| RecordPath::parse(key)).collect();
                Others::Remove(paths.map_err(|e| cx.fault("remove_keys", e.to_string()))?)
            }
            (None, Some(keys)) => Others::Keep(keys.split(',').map(|key| key.trim().to_owned()).chain(names).collect()),
            (None, None) => Others::Stay,
        };
        let decode = config.char_encoding.as_deref().map(|text| decoder(text, cx)).transpose()?.flatten();
        let set = config.record.iter().flat_map(Pairs::iter).map(|pair| RecordTransformer::setting(pair.clone(), cx));
        Ok(RecordModifier { set: set.collect::<Result<_, _>>()?, others, replaces: config.replace, decode })
    }
}

/// The encoding that texts are changed from; none where nothing is changed.
fn decoder(text: &str, cx: &BuildContext<'_>) -> Result<Option<&'static Encoding>, Diagnostic> {
    let fault = |message: String| cx.fault("char_encoding", message);
    let (from, to) = text.split_once(':').map_or((text, None), |(from, to)| (from, Some(to)));
    let named = |name: &str| {
        Encoding::for_label(name.trim().as_bytes())
            .ok_or_else(|| fault(format!("unknown encoding name - {}", name.trim())))
    };
    let from = named(from)?;
    match to.map(named).transpose()? {
        None => Ok(None),
        Some(to) if to == encoding_rs::UTF_8 => Ok(Some(from).filter(|from| *from != encoding_rs::UTF_8)),
        Some(to) => Err(fault(format!("texts are changed to utf-8 alone, not to {}", to.name()))),
    }
}

impl Filter for RecordModifier {
    fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
        for field in &self.set {
            if field.filter(event) == Verdict::Drop {
                return Verdict::Drop;
            }
        }
        match &self.others {
            Others::Stay => {}
            Others::Remove(paths) => {
                for path in paths {
                    path.remove(&mut event.record, event.arena);
                }
            }
            // In the order of the list, as the fields of a new record.
            Others::Keep(names) => {
                let mut kept = Record::new();
                for name in names.iter().map(String::as_bytes) {
                    if let Some(value) = event.record.get(name) {
                        kept.set(name, value);
                    }
                }
                event.record = kept;
            }
        }
        self.replace(event);
        if let Some(encoding) = self.decode {
            for (_, value) in event.record.iter_mut() {
                *value = decoded(*value, encoding, event.arena);
            }
        }
        Verdict::Keep
    }
}

impl RecordModifier {
    fn replace(&self, event: &mut Event<'_>) {
        for replace in &self.replaces {
            let field = event.record.iter_mut().find(|(name, _)| *name == replace.key.as_bytes());
            if let Some((_, Value::Str(text))) = field
                && replace.expression.is_match(text)
            {
                *text = event.arena.bytes(&replace.expression.substitute(text, replace.replace.as_bytes(), true));
            }
        }
    }
}

/// A value whose texts are UTF-8, those in maps and arrays too.
fn decoded<'a>(value: Value<'a>, from: &'static Encoding, arena: &'a Arena) -> Value<'a> {
    match value {
        Value::Str(raw) | Value::Bin(raw) => {
            Value::Str(arena.bytes(from.decode_without_bom_handling(raw).0.as_bytes()))
        }
        Value::Map(_) | Value::Array(_) => match Owned::from_value(value) {
            Ok(mut owned) => {
                decode_within(&mut owned, from);
                owned.to_value(arena)
            }
            Err(_) => value,
        },
        other => other,
    }
}

fn decode_within(value: &mut Owned, from: &'static Encoding) {
    match value {
        Owned::Str(raw) | Owned::Bin(raw) => *value = Owned::str(&from.decode_without_bom_handling(raw).0),
        Owned::Array(items) => items.iter_mut().for_each(|item| decode_within(item, from)),
        Owned::Map(pairs) => pairs.iter_mut().for_each(|(_, item)| decode_within(item, from)),
        _ => {}
    }
}
