//! From texts (lines, or events over several lines) to the entries of a batch.

use std::path::Path;

use super::charset::chomp;
use super::params::Settings;
use super::quiet::{Complaint, Quiet};
use crate::event::{Arena, Batch, BatchBuilder, EventTime, Record, Tag, Value};
use crate::plugin::ParseError;

/// Field of a text that does not match, with `emit_unmatched_lines`.
const UNMATCHED: &[u8] = b"unmatched_line";

/// Collects the events of one block.
pub(super) struct Events<'s> {
    settings: &'s Settings,
    path: &'s Path,
    quiet: &'s Quiet,
    /// Events without a time of their own happened when their block was read.
    now: EventTime,
    batch: BatchBuilder,
    arena: Arena,
    /// Memory for the fields of one event after the other.
    record: Record<'static>,
    /// Texts taken so far.
    texts: u32,
}

impl<'s> Events<'s> {
    /// For a block of about `bytes` bytes.
    pub(super) fn new(settings: &'s Settings, path: &'s Path, quiet: &'s Quiet, bytes: usize) -> Events<'s> {
        let batch = BatchBuilder::with_capacity(bytes + bytes / 4);
        Events {
            settings,
            path,
            quiet,
            now: EventTime::now(),
            batch,
            arena: Arena::new(),
            record: Record::new(),
            texts: 0,
        }
    }

    /// Texts taken so far, those that did not match included.
    pub(super) fn texts(&self) -> u32 {
        self.texts
    }

    /// Events so far.
    pub(super) fn count(&self) -> u32 {
        self.batch.count()
    }

    pub(super) fn finish(mut self, tag: Tag) -> Batch {
        self.batch.finish(tag)
    }

    /// Complains about a line of the file.
    pub(super) fn say(&self, complaint: Complaint<'_>) {
        self.quiet.say(self.path, complaint);
    }

    /// Takes a line with its line end, as it is in the file.
    pub(super) fn line(&mut self, raw: &[u8]) {
        let text = self.settings.charset.text(raw);
        self.text(&text);
    }

    /// Takes a converted text; its last line end is cut off.
    pub(super) fn text(&mut self, text: &[u8]) {
        self.take(text, false);
    }

    /// Takes a text that may not be whole: nothing more of it will come.
    pub(super) fn last_text(&mut self, text: &[u8]) {
        self.take(text, true);
    }

    /// Takes a line that belongs to no event.
    pub(super) fn orphan(&mut self, text: &[u8]) {
        if self.settings.emit_unmatched {
            self.take(text, false);
        } else {
            self.texts += 1;
        }
        self.quiet.say(self.path, Complaint::BeforeFirst(text));
    }

    fn take(&mut self, text: &[u8], last: bool) {
        self.texts += 1;
        let text = chomp(text);
        match self.parse(text) {
            Ok(()) => {}
            Err(ParseError::Unmatched) => {
                self.quiet.say(self.path, if last { Complaint::Incomplete(text) } else { Complaint::NotMatched(text) });
                if self.settings.emit_unmatched {
                    self.unmatched(text);
                }
            }
            Err(ParseError::Invalid(fault)) => self.quiet.say(self.path, Complaint::Invalid(text, &fault.why)),
        }
    }

    /// Adds the events of a text.
    fn parse(&mut self, text: &[u8]) -> Result<(), ParseError> {
        let Events { settings, path, batch, now, arena, .. } = self;
        let mut record = std::mem::take(&mut self.record).recycle();
        let parsed = match &settings.path_key {
            None => settings.parser.parse_into(text, arena, &mut record, *now, batch),
            Some(key) => {
                let path = path.as_os_str().as_encoded_bytes();
                settings.parser.parse_each(text, arena, &mut record, &mut |time, record| {
                    add_path(record, key.as_bytes(), path);
                    batch.push(time.unwrap_or(*now), record);
                })
            }
        };
        self.record = record.recycle();
        parsed
    }

    /// Takes a text if an event begins in it; says nothing if none does.
    pub(super) fn try_text(&mut self, text: &[u8]) -> bool {
        if self.holds_event(chomp(text)) {
            self.text(text);
            return true;
        }
        // A pattern may want the line end too. Fluentd then finds the event and loses it, having cut the line end off.
        let matched = self.holds_event(text);
        if matched {
            self.texts += 1;
            // What follows the first event is of no account: the first was seen to parse.
            let _ = self.parse(text);
        }
        matched
    }

    fn holds_event(&self, text: &[u8]) -> bool {
        let arena = Arena::new();
        self.settings.parser.parse(text, &arena, &mut Record::new()).is_ok()
    }

    fn unmatched(&mut self, text: &[u8]) {
        let mut record = Record::new();
        record.push(UNMATCHED, Value::Str(text));
        if let Some(key) = &self.settings.path_key {
            add_path(&mut record, key.as_bytes(), self.path.as_os_str().as_encoded_bytes());
        }
        self.batch.push(self.now, &record);
    }
}

/// Ruby's `||=`: a field that is there and not false stays.
fn add_path<'a>(record: &mut Record<'a>, key: &'a [u8], path: &'a [u8]) {
    if matches!(record.get(key), None | Some(Value::Nil | Value::Bool(false))) {
        record.set(key, Value::Str(path));
    }
}
