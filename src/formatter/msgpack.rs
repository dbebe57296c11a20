//! `msgpack`: the record as MessagePack, without time and tag.

use serde::Deserialize;

use crate::config::Diagnostic;
use crate::event::{Arena, Entry, EventTime, Record, Tag};
use crate::plugin::{BuildContext, Configure, Formatter};

/// `msgpack` has no parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MsgpackParams {}

/// The formatter.
pub struct Msgpack;

impl Configure for Msgpack {
    type Config = MsgpackParams;

    fn new(_: MsgpackParams, _: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        Ok(Msgpack)
    }
}

impl Formatter for Msgpack {
    fn format(&self, _: &Tag, _: EventTime, record: &Record<'_>, out: &mut Vec<u8>) {
        record.encode(out);
    }

    fn format_entry(&self, _: &Tag, entry: &Entry<'_>, _: &Arena, out: &mut Vec<u8>) {
        out.extend_from_slice(entry.record);
    }
}
