//! The running process: one engine, the signals, the control API, an orderly end.

mod logging;
mod pages;
mod rpc;
mod source_only;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::config::{
    Diagnostics, LoadOptions, Loaded, Section, Settings, hostname, load_all, looks_secret, permission,
};
use crate::engine::{Engine, EngineError};
use crate::net::Sockets;
use crate::plugin::{LogFile, Process, Registry, Stopper};
use logging::{Delivery, LogOutput};
use source_only::Mode;

pub use logging::{Log, init as init_logging};

/// Commands from the control API that wait for the daemon; more are refused.
const MAX_WAITING_COMMANDS: usize = 16;

/// What plugins do for the first time is done so long after the start.
const SETTLING: Duration = Duration::from_secs(2);

/// What the daemon is started with.
pub struct Start {
    /// The configuration file, to read it again at a reload.
    pub path: PathBuf,
    /// How it is read.
    pub options: LoadOptions,
    /// What was read.
    pub loaded: Loaded,
    /// Settings in force.
    pub settings: Settings,
    /// The tables of plugins.
    pub registry: &'static Registry,
    /// The process's log.
    pub log: Log,
}

/// What the control API or a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End in order.
    Stop,
    /// Queue and flush everything.
    Flush,
    /// Flush, then end in order.
    FlushAndStop,
    /// Read the configuration again.
    Reload,
    /// Start what `--with-source-only` left out.
    StartRest,
}

/// The process's surroundings for plugins. `log`: none where nothing is to run.
pub fn process(settings: &Settings, log: Option<&Log>) -> Arc<Process> {
    // The settings were refused where these are not octal.
    let octal = |text: &Option<String>| text.as_deref().and_then(|t| permission(t).ok());
    Arc::new(Process {
        hostname: hostname(),
        worker_id: 0,
        workers: settings.workers,
        root_dir: settings.root_dir.clone(),
        file_permission: octal(&settings.file_permission),
        dir_permission: octal(&settings.dir_permission),
        strict: settings.strict,
        strict_values: settings.strict || settings.strict_config_value,
        emit_error_log_interval: settings.emit_error_log_interval,
        log_file: log
            .map(|l| l.output.clone())
            .filter(LogOutput::is_file)
            .map(|output| -> LogFile { Box::new(move |lines| output.write(lines)) }),
        sockets: Sockets::new(),
        view: Default::default(),
    })
}

/// Runs until told to stop. `on_running` is called once everything runs; where it fails the process ends. Gives whether
/// all went well.
pub async fn run(start: Start, on_running: impl FnOnce() -> Result<(), String>) -> bool {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(e) => {
            error!("can't listen for signals: {e}");
            return false;
        }
    };
    dump(&start.loaded.root, &start.settings);
    let mode = first_mode(&start.settings);
    let root = match mode.apply(&start.loaded.root) {
        Ok(root) => root,
        Err(e) => {
            error!("config error: {e}");
            return false;
        }
    };
    let process = process(&start.settings, Some(&start.log));
    if mode == Mode::Collecting
        && let Err(faults) = crate::engine::check(&start.loaded.root, start.registry, &process)
    {
        report_faults(&faults);
        return false;
    }
    allow_levels(&root, &start.log);
    // Fluentd's log events begin before its plugins start; whether anyone wants them is known once they have.
    start.log.events.enable(true);
    info!(pid = std::process::id(), worker = 0, "starting suiro worker");
    let engine = match Engine::start(&root, start.registry, process).await {
        Ok(engine) => engine,
        Err(e) => {
            report(&e);
            return false;
        }
    };
    let (commands, mut waiting) = mpsc::channel(MAX_WAITING_COMMANDS);
    let stopper = Stopper::new();
    let rpc = match rpc::start(&start.settings, &start.loaded.root, commands, stopper.listener()) {
        Ok(rpc) => rpc,
        Err(e) => {
            error!("{e}");
            engine.stop(start.settings.shutdown_timeout()).await;
            return false;
        }
    };
    start.log.events.enable(engine.wants_log_events());
    let delivery = start.log.events.deliver(engine.log_emitter());
    info!(worker = 0, "suiro worker is now running");
    let daemon = Daemon { start, engine, delivery, mode };
    if let Err(e) = on_running() {
        error!("{e}");
        daemon.stop().await;
        return false;
    }
    daemon.serve(&mut signals, &mut waiting).await;
    stopper.stop();
    if let Some(task) = rpc {
        // It ends with its listener; a panic in it is no reason to fail the stop.
        let _ = task.await;
    }
    info!("suiro stopped");
    true
}

struct Daemon {
    start: Start,
    engine: Engine,
    delivery: Option<Delivery>,
    mode: Mode,
}

impl Daemon {
    async fn serve(mut self, signals: &mut Signals, commands: &mut mpsc::Receiver<Command>) {
        let mut is_settled = false;
        loop {
            let command = tokio::select! {
                command = signals.next() => command,
                Some(command) = commands.recv() => command,
                () = tokio::time::sleep(SETTLING), if !is_settled => {
                    is_settled = true;
                    if let Err(e) = pages::release() {
                        debug!("pages of the start stay mapped: {e}");
                    }
                    continue;
                }
            };
            match command {
                Command::Flush => {
                    info!("force flushing buffered events");
                    self.start.log.output.reopen();
                    self.engine.flush_all();
                }
                Command::Reload => self.reload().await,
                Command::StartRest => self.start_rest().await,
                Command::FlushAndStop => {
                    self.engine.flush_all();
                    break;
                }
                Command::Stop => break,
            }
        }
        info!(worker = 0, "suiro worker is now stopping");
        self.stop().await;
    }

    /// Log events end before the plugins do; with `log_event_verbose`, after the inputs and with the buffers.
    async fn stop(self) {
        let timeout = self.start.settings.shutdown_timeout();
        let (first, last) = match self.delivery {
            Some(delivery) if self.start.settings.log_event_verbose => (None, Some(delivery)),
            delivery => (delivery, None),
        };
        if let Some(delivery) = first {
            delivery.end().await;
        }
        self.engine.stop(timeout).await;
        if let Some(delivery) = last {
            delivery.end().await;
        }
    }

    /// Reads the file again. A faulty file changes nothing.
    async fn reload(&mut self) {
        info!("reloading the configuration from {}", self.start.path.display());
        let loaded = match load_all(&self.start.path, &self.start.options) {
            Ok(loaded) => loaded,
            Err(faults) => return refuse(&faults),
        };
        let root = match self.mode.apply(&loaded.root) {
            Ok(root) => root,
            Err(e) => return error!("{e}. The old configuration goes on"),
        };
        allow_levels(&root, &self.start.log);
        match self.engine.reload(&root, self.start.settings.shutdown_timeout()).await {
            Ok(()) => {
                dump(&loaded.root, &self.start.settings);
                self.start.log.events.enable(self.engine.wants_log_events());
                self.start.loaded = loaded;
                info!("reloaded: the new configuration is in force");
            }
            Err(EngineError::Config(faults)) => refuse(&faults),
            Err(EngineError::Open(e)) => {
                error!("the new configuration can't be opened: {e}; going back to the old one");
                self.go_back().await;
            }
        }
    }

    /// Ends `--with-source-only`: outputs and filters start, and are given what was collected.
    async fn start_rest(&mut self) {
        if self.mode != Mode::Collecting {
            return info!(
                "do nothing for canceling with-source-only because the current mode is not with-source-only."
            );
        }
        info!("cancel with-source-only mode and start the other plugins");
        self.mode = Mode::Draining;
        let Ok(root) = self.mode.apply(&self.start.loaded.root) else { return };
        match self.engine.reload(&root, self.start.settings.shutdown_timeout()).await {
            Ok(()) => self.start.log.events.enable(self.engine.wants_log_events()),
            Err(e) => {
                report(&e);
                error!("the other plugins can't start; inputs go on alone. Send SIGWINCH again once it is mended");
                self.mode = Mode::Collecting;
                self.go_back().await;
            }
        }
    }

    async fn go_back(&mut self) {
        // It ran before, so it has a place for everything.
        let Ok(root) = self.mode.apply(&self.start.loaded.root) else { return };
        if let Err(e) = self.engine.reload(&root, self.start.settings.shutdown_timeout()).await {
            report(&e);
        }
    }
}

fn refuse(faults: &Diagnostics) {
    report_faults(faults);
    error!("the new configuration has faults and is not used; the old one goes on");
}

fn report(e: &EngineError) {
    match e {
        EngineError::Config(faults) => report_faults(faults),
        EngineError::Open(e) => error!("can't start: {e}"),
    }
}

/// Logs every fault on a line of its own.
pub fn report_faults(faults: &Diagnostics) {
    for fault in faults.iter() {
        if fault.is_error() {
            error!("{}", fault.one_line());
        } else {
            warn!("{}", fault.one_line());
        }
    }
}

/// Prints the configuration in force, secrets masked, as Fluentd does at its start.
fn dump(root: &Section, settings: &Settings) {
    if !settings.suppress_config_dump {
        info!("using configuration file:");
        for line in root.to_fluentd_text(&looks_secret).lines() {
            info!("{line}");
        }
    }
}

/// Lets the lines through that plugins with a level of their own want.
fn allow_levels(section: &Section, log: &Log) {
    section.log_level().into_iter().for_each(|level| log.levels.allow(level));
    // `<system> log_level` is the process's own and in force already.
    section.children.iter().filter(|c| c.name != "system").for_each(|child| allow_levels(child, log));
}

fn first_mode(settings: &Settings) -> Mode {
    match (settings.without_source, settings.with_source_only) {
        (true, _) => {
            info!("'--without-source' is applied. Ignore <source> sections");
            Mode::WithoutSource
        }
        (false, true) => {
            info!(
                "with-source-only: events are kept in files. Send SIGWINCH to start the other plugins and process them"
            );
            Mode::Collecting
        }
        (false, false) => Mode::Whole,
    }
}

/// The signals that the daemon knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    flush: Signal,
    hangup: Signal,
    reload: Signal,
    /// Held so that a file over the limit of sizes is an error of its write, as a full disk is, and not the end.
    _file_size: Signal,
    rest: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            flush: signal(SignalKind::user_defined1())?,
            hangup: signal(SignalKind::hangup())?,
            reload: signal(SignalKind::user_defined2())?,
            _file_size: signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
            rest: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.terminate.recv() => Command::Stop,
            _ = self.interrupt.recv() => Command::Stop,
            _ = self.flush.recv() => Command::Flush,
            _ = self.hangup.recv() => Command::Reload,
            _ = self.reload.recv() => Command::Reload,
            _ = self.rest.recv() => Command::StartRest,
        }
    }
}
