//! `tail`: lines that are appended to files.
//!
//! The way of a line, file by file:
//! - [`params`], [`paths`], [`glob`]: what the configuration names.
//! - [`drive`], [`notify`]: when files are looked at; [`discover`], [`leaving`], [`lost`]: which ones are followed, and what
//!   becomes of rotated ones. [`identity`]: which file is which.
//! - [`queue`], [`reader`], [`block`]: whose turn it is, and what a turn reads; [`group`]: rate limits.
//! - [`charset`], [`lines`], [`events`]: from bytes to a batch; [`quiet`]: complaints about lines.
//! - [`send`]: a file's batches go out one after the other; [`positions`]: and its position moves.
//!
//! Invariants: a position moves only over what is stored durably or was delivered; every batch is stamped with its file's
//! stream and the offset behind it, so that what a buffer holds is not read again after a crash; memory does not depend on
//! the number or the size of files; a file that has to wait never holds up another.
//!
//! Where Fluentd loses or doubles lines the same words mean something safer here:
//! - The last line of a rotated file counts without its line end; Fluentd drops it. A file that is still written to after
//!   `rotate_wait` is read on.
//! - Files that were rotated, or copied and cut, while nobody looked are found beside their paths and finished first. A file
//!   that came into being meanwhile is read from its head, as one that comes while the input runs.
//! - A renamed file that matches `path` under its new name too is not read again, with or without `follow_inodes`.
//! - A position stands before an event over several lines until that is whole. At a stop it counts as whole if nothing came
//!   for a moment.
//! - A line over 8 MiB is left out even where `max_line_size` says nothing.
//! - `read_lines_limit` cuts batches only where it is written; its default would make them needlessly small.

mod block;
mod charset;
mod discover;
mod drive;
mod events;
mod follow;
mod glob;
mod group;
mod identity;
mod leaving;
mod lines;
mod lost;
mod notify;
mod params;
mod paths;
mod positions;
mod queue;
mod quiet;
mod reader;
mod send;
mod tasks;
#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
pub(crate) use positions::read_any as read_positions;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::fs::{Access, access};
use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{Instrument, warn};

use self::discover::{AtStart, Discovery, Scope};
use self::follow::{Followed, Prepared};
use self::params::Settings;
pub use self::params::TailParams;
use self::paths::Paths;
use self::positions::{Claim, Positions};
use self::queue::Queue;
use self::quiet::Quiet;
use self::tasks::Tasks;
use crate::config::Diagnostic;
use crate::plugin::{BuildContext, Configure, Emitter, Input, InputError, Stop, Stopper};

/// Most reader threads: more would only wait for the same memory and disk.
const MAX_READERS: usize = 4;
/// Open files where the process may have any number.
const MAX_OPEN_FILES: usize = 100_000;
/// How long a stop reads what is there already.
const STOP_READ_TIME: Duration = Duration::from_secs(1);
/// How long a stop waits for batches that a buffer is about to store.
const STOP_SEND_TIME: Duration = Duration::from_secs(2);
/// How often a stop looks whether readers are done.
const STOP_LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// The input.
pub struct Tail {
    settings: Settings,
    paths: Paths,
    opened: Option<Opened>,
}

/// What is there once the input was opened.
struct Opened {
    claim: Claim,
    /// Files at that moment; `None` with `skip_refresh_on_startup`.
    at_start: Option<AtStart>,
}

/// What discovery, readers and senders share.
struct Shared {
    settings: Settings,
    queue: Arc<Queue>,
    quiet: Quiet,
    positions: Arc<Positions>,
    emit: Emitter,
    stop: Stop,
    /// One per file that has a batch on its way.
    senders: Tasks,
    /// One per file that waits for receipts.
    receipts: Tasks,
    /// One per file that is to be looked at later.
    timers: Tasks,
    open_files: Arc<AtomicUsize>,
    /// Above it files are closed between reads.
    most_open_files: usize,
    /// Asks for a pass.
    look_again: Notify,
}

impl Configure for Tail {
    type Config = TailParams;

    fn new(params: TailParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let (settings, paths) = Settings::new(params, cx)?;
        Ok(Tail { settings, paths, opened: None })
    }
}

impl Input for Tail {
    async fn open(&mut self) -> Result<(), InputError> {
        let claim = Claim::open(self.settings.pos_file.as_deref(), self.settings.follow_inodes).map_err(|e| {
            let file = self.settings.pos_file.as_deref().unwrap_or(Path::new("")).display();
            InputError(format!("pos_file {file}: {e}"))
        })?;
        // What is there now was there at the start, whatever comes before the first look.
        let at_start =
            (!self.settings.skip_refresh_on_startup).then(|| AtStart::new(&mut self.paths, most_open_files()));
        at_start.iter().flat_map(|start| &start.targets.directories).for_each(|directory| check_permission(directory));
        self.opened = Some(Opened { claim, at_start });
        Ok(())
    }

    async fn run(mut self, emit: Emitter, stop: Stop) -> Result<(), InputError> {
        if self.opened.is_none() {
            self.open().await?;
        }
        let Some(Opened { claim, at_start }) = self.opened else { return Ok(()) };
        let shared = Arc::new(Shared::new(self.settings, claim.clone(), emit, stop.clone()));
        let _ending = EndAll(shared.clone());
        let saving = Stopper::new();
        // A set, so that it ends with this future whatever ends that.
        let mut saver = JoinSet::new();
        saver.spawn(claim.clone().keep_saved(saving.listener()));
        let mut readers = start_readers(&shared);
        let discovery = Discovery::new(shared.clone(), self.paths, at_start);
        let outcome = tokio::select! {
            outcome = drive::run(discovery, stop) => outcome,
            // A reader ends before the stop only if it failed.
            _ = readers.join_next() => Err(InputError("a reader of tail failed".into())),
        };
        let outcome = match outcome {
            Ok(discovery) => read_rest(&shared, discovery).await,
            Err(e) => Err(e),
        };
        shared.queue.close();
        while readers.join_next().await.is_some() {}
        shared.timers.abort().await;
        shared.senders.join(STOP_SEND_TIME).await;
        saving.stop();
        while saver.join_next().await.is_some() {}
        end_receipts(&shared).await;
        outcome
    }
}

/// Reads what is there already, for a moment: a stop follows the last lines often enough.
async fn read_rest(shared: &Arc<Shared>, discovery: Discovery) -> Result<(), InputError> {
    shared.queue.set_stopping();
    let mut discovery = discovery;
    if discovery.is_waiting_for_first_look() {
        // It looks at what was there at the start; what came since is found by the next.
        (discovery, _) = drive::pass(discovery, Scope::Named).await?;
    }
    (discovery, _) = drive::pass(discovery, Scope::Named).await?;
    discovery.wake_all();
    let end = Instant::now() + STOP_READ_TIME;
    while !shared.queue.is_idle() && Instant::now() < end {
        tokio::time::sleep(STOP_LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Saves positions. Those that wait for a delivery go on waiting: memory buffers are emptied only after inputs have ended.
async fn end_receipts(shared: &Arc<Shared>) {
    shared.positions.save_now().await;
    let mut receipts = shared.receipts.take();
    while receipts.try_join_next().is_some() {}
    if !receipts.is_empty() {
        let positions = shared.positions.clone();
        shared.emit.linger(async move {
            while receipts.join_next().await.is_some() {}
            positions.save_now().await;
        });
    }
}

fn start_readers(shared: &Arc<Shared>) -> JoinSet<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut readers = JoinSet::new();
    for _ in 0..cores.min(MAX_READERS) {
        let shared = shared.clone();
        let span = tracing::Span::current();
        readers.spawn_blocking(move || span.in_scope(|| reader::run(&shared)));
    }
    readers
}

/// Ends threads and tasks when the input is dropped: they hold what they share alive, and threads would wait for ever.
struct EndAll(Arc<Shared>);

impl Drop for EndAll {
    fn drop(&mut self) {
        self.0.queue.close();
        [&self.0.senders, &self.0.receipts, &self.0.timers].into_iter().for_each(|tasks| drop(tasks.take()));
    }
}

/// Half of what the process may open: buffers and sockets need theirs.
fn most_open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current.and_then(|n| usize::try_from(n).ok());
    limit.map_or(MAX_OPEN_FILES, |n| (n / 2).min(MAX_OPEN_FILES))
}

fn check_permission(directory: &Path) {
    if directory.is_dir() && access(directory, Access::EXEC_OK).is_err() {
        warn!("Skip files because '{}' lacks execute permission.", directory.display());
    }
}

impl Shared {
    fn new(settings: Settings, positions: Arc<Positions>, emit: Emitter, stop: Stop) -> Shared {
        Shared {
            settings,
            queue: Arc::default(),
            quiet: Quiet::default(),
            positions,
            emit,
            stop,
            senders: Tasks::new(),
            receipts: Tasks::new(),
            timers: Tasks::new(),
            open_files: Arc::default(),
            most_open_files: most_open_files(),
            look_again: Notify::new(),
        }
    }

    /// Lets the file go on that waits for this one, once this is read to its end and handed on.
    fn release_next(&self, file: &Followed) {
        if file.flags.at_end.load(SeqCst)
            && file.is_sent()
            && let Some(next) = file.take_next()
        {
            self.queue.wake(&next);
        }
    }

    /// Hands on a file's batches, beginning with this one.
    fn send(self: &Arc<Self>, file: Arc<Followed>, first: Prepared) {
        self.senders.spawn(send::run(self.clone(), file, first).in_current_span());
    }

    /// Gives a file a turn at that time.
    fn wake_at(self: &Arc<Self>, file: Arc<Followed>, at: Instant) {
        self.wake_after(file, at.saturating_duration_since(Instant::now()));
    }

    /// Gives a file a turn after a pause.
    fn wake_after(self: &Arc<Self>, file: Arc<Followed>, pause: Duration) {
        let shared = self.clone();
        self.timers.spawn(async move {
            tokio::time::sleep(pause).await;
            shared.queue.wake(&file);
        });
    }
}
