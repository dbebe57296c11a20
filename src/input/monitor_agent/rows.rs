//! A plugin as a record, with Fluentd's names in Fluentd's order.

use super::query::Shown;
use crate::event::{Arena, Record, Value, msgpack};
use crate::plugin::{BufferView, Category, PluginView};

/// The record of one plugin.
pub(super) fn row<'a>(view: &'a PluginView, shown: Shown, arena: &'a Arena) -> Record<'a> {
    let mut row = Record::new();
    row.push(b"plugin_id", Value::str(&view.id));
    row.push(b"plugin_category", Value::str(view.category.name()));
    row.push(b"type", Value::str(&view.kind));
    if shown.config {
        row.push(b"config", config(view, arena));
    }
    // In Fluentd copy and roundrobin are no outputs but what is around them; relabel is one.
    let is_output = view.category == Category::Output || view.category == Category::Route && view.kind == "relabel";
    row.push(b"output_plugin", Value::Bool(is_output));
    if let Some(buffer) = &view.buffer {
        row.push(b"buffer_queue_length", (buffer.stats.queue_length as u64).into());
        row.push(b"buffer_timekeys", timekeys(buffer, arena));
        row.push(b"buffer_total_queued_size", buffer.stats.total_bytes.into());
    }
    // Only outputs retry; the counts of an output say how often.
    row.push(b"retry_count", Value::Nil);
    for (name, count) in &view.counts {
        row.set(name.as_bytes(), (*count).into());
    }
    if let Some(buffer) = &view.buffer {
        put_buffer(buffer, &mut row);
    }
    if shown.retry && view.category == Category::Output {
        row.push(b"retry", retry(view.buffer.as_ref(), arena));
    }
    row
}

fn put_buffer<'a>(buffer: &'a BufferView, row: &mut Record<'a>) {
    let stats = &buffer.stats;
    row.set(b"drop_oldest_chunk_count", stats.dropped_chunks.into());
    row.set(b"buffer_stage_length", (stats.stage_length as u64).into());
    row.set(b"buffer_stage_byte_size", stats.stage_bytes.into());
    row.set(b"buffer_queue_byte_size", stats.queue_bytes.into());
    let percent = (stats.available_ratio * 1000.0).round() / 10.0;
    row.set(b"buffer_available_buffer_space_ratios", Value::Float(percent));
    for (name, timekey) in
        [(&b"buffer_oldest_timekey"[..], stats.oldest_timekey), (&b"buffer_newest_timekey"[..], stats.newest_timekey)]
    {
        if let Some(timekey) = timekey {
            row.set(name, Value::Int(timekey));
        }
    }
}

fn config<'a>(view: &PluginView, arena: &'a Arena) -> Value<'a> {
    let mut map = Vec::new();
    msgpack::put_map_len(&mut map, view.config.len());
    for (name, value) in &view.config {
        msgpack::put_str(&mut map, name.as_bytes());
        msgpack::put_str(&mut map, value.as_bytes());
    }
    Value::Map(arena.bytes(&map))
}

/// The starts of all time slices.
fn timekeys<'a>(buffer: &BufferView, arena: &'a Arena) -> Value<'a> {
    let keys = &buffer.stats.timekeys;
    let mut list = Vec::new();
    msgpack::put_array_len(&mut list, keys.len());
    keys.iter().for_each(|key| msgpack::put_int(&mut list, *key));
    Value::Array(arena.bytes(&list))
}

fn retry<'a>(buffer: Option<&BufferView>, arena: &'a Arena) -> Value<'a> {
    let retrying = buffer.filter(|b| b.retrying > 0);
    let mut map = Vec::new();
    msgpack::put_map_len(&mut map, if retrying.is_some() { 2 } else { 0 });
    if let Some(buffer) = retrying {
        msgpack::put_str(&mut map, b"steps");
        msgpack::put_int(&mut map, i64::from(buffer.retry_steps));
        msgpack::put_str(&mut map, b"chunks");
        msgpack::put_int(&mut map, i64::try_from(buffer.retrying).unwrap_or(i64::MAX));
    }
    Value::Map(arena.bytes(&map))
}
