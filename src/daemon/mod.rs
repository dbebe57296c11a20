//! The running process: one engine, the signals, the control API, an orderly end.

mod logging;
mod rpc;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::config::{
    Diagnostics, LoadOptions, Loaded, Section, Settings, hostname, load_all, looks_secret, permission,
};
use crate::engine::{Engine, EngineError};
use crate::net::Sockets;
use crate::plugin::{Process, Registry, Stopper};

pub use logging::{LogOutput, init as init_logging};

/// Commands from the control API that wait for the daemon; more are refused.
const MAX_WAITING_COMMANDS: usize = 16;

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
    pub log: LogOutput,
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
}

/// The process's surroundings for plugins.
pub fn process(settings: &Settings) -> Arc<Process> {
    // The settings were refused where these are not octal.
    let octal = |text: &Option<String>, default| text.as_deref().and_then(|t| permission(t).ok()).unwrap_or(default);
    Arc::new(Process {
        hostname: hostname(),
        worker_id: 0,
        root_dir: settings.root_dir.clone(),
        file_permission: octal(&settings.file_permission, 0o644),
        dir_permission: octal(&settings.dir_permission, 0o755),
        strict: settings.strict_config_value,
        sockets: Sockets::new(),
        view: Default::default(),
    })
}

/// Runs until told to stop. Gives whether all went well.
pub async fn run(start: Start) -> bool {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(e) => {
            error!("can't listen for signals: {e}");
            return false;
        }
    };
    dump(&start.loaded.root, &start.settings);
    let root = sources_removed(&start.loaded.root, &start.settings);
    let engine = match Engine::start(&root, start.registry, process(&start.settings)).await {
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
    info!("suiro worker is now running worker=0");
    let daemon = Daemon { start, engine };
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
}

impl Daemon {
    async fn serve(mut self, signals: &mut Signals, commands: &mut mpsc::Receiver<Command>) {
        loop {
            let command = tokio::select! {
                command = signals.next() => command,
                Some(command) = commands.recv() => command,
            };
            match command {
                Command::Flush => {
                    info!("force flushing buffered events");
                    self.start.log.reopen();
                    self.engine.flush_all();
                }
                Command::Reload => self.reload().await,
                Command::FlushAndStop => {
                    self.engine.flush_all();
                    break;
                }
                Command::Stop => break,
            }
        }
        info!("stopping");
        self.engine.stop(self.start.settings.shutdown_timeout()).await;
    }

    /// Reads the file again. A faulty file changes nothing.
    async fn reload(&mut self) {
        info!("reloading the configuration from {}", self.start.path.display());
        let loaded = match load_all(&self.start.path, &self.start.options) {
            Ok(loaded) => loaded,
            Err(faults) => return refuse(&faults),
        };
        let root = sources_removed(&loaded.root, &self.start.settings);
        match self.engine.reload(&root, self.start.settings.shutdown_timeout()).await {
            Ok(()) => {
                dump(&loaded.root, &self.start.settings);
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

    async fn go_back(&mut self) {
        let root = sources_removed(&self.start.loaded.root, &self.start.settings);
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

fn sources_removed(root: &Section, settings: &Settings) -> Section {
    let mut root = root.clone();
    if settings.without_source {
        root.children.retain(|s| s.name != "source");
    }
    root
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
        })
    }

    async fn next(&mut self) -> Command {
        tokio::select! {
            _ = self.terminate.recv() => Command::Stop,
            _ = self.interrupt.recv() => Command::Stop,
            _ = self.flush.recv() => Command::Flush,
            _ = self.hangup.recv() => Command::Reload,
            _ = self.reload.recv() => Command::Reload,
        }
    }
}
