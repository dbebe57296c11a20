//! `suiro jobs`: what loaders (`bigquery_load`) have asked their targets to do, and what became of it. The journal of a
//! living daemon can be read and added to; both take its lock.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::Flags;
use super::buffer::place::{self, Place};
use super::buffer::print::{Out, Read};
use super::buffer::{self, Destination, Failure, Form, Receiver, Source};
use crate::buffer::BufferKind;
use crate::buffer::inspect::{State, Stored};
use crate::plugin::Registry;
use crate::plugin::jobs::{Job, JobJournal, JobState};

/// Which journals.
#[derive(Clone, Debug, Default, Args)]
pub struct Journals {
    /// Buffer directories; those of the configuration's outputs where there is none.
    #[arg(long = "dir", value_name = "PATH")]
    pub dirs: Vec<PathBuf>,
    /// The output whose jobs are meant, in the configuration of -c.
    #[arg(long, value_name = "OUTPUT")]
    pub id: Option<String>,
}

/// Subcommands of `suiro jobs`.
#[derive(Clone, Debug, Subcommand)]
pub enum JobsCommand {
    /// List jobs, the oldest first: state, time, events, bytes, refused events, table, id, reason.
    Ls {
        #[command(flatten)]
        journals: Journals,
        /// How rows are printed.
        #[arg(long, value_enum, default_value_t)]
        format: Form,
    },
    /// Print all that is known of a job, as JSON.
    Show {
        /// The job; the beginning of its id will do.
        job: String,
        #[command(flatten)]
        journals: Journals,
    },
    /// Load the chunk of a failed job anew, under a new id: with the daemon's next attempt, or now where it was set aside.
    Redo {
        /// The job; the beginning of its id will do.
        job: String,
        #[command(flatten)]
        journals: Journals,
    },
}

/// A journal, and whose it is.
struct Found {
    output: String,
    dir: PathBuf,
    /// Where its chunks are set aside, where that is known.
    backup: Option<PathBuf>,
    jobs: Vec<Job>,
}

/// A row of the listing as JSON.
#[derive(Serialize)]
struct Row<'a> {
    output: &'a str,
    #[serde(flatten)]
    job: &'a Job,
}

/// Does what was asked; gives the exit status.
pub fn run(command: &JobsCommand, flags: &Flags, registry: &'static Registry) -> u8 {
    let done = match command {
        JobsCommand::Ls { journals, format } => find(journals, flags, registry).and_then(|found| ls(&found, *format)),
        JobsCommand::Show { job, journals } => find(journals, flags, registry).and_then(|found| show(&found, job)),
        JobsCommand::Redo { job, journals } => {
            find(journals, flags, registry).and_then(|found| redo(&found, job, flags, registry))
        }
    };
    buffer::finish(done)
}

fn find(journals: &Journals, flags: &Flags, registry: &'static Registry) -> Result<Vec<Found>, Failure> {
    let look = |output: String, dir: PathBuf, backup: Option<PathBuf>| -> Result<Option<Found>, Failure> {
        let jobs = JobJournal::look(&dir).map_err(|e| format!("can't read the journal of jobs {e}"))?;
        let jobs = jobs.map(|jobs| jobs.list().into_iter().cloned().collect());
        Ok(jobs.map(|jobs| Found { output, dir, backup, jobs }))
    };
    let mut found = Vec::new();
    if !journals.dirs.is_empty() {
        for dir in &journals.dirs {
            let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let one = look(name, dir.clone(), None)?;
            found.push(one.ok_or_else(|| format!("{} holds no journal of jobs", dir.display()))?);
        }
        return Ok(found);
    }
    let outputs = place::configured(flags, registry)?;
    if let Some(id) = &journals.id
        && !outputs.iter().any(|output| output.id == *id)
    {
        return Err(place::unknown(id, &outputs));
    }
    for output in outputs.iter().filter(|output| journals.id.as_ref().is_none_or(|id| *id == output.id)) {
        let Some(config) = &output.buffer else { continue };
        if let BufferKind::File { dir } = &config.kind {
            found.extend(look(output.id.clone(), dir.clone(), Some(config.backup_dir.clone()))?);
        }
    }
    if found.is_empty() {
        return Err(format!("no output of {} has a journal of jobs on the disk", flags.config.display()));
    }
    Ok(found)
}

fn time(micros: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string();
    time.get(..19).unwrap_or(&time).to_owned()
}

fn ls(found: &[Found], form: Form) -> Result<bool, Failure> {
    let mut out = Out::new();
    if form == Form::Text {
        let _ =
            out.line(&line(["STATE", "SUBMITTED", "EVENTS", "BYTES", "REFUSED", "OUTPUT", "TABLE"], "JOB  REASON"))?;
    }
    for journal in found {
        for job in &journal.jobs {
            let text = match form {
                Form::Text => row(&journal.output, job),
                Form::Json => {
                    let row = Row { output: &journal.output, job };
                    serde_json::to_string(&row).map_err(|e| e.to_string())?
                }
            };
            if out.line(&text)? == Read::Over {
                return Ok(true);
            }
        }
    }
    let _ = out.flush()?;
    Ok(true)
}

fn row(output: &str, job: &Job) -> String {
    let refused = job.refused.len().to_string();
    let (events, bytes) = (job.events.to_string(), job.bytes.to_string());
    let rest = format!("{}  {}", job.id, job.reason.as_deref().unwrap_or_default());
    line([job.state.word(), &time(job.submitted), &events, &bytes, &refused, output, &job.table], rest.trim_end())
}

fn line(columns: [&str; 7], rest: &str) -> String {
    let [state, time, events, bytes, refused, output, table] = columns;
    format!("{state:<9} {time:<19} {events:>9} {bytes:>11} {refused:>7} {output:<12} {table:<30} {rest}")
}

/// The one job whose id begins so.
fn pick<'f>(found: &'f [Found], start: &str) -> Result<(&'f Found, &'f Job), Failure> {
    let all = found.iter().flat_map(|journal| journal.jobs.iter().map(move |job| (journal, job)));
    let mut fitting = all.filter(|(_, job)| job.id.starts_with(start));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(format!("there is no job {start:?}; `suiro jobs ls` lists those there are")),
        (Some((_, one)), Some((_, other))) => {
            Err(format!("{start:?} may be {} or {}: write more of it", one.id, other.id))
        }
    }
}

fn show(found: &[Found], start: &str) -> Result<bool, Failure> {
    let (journal, job) = pick(found, start)?;
    let text = serde_json::to_string_pretty(&Row { output: &journal.output, job }).map_err(|e| e.to_string())?;
    println!("{text}");
    Ok(true)
}

fn redo(found: &[Found], start: &str, flags: &Flags, registry: &'static Registry) -> Result<bool, Failure> {
    let (journal, job) = pick(found, start)?;
    match job.state {
        JobState::Failed => {}
        JobState::Done => {
            return Err(format!("the rows of job {} are in {}: again they would be there twice", job.id, job.table));
        }
        JobState::Submitted | JobState::Running => {
            return Err(format!("job {} may still go through: the next attempt of its output asks after it", job.id));
        }
    }
    let same = |other: &&Job| other.chunk == job.chunk && other.table == job.table && other.state != JobState::Failed;
    if let Some(other) = journal.jobs.iter().find(same) {
        return Err(format!(
            "job {} has brought other rows of chunk {} in, or may do so: loading the chunk anew would double them. What was \
             refused of it is a dead letter of its own: suiro dlq replay --via {}",
            other.id, job.chunk, journal.output
        ));
    }
    let waiting = file_of(&journal.dir, job)?;
    let aside = journal.backup.as_deref().map(|dir| file_of(dir, job)).transpose()?.flatten();
    let again = |dir: &Path| {
        let opened = JobJournal::open(dir, 0o600).and_then(|open| open.redo(&job.chunk, &job.table));
        opened.map_err(|e| format!("the journal of jobs: {e}"))
    };
    match (waiting, aside) {
        (Some(_), _) => {
            again(&journal.dir)?;
            println!("chunk {} will be loaded anew with the next attempt of output {}", job.chunk, journal.output);
            Ok(true)
        }
        (None, Some(file)) => {
            let via = Destination { to: None, via: Some(journal.output.clone()), ack_timeout: 60 };
            let mut receiver = Receiver::open(&via, flags, registry)?;
            again(&journal.dir)?;
            let path = file.path.clone();
            let taken = receiver.take(&Source::Stored(Box::new(file)));
            receiver.close();
            let (events, whole) = taken?;
            if whole {
                super::dlq::forget(&path).map_err(|e| format!("can't remove {}: {e}", path.display()))?;
            }
            println!("{events} events of chunk {} were loaded into {}", job.chunk, job.table);
            Ok(whole)
        }
        (None, None) => {
            Err(format!("chunk {} is neither in the buffer nor set aside: there is nothing to load", job.chunk))
        }
    }
}

/// The file of a job's chunk in a directory.
fn file_of(dir: &Path, job: &Job) -> Result<Option<Stored>, Failure> {
    if !dir.is_dir() {
        return Ok(None);
    }
    let place = Place { path: dir.to_owned(), output: String::new(), chunks: vec![job.chunk.clone()] };
    let files = place.look()?.files;
    let whole = |file: &Stored| matches!(file.state, State::Staged | State::Sealed | State::SetAside);
    Ok(files.into_iter().find(whole))
}
