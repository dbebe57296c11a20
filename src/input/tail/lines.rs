//! From the bytes of a block to texts: one line each, or several lines put together.

use super::charset::Charset;
use super::events::Events;
use super::params::{Multiline, Settings};
use super::quiet::Complaint;

/// Longest line in bytes where `max_line_size` says nothing. A longer one is left out: holding it would take memory that
/// no buffer has room for anyway.
pub(super) const MAX_LINE_BYTES: u64 = 8 << 20;
/// Longest event of several lines, in bytes; it ends there.
pub(super) const MAX_EVENT_BYTES: u64 = 4 << 20;
/// Most bytes and lines that are collected until they parse; past it they count as not matching. Each line is tried with
/// all before it, so this bounds time as well.
const MAX_COLLECTED_BYTES: usize = 256 << 10;
const MAX_COLLECTED_LINES: u32 = 1000;

/// The whole lines of a block, and how they are to be taken.
pub(super) struct Lines<'b> {
    /// Lines with their line ends; the first text begins at 0.
    pub(super) data: &'b [u8],
    /// Up to here no text ends, as is known from earlier turns.
    pub(super) scanned: usize,
    /// Texts to take at most.
    pub(super) most_texts: u32,
    /// One event at most.
    pub(super) single: bool,
    /// The last text counts as whole: nothing more of it is waited for.
    pub(super) flush: bool,
}

/// What was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes that are done with.
    pub(super) used: usize,
    /// Whether there was more to take.
    pub(super) capped: bool,
    /// Whether a text begins at `used` and is not whole yet.
    pub(super) pending: bool,
}

/// The longest line, in bytes with its line end.
pub(super) fn line_limit(settings: &Settings) -> u64 {
    settings.max_line.unwrap_or(MAX_LINE_BYTES)
}

impl Lines<'_> {
    /// Takes texts into `events`.
    pub(super) fn take(&self, settings: &Settings, events: &mut Events<'_>) -> Taken {
        let take = Take { lines: self, charset: settings.charset, limit: line_limit(settings), events };
        match settings.multiline {
            Multiline::No => take.each(),
            Multiline::FirstLine => take.by_first_line(settings),
            Multiline::Collect => take.collect(),
        }
    }

    fn is_enough(&self, events: &Events<'_>) -> bool {
        events.texts() >= self.most_texts || (self.single && events.count() > 0)
    }
}

struct Take<'t, 'b, 's> {
    lines: &'t Lines<'b>,
    charset: Charset,
    limit: u64,
    events: &'t mut Events<'s>,
}

impl<'b> Take<'_, 'b, '_> {
    /// The end of the line at `at`, the last of a file may have no line end.
    fn line(&self, at: usize) -> Option<&'b [u8]> {
        let rest = &self.lines.data[at..];
        (!rest.is_empty()).then(|| &rest[..self.charset.line_end(rest).unwrap_or(rest.len())])
    }

    fn is_too_long(&self, line: &[u8]) -> bool {
        let too_long = line.len() as u64 > self.limit;
        if too_long {
            self.events.say(Complaint::TooLong(self.limit));
        }
        too_long
    }

    fn each(self) -> Taken {
        let mut used = 0;
        while let Some(line) = self.line(used) {
            if self.lines.is_enough(self.events) {
                return Taken { used, capped: true, pending: false };
            }
            if !self.is_too_long(line) {
                self.events.line(line);
            }
            used += line.len();
        }
        Taken { used, ..Taken::default() }
    }

    fn by_first_line(self, settings: &Settings) -> Taken {
        let rule = settings.parser.lines();
        let begins = |text: &[u8]| rule.and_then(|rule| rule.begins(without_line_feed(text))).unwrap_or(true);
        let (mut at, mut start, mut text) = (0, None, Vec::new());
        while let Some(line) = self.line(at) {
            let here = at;
            at += line.len();
            if self.is_too_long(line) {
                continue;
            }
            let converted = self.charset.text(line);
            match (begins(&converted), start) {
                (false, None) => self.events.orphan(&converted),
                (false, Some(_)) => text.extend_from_slice(&converted),
                (true, before) => {
                    if before.is_some() {
                        self.events.text(&text);
                    }
                    if self.lines.is_enough(self.events) {
                        return Taken { used: here, capped: true, pending: true };
                    }
                    start = Some(here);
                    text.clear();
                    text.extend_from_slice(&converted);
                }
            }
        }
        match start {
            Some(_) if self.lines.flush => self.events.last_text(&text),
            Some(start) => return Taken { used: start, capped: false, pending: true },
            None => {}
        }
        Taken { used: at, ..Taken::default() }
    }

    fn collect(self) -> Taken {
        let (mut at, mut start, mut lines, mut text) = (0, 0, 0, Vec::new());
        while let Some(line) = self.line(at) {
            if start == at && self.lines.is_enough(self.events) {
                return Taken { used: start, capped: true, pending: false };
            }
            at += line.len();
            if self.is_too_long(line) {
                continue;
            }
            text.extend_from_slice(&self.charset.text(line));
            lines += 1;
            // Texts that end in what was scanned before were tried in vain.
            let done = (start > 0 || at > self.lines.scanned) && self.events.try_text(&text);
            let too_much = !done && (text.len() > MAX_COLLECTED_BYTES || lines >= MAX_COLLECTED_LINES);
            if too_much {
                self.events.text(&text);
            }
            if done || too_much {
                (start, lines) = (at, 0);
                text.clear();
            }
        }
        if self.lines.flush && !text.is_empty() {
            self.events.last_text(&text);
            start = at;
        }
        Taken { used: start, capped: false, pending: start < at }
    }
}

fn without_line_feed(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}
