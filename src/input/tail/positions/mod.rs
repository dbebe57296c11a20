//! Positions: how far each file is read, kept where a restart finds it.
//!
//! - [`row`]: one file's position, and the receipts that it waits for. It moves here and nowhere else.
//! - [`table`]: which row a file that was found goes on from.
//! - [`posfile`], [`sidecar`]: the two files. [`save`]: how they are replaced.
//!
//! Invariants: a position moves only over bytes whose events are stored durably, or delivered; the files lag behind it. No
//! batch is emitted from a generation of a file before the files know its stream, so that after a crash the buffer's newest
//! position of that stream is found again.

mod posfile;
mod row;
mod save;
mod sidecar;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tracing::warn;

pub(super) use self::row::{Mark, Row, Stored};
use self::sidecar::Head;
use self::table::Table;
pub(super) use self::table::{Arrival, Arrived, still_has};
use crate::buffer::Receipt;
use crate::plugin::Stop;

/// How long a changed position may be unsaved.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Added per file, so that a great many files do not mean megabytes written each second.
const SAVE_INTERVAL_PER_FILE: Duration = Duration::from_millis(1);
/// Shortest pause between two saves, so that files that appear one after another share one.
const SAVE_PAUSE: Duration = Duration::from_millis(10);
/// How often a failing save is warned of.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// The positions of one input.
#[derive(Debug)]
pub(super) struct Positions {
    file: Option<PathBuf>,
    table: Mutex<Table>,
    /// The hash of the position file on disk.
    on_disk: AtomicU64,
    /// Counts changes.
    version: AtomicU64,
    /// The version that whoever waits for a save need not wait for any more: it is saved, or a save of it failed.
    saved: watch::Sender<u64>,
    /// The version that is in the files.
    written: AtomicU64,
    /// One save at a time: one that a stop in haste left behind may still be waiting for the disk.
    saving: Mutex<()>,
    wanted: Notify,
    claimed: AtomicBool,
}

/// The one input that uses positions now. Dropping it gives the rows back, for the next input with the same position file.
#[derive(Debug)]
pub(super) struct Claim(Arc<Positions>);

/// Positions in use, by position file: by a running input, or by one that was stopped and has batches on their way still.
static IN_USE: LazyLock<Mutex<HashMap<PathBuf, Weak<Positions>>>> = LazyLock::new(Mutex::default);

impl Claim {
    /// Opens the positions of a position file, or in memory where there is none.
    ///
    /// Errors: another input uses the file; it can't be read or made.
    pub(super) fn open(file: Option<&Path>, follow_inodes: bool) -> io::Result<Claim> {
        let Some(file) = file else { return Ok(Claim(Arc::new(Positions::new(None, Table::default())))) };
        if !file.exists() {
            // Who removes the position file wants to begin anew. What hints know is of no use then.
            save::create(file)?;
            save::remove(&sidecar_of(&file.canonicalize()?))?;
        }
        // A link stays one: its target is replaced. And two names of one file are one.
        let file = file.canonicalize()?;
        let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|_, positions| positions.strong_count() > 0);
        let positions = match in_use.get(&file).and_then(Weak::upgrade) {
            Some(positions) => positions,
            None => Arc::new(Positions::load(&file, follow_inodes)?),
        };
        if positions.claimed.swap(true, Relaxed) {
            let why =
                format!("Other 'in_tail' plugin already use same pos_file path: pos_file path = {}", file.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        in_use.insert(file, Arc::downgrade(&positions));
        Ok(Claim(positions))
    }
}

impl std::ops::Deref for Claim {
    type Target = Arc<Positions>;

    fn deref(&self) -> &Arc<Positions> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.table().release();
        self.0.claimed.store(false, Relaxed);
    }
}

impl Positions {
    fn new(file: Option<PathBuf>, table: Table) -> Positions {
        Positions {
            file,
            table: Mutex::new(table),
            on_disk: AtomicU64::new(0),
            version: AtomicU64::new(1),
            saved: watch::Sender::new(0),
            written: AtomicU64::new(0),
            saving: Mutex::default(),
            wanted: Notify::new(),
            claimed: AtomicBool::new(false),
        }
    }

    fn load(file: &Path, follow_inodes: bool) -> io::Result<Positions> {
        let lines = save::read(file)?.unwrap_or_default();
        let (head, hints) = sidecar::parse(&read_hints(&sidecar_of(file)));
        let table = Table::load(&lines, (head, hints), follow_inodes);
        let mut positions = Positions::new(Some(file.to_owned()), table);
        positions.on_disk = AtomicU64::new(sidecar::hash(&lines));
        Ok(positions)
    }

    // Every change under the lock is whole by itself; a panic elsewhere leaves nothing half done.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the version that has the change.
    fn changed(&self) -> u64 {
        self.version.fetch_add(1, Relaxed) + 1
    }

    /// When files were looked for last, by an earlier process perhaps.
    pub(super) fn last_look(&self) -> Option<SystemTime> {
        self.table().looked
    }

    /// All files that were at their paths at this time are known.
    pub(super) fn looked(&self, at: SystemTime) {
        self.table().looked = Some(at);
    }

    /// See [`Table::adopt`].
    pub(super) fn adopt(&self, arrived: &Arrived<'_>) -> io::Result<(Arc<Row>, Mark)> {
        let unknown = |_: &str| None;
        // Without a position file every start is a new one, as in Fluentd.
        let newest = if self.file.is_some() { arrived.newest } else { &unknown };
        let adopted = self.table().adopt(&Arrived { newest, ..*arrived })?;
        adopted.0.is_there_since(self.changed());
        Ok(adopted)
    }

    /// Rows of files that are not followed, and paths and inodes of lines that Fluentd wrote.
    pub(super) fn unfollowed(&self) -> (Vec<Arc<Row>>, Vec<(PathBuf, u64)>) {
        let table = self.table();
        let lines = table.foreign_lines().iter().map(|l| (l.path.clone(), l.inode)).collect();
        (table.parked_rows(), lines)
    }

    /// Rows of files with this inode that are not followed.
    pub(super) fn unfollowed_of(&self, inode: u64) -> Vec<Arc<Row>> {
        self.table().parked_of(inode)
    }

    /// The start is over: what the position file named and was not found has no line any more.
    pub(super) fn settle(&self) {
        self.table().settle();
        self.changed();
    }

    /// See [`Table::take_over`].
    pub(super) fn take_over(&self, row: &Arc<Row>) {
        self.table().take_over(row);
        self.changed();
    }

    /// See [`Table::unlist`].
    pub(super) fn unlist(&self, row: &Row) {
        self.table().unlist(row);
        self.changed();
    }

    /// See [`Table::retire`].
    pub(super) fn retire(&self, row: &Arc<Row>, gone: bool) {
        self.table().retire(row, gone);
        self.changed();
    }

    /// See [`Table::rename`].
    pub(super) fn rename(&self, row: &Arc<Row>, path: &Path) {
        self.table().rename(row, path);
        self.changed();
    }

    /// Takes lines of files that are gone out of the position file (`pos_file_compaction_interval`).
    pub(super) fn compact(&self) {
        self.table().compact();
        self.changed();
    }

    /// A batch of `row` up to `mark` is stored. See [`Stored`] for what the caller is to do.
    pub(super) fn stored(&self, row: &Row, mark: Mark, receipt: Receipt) -> Stored {
        let stored = row.stored(mark, receipt);
        if stored == Stored::Moved {
            self.changed();
        }
        stored
    }

    /// Waits for the receipts of `row` and moves its position with them.
    pub(super) async fn delivered(&self, row: &Row) {
        let moved = || {
            self.changed();
        };
        row.delivered(moved).await;
    }

    /// Waits until the files know of a row; one save does for all rows that came before it. A save that fails is warned of
    /// and not waited for: the disk being full is no reason to stop collecting; it costs that lines may come twice after a
    /// crash.
    pub(super) async fn saved(&self, row: &Row) {
        let since = row.since();
        if self.file.is_none() || *self.saved.borrow() >= since {
            return;
        }
        let mut saved = self.saved.subscribe();
        self.wanted.notify_one();
        // The sender is our own, so it is there.
        let _ = saved.wait_for(|saved| *saved >= since).await;
    }

    /// Saves changes until told to stop: each [`SAVE_INTERVAL`], and at once when somebody waits.
    pub(super) async fn keep_saved(self: Arc<Self>, mut stop: Stop) {
        let mut complaint = Complaint::default();
        loop {
            let files = u32::try_from(self.table().len()).unwrap_or(u32::MAX);
            let interval = SAVE_INTERVAL + SAVE_INTERVAL_PER_FILE.saturating_mul(files);
            let wanted = async {
                let _ = tokio::time::timeout(interval, self.wanted.notified()).await;
                tokio::time::sleep(SAVE_PAUSE).await;
            };
            let stopped = stop.or(wanted).await.is_none();
            if self.is_behind() {
                self.save(&mut complaint).await;
            }
            if stopped {
                return;
            }
        }
    }

    /// Saves what is not saved yet, at the end.
    pub(super) async fn save_now(self: &Arc<Self>) {
        if self.is_behind() {
            self.save(&mut Complaint::default()).await;
        }
    }

    /// Whether there are changes that the files do not have.
    fn is_behind(&self) -> bool {
        self.written.load(Relaxed) < self.version.load(Relaxed)
    }

    async fn save(self: &Arc<Self>, complaint: &mut Complaint) {
        let version = self.version.load(Relaxed);
        let positions = self.clone();
        // A sync may take long, and would hold up everything else on this thread.
        match tokio::task::spawn_blocking(move || positions.write()).await {
            Ok(Ok(())) => {
                self.written.fetch_max(version, Relaxed);
            }
            Ok(Err(e)) => complaint.say(self.file.as_deref(), &e.to_string()),
            Err(e) => complaint.say(self.file.as_deref(), &e.to_string()),
        }
        self.saved.send_replace(version);
    }

    fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        // There is nothing behind the lock that a panic could leave half changed.
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let (looked, (lines, hints)) = {
            let table = self.table();
            (table.looked, table.save())
        };
        let hash = sidecar::hash(&lines);
        let head = Head { looked, lines: [hash, self.on_disk.load(Relaxed)] };
        // Hints first: they know this position file and the one before, so between the two saves nothing is in doubt.
        save::replace(&sidecar_of(file), &sidecar::text(head, hints.into_iter()))?;
        save::replace(file, &lines)?;
        self.on_disk.store(hash, Relaxed);
        Ok(())
    }
}

#[derive(Default)]
struct Complaint(Option<tokio::time::Instant>);

impl Complaint {
    fn say(&mut self, file: Option<&Path>, why: &str) {
        let now = tokio::time::Instant::now();
        if self.0.is_none_or(|last| now.duration_since(last) >= WARN_INTERVAL) {
            let file = file.unwrap_or(Path::new(""));
            warn!(
                "can't save positions to {}: {why}. Until it can, lines may come twice after a crash",
                file.display()
            );
            self.0 = Some(now);
        }
    }
}

/// Whether anything still holds the positions of a file: an input, or a save under way.
#[cfg(test)]
pub(super) fn is_in_use(file: &Path) -> bool {
    let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    file.canonicalize().is_ok_and(|file| in_use.get(&file).is_some_and(|positions| positions.strong_count() > 0))
}

fn sidecar_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".suiro");
    PathBuf::from(name)
}

fn read_hints(path: &Path) -> Vec<u8> {
    save::read(path)
        .unwrap_or_else(|e| {
            warn!("can't read {}: {e}. Positions are taken from the position file alone", path.display());
            None
        })
        .unwrap_or_default()
}

/// Reads a file in each of the forms that position files have; for [`crate::fuzzing`].
#[cfg(any(test, fuzzing))]
pub(crate) fn read_any(bytes: &[u8]) {
    let (lines, _) = posfile::parse(bytes, false);
    let mut again = Vec::new();
    for line in lines.iter().filter(|l| posfile::can_hold(&l.path)) {
        posfile::write_line(&mut again, &line.path, line.position, line.inode);
    }
    let _ = posfile::parse(&again, true);
    let (head, hints) = sidecar::parse(bytes);
    let _ = sidecar::text(head, hints.into_iter());
}
