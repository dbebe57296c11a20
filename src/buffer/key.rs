//! Chunk keys: what tells chunks apart, and how a batch is split by them.

use std::collections::HashMap;
use std::sync::Arc;

use super::config::ChunkKeys;
use crate::event::{Arena, Batch, BatchBuilder, Entry, Malformed, Record, Tag, Value, json};

/// Pieces that one batch may be split into; a key that takes on more values at once is refused by name.
const MAX_PIECES: usize = 10_000;

/// What the events of a chunk have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChunkKey {
    /// The tag, where it is a chunk key.
    pub tag: Option<Tag>,
    /// Start of the time slice in seconds since the epoch, where time is a chunk key.
    pub time: Option<i64>,
    /// Fields by the names that the configuration gives them.
    pub fields: Vec<(Arc<str>, KeyValue)>,
}

/// A field's value: its MessagePack form, so that it can be compared and kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyValue(pub(super) Box<[u8]>);

impl KeyValue {
    /// Of a value.
    pub fn new(value: Value<'_>) -> KeyValue {
        let mut out = Vec::new();
        value.encode(&mut out);
        KeyValue(out.into())
    }

    /// As text for placeholders: nothing for nil, containers as JSON.
    pub fn to_text(&self) -> String {
        match Value::decode(&self.0) {
            Ok(Value::Nil) | Err(_) => String::new(),
            Ok(Value::Str(text) | Value::Bin(text)) => String::from_utf8_lossy(text).into_owned(),
            Ok(other) => {
                let mut out = Vec::new();
                json::write_value(other, &mut out);
                String::from_utf8_lossy(&out).into_owned()
            }
        }
    }
}

/// A part of a batch that goes to one chunk.
pub(super) struct Piece {
    pub key: ChunkKey,
    pub batch: Batch,
}

/// Why a batch can't be split.
#[derive(Debug)]
pub(super) enum SplitError {
    Malformed(Malformed),
    TooManyKeys,
}

/// Splits a plain batch by the chunk keys. Without time and field keys nothing is decoded.
pub(super) fn split(keys: &ChunkKeys, batch: &Batch) -> Result<Vec<Piece>, SplitError> {
    let tag = keys.tag.then(|| batch.tag.clone());
    if keys.time.is_none() && keys.fields.is_empty() {
        return Ok(vec![Piece { key: ChunkKey { tag, time: None, fields: Vec::new() }, batch: batch.clone() }]);
    }
    let mut order: Vec<(ChunkKey, BatchBuilder)> = Vec::new();
    let mut places: HashMap<ChunkKey, usize> = HashMap::new();
    let mut last: Option<usize> = None;
    for entry in batch.entries() {
        let entry = entry.map_err(SplitError::Malformed)?;
        let key = key_of(keys, &tag, &entry).map_err(SplitError::Malformed)?;
        let at = match last.filter(|at| order[*at].0 == key) {
            Some(at) => at,
            None => *places.entry(key).or_insert_with_key(|key| {
                order.push((key.clone(), BatchBuilder::new()));
                order.len() - 1
            }),
        };
        if order.len() > MAX_PIECES {
            return Err(SplitError::TooManyKeys);
        }
        order[at].1.push_raw(entry.raw);
        last = Some(at);
    }
    Ok(order.into_iter().map(|(key, mut b)| Piece { key, batch: b.finish(batch.tag.clone()) }).collect())
}

fn key_of(keys: &ChunkKeys, tag: &Option<Tag>, entry: &Entry<'_>) -> Result<ChunkKey, Malformed> {
    let time = keys.time.as_ref().map(|t| t.slice(entry.time.secs()));
    let mut fields = Vec::with_capacity(keys.fields.len());
    if !keys.fields.is_empty() {
        let arena = Arena::new();
        let record = Record::decode(entry.record, &arena)?;
        for field in &keys.fields {
            let value = field.path.get(&record).unwrap_or(Value::Nil);
            fields.push((field.name.clone(), KeyValue::new(value)));
        }
    }
    Ok(ChunkKey { tag: tag.clone(), time, fields })
}
