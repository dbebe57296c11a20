//! From a chunk to messages: those of one channel together, up to a length.

use serde_json::{Map, Value as Json, json};

use super::format::Format;
use crate::buffer::Chunk;
use crate::event::{Arena, Entries, Record};
use crate::plugin::Inject;

/// Longest text of a message, in bytes; Slack cuts at 40,000 characters. A longer event is cut.
const MAX_TEXT: usize = 30_000;

/// A message.
#[derive(Debug)]
pub struct Message {
    /// What is posted.
    pub payload: Json,
    /// The events in it.
    pub places: Vec<u64>,
}

/// What messages are made of.
pub struct Shape {
    /// The channel; `None`: that of the webhook.
    pub(super) channel: Option<Format>,
    pub(super) title: Option<Format>,
    pub(super) text: Format,
    /// `username`, `icon_emoji`, ...: the same in each message.
    pub(super) common: Map<String, Json>,
    /// `color`, ...: the same in each attachment.
    pub(super) attachment: Map<String, Json>,
    pub(super) colored: bool,
    pub(super) verbose_fallback: bool,
    pub(super) inject: Inject,
}

/// Texts on their way into a message.
#[derive(Default)]
struct Growing {
    channel: Option<String>,
    /// By tag: title and text. Without titles there is one.
    fields: Vec<(String, String, String)>,
    bytes: usize,
    places: Vec<u64>,
}

impl Shape {
    /// Whether events name their channel.
    pub fn names_channels(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| !channel.is_fixed())
    }

    /// The messages of a chunk, always the same.
    ///
    /// Errors: the chunk can't be read.
    pub fn messages(&self, chunk: &Chunk) -> std::io::Result<Vec<Message>> {
        let (mut done, mut growing): (Vec<Message>, Vec<Growing>) = Default::default();
        let mut place = 0;
        for block in chunk.blocks() {
            let block = block?;
            for entry in Entries::new(&block.entries).map_while(Result::ok) {
                let arena = Arena::new();
                let mut record = Record::decode(entry.record, &arena).unwrap_or_default();
                self.inject.apply(&block.tag, entry.time, &mut record, &arena);
                let channel = self.channel.as_ref().map(|channel| named(&channel.fill(&record)));
                let mut text = self.text.fill(&record);
                text.truncate(text.floor_char_boundary(MAX_TEXT));
                text.push('\n');
                let at = match growing.iter().position(|g| g.channel == channel) {
                    Some(at) if growing[at].bytes + text.len() <= MAX_TEXT + 1 => at,
                    full => {
                        full.into_iter().for_each(|at| done.push(self.message(growing.remove(at))));
                        growing.push(Growing { channel, ..Growing::default() });
                        growing.len() - 1
                    }
                };
                let growing = &mut growing[at];
                let tag = if self.title.is_some() { block.tag.as_str() } else { "" };
                let field = growing.fields.iter().position(|(of, ..)| of == tag).unwrap_or_else(|| {
                    let title = self.title.as_ref().map(|title| title.fill(&record)).unwrap_or_default();
                    growing.fields.push((tag.to_owned(), title, String::new()));
                    growing.fields.len() - 1
                });
                growing.bytes += text.len();
                growing.fields[field].2.push_str(&text);
                growing.places.push(place);
                place += 1;
            }
        }
        done.extend(growing.into_iter().map(|growing| self.message(growing)));
        Ok(done)
    }

    fn message(&self, growing: Growing) -> Message {
        let Growing { channel, fields, places, .. } = growing;
        let mut payload = self.common.clone();
        if let Some(channel) = channel {
            payload.insert("channel".into(), channel.into());
        }
        let text = || fields.iter().map(|(_, _, text)| text.as_str()).collect::<String>();
        if self.title.is_none() && !self.colored {
            payload.insert("text".into(), text().into());
            return Message { payload: payload.into(), places };
        }
        let mut attachment = self.attachment.clone();
        if self.title.is_some() {
            let shown = |(_, title, text): &(String, String, String)| match self.verbose_fallback {
                true => format!("{title} {text}"),
                false => title.clone(),
            };
            let fallback: Vec<String> = fields.iter().map(shown).collect();
            let each = fields.iter().map(|(_, title, text)| json!({ "title": title, "value": text }));
            attachment.insert("fallback".into(), fallback.join(" ").into());
            attachment.insert("fields".into(), each.collect());
        } else {
            attachment.insert("fallback".into(), text().into());
            attachment.insert("text".into(), text().into());
        }
        payload.insert("attachments".into(), json!([attachment]));
        Message { payload: payload.into(), places }
    }
}

/// A channel with its sign, as the plugin puts it there; a user's `@name` stays.
fn named(channel: &str) -> String {
    match channel.starts_with(['#', '@']) {
        true => channel.to_owned(),
        false => format!("#{channel}"),
    }
}
