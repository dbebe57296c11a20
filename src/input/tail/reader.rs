//! Readers: a few threads that take turns on all files.
//!
//! A turn reads at most one block of one file, so a file of any size takes its place in the queue after each block. A reader
//! reads and parses, which keeps a core busy for milliseconds and may wait for a disk; that is why readers are threads of
//! their own and not tasks, which would hold up every other task of the runtime meanwhile.
//!
//! Nothing of a file is kept between turns but numbers. What is not whole yet (a line without its end, an event whose next
//! first line has not come) is read again once it is; until then only what is new is looked at.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::Shared;
use super::block::SHORT_BYTES;
use super::follow::{Followed, OpenFile, Progress, Rewind};
use super::identity::{Meta, TAIL_BYTES, has_head};

/// Bytes of a block: large enough that system calls, batches and syncs cost little per byte. A batch of it fits one frame.
const BLOCK_BYTES: usize = 1 << 20;
/// Bytes of a block while batches on their way take much memory.
const SMALL_BLOCK_BYTES: usize = 64 << 10;
/// Most bytes that a reader keeps for the next block: one with what is read again before and behind it.
const KEPT_BYTES: usize = BLOCK_BYTES + SHORT_BYTES + TAIL_BYTES;
/// Pause after an error of the disk.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// The second that `read_bytes_limit_per_second` counts in.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// What comes after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// There is more to read.
    More,
    /// Nothing to do until somebody asks.
    Rest,
    /// There may be more, at that time.
    Later(Instant),
}

/// Takes turns until the queue is closed. Runs on a thread of its own.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut block = Vec::new();
    while let Some(file) = shared.queue.next() {
        let after = turn(shared, &file, &mut block);
        shared.release_next(&file);
        shared.queue.done(file.clone(), after == After::More);
        if let After::Later(at) = after {
            shared.wake_at(file, at);
        }
        if block.len() > KEPT_BYTES {
            block.truncate(KEPT_BYTES);
            block.shrink_to_fit();
        }
    }
}

fn turn(shared: &Arc<Shared>, file: &Arc<Followed>, block: &mut Vec<u8>) -> After {
    let mut progress = file.progress();
    if let Some(Rewind { to, refused, single_until }) = file.take_rewind() {
        progress.move_to(to);
        progress.end_batches_at([refused]);
        progress.single_until = single_until;
        file.flags.finished.store(false, SeqCst);
    }
    if file.is_full() || file.flags.finished.load(SeqCst) || file.flags.truncated.load(SeqCst) {
        return After::Rest;
    }
    let outcome = Turn { shared, file, now: Instant::now() }.run(&mut progress, block);
    file.flags.position.store(progress.position, SeqCst);
    progress.let_go(shared, file);
    drop(progress);
    outcome.unwrap_or_else(|e| {
        error!("can't read {}: {e}", file.path.display());
        After::Later(Instant::now() + ERROR_PAUSE)
    })
}

/// One turn on one file.
pub(super) struct Turn<'t> {
    pub(super) shared: &'t Arc<Shared>,
    pub(super) file: &'t Arc<Followed>,
    pub(super) now: Instant,
}

/// How much may be read.
#[derive(Clone, Copy)]
pub(super) struct Allowance {
    pub(super) bytes: usize,
    pub(super) texts: u32,
}

impl Turn<'_> {
    fn run(&self, progress: &mut Progress, block: &mut Vec<u8>) -> io::Result<After> {
        let allowance = match self.allowance(progress) {
            Ok(allowance) => allowance,
            Err(at) => return Ok(After::Later(at)),
        };
        let Some(open) = self.open(progress)? else { return Ok(After::Rest) };
        let meta = Meta::of_file(&open)?;
        self.file.flags.size.store(meta.size, SeqCst);
        let read = has_head(&open, progress.head).and_then(|same| {
            if meta.size < progress.position || !same {
                return Ok(self.truncated());
            }
            self.read(&open, meta.size, progress, block, allowance)
        });
        progress.file = Some(open);
        read
    }

    /// What the rate limits leave, or when they leave more.
    fn allowance(&self, progress: &mut Progress) -> Result<Allowance, Instant> {
        let block = if self.shared.queue.is_short_of_memory() { SMALL_BLOCK_BYTES } else { BLOCK_BYTES };
        let mut allowance = Allowance { bytes: block, texts: self.shared.settings.lines_per_batch };
        if let Some(limit) = self.shared.settings.bytes_per_second {
            let (since, read) =
                progress.window.filter(|(t, _)| self.now.duration_since(*t) < RATE_WINDOW).unwrap_or((self.now, 0));
            progress.window = Some((since, read));
            let left = limit.saturating_sub(read);
            if left == 0 {
                return Err(since + RATE_WINDOW);
            }
            allowance.bytes = usize::try_from(left).unwrap_or(block).min(block);
        }
        if let Some(member) = &self.file.member {
            let lines = u32::try_from(member.allowance(self.now)?).unwrap_or(u32::MAX);
            allowance.texts = allowance.texts.min(lines);
        }
        Ok(allowance)
    }

    /// The open file. Where it was closed it is opened again, if its path still leads to it.
    fn open(&self, progress: &mut Progress) -> io::Result<Option<OpenFile>> {
        if let Some(open) = progress.file.take() {
            return Ok(Some(open));
        }
        let same = |open: &File| Ok::<_, io::Error>(Meta::of_file(open)?.same_file(self.file.id, self.file.born));
        match File::open(&self.file.path) {
            Ok(open) if same(&open)? => Ok(Some(OpenFile::new(open, &self.shared.open_files))),
            Err(e) if !matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Err(e),
            _ => {
                self.file.flags.at_end.store(true, SeqCst);
                if self.file.flags.leaving.load(SeqCst) {
                    warn!("{} went away before it was read to its end", self.file.path.display());
                    self.file.flags.finished.store(true, SeqCst);
                }
                Ok(None)
            }
        }
    }

    /// The bytes that were read are no longer the file's: discovery is told.
    pub(super) fn truncated(&self) -> After {
        self.file.flags.truncated.store(true, SeqCst);
        self.file.flags.at_end.store(true, SeqCst);
        self.shared.look_again.notify_one();
        After::Rest
    }
}

impl Progress {
    /// Closes the file where it is to be closed between reads. One that is leaving is held: its path leads elsewhere.
    fn let_go(&mut self, shared: &Shared, file: &Followed) {
        let crowded = shared.open_files.load(SeqCst) > shared.most_open_files && file.flags.at_end.load(SeqCst);
        let close = (shared.settings.open_on_every_update || crowded) && !file.flags.leaving.load(SeqCst);
        if close {
            self.file = None;
        }
    }
}
