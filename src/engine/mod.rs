//! The engine: start, reload and stop, readable here in one piece.
//!
//! - [`build`], [`targets`]: configuration to graph, all faults at once, nothing opened; [`advice`]: what is worth knowing.
//! - [`pipeline`], [`chain`], [`graph`], [`router`]: the way of a batch from an input to the sinks.
//! - [`sink`], [`flush`], [`retry`]: the way of a chunk from a buffer to its target. Retry is decided in `flush` alone.
//! - [`books`]: the accounts of what reaches no buffer.
//! - [`ways`]: what tells copies of a batch apart that meet in one buffer.
//! - [`places`]: outputs and their buffers, for tools.
//! - [`monitor`]: what others may look at. [`own_log`]: where events of suiro's own log go.
//!
//! Invariants: an input runs only after every buffer is open and every port is bound; a reload that finds a fault changes
//! nothing; every task is joined by the [`Engine`] that started it.

mod advice;
mod books;
mod buffering;
mod build;
mod chain;
mod copy;
mod flush;
mod graph;
mod monitor;
mod own_log;
mod params;
mod pipeline;
mod places;
mod quiet;
mod refused;
mod retag;
mod retry;
mod router;
mod sink;
mod targets;
#[cfg(test)]
mod tests;
mod ways;
mod workers;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, error, info, warn};

pub use self::books::kept as kept_ledger;
pub use self::places::{OutputPlace, outputs};
pub use self::targets::ROUTES;

use self::books::Books;
use self::build::{Plan, PlannedInput, Reusable};
use self::flush::AbortOnDrop;
use self::router::{InputRoute, InputStats, Router};
use self::sink::Sink;
use crate::buffer::{Buffer, Env};
use crate::config::{Diagnostics, Section};
use crate::plugin::{DynInput, Emitter, InputError, Process, Registry, Stop, Stopper, scope};

/// How much of the time for a stop may have passed when inputs have ended: on a slow disk one of them would take all of it,
/// and writes that need but a moment would be given up.
const INPUTS_SHARE: f64 = 0.6;
/// How much of it when writes have ended: the rest is for buffers, which sync what they know once more.
const WRITES_SHARE: f64 = 0.8;

/// What starts, reloads and stops everything between inputs and targets.
pub struct Engine {
    registry: &'static Registry,
    process: Arc<Process>,
    router: Arc<Router>,
    inputs: Vec<RunningInput>,
    sinks: Vec<RunningSink>,
    /// Writes the accounts of what is only in memory now and then.
    keeper: JoinSet<()>,
}

struct RunningInput {
    id: String,
    section: Section,
    stats: Arc<InputStats>,
    stopper: Stopper,
    /// Whether it has ended by itself, and well.
    ended: watch::Receiver<Option<bool>>,
    task: JoinHandle<()>,
}

struct RunningSink {
    sink: Arc<Sink>,
    closing: Stopper,
    tasks: JoinSet<()>,
}

/// Why a start or a reload did not come about.
#[derive(Debug)]
pub enum EngineError {
    /// The configuration has faults.
    Config(Diagnostics),
    /// A buffer, a port or a target could not be opened.
    Open(String),
}

/// Looks for faults without opening anything.
pub fn check(root: &Section, registry: &'static Registry, process: &Arc<Process>) -> Result<Diagnostics, Diagnostics> {
    build::build(root, registry, process, &Reusable::default()).map(|plan| plan.warnings)
}

/// As [`check`], with what is worth knowing besides.
pub fn check_with_notes(
    root: &Section,
    registry: &'static Registry,
    process: &Arc<Process>,
) -> Result<Diagnostics, Diagnostics> {
    let plan = build::build(root, registry, process, &Reusable::default())?;
    let notes = advice::notes(&plan);
    let mut found = plan.warnings;
    found.extend(notes);
    Ok(found)
}

impl Engine {
    /// Starts a configuration: builds it, opens buffers and targets, opens inputs, and only then runs them.
    pub async fn start(
        root: &Section,
        registry: &'static Registry,
        process: Arc<Process>,
    ) -> Result<Engine, EngineError> {
        let plan = build::build(root, registry, &process, &Reusable::default()).map_err(EngineError::Config)?;
        log_warnings(&plan);
        let books = process.root_dir.as_deref().map(Books::open).unwrap_or_default();
        let router = Arc::new(Router::new(process.emit_error_log_interval, books));
        let mut engine =
            Engine { registry, process, router, inputs: Vec::new(), sinks: Vec::new(), keeper: JoinSet::new() };
        let opened = match engine.open(plan).await {
            Ok(inputs) => inputs,
            Err(e) => {
                engine.close_sinks(|_| true, Instant::now(), None).await;
                return Err(EngineError::Open(e));
            }
        };
        for input in opened {
            engine.run_input(input);
        }
        engine.publish();
        engine.keep_books();
        own_log::announce(&engine.router.graph());
        Ok(engine)
    }

    /// Opens sinks, then inputs, of a plan; what is running already stays as it is.
    async fn open(&mut self, plan: Plan) -> Result<Vec<PlannedInput>, String> {
        own_log::mark(&plan.graph);
        for sink in &plan.graph.sinks {
            if !self.sinks.iter().any(|running| Arc::ptr_eq(&running.sink, sink)) {
                let running = open_sink(sink, &self.router).await.map_err(|e| format!("output {}: {e}", sink.id))?;
                self.sinks.push(running);
            }
        }
        self.router.swap(plan.graph);
        let mut inputs = plan.inputs;
        for input in &mut inputs {
            let span = scope(input.section.log_level(), false);
            if let Some(plugin) = &mut input.plugin {
                let opened = plugin.open().instrument(span).await;
                opened.map_err(|InputError(e)| format!("{}: {e}", place(&input.id, &input.section)))?;
            }
        }
        Ok(inputs)
    }

    fn run_input(&mut self, input: PlannedInput) {
        let PlannedInput { id, section, label, plugin: Some(plugin) } = input else { return };
        let stats = Arc::new(InputStats::default());
        let input = id.as_str().into();
        let route = InputRoute { router: self.router.clone(), input, label, stats: stats.clone(), waits: true };
        let stopper = Stopper::new();
        let span = scope(section.log_level(), false);
        let (told, ended) = watch::channel(None);
        let work = supervise(id.clone(), plugin, Emitter::new(Arc::new(route)), stopper.listener(), told);
        let task = tokio::spawn(work.instrument(span));
        self.inputs.push(RunningInput { id, section, stats, stopper, ended, task });
    }

    /// Puts a new configuration in force. Until it is built without a fault nothing happens; unchanged inputs and outputs
    /// go on as they are, changed ones hand over ports, positions and buffers.
    pub async fn reload(&mut self, root: &Section, deadline: Duration) -> Result<(), EngineError> {
        let reusable = Reusable {
            sinks: self.sinks.iter().map(|s| s.sink.clone()).collect(),
            inputs: self.inputs.iter().map(|i| (i.id.clone(), i.section.clone())).collect(),
        };
        let plan = build::build(root, self.registry, &self.process, &reusable).map_err(EngineError::Config)?;
        log_warnings(&plan);
        let deadline = Instant::now() + deadline;
        self.process.sockets.mark();
        let kept: Vec<String> = plan.inputs.iter().filter(|i| i.plugin.is_none()).map(|i| i.id.clone()).collect();
        self.stop_inputs(|input| !kept.contains(&input.id), deadline).await;
        let wanted: Vec<Arc<Sink>> = plan.graph.sinks.clone();
        // Batches of inputs that go on wait from here to the end.
        let _exchange = self.router.exchange();
        self.close_sinks(|sink| !wanted.iter().any(|w| Arc::ptr_eq(w, sink)), deadline, None).await;
        let opened = self.open(plan).await.map_err(EngineError::Open)?;
        for input in opened {
            self.run_input(input);
        }
        own_log::announce(&self.router.graph());
        if kept.is_empty() {
            self.process.sockets.sweep();
        }
        self.publish();
        Ok(())
    }

    /// Whether anyone wants events of suiro's own log.
    pub fn wants_log_events(&self) -> bool {
        own_log::entry(&self.router.graph()).is_some()
    }

    /// The way of events of suiro's own log, through every reload.
    pub fn log_emitter(&self) -> Emitter {
        Emitter::new(Arc::new(own_log::LogRoute { router: self.router.clone() }))
    }

    /// Queues everything that is staged, in every buffer (SIGUSR1, the RPC).
    pub fn flush_all(&self) {
        for running in &self.sinks {
            if let Some(buffer) = running.sink.buffer() {
                buffer.flush_all();
            }
        }
    }

    /// Waits until every input has ended by itself; gives whether all ended well.
    pub async fn inputs_ended(&self) -> bool {
        let mut well = true;
        for input in &self.inputs {
            let mut ended = input.ended.clone();
            // Its task holds the other end until the stop.
            well &= ended.wait_for(Option::is_some).await.is_ok_and(|how| *how == Some(true));
        }
        well
    }

    /// Chunks that are still to be delivered, those that grow too.
    pub fn undelivered(&self) -> usize {
        let buffers = self.sinks.iter().filter_map(|running| running.sink.buffer());
        let stats = buffers.map(Buffer::stats);
        stats.map(|stats| stats.stage_length + stats.queue_length + stats.in_flight).sum()
    }

    /// Events that inputs have emitted since the start.
    pub fn taken_in(&self) -> u64 {
        self.inputs.iter().map(|input| input.stats.records.load(Relaxed)).sum()
    }

    /// Stops inputs, drains what lives in memory, closes buffers and targets, all within `limit`.
    pub async fn stop(mut self, limit: Duration) {
        let begun = Instant::now();
        let deadline = begun + limit;
        self.stop_inputs(|_| true, begun + limit.mul_f64(INPUTS_SHARE)).await;
        self.close_sinks(|_| true, begun + limit.mul_f64(WRITES_SHARE), Some(deadline)).await;
        let mut lingering = self.router.take_lingering();
        let ended = async { while lingering.join_next().await.is_some() {} };
        self.keeper.shutdown().await;
        if let Some(root) = &self.process.root_dir
            && let Err(e) = books::save(root, &self.router.books.report())
        {
            warn!("{} can't be written: {e}", root.join(books::LEDGER).display());
        }
        if timeout_at(deadline, ended).await.is_err() {
            warn!("positions that wait for a delivery were not saved in time; what follows them is read again");
        }
    }

    /// Begins to write down what is only in memory, where there is a place for it.
    fn keep_books(&mut self) {
        let Some(root) = self.process.root_dir.clone() else { return };
        let router = self.router.clone();
        self.keeper.spawn(books::keep(root, move || monitor::in_memory(&router.graph())));
    }

    async fn stop_inputs(&mut self, which: impl Fn(&RunningInput) -> bool, deadline: Instant) {
        let (ending, kept) = std::mem::take(&mut self.inputs).into_iter().partition(|i| which(i));
        self.inputs = kept;
        let ending: Vec<RunningInput> = ending;
        ending.iter().for_each(|input| input.stopper.stop());
        for mut input in ending {
            info!(
                "stopping input plugin type={:?} plugin_id=\"{}\"",
                input.section.plugin_type().unwrap_or(""),
                input.id
            );
            if timeout_at(deadline, &mut input.task).await.is_err() {
                warn!("input plugin_id=\"{}\" did not stop in time and is ended", input.id);
                input.task.abort();
            }
        }
    }

    /// Writes end by `writes`. Buffers are then closed, however long the disk takes; by `last`, where there is one.
    async fn close_sinks(&mut self, which: impl Fn(&Arc<Sink>) -> bool, writes: Instant, last: Option<Instant>) {
        let (ending, kept) = std::mem::take(&mut self.sinks).into_iter().partition(|s| which(&s.sink));
        self.sinks = kept;
        let ending: Vec<RunningSink> = ending;
        let (emitting, others): (Vec<_>, Vec<_>) = ending.into_iter().partition(|s| s.sink.output.emits());
        // What gives events out again needs those that take them.
        for ending in [emitting, others] {
            let mut closing = JoinSet::new();
            for running in ending {
                closing.spawn(close_sink(running, self.router.books.clone(), writes, last));
            }
            while closing.join_next().await.is_some() {}
        }
    }

    fn publish(&self) {
        let inputs = self.inputs.iter();
        let inputs = inputs.map(|i| (i.id.clone(), i.section.clone(), i.stats.clone())).collect();
        self.process.publish(Arc::new(monitor::View { graph: self.router.graph(), inputs }));
    }
}

fn log_warnings(plan: &Plan) {
    for warning in plan.warnings.iter() {
        warn!("{}", warning.one_line());
    }
}

/// Runs an input. When it fails or panics the others go on, and the log says what no longer runs.
async fn supervise(
    id: String,
    plugin: Box<dyn DynInput>,
    emit: Emitter,
    stop: Stop,
    ended: watch::Sender<Option<bool>>,
) {
    let mut told = stop.clone();
    let task = tokio::spawn(plugin.run(emit, stop).in_current_span());
    let _ended_with_us = AbortOnDrop(task.abort_handle());
    let outcome = task.await;
    ended.send_replace(Some(matches!(outcome, Ok(Ok(())))));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(InputError(e))) => error!("input plugin_id=\"{id}\" ended with an error: {e}"),
        Err(e) => error!("input plugin_id=\"{id}\" failed: {e}"),
    }
    if !told.is_stopped() {
        warn!("input plugin_id=\"{id}\" no longer runs; restart or reload to start it again");
        told.wait().await;
    }
}

async fn open_sink(sink: &Arc<Sink>, router: &Arc<Router>) -> Result<RunningSink, String> {
    if sink.output.emits() {
        let (label, stats) = (sink.emits_to.clone(), Arc::default());
        let input = sink.name.clone();
        let route = InputRoute { router: router.clone(), input, label, stats, waits: false };
        sink.output.connect(Emitter::new(Arc::new(route)));
    }
    if let Some(config) = sink.buffered.clone() {
        // The buffer's thread works in the span that it is opened in.
        let span = sink.span();
        let opened = tokio::task::spawn_blocking(move || span.in_scope(|| Buffer::open(config, Env::real())));
        let (buffer, report) = opened.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
        if report.chunks > 0 {
            info!(
                "buffer of plugin_id=\"{}\": {} chunks with {} records found",
                sink.id, report.chunks, report.records
            );
        }
        for line in &report.damage {
            warn!("buffer of plugin_id=\"{}\": {line}", sink.id);
        }
        sink.set_buffer(buffer);
    }
    let closing = Stopper::new();
    sink.output.start(closing.listener()).instrument(sink.span()).await.map_err(|InputError(e)| e)?;
    if let Some(secondary) = &sink.secondary {
        secondary.output.start(closing.listener()).await.map_err(|InputError(e)| e)?;
    }
    let tasks = flush::spawn(sink, &closing.listener());
    Ok(RunningSink { sink: sink.clone(), closing, tasks })
}

/// Memory buffers are emptied, file buffers closed; then the output. What is still being written then is given up: a file
/// buffer keeps it.
async fn close_sink(mut running: RunningSink, books: Arc<Books>, writes: Instant, last: Option<Instant>) {
    running.closing.stop();
    let sink = &running.sink;
    if let Some(buffer) = sink.buffer() {
        buffer.close();
        let drained = async { while running.tasks.join_next().await.is_some() {} };
        if timeout_at(writes, drained).await.is_err() {
            warn!("plugin_id=\"{}\": writes were not done in time and are ended", sink.id);
            running.tasks.abort_all();
            while running.tasks.join_next().await.is_some() {}
        }
        for lost in finish(buffer, last).await {
            warn!("plugin_id=\"{}\": {lost}", sink.id);
        }
        if !buffer.is_durable() {
            books.absorb(&sink.name, buffer.accounts());
        }
    }
    sink.output.close().await;
    if let Some(secondary) = &sink.secondary {
        secondary.output.close().await;
    }
}

/// Closes a buffer. A file buffer whose disk takes too long is left as it is: what it needs at the next start is on the disk.
async fn finish(buffer: &Buffer, last: Option<Instant>) -> Vec<String> {
    let Some(last) = last.filter(|_| buffer.is_durable()) else { return buffer.finish().await };
    timeout_at(last, buffer.finish()).await.unwrap_or_else(|_| {
        // Whoever drops the last handle would wait for the disk.
        std::mem::forget(buffer.clone());
        vec!["the disk takes too long to close the buffer; nothing in it is lost".into()]
    })
}

/// What an operator finds in the configuration: `input http "web" (a.conf:3)`.
fn place(id: &str, section: &Section) -> String {
    let kind = section.plugin_type().unwrap_or_default();
    format!("input {kind} {id:?} ({}:{})", section.span.file(), section.span.line())
}
