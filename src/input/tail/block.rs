//! What one turn reads: new bytes are looked through for the end of the text at the position, and once it is there a block
//! is read from the position on and handed over.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::events::Events;
use super::follow::{Offer, Prepared, Progress};
use super::identity::{HEAD_BYTES, Print, head_print, read_at};
use super::lines::{Lines, MAX_EVENT_BYTES, Taken, line_limit};
use super::params::Multiline;
use super::positions::Mark;
use super::quiet::Complaint;
use super::reader::{After, Allowance, Turn};

/// At a stop an event over several lines counts as whole if nothing came for this long. A younger one may still be being
/// written: its position stays before it, and the next start reads it whole.
const QUIET_BEFORE_STOP: Duration = Duration::from_millis(200);

/// The start of a line up to which it is read again with what follows: that costs less than a look for its end before.
pub(super) const SHORT_BYTES: usize = 16 << 10;

/// What a look at new bytes found.
enum Scan {
    /// The text at the position ends here, or a line of it that has to be tried.
    Ends(u64),
    /// It does not, or was left out.
    Done(After),
}

/// How a block is to be read.
#[derive(Clone, Copy)]
struct Plan {
    /// At least so many bytes.
    need: usize,
    /// An event over several lines counts as whole.
    flush: bool,
    /// The file counts as ended.
    finish: bool,
    allowance: Allowance,
}

impl Turn<'_> {
    /// Reads what is there, as far as the allowance goes.
    pub(super) fn read(
        &self,
        open: &File,
        size: u64,
        progress: &mut Progress,
        block: &mut Vec<u8>,
        allowance: Allowance,
    ) -> io::Result<After> {
        if size < progress.scanned {
            // Cut within the text at the position: what was looked at of it is gone.
            progress.move_to(progress.mark());
        }
        let flush = self.is_flush(progress);
        let finish = self.file.flags.finish.load(SeqCst);
        let mut end = progress.scanned;
        let short = progress.unbroken && progress.ahead() <= SHORT_BYTES as u64 && !self.is_over_limit(progress);
        if progress.ahead() > 0 && !short && !flush && (!finish || self.is_over_limit(progress)) {
            match self.scan(open, progress, block, allowance)? {
                Scan::Ends(at) => end = at,
                Scan::Done(after) => return Ok(after),
            }
        } else if size == end && !finish && !(flush && progress.ahead() > 0) {
            self.file.flags.at_end.store(true, SeqCst);
            return Ok(After::Rest);
        }
        let need = usize::try_from(end - progress.position).unwrap_or(usize::MAX);
        self.block(open, progress, block, Plan { need, flush, finish, allowance })
    }

    /// Whether the event at the position is taken as it is.
    fn is_flush(&self, progress: &mut Progress) -> bool {
        let settings = &self.shared.settings;
        if settings.multiline == Multiline::No || progress.unbroken {
            return false;
        }
        if progress.ahead() > MAX_EVENT_BYTES {
            return true;
        }
        if settings.multiline == Multiline::Collect || !self.file.flags.pending.load(SeqCst) {
            return false;
        }
        let age = self.now.duration_since(*progress.grown.get_or_insert(self.now));
        let due = settings.multiline_flush.is_some_and(|interval| age >= interval);
        due || (self.shared.queue.is_stopping() && age >= QUIET_BEFORE_STOP)
    }

    fn is_over_limit(&self, progress: &Progress) -> bool {
        progress.unbroken && progress.ahead() > line_limit(&self.shared.settings)
    }

    fn count_bytes(&self, progress: &mut Progress, bytes: usize) {
        progress.grown = Some(self.now);
        if let Some((_, read)) = &mut progress.window {
            *read += bytes as u64;
        }
    }

    /// Looks behind `scanned` for the end of the text at the position, without holding what is between.
    fn scan(
        &self,
        open: &File,
        progress: &mut Progress,
        block: &mut Vec<u8>,
        allowance: Allowance,
    ) -> io::Result<Scan> {
        let data = fill(open, block, progress.scanned, allowance.bytes)?;
        let at_end = data.len() < allowance.bytes;
        if !data.is_empty() {
            self.count_bytes(progress, data.len());
        }
        let charset = self.shared.settings.charset;
        let (found, passed) = match self.shared.settings.multiline {
            Multiline::FirstLine if !progress.unbroken => self.first_line(data),
            _ => (charset.line_end(data), 0),
        };
        if let Some(found) = found {
            let end = progress.scanned + found as u64;
            if progress.unbroken && end - progress.position > line_limit(&self.shared.settings) {
                return Ok(Scan::Done(self.leave_out(open, progress, end)?));
            }
            return Ok(Scan::Ends(end));
        }
        // A part of a line longer than a block is passed over too, or there would be no end to it.
        let passed =
            if passed == 0 && (progress.unbroken || !at_end) { charset.whole_characters(data) } else { passed };
        progress.scanned += passed as u64;
        self.complain_once(progress);
        if at_end && self.file.flags.finish.load(SeqCst) && self.is_over_limit(progress) {
            return Ok(Scan::Done(self.leave_out(open, progress, progress.scanned)?));
        }
        self.file.flags.at_end.store(at_end, SeqCst);
        Ok(Scan::Done(if at_end { After::Rest } else { After::More }))
    }

    /// The end of the first line that begins an event, and that of the last line before it.
    fn first_line(&self, data: &[u8]) -> (Option<usize>, usize) {
        let settings = &self.shared.settings;
        let rule = settings.parser.lines();
        let mut at = 0;
        while let Some(len) = settings.charset.line_end(&data[at..]) {
            let text = settings.charset.text(&data[at..at + len]);
            let text = text.strip_suffix(b"\n").unwrap_or(&text);
            if rule.and_then(|rule| rule.begins(text)).unwrap_or(true) {
                return (Some(at + len), at);
            }
            at += len;
        }
        (None, at)
    }

    fn complain_once(&self, progress: &mut Progress) {
        if self.is_over_limit(progress) && !std::mem::replace(&mut progress.too_long, true) {
            self.shared.quiet.say(&self.file.path, Complaint::TooLong(line_limit(&self.shared.settings)));
        }
    }

    /// Passes over the line at the position, which ends at `end` and is over the limit.
    fn leave_out(&self, open: &File, progress: &mut Progress, end: u64) -> io::Result<After> {
        progress.scanned = end;
        self.complain_once(progress);
        let from = progress.mark();
        progress.move_to(Mark { position: end, head: head_print(open, end)?, tail: Print::default() });
        let nothing = Events::new(&self.shared.settings, &self.file.path, &self.shared.quiet, 0);
        self.hand_on(nothing, from, progress.mark());
        Ok(After::More)
    }

    /// Reads from the position on and hands over what is whole.
    fn block(&self, open: &File, progress: &mut Progress, block: &mut Vec<u8>, plan: Plan) -> io::Result<After> {
        // The bytes before the position come along: they tell whether the file still is what it was.
        let before = usize::from(progress.tail.len);
        let ahead = usize::try_from(progress.ahead()).map_or(0, |ahead| ahead.min(SHORT_BYTES));
        let want = before + (plan.allowance.bytes + ahead).max(plan.need);
        let read = fill(open, block, progress.position - before as u64, want)?;
        if !progress.tail.matches(read) {
            return Ok(self.truncated());
        }
        let (mut data, mut at_end) = (&read[before..], read.len() < want);
        if plan.flush && !plan.finish {
            // What came after the time was over belongs to the next event, or to none.
            (data, at_end) = (&data[..data.len().min(plan.need)], false);
        }
        let cut = progress.longest_batch().filter(|longest| *longest <= data.len());
        if let Some(longest) = cut {
            (data, at_end) = (&data[..longest], false);
        }
        if data.len() as u64 > progress.ahead() {
            self.count_bytes(progress, data.len());
        }
        let charset = self.shared.settings.charset;
        let ended = plan.finish && at_end;
        let whole = if ended || cut.is_some() { data.len() } else { charset.last_line_end(data).unwrap_or(0) };
        let flush = plan.flush || ended || cut.is_some();
        let (events, taken) = self.take(progress, &data[..whole], Plan { flush, ..plan });
        let from = progress.mark();
        if taken.used > 0 {
            let position = progress.position + taken.used as u64;
            let tail = Print::of_tail(&read[..before + taken.used]);
            let grows = usize::from(from.head.len) < HEAD_BYTES;
            let head = if grows { head_print(open, position)? } else { from.head };
            progress.move_to(Mark { position, head, tail });
            self.hand_on(events, from, progress.mark());
        }
        if !taken.capped {
            progress.unbroken = taken.used == whole;
            let looked = if progress.unbroken { charset.whole_characters(data) } else { whole };
            progress.scanned = progress.position + looked.saturating_sub(taken.used) as u64;
        }
        self.file.flags.pending.store(taken.pending, SeqCst);
        self.complain_once(progress);
        Ok(self.after_block(taken.capped || !at_end, ended))
    }

    fn take(&self, progress: &Progress, data: &[u8], plan: Plan) -> (Events<'_>, Taken) {
        let lines = Lines {
            data,
            scanned: usize::try_from(progress.ahead()).unwrap_or(usize::MAX),
            most_texts: plan.allowance.texts,
            single: progress.position < progress.single_until,
            flush: plan.flush,
        };
        let mut events = Events::new(&self.shared.settings, &self.file.path, &self.shared.quiet, data.len());
        let taken = lines.take(&self.shared.settings, &mut events);
        (events, taken)
    }

    fn after_block(&self, more: bool, ended: bool) -> After {
        self.file.flags.at_end.store(!more, SeqCst);
        if more {
            return After::More;
        }
        if ended {
            self.file.flags.finished.store(true, SeqCst);
        }
        After::Rest
    }

    fn hand_on(&self, events: Events<'_>, from: Mark, upto: Mark) {
        if let Some(member) = &self.file.member {
            member.count(u64::from(events.texts()));
        }
        let batch = events.finish(self.file.tag.clone());
        let charge = self.shared.queue.charge(batch.bytes().len());
        if let Offer::Send(prepared) = self.file.offer(Prepared { batch, from, upto, _charge: Some(charge) }) {
            self.shared.send(self.file.clone(), prepared);
        }
    }
}

/// Reads up to `want` bytes at `offset` into the reader's block.
fn fill<'b>(open: &File, block: &'b mut Vec<u8>, offset: u64, want: usize) -> io::Result<&'b [u8]> {
    if block.len() < want {
        block.resize(want, 0);
    }
    let got = read_at(open, &mut block[..want], offset)?;
    Ok(&block[..got])
}
