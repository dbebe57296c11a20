//! `bigquery_load`: chunks by load jobs, exactly once.
//!
//! A job's name is a function of the chunk, the table and the attempt, and the service takes a name once. So the same chunk
//! sent again finds its own job, whatever was lost on the way: the answer, the connection, the process. An attempt has a
//! successor only once it is known to have failed, and a failed job has loaded nothing.
//!
//! Where rows are bad, the job names them, or its events are halved until they are found; the rest is loaded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use url::Url;

use super::api::{Api, Fault, Stage, TableName, shown};
use super::encode::{Pieces, Segment, Selected};
use super::job::{End, Failure, Format, JobKey, JobSettings, failure};
use super::params::{COMMON, Common, Names};
use super::rows::Rows;
use super::schema::Schema;
use super::table::Tables;
use super::{open_api, table_of};
use crate::buffer::Chunk;
use crate::config::{Diagnostic, TimeSpan};
use crate::event::hex;
use crate::plugin::jobs::{BadRow, Job, JobJournal, JobState, Jobs, Pace};
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, InputError, MAX_REFUSED, Output, RefusedEvent, Stop, WriteError,
};

/// Largest file that a job takes, packed, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 30;
/// Jobs that look for bad rows of one chunk; past it, what is still bad is refused as a whole.
const MAX_ROUNDS: u32 = 64;
/// Chunk and whole of the buffer in bytes, and its interval: the plugin's defaults.
const LIMITS: (u64, u64) = (1 << 30, 32 << 30);
const FLUSH_INTERVAL: Duration = Duration::from_secs(3_600);
/// Below this, a day's jobs for one table would not do.
const LEAST_INTERVAL: Duration = Duration::from_secs(60);
/// Writes at once: they mostly wait for jobs.
const FLUSH_THREADS: usize = 8;
/// Longest pause while a quota is used up.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How long a job may take: BigQuery's own limit.
const PATIENCE: Duration = Duration::from_secs(6 * 3_600);

/// Address of Google Cloud Storage.
const STORAGE: &str = "https://storage.googleapis.com";

/// How rows are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceFormat {
    /// A JSON object a line.
    #[default]
    Json,
    /// Comma-separated values, by `<format> @type csv`.
    Csv,
    /// Not written here.
    Avro,
}

/// Parameters of `bigquery_load`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct LoadParams {
    /// How rows are sent.
    source_format: SourceFormat,
    /// Bad rows that BigQuery leaves out by itself.
    max_bad_records: u32,
    /// Always so.
    prevent_duplicate_load: Option<bool>,
    /// A chunk is done when its job is.
    use_delayed_commit: Option<bool>,
    /// Pause between two looks at a job.
    wait_job_interval: TimeSpan,
    /// Jobs that a table takes in a day, failed ones too.
    jobs_per_table_per_day: u32,
    /// Jobs that a project takes in a day, failed ones too.
    jobs_per_project_per_day: u32,
    /// First pause when the service says that a quota is used up; it doubles.
    quota_wait: TimeSpan,
    /// A bucket that files are put into, for jobs to read them there; else each is sent with its job.
    gcs_bucket: Option<String>,
    /// What their names begin with.
    gcs_path: String,
    /// Address of that service, where it is not Google's own.
    gcs_endpoint: Option<String>,
}

impl Default for LoadParams {
    fn default() -> LoadParams {
        LoadParams {
            source_format: SourceFormat::Json,
            max_bad_records: 0,
            prevent_duplicate_load: None,
            use_delayed_commit: None,
            wait_job_interval: TimeSpan::secs(3.0),
            jobs_per_table_per_day: 1_500,
            jobs_per_project_per_day: 100_000,
            quota_wait: TimeSpan::secs(60.0),
            gcs_bucket: None,
            gcs_path: "suiro/".into(),
            gcs_endpoint: None,
        }
    }
}

/// The output.
pub struct Load {
    names: Names,
    start: Mutex<Option<Common>>,
    rows: Rows,
    settings: JobSettings,
    pace: Pace,
    poll: Duration,
    quota_wait: Duration,
    stage: Option<Stage>,
    directory: Option<PathBuf>,
    mode: u32,
    open: OnceLock<Open>,
}

struct Open {
    api: Arc<Api>,
    tables: Tables,
    journal: Arc<JobJournal>,
    stop: Stop,
}

impl Configure for Load {
    type Config = LoadParams;
    const READ_ELSEWHERE: &'static [&'static str] = COMMON;

    fn new(params: LoadParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let at_root = cx.process.root_dir.is_some() && cx.section.id().is_some();
        cx.buffer_defaults(BufferDefaults {
            buffered: true,
            file: at_root || cx.section.child("buffer").is_some_and(|buffer| buffer.has("path")),
            by_interval: true,
            flush_interval: Some(FLUSH_INTERVAL),
            limits: Some(LIMITS),
            flush_threads: Some(FLUSH_THREADS),
            ..BufferDefaults::default()
        });
        let directory = cx.buffer_directory();
        advise(&params, directory.is_none(), cx)?;
        let common = Common::read(cx, true)?;
        let (format, rows) = match params.source_format {
            SourceFormat::Json => (Format::Json, Rows::Json { inject: cx.inject()?, stamp: None }),
            SourceFormat::Csv => (Format::Csv, Rows::Text(cx.render("csv")?)),
            SourceFormat::Avro => {
                let why = "source_format avro is not written here: take json (packed by gzip), or csv";
                return Err(cx.fault("source_format", why));
            }
        };
        let kind = cx.section.child("format").and_then(|format| format.plugin_type());
        if let Some(kind) = kind.filter(|kind| format == Format::Json && *kind != "json") {
            return Err(cx.fault("format", format!("source_format json needs <format> @type json, not {kind}")));
        }
        Ok(Load {
            settings: JobSettings {
                format,
                ignore_unknown_values: common.ignore_unknown_values,
                max_bad_records: params.max_bad_records,
                location: common.location.clone(),
            },
            names: common.names.clone(),
            start: Mutex::new(Some(common)),
            rows,
            pace: Pace { of_table: params.jobs_per_table_per_day, of_project: params.jobs_per_project_per_day },
            poll: params.wait_job_interval.duration(),
            quota_wait: params.quota_wait.duration(),
            stage: stage(&params, cx)?,
            directory,
            mode: cx.process.buffer_modes().0,
            open: OnceLock::new(),
        })
    }
}

fn stage(params: &LoadParams, cx: &BuildContext<'_>) -> Result<Option<Stage>, Diagnostic> {
    let Some(bucket) = params.gcs_bucket.clone() else {
        let lonely = ["gcs_path", "gcs_endpoint"].into_iter().find(|name| cx.section.has(name));
        return lonely.map_or(Ok(None), |name| Err(cx.fault(name, format!("{name} needs gcs_bucket"))));
    };
    let endpoint = params.gcs_endpoint.as_deref().unwrap_or(STORAGE).trim_end_matches('/').to_owned();
    match Url::parse(&endpoint) {
        Ok(url) if url.has_host() && !bucket.is_empty() => {
            Ok(Some(Stage { endpoint, bucket, path: params.gcs_path.clone() }))
        }
        Ok(_) => Err(cx.fault("gcs_bucket", "gcs_bucket names no bucket, or gcs_endpoint no host")),
        Err(e) => Err(cx.fault("gcs_endpoint", format!("gcs_endpoint can't be used: {e}"))),
    }
}

/// Says what changes nothing, and what will not go well.
fn advise(params: &LoadParams, in_memory: bool, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
    if params.prevent_duplicate_load == Some(false) {
        cx.without_effect(
            "prevent_duplicate_load",
            "a job's name always follows from its chunk, so nothing is loaded twice",
        );
    }
    if params.use_delayed_commit.is_some() {
        cx.without_effect(
            "use_delayed_commit",
            "a chunk is kept until its job is done, and other chunks are loaded meanwhile",
        );
    }
    for (name, jobs) in [
        ("jobs_per_table_per_day", params.jobs_per_table_per_day),
        ("jobs_per_project_per_day", params.jobs_per_project_per_day),
    ] {
        if jobs == 0 {
            return Err(cx.fault(name, format!("{name} must be at least 1")));
        }
    }
    if in_memory {
        let why = "bigquery_load has its chunks in memory: a crash loses them, and what is known of jobs. \
                   Give <buffer> a path, or the output an @id and <system> a root_dir";
        cx.warn("buffer", why);
    }
    let is_short = cx.flush_interval().is_some_and(|interval| interval < LEAST_INTERVAL);
    if is_short && params.jobs_per_table_per_day <= LoadParams::default().jobs_per_table_per_day {
        let why = format!(
            "BigQuery takes {} load jobs for a table in a day, one in 58 seconds: with a flush_interval below 60s \
             chunks will wait for their turn",
            params.jobs_per_table_per_day
        );
        cx.warn("buffer", why);
    }
    Ok(())
}

impl Output for Load {
    async fn start(&self, stop: Stop) -> Result<(), InputError> {
        let common = self.start.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(common) = common {
            let (api, tables) = open_api(common)?;
            let journal = match &self.directory {
                Some(directory) => JobJournal::open(directory, self.mode)?,
                None => JobJournal::in_memory(),
            };
            // Started once.
            let _ = self.open.set(Open { api, tables, journal: Arc::new(journal), stop });
        }
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let Some(open) = self.open.get() else { return Err(WriteError::Retry("not started yet".into())) };
        let table = table_of(&self.names, chunk)?;
        let schema = open.tables.prepare(chunk, &table, &self.rows).await?;
        let (id, name) = (chunk.id().to_string(), table.to_string());
        let generation = open.ask(move |jobs| jobs.generation(&id, &name)).await?;
        let shape = shape(schema.as_deref(), self.settings.format);
        let (asked, holds) = Default::default();
        let mut work = Work { load: self, open, chunk, table, schema, shape, generation, asked, holds };
        match work.all().await {
            // All that is known of it says no, and it comes again: somebody wants it to be tried anew (`suiro dlq replay`).
            Err(WriteError::Refused { .. }) if !work.asked.load(Relaxed) && !work.holds.load(Relaxed) => {
                let (id, name) = (chunk.id().to_string(), work.table.to_string());
                work.generation = open.blocking(move |journal| journal.redo(&id, &name)).await?;
                work.all().await
            }
            outcome => outcome,
        }
    }

    async fn close(&self) {
        if let Some(open) = self.open.get() {
            open.api.close();
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// Tells whether rows look the same when they are made again.
fn shape(schema: Option<&Schema>, format: Format) -> String {
    let text = schema.map(|schema| schema.to_json().to_string()).unwrap_or_default();
    let digest = Sha256::new().chain_update(format!("{format:?}")).chain_update(text).finalize();
    hex(&digest[..8])
}

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

impl Open {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&JobJournal) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, WriteError> {
        let journal = self.journal.clone();
        let done = tokio::task::spawn_blocking(move || work(&journal)).await;
        let done = done.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        done.map_err(|e| WriteError::Retry(format!("the journal of jobs: {e}")))
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Jobs) -> T + Send + 'static,
    ) -> Result<T, WriteError> {
        self.blocking(|journal| journal.ask(question)).await
    }

    async fn note(&self, job: &Job) -> Result<(), WriteError> {
        let job = job.clone();
        self.blocking(move |journal| journal.note(&job)).await
    }

    /// Sleeps, unless the output is told to stop.
    async fn pause(&self, time: Duration, what: &str) -> Result<(), WriteError> {
        if self.journal.is_in_memory() {
            // What waits in memory is tried to the end.
            tokio::time::sleep(time).await;
            return Ok(());
        }
        match self.stop.clone().or(tokio::time::sleep(time)).await {
            Some(()) => Ok(()),
            None => Err(WriteError::Retry(format!("stopped while {what}; the next start goes on from there"))),
        }
    }
}

/// A chunk on its way.
struct Work<'a> {
    load: &'a Load,
    open: &'a Open,
    chunk: &'a Chunk,
    table: TableName,
    schema: Option<Arc<Schema>>,
    shape: String,
    generation: u32,
    /// Whether the service was asked about any job.
    asked: AtomicBool,
    /// Whether the table holds any of the chunk's rows.
    holds: AtomicBool,
}

/// What became of a segment.
enum Loaded {
    /// It is in, but for what was refused.
    In,
    /// Some of its rows are bad, and nobody knows which.
    Unclear(Box<Job>),
    /// It will never be in.
    Never(Box<Job>),
}

impl Work<'_> {
    async fn all(&self) -> Result<(), WriteError> {
        let mut refused: BTreeMap<u64, String> = BTreeMap::new();
        let mut rounds = 0;
        // The first part is on top.
        let mut waiting = vec![Segment { from: 0, to: u64::from(self.chunk.count()) }];
        while let Some(segment) = waiting.pop() {
            let whole = waiting.is_empty() && refused.is_empty() && segment.from == 0;
            match self.segment(segment, &mut refused, &mut rounds).await? {
                Loaded::In => {}
                Loaded::Unclear(_) if self.selected(segment, &refused).count() > 1 && rounds < MAX_ROUNDS => {
                    let middle = segment.from + (segment.to - segment.from) / 2;
                    waiting.push(Segment { from: middle, to: segment.to });
                    waiting.push(Segment { from: segment.from, to: middle });
                }
                Loaded::Never(job) if whole && segment.to == u64::from(self.chunk.count()) => {
                    let reason = job.reason.as_deref().unwrap_or_default();
                    let why = format!("job {} for {} failed: {reason}", job.id, job.table);
                    return Err(WriteError::Refused { why, response: job.answer.unwrap_or_default() });
                }
                Loaded::Unclear(job) | Loaded::Never(job) => {
                    let answer = job.answer.unwrap_or_default();
                    if (segment.to - segment.from) as usize + refused.len() > MAX_REFUSED {
                        return Err(self.too_many(answer));
                    }
                    for place in segment.from..segment.to {
                        refused.entry(place).or_insert_with(|| answer.clone());
                    }
                }
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        if refused.len() > MAX_REFUSED || refused.len() as u64 == u64::from(self.chunk.count()) {
            return Err(self.too_many(refused.into_values().next().unwrap_or_default()));
        }
        let refused = refused.into_iter().map(|(place, answer)| RefusedEvent { place, answer });
        Err(WriteError::Partial(refused.collect()))
    }

    /// So many rows are bad that the chunk is set aside as a whole. Should some be in: replayed under its id, the chunk finds
    /// their job and does not bring them in again.
    fn too_many(&self, response: String) -> WriteError {
        let (events, table) = (self.chunk.count(), &self.table);
        let why =
            format!("of {events} rows for {table} all, or more than {MAX_REFUSED}, were refused: {}", shown(&response));
        WriteError::Refused { why, response }
    }

    fn selected<'b>(&'b self, segment: Segment, refused: &'b BTreeMap<u64, String>) -> Selected<'b> {
        let (chunk, rows) = (self.chunk, &self.load.rows);
        Selected { chunk, rows, schema: self.schema.as_deref(), segment, refused }
    }

    /// Brings a segment in, attempt by attempt; attempts that are known to have failed are passed over.
    async fn segment(
        &self,
        segment: Segment,
        refused: &mut BTreeMap<u64, String>,
        rounds: &mut u32,
    ) -> Result<Loaded, WriteError> {
        let mut attempt = 0;
        loop {
            if self.selected(segment, refused).count() == 0 {
                return Ok(Loaded::In);
            }
            let key =
                JobKey { chunk: self.chunk.id(), table: &self.table, generation: self.generation, segment, attempt };
            let id = key.id();
            let wanted = id.clone();
            let known = self.open.ask(move |jobs| jobs.get(&wanted).cloned()).await?;
            let was_known = known.as_ref().is_some_and(|job| job.state.has_ended());
            let job = match known {
                Some(job) if was_known => job,
                known => self.pursue(id, &key, known, refused).await?,
            };
            let bad = job.refused.iter().map(|row| (row.place, row.answer.clone()));
            if job.state == JobState::Done {
                self.holds.store(true, Relaxed);
                refused.extend(bad);
                return Ok(Loaded::In);
            }
            match failure(job.reason.as_deref().unwrap_or_default(), job.answer.as_deref().unwrap_or_default()) {
                Failure::Passing if was_known => {}
                Failure::Passing => {
                    let reason = job.reason.as_deref().unwrap_or_default();
                    let why = format!("job {} for {} failed and is tried again: {reason}", job.id, job.table);
                    return Err(WriteError::Retry(why));
                }
                Failure::Fatal => return Ok(Loaded::Never(Box::new(job))),
                Failure::Rows if job.refused.is_empty() || *rounds >= MAX_ROUNDS => {
                    *rounds += 1;
                    return Ok(Loaded::Unclear(Box::new(job)));
                }
                Failure::Rows => {
                    *rounds += 1;
                    refused.extend(bad);
                }
            }
            attempt += 1;
        }
    }

    /// Brings one job to its end: asks after it where it may be there already, else submits it in its turn.
    async fn pursue(
        &self,
        id: String,
        key: &JobKey<'_>,
        known: Option<Job>,
        refused: &BTreeMap<u64, String>,
    ) -> Result<Job, WriteError> {
        self.asked.store(true, Relaxed);
        let selected = self.selected(key.segment, refused);
        let mut job = match known {
            Some(job) => match self.open.api.get_job(&self.table.project, &job.id).await {
                Ok(answer) => return self.follow(job, answer, &selected).await,
                Err(Fault::Said(said)) if said.status == StatusCode::NOT_FOUND => job,
                Err(fault) => return Err(self.failed(fault, &job.id)),
            },
            None => self.submit(id, key, &selected).await?,
        };
        let mut pause = self.load.quota_wait;
        loop {
            match self.upload(&mut job, &selected).await {
                Ok(answer) => return self.follow(job, answer, &selected).await,
                Err(Upload::Chunk(e)) => return Err(e),
                Err(Upload::Fault(Fault::Said(said))) if said.status == StatusCode::CONFLICT => {
                    tracing::info!("job {} is there already: an answer was lost", job.id);
                    return self.look(job, &selected).await;
                }
                Err(Upload::Fault(Fault::Said(said))) if said.is_quota() => {
                    tracing::warn!("{}: {said}: the next attempt is in {:.0} s", job.table, pause.as_secs_f64());
                    self.open.pause(pause, "a quota is used up").await?;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
                // It may be there all the same.
                Err(Upload::Fault(fault @ Fault::Lost(_))) => {
                    let answer = self.open.api.get_job(&self.table.project, &job.id).await;
                    return match answer {
                        Ok(answer) => self.follow(job, answer, &selected).await,
                        Err(_) => Err(self.failed(fault, &job.id)),
                    };
                }
                Err(Upload::Fault(fault)) => return Err(self.failed(fault, &job.id)),
            }
        }
    }

    /// Waits for the job's turn and notes it, before anything is sent.
    async fn submit(&self, id: String, key: &JobKey<'_>, selected: &Selected<'_>) -> Result<Job, WriteError> {
        let mut job = Job {
            id,
            chunk: self.chunk.id().to_string(),
            table: self.table.to_string(),
            generation: self.generation,
            attempt: key.attempt,
            rows: (key.segment.from, key.segment.to),
            state: JobState::Submitted,
            submitted: now(),
            ended: None,
            events: selected.count(),
            bytes: 0,
            shape: self.shape.clone(),
            reason: None,
            answer: None,
            refused: Vec::new(),
        };
        let mut told = false;
        loop {
            job.submitted = now();
            let (one, pace, project) = (job.clone(), self.load.pace, format!("{}.", self.table.project));
            let wait = self.open.blocking(move |journal| journal.submit(&one, &project, &pace)).await?;
            let Some(wait) = wait else { return Ok(job) };
            if !std::mem::replace(&mut told, true) {
                let (table, limit) = (&job.table, self.load.pace.of_table);
                tracing::info!(
                    "{table}: a job waits {:.0} s for its turn: {limit} jobs a day are allowed for a table",
                    wait.as_secs_f64()
                );
            }
            self.open.pause(wait.min(LONGEST_PAUSE), "a job waits for its turn").await?;
        }
    }

    /// Sends a job and its rows; gives the job as the service has it.
    async fn upload(&self, job: &mut Job, selected: &Selected<'_>) -> Result<Json, Upload> {
        let (api, project) = (&self.open.api, &self.table.project);
        let mut body = self.load.settings.body(&job.id, &self.table);
        let Some(stage) = &self.load.stage else {
            let to = api.begin_upload(project, &body).await?;
            return self.send(&to, job, selected).await;
        };
        let name = stage.name(&job.id);
        // Where it is there, an answer was lost: its name is the job's.
        if let Some(to) = api.begin_object(stage, &name).await? {
            match self.send(&to, job, selected).await {
                Err(Upload::Fault(Fault::Said(said))) if said.status == StatusCode::PRECONDITION_FAILED => {}
                sent => drop(sent?),
            }
        }
        body["configuration"]["load"]["sourceUris"] = serde_json::json!([format!("gs://{}/{name}", stage.bucket)]);
        Ok(api.insert_job(project, &body).await?)
    }

    /// Sends the rows, piece by piece; gives what is said of the whole.
    async fn send(&self, to: &Url, job: &mut Job, selected: &Selected<'_>) -> Result<Json, Upload> {
        let (mut pieces, mut at) = (Pieces::new(*selected), 0);
        loop {
            let (piece, is_last) = pieces.next().map_err(|e| Upload::Chunk(e.into()))?;
            let end = at + piece.len() as u64;
            if end > MAX_FILE_BYTES {
                let why = "the chunk is larger than the 4 GB that a load job takes, packed: lower chunk_limit_size";
                return Err(Upload::Chunk(WriteError::Reject(why.into())));
            }
            let answer = self.open.api.upload(to, piece, at, is_last.then_some(end)).await?;
            at = end;
            match (answer, is_last) {
                (Some(answer), true) => {
                    job.bytes = end;
                    return Ok(answer);
                }
                (None, false) => {}
                (None, true) => return Err(Fault::Lost("the upload was not taken to its end".into()).into()),
                (Some(_), false) => return Err(Fault::Lost("the upload was ended too early".into()).into()),
            }
        }
    }

    async fn look(&self, job: Job, selected: &Selected<'_>) -> Result<Job, WriteError> {
        match self.open.api.get_job(&self.table.project, &job.id).await {
            Ok(answer) => self.follow(job, answer, selected).await,
            Err(fault) => Err(self.failed(fault, &job.id)),
        }
    }

    /// Waits for the end of a job that the service has, and notes it.
    async fn follow(&self, mut job: Job, mut answer: Json, selected: &Selected<'_>) -> Result<Job, WriteError> {
        let end = loop {
            if let Some(end) = End::of(&answer) {
                break end;
            }
            if job.state != JobState::Running {
                job.state = JobState::Running;
                self.open.note(&job).await?;
            }
            self.open.pause(self.load.poll, "a job runs").await?;
            let asked = self.open.api.get_job(&self.table.project, &job.id).await;
            answer = asked.map_err(|fault| self.failed(fault, &job.id))?;
        };
        job.ended = Some(now());
        job.refused = self.bad_rows(&job, &end, selected)?;
        if end.reason.is_none() && end.bad_records > job.refused.len() as u64 {
            tracing::error!(
                "job {} for {}: BigQuery left {} bad rows out as max_bad_records allows, and did not say which {} of them are",
                job.id,
                job.table,
                end.bad_records,
                end.bad_records - job.refused.len() as u64
            );
        }
        job.state = if end.reason.is_none() { JobState::Done } else { JobState::Failed };
        job.answer = end.reason.is_some().then_some(end.answer);
        job.reason = end.reason;
        self.open.note(&job).await?;
        if let Some(stage) = &self.load.stage
            && let Err(fault) = self.open.api.delete_object(stage, &stage.name(&job.id)).await
        {
            tracing::warn!("the file of job {} is left in bucket {}: {fault}", job.id, stage.bucket);
        }
        Ok(job)
    }

    /// The rows that the service named by their place in the text.
    fn bad_rows(&self, job: &Job, end: &End, selected: &Selected<'_>) -> Result<Vec<BadRow>, WriteError> {
        let named: Vec<(u64, &String)> = end.errors.iter().filter_map(|(at, said)| Some(((*at)?, said))).collect();
        let offsets: Vec<u64> = named.iter().map(|(at, _)| *at).collect();
        // Rows of an earlier run may have had another text.
        if offsets.is_empty() || job.shape != self.shape {
            return Ok(Vec::new());
        }
        let mut rows: BTreeMap<u64, String> = BTreeMap::new();
        for (place, (_, said)) in selected.locate(&offsets)?.into_iter().zip(named) {
            if let Some(place) = place {
                rows.entry(place).or_insert_with(|| said.clone());
            }
        }
        Ok(rows.into_iter().map(|(place, answer)| BadRow { place, answer }).collect())
    }

    fn failed(&self, fault: Fault, id: &str) -> WriteError {
        if let Fault::Said(said) = &fault
            && said.status == StatusCode::NOT_FOUND
        {
            self.open.tables.forget(&self.table);
        }
        fault.judged(&format!("job {id} for {}", self.table), &self.open.api)
    }
}

/// Why an upload did not come to its end.
enum Upload {
    Fault(Fault),
    /// The chunk can't be read, or is too large.
    Chunk(WriteError),
}

impl From<Fault> for Upload {
    fn from(fault: Fault) -> Upload {
        Upload::Fault(fault)
    }
}
