//! When passes are made: at the kernel's word, each second, and at `refresh_interval`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::discover::{Discovery, Outcome, Scope};
use super::notify::{Change, Watcher};
use crate::plugin::{InputError, Stop};

/// How often files are looked at where nothing is told of them, and as a net where it is.
const TICK: Duration = Duration::from_secs(1);
/// How often while files are being let go of.
const LEAVING_TICK: Duration = Duration::from_millis(100);
/// Changes are gathered for so long before the next are taken: a file written to all the time is not woken for each write.
const GATHER: Duration = Duration::from_millis(5);
/// A pass begins at the earliest so many times its length after the one before: passes take a small part of one core.
const PASS_SHARE: u32 = 20;
/// Shortest pause between passes.
const PASS_PAUSE: Duration = Duration::from_millis(10);

/// When what is due.
struct Agenda {
    /// The look-up of paths of `refresh_interval`.
    regular: Instant,
    /// A look-up of paths because names changed.
    names: Option<Instant>,
    /// A look at what is followed.
    tick: Option<Instant>,
    compaction: Option<Instant>,
    /// No pass before.
    earliest: Instant,
    /// No changes are taken before.
    gathered: Instant,
}

/// Makes passes until told to stop.
pub(super) async fn run(mut discovery: Discovery, mut stop: Stop) -> Result<Discovery, InputError> {
    let shared = discovery.shared.clone();
    let settings = &shared.settings;
    let mut watcher = settings.stat_watcher.then(open_watcher).flatten();
    let now = Instant::now();
    let first = if settings.skip_refresh_on_startup { now + settings.refresh_interval } else { now };
    let compaction = settings.compaction.map(|interval| now + interval);
    let mut agenda = Agenda { regular: first, names: None, tick: None, compaction, earliest: now, gathered: now };
    loop {
        let due = agenda.due();
        tokio::select! {
            biased;
            () = stop.wait() => return Ok(discovery),
            changes = changes(&mut watcher, agenda.gathered) => agenda.changed(changes, &mut watcher, &discovery),
            () = shared.look_again.notified() => agenda.names_changed(),
            () = sleep_until(due) => {
                let scope = agenda.scope(Instant::now());
                discovery.regular = agenda.regular <= Instant::now();
                let began = Instant::now();
                let outcome;
                (discovery, outcome) = pass(discovery, scope).await?;
                agenda.passed(scope, began, &discovery);
                if let Some(directories) = outcome.directories {
                    agenda.watch(&mut watcher, &directories);
                }
                agenda.next_tick(&watcher, outcome.leaving, &discovery);
            }
        }
    }
}

fn open_watcher() -> Option<Watcher> {
    Watcher::new().inspect_err(|e| warn!("inotify can't be used ({e}): files are looked at each second")).ok()
}

/// Waits for changes; for ever where nothing is watched.
async fn changes(watcher: &mut Option<Watcher>, gathered: Instant) -> std::io::Result<Vec<Change>> {
    match watcher {
        Some(watcher) => {
            sleep_until(gathered).await;
            watcher.changes().await
        }
        None => std::future::pending().await,
    }
}

/// One pass, on a thread where it may wait.
pub(super) async fn pass(mut discovery: Discovery, scope: Scope) -> Result<(Discovery, Outcome), InputError> {
    let made = tokio::task::spawn_blocking(move || {
        let outcome = discovery.pass(scope);
        (discovery, outcome)
    });
    made.await.map_err(|e| InputError(format!("looking for files failed: {e}")))
}

impl Agenda {
    fn due(&self) -> Instant {
        let times = [Some(self.regular), self.names, self.tick, self.compaction];
        times.into_iter().flatten().min().unwrap_or(self.regular).max(self.earliest)
    }

    fn scope(&self, now: Instant) -> Scope {
        let named = self.regular <= now || self.names.is_some_and(|at| at <= now);
        if named { Scope::Named } else { Scope::Followed }
    }

    fn names_changed(&mut self) {
        self.names.get_or_insert_with(Instant::now);
    }

    fn changed(&mut self, changes: std::io::Result<Vec<Change>>, watcher: &mut Option<Watcher>, discovery: &Discovery) {
        self.gathered = Instant::now() + GATHER;
        match changes {
            Ok(changes) => changes.iter().for_each(|change| match change {
                Change::Content(path) => discovery.touched(path),
                Change::Names => self.names_changed(),
            }),
            Err(e) => {
                warn!("inotify failed ({e}): files are looked at each second from now on");
                *watcher = None;
                self.names_changed();
            }
        }
    }

    fn passed(&mut self, scope: Scope, began: Instant, discovery: &Discovery) {
        let now = Instant::now();
        self.earliest = now + (now.duration_since(began) * PASS_SHARE).max(PASS_PAUSE).min(TICK * 10);
        if scope == Scope::Named {
            self.names = None;
        }
        if self.regular <= began {
            self.regular = now + discovery.shared.settings.refresh_interval;
        }
        if self.compaction.is_some_and(|at| at <= now) {
            info!("Clean up the pos file");
            discovery.shared.positions.compact();
            self.compaction = discovery.shared.settings.compaction.map(|interval| now + interval);
        }
    }

    /// Watches the directories. Names that came before one was watched are looked for once more.
    fn watch(&mut self, watcher: &mut Option<Watcher>, directories: &BTreeSet<PathBuf>) {
        if let Some(watcher) = watcher
            && watcher.watch(directories)
        {
            self.names_changed();
        }
    }

    fn next_tick(&mut self, watcher: &Option<Watcher>, leaving: bool, discovery: &Discovery) {
        let now = Instant::now();
        let settings = &discovery.shared.settings;
        let told = watcher.as_ref().is_some_and(Watcher::is_complete);
        if !told && !discovery.is_waiting_for_first_look() {
            // Nobody tells of new names either.
            self.names.get_or_insert(now + TICK);
        }
        let tick = if leaving { LEAVING_TICK } else { TICK };
        let flush = settings.multiline_flush.map(|interval| (interval / 4).max(LEAVING_TICK));
        let needed = settings.watch_timer || !told || leaving || flush.is_some();
        self.tick = needed.then(|| now + flush.unwrap_or(tick).min(tick));
    }
}
