//! What a loader remembers of the jobs that it has asked a target to do: a journal beside the buffer, and the pace that it
//! gives.
//!
//! One JSON object a line, the whole state of one job; the last line of a job counts. A line is written and synced before
//! the target is asked, and again when its answer is known, so a start goes on with the jobs that the run before has begun,
//! and jobs that failed count against a quota over restarts too. Several processes may use a journal (a daemon, and `suiro
//! jobs` beside it): each takes the lock for as long as it reads what is new and writes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Name of the journal in the directory of the buffer.
pub const JOBS: &str = "jobs.log";
/// Name of its lock.
const LOCK: &str = "jobs.lock";
/// Longest line, in bytes: a job whose rows were refused one by one has a long one.
const MAX_LINE: u64 = 16 << 20;
/// Jobs that have ended and are still shown; older ones are forgotten.
const MAX_ENDED: usize = 10_000;
/// Bytes past which a journal is written anew, if it has twice as many lines as jobs.
const COMPACT_BYTES: u64 = 4 << 20;
/// What quotas are counted over.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What has become of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// The target may or may not have heard of it.
    Submitted,
    /// The target runs it.
    Running,
    /// All of its rows are in, but for those that were refused.
    Done,
    /// None of its rows are in.
    Failed,
}

impl JobState {
    /// The word in listings.
    pub fn word(self) -> &'static str {
        match self {
            JobState::Submitted => "submitted",
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Failed => "failed",
        }
    }

    /// Whether nothing more will become of it.
    pub fn has_ended(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed)
    }
}

/// Rows of a job that the target refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRow {
    /// Place of its event in the chunk, from 0.
    pub place: u64,
    /// What the target said.
    pub answer: String,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name at the target: a function of chunk, table, generation, rows and attempt.
    pub id: String,
    /// The chunk, as 32 hexadecimal digits.
    pub chunk: String,
    /// Where its rows go.
    pub table: String,
    /// How often the chunk was asked to be loaded anew (`suiro jobs redo`).
    pub generation: u32,
    /// Attempts before this one.
    pub attempt: u32,
    /// The events of the chunk that it is about: from, and the place behind the last.
    pub rows: (u64, u64),
    /// What has become of it.
    pub state: JobState,
    /// When it was submitted, and when its end was known; microseconds since the epoch.
    pub submitted: i64,
    /// See `submitted`.
    #[serde(default)]
    pub ended: Option<i64>,
    /// Events and bytes that were sent, packed.
    #[serde(default)]
    pub events: u64,
    /// See `events`.
    #[serde(default)]
    pub bytes: u64,
    /// Tells whether rows look the same when they are made again.
    #[serde(default)]
    pub shape: String,
    /// Why it failed: the target's word for the reason, and its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// See `reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Rows that it did not take, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<BadRow>,
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Job(Box<Job>),
    /// The chunk is to be loaded anew.
    Redo {
        redo: String,
        table: String,
        generation: u32,
    },
}

/// All jobs that a journal tells of.
#[derive(Debug, Default)]
pub struct Jobs {
    jobs: BTreeMap<String, Job>,
    generations: HashMap<(String, String), u32>,
}

impl Jobs {
    fn take(&mut self, line: Line) {
        match line {
            Line::Job(job) => {
                self.jobs.insert(job.id.clone(), *job);
            }
            Line::Redo { redo, table, generation } => {
                self.generations.insert((redo, table), generation);
            }
        }
    }

    /// The job of this name.
    pub fn get(&self, id: &str) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// How often a chunk was asked to be loaded anew.
    pub fn generation(&self, chunk: &str, table: &str) -> u32 {
        self.generations.get(&(chunk.to_owned(), table.to_owned())).copied().unwrap_or(0)
    }

    /// All jobs, the oldest first.
    pub fn list(&self) -> Vec<&Job> {
        let mut list: Vec<&Job> = self.jobs.values().collect();
        list.sort_by_key(|job| job.submitted);
        list
    }

    /// Moments at which jobs of the last day were submitted, in order: for one table, or for all that begin with a prefix.
    fn submitted(&self, now: i64, wanted: impl Fn(&str) -> bool) -> Vec<i64> {
        let since = now.saturating_sub(DAY.as_micros() as i64);
        let recent = self.jobs.values().filter(|job| job.submitted > since && wanted(&job.table));
        let mut moments: Vec<i64> = recent.map(|job| job.submitted).collect();
        moments.sort_unstable();
        moments
    }

    /// How long a new job for `table` has to wait, so that neither quota is passed. `project` is what the names of all
    /// tables of the project begin with.
    pub fn wait(&self, table: &str, project: &str, pace: &Pace, now: i64) -> Option<Duration> {
        let own = pace.wait(&self.submitted(now, |other| other == table), pace.of_table, now);
        let all = pace.wait(&self.submitted(now, |other| other.starts_with(project)), pace.of_project, now);
        own.max(all)
    }

    /// Forgets what nobody needs any more.
    fn prune(&mut self, now: i64) {
        let since = now.saturating_sub(DAY.as_micros() as i64);
        let mut old: Vec<(i64, String)> = self
            .jobs
            .values()
            .filter(|job| job.state.has_ended() && job.submitted < since)
            .map(|job| (job.submitted, job.id.clone()))
            .collect();
        old.sort_unstable();
        let surplus = old.len().saturating_sub(MAX_ENDED);
        for (_, id) in old.drain(..surplus) {
            self.jobs.remove(&id);
        }
        let chunks: std::collections::HashSet<&str> = self.jobs.values().map(|job| job.chunk.as_str()).collect();
        self.generations.retain(|(chunk, _), _| chunks.contains(chunk.as_str()));
    }
}

/// Jobs a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// For one table.
    pub of_table: u32,
    /// For one project.
    pub of_project: u32,
}

impl Pace {
    /// Half of a day's jobs may come as they like; then they are spread evenly, and past the limit the oldest has to be a day
    /// ago.
    fn wait(&self, moments: &[i64], limit: u32, now: i64) -> Option<Duration> {
        let (limit, count) = (limit.max(1) as usize, moments.len());
        let day = DAY.as_micros() as i64;
        let due = if count >= limit {
            moments[count - limit] + day
        } else if count * 2 >= limit {
            moments.last()? + day / limit as i64
        } else {
            return None;
        };
        let left = u64::try_from(due.saturating_sub(now)).ok().filter(|left| *left > 0)?;
        Some(Duration::from_micros(left))
    }
}

struct Open {
    jobs: Jobs,
    /// None for a journal in memory.
    file: Option<File>,
    /// What was read of it, in bytes and lines.
    read: u64,
    lines: usize,
}

/// A journal of jobs.
pub struct JobJournal {
    dir: Option<PathBuf>,
    mode: u32,
    open: Mutex<Open>,
}

impl JobJournal {
    /// A journal that ends with the process.
    pub fn in_memory() -> JobJournal {
        let open = Open { jobs: Jobs::default(), file: None, read: 0, lines: 0 };
        JobJournal { dir: None, mode: 0o600, open: Mutex::new(open) }
    }

    /// Opens or makes the journal in a directory.
    ///
    /// Errors: what the disk says, with the path.
    pub fn open(dir: &Path, mode: u32) -> io::Result<JobJournal> {
        std::fs::create_dir_all(dir).map_err(|e| named(dir, e))?;
        let open = Open { jobs: Jobs::default(), file: None, read: 0, lines: 0 };
        let journal = JobJournal { dir: Some(dir.to_owned()), mode, open: Mutex::new(open) };
        journal.update(|_| Vec::new())?;
        Ok(journal)
    }

    /// What a journal says, read once and without a lock; nothing where there is none.
    ///
    /// Errors: what the disk says, with the path.
    pub fn look(dir: &Path) -> io::Result<Option<Jobs>> {
        let path = dir.join(JOBS);
        match File::open(&path) {
            Ok(file) => {
                let mut open = Open { jobs: Jobs::default(), file: None, read: 0, lines: 0 };
                read_lines(file, &mut open).map_err(|e| named(&path, e))?;
                Ok(Some(open.jobs))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(named(&path, e)),
        }
    }

    /// Whether it ends with the process.
    pub fn is_in_memory(&self) -> bool {
        self.dir.is_none()
    }

    fn state(&self) -> MutexGuard<'_, Open> {
        // A panic elsewhere leaves whole jobs only.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the journal something, after a look at what others have written meanwhile.
    ///
    /// Errors: as [`note`](Self::note).
    pub fn ask<T>(&self, question: impl FnOnce(&Jobs) -> T) -> io::Result<T> {
        let mut answer = None;
        self.update(|jobs| {
            answer = Some(question(jobs));
            Vec::new()
        })?;
        answer.ok_or_else(|| io::Error::other("the journal was not asked"))
    }

    /// Notes what is known of a job now; durable when this returns.
    ///
    /// Errors: what the disk says, with the path; then nothing was noted.
    pub fn note(&self, job: &Job) -> io::Result<()> {
        self.update(|_| vec![Line::Job(Box::new(job.clone()))])
    }

    /// Submits a job, if the pace allows it now: notes it, durable, and gives nothing. Else gives how long to wait.
    ///
    /// Errors: as [`note`](Self::note).
    pub fn submit(&self, job: &Job, project: &str, pace: &Pace) -> io::Result<Option<Duration>> {
        let mut wait = None;
        self.update(|jobs| {
            wait = jobs.wait(&job.table, project, pace, job.submitted);
            if wait.is_some() { Vec::new() } else { vec![Line::Job(Box::new(job.clone()))] }
        })?;
        Ok(wait)
    }

    /// Asks for a chunk to be loaded anew; gives the number of its generation.
    ///
    /// Errors: as [`note`](Self::note).
    pub fn redo(&self, chunk: &str, table: &str) -> io::Result<u32> {
        let mut next = 0;
        self.update(|jobs| {
            next = jobs.generation(chunk, table) + 1;
            vec![Line::Redo { redo: chunk.to_owned(), table: table.to_owned(), generation: next }]
        })?;
        Ok(next)
    }

    fn update(&self, change: impl FnOnce(&Jobs) -> Vec<Line>) -> io::Result<()> {
        let mut open = self.state();
        let Some(dir) = &self.dir else {
            let lines = change(&open.jobs);
            lines.into_iter().for_each(|line| open.jobs.take(line));
            return Ok(());
        };
        let path = dir.join(JOBS);
        let _lock = lock(&dir.join(LOCK), self.mode).map_err(|e| named(&dir.join(LOCK), e))?;
        self.catch_up(&path, &mut open).map_err(|e| named(&path, e))?;
        let lines = change(&open.jobs);
        if !lines.is_empty() {
            append(&mut open, &lines).map_err(|e| named(&path, e))?;
            lines.into_iter().for_each(|line| open.jobs.take(line));
        }
        if open.read > COMPACT_BYTES && open.lines > 2 * (open.jobs.jobs.len() + open.jobs.generations.len()) {
            self.compact(dir, &mut open).map_err(|e| named(&path, e))?;
        }
        Ok(())
    }

    /// Opens the file, anew where another process has replaced it, and reads what is new.
    fn catch_up(&self, path: &Path, open: &mut Open) -> io::Result<()> {
        let same = |file: &File| -> io::Result<bool> {
            let (held, there) = (file.metadata()?, path.metadata()?);
            Ok(held.ino() == there.ino() && held.dev() == there.dev())
        };
        if open.file.is_none() || !open.file.as_ref().is_some_and(|file| same(file).unwrap_or(false)) {
            let file = OpenOptions::new().read(true).append(true).create(true).mode(self.mode).open(path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            *open = Open { jobs: Jobs::default(), file: Some(file), read: 0, lines: 0 };
        }
        let Some(file) = &open.file else { return Ok(()) };
        let mut reader = file.try_clone()?;
        reader.seek(SeekFrom::Start(open.read))?;
        let torn = read_lines(reader, open)?;
        if torn && let Some(file) = &mut open.file {
            // Half a line of a process that was killed: nobody acted upon it.
            file.set_len(open.read)?;
        }
        Ok(())
    }

    fn compact(&self, dir: &Path, open: &mut Open) -> io::Result<()> {
        open.jobs.prune(jiff::Timestamp::now().as_microsecond());
        let mut text = Vec::new();
        for job in open.jobs.list() {
            write_line(&Line::Job(Box::new(job.clone())), &mut text)?;
        }
        for ((chunk, table), generation) in &open.jobs.generations {
            let line = Line::Redo { redo: chunk.clone(), table: table.clone(), generation: *generation };
            write_line(&line, &mut text)?;
        }
        let (half, path) = (dir.join(format!("{JOBS}.tmp")), dir.join(JOBS));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(self.mode).open(&half)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&half, &path)?;
        File::open(dir)?.sync_all()?;
        // Read anew with the next question.
        open.file = None;
        Ok(())
    }
}

fn named(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// Held until it is dropped.
fn lock(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Reads whole lines; gives whether a half one is left behind them. A line that is none is passed over.
fn read_lines(file: impl Read, open: &mut Open) -> io::Result<bool> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let got = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if got == 0 {
            return Ok(false);
        }
        if line.last() != Some(&b'\n') {
            return Ok(true);
        }
        open.read += got as u64;
        open.lines += 1;
        match serde_json::from_slice(&line) {
            Ok(line) => open.jobs.take(line),
            Err(e) => tracing::warn!("a line of the journal of jobs is passed over: {e}"),
        }
    }
}

fn write_line(line: &Line, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    serde_json::to_writer(&mut *out, line)?;
    out.push(b'\n');
    match (out.len() - start) as u64 > MAX_LINE {
        true => Err(io::Error::other(format!("a job takes more than {MAX_LINE} bytes"))),
        false => Ok(()),
    }
}

fn append(open: &mut Open, lines: &[Line]) -> io::Result<()> {
    let mut text = Vec::new();
    lines.iter().try_for_each(|line| write_line(line, &mut text))?;
    let Some(file) = &mut open.file else { return Ok(()) };
    if let Err(e) = file.write_all(&text).and_then(|()| file.sync_data()) {
        // Whether it is there is not known: what is there is read again.
        open.file = None;
        return Err(e);
    }
    open.read += text.len() as u64;
    open.lines += lines.len();
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY_MICROS: i64 = 86_400_000_000;

    fn job(id: &str, table: &str, submitted: i64) -> Job {
        Job {
            id: id.into(),
            chunk: "c".into(),
            table: table.into(),
            generation: 0,
            attempt: 0,
            rows: (0, 1),
            state: JobState::Submitted,
            submitted,
            ended: None,
            events: 1,
            bytes: 1,
            shape: String::new(),
            reason: None,
            answer: None,
            refused: Vec::new(),
        }
    }

    #[test]
    fn jobs_outlive_the_process_and_half_a_line_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let journal = JobJournal::open(dir.path(), 0o600).unwrap();
        journal.note(&job("a", "p.d.t", 1)).unwrap();
        journal.note(&Job { state: JobState::Done, ..job("a", "p.d.t", 1) }).unwrap();
        drop(journal);
        let path = dir.path().join(JOBS);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"id\":\"b").unwrap();
        assert_eq!(JobJournal::look(dir.path()).unwrap().unwrap().list().len(), 1);
        let journal = JobJournal::open(dir.path(), 0o600).unwrap();
        journal.note(&job("b", "p.d.t", 2)).unwrap();
        let states = |jobs: &Jobs| jobs.list().iter().map(|job| (job.id.clone(), job.state)).collect::<Vec<_>>();
        let known = JobJournal::look(dir.path()).unwrap().unwrap();
        assert_eq!(states(&known), [("a".into(), JobState::Done), ("b".into(), JobState::Submitted)]);
    }

    #[test]
    fn two_processes_see_each_others_lines_and_a_journal_that_was_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (JobJournal::open(dir.path(), 0o600).unwrap(), JobJournal::open(dir.path(), 0o600).unwrap());
        one.note(&job("a", "p.d.t", 1)).unwrap();
        assert_eq!(two.redo("c", "p.d.t").unwrap(), 1);
        assert_eq!(one.ask(|jobs| jobs.generation("c", "p.d.t")).unwrap(), 1);
        let path = dir.path();
        one.compact(path, &mut one.state()).unwrap();
        two.note(&job("b", "p.d.t", 2)).unwrap();
        assert_eq!(one.ask(|jobs| jobs.list().len()).unwrap(), 2);
        assert_eq!(one.ask(|jobs| jobs.generation("c", "p.d.t")).unwrap(), 1);
    }

    #[test]
    fn the_pace_keeps_to_the_quota_of_every_day_and_failed_jobs_count() {
        let pace = Pace { of_table: 10, of_project: 1_000 };
        let (mut jobs, mut now, mut moments) = (Jobs::default(), 1_000 * DAY_MICROS, Vec::new());
        for n in 0..40 {
            if let Some(wait) = jobs.wait("p.d.t", "p.", &pace, now) {
                now += wait.as_micros() as i64;
            }
            assert_eq!(jobs.wait("p.d.t", "p.", &pace, now), None);
            assert!(jobs.wait("p.d.other", "p.", &pace, now).is_none());
            let failed = Job { state: JobState::Failed, ..job(&n.to_string(), "p.d.t", now) };
            jobs.take(Line::Job(Box::new(failed)));
            moments.push(now);
            now += 1;
        }
        assert!(moments[4] - moments[0] < 10, "half of them come at once");
        for (n, at) in moments.iter().enumerate() {
            let in_a_day = moments[n..].iter().take_while(|later| **later - at < DAY_MICROS).count();
            assert!(in_a_day <= 10, "{in_a_day}");
        }
    }
}
